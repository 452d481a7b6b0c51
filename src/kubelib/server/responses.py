"""Answers: JSON bodies, errors as ``Status``, content negotiation."""

import copy
import functools
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import anyio.lowlevel
import attrs

from kubelib.api.codec import encode_json
from kubelib.api.document import Document, served_size
from kubelib.api.errors import ApiError, NotAcceptable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def by_name(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request by their names in lower case. Of one that is given twice the first counts, as in Go.

    >>> by_name({"headers": [(b"authorization", b"a"), (b"authorization", b"b")]})
    {b'authorization': b'a'}
    """
    return dict(reversed(scope["headers"]))


JSON = b"application/json"
YAML = b"application/yaml"

PIECE = 64 * 1024
"""Bytes of a large body that are joined, encrypted and sent at a time: they stay in the processor's cache all the way."""
COMPRESSED_FROM = 128 * 1024
"""Bytes from which on a body is compressed for clients that take it, as kube-apiserver does."""


FOLLOWED = "kubelib.followed"
"""In the beginning of an answer: the first part of the body follows at once, both may be sent together."""


STREAMED = "kubelib.streamed"
"""In the beginning of an answer that goes on for long: called with a `Direct`, by servers that have one."""


READER = "reader"
"""In the state of a request: the `Reader` at the other end of its connection, if the listener can tell."""


@attrs.define(eq=False)
class Reader:
    """Who reads an answer."""

    lags: Callable[[bool], None] | None = None
    """Called when the client does not take what it is sent, and with false when it does again."""


class Direct(Protocol):
    """Sends further parts of an answer at once, without waiting and without a task."""

    @property
    def is_free(self) -> bool:
        """Whether the client takes what it is sent, so that something can be sent at once."""
        ...

    def frame(self, body: bytes) -> bytes:
        """Return a part of a body as it is sent. It may be sent to others too."""
        ...

    def send_now(self, framed: bytes) -> None:
        """Send a part."""
        ...


class Joined:
    """A body of documents with commas between them, which is never in memory as a whole: nor are the documents, as they are served."""

    def __init__(self, head: bytes, documents: Sequence[Document], tail: bytes) -> None:
        self._head, self._documents, self._tail = head, documents, tail
        self._size = len(head) + served_size(documents) + max(0, len(documents) - 1) + len(tail)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces of about `PIECE` bytes."""
        documents = self._documents
        step = max(1, PIECE * len(documents) // self._size)
        if not documents:
            yield self._head + self._tail
        for first in range(0, len(documents), step):
            # The bytes of a document are copied once to be served and once to be sent, and not a third time.
            items = [document.raw for document in documents[first : first + step]]
            if first == 0:
                items[0] = self._head + items[0]
            if first + step >= len(documents):
                items[-1] += self._tail
            else:
                items.append(b"")
            yield b",".join(items)

    def __bytes__(self) -> bytes:
        return b"".join(self)

    def __add__(self, more: bytes) -> "Joined":
        longer = copy.copy(self)  # the documents of a long list are not measured again
        longer._tail += more
        longer._size += len(more)
        return longer


Body = bytes | Joined


@attrs.define
class Response:
    """A complete answer."""

    body: Body
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = attrs.Factory(list)
    is_document: bool = True
    """Whether JSON is a document of the API, which ends with a line break, and not some other text that has none."""


PLAIN = b"text/plain; charset=utf-8"
UNSNIFFED: Headers = [(b"x-content-type-options", b"nosniff")]
"""Behind a line of text as Go's library writes it: browsers are not to take it for something else."""


def page_not_found() -> Response:
    """Return what is said of a path that nobody serves."""
    return Response(b"404 page not found\n", 404, PLAIN, list(UNSNIFFED))


def error_response(error: ApiError) -> Response:
    """Return the ``Status`` of an error."""
    response = Response(encode_json(error.status()), error.code)
    if error.retry_after:
        response.headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.code == 401:
        response.headers.append((b"www-authenticate", b'Bearer realm="kubernetes"'))
    response.headers += warning_header(getattr(error, "warnings", ()))
    return response


@attrs.frozen
class Accepted:
    """What the client takes: a media type, and a transformation (Table, PartialObjectMetadata) or none."""

    media_type: str = "application/json"
    transform: str = ""
    protobuf_only: bool = False
    """Whether the client takes protocol buffers and neither JSON nor YAML."""
    version: str = "v1"
    """The version of ``meta.k8s.io`` in which the client takes a transformation."""


FORMS = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
"""The media types that there are of objects."""
_SERVED = {
    "application/json": "application/json",
    "application/*": "application/json",
    "*/*": "application/json",
    "application/yaml": "application/yaml",
    "application/vnd.kubernetes.protobuf": "application/vnd.kubernetes.protobuf",
}
_TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@functools.lru_cache(maxsize=512)
def negotiate(accept: str) -> Accepted:
    """Choose the alternative of an Accept header that the client likes best of those that can be served.

    Protocol buffers are served to those who take nothing else: JSON is what is stored, and costs nothing. Raises NotAcceptable.
    """
    if not accept.strip():
        return Accepted()
    found: list[tuple[float, Accepted]] = []
    for alternative in accept.split(","):
        media, *parameters = [part.strip() for part in alternative.split(";")]
        given = dict(p.split("=", 1) for p in parameters if "=" in p)
        served, kind = _SERVED.get(media), given.get("as", "")
        if served is None:
            continue
        transformed = not given.keys().isdisjoint(("as", "g", "v"))
        if transformed and (
            kind not in _TRANSFORMS
            or given.get("g") != "meta.k8s.io"
            or given.get("v") not in ("v1", "v1beta1")
        ):
            continue
        protobuf = served == "application/vnd.kubernetes.protobuf"
        if protobuf and kind == "Table":
            continue
        found.append(
            (
                quality(given),
                Accepted(served, kind.removesuffix("List"), protobuf, given["v"] if kind else "v1"),
            )
        )
    best = max(
        found, key=lambda choice: (choice[0] > 0, not choice[1].protobuf_only, choice[0]), default=None
    )
    if best is not None and best[0] > 0:
        return best[1]
    raise none_accepted()


def none_accepted() -> NotAcceptable:
    """Return the error for a client whose alternatives, with their parameters, cannot be served."""
    return NotAcceptable(f"only the following media types are accepted: {', '.join(FORMS)}")


def require_produced(accept: str, produced: tuple[str, ...]) -> None:
    """Refuse a client that names none of the media types which a path has, whatever their parameters. Raises NotAcceptable.

    Kubernetes looks at that before anything else about the request, and takes of wildcards only ``*/*``.
    """
    taken = {alternative.partition(";")[0].strip() for alternative in accept.split(",")}
    if accept and "*/*" not in taken and taken.isdisjoint(produced):
        raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(produced)}")


