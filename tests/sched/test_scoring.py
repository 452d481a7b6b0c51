"""Scores: each node's is that which Kubernetes' formulas give, worked out node by node."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import pytest

from kubelib.api.core.affinity import (
    Affinity,
    NodeAffinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import ContainerImage, Node, NodeSpec, NodeStatus, Taint
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.core.references import NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import FILTERS, Best
from kubelib.sched.policies.allocation import (
    BalancedAllocation,
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
)
from kubelib.sched.policies.neighbours import LikesCompany, PrefersEven
from kubelib.sched.policies.scores import HasImages, PrefersNodeAffinity, PrefersUntainted
from tests.sched import plainscores as plain
from tests.sched.plainscores import HOST, MIB, Points, View

T = TypeVar("T")

GPU = "example.com/gpu"
OFFERED = {"memory": ["3Gi", "7Gi", "1000000000"], GPU: ["2", "3"], "ephemeral-storage": ["9Gi"]}
ASKED = {"cpu": ["0", "300m", "1"], "memory": ["500Mi", "1Gi"], GPU: ["1"]}
EFFECTS = ["NoSchedule", "PreferNoSchedule", "PreferNoSchedule"]
TOLERATIONS = [
    (),
    (Toleration(key="k", operator="Exists"),),
    (Toleration(operator="Exists", effect="NoSchedule"), Toleration(key="l", value="v")),
    (Toleration(operator="Exists"),),
]
SHAPES = (((0, 0), (100, 10)), ((10, 7), (40, 2), (60, 9)), ((100, 0),), ((30, 5),))
EVERYTHING = {"cpu": 3, "memory": 1, GPU: 5, "ephemeral-storage": 2}


def some(random: Random, choices: Sequence[T], most: int) -> list[T]:
    return random.choices(choices, k=random.randrange(most + 1))


def make_node(random: Random, name: str) -> Node:
    pick = random.choice
    labels = {HOST: name}
    if random.random() < 0.8:
        labels["zone"] = pick("abc")
    if random.random() < 0.5:
        labels["rank"] = pick("159")
    offered = {"cpu": pick(["1", "3", "3500m", "7"]), "pods": "20"}
    # Nodes that lack something are judged by what they have.
    for resource, sizes in OFFERED.items():
        if random.random() < 0.8:
            offered[resource] = pick(sizes)
    taints = [Taint(key=pick("kl"), value="v", effect=pick(EFFECTS)) for _ in range(random.randrange(4))]
    there = {name: pick([5, 24, 300, 999, 4000]) for name in some(random, "xyz", 3)}
    return Node(
        metadata=ObjectMeta(name=name, labels=labels),
        spec=NodeSpec(taints=tuple(taints)),
        status=NodeStatus(
            allocatable=offered,
            images=tuple(
                ContainerImage(names=(f"{image}:latest",), size_bytes=size * MIB + 1)
                for image, size in there.items()
            ),
        ),
    )


def pod_term(random: Random) -> PodAffinityTerm:
    labels = random.choice([{"app": "x"}, {"app": "y"}, {}])
    key = random.choice(["zone", HOST])
    return PodAffinityTerm(label_selector=LabelSelector(match_labels=labels), topology_key=key)


def weighted(random: Random) -> tuple[WeightedPodAffinityTerm, ...]:
    return tuple(
        WeightedPodAffinityTerm(weight=random.choice([1, 7, 100]), pod_affinity_term=pod_term(random))
        for _ in range(random.randrange(3))
    )


def preference(random: Random) -> PreferredSchedulingTerm:
    make = NodeSelectorRequirement
    found = some(
        random,
        [
            make(key="zone", operator="In", values=("a", "b")),
            make(key="zone", operator="NotIn", values=("a",)),
            make(key="rank", operator="Exists"),
            make(key="rank", operator="Gt", values=("4",)),
        ],
        2,
    )
    named = (make(key="metadata.name", operator="In", values=("n1",)),) if random.random() < 0.2 else ()
    term = NodeSelectorTerm(match_expressions=tuple(found), match_fields=named)
    return PreferredSchedulingTerm(weight=random.choice([1, 3, 50]), preference=term)


def affinity(random: Random) -> Affinity:
    near = (pod_term(random),) if random.random() < 0.15 else ()
    return Affinity(
        node_affinity=NodeAffinity(
            preferred_during_scheduling_ignored_during_execution=tuple(
                preference(random) for _ in range(random.randrange(4))
            )
        ),
        pod_affinity=PodAffinity(
            required_during_scheduling_ignored_during_execution=near,
            preferred_during_scheduling_ignored_during_execution=weighted(random),
        ),
        pod_anti_affinity=PodAntiAffinity(
            preferred_during_scheduling_ignored_during_execution=weighted(random)
        ),
    )


def constraint(random: Random) -> TopologySpreadConstraint:
    return TopologySpreadConstraint(
        max_skew=random.randint(1, 3),
        topology_key=random.choice(["zone", "zone", HOST]),
        when_unsatisfiable="ScheduleAnyway",
        label_selector=LabelSelector(match_labels=random.choice([{"app": "x"}, {"app": "y"}, {}])),
        node_affinity_policy=random.choice(["", "Honor", "Ignore"]),
        node_taints_policy=random.choice(["", "Honor", "Ignore"]),
    )


def make_container(random: Random, name: str) -> Container:
    wanted = {n: random.choice(sizes) for n, sizes in ASKED.items() if random.random() < 0.6}
    return Container(name=name, image=random.choice("xyz"), resources=ResourceRequirements(requests=wanted))


def make_pod(random: Random) -> Pod:
    pick = random.choice
    spec = PodSpec(
        containers=tuple(make_container(random, f"c{n}") for n in range(random.randint(1, 2))),
        affinity=affinity(random) if random.random() < 0.7 else None,
        topology_spread_constraints=tuple(constraint(random) for _ in range(random.randrange(3))),
        node_selector=pick([{}, {}, {}, {"zone": "a"}]),
        tolerations=pick(TOLERATIONS),
    )
    labels = pick([{}, {"app": "x"}, {"app": "y"}])
    return Pod(metadata=ObjectMeta(namespace=pick(["default", "default", "other"]), labels=labels), spec=spec)


Pair = tuple[Any, Callable[[Pod, View], Points]]
RATIOS: dict[str, Pair] = {
    f"ratio {number}": (
        RequestedToCapacityRatio(shape, EVERYTHING),
        lambda pod, view, shape=shape: plain.allocation(  # type: ignore[misc]
            pod, view, plain.on_shape(shape), EVERYTHING, ratio=True
        ),
    )
    for number, shape in enumerate(SHAPES)
}
SCORES: dict[str, Pair] = {
    "least": (LeastAllocated(), lambda p, v: plain.allocation(p, v, plain.least, {"cpu": 1, "memory": 1})),
    "most": (MostAllocated(), lambda p, v: plain.allocation(p, v, plain.most, {"cpu": 1, "memory": 1})),
    "least of all": (LeastAllocated(EVERYTHING), lambda p, v: plain.allocation(p, v, plain.least, EVERYTHING)),
    "most of all": (MostAllocated(EVERYTHING), lambda p, v: plain.allocation(p, v, plain.most, EVERYTHING)),
    **RATIOS,
    "balanced": (BalancedAllocation(), lambda p, v: plain.balanced(p, v, ["cpu", "memory"])),
    "all balanced": (BalancedAllocation(("cpu", "memory", GPU)), lambda p, v: plain.balanced(p, v, ["cpu", "memory", GPU])),
    "untainted": (PrefersUntainted(), plain.untainted),
    "node affinity": (PrefersNodeAffinity(), plain.node_affinity),
    "company": (LikesCompany(), plain.company),
    "even": (PrefersEven(), plain.even),
    "images": (HasImages(), plain.images),
}  # fmt: skip


class Watches:
    """Chooses the best, and remembers among what."""

    def choose(self, fits: Any, scores: Any, random: Random) -> int:
        self.fits, self.scores = fits.copy(), scores.copy()
        return Best().choose(fits, scores, random)


class Twin:
    """One score in the engine, which keeps what it knows, and beside it."""

    def __init__(self, table: NodeTable, scores: Mapping[Any, tuple[float, Pair]]) -> None:
        self.table, self.pairs = table, list(scores.values())
        self.seen = Watches()
        weighted = tuple((engine, weight) for weight, (engine, _) in self.pairs)
        self.cycle = Cycle(
            table, Policy(filters=FILTERS, scores=weighted, choose=self.seen), Random(5)
        )  # fmt: skip

    def compare(self, pod: Pod, machines: Mapping[str, Node], placed: Any) -> str:
        """Compare, but for what is the same for all nodes, and return the node that was chosen."""
        chosen = self.cycle.decide(PodInfo.of(pod)).node
        if not chosen:
            return ""
        rows = self.table.rows
        fitting = [node for name, node in machines.items() if self.seen.fits[rows[name]]]
        view = View(list(machines.values()), fitting, placed)
        expected = dict.fromkeys((n.metadata.name for n in fitting), 0.0)
        for weight, (_, judge) in self.pairs:
            for name, points in judge(pod, view).items():
                expected[name] += weight * points
        found = {name: float(self.seen.scores[rows[name]]) for name in expected}
        assert {n: v - found[chosen] for n, v in found.items()} == {
            n: v - expected[chosen] for n, v in expected.items()
        }
        assert expected[chosen] == max(expected.values())
        return chosen


def play(random: Random, make: Callable[[NodeTable], Twin]) -> int:
    """Let a cluster live for a while; return how often something was compared."""
    machines: dict[str, Node] = {}
    placed: list[tuple[Pod, Node]] = []
    table = NodeTable()
    twin = make(table)
    shapes = [make_pod(random) for _ in range(4)]
    compared = 0
    for number in range(random.randint(3, 9)):
        node = machines[f"n{number}"] = make_node(random, f"n{number}")
        table.put_node(node)
    for number in range(30):
        meta = ObjectMeta(name=f"p{number}", uid=f"u{number}")
        match random.choice(["pod"] * 5 + ["there"] * 3 + ["node", "gone", "going", "lost"]):
            case "pod":
                shape = random.choice(shapes)
                pod = replace(shape, metadata=replace(shape.metadata, name=meta.name, uid=meta.uid))
                chosen = twin.compare(pod, machines, placed)
                compared += bool(chosen)
                if chosen:
                    table.put_pod(PodInfo.of(pod), chosen)
                    placed.append((pod, machines[chosen]))
            case "there" if machines:
                shape = make_pod(random)
                pod = replace(shape, metadata=replace(shape.metadata, name=meta.name, uid=meta.uid))
                node = random.choice(list(machines.values()))
                table.put_pod(PodInfo.of(pod), node.metadata.name)
                placed.append((pod, node))
            case "node":
                name = f"n{random.randrange(10)}"
                old, node = machines.get(name), make_node(random, name)
                machines[name] = node
                placed = [(p, node if n is old else n) for p, n in placed]
                table.put_node(node)
            case "gone" if placed:
                pod, _ = placed.pop(random.randrange(len(placed)))
                table.remove_pod(pod.metadata.uid)
            case "going" if placed:
                at = random.randrange(len(placed))
                pod, node = placed[at]
                leaving = replace(pod.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
                placed[at] = replace(pod, metadata=leaving), node
                table.put_pod(PodInfo.of(placed[at][0]), node.metadata.name)
            case "lost" if len(machines) > 2:
                node = machines.pop(random.choice(list(machines)))
                for pod, there in placed:
                    if there is node:
                        table.remove_pod(pod.metadata.uid)
                placed = [(p, n) for p, n in placed if n is not node]
                table.remove_node(node.metadata.name)
    return compared


@pytest.mark.parametrize("name", SCORES)
def test_each_score_is_that_of_a_plain_scheduler_node_by_node(name: str) -> None:
    compared = sum(
        play(Random(seed), lambda table: Twin(table, {name: (1.0, SCORES[name])})) for seed in range(40)
    )
    assert compared > 200


def test_all_scores_with_the_weights_of_kubernetes_add_up_to_those_of_a_plain_scheduler() -> None:
    weights = {"untainted": 3.0, "node affinity": 2.0, "even": 2.0, "company": 2.0, "least": 1.0, "balanced": 1.0, "images": 1.0}  # fmt: skip
    scores = {name: (weight, SCORES[name]) for name, weight in weights.items()}
    assert sum(play(Random(seed), lambda table: Twin(table, scores)) for seed in range(1000, 1040)) > 200


def test_pods_that_ask_for_the_same_but_have_more_containers_are_not_taken_for_alike() -> None:
    """A container that asks for nothing counts as something."""
    table = NodeTable()
    for number, cpu in enumerate(["1", "64"]):
        offered = {"cpu": cpu, "memory": "64Gi", "pods": "10"}
        table.put_node(Node(metadata=ObjectMeta(name=f"n{number}"), status=NodeStatus(allocatable=offered)))
    seen = Watches()
    cycle = Cycle(table, Policy(filters=FILTERS, scores=((LeastAllocated(), 1.0),), choose=seen), Random(1))
    found = []
    for count in (1, 5):
        containers = tuple(Container(name=f"c{n}") for n in range(count))
        meta = ObjectMeta(name=f"p{count}", uid=f"p{count}")
        cycle.decide(PodInfo.of(Pod(metadata=meta, spec=PodSpec(containers=containers))))
        found.append(float(seen.scores[table.rows["n0"]]))
    assert found == [94, 74]
