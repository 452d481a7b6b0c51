"""Schedulers of several architectures against each other, in processes that are killed at random moments: is anything lost?

API servers, many nodes that exist only as objects, and schedulers that each have Pods of their own but share the nodes. In the end the
requests on every node are added up plainly, and of every Pod it is known on which nodes it ever was.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
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
from reference_cluster.contenders import SCHEDULERS, STRANGER, Cell, Stranger, answered, cpu_of, created

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
    servers: int = 1
    """How many API servers there are: several need a `store` that they can share."""
    server_kills: int = 0
    """How often one of them is killed, and started again."""
    store: str = ""
    """Where all that is kept; empty: in the directory of the one server."""
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
    server_kills: int
    stranger: tuple[int, int]
    """How many Bindings of the scheduler that is not ours succeeded, and how many came too late."""
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
            f"{self.bound} pods bound in {self.seconds:.1f} s, schedulers killed {self.kills} times, API servers {self.server_kills}:"
            f" {self.overcommitted} nodes overcommitted, {self.lost} pods lost, {self.twice} bound twice"
        )
        lines = [first]
        for scheduler, counts in sorted(self.transactions.items()):
            succeeded, failed = counts.get("succeeded", 0), counts.get("failed", 0)
            lines.append(
                f"{scheduler}: {succeeded} transactions, {failed} with conflicts:"
                f" conflict fraction {failed / succeeded if succeeded else float(bool(failed)):.3f}"
            )
        succeeded, failed = self.stranger
        lines.append(
            f"{STRANGER}, by pods/binding: {succeeded} bound, {failed} too late:"
            f" conflict fraction {failed / succeeded if succeeded else float(bool(failed)):.3f}"
        )
        return lines


def check(settings: Settings) -> None:
    """Raise ValueError, with one sentence, for what cannot be run."""
    if settings.servers > 1 and not settings.store:
        raise ValueError(
            "Several API servers need a store that they can share, such as etcd://127.0.0.1:2379."
        )
    room = settings.nodes * FILL
    mean = sum(float(size[:-1]) for size in SIZES) / len(SIZES) / 1000
    if settings.pods * mean > room:
        raise ValueError(
            f"{settings.pods} pods are too many for {settings.nodes} nodes: at most {int(room / mean)}."
        )


async def contend(directory: Path, settings: Settings, say: Callable[[str], None]) -> Verdict:
    """Run schedulers against each other, and return what came of it. Logs and data are written to `directory`."""
    random = Random(settings.seed)
    check(settings)
    cell = Cell(directory, settings.store, settings.servers)
    async with cell.running() as client:
        await _create_nodes(client, settings.nodes)
        say(f"{settings.nodes} nodes are there")
        homes, stranger = _Homes(), Stranger(client)
        since = (await client.resource(Pod).list()).resource_version
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(homes.follow, client, since)
            tasks.start_soon(stranger.run)
            began = time.monotonic()
            tasks.start_soon(_create_pods, client, settings, random)
            kills = await _kill_now_and_then(cell, settings, random, homes, say)
            with anyio.move_on_after(settings.patience):
                await homes.until(settings.pods)
            seconds = time.monotonic() - began
            tasks.cancel_scope.cancel()
        pods = (await answered(client.resource(Pod).list)).items
        return Verdict(
            bound=sum(bool(pod.spec.node_name) for pod in pods),
            lost=settings.pods - sum(bool(pod.spec.node_name) for pod in pods),
            twice=homes.moved,
            overcommitted=_overcommitted(list(pods)),
            kills=sum(name in cell.schedulers for name in kills),
            server_kills=sum(name in cell.servers for name in kills),
            stranger=(stranger.bound, stranger.refused),
            seconds=seconds,
            transactions=await cell.transactions(),
        )


async def _create_nodes(client: HttpClient, count: int) -> None:
    amounts = {"cpu": CPU, "memory": "64Gi", "pods": "110"}
    ready = NodeCondition(type="Ready", status="True", reason="KubeletReady")
    status = NodeStatus(capacity=amounts, allocatable=amounts, conditions=(ready,))

    async def create(part: range) -> None:
        for number in part:
            node = Node(metadata=ObjectMeta(name=f"node-{number}"), status=status)
            await created(partial(client.resource(Node).create, node))

    async with anyio.create_task_group() as tasks:
        for worker in range(8):
            tasks.start_soon(create, range(worker, count, 8))


async def _create_pods(client: HttpClient, settings: Settings, random: Random) -> None:
    """Create Pods of all schedulers in turn."""
    names = [*SCHEDULERS, STRANGER]
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
            pod = Pod(metadata=ObjectMeta(name=f"pod-{number}", namespace="default"), spec=spec)
            await created(partial(client.resource(Pod).create, pod))

    async with anyio.create_task_group() as tasks:
        for worker in range(4):
            tasks.start_soon(create, range(worker, settings.pods, 4))


async def _kill_now_and_then(
    cell: Cell, settings: Settings, random: Random, homes: "_Homes", say: Callable[[str], None]
) -> list[str]:
    """Kill schedulers and servers while Pods are being bound: each time that another part of them is. Return who was killed."""
    killed: list[str] = []
    pools = [list(cell.schedulers)] * settings.kills + [list(cell.servers)] * settings.server_kills
    random.shuffle(pools)
    with anyio.move_on_after(settings.patience):
        for number, pool in enumerate(pools):
            share = settings.pods * (number + random.random()) / (len(pools) + 1)
            await homes.until(share)
            name = random.choice(pool)
            await cell.kill(name)
            killed.append(name)
            say(f"killed {name} when {homes.bound} pods were bound")
    return killed


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
                        since = event.document.meta.resource_version
                        if event.type != "BOOKMARK":
                            self._note(event.object)
            except Gone:
                # A server that has just been started shows no changes from before that: what came of them is listed.
                pods = await answered(client.resource(Pod).list)
                since = pods.resource_version
                for pod in pods.items:
                    self._note(pod)
            except ApiError:
                await anyio.sleep(0.1)

    def _note(self, pod: Pod) -> None:
        if pod.spec.node_name:
            self._nodes.setdefault(pod.metadata.uid, set()).add(pod.spec.node_name)
            self._news.set()


def _overcommitted(pods: list[Pod]) -> int:
    taken: dict[str, int] = {}
    for pod in pods:
        if pod.spec.node_name:
            taken[pod.spec.node_name] = taken.get(pod.spec.node_name, 0) + cpu_of(pod)
    return sum(amount > parse_quantity(CPU).milli() for amount in taken.values())
