"""Serving the OpenAPI documents, with entity tags so that clients fetch them once, and under their hash for good."""

import functools
import weakref
from collections.abc import Mapping
from contextlib import suppress

from kubelib.api.codec import parse_json
from kubelib.api.errors import NotFound
from kubelib.api.openapi_protobuf import MEDIA_TYPES, encode_openapi_v2, encode_openapi_v3
from kubelib.api.scheme import Scheme
from kubelib.server.conditional import VARY, entity_tag
from kubelib.server.responses import JSON, Response, quality

_A_YEAR = b"public, immutable, max-age=31536000"


def answer(scheme: Scheme, version: str, rest: str, accept: str, query: Mapping[str, str]) -> Response:
    """Return a document. Raises NotFound."""
    described = bool(rest) if version == "v3" else not rest
    media = wanted_media(version, accept) if described else JSON
    if media is None:
        return Response(b"", 406, headers=[VARY])
    found = _document(scheme, version if media == JSON else f"{version}+protobuf", rest)
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
    return Response(body, content_type=media, headers=headers, is_document=False)


@functools.lru_cache(maxsize=128)
def wanted_media(version: str, accept: str) -> bytes | None:
    """Return the media type in which a client wants a document; None if it takes none of those that there are."""
    protobuf = MEDIA_TYPES.get(version, "")
    served = dict.fromkeys(("application/json", "application/*", "*/*"), JSON) | {
        media: protobuf.encode() for media in (protobuf, protobuf.replace(".v1.0", "@v1.0"))
    }
    best, chosen = 0.0, None
    for alternative in (accept.strip() or "*/*").split(","):
        media, *parameters = [part.strip() for part in alternative.split(";")]
        liked = quality(dict(p.split("=", 1) for p in parameters if "=" in p))
        if media in served and liked > best:
            best, chosen = liked, served[media]
    return chosen


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
        case "v2+protobuf", "":
            return encode_openapi_v2(parse_json(openapi.openapi_v2(scheme)))
        case "v3+protobuf", _:
            with suppress(KeyError):
                return encode_openapi_v3(parse_json(openapi.openapi_v3(scheme, rest)))
        case "v2", "":
            return openapi.openapi_v2(scheme)
        case "v3", "":
            return openapi.openapi_v3_index(scheme)
        case "v3", _:
            with suppress(KeyError):
                return openapi.openapi_v3(scheme, rest)
    return None
