import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelib.api.core.affinity import (
    Affinity,
    NodeAffinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Toleration,
    TopologySpreadConstraint,
)
from kubelib.api.core.container import Container, ContainerPort, ContainerRestartRule, ResourceRequirements
from kubelib.api.core.node import Node, NodeSpec, NodeStatus, Taint
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.declaredfeatures import RESTART_ALL
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo, pod_requests
from kubelib.sched.policies import FILTERS, POLICIES, Best, default_policy, load_policy, per_node
from tests.sched import plain

LATER = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = st.sampled_from(["a", "b", "c"])
EFFECTS = st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])
FEATURES = st.sampled_from([(), (RESTART_ALL,), ("Other", RESTART_ALL), ("Other",)])


@st.composite
def nodes(draw: Any, name: str) -> Node:
    labels = {"host": name}
    if draw(st.integers(0, 4)):
        labels["zone"] = draw(ZONES)
    if draw(st.booleans()):
        labels["rank"] = draw(st.sampled_from(["1", "5", "9", "x"]))
    offered = {"cpu": str(draw(st.integers(1, 4))), "memory": "4Gi", "pods": str(draw(st.integers(1, 4)))}
    if draw(st.booleans()):
        offered["example.com/gpu"] = "1"
    taints = [Taint(key=draw(st.sampled_from("kl")), value=draw(st.sampled_from("vw")), effect=draw(EFFECTS))]
    return Node(
        metadata=ObjectMeta(name=name, labels=labels),
        spec=NodeSpec(
            unschedulable=not draw(st.integers(0, 5)), taints=tuple(taints[: draw(st.integers(0, 1))])
        ),
        status=NodeStatus(allocatable=offered, declared_features=draw(FEATURES)),
    )


