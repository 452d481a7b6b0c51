"""Calling webhooks over HTTPS: a `kubelib.registry.webhooks.WebhookCaller` on httpx.

Connections are kept and used again, as many as a bound allows; what is answered is read up to a bound and no further; proxies of
the environment, redirections and compressed answers are not for webhooks.
"""

import errno
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import anyio
import attrs

from kubelib.api.scheme import Tree
from kubelib.registry.webhooks.base import (
    AnswerTooLarge,
    BadAnswer,
    CannotConnect,
    ServiceTarget,
    TimedOut,
    TlsFailed,
    WebhookAddress,
    WebhookFailed,
)

if TYPE_CHECKING:
    import httpx

AGENT = "kube-apiserver-admission"
MAX_ANSWER = 8 * 1024 * 1024
"""Bytes: more than the largest object in base64, as a patch could replace it whole."""
CONNECTIONS_PER_SERVER = 32
CONNECTIONS = 256
"""In all: what comes on top waits for its turn, within its time."""
SERVERS = 64
"""How many servers' connections are kept for later."""
Resolve = Callable[[ServiceTarget], tuple[str, int]]
"""Where a Service answers: host and port. Raises WebhookFailed."""


@attrs.define(eq=False)
class _Server:
    """The connections to one server, as one configuration trusts it."""

    http: "httpx.AsyncClient"
    turns: anyio.CapacityLimiter
    calls: int = 0
    """How many go on now, or wait for their turn."""


