"""What lands in a simulated cell lands in a cluster: every transaction of a simulation is carried out by the Binding registry, too."""

from collections.abc import Iterator
from itertools import count, product
from typing import Any

import attrs
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.binding import Binder
from kubelib.sim.cell import Architecture, Cell, DecisionTime, Machines, Setup, Shape, generate
from kubelib.sim.cell.commits import Commits
from kubelib.sim.cell.engine import prepare
from kubelib.sim.cell.state import Ledger, Snapshot
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_node, make_pod
from kubelib.transactions import Claim, Commit, Detection, Transaction

MODES: list[tuple[Detection, Commit]] = list(product(("fine", "coarse"), ("incremental", "all-or-nothing")))
CELL = Cell((Machines(5, 4.0, 16.0), Machines(2, 6.0, 8.0)))


@attrs.frozen
class Look:
    """A scheduler begins to think."""

    view: object


@attrs.frozen
class Decided:
    """A scheduler commits equal claims on machines, decided on a view that it looked at before; so many land."""

    view: object
    machines: list[int]
    cpu: float
    memory: float
    landed: list[int]


@attrs.frozen
class Ended:
    """Tasks end on machines."""

    machines: list[int]
    cpu: float
    memory: float


def quarters(amounts: Any) -> list[float]:
    """Round requests to quarters, which are exact as numbers of the simulator and as quantities of a cluster."""
    return [max(1, round(4 * amount)) / 4 for amount in amounts]


def crowded(seed: int, detection: Detection, commit: Commit) -> Setup:
    """Seven machines, three batch schedulers and a slow one for services, on jobs of several tasks."""
    shapes = {
        "batch": Shape(gap=0.7, tail=1.2, most=6, duration=6.0, cpu=0.9, memory=2.0),
        "service": Shape(gap=4.0, tail=1.2, most=4, duration=30.0, cpu=0.7, memory=2.0),
    }
    jobs = [generate(name, shape, seed, CELL, 60.0) for name, shape in shapes.items()]
    workloads = tuple(
        attrs.evolve(one, cpu=quarters(one.cpu.clip(max=4.0)), memory=quarters(one.memory.clip(max=8.0)))
        for one in jobs
    )
    slow = DecisionTime(3.0)
    architecture = Architecture.shared_state(
        DecisionTime(1.0), slow, batch_schedulers=3, detection=detection, commit=commit
    )
    return Setup(CELL, workloads, architecture, horizon=60.0, seed=seed)


def happened(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> list[Look | Decided | Ended]:
    """Run a simulation and return all that concerns the state that its schedulers share."""
    found: list[Look | Decided | Ended] = []
    look, commit, claim, release = Ledger.look, Commits.commit, Ledger.claim, Ledger.release

    def looked(self: Ledger, snapshot: Snapshot) -> None:
        found.append(Look(snapshot.view))
        look(self, snapshot)

    def committed(
        self: Commits, view: Any, placed: Any, cpu: float, memory: float, now: float, *more: Any
    ) -> Any:
        landed = commit(self, view, placed, cpu, memory, now, *more)
        found.append(Decided(view, list(placed), cpu, memory, list(landed)))
        return landed

    def claimed(self: Ledger, machines: Any, cpu: float, memory: float, now: float, *more: Any, placed: bool = False) -> None:  # fmt: skip
        if placed:
            # nothing had changed since the scheduler looked, so that it decided on what there is
            found.append(Decided(None, list(machines), cpu, memory, list(machines)))
        claim(self, machines, cpu, memory, now, *more, placed=placed)

    def released(self: Ledger, machines: Any, cpu: float, memory: float, now: float, *more: Any) -> None:
        found.append(Ended(list(machines), cpu, memory))
        release(self, machines, cpu, memory, now, *more)

    monkeypatch.setattr(Ledger, "look", looked)
    monkeypatch.setattr(Commits, "commit", committed)
    monkeypatch.setattr(Ledger, "claim", claimed)
    monkeypatch.setattr(Ledger, "release", released)
    prepare(setup).results()
    monkeypatch.undo()
    return found


class Cluster:
    """Carries out what happened in a simulation."""

    def __init__(self, registries: ResourceRegistries, detection: Detection, commit: Commit) -> None:
        self._client = LocalClient(registries)
        self._binder = Binder(registries)
        self._modes: dict[str, Any] = {"detection": detection, "commit": commit}
        self._names = (f"p{number}" for number in count())
        self._running: dict[tuple[int, float, float], list[str]] = {}
        self._seen: dict[int, int] = {}

    async def build(self) -> None:
        for number, (cpu, memory) in enumerate(zip(*(column.tolist() for column in CELL.capacities()), strict=True)):  # fmt: skip
            amounts = {"cpu": str(cpu), "memory": f"{memory:g}Gi", "pods": "500"}
            await self._client.resource(Node).create(
                make_node(f"n{number}", capacity=amounts, allocatable=amounts)
            )

    async def revision(self) -> int:
        return int((await self._client.resource(Pod).list()).resource_version)

    async def look(self, view: object) -> None:
        self._seen[id(view)] = await self.revision()

    async def decided(self, one: Decided) -> list[int]:
        """Commit claims and return on which machines they landed."""
        resources = ResourceRequirements(requests={"cpu": str(one.cpu), "memory": f"{one.memory * 1024:g}Mi"})
        names = [next(self._names) for _ in one.machines]
        for name in names:
            container = Container(name="main", image="x", resources=resources)
            await self._client.resource(Pod).create(make_pod(name, containers=(container,)))
        seen = await self.revision() if one.view is None else self._seen[id(one.view)]
        claims = [
            Claim(Key("default", name), "", f"n{machine}", seen)
            for name, machine in zip(names, one.machines, strict=True)
        ]
        result = await self._binder.commit(Transaction(claims=claims, **self._modes))
        landed = []
        for name, machine, outcome in zip(names, one.machines, result.outcomes, strict=True):
            if outcome.error is None:
                landed.append(machine)
                self._running.setdefault((machine, one.cpu, one.memory), []).append(name)
        return landed

    async def ended(self, one: Ended) -> None:
        for machine in one.machines:
            name = self._running[machine, one.cpu, one.memory].pop()
            await self._client.resource(Pod).delete(Key("default", name), grace=0)


@pytest.fixture
async def registries() -> Any:
    async with ResourceRegistries(MemoryStore()) as found:
        await found.bootstrap()
        yield found


def conflicts(found: list[Look | Decided | Ended]) -> Iterator[int]:
    return (len(one.machines) - len(one.landed) for one in found if isinstance(one, Decided))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("detection", "commit"), MODES)
async def test_the_same_claims_land_and_conflict(
    registries: ResourceRegistries,
    detection: Detection,
    commit: Commit,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = happened(crowded(seed, detection, commit), monkeypatch)
    assert sum(conflicts(found)) > 3
    cluster = Cluster(registries, detection, commit)
    await cluster.build()
    for one in found:
        match one:
            case Look():
                await cluster.look(one.view)
            case Decided():
                assert await cluster.decided(one) == one.landed
            case Ended():
                await cluster.ended(one)