REQUIREMENTS = st.one_of(
    st.builds(
        NodeSelectorRequirement,
        key=st.just("zone"),
        operator=st.sampled_from(["In", "NotIn"]),
        values=st.sampled_from([("a",), ("a", "b"), ("d",)]),
    ),
    st.builds(
        NodeSelectorRequirement, key=st.just("rank"), operator=st.sampled_from(["Exists", "DoesNotExist"])
    ),
    st.builds(
        NodeSelectorRequirement,
        key=st.just("rank"),
        operator=st.sampled_from(["Gt", "Lt"]),
        values=st.just(("4",)),
    ),
)
NAMES = st.builds(
    NodeSelectorRequirement,
    key=st.just("metadata.name"),
    operator=st.sampled_from(["In", "NotIn"]),
    values=st.sampled_from([("n0",), ("n1",)]),
)
TERMS = st.builds(
    NodeSelectorTerm,
    match_expressions=st.lists(REQUIREMENTS, max_size=2).map(tuple),
    match_fields=st.lists(NAMES, max_size=1).map(tuple),
)
NODE_AFFINITY = st.builds(
    NodeAffinity,
    required_during_scheduling_ignored_during_execution=st.builds(
        NodeSelector, node_selector_terms=st.lists(TERMS, min_size=1, max_size=2).map(tuple)
    ),
)
SELECTORS = st.builds(LabelSelector, match_labels=st.sampled_from([{"app": "x"}, {"app": "y"}, {}]))
KEYS = st.sampled_from(["zone", "host"])
SAME = st.sampled_from([(), (), ("version",), ("app", "version")])
"""Labels whose value is to be that of the Pod, or another."""
POD_TERMS = st.lists(
    st.builds(
        PodAffinityTerm,
        label_selector=SELECTORS,
        topology_key=KEYS,
        namespaces=st.sampled_from([(), (), ("other",), ("default", "other")]),
        namespace_selector=st.none()
        | st.builds(LabelSelector, match_labels=st.sampled_from([{}, {"team": "b"}, {"team": "c"}])),
        match_label_keys=SAME,
        mismatch_label_keys=SAME,
    ),
    min_size=1,
    max_size=2,
).map(tuple)
AFFINITY = st.builds(
    Affinity,
    node_affinity=st.none() | NODE_AFFINITY,
    pod_affinity=st.none()
    | st.builds(PodAffinity, required_during_scheduling_ignored_during_execution=POD_TERMS),
    pod_anti_affinity=st.none()
    | st.builds(PodAntiAffinity, required_during_scheduling_ignored_during_execution=POD_TERMS),
)
SPREAD = st.builds(
    TopologySpreadConstraint,
    max_skew=st.integers(1, 2),
    topology_key=KEYS,
    when_unsatisfiable=st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
    label_selector=SELECTORS,
    match_label_keys=SAME,
    min_domains=st.sampled_from([None, None, 2, 3]),
    node_affinity_policy=st.sampled_from(["", "Honor", "Ignore"]),
    node_taints_policy=st.sampled_from(["", "Honor", "Ignore"]),
)
TOLERATIONS = st.builds(
    Toleration,
    key=st.sampled_from(["", "k", "l"]),
    operator=st.just("Exists"),
    effect=st.sampled_from(["", "NoSchedule"]),
) | st.builds(Toleration, key=st.just("k"), operator=st.just("Equal"), value=st.sampled_from("vw"))
REQUESTS = st.fixed_dictionaries(
    {}, optional={"cpu": st.sampled_from(["0", "500m", "2"]), "memory": st.sampled_from(["1Gi", "3Gi"]),
                  "example.com/gpu": st.just("1")}
)  # fmt: skip
PORTS = st.lists(
    st.builds(
        ContainerPort,
        host_port=st.sampled_from([80, 81]),
        host_ip=st.sampled_from(["", "0.0.0.0", "10.0.0.1", "10.0.0.2"]),
        protocol=st.sampled_from(["", "TCP", "UDP"]),
    ),
    max_size=2,
).map(tuple)
PODS = st.builds(
    lambda namespace, labels, container, before, ports, rules, **spec: Pod(
        metadata=ObjectMeta(namespace=namespace, labels=labels),
        spec=PodSpec(
            containers=(
                Container(
                    name="c",
                    ports=ports,
                    resources=ResourceRequirements(requests=container),
                    restart_policy_rules=rules,
                ),
            ),
            init_containers=(Container(name="i", resources=ResourceRequirements(requests=before)),),
            **spec,
        ),
    ),
    namespace=st.sampled_from(["default", "default", "other"]),
    labels=st.sampled_from(
        [{}, {"app": "x"}, {"app": "y"}, {"app": "x", "version": "1"}, {"app": "x", "version": "2"}]
    ),
    container=REQUESTS,
    before=st.just({}) | REQUESTS,
    overhead=st.sampled_from([{}, {}, {"cpu": "250m"}]),
    ports=PORTS,
    rules=st.sampled_from([(), (), (), (ContainerRestartRule(action="RestartAllContainers"),)]),
    affinity=st.none() | AFFINITY,
    tolerations=st.lists(TOLERATIONS, max_size=1).map(tuple),
    topology_spread_constraints=st.just(()) | st.lists(SPREAD, max_size=2).map(tuple),
    node_selector=st.sampled_from([{}, {}, {"zone": "a"}]),
)


def named(pod: Pod, number: int) -> Pod:
    return replace(pod, metadata=replace(pod.metadata, name=f"p{number}", uid=f"u{number}"))


