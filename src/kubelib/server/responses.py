"""Answers: JSON bodies, errors as ``Status``, content negotiation."""

import functools
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import attrs

from kubelib.api.codec import encode_json
from kubelib.api.errors import ApiError, NotAcceptable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
YAML = b"application/yaml"


@attrs.define
class Response:
    """A complete answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = attrs.Factory(list)


def error_response(error: ApiError) -> Response:
    """Return the ``Status`` of an error."""
    response = Response(encode_json(error.status()), error.code)
    if error.retry_after:
        response.headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.code == 401:
        response.headers.append((b"www-authenticate", b'Bearer realm="kubernetes"'))
    return response


@attrs.frozen
class Accepted:
    """What the client takes: a media type, and a transformation (Table, PartialObjectMetadata) or none."""

    media_type: str = "application/json"
    transform: str = ""
    list_transform: str = ""
    protobuf_only: bool = False


@functools.lru_cache(maxsize=512)
def negotiate(accept: str) -> Accepted:
    """Choose the first alternative of an Accept header that can be served. Raises NotAcceptable."""
    if not accept.strip():
        return Accepted()
    for alternative in accept.split(","):
        media, *parameters = [part.strip() for part in alternative.split(";")]
        given = dict(p.split("=", 1) for p in parameters if "=" in p)
        if media not in ("application/json", "application/yaml", "application/*", "*/*"):
            continue
        kind = given.get("as", "")
        if kind not in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            continue
        if kind and (given.get("g") != "meta.k8s.io" or given.get("v") not in ("v1", "v1beta1")):
            continue
        yaml = media == "application/yaml"
        return Accepted("application/yaml" if yaml else "application/json", kind.removesuffix("List"))
    raise NotAcceptable(
        "only the following media types are accepted: application/json, application/yaml,"
        " application/vnd.kubernetes.protobuf (requests only)"
    )


async def send_response(send: Send, response: Response, *, head: bool = False) -> None:
    """Send a complete answer."""
    headers: Headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        (b"cache-control", b"no-cache, private"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})


def to_yaml(body: bytes) -> bytes:
    """Return a JSON body as YAML."""
    import yaml

    from kubelib.api.codec import parse_json

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: bytes = yaml.dump(parse_json(body), Dumper=dumper, sort_keys=False, allow_unicode=True).encode()
    return text


def warning_header(messages: Sequence[str]) -> Headers:
    """Return Warning headers for messages to the client."""
    headers: Headers = []
    for message in messages:
        quoted = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        headers.append((b"warning", f'299 - "{quoted}"'.encode()))
    return headers


def unless_gone(send: Send) -> Send:
    """Return a `send` that does nothing once the client has gone: whoever receives learns of that anyway."""

    async def send_if_there(message: Any) -> None:
        try:
            await send(message)
        except OSError:
            return

    return send_if_there
