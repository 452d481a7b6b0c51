"""Probes: one check of a container, and the counting that turns checks into verdicts."""

import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import anyio
import attrs
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.probes import HTTPGetAction, LifecycleHandler, Probe, ProbeHandler
from kubelib.api.model import replace
from kubelib.runtime import http2
from kubelib.runtime.abilities import SupportsExec, SupportsProbes
from kubelib.runtime.base import CannotStart, ContainerId, NoSuchContainer, Runtime, RuntimeFailure
from kubelib.runtime.grpchealth import ask_health
from kubelib.runtime.words import quoted

log = logging.getLogger("kubelib.runtime")

Tell = Callable[[str], None]
"""Hears what is to be told of a check that succeeded: the warning of a probe, or how a hook succeeded only in the end."""

FOLLOWED = (301, 302, 303, 307, 308)
"""The statuses of answers that lead elsewhere."""
MOST_REQUESTS = 10
LONGEST_HEAD = 1 << 16
LONGEST_BODY = 10 << 10
OF_CONNECTIONS = (
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
)
"""Headers that HTTP/2 has not: they speak of a connection, or stand elsewhere."""
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL says of a server that does not answer in TLS."""
PLAIN = "http: server gave HTTP response to HTTPS client"

Kind = Literal["startup", "liveness", "readiness"]


class CannotProbe(RuntimeFailure):
    """A probe that cannot be made, which says nothing of its container."""


def port_of(container: ContainerDefinition, port: int | str | None) -> int:
    """Return the number of a port that may be named. Raises ValueError."""
    if isinstance(port, int):
        return port
    for candidate in container.ports:
        if candidate.name == port:
            return candidate.container_port
    if isinstance(port, str) and port.isdigit():
        return int(port)
    raise ValueError(f'strconv.Atoi: parsing "{port or ""}": invalid syntax')


async def check(
    handler: ProbeHandler | LifecycleHandler,
    container: ContainerDefinition,
    identity: ContainerId,
    runtime: Runtime,
    address: str,
    timeout: float,
    tell: Tell = lambda _: None,
) -> str | None:
    """Make one check, or run one hook; return None if all is well, else why not. Raises `CannotProbe`.

    What a command of a probe says is the reason, as in Kubernetes: none if it says nothing.
    """
    hook = isinstance(handler, LifecycleHandler)
    connects = handler.http_get or handler.tcp_socket
    try:
        port = port_of(container, connects.port) if connects is not None else 0
    except ValueError as error:
        if hook:
            return str(error)
        raise CannotProbe(str(error)) from None
    try:
        with anyio.fail_after(timeout):
            if hook and handler.tcp_socket is not None:
                return "invalid handler: a hook cannot be a connection"
            # Commands of hooks have effects: they are run, never only judged.
            if isinstance(runtime, SupportsProbes) and not (hook and handler.http_get is None):
                return await runtime.probe(identity, handler, timeout=timeout)
            if isinstance(handler, LifecycleHandler) and handler.sleep is not None:
                await anyio.sleep(handler.sleep.seconds)
                return None
            if handler.exec is not None:
                if not isinstance(runtime, SupportsExec):
                    return f"the runtime {runtime.name} cannot run commands in containers"
                result = await runtime.exec(identity, handler.exec.command, timeout=timeout)
                if result.exit_code == 0:
                    return None
                output = (result.stdout + result.stderr).decode(errors="replace")[:10_240]
                if not hook:
                    return output
                command, said = " ".join(handler.exec.command), result.stderr.decode(errors="replace")
                return (
                    f"command '{command}' exited with {result.exit_code}: {said}, message: {quoted(output)}"
                )
            if handler.http_get is not None:
                url = _url(handler.http_get, address, port)
                if hook:
                    return await _call(handler.http_get, url, tell)
                return await _probe(handler.http_get, url, tell)
            if handler.tcp_socket is not None:
                await (await _connect(handler.tcp_socket.host or address, port)).aclose()
                return None
            if isinstance(handler, ProbeHandler) and handler.grpc is not None:
                return await ask_health(address, handler.grpc.port, handler.grpc.service)
    except TimeoutError:
        return f"context deadline exceeded after {timeout:g}s"
    except (OSError, ValueError, CannotStart, NoSuchContainer) as error:
        return str(error)
    return None


async def _connect(host: str, port: int) -> SocketStream:
    """Connect. Raises OSError that says to where, and why not."""
    try:
        return await anyio.connect_tcp(host, port)
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        why = os.strerror(cause.errno).lower() if cause.errno else str(cause)
        raise OSError(f"dial tcp {host}:{port}: connect: {why}") from error


def _unverified() -> ssl.SSLContext:
    """Return what a probe speaks TLS with: it asks whether somebody answers, not who."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@attrs.frozen
