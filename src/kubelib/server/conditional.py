"""Documents that clients keep: entity tags, and answers that say that nothing has changed."""

import hashlib
from collections.abc import Mapping

from kubelib.server.responses import JSON, Response

VARY = (b"vary", b"Accept")


def entity_tag(body: bytes) -> bytes:
    """Return the entity tag of a document: the hash of its bytes, which is also the hash in addresses of OpenAPI documents."""
    return b'"%s"' % hashlib.sha512(body).hexdigest().upper().encode()


def tagged(body: bytes, content_type: bytes = JSON, *, is_document: bool = True) -> Response:
    """Return an answer with its entity tag."""
    headers = [(b"etag", entity_tag(body)), VARY]
    return Response(body, content_type=content_type, headers=headers, is_document=is_document)


def unless_known(response: Response, headers: Mapping[bytes, bytes]) -> Response:
    """Return the answer, or 304 without a body if the client has it already."""
    known = headers.get(b"if-none-match")
    if not known or response.status != 200:
        return response
    tag = next((value for name, value in response.headers if name == b"etag"), None)
    if tag is None or not {tag, b"*"} & {one.strip().removeprefix(b"W/") for one in known.split(b",")}:
        return response
    return Response(b"", 304, response.content_type, response.headers)
