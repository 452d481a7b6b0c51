"""Probes against real listeners, and the counting of their results in virtual time."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from kubelib.api.core.container import ContainerPort
from kubelib.api.core.probes import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    LifecycleHandler,
    Probe,
    TCPSocketAction,
)
from kubelib.runtime.base import ContainerId, ContainerSpec, SandboxSpec
from kubelib.runtime.probes import CannotProbe, check, port_of, watch_probe
from kubelib.runtime.process import ProcessRuntime
from kubelib.sim import simulate
from tests.runtime.conftest import container

ADDRESS = "127.244.202.1"
Serve = Callable[[anyio.abc.ByteStream], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def listening(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve at the Pod's address; yield the port."""
    listener: Any = await anyio.create_tcp_listener(local_host=ADDRESS)
    port: int = listener.extra(anyio.abc.SocketAttribute.local_port)
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield port
        group.cancel_scope.cancel()


async def probed(
    runtime: Any = None, timeout: float = 5, told: list[str] | None = None, **what: Any
) -> str | None:
    spec = container(ports=(ContainerPort(name="web", container_port=what.pop("named", 1)),))
    tell = (told if told is not None else []).append
    return await check(Probe(**what), spec, ContainerId("x"), runtime, ADDRESS, timeout, tell)


def answers(status: str, seen: list[bytes] | None = None) -> Serve:
    async def serve(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            request = await stream.receive()
            if seen is not None:
                seen.append(request)
            await stream.send(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())

    return serve


async def silent(stream: anyio.abc.ByteStream) -> None:
    async with stream:
        await anyio.sleep_forever()


async def unused_port() -> int:
    async with listening(silent) as port:
        return port


# HTTP


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "399 Whatever"])
async def test_http_succeeds_from_200_to_399(status: str) -> None:
    async with listening(answers(status)) as port:
        assert await probed(http_get=HTTPGetAction(port=port)) is None


@pytest.mark.parametrize("code", [199, 400, 404, 500, 503])
async def test_http_fails_with_any_other_status(code: int) -> None:
    async with listening(answers(f"{code} Bad")) as port:
        assert await probed(http_get=HTTPGetAction(port=port)) == f"HTTP probe failed with statuscode: {code}"


