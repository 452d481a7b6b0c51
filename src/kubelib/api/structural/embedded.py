"""Objects within objects: what is embedded says what it is, and has metadata like any object."""

from typing import Any

import attrs

from kubelib.api.checking import json_type
from kubelib.api.codec import DecodeError, typed_check
from kubelib.api.errors import Problem
from kubelib.api.meta import ObjectMeta
from kubelib.api.scheme import Tree
from kubelib.api.structural.listtypes import Check
from kubelib.api.validation.meta import embedded_metadata_problems
from kubelib.api.validation.problems import invalid, required
from kubelib.labels.validation import is_dns1035_label


def embedded_check(schema: Tree, *, root: bool = False) -> Check | None:
    """Return what looks at the identities of embedded objects; None where there are none."""
    return _every_embedded(schema, _identity, root=root)


def embedded_types(schema: Tree, *, root: bool = False) -> Check | None:
    """Return what looks whether embedded objects can be read as objects at all; None where there are none."""
    return _every_embedded(schema, _types, root=root)


def _every_embedded(schema: Tree, look: Check, *, root: bool = False) -> Check | None:
    properties: dict[str, Check] = {}
    for name, inner in (schema.get("properties") or {}).items():
        found = _every_embedded(inner, look)
        if found is not None:
            properties[name] = found
    extra, items = schema.get("additionalProperties"), schema.get("items")
    others = _every_embedded(extra, look) if isinstance(extra, dict) else None
    each_item = _every_embedded(items, look) if isinstance(items, dict) else None
    itself = bool(schema.get("x-kubernetes-embedded-resource")) and not root
    if not itself and not properties and others is None and each_item is None:
        return None

    def check(value: Any, path: str, problems: list[Problem]) -> None:
        if type(value) is dict:
            if itself:
                look(value, path, problems)
            for name, member in value.items():
                inner = properties.get(name) or others
                if inner is not None:
                    inner(member, f"{path}.{name}" if path else name, problems)
        elif type(value) is list and each_item is not None:
            for number, item in enumerate(value):
                each_item(item, f"{path}[{number}]", problems)

    return check


def _types(value: Tree, path: str, problems: list[Problem]) -> None:
    problems += [
        invalid(f"{path}.{name}", value[name], "must be a string")
        for name in ("apiVersion", "kind")
        if value.get(name) is not None and not isinstance(value[name], str)
    ]
    meta = value.get("metadata")
    if meta is None:
        return
    why = ""
    if type(meta) is not dict:
        why = f"json: cannot unmarshal {json_type(meta)} into Go value of type v1.ObjectMeta"
    else:
        try:
            typed_check(meta, ObjectMeta)
        except DecodeError as error:
            why = str(error)
    if why:
        problems.append(invalid(f"{path}.metadata", meta, why))


def _identity(value: Tree, path: str, problems: list[Problem]) -> None:
    for name, look in (("apiVersion", _group_version), ("kind", _kind)):
        found = value.get(name)
        if found is None:
            problems.append(required(f"{path}.{name}", "must not be empty"))
        elif why := look(found):
            problems.append(invalid(f"{path}.{name}", found, why))
    meta = value.get("metadata")
    if meta is None:
        return
    problems += [attrs.evolve(p, field=f"{path}.{p.field}") for p in embedded_metadata_problems(meta)]


def _group_version(text: str) -> str:
    """Return what is wrong with the API version of an embedded object; empty when nothing is."""
    if not text:
        return "must not be empty"
    return f"unexpected GroupVersion string: {text}" if text.count("/") > 1 else ""


def _kind(text: str) -> str:
    """Return what is wrong with the kind of an embedded object; empty when nothing is."""
    if not text:
        return "must not be empty"
    found = is_dns1035_label(text.lower())
    return "may have mixed case, but should otherwise match: " + ",".join(found) if found else ""