@given(st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_every_verdict_is_that_of_a_plain_scheduler_node_by_node(data: Any) -> None:
    machines: dict[str, Node] = {}
    placed: list[tuple[Pod, Node]] = []
    table = table_of()
    cycles = {name: Cycle(table, make(), Random(7)) for name, make in POLICIES.items()}
    shapes = data.draw(st.lists(PODS, min_size=1, max_size=3))
    for number in range(data.draw(st.integers(1, 5))):
        node = machines[f"n{number}"] = data.draw(nodes(f"n{number}"))
        table.put_node(node)
    for number in range(data.draw(st.integers(1, 14))):
        match data.draw(st.sampled_from(["pod"] * 6 + ["node", "leaving", "gone", "lost"])):
            case "pod":
                pod = named(data.draw(st.sampled_from(shapes)), number)
                info = PodInfo.of(pod)
                everyone = list(machines.values())
                expected = {n.metadata.name for n in everyone if plain.fits(pod, n, everyone, placed)}
                verdicts = {name: cycle.decide(info) for name, cycle in cycles.items()}
                for name, verdict in verdicts.items():
                    assert (verdict.node in expected) if expected else not verdict.node, name
                    if not expected and machines:
                        assert verdict.nodes == len(machines)
                        assert sum(verdict.reasons.values()) >= len(machines)
                chosen = verdicts["default"].node
                if chosen:
                    table.put_pod(info, chosen)
                    placed.append((pod, machines[chosen]))
            case "node":
                name = f"n{data.draw(st.integers(0, 5))}"
                old = machines.get(name)
                node = machines[name] = data.draw(nodes(name))
                placed = [(p, node if n is old else n) for p, n in placed]
                table.put_node(node)
            case "leaving" if placed:
                chosen_row = data.draw(st.integers(0, len(placed) - 1))
                pod, node = placed[chosen_row]
                pod = replace(pod, metadata=replace(pod.metadata, deletion_timestamp=LATER))
                placed[chosen_row] = pod, node
                table.put_pod(PodInfo.of(pod), node.metadata.name)
            case "gone" if placed:
                pod, _ = placed.pop(data.draw(st.integers(0, len(placed) - 1)))
                assert table.remove_pod(pod.metadata.uid)
            case "lost" if machines:
                name = data.draw(st.sampled_from(sorted(machines)))
                node = machines.pop(name)
                for pod, there in placed:
                    if there is node:
                        table.remove_pod(pod.metadata.uid)
                placed = [(p, n) for p, n in placed if n is not node]
                table.remove_node(name)
    check_kept_judgements(table, cycles["default"], [PodInfo.of(pod) for pod in shapes])


def check_kept_judgements(table: NodeTable, cycle: Cycle, pods: Sequence[PodInfo]) -> None:
    for pod in pods:
        kept = cycle._judge(pod)
        fresh = Cycle(table, default_policy(), Random(1))._judge(pod)
        assert np.array_equal(kept.fits, fresh.fits)
        # To the last bit: a difference would look like a preference.
        assert np.array_equal(kept.scores, fresh.scores)
        assert kept.fitting == fresh.fitting


def machine(name: str, cpu: str = "4", **labels: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels=labels),
        status=NodeStatus(allocatable={"cpu": cpu, "memory": "8Gi", "pods": "110"}),
    )


def small(number: int, cpu: str = "100m", **spec: Any) -> PodInfo:
    resources = ResourceRequirements(requests={"cpu": cpu} if cpu else {})
    spec.setdefault("containers", (Container(name="c", resources=resources),))
    return PodInfo.of(Pod(metadata=ObjectMeta(name=f"p{number}", uid=f"u{number}"), spec=PodSpec(**spec)))


def place(cycle: Cycle, pods: Sequence[PodInfo]) -> Counter[str]:
    found: Counter[str] = Counter()
    for pod in pods:
        verdict = cycle.decide(pod)
        found[verdict.node] += 1
        if verdict.node:
            cycle.table.put_pod(pod, verdict.node)
    return found


def table_of(*machines: Node) -> NodeTable:
    table = NodeTable()
    for name, labels in plain.NAMESPACES.items():
        table.put_namespace(name, labels)
    for node in machines:
        table.put_node(node)
    return table


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("round-robin", {"n0": 4, "n1": 4, "n2": 4}),
        ("least-allocated", {"n0": 4, "n1": 4, "n2": 4}),
        ("most-allocated", {"n0": 12}),
    ],
)
def test_a_policy_fills_equal_nodes_as_its_name_says(policy: str, expected: dict[str, int]) -> None:
    cycle = Cycle(table_of(*(machine(f"n{n}") for n in range(3))), load_policy(policy), Random(3))
    found = place(cycle, [small(n) for n in range(12)])
    assert sorted(found.values()) == sorted(expected.values())


def test_the_random_policy_is_the_same_for_the_same_seed_and_uses_all_nodes() -> None:
    def run(seed: int) -> list[str]:
        cycle = Cycle(table_of(*(machine(f"n{n}") for n in range(5))), load_policy("random"), Random(seed))
        return [cycle.decide(small(n)).node for n in range(60)]

    assert run(1) == run(1) != run(2)
    assert len(set(run(1))) == 5


