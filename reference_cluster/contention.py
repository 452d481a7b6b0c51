"""Schedulers of several architectures against each other, in processes that are killed at random moments: is anything lost?

An API server, many nodes that exist only as objects, and schedulers that each have Pods of their own but share the nodes. In the end the
requests on every node are added up plainly, and of every Pod it is known on which nodes it ever was.
"""

import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import attrs

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node, NodeCondition, NodeStatus
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.errors import ApiError, Gone
from kubelib.api.meta import ObjectMeta
from kubelib.api.quantity import parse_quantity
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection

SCHEDULERS: Mapping[str, tuple[str, ...]] = {
    "packing": ("--architecture", "monolithic", "--policy", "most-allocated"),
    "two-paths": ("--architecture", "multipath", "--policy", "default", "--batch-policy", "random"),
    "offers": ("--architecture", "two-level", "--policy", "least-allocated", "--batch-policy", "most-allocated"),
    "omega": (
        "--architecture", "shared-state", "--schedulers", "2", "--policy", "most-allocated", "--detection", "coarse",
    ),
}  # fmt: skip
"""The four schedulers, by the names that their Pods ask for. Half of them want the same nodes, the fullest that will do."""
SIZES = ("100m", "200m", "300m")
CPU = "1"
FILL = 0.65
"""How much of all processors is asked for: as no Pod wants more than 0.3 of a node, each fits somewhere whatever the others do."""


@attrs.frozen(kw_only=True)
class Settings:
    """What is run."""

    nodes: int = 1000
    pods: int = 3000
    kills: int = 8
    """How often a scheduler is killed, and started again."""
    seed: int = 1
    patience: float = 300.0
    """Seconds after which Pods without a node are given up."""


@attrs.frozen
class Verdict:
    """What came of it."""

    bound: int
    lost: int
    """Pods without a node."""
    twice: int
    """Pods that were on two nodes."""
    overcommitted: int
    """Nodes with more than there is."""
    kills: int
    seconds: float
    transactions: Mapping[str, Mapping[str, int]]
    """By scheduler: how many succeeded, failed by a conflict, and were sent again."""

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.twice or self.overcommitted)

    def lines(self) -> list[str]:
        """Return it for people."""
        first = (
            f"{self.bound} pods bound in {self.seconds:.1f} s, schedulers killed {self.kills} times:"
            f" {self.overcommitted} nodes overcommitted, {self.lost} pods lost, {self.twice} bound twice"
        )
        lines = [first]
        for scheduler, counts in sorted(self.transactions.items()):
            succeeded, failed = counts.get("succeeded", 0), counts.get("failed", 0)
            lines.append(
                f"{scheduler}: {succeeded} transactions, {failed} with conflicts:"
                f" conflict fraction {failed / succeeded if succeeded else float(bool(failed)):.3f}"
            )
        return lines