class Answer:
    """What a server has answered."""

    code: int
    location: str = ""
    """Where it leads, if it leads elsewhere."""
    body: str = ""
    """What it says then, the beginning of it."""


def _url(get: HTTPGetAction, address: str, port: int) -> str:
    host, path = get.host or address, get.path or "/"
    at = host if ":" not in host else f"[{host}]"
    return f"{(get.scheme or 'HTTP').lower()}://{at}:{port}{path if path.startswith('/') else '/' + path}"


async def _probe(get: HTTPGetAction, url: str, tell: Tell) -> str | None:
    """Ask, follow an answer that leads elsewhere on the same host, and look at the last answer's status.

    What leads anywhere else is a success that one is warned of.
    """
    try:
        answer = await _follow(get, url, "probe")
    except OSError as error:
        return str(error)
    if 300 <= answer.code < 400:
        tell(f"Probe terminated redirects, Response body: {answer.body}")
    return None if 200 <= answer.code < 400 else f"HTTP probe failed with statuscode: {answer.code}"


async def _call(get: HTTPGetAction, url: str, tell: Tell) -> str | None:
    """Call a hook, which wants an answer, whatever that says; over plain HTTP if there is no TLS where it should be."""
    try:
        await _follow(get, url, "lifecycle")
    except OSError as error:
        if not str(error).endswith(PLAIN):
            return str(error)
        open_to_all = tuple(h for h in get.http_headers if h.name.lower() != "authorization")
        try:
            await _follow(
                replace(get, http_headers=open_to_all), "http" + url.removeprefix("https"), "lifecycle"
            )
        except OSError:
            return str(error)
        tell(
            f"request to HTTPS lifecycle hook {urlsplit(url).netloc} got HTTP response, retry with HTTP succeeded"
        )
    return None


async def _follow(get: HTTPGetAction, first: str, what: str) -> Answer:
    """Ask, and go on asking where answers lead on the same host. Raises OSError that says what was asked."""
    headers, url = [(header.name, header.value) for header in get.http_headers], first
    # Hooks are called as ever: only of probes does the protocol speak.
    asking = _ask_http2 if what == "probe" and get.protocol == "HTTP2" else _ask
    for _ in range(MOST_REQUESTS):
        try:
            answer = await asking(url, headers, f"kube-{what}/1.37")
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            if isinstance(error, TimeoutError):
                raise
            plain = isinstance(error, ssl.SSLError) and error.reason in NO_TLS
            raise OSError(f'Get "{url}": {PLAIN if plain else str(error) or "EOF"}') from error
        leads_to = urljoin(url, answer.location) if answer.code in FOLLOWED and answer.location else ""
        if not leads_to or urlsplit(leads_to).hostname != urlsplit(first).hostname:
            return answer
        url = leads_to
    raise OSError(f'Get "{url}": stopped after {MOST_REQUESTS} redirects')