class HttpWebhooks:
    """An async context manager: leaving it closes what is kept open."""

    def __init__(self, resolve: Resolve, *, max_answer: int = MAX_ANSWER) -> None:
        self._resolve = resolve
        self._max_answer = max_answer
        self._servers: OrderedDict[tuple[str, bytes], _Server] = OrderedDict()
        self._turns = anyio.CapacityLimiter(CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._servers:
            await self._servers.popitem()[1].http.aclose()

    async def call(self, config: Tree, body: bytes, *, timeout: float) -> bytes:
        """Post a document; see `kubelib.registry.webhooks.WebhookCaller`."""
        try:
            address = WebhookAddress.of(config)
        except ValueError as error:
            raise TlsFailed(f"unable to load root certificates: {error}") from None
        location = f"{address.location}?timeout={max(1, round(timeout + 0.4999))}s"
        where = f'Post "{location}": '
        try:
            with anyio.fail_after(timeout):
                return await self._post(address, location, body)
        except TimeoutError:
            raise TimedOut(f"{where}context deadline exceeded") from None
        except BadAnswer:
            raise
        except WebhookFailed as error:
            raise type(error)(f"{where}{error}") from None

    async def _post(self, address: WebhookAddress, location: str, body: bytes) -> bytes:
        split = urlsplit(location)
        service, headers = address.service, {"content-type": "application/json", "user-agent": AGENT}
        url, name, place = location, split.hostname or "", split.netloc
        if service is not None:
            host, port = self._resolve(service)
            shown = f"[{host}]" if ":" in host else host
            url = f"https://{shown}:{port}{split.path}?{split.query}"
            name = service.host
            headers["host"] = place = f"{service.host}:{service.port}"
        server = await self._server(place, address.ca)
        server.calls += 1
        try:
            # Those who wait for one server keep nobody from the others.
            async with server.turns, self._turns:
                return await self._try(server.http, url, headers, body, name)
        finally:
            server.calls -= 1

    async def _try(
        self, http: "httpx.AsyncClient", url: str, headers: dict[str, str], body: bytes, name: str
    ) -> bytes:
        import httpx

        from kubelib.client.exchanges import CONNECTING

        opened: list[str] = []

        async def traced(event: str, info: Any) -> None:
            if event == CONNECTING:
                opened.append(event)

        extensions = {"sni_hostname": name, "trace": traced}
        while True:
            try:
                return await self._exchange(http, url, headers, body, extensions)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                # A kept connection may end just when it is used again: nobody has seen the request then.
                if opened:
                    early = str(error).endswith("without sending a response.")
                    raise CannotConnect("EOF" if early else "unexpected EOF") from None
            except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
                raise _failure(error, url, name) from None

    async def _exchange(
        self,
        http: "httpx.AsyncClient",
        url: str,
        headers: dict[str, str],
        body: bytes,
        extensions: dict[str, Any],
    ) -> bytes:
        async with http.stream("POST", url, content=body, headers=headers, extensions=extensions) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > self._max_answer:
                    raise AnswerTooLarge(f"the answer is longer than {self._max_answer} bytes")
        if not 200 <= response.status_code <= 206:
            raise BadAnswer(refusal(response.status_code, bytes(answer)), response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BadAnswer("the answer is compressed, which it was not asked to be")
        return bytes(answer)

    async def _server(self, place: str, ca: bytes) -> _Server:
        import httpx

        from kubelib.client.exchanges import Exchanges

        key = (place, ca)
        server = self._servers.get(key)
        if server is None:
            headers = {"accept": "application/json, */*", "accept-encoding": "identity"}
            server = self._servers[key] = _Server(
                httpx.AsyncClient(
                    transport=Exchanges(_context(ca), kept_for=60),
                    headers=headers,
                    timeout=None,  # the call as a whole has one
                    trust_env=False,
                    follow_redirects=False,
                ),
                anyio.CapacityLimiter(CONNECTIONS_PER_SERVER),
            )
        self._servers.move_to_end(key)
        if len(self._servers) > SERVERS:
            idle = next((k for k, s in self._servers.items() if not s.calls and s is not server), None)
            if idle is not None:
                server.calls += 1
                try:
                    await self._servers.pop(idle).http.aclose()
                finally:
                    server.calls -= 1
        return server


def _context(ca: bytes) -> ssl.SSLContext:
    """Return whom to trust: a server whose certificate names the host, as Go's TLS sees it."""
    try:
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise TlsFailed("unable to load root certificates: unable to parse bytes as PEM block") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from _causes(error.exceptions[0])
        error = error.__cause__ or error.__context__


def _failure(error: Exception, url: str, name: str) -> WebhookFailed:
    """Return what has gone wrong, in Go's words where Go has some."""
    host = urlsplit(url).netloc
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return TlsFailed(f"tls: failed to verify certificate: x509: {_distrust(cause, name)}")
            case ssl.SSLError():
                return TlsFailed(f"tls: {cause.reason or cause}")
            case socket.gaierror():
                return CannotConnect(f"dial tcp: lookup {urlsplit(url).hostname}: no such host")
            case OSError() if cause.errno in _ERRNO:
                return CannotConnect(f"dial tcp {host}: connect: {_ERRNO[cause.errno]}")
    return CannotConnect(f"dial tcp {host}: {str(error) or type(error).__name__}")


_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ETIMEDOUT: "connection timed out",
    errno.ECONNRESET: "connection reset by peer",
    errno.EACCES: "permission denied",
}


def _distrust(error: ssl.SSLCertVerificationError, name: str) -> str:
    match error.verify_code:
        case 9 | 10:
            return "certificate has expired or is not yet valid"
        case 62 | 64:
            return f"certificate is not valid for {name}"
        case 18 | 19 | 20 | 21:
            return "certificate signed by unknown authority"
    return error.verify_message


_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "Forbidden",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    410: "the server has removed the requested resource",
    413: "the request entity is too large",
    415: "the server was unable to accept the content type of the request",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def refusal(status: int, body: bytes) -> str:
    """Return what client-go says of an answer that is no success."""
    if status in _REFUSALS:
        return _REFUSALS[status]
    if status >= 500:
        text = body[:2048].decode(errors="replace").strip() or "unknown"
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'an error on the server ("{quoted}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"
