"""What requests cost the API server: over TLS, with a client certificate, authorized by RBAC, on SQLite.

The server is a process of its own, and what counts is the processor time that it uses: ``cpu_us`` in the extra information of
each benchmark is microseconds per request (or per event). The client beside it is a small one, so as not to be in the way.
"""

import json
import os
import resource
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.client.credentials import tls_context
from kubelib.client.kubeconfig import load_connection
from tests.bench.budgets import within

CONNECTIONS = 16
POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"annotations": {"example.com/note": "some text of a usual length, as tools leave it"}},
    "spec": {
        "containers": [
            {
                "name": f"c{number}",
                "image": "registry.example/web:1.2.3",
                "env": [{"name": f"NAME_{n}", "value": "some value"} for n in range(8)],
                "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 10},
            }
            for number in range(2)
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}
PODS = "/api/v1/namespaces/default/pods"
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """`kubelib up` without nodes, asked as a user who may do what a role says."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "-m", "reference_cluster"]
        self.process = subprocess.Popen(
            [*command, "apiserver", "--data-dir", str(directory), "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert b"ready" in self.process.stdout.readline()
        kubeconfig = directory / "jane.kubeconfig"
        subprocess.run(
            [*command, "credentials", "user", "jane", "--data-dir", str(directory), "--out", str(kubeconfig)],
            check=True,
        )
        self.admin = self._connection(directory / "admin.kubeconfig")
        self.user = self._connection(kubeconfig)

    @staticmethod
    def _connection(kubeconfig: Path) -> tuple[str, int, ssl.SSLContext]:
        connection = load_connection([kubeconfig])
        address = urlsplit(connection.server)
        assert address.hostname is not None
        assert address.port is not None
        return address.hostname, address.port, tls_context(connection)

    def cpu(self) -> float:
        """Return the seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self) -> int:
        """Return the bytes of memory that the server takes up."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Line:
    """One connection."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = BufferedByteReceiveStream(stream)

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        await self._stream.send(head.encode() + body)
        headers = (await self._buffer.receive_until(b"\r\n\r\n", 65536)).lower()
        status = int(headers[9:12])
        length = int(headers.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await self._buffer.receive_exactly(length) if length else b""
        assert status < 300, answer
        return answer

    async def watch(self, path: str) -> None:
        await self._stream.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await self._buffer.receive_until(b"\r\n\r\n", 65536)

    async def lines(self, count: int) -> None:
        """Read events, however they come in chunks."""
        while count > 0:
            data = await self._buffer.receive(1 << 20)
            count -= data.count(b'{"type":"')

    async def close(self) -> None:
        await self._stream.aclose()


async def line(server: Server, *, admin: bool = False) -> Line:
    host, port, context = server.admin if admin else server.user
    stream = await anyio.connect_tcp(
        host, port, ssl_context=context, tls_standard_compatible=False, tls_hostname=host
    )
    return Line(stream)


@pytest.fixture(scope="module", params=["plain", "audited, with 1000 roles"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As it is by default, and as a large and careful house has it: each request is in the audit log, and rules are many."""
    directory, crowded, options = tmp_path_factory.mktemp("server"), request.param != "plain", []
    if crowded:
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
        (directory / "policy.json").write_text(json.dumps(policy))
        options = [
            "--audit-policy-file",
            str(directory / "policy.json"),
            "--audit-log-path",
            str(directory / "log"),
        ]
    server = Server(directory / "data", *options)

    async def prepare() -> None:
        admin = await line(server, admin=True)
        binding = {
            "kind": "RoleBinding",
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {"name": "jane"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        await admin.ask("POST", path, json.dumps(binding).encode())
        await admin.ask(
            "POST",
            "/api/v1/namespaces/default/serviceaccounts",
            b'{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"default"}}',
        )
        for number in range(1000 if crowded else 0):
            role = {
                "kind": "Role",
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "metadata": {"name": f"role-{number}"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["pods"],
                        "verbs": ["get"],
                        "resourceNames": [f"p{number}"],
                    }
                ],
            }
            await admin.ask("POST", path.replace("rolebindings", "roles"), json.dumps(role).encode())
            granted = {
                **binding,
                "metadata": {"name": f"role-{number}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": f"role-{number}",
                },
            }
            await admin.ask("POST", path, json.dumps(granted).encode())
        for number in range(5000):
            await admin.ask("POST", PODS, pod(f"p{number}", "even" if number % 10 else "few"))
        await admin.close()

    anyio.run(prepare, backend_options={"use_uvloop": True})
    yield server
    server.stop()


def pod(name: str, group: str = "made") -> bytes:
    meta = {**POD["metadata"], "name": name, "labels": {"app": "web", "group": group}}
    return json.dumps({**POD, "metadata": meta}).encode()


def measure(
    benchmark: BenchmarkFixture,
    server: Server,
    requests: int,
    work: Any,
    budget: float,
    *,
    admin: bool = False,
    warm: int = 0,
) -> None:
    """Run `work` on some connections, each with its share of the requests, and keep the server's microseconds for each to a budget.

    With `warm` each connection makes so many requests before: large answers take memory that a new process has not touched yet.
    """

    async def main() -> None:
        lines = [await line(server, admin=admin) for _ in range(CONNECTIONS)]
        async with anyio.create_task_group() as group:
            for worker, each in enumerate(lines):
                group.start_soon(work, each, worker, warm)
        before = server.cpu()
        async with anyio.create_task_group() as group:
            for worker, each in enumerate(lines):
                group.start_soon(work, each, worker, requests // CONNECTIONS)
        spent = (server.cpu() - before) / requests * 1e6
        for each in lines:
            await each.close()
        within(benchmark, "cpu_us", spent, budget)

    def run() -> None:
        anyio.run(main, backend_options={"use_uvloop": True})

    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]


def test_get(benchmark: BenchmarkFixture, server: Server) -> None:
    """Budget: 80 us."""

    async def work(line: Line, worker: int, requests: int) -> None:
        for number in range(requests):
            await line.ask("GET", f"{PODS}/p{(worker * requests + number) % 5000}")

    measure(benchmark, server, 8000, work, 80)


def test_create(benchmark: BenchmarkFixture, server: Server) -> None:
    """Budget: 400 us."""

    async def work(line: Line, worker: int, requests: int) -> None:
        for number in range(requests):
            await line.ask("POST", PODS, pod(f"c{worker}-{number}"))

    measure(benchmark, server, 3200, work, 400)


def test_status_patch(benchmark: BenchmarkFixture, server: Server) -> None:
    """Budget: 300 us."""

    async def work(line: Line, worker: int, requests: int) -> None:
        for number in range(requests):
            body = json.dumps(
                {"status": {"phase": "Running", "podIP": f"10.0.{worker}.{number % 250}"}}
            ).encode()
            path = f"{PODS}/p{worker * 200 + number % 200}/status"
            await line.ask("PATCH", path, body, "application/strategic-merge-patch+json")

    measure(benchmark, server, 3200, work, 300)


@pytest.mark.parametrize(("pods", "selector"), [(500, "group=few"), (5000, "group in (few,even)")])
def test_list(benchmark: BenchmarkFixture, server: Server, pods: int, selector: str) -> None:
    """Budget: 2,500 us for 500, 25,000 us for 5,000."""
    from urllib.parse import quote

    async def work(line: Line, worker: int, requests: int) -> None:
        for _ in range(requests):
            answer = await line.ask("GET", f"{PODS}?labelSelector={quote(selector)}")
            assert answer.count(b'"kind":"Pod",') == pods

    measure(benchmark, server, 160 if pods == 500 else 32, work, 5 * pods, warm=1)


def test_one_change_to_a_thousand_watchers(benchmark: BenchmarkFixture, server: Server) -> None:
    """Budget: 10,000 us for a change that comes alone; ``burst_events`` is events a second when a hundred come at once.

    The client and the server share the processor: what the server alone could do is ``burst_events_per_cpu_second``.
    """

    async def main() -> None:
        maps = "/api/v1/namespaces/default/configmaps"
        writer = await line(server)
        created = json.loads(
            await writer.ask("POST", maps, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"w"}}')
        )
        since = created["metadata"]["resourceVersion"]
        watchers = [await line(server) for _ in range(1000)]
        for watcher in watchers:
            await watcher.watch(f"{maps}?watch=1&resourceVersion={since}")

        async def change(number: int) -> None:
            body = b'{"data":{"n":"%d"}}' % number
            await writer.ask("PATCH", f"{maps}/w", body, "application/merge-patch+json")

        async def make(number: int, by: Line) -> None:
            body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b%d"}}' % number
            await by.ask("POST", maps, body)

        async def all_see(events: int) -> None:
            async with anyio.create_task_group() as group:
                for watcher in watchers:
                    group.start_soon(watcher.lines, events)

        before = server.cpu()
        for number in range(10):
            await change(number)
            await all_see(1)
        spent = (server.cpu() - before) / 10 * 1e6
        writers = [await line(server) for _ in range(100)]
        begun, before = anyio.current_time(), server.cpu()
        async with anyio.create_task_group() as group:
            for number, each in enumerate(writers):
                group.start_soon(make, number, each)
            group.start_soon(all_see, 100)
        benchmark.extra_info["burst_events"] = round(100_000 / (anyio.current_time() - begun))
        benchmark.extra_info["burst_events_per_cpu_second"] = round(100_000 / (server.cpu() - before))
        for each in (*watchers, *writers, writer):
            await each.close()
        within(benchmark, "cpu_us", spent, 10_000)

    def run() -> None:
        anyio.run(main, backend_options={"use_uvloop": True})

    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
