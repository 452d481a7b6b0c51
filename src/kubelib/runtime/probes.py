"""Probes: one check of a container, and the counting that turns checks into verdicts."""

import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.probes import HTTPGetAction, LifecycleHandler, Probe, ProbeHandler
from kubelib.runtime.base import (
    CannotStart,
    ContainerId,
    NoSuchContainer,
    Runtime,
    RuntimeFailure,
    SupportsExec,
    SupportsProbes,
)
from kubelib.runtime.grpchealth import ask_health

log = logging.getLogger("kubelib.runtime")

FOLLOWED = (301, 302, 303, 307, 308)
"""The statuses of answers that lead elsewhere."""
MOST_REQUESTS = 10
LONGEST_HEAD = 1 << 16

Kind = Literal["startup", "liveness", "readiness"]


def port_of(container: ContainerDefinition, port: int | str | None) -> int:
    """Return the number of a port that may be named. Raises ValueError."""
    if isinstance(port, int):
        return port
    for candidate in container.ports:
        if candidate.name == port:
            return candidate.container_port
    if isinstance(port, str) and port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port}")


async def check(
    handler: ProbeHandler | LifecycleHandler,
    container: ContainerDefinition,
    identity: ContainerId,
    runtime: Runtime,
    address: str,
    timeout: float,
) -> str | None:
    """Make one check, or run one hook; return None if all is well, else why not.

    What a command of a probe says is the reason, as in Kubernetes: none if it says nothing.
    """
    hook = isinstance(handler, LifecycleHandler)
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
                return output or (f"exit status {result.exit_code}" if hook else "")
            if handler.http_get is not None:
                return await _http(handler.http_get, container, address, hook=hook)
            if handler.tcp_socket is not None:
                host, port = handler.tcp_socket.host or address, port_of(container, handler.tcp_socket.port)
                await (await _connect(host, port)).aclose()
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


async def _http(
    get: HTTPGetAction, container: ContainerDefinition, address: str, *, hook: bool = False
) -> str | None:
    """Make a GET request, and those that its answer leads to on the same host.

    A probe looks at the last answer's status, and what leads elsewhere is a success; a hook wants an answer, whatever it says.
    """
    host, port, path = get.host or address, port_of(container, get.port), get.path or "/"
    at = host if ":" not in host else f"[{host}]"
    url = f"{(get.scheme or 'HTTP').lower()}://{at}:{port}{path if path.startswith('/') else '/' + path}"
    headers = [(header.name, header.value) for header in get.http_headers]
    agent = f"kube-{'lifecycle' if hook else 'probe'}/1.37"
    for _ in range(MOST_REQUESTS):
        try:
            code, location = await _ask(url, headers, agent)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            if isinstance(error, TimeoutError):
                raise
            return f'Get "{url}": {str(error) or "EOF"}'
        leads_to = urljoin(url, location) if code in FOLLOWED and location else ""
        if not leads_to or urlsplit(leads_to).hostname != urlsplit(url).hostname:
            return None if hook or 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
        url = leads_to
    return f'Get "{url}": stopped after {MOST_REQUESTS} redirects'


async def _ask(url: str, headers: Sequence[tuple[str, str]], agent: str) -> tuple[int, str]:
    """Ask by hand; return the status and, if it leads elsewhere, where to. Raises OSError, EndOfStream."""
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    given = {name.lower() for name, _ in headers}
    lines = [f"GET {urlunsplit(('', '', parts.path or '/', parts.query, ''))} HTTP/1.1", "Connection: close"]
    usual = (("Host", parts.netloc), ("User-Agent", agent), ("Accept", "*/*"))
    lines += [f"{name}: {value}" for name, value in usual if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers]
    stream: ByteStream = await _connect(host, parts.port or (443 if tls else 80))
    try:
        if tls:
            context = _unverified()
            stream = await TLSStream.wrap(
                stream, hostname=host, ssl_context=context, standard_compatible=False
            )
        await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin1"))
        head = b""
        while b"\r\n" not in head:
            head += await stream.receive(4096)
        status = head.split(b" ", 2)[1:2]
        code = int(status[0][:3]) if status and status[0][:3].isdigit() else 0
        while code in FOLLOWED and b"\r\n\r\n" not in head and len(head) < LONGEST_HEAD:
            head += await stream.receive(4096)
    finally:
        await anyio.aclose_forcefully(stream)
    if code not in FOLLOWED:
        return code, ""
    named = (line.partition(b":") for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    found = (value for name, _, value in named if name.lower() == b"location")
    return code, next(found, b"").strip().decode("latin1")


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