class _Process:
    """A daemon that is started, killed and started again."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self._log = directory / f"{name}.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `ready` says when it works."""
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "reference_cluster", *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until it says so. Raises RuntimeError if it ends instead."""
        assert self._process is not None
        while " is ready " not in self._log.read_text():
            if self._process.poll() is not None:
                raise RuntimeError(f"kubelib {self._arguments[0]} ended: {self._log.read_text()}")
            await anyio.sleep(0.05)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def contend(directory: Path, settings: Settings, say: Callable[[str], None]) -> Verdict:
    """Run schedulers against each other, and return what came of it. Logs and data are written to `directory`."""
    random = Random(settings.seed)
    async with _cluster(directory) as (client, processes):
        await _create_nodes(client, settings.nodes)
        say(f"{settings.nodes} nodes are there")
        homes = _Homes()
        since = (await client.resource(Pod).list()).resource_version
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(homes.follow, client, since)
            began = time.monotonic()
            tasks.start_soon(_create_pods, client, settings, random)
            kills = await _kill_now_and_then(processes, settings, random, homes, say)
            with anyio.move_on_after(settings.patience):
                await homes.until(settings.pods)
            seconds = time.monotonic() - began
            tasks.cancel_scope.cancel()
        pods = (await client.resource(Pod).list()).items
        found = await client.request("GET", "/metrics", accept="*/*")
        return Verdict(
            bound=sum(bool(pod.spec.node_name) for pod in pods),
            lost=settings.pods - sum(bool(pod.spec.node_name) for pod in pods),
            twice=homes.moved,
            overcommitted=_overcommitted(list(pods)),
            kills=kills,
            seconds=seconds,
            transactions=_transactions(found.body.decode()),
        )


@asynccontextmanager
async def _cluster(directory: Path) -> AsyncIterator[tuple[HttpClient, Mapping[str, _Process]]]:
    """Run an API server and the schedulers while the context is open."""
    master = directory / "master"
    server = _Process(
        directory, "apiserver", "apiserver", "--data-dir", str(master), "--listen", "127.0.0.1:0",
        "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
    )  # fmt: skip
    kubeconfig = str(master / "scheduler.kubeconfig")
    processes = {
        name: _Process(
            directory, name, "scheduler", "--kubeconfig", kubeconfig, "--scheduler-name", name, *options
        )
        for name, options in SCHEDULERS.items()
    }
    try:
        server.start()
        await server.ready()
        for process in processes.values():
            process.start()
        async with HttpClient(load_connection([master / "admin.kubeconfig"])) as client:
            yield client, processes
    finally:
        for process in (*processes.values(), server):
            process.kill()


async def _create_nodes(client: HttpClient, count: int) -> None:
    amounts = {"cpu": CPU, "memory": "64Gi", "pods": "110"}
    ready = NodeCondition(type="Ready", status="True", reason="KubeletReady")
    status = NodeStatus(capacity=amounts, allocatable=amounts, conditions=(ready,))

    async def create(part: range) -> None:
        for number in part:
            await client.resource(Node).create(
                Node(metadata=ObjectMeta(name=f"node-{number}"), status=status)
            )

    async with anyio.create_task_group() as tasks:
        for worker in range(8):
            tasks.start_soon(create, range(worker, count, 8))


async def _create_pods(client: HttpClient, settings: Settings, random: Random) -> None:
    """Create Pods of all schedulers in turn, as many as there is room for by plan."""
    room = settings.nodes * FILL
    mean = sum(float(size[:-1]) for size in SIZES) / len(SIZES) / 1000
    if settings.pods * mean > room:
        raise ValueError(
            f"{settings.pods} pods are too many for {settings.nodes} nodes: at most {int(room / mean)}."
        )
    names = list(SCHEDULERS)
    wanted = [
        (names[number % len(names)], random.choice(SIZES), random.choice(("Always", "Never")))
        for number in range(settings.pods)
    ]

    async def create(part: range) -> None:
        for number in part:
            name, size, policy = wanted[number]
            resources = ResourceRequirements(requests={"cpu": size})
            container = Container(name="main", image="none", resources=resources)
            spec = PodSpec(scheduler_name=name, restart_policy=policy, containers=(container,))
            await client.resource(Pod).create(
                Pod(metadata=ObjectMeta(name=f"pod-{number}", namespace="default"), spec=spec)
            )

    async with anyio.create_task_group() as tasks:
        for worker in range(4):
            tasks.start_soon(create, range(worker, settings.pods, 4))


async def _kill_now_and_then(
    processes: Mapping[str, _Process],
    settings: Settings,
    random: Random,
    homes: "_Homes",
    say: Callable[[str], None],
) -> int:
    """Kill schedulers while Pods are being bound: each time that another part of them is."""
    with anyio.move_on_after(settings.patience):
        for number in range(settings.kills):
            share = settings.pods * (number + random.random()) / (settings.kills + 1)
            await homes.until(share)
            name = random.choice(list(processes))
            processes[name].kill()
            processes[name].start()
            say(f"killed {name} when {homes.bound} pods were bound")
        return settings.kills
    return number


class _Homes:
    """On which nodes every Pod ever was."""

    def __init__(self) -> None:
        self._nodes: dict[str, set[str]] = {}
        self._news = anyio.Event()

    @property
    def bound(self) -> int:
        """How many Pods have a node."""
        return len(self._nodes)

    @property
    def moved(self) -> int:
        """How many Pods were on two nodes."""
        return sum(len(nodes) > 1 for nodes in self._nodes.values())

    async def until(self, count: float) -> None:
        """Wait until so many Pods have a node."""
        while self.bound < count:
            self._news = anyio.Event()
            await self._news.wait()

    async def follow(self, client: HttpClient, since: str) -> None:
        """Note it, until cancelled."""
        while True:
            try:
                async with client.resource(Pod).watch(since=since) as events:
                    async for event in events:
                        pod, since = event.object, event.document.meta.resource_version
                        if event.type != "BOOKMARK" and pod.spec.node_name:
                            self._nodes.setdefault(pod.metadata.uid, set()).add(pod.spec.node_name)
                            self._news.set()
            except Gone:
                raise
            except ApiError:
                await anyio.sleep(0.1)


def _overcommitted(pods: list[Pod]) -> int:
    taken: dict[str, int] = {}
    for pod in pods:
        for container in pod.spec.containers:
            asked = parse_quantity(container.resources.requests["cpu"]).milli()
            taken[pod.spec.node_name] = taken.get(pod.spec.node_name, 0) + asked
    taken.pop("", None)
    return sum(amount > parse_quantity(CPU).milli() for amount in taken.values())


def _transactions(text: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for labels, count in re.findall(r"^kubelib_transactions_total\{(.*)\} (\d+)$", text, re.MULTILINE):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found.setdefault(named["scheduler"] or "single bindings", {})[named["outcome"]] = int(count)
    return found
