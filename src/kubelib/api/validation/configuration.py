"""Rules of ConfigMaps and Secrets."""

import base64
import json

from kubelib.api.checking import json_type
from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import each, forbidden, immutable, invalid, required, too_long

MAX_SIZE = 1024 * 1024

_FROZEN = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
_TOKEN_ANNOTATION = "kubernetes.io/service-account.name"


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=", -2)


def config_map_problems(tree: Tree) -> list[Problem]:
    """Check a ConfigMap."""
    problems: list[Problem] = []
    data, binary = tree.get("data") or {}, tree.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        problems += each(f"data[{key}]", key, texts.config_key(key))
        if key in binary:
            problems.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        problems += each(f"binaryData[{key}]", key, texts.config_key(key))
        size += _decoded_size(value)
    if size > MAX_SIZE:
        problems.append(too_long("", MAX_SIZE))
    return problems


def _frozen_problems(new: Tree, old: Tree, *parts: str) -> list[Problem]:
    if not old.get("immutable"):
        return []
    problems = [] if new.get("immutable") else [forbidden("immutable", _FROZEN)]
    return problems + [
        forbidden(part, _FROZEN) for part in parts if (new.get(part) or None) != (old.get(part) or None)
    ]


def config_map_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a ConfigMap."""
    return [*_frozen_problems(new, old, "data", "binaryData"), *config_map_problems(new)]


def secret_problems(tree: Tree) -> list[Problem]:
    """Check a Secret."""
    problems: list[Problem] = []
    data = tree.get("data") or {}
    size = 0
    for key, value in data.items():
        problems += each(f"data[{key}]", key, texts.config_key(key))
        size += _decoded_size(value)
    if size > MAX_SIZE:
        problems.append(too_long("data", MAX_SIZE))
    match tree.get("type"):
        case "kubernetes.io/service-account-token":
            if not (tree["metadata"].get("annotations") or {}).get(_TOKEN_ANNOTATION):
                problems.append(required(f"metadata.annotations[{_TOKEN_ANNOTATION}]"))
        case "kubernetes.io/dockercfg":
            problems += _json_problems(data, ".dockercfg")
        case "kubernetes.io/dockerconfigjson":
            problems += _json_problems(data, ".dockerconfigjson")
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                problems += [required("data[username]"), required("data[password]")]
        case "kubernetes.io/ssh-auth":
            if not data.get("ssh-privatekey"):
                problems.append(required("data[ssh-privatekey]"))
        case "kubernetes.io/tls":
            problems += [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
        case _:
            pass
    return problems


def _json_problems(data: Tree, key: str) -> list[Problem]:
    if key not in data:
        return [required(f"data[{key}]")]
    why = _why_no_object(base64.b64decode(data[key]).decode(errors="replace"))
    return [invalid(f"data[{key}]", _REDACTED, why)] if why else []


# What Go says where Python's parser stops.
_STOPS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
}


def _why_no_object(text: str) -> str:
    """Return why a text is no JSON object, in the words of Go's parser; empty if it is one, or null."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected end of JSON input"
        where = _STOPS.get(error.msg, "in literal")
        return f"invalid character '{text[error.pos]}' {where}"
    if value is None or isinstance(value, dict):
        return ""
    return f"json: cannot unmarshal {json_type(value)} into Go value of type map[string]interface {{}}"


def secret_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Secret."""
    return [
        *immutable("type", new.get("type"), old.get("type")),
        *_frozen_problems(new, old, "data"),
        *secret_problems(new),
    ]
