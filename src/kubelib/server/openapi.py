"""Serving the OpenAPI documents, with entity tags so that clients fetch them once."""

import functools
import hashlib

from kubelib.api.errors import NotFound
from kubelib.api.scheme import Scheme
from kubelib.server.responses import Response


def answer(scheme: Scheme, version: str, rest: str, accept: str = "") -> Response:
    """Return a document. Raises NotFound."""
    if version == "v2" and not rest and "proto-openapi" in accept:
        body = _document(scheme, len(scheme), "v2+protobuf", "")
        assert body is not None
        return Response(body, content_type=b"application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    body = _document(scheme, len(scheme), version, rest)
    if body is None:
        raise NotFound("the server could not find the requested resource")
    tag = hashlib.sha256(body).hexdigest()[:40].upper()
    return Response(body, headers=[(b"etag", f'"{tag}"'.encode())])


@functools.lru_cache(maxsize=64)
def _document(scheme: Scheme, size: int, version: str, rest: str) -> bytes | None:
    from kubelib.api import openapi

    if version == "v2+protobuf":
        from kubelib.api.codec import parse_json
        from kubelib.api.openapi_protobuf import encode_openapi_v2

        return encode_openapi_v2(parse_json(openapi.openapi_v2(scheme)))
    if version == "v2" and not rest:
        return openapi.openapi_v2(scheme)
    if version == "v3" and not rest:
        return openapi.openapi_v3_index(scheme)
    if version == "v3":
        return openapi.openapi_v3(scheme, rest)
    return None