async def _ask(url: str, headers: Sequence[tuple[str, str]], agent: str) -> Answer:
    """Ask by hand. Raises OSError, EndOfStream."""
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    given = {name.lower() for name, _ in headers}
    lines = [f"GET {urlunsplit(('', '', parts.path or '/', parts.query, ''))} HTTP/1.1", "Connection: close"]
    usual = (("Host", parts.netloc), ("User-Agent", agent), ("Accept", "*/*"))
    lines += [f"{name}: {value}" for name, value in usual if name.lower() not in given]
    # Given as empty, they are left out.
    lines += [f"{n}: {v}" for n, v in headers if v or n.lower() not in ("accept", "user-agent")]
    stream: ByteStream = await _connect(host, parts.port or (443 if tls else 80))
    try:
        if tls:
            context = _unverified()
            stream = await TLSStream.wrap(
                stream, hostname=host, ssl_context=context, standard_compatible=False
            )
        await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin1"))
        return await _answer(stream)
    finally:
        await anyio.aclose_forcefully(stream)


async def _ask_http2(url: str, headers: Sequence[tuple[str, str]], agent: str) -> Answer:
    """Ask over HTTP/2 in the clear. Raises OSError."""
    parts = urlsplit(url)
    usual = (("user-agent", agent), ("accept", "*/*"))
    own = [(name.lower(), value) for name, value in headers]
    given = {name for name, _ in own}
    fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", next((value for name, value in own if name == "host" and value), parts.netloc)),
        (":path", urlunsplit(("", "", parts.path or "/", parts.query, ""))),
        *((name, value) for name, value in usual if name not in given),
        *((n, v) for n, v in own if n not in OF_CONNECTIONS and (v or n not in ("accept", "user-agent"))),
    ]
    stream = await _connect(parts.hostname or "", parts.port or 80)
    try:
        said, body = await http2.exchange(stream, fields, enough=lambda f: f.get(":status", "")[:1] != "3")
    finally:
        await anyio.aclose_forcefully(stream)
    code = said.get(":status", "")
    if not code.isdigit():
        raise OSError(http2.CLOSED)
    return Answer(int(code), said.get("location", ""), body.decode(errors="replace"))


async def _answer(stream: ByteStream) -> Answer:
    """Read an answer, the whole of it only if it leads elsewhere. Raises OSError, EndOfStream."""
    head = b""
    while b"\r\n" not in head:
        head += await stream.receive(4096)
    line = head.partition(b"\r\n")[0]
    words = line.split(b" ", 2)
    if not words[0].startswith(b"HTTP/") or len(words) < 2 or not words[1].isdigit():
        raise OSError(f'malformed HTTP response "{line.decode(errors="replace")}"')
    code = int(words[1])
    if not 300 <= code < 400:
        return Answer(code)
    while b"\r\n\r\n" not in head and len(head) < LONGEST_HEAD:
        head += await stream.receive(4096)
    head, _, body = head.partition(b"\r\n\r\n")
    named = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in named}
    size = fields.get(b"content-length", b"")
    whole = min(int(size), LONGEST_BODY) if size.isdigit() else LONGEST_BODY
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while len(body) < whole:
            body += await stream.receive(4096)
    return Answer(code, fields.get(b"location", b"").decode("latin1"), body[:whole].decode(errors="replace"))


async def watch_probe(
    probe: Probe,
    once: Callable[[], Awaitable[str | None]],
    report: Callable[[bool, str], None],
    *,
    age: float = 0.0,
) -> None:
    """Check again and again; report a verdict whenever a threshold is reached, with the reason of a failure.

    The initial delay counts from the container's start, which was `age` seconds ago.
    """
    await anyio.sleep(max(0.0, probe.initial_delay_seconds - age))
    good = bad = 0
    while True:
        try:
            why = await once()
        except RuntimeFailure as error:
            # Nobody could look: that says nothing of the container.
            log.warning("a probe could not be made: %s", error)
            await anyio.sleep(probe.period_seconds or 10)
            continue
        if why is None:
            good, bad = good + 1, 0
            if good >= (probe.success_threshold or 1):
                report(True, "")
        else:
            good, bad = 0, bad + 1
            if bad >= (probe.failure_threshold or 3):
                report(False, why)
        await anyio.sleep(probe.period_seconds or 10)
