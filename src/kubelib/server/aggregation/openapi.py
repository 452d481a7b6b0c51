"""One OpenAPI for all: what other servers say of their kinds, in the documents of this one."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from kubelib.api.codec import encode_json, parse_json
from kubelib.server.aggregation.base import Remote
from kubelib.server.conditional import tagged
from kubelib.server.responses import Response

Spec = dict[str, Any]
PROTOBUF = b"application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_REFERENCE = "#/definitions/"


@attrs.frozen(eq=False)
class Description:
    """What a server says of one group and version."""

    hash: str = ""
    """Of its OpenAPI v3 document; empty if it has none."""
    v2: Spec = attrs.Factory(dict)
    """The part of its Swagger document that is about the group and version."""


def hash_in(index: Any, path: str) -> str:
    """Return the hash under which an index of OpenAPI v3 has a path (``apis/GROUP/VERSION``); empty if it does not."""
    paths = index.get("paths") if isinstance(index, dict) else None
    entry = paths.get(path) if isinstance(paths, dict) else None
    url = entry.get("serverRelativeURL") if isinstance(entry, dict) else None
    if not isinstance(url, str):
        return ""
    return (parse_qs(urlsplit(url).query).get("hash") or ["0"])[0]


def part_of(spec: Any, path: str) -> Spec:
    """Return what a Swagger document says of the paths at and under `path`, with the definitions that this needs."""
    if not isinstance(spec, dict):
        return {}
    every, known = spec.get("paths"), spec.get("definitions")
    if not isinstance(every, dict):
        return {}
    paths = {name: value for name, value in every.items() if name == path or name.startswith(f"{path}/")}
    definitions: Spec = {}
    if isinstance(known, dict):
        waiting = list(_references(paths))
        while waiting:
            name = waiting.pop()
            if name not in definitions and name in known:
                definitions[name] = known[name]
                waiting.extend(_references(known[name]))
    return {"paths": paths, "definitions": definitions}


def _references(tree: Any) -> Iterable[str]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            reference = one.get("$ref")
            if isinstance(reference, str) and reference.startswith(_REFERENCE):
                yield reference.removeprefix(_REFERENCE)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def merged_v2(own: bytes, parts: Iterable[Spec]) -> bytes:
    """Return this server's Swagger document with those of others. Of definitions of one name, this server's own stays."""
    whole = copy.copy(parse_json(own))
    for part in parts:
        for section in ("paths", "definitions"):
            whole[section] = {**part.get(section, {}), **whole.get(section, {})}
    return encode_json(whole)


def merged_index(own: bytes, others: Mapping[Remote, Description]) -> bytes:
    """Return where the documents of all groups are."""
    whole = parse_json(own)
    for remote, description in others.items():
        path = remote.path.strip("/")
        if description.hash:
            whole["paths"][path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={description.hash}"}
        else:
            whole["paths"].pop(path, None)
    return encode_json(whole)


def document(kind: str, body: bytes) -> Response:
    """Return a document as it is served: ``v2``, ``v2+protobuf``, or the index of ``v3``."""
    if kind == "v2+protobuf":
        from kubelib.api.openapi_protobuf import encode_openapi_v2

        return tagged(encode_openapi_v2(parse_json(body)), PROTOBUF)
    return tagged(body, is_document=False)