def quality(given: Mapping[str, str]) -> float:
    """Return how much a client likes an alternative of its Accept header."""
    try:
        return float(given.get("q", 1))
    except ValueError:
        return 1.0


_UNCACHED = (b"cache-control", b"no-cache, private")


async def send_response(send: Send, response: Response, *, head: bool = False, gzip: bool = False) -> None:
    """Send a complete answer, compressed if it is large and the client takes `gzip`."""
    body = response.body
    compressed = gzip and len(body) > COMPRESSED_FROM
    headers: Headers = [(b"content-type", response.content_type), _UNCACHED]
    for name, _ in response.headers:
        if name == b"cache-control":
            headers.pop()
            break
    if compressed:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    elif response.status != 304:
        headers.append((b"content-length", str(len(body)).encode()))
    headers += response.headers
    await send({"type": "http.response.start", "status": response.status, "headers": headers, FOLLOWED: True})
    if head:
        body = b""
    elif compressed:
        await _send_compressed(send, body)
        return
    elif isinstance(body, Joined):
        left = len(body)
        for piece in body:
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        return
    await send({"type": "http.response.body", "body": body})


async def _send_compressed(send: Send, body: Body) -> None:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = (
        body if isinstance(body, Joined) else (body[at : at + PIECE] for at in range(0, len(body), PIECE))
    )
    for piece in pieces:
        if compressed := compressor.compress(piece):
            await send({"type": "http.response.body", "body": compressed, "more_body": True})
        await anyio.lowlevel.checkpoint()  # compressing is slow: others have their turn in between
    await send({"type": "http.response.body", "body": compressor.flush()})


def to_yaml(body: Body) -> bytes:
    """Return a JSON body as YAML."""
    import yaml

    from kubelib.api.codec import parse_json

    text: bytes = yaml.dump(
        parse_json(bytes(body)), Dumper=_dumper(), sort_keys=False, allow_unicode=True
    ).encode()
    return text


_OTHERWISE_READ = re.compile(
    r"[-+]?(\d[\d_]*)?\.?[\d_]*([eE][-+]?\d+)?|[-+]?0[oxbOXB][\da-fA-F_]+|[yYnN]|<<|=|[-+]?\.(inf|Inf|INF|nan|NaN|NAN)"
)


@functools.cache
def _dumper() -> type[Any]:
    """Return a dumper that quotes what other readers than Python's take for something else: ``1e3``, ``0o7``, ``y``."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        pass

    def text(dumper: Any, value: str) -> Any:
        style = "'" if _OTHERWISE_READ.fullmatch(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


MOST_WARNINGS, LONGEST_WARNING, WARNING_SIGNS = 64, 256, 4096
"""How many warnings an answer carries, and from which size on long ones are cut. Clients bound their headers: Python's to 100."""


def warning_header(messages: Sequence[str]) -> Headers:
    """Return Warning headers for messages to the client: each once, and no more than clients can take."""
    distinct = list(dict.fromkeys(filter(None, messages)))[:MOST_WARNINGS]
    if sum(map(len, distinct)) > WARNING_SIGNS:
        distinct = [message[:LONGEST_WARNING] for message in distinct]
    headers: Headers = []
    written = 0
    for message in distinct:
        written += len(message)
        if written > WARNING_SIGNS:
            break
        if not message.isprintable():
            message = "".join(sign if sign.isprintable() else " " for sign in message)
        quoted = message.replace("\\", "\\\\").replace('"', '\\"')
        headers.append((b"warning", f'299 - "{quoted}"'.encode(errors="replace")))
    return headers


def unless_gone(send: Send) -> Send:
    """Return a `send` that does nothing once the client has gone: whoever receives learns of that anyway."""

    async def send_if_there(message: Any) -> None:
        try:
            await send(message)
        except OSError:
            return

    return send_if_there