def test_pods_that_ask_for_nothing_are_spread_all_the_same() -> None:
    cycle = Cycle(table_of(*(machine(f"n{n}") for n in range(3))), default_policy(), Random(3))
    assert place(cycle, [small(n, "") for n in range(9)]) == {"n0": 3, "n1": 3, "n2": 3}


def test_ties_are_broken_by_the_seed() -> None:
    table = table_of(*(machine(f"n{n}") for n in range(16)))
    chosen = {Cycle(table, default_policy(), Random(seed)).decide(small(1)).node for seed in range(50)}
    assert len(chosen) > 8


def test_an_unknown_policy_is_named_with_those_that_there_are() -> None:
    with pytest.raises(LookupError, match="no policy 'best'; there are: default, least-allocated"):
        load_policy("best")


def test_a_function_of_one_node_is_a_filter_and_a_score() -> None:
    even = per_node(lambda pod, node: int(node.name[1:]) % 2 == 0, name="Even", reason="node(s) were odd")
    high = per_node(lambda pod, node: float(node.name[1:]) * 10, name="High")
    policy = Policy(filters=(*FILTERS, even), scores=((high, 1.0),), choose=Best())
    cycle = Cycle(table_of(*(machine(f"n{n}", "1") for n in range(5))), policy, Random(1))
    found = place(cycle, [small(n, "1") for n in range(4)])
    assert found == {"n4": 1, "n2": 1, "n0": 1, "": 1}
    assert cycle.decide(small(9, "1")).message == (
        "0/5 nodes are available: 2 node(s) were odd, 3 Insufficient cpu."
    )


def test_counts_in_a_refusal_stand_in_the_order_of_their_text() -> None:
    machines = [machine(f"n{n}", "1") for n in range(10)]
    cordoned = [
        Node(metadata=ObjectMeta(name=f"c{n}"), spec=NodeSpec(unschedulable=True), status=machines[0].status)
        for n in range(2)
    ]
    verdict = Cycle(table_of(*machines, *cordoned), default_policy(), Random(1)).decide(small(1, "2"))
    assert verdict.message == "0/12 nodes are available: 10 Insufficient cpu, 2 node(s) were unschedulable."
    assert verdict.retry_on == {"new node", "node room", "node taints", "pod gone"}


def requesting(cpu: str, restart: str = "") -> Container:
    return Container(name="c", restart_policy=restart, resources=ResourceRequirements(requests={"cpu": cpu}))


@pytest.mark.parametrize(
    ("init", "main", "overhead", "milli"),
    [
        ((), ("1", "500m"), "0", 1500),
        (("2",), ("1",), "0", 2000),
        (("1", "3", "2"), ("1", "1"), "0", 3000),
        (("1!", "3"), ("1",), "0", 4000),
        (("3", "1!"), ("1",), "0", 3000),
        (("1!", "1!"), ("1",), "100m", 3100),
    ],
)
def test_a_pod_asks_for_its_peak(init: Sequence[str], main: Sequence[str], overhead: str, milli: int) -> None:
    spec = PodSpec(
        init_containers=tuple(requesting(c.rstrip("!"), "Always" if c.endswith("!") else "") for c in init),
        containers=tuple(map(requesting, main)),
        overhead={"cpu": overhead},
    )
    assert pod_requests(Pod(spec=spec))["cpu"] == milli


def test_amounts_beyond_64_bits_fit_nowhere_and_break_nothing() -> None:
    cycle = Cycle(table_of(machine("n0")), default_policy(), Random(1))
    assert cycle.decide(small(1, "9E")).message == "0/1 nodes are available: 1 Insufficient cpu."
    assert cycle.decide(small(2, "1")).node == "n0"


def test_a_node_that_is_overcommitted_takes_what_asks_for_nothing_that_is_short() -> None:
    table = table_of(machine("n0", "1"))
    table.put_pod(small(1, "3"), "n0")
    cycle = Cycle(table, default_policy(), Random(1))
    assert cycle.decide(small(2, "1m")).node == ""
    assert cycle.decide(small(3, "")).node == "n0"
    assert cycle.decide(small(4, "0")).node == "n0"


