"""Storage, devices, neighbours, priorities, disruption budgets and gangs together, held to a plain scheduler node by node."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest

from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod, PodResourceClaim
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.api.resource import ResourceClaim
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.devices import DeviceObject
from kubelib.sched.groups import Groups
from kubelib.sched.makingway import find_way
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.preemption import NoPlan, Preemption
from kubelib.sched.together import Trial, try_together
from kubelib.testing.objects import make_node
from tests.sched import plain
from tests.sched.layouts import HOST, with_labels
from tests.sched.test_devices import CLASS, make_claim, on
from tests.sched.test_preemption import Cost, plain_plans
from tests.sched.test_storage import ZONE, make_storage, make_user

PODS, GANG = 24, 3
FATES = {"placed", "refused", "robbed", "robbed of storage", "broken", "gang placed", "gang refused", "gang makes way"}  # fmt: skip
ALLOCATIONS = (None, on(), on("n0", "n1"), on("n1", "n2", "n3"), on("n4"))


def make_machine(random: Random, number: int) -> Node:
    name, zone = f"n{number}", random.choice("abc")
    offered = {"cpu": random.choice(["1", "2"]), "memory": "8Gi", "pods": str(random.randint(1, 4))}
    node = with_labels(
        make_node(name, allocatable=offered), {HOST: name, "host": name, ZONE: zone, "zone": zone}
    )
    taints = (Taint(key="k", effect="NoSchedule"),) if random.random() < 0.2 else ()
    return replace(node, spec=replace(node.spec, taints=taints))


def make_demanding(random: Random, number: int) -> Pod:
    """Make a Pod that may ask for volumes and disks, for devices, neighbours and places, and has a priority."""
    pod = make_user(random, number)
    if random.random() < 0.4:
        pod = replace(pod, spec=replace(pod.spec, volumes=()))
    # The last is that of a claim which is not there.
    numbers = random.sample(range(len(ALLOCATIONS) + 1), random.choice([0, 0, 0, 1, 2]))
    claims = tuple(PodResourceClaim(name=f"d{n}", resource_claim_name=f"d{n}") for n in numbers)
    spec = replace(pod.spec, resource_claims=claims, priority=random.choice([-5, 0, 10, 1000]))
    # Those who ask for little else are spared by budgets, too.
    labels = pod.metadata.labels or {"app": random.choice("xyz")}
    return replace(pod, spec=spec, metadata=replace(pod.metadata, labels=labels))


def devices_fit(pod: Pod, node: Node, claims: Mapping[str, ResourceClaim]) -> bool:
    for wanted in pod.spec.resource_claims:
        claim = claims.get(wanted.resource_claim_name)
        if claim is None or claim.status.allocation is None:
            return False
        selector = claim.status.allocation.node_selector
        if selector is not None and not any(
            all(plain.meets(requirement, node.metadata.labels) for requirement in term.match_expressions)
            for term in selector.node_selector_terms
        ):
            return False
    return True


def make_budget(random: Random, app: str) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=app, namespace="default"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": app})),
        status=PodDisruptionBudgetStatus(disruptions_allowed=random.randint(0, 1)),
    )


class Rivals:
    """The engine, and a plain scheduler, of one random cluster."""

    def __init__(self, random: Random) -> None:
        self.table, self.budgets = NodeTable(), Budgets()
        self.machines = [make_machine(random, number) for number in range(5)]
        for node in self.machines:
            self.table.put_node(node)
        self.storage = make_storage(random, self.table)
        self.claims = {f"d{number}": make_claim(f"d{number}", a) for number, a in enumerate(ALLOCATIONS)}
        things: list[DeviceObject] = [CLASS, *self.claims.values()]
        for thing in things:
            self.table.devices.put(thing)
        self.limits = [make_budget(random, app) for app in "xy" if random.random() < 0.7]
        for budget in self.limits:
            self.budgets.put(budget)
        self._starts = [float(random.randint(0, 3)) for _ in range(PODS)]
        self.cycle = Cycle(self.table, default_policy(), Random(1))
        self.preemption = Preemption(
            self.cycle, self.budgets, started=lambda pod: self.started(pod.uid), random=Random(2)
        )
        self.placed: list[tuple[Pod, Node]] = []
        self.promised: list[tuple[Pod, Node]] = []

    def started(self, uid: str) -> float:
        return self._starts[int(uid[1:])]

    def fits(self, pod: Pod, node: Node, machines: Sequence[Node], placed: plain.Placement) -> bool:
        return (
            plain.fits(pod, node, machines, placed)
            and plain.storage_fits(pod, node, placed, self.storage)
            and devices_fit(pod, node, self.claims)
        )

    def fitting(self, pod: Pod) -> tuple[set[str], set[str]]:
        """Return where a Pod fits, as either says."""
        info = PodInfo.of(pod)
        return (
            {name for name, row in self.table.rows.items() if self.cycle.passes(info, row)},
            {n.metadata.name for n in self.machines if self.fits(pod, n, self.machines, self.placed)},
        )

    def follow(
        self, placements: Sequence[tuple[PodInfo, str]], pods: Mapping[str, Pod]
    ) -> list[tuple[Pod, Node]]:
        """Return who is where after some placements, of which each must fit beside those before it."""
        placed = list(self.placed)
        for info, name in placements:
            pod, node = pods[info.uid], self._machine(name)
            assert self.fits(pod, node, self.machines, placed), (info.key, name)
            placed.append((pod, node))
        return placed

    def plans(self, pod: Pod) -> list[Cost]:
        return plain_plans(
            pod, self.machines, self.placed, self.promised, self.limits, self.started, judge=self.fits
        )

    def put(self, pod: Pod, node: str) -> None:
        self.table.put_pod(PodInfo.of(pod), node)
        self.placed.append((pod, self._machine(node)))

    def promise(self, pod: Pod, node: str) -> None:
        self.table.nominate(PodInfo.of(pod), node)
        self.promised.append((pod, self._machine(node)))

    def clear(self, uids: frozenset[str]) -> None:
        for uid in uids:
            self.table.remove_pod(uid)
        self.placed = [(pod, node) for pod, node in self.placed if pod.metadata.uid not in uids]

    def _machine(self, name: str) -> Node:
        return next(node for node in self.machines if node.metadata.name == name)


def compete_with_gang(rivals: Rivals, random: Random, numbers: range) -> str:
    """Place a gang if enough of it fit, else see who would have to go; return its fate."""
    rank = random.choice([0, 10, 1000])
    gang = [make_demanding(random, number) for number in numbers]
    gang = [replace(pod, spec=replace(pod.spec, priority=rank)) for pod in gang]
    by_uid, infos = {pod.metadata.uid: pod for pod in gang}, [PodInfo.of(pod) for pod in gang]
    minimum, trial = random.randint(1, len(gang)), Trial()
    why = try_together(rivals.cycle, infos, minimum=minimum, bound=0, put=rivals.table.put_pod, trial=trial)
    for info, _ in trial.placed:
        rivals.table.remove_pod(info.uid)
    before = rivals.placed
    rivals.placed = rivals.follow(trial.placed, by_uid)
    if not why:
        for info, node in trial.placed:
            rivals.table.put_pod(info, node)
        return "gang placed"
    rivals.placed = before
    there = {row: set(map(id, pods)) for row, pods in rivals.table.pods_by_row()}
    way = find_way(
        rivals.cycle, Groups(), rivals.budgets, infos,
        minimum=minimum, bound=0, started=lambda pod: rivals.started(pod.uid),
    )  # fmt: skip
    assert {row: set(map(id, pods)) for row, pods in rivals.table.pods_by_row()} == there
    if way is None:
        return "gang refused"
    victims = {victim.uid: victim for victim in way.victims}
    assert len(way.placed) >= minimum and all(victim.priority < rank for victim in victims.values())
    rivals.placed = [(pod, node) for pod, node in before if pod.metadata.uid not in victims]
    rivals.follow(way.placed, by_uid)
    rivals.placed = before
    return "gang makes way"


def compete(seed: int) -> Counter[str]:
    """Hold the engine to the plain scheduler; return how many Pods had what fate."""
    random, fates = Random(seed), Counter[str]()
    rivals = Rivals(random)
    numbers = iter(range(PODS))
    for number in numbers:
        if number < PODS - GANG and random.random() < 0.1:
            fates[compete_with_gang(rivals, random, range(number, number + GANG))] += 1
            for _ in range(GANG - 1):
                next(numbers)
            continue
        pod = make_demanding(random, number)
        ours, theirs = rivals.fitting(pod)
        assert ours == theirs, (seed, number)
        verdict = rivals.cycle.decide(PodInfo.of(pod))
        if verdict.node:
            assert verdict.node in theirs
            rivals.put(pod, verdict.node)
            fates["placed"] += 1
            continue
        plan, costs = rivals.preemption.plan(PodInfo.of(pod)), rivals.plans(pod)
        if isinstance(plan, NoPlan):
            assert not costs, (seed, number)
            fates["refused"] += 1
            continue
        victims = frozenset(victim.uid for victim in plan.victims)
        assert Cost(plan.node, plan.cost, victims) in costs, (seed, number)
        assert plan.cost == min(cost.key for cost in costs), (seed, number)
        demanding = any(p.uid in victims and (p.claims or p.disks) for p in plan.victims)
        fates["robbed of storage" if demanding else "robbed"] += 1
        fates.update(["broken"] if plan.violations else [])
        if random.random() < 0.5:
            rivals.clear(victims)
            rivals.promise(pod, plan.node)
            assert rivals.cycle.decide(PodInfo.of(pod)).node == plan.node
            rivals.promised.pop()
            rivals.put(pod, plan.node)
        else:
            rivals.promise(pod, plan.node)
    return fates


@pytest.mark.parametrize("part", range(4))
def test_whatever_pods_ask_for_the_engine_and_preemption_are_those_of_a_plain_scheduler(part: int) -> None:
    fates = Counter[str]()
    for seed in range(part * 25, part * 25 + 25):
        fates += compete(seed)
    assert set(fates) >= FATES, fates