def leading(to: dict[str, str], ends: str, seen: list[str]) -> Serve:
    """Answer for paths that lead elsewhere with where to, and for others with a status."""

    async def serve(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            path = (await stream.receive()).split(b" ", 2)[1].decode()
            seen.append(path)
            if path in to:
                await stream.send(b"HTTP/1.1 302 Found\r\n")
                await stream.send(f"location: {to[path]}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                await stream.send(f"HTTP/1.1 {ends}\r\n\r\n".encode())

    return serve


async def test_http_follows_on_the_same_host_and_no_further() -> None:
    seen: list[str] = []
    to = {"/": "/a", "/a": "b?c=1", "/away": "http://127.244.202.9/", "/round": "/round"}
    async with listening(leading(to, "500 Bad", seen)) as port:
        why = await probed(http_get=HTTPGetAction(port=port))
        assert why == "HTTP probe failed with statuscode: 500"
        assert seen == ["/", "/a", "/b?c=1"]
        assert await probed(http_get=HTTPGetAction(port=port, path="/away")) is None
        why = await probed(http_get=HTTPGetAction(port=port, path="/round"))
        assert why is not None
        assert why.endswith("stopped after 10 redirects")


@pytest.mark.parametrize("size", ["Content-Length: 5\r\n", ""])
async def test_what_leads_elsewhere_is_a_success_that_one_is_warned_of(size: str) -> None:
    async def away(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(f"HTTP/1.1 302 Found\r\n{size}Location: http://0.0.0.0/\r\n\r\nthere".encode())

    told: list[str] = []
    async with listening(away) as port:
        assert await probed(http_get=HTTPGetAction(port=port), told=told) is None
    assert told == ["Probe terminated redirects, Response body: there"]
    async with listening(answers("200 OK")) as port:
        assert await probed(http_get=HTTPGetAction(port=port), told=told) is None
    assert len(told) == 1


async def hooked(runtime: Any = None, told: list[str] | None = None, **what: Any) -> str | None:
    tell = (told if told is not None else []).append
    return await check(LifecycleHandler(**what), container(), ContainerId("x"), runtime, ADDRESS, 5, tell)


async def test_a_hook_is_called_over_http_where_nobody_speaks_tls_and_tells_no_secrets_there() -> None:
    seen: list[bytes] = []
    told: list[str] = []
    headers = (HTTPHeader(name="authorization", value="secret"), HTTPHeader(name="X-A", value="b"))

    async def plain(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            request = await stream.receive()
            if request.startswith(b"GET"):
                seen.append(request)
                await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                await stream.send(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request\n")

    async with listening(plain) as port:
        get = HTTPGetAction(port=port, scheme="HTTPS", path="bar", http_headers=headers)
        assert await hooked(http_get=get, told=told) is None
        # What only is asked is not asked otherwise than it says.
        assert await probed(http_get=get) == (
            f'Get "https://{ADDRESS}:{port}/bar": http: server gave HTTP response to HTTPS client'
        )
    [request] = seen
    assert b"secret" not in request and b"X-A: b" in request
    assert told == [
        f"request to HTTPS lifecycle hook {ADDRESS}:{port} got HTTP response, retry with HTTP succeeded"
    ]


async def test_what_answers_in_no_http_is_no_answer() -> None:
    async def mumble(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"hello there\r\n")

    async with listening(mumble) as port:
        why = await hooked(http_get=HTTPGetAction(port=port))
        assert why == f'Get "http://{ADDRESS}:{port}/": malformed HTTP response "hello there"'


async def test_headers_that_are_given_as_empty_are_not_sent() -> None:
    seen: list[bytes] = []
    empty = tuple(HTTPHeader(name=name, value="") for name in ("Accept", "User-Agent"))
    async with listening(answers("200 OK", seen)) as port:
        assert await probed(http_get=HTTPGetAction(port=port, http_headers=empty)) is None
    assert b"Accept" not in seen[0] and b"User-Agent" not in seen[0]


async def test_a_port_that_has_no_name_says_nothing_of_the_container() -> None:
    with pytest.raises(CannotProbe, match=r'^strconv\.Atoi: parsing "nope": invalid syntax$'):
        await probed(tcp_socket=TCPSocketAction(port="nope"))
    assert await hooked(http_get=HTTPGetAction(port="nope")) == 'strconv.Atoi: parsing "nope": invalid syntax'


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "500 Bad"])
async def test_a_hook_wants_an_answer_whatever_it_says(status: str) -> None:
    seen: list[bytes] = []
    async with listening(answers(status, seen)) as port:
        assert await hooked(http_get=HTTPGetAction(port=port, path="drain")) is None
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /drain HTTP/1.1"
    assert "User-Agent: kube-lifecycle/1.37" in lines
    why = await hooked(http_get=HTTPGetAction(port=await unused_port()))
    assert why is not None
    assert why.endswith("connect: connection refused")


async def test_a_hook_cannot_be_a_connection() -> None:
    async with listening(silent) as port:
        why = await hooked(tcp_socket=TCPSocketAction(port=port))
    assert why is not None
    assert why.startswith("invalid handler")


async def test_http_asks_for_the_path_with_the_headers_at_a_named_port() -> None:
    seen: list[bytes] = []
    headers = (HTTPHeader(name="X-Token", value="abc"), HTTPHeader(name="Host", value="example.org"))
    async with listening(answers("200 OK", seen)) as port:
        get = HTTPGetAction(port="web", path="/healthz?full=1", http_headers=headers)
        assert await probed(http_get=get, named=port) is None
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /healthz?full=1 HTTP/1.1"
    assert "X-Token: abc" in lines and "Host: example.org" in lines
    assert "User-Agent: kube-probe/1.37" in lines
    assert sum(line.lower().startswith("host:") for line in lines) == 1


async def test_https_does_not_ask_who_answers(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(self_signed(tmp_path))
    async with listening(answers("200 OK"), tls=context) as port:
        assert await probed(http_get=HTTPGetAction(port=port, scheme="HTTPS")) is None


def self_signed(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pod")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "pod.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_http_names_what_it_could_not_reach() -> None:
    port = await unused_port()
    assert await probed(http_get=HTTPGetAction(port=port, path="/x")) == (
        f'Get "http://{ADDRESS}:{port}/x": dial tcp {ADDRESS}:{port}: connect: connection refused'
    )


async def test_a_server_that_closes_without_an_answer_fails() -> None:
    async def close(stream: anyio.abc.ByteStream) -> None:
        await stream.receive()
        await stream.aclose()

    async with listening(close) as port:
        why = await probed(http_get=HTTPGetAction(port=port))
    assert why is not None and why.startswith(f'Get "http://{ADDRESS}:{port}/": ')


@pytest.mark.parametrize("kind", ["http_get", "grpc"])
async def test_what_does_not_answer_in_time_fails(kind: str) -> None:
    async with listening(silent) as port:
        handler: Any = HTTPGetAction(port=port) if kind == "http_get" else GRPCAction(port=port)
        assert await probed(**{kind: handler}, timeout=0.05) == "context deadline exceeded after 0.05s"


# TCP


async def test_tcp_succeeds_where_somebody_listens_and_says_why_not_elsewhere() -> None:
    async with listening(silent) as port:
        assert await probed(tcp_socket=TCPSocketAction(port="web"), named=port) is None
    assert await probed(tcp_socket=TCPSocketAction(port=port)) == (
        f"dial tcp {ADDRESS}:{port}: connect: connection refused"
    )


def test_a_port_is_a_number_or_the_name_of_one() -> None:
    spec = container(ports=(ContainerPort(name="web", container_port=80),))
    assert [port_of(spec, port) for port in (8080, "web", "8081")] == [8080, 80, 8081]
    with pytest.raises(ValueError, match='parsing "nope": invalid syntax'):
        port_of(spec, "nope")


# gRPC


def health(state: int | None, *, status: str = "0", seen: list[tuple[str, bytes]] | None = None) -> Serve:
    """A server of the health protocol that gives one answer."""

    async def serve(stream: anyio.abc.ByteStream) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        path, body = "", b""
        async with stream:
            await stream.send(connection.data_to_send())
            while True:
                try:
                    events = connection.receive_data(await stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                for event in events:
                    if isinstance(event, RequestReceived):
                        path = next(str(value) for name, value in event.headers or () if str(name) == ":path")
                    elif isinstance(event, DataReceived):
                        body += event.data or b""
                    elif isinstance(event, StreamEnded):
                        if seen is not None:
                            seen.append((path, body))
                        number = event.stream_id or 0
                        headers = [(":status", "200"), ("content-type", "application/grpc")]
                        connection.send_headers(number, headers)
                        if state is not None:
                            message = bytes([8, state]) if state else b""
                            connection.send_data(number, b"\0" + len(message).to_bytes(4, "big") + message)
                        trailers = [("grpc-status", status), ("grpc-message", "as told")]
                        connection.send_headers(number, trailers, end_stream=True)
                await stream.send(connection.data_to_send())

    return serve


async def test_grpc_asks_for_the_health_of_a_service() -> None:
    seen: list[tuple[str, bytes]] = []
    async with listening(health(1, seen=seen)) as port:
        assert await probed(grpc=GRPCAction(port=port)) is None
        assert await probed(grpc=GRPCAction(port=port, service="shop")) is None
    path = "/grpc.health.v1.Health/Check"
    assert seen == [(path, b"\0\0\0\0\0"), (path, b"\0\0\0\0\x06\x0a\x04shop")]


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        (2, "0", 'service unhealthy (responded with "NOT_SERVING")'),
        (0, "0", 'service unhealthy (responded with "UNKNOWN")'),
        (None, "5", "error: health rpc probe failed: rpc error: code 5: as told"),
        (
            None,
            "12",
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): as told",
        ),
    ],
)
async def test_grpc_fails_unless_the_service_is_serving(state: int | None, status: str, message: str) -> None:
    async with listening(health(state, status=status)) as port:
        assert await probed(grpc=GRPCAction(port=port)) == message


async def test_grpc_fails_where_something_else_listens() -> None:
    async with listening(answers("200 OK")) as port:
        why = await probed(grpc=GRPCAction(port=port))
    assert why is not None and why.startswith("error: health rpc probe failed")


# Commands


async def test_a_command_succeeds_with_exit_code_0_and_its_output_is_why_not(tmp_path: Path) -> None:
    async with ProcessRuntime(tmp_path / "runtime") as runtime:
        shared = SandboxSpec(uid="u", namespace="default", name="a", hostname="a", address=ADDRESS)
        sandbox = await runtime.run_sandbox(shared)
        spec = ContainerSpec(name="main", image="x", command=("sleep", "1000"), env={"PATH": "/usr/bin:/bin"})
        identity = await runtime.start_container(sandbox, spec)

        async def run(line: str, timeout: float = 5) -> str | None:
            handler = Probe(exec=ExecAction(command=("sh", "-c", line)))
            return await check(handler, container(), identity, runtime, ADDRESS, timeout)

        assert await run("exit 0") is None
        assert await run("echo no; exit 1") == "no\n"
        assert await run("exit 3") == ""
        assert await run("sleep 100", 0.1) == "context deadline exceeded after 0.1s"
        await runtime.remove_sandbox(sandbox)


# Counting


def verdicts(results: str, **probe: Any) -> list[tuple[float, bool]]:
    """Return when which verdict falls if the checks go as ``+`` and ``-`` say."""
    found: list[tuple[float, bool]] = []

    async def main() -> None:
        left = iter(results)

        async def once() -> str | None:
            mark = next(left, None)
            if mark is None:
                raise StopAsyncIteration
            return None if mark == "+" else "bad"

        def report(good: bool, why: str) -> None:
            assert bool(why) is not good
            found.append((anyio.current_time(), good))

        with pytest.raises(StopAsyncIteration):
            await watch_probe(Probe(**probe), once, report)

    simulate(main)
    return found


@pytest.mark.parametrize(
    ("results", "probe", "expected"),
    [
        ("+", {}, [(0, True)]),
        ("--", {}, []),
        ("---", {}, [(20, False)]),
        ("--+--", {}, [(20, True)]),
        ("-", {"failure_threshold": 1, "initial_delay_seconds": 7}, [(7, False)]),
        ("++", {"success_threshold": 2, "period_seconds": 3}, [(3, True)]),
        ("+-++", {"success_threshold": 2, "period_seconds": 3}, [(9, True)]),
        ("----", {"failure_threshold": 3, "period_seconds": 1}, [(2, False), (3, False)]),
    ],
)
def test_a_verdict_falls_when_as_many_checks_in_a_row_agree_as_the_threshold_says(
    results: str, probe: dict[str, int], expected: list[tuple[float, bool]]
) -> None:
    assert verdicts(results, **probe) == expected