def test_the_table_grows_and_reuses_rows_and_resources_come_late() -> None:
    table = table_of(*(machine(f"n{n}") for n in range(40)))
    pod = small(1)
    table.put_pod(pod, "n7")
    table.remove_node("n7")
    assert len(table) == 39 and int(table.used["cpu"].sum()) == 0
    size = table.size
    table.put_node(machine("fresh"))
    table.put_node(machine("n7"))
    assert table.size == size
    assert table.node(table.rows["n7"]).used["cpu"] == 100
    assert table.node(table.rows["n7"]).pods == (pod,)
    late = machine("late")
    status = replace(late.status, allocatable={**late.status.allocatable, "example.com/gpu": "2"})
    table.put_node(replace(late, status=status))
    assert table.node(table.rows["late"]).allocatable["example.com/gpu"] == 2
    assert table.node(table.rows["n7"]).allocatable["example.com/gpu"] == 0


def test_the_interface_of_policies_does_not_import_numpy() -> None:
    code = "import sys, kubelib.sched.base; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def term(random: Random) -> PodAffinityTerm:
    selector = LabelSelector(match_labels={"app": random.choice("xy")})
    return PodAffinityTerm(label_selector=selector, topology_key=random.choice(["zone", "host"]))


def crowded_pod(random: Random, number: int) -> Pod:
    near = PodAffinity(required_during_scheduling_ignored_during_execution=(term(random),))
    away = PodAntiAffinity(required_during_scheduling_ignored_during_execution=(term(random),))
    even = TopologySpreadConstraint(
        max_skew=random.randint(1, 2),
        topology_key=random.choice(["zone", "host"]),
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": random.choice("xy")}),
        min_domains=random.choice([None, None, 3]),
    )
    ports = (ContainerPort(host_port=80, host_ip=random.choice(["", "10.0.0.1", "10.0.0.2"])),)
    container = Container(
        name="c",
        ports=ports if random.random() < 0.2 else (),
        resources=ResourceRequirements(requests={"cpu": random.choice(["100m", "1"])}),
    )
    tolerations = (Toleration(key="k", operator="Exists"),) if random.random() < 0.5 else ()
    return Pod(
        metadata=ObjectMeta(
            name=f"p{number}", uid=f"u{number}", namespace="default", labels={"app": random.choice("xyz")}
        ),
        spec=PodSpec(
            containers=(container,),
            tolerations=tolerations,
            node_selector={"zone": "a"} if random.random() < 0.2 else {},
            affinity=random.choice(
                [None, None, None, Affinity(pod_affinity=near), Affinity(pod_anti_affinity=away)]
            ),
            topology_spread_constraints=(even,) if random.random() < 0.4 else (),
        ),
    )


@pytest.mark.parametrize("seed", range(25))
def test_a_crowded_cluster_is_judged_as_by_a_plain_scheduler(seed: int) -> None:
    random = Random(seed)
    machines = []
    for number in range(8):
        node = machine(f"n{number}", "8", zone=random.choice("abc"), host=f"n{number}")
        taints = (Taint(key=random.choice("kl"), effect="NoSchedule"),) if random.random() < 0.3 else ()
        machines.append(replace(node, spec=NodeSpec(taints=taints)))
    machines[0] = replace(machines[0], metadata=replace(machines[0].metadata, labels={"host": "n0"}))
    table = table_of(*machines)
    engine, anywhere = Cycle(table, default_policy(), Random(1)), load_policy("random")
    placed: list[tuple[Pod, Node]] = []
    for number in range(50):
        pod = crowded_pod(random, number)
        info = PodInfo.of(pod)
        expected = [n.metadata.name for n in machines if plain.fits(pod, n, machines, placed)]
        fits = np.ones(table.size, bool)
        for condition in anywhere.filters:
            fits &= condition.fits(info, table, slice(0, table.size))
        fits &= table.present
        assert [table.names[row] for row in np.flatnonzero(fits)] == expected
        chosen = engine.decide(info).node
        assert (chosen in expected) if expected else not chosen
        if chosen:
            table.put_pod(info, chosen)
            placed.append((pod, next(n for n in machines if n.metadata.name == chosen)))
        if placed and random.random() < 0.2:
            gone, _ = placed.pop(random.randrange(len(placed)))
            table.remove_pod(gone.metadata.uid)
    assert len(placed) > 10
