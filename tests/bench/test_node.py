"""One node as a daemon, on an API server of its own: how soon Pods run, what it costs when nothing happens, and output of containers.

As a test each runs with a fiftieth of the Pods; ``scripts/bench`` runs the whole.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Literal

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api.core.config import ConfigMap, ServiceAccount
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.core.volumes import ConfigMapVolumeSource, Volume
from kubelib.api.errors import AlreadyExists
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.registry.base import Query
from kubelib.runtime.base import ContainerSpec, SandboxSpec
from kubelib.runtime.process import ProcessRuntime
from kubelib.testing.objects import make_config_map, make_pod
from reference_cluster.runtimes import clear_node
from tests.bench.budgets import at_least, within
from tests.bench.test_server import Server
from tests.containers import BUSYBOX

SMALLER = 50
TICK = os.sysconf("SC_CLK_TCK")


class Node:
    """A node as a daemon, and a client to give it Pods."""

    def __init__(self, directory: Path, server: Path, number: int, runtime: str = "process") -> None:
        self.runtime = runtime
        self.directory, self.name = directory / "data", "node-1"
        command = [sys.executable, "-m", "reference_cluster"]
        home = directory / "credentials"
        subprocess.run(
            [*command, "credentials", "node", self.name, "--data-dir", str(server), "--out", str(home)],
            check=True,
        )
        options = [
            "--port",
            "0",
            "--capacity",
            f"pods={number + 10},cpu=1000",
            "--pod-network",
            "127.249.0.0/16",
            *("--runtime", runtime),
        ]
        self.process = subprocess.Popen(
            [*command, "kubelet", self.name, "--kubeconfig", str(home / "kubeconfig"), "--data-dir", str(self.directory), *options],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self._kubeconfig = server / "admin.kubeconfig"

    def wait(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline()

    def stop(self) -> None:
        try:
            self._end()
        finally:
            anyio.run(clear_node, self.runtime, self.directory)

    def _end(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def cpu(self) -> float:
        """Return the seconds of processor time that the node has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def megabytes(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def in_the_runtime(self) -> float:
        """Return how many seconds its runtime has been at work so far to start Pods, as the node's metrics tell."""
        wanted = ("run_podsandbox", "image_status", "start_container")

        async def ask() -> str:
            async with HttpClient(load_connection([self._kubeconfig])) as client:
                path = f"/api/v1/nodes/{self.name}/proxy/metrics"
                return (await client.request("GET", path, accept="*/*")).body.decode()

        lines = [line for line in anyio.run(ask).splitlines() if "operations_duration_seconds_sum" in line]
        return sum(float(line.split()[-1]) for line in lines if any(kind in line for kind in wanted))

    def run(self, names: list[str], configured: Literal["", "one", "each"] = "", **spec: Any) -> float:
        """Bind Pods to the node; return how many seconds it takes until all run. They may show one ConfigMap, or each its own."""

        async def run() -> float:
            async with HttpClient(load_connection([self._kubeconfig])) as client:
                pods = client.resource(Pod)
                account = ServiceAccount(metadata=ObjectMeta(name="default", namespace="default"))
                with contextlib.suppress(AlreadyExists):  # no controller makes it here
                    await client.resource(ServiceAccount).create(account)
                for config in names[: {"": 0, "one": 1, "each": len(names)}[configured]]:
                    await client.resource(ConfigMap).create(make_config_map(config, a="1"))
                began = time.perf_counter()
                async with anyio.create_task_group() as group:
                    for name in names:
                        if configured:
                            shown = ConfigMapVolumeSource(name=name if configured == "each" else names[0])
                            spec["volumes"] = (Volume(name="config", config_map=shown),)
                        pod = make_pod(name, node=self.name, automount_service_account_token=False, **spec)
                        group.start_soon(pods.create, pod)
                while True:
                    found = {
                        pod.metadata.name: pod.status.phase
                        for pod in (await pods.list(Query("default"))).items
                    }
                    if all(found.get(name) == "Running" for name in names):
                        return time.perf_counter() - began
                    await anyio.sleep(0.01 if len(names) == 1 else 0.2)

        return anyio.run(run)

    def delete(self, name: str) -> None:
        async def delete() -> None:
            async with HttpClient(load_connection([self._kubeconfig])) as client:
                await client.resource(Pod).delete(Key("default", name), grace=0)

        anyio.run(delete)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    with contextlib.ExitStack() as stack:  # which ends the server also if a node cannot be ended
        stack.callback(Server(tmp_path / "server").stop)

        def opened(number: int, runtime: str = "process") -> Node:
            one = Node(tmp_path, tmp_path / "server", number, runtime)
            stack.callback(one.stop)
            one.wait()
            return one

        yield opened


def scaled(benchmark: BenchmarkFixture, number: int) -> int:
    return number // SMALLER if benchmark.disabled else number


def test_two_hundred_pods_on_one_node(benchmark: BenchmarkFixture, node: Callable[[int], Node]) -> None:
    """Budget: 10 s until all of them run as child processes, from their creation."""
    names = [f"p{n}" for n in range(scaled(benchmark, 200))]
    one = node(len(names))
    seconds = benchmark.pedantic(one.run, args=(names,), rounds=1)  # type: ignore[no-untyped-call]
    within(benchmark, "seconds", seconds, 10.0)


@pytest.mark.parametrize(("share", "megabytes"), [(True, 80), (False, 100)])
def test_a_node_with_a_hundred_pods_at_which_nothing_happens(
    benchmark: BenchmarkFixture, node: Callable[[int], Node], share: bool, megabytes: int
) -> None:
    """Budget: 2 % of a core over 60 s, in which every Pod is looked at again once, and 80 MB.

    Each Pod shows a ConfigMap, which is watched: all of them the same one, or each one of its own. A watch is a connection with TLS, which
    takes some 120 kB: hence 100 MB for a hundred of them.
    """
    names = [f"p{n}" for n in range(scaled(benchmark, 100))]
    one = node(len(names))
    one.run(names, configured="one" if share else "each")
    time.sleep(0 if benchmark.disabled else 5)
    used, began = one.cpu(), time.monotonic()
    benchmark.pedantic(time.sleep, args=(0.2 if benchmark.disabled else 60,), rounds=1)  # type: ignore[no-untyped-call]
    within(benchmark, "megabytes", one.megabytes(), megabytes)
    within(benchmark, "percent_of_a_core", 100 * (one.cpu() - used) / (time.monotonic() - began), 2.0)


def test_one_pod_on_a_node_that_has_some(benchmark: BenchmarkFixture, node: Callable[[int], Node]) -> None:
    """Budget: what the runtime takes alone, and 50 ms."""
    one = node(10)
    one.run(["first"])
    names = [f"p{n}" for n in range(scaled(benchmark, 250) or 1)]

    def each() -> float:
        best = 1e9
        for name in names:
            best = min(best, one.run([name]))
            one.delete(name)
        return best

    seconds = benchmark.pedantic(each, rounds=1)  # type: ignore[no-untyped-call]
    alone = min(anyio.run(_alone, one.directory.parent / "alone") for _ in range(5))
    within(benchmark, "seconds_beyond_the_runtime", seconds - alone, 0.05)


@pytest.mark.external
@pytest.mark.parametrize(("kind", "variable"), [("docker", "DOCKER_HOST"), ("podman", "CONTAINER_HOST")])
def test_one_pod_on_an_engine(
    benchmark: BenchmarkFixture,
    monkeypatch: pytest.MonkeyPatch,  # before the node, which is cleared while it holds
    node: Callable[..., Node],
    request: pytest.FixtureRequest,
    kind: str,
    variable: str,
) -> None:
    """Budget: from its creation, bound already, until it runs, 50 ms beyond what the runtime, and its engine, has been asked for."""
    engine = request.getfixturevalue("docker_engine" if kind == "docker" else "podman_service")
    monkeypatch.setenv(variable, engine.url)
    main = ContainerDefinition(name="main", image=BUSYBOX, command=("sleep", "100000"))
    one = node(10, kind)
    one.run(["first"], containers=(main,))
    names = [f"p{n}" for n in range(scaled(benchmark, 50) or 1)]

    def each() -> tuple[float, float]:
        found = []
        for name in names:
            before = one.in_the_runtime()
            seconds = one.run([name], containers=(main,))
            alone = one.in_the_runtime() - before
            found.append((seconds - alone, alone))
            one.delete(name)
        return min(found)

    beyond, alone = benchmark.pedantic(each, rounds=1)  # type: ignore[no-untyped-call]
    assert alone > 0
    benchmark.extra_info["seconds_in_the_runtime"] = round(alone, 3)
    within(benchmark, "seconds_beyond_the_runtime", beyond, 0.05)


@contextmanager
def _timed(found: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    found.append(time.perf_counter() - began)


async def _alone(root: Path) -> float:
    """Return how many seconds the runtime takes for one container in a sandbox."""
    found: list[float] = []
    async with ProcessRuntime(root) as runtime:
        spec = SandboxSpec(
            uid=f"uid-{Random().random()}", namespace="d", name="n", hostname="n", address="127.0.0.1"
        )
        with _timed(found):
            sandbox = await runtime.run_sandbox(spec)
            await runtime.start_container(
                sandbox,
                ContainerSpec(
                    name="main", image="process", command=("sleep", "100000"), env=dict(os.environ)
                ),
            )
        await runtime.remove_sandbox(sandbox)
    return found[0]


@pytest.mark.parametrize(("length", "least"), [(1000, 100e6), (100, 80e6)])
def test_output_of_a_container(
    benchmark: BenchmarkFixture, tmp_path: Path, length: int, least: float
) -> None:
    """Floor: 100 MB in a second of the shim's processor time, in lines of a kilobyte, and 80 MB of a tenth of that, as log records."""
    size = 4 << 20 if benchmark.disabled else 300 << 20
    flood = f"yes $(head -c {length} /dev/zero | tr '\\0' x) | head -c {size}"

    async def run() -> float:
        async with ProcessRuntime(tmp_path / "runtime") as runtime:
            sandbox = await runtime.run_sandbox(
                SandboxSpec(uid="uid", namespace="d", name="n", hostname="n", address="127.0.0.1")
            )
            spec = ContainerSpec(
                name="main",
                image="x",
                command=("sh", "-c", flood),
                env=dict(os.environ),
                log_path=str(tmp_path / "log"),
            )
            container = await runtime.start_container(sandbox, spec)
            used = 0.0
            while (found := (await runtime.list_sandboxes())[0].containers[0]).state != "exited":
                used = max(used, (await _own_cpu(Path(container))))
                await anyio.sleep(0.01)
            assert found.exit_code == 0
            await runtime.remove_sandbox(sandbox)
            return used

    seconds = benchmark.pedantic(lambda: anyio.run(run), rounds=1)  # type: ignore[no-untyped-call]
    at_least(benchmark, "bytes_per_cpu_second", size / max(seconds, 1 / TICK), least)


async def _own_cpu(container: Path) -> float:
    """Return the seconds of processor time that a container's shim has used."""
    from kubelib.runtime.processstate import state_of

    state = state_of(container)
    try:
        fields = Path(f"/proc/{(state or {})['shim']}/stat").read_text().rpartition(")")[2].split()
    except (OSError, KeyError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK
