"""Serving the OpenAPI documents, with entity tags so that clients fetch them once, and under their hash for good."""

import weakref
from collections.abc import Mapping
from contextlib import suppress

from kubelib.api.errors import NotFound
from kubelib.api.scheme import Scheme
from kubelib.server.conditional import VARY, entity_tag
from kubelib.server.responses import Response

_A_YEAR = b"public, immutable, max-age=31536000"


def answer(scheme: Scheme, version: str, rest: str, accept: str, query: Mapping[str, str]) -> Response:
    """Return a document. Raises NotFound."""
    if version == "v2" and not rest and "proto-openapi" in accept:
        found = _document(scheme, "v2+protobuf", "")
        assert found is not None
        media = b"application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        return Response(found[0], content_type=media, headers=[(b"etag", found[1]), VARY])
    found = _document(scheme, version, rest)
    if found is None:
        raise NotFound("the server could not find the requested resource")
    body, tag = found
    headers = [(b"etag", tag), VARY]
    if version == "v3" and rest and (wanted := query.get("hash")):
        current = tag.strip(b'"').decode()
        if wanted.upper() != current.upper():
            place = f"/openapi/v3/{rest}?hash={current}".encode()
            return Response(b"", 301, headers=[(b"location", place)])
        headers.append((b"cache-control", _A_YEAR))
    return Response(body, headers=headers, is_document=False)


_served: "weakref.WeakKeyDictionary[Scheme, tuple[tuple[int, ...], dict[tuple[str, str], tuple[bytes, bytes] | None]]]" = weakref.WeakKeyDictionary()


def _document(scheme: Scheme, version: str, rest: str) -> tuple[bytes, bytes] | None:
    """Return a document and its entity tag; those of kinds that have changed since are not kept."""
    known = _served.get(scheme)
    if known is None or known[0] != scheme.generation:
        known = _served[scheme] = (scheme.generation, {})
    documents = known[1]
    if (version, rest) not in documents:
        body = _made(scheme, version, rest)
        if body is None:
            return None
        documents[version, rest] = (body, entity_tag(body))
    return documents[version, rest]


def _made(scheme: Scheme, version: str, rest: str) -> bytes | None:
    from kubelib.api import openapi

    match version, rest:
        case "v2+protobuf", _:
            from kubelib.api.codec import parse_json
            from kubelib.api.openapi_protobuf import encode_openapi_v2

            return encode_openapi_v2(parse_json(openapi.openapi_v2(scheme)))
        case "v2", "":
            return openapi.openapi_v2(scheme)
        case "v3", "":
            return openapi.openapi_v3_index(scheme)
        case "v3", _:
            with suppress(KeyError):
                return openapi.openapi_v3(scheme, rest)
    return None
