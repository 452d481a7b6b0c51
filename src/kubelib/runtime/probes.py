"""Probes: one check of a container, and the counting that turns checks into verdicts."""

import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Literal

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
    """Make one check, or run one hook; return None if all is well, else why not."""
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
                output = (result.stdout + result.stderr).decode(errors="replace")
                return None if result.exit_code == 0 else output[:10_240] or f"exit status {result.exit_code}"
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
    """Make a GET request by hand: a probe needs the status line and nothing else, and a hook an answer, whatever it says."""
    host, port, path = get.host or address, port_of(container, get.port), get.path or "/"
    scheme = (get.scheme or "HTTP").lower()
    headers = [(header.name, header.value) for header in get.http_headers]
    given = {name.lower() for name, _ in headers}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1", "Connection: close"]
    if "host" not in given:
        lines.append(f"Host: {host}:{port}")
    if "user-agent" not in given:
        lines.append(f"User-Agent: kube-{'lifecycle' if hook else 'probe'}/1.37")
    if "accept" not in given:
        lines.append("Accept: */*")
    lines += [f"{name}: {value}" for name, value in headers]
    answer = b""
    try:
        stream: ByteStream = await _connect(host, port)
        if scheme == "https":
            stream = await TLSStream.wrap(
                stream, hostname=host, ssl_context=_unverified(), standard_compatible=False
            )
        try:
            await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin1"))
            while b"\r\n" not in answer:
                answer += await stream.receive(4096)
        finally:
            await anyio.aclose_forcefully(stream)
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
        if isinstance(error, TimeoutError):
            raise
        return f'Get "{scheme}://{host}:{port}{path}": {str(error) or "EOF"}'
    status = answer.split(b" ", 2)[1:2]
    code = int(status[0][:3]) if status and status[0][:3].isdigit() else 0
    return None if hook or 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


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
