"""Serving the OpenAPI documents, with entity tags so that clients fetch them once."""

import functools
import hashlib

from kubelib.api.errors import NotFound
from kubelib.api.scheme import Scheme
from kubelib.server.responses import Response


def answer(scheme: Scheme, version: str, rest: str) -> Response:
    """Return a document. Raises NotFound."""
    body = _document(scheme, len(scheme), version, rest)
    if body is None:
        raise NotFound("the server could not find the requested resource")
    tag = hashlib.sha256(body).hexdigest()[:40].upper()
    return Response(body, headers=[(b"etag", f'"{tag}"'.encode())])


@functools.lru_cache(maxsize=64)
def _document(scheme: Scheme, size: int, version: str, rest: str) -> bytes | None:
    from kubelib.api import openapi

    if version == "v2" and not rest:
        return openapi.openapi_v2(scheme)
    if version == "v3" and not rest:
        return openapi.openapi_v3_index(scheme)
    if version == "v3":
        return openapi.openapi_v3(scheme, rest)
    return None
