"""Preemption: who has to go, and from which node, as kube-scheduler has it for these clusters."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from types import MappingProxyType
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.api.scheduling import PriorityClass
from kubelib.registry.base import Patch
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.preemption import NoPlan, Plan, Preemption
from kubelib.testing.objects import make_node, make_pod
from tests.sched.conftest import containers
from tests.sched.layouts import HOST, constraint, social, with_labels

PRIORITIES = {"n": -100, "l": 0, "m": 100, "h": 1000, "v": 10_000}
SIZES = {"-": 0, "s": 100, "m": 200, "l": 300, "v": 500}


class World:
    """A cluster of ``priority size start`` by node: ``m:l@3`` is a large Pod of middle priority, the third to start."""

    def __init__(
        self,
        nodes: Mapping[str, str],
        options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        zones: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.table, self.budgets = NodeTable(), Budgets()
        self._starts: dict[str, float] = {}
        for node, pods in nodes.items():
            offered = {"cpu": "500m", "memory": "500", "pods": "110"}
            labels = {HOST: node, "zone": zones.get(node, "")}
            self.table.put_node(with_labels(make_node(node, allocatable=offered), labels))
            for number, text in enumerate(pods.split(), 1):
                name = f"{node}{number}"
                text, _, start = text.partition("@")
                self._starts[name] = float(start or 0)
                self.table.put_pod(PodInfo.of(sized(text, name, **options.get(name, {}))), node)
        self.preemption = Preemption(
            Cycle(self.table, default_policy(), Random(1)),
            self.budgets,
            started=lambda pod: self._starts[pod.key.name],
            random=Random(2),
        )

    def plans(self, pod: Pod) -> dict[str, tuple[list[str], int]]:
        """Return who would have to leave each node that it would help to clear, and how many budgets that breaks."""
        found = {}
        for name, row in self.table.rows.items():
            plan = self.preemption.plan_on(PodInfo.of(pod), row)
            if plan is not None:
                found[name] = sorted(victim.key.name for victim in plan.victims), plan.violations
        return found


def sized(text: str, name: str = "p", **options: Any) -> Pod:
    priority, _, size = text.partition(":")
    wanted = {"cpu": f"{SIZES[size]}m", "memory": str(SIZES[size])} if SIZES[size] else {}
    containers = (Container(name="c", resources=ResourceRequirements(requests=wanted)),)
    return make_pod(name, uid=name, priority=PRIORITIES[priority], containers=containers, **options)


@pytest.mark.parametrize(
    ("pod", "nodes", "wanted"),
    [
        ("h:l", {"a": "m:l", "b": "m:l"}, {"a": ["a1"], "b": ["b1"]}),
        ("l:l", {"a": "m:l", "b": "m:l"}, {}),
        ("h:l", {"a": "l:s m:l", "b": "m:l"}, {"a": ["a2"], "b": ["b1"]}),
        ("h:l", {"a": "m:s l:s m:m h:s", "b": "h:l"}, {"a": ["a2", "a3"]}),
        ("h:l", {"a": "l:s@5 l:s@4 m:m@3 h:s@2", "b": "h:l@1"}, {"a": ["a1", "a3"]}),
        ("h:l", {"a": "h:m m:s l:s", "b": "m:l", "c": "l:l"}, {"a": ["a2", "a3"], "b": ["b1"], "c": ["c1"]}),
    ],
)
def test_no_more_go_than_kube_scheduler_would_make_go(
    pod: str, nodes: Mapping[str, str], wanted: Any
) -> None:
    assert {node: names for node, (names, _) in World(nodes).plans(sized(pod)).items()} == wanted


@pytest.mark.parametrize(
    ("pod", "nodes", "wanted"),
    [
        ("h:v", {"a": "m:m m:l", "b": "m:m l:m", "c": "l:m l:m"}, "c"),
        ("h:v", {"a": "m:m m:l", "b": "m:l l:m", "c": "m:m m:m"}, "b"),
        ("h:v", {"a": "m:s n:s m:s n:s", "b": "m:l n:m", "c": "m:m n:s l:s"}, "b"),
        ("h:v", {"a": "m:s n:s n:s", "b": "m:l n:m", "c": "m:m n:s l:s"}, "b"),
        ("v:v", {"a": "m:s l:s l:s", "b": "h:l", "c": "m:m l:s l:s l:m", "d": "m:m m:s m:s n:s"}, "a"),
        ("h:v", {"a": "m:m@2 m:m@2", "b": "m:m@3 m:m@3", "c": "m:m@1 m:m@1"}, "b"),
        ("h:v", {"a": "m:m@4 m:m@2", "b": "m:m@5 m:m@1", "c": "m:m@3 m:m@6"}, "c"),
        ("h:v", {"a": "l:m@4 m:m@2", "b": "m:m@6 l:m@1", "c": "l:m@3 m:m@5"}, "b"),
    ],
)
def test_the_node_is_that_which_kube_scheduler_takes(pod: str, nodes: Mapping[str, str], wanted: str) -> None:
    plan = World(nodes).preemption.plan(PodInfo.of(sized(pod)))
    assert isinstance(plan, Plan)
    assert plan.node == wanted


def budget(allowed: int, disrupted: Sequence[str] = (), app: str = "foo") -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=app, namespace="default"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": app})),
        status=PodDisruptionBudgetStatus(
            disruptions_allowed=allowed,
            disrupted_pods=dict.fromkeys(disrupted, datetime(2026, 1, 1, tzinfo=UTC)),
        ),
    )


@pytest.mark.parametrize(
    ("there", "disrupted", "violations"),
    [("m:m m:m", [], 1), ("m:m m:m", ["other"], 1), ("m:m m:m", ["a2"], 0), ("m:s m:s m:m", ["a3"], 1)],
)
def test_budgets_are_broken_as_kube_scheduler_counts(
    there: str, disrupted: Sequence[str], violations: int
) -> None:
    names = [f"a{number}" for number in range(1, 4)]
    world = World({"a": there}, {name: {"labels": {"app": "foo"}} for name in names})
    world.budgets.put(budget(1, disrupted))
    everybody = names[: len(there.split())]
    assert world.plans(sized("h:v")) == {"a": (everybody, violations)}


def test_a_node_where_no_budget_is_broken_is_taken() -> None:
    guarded = {name: {"labels": {"app": "foo"}} for name in ("a1", "b1", "e1")}
    world = World(dict.fromkeys("abcde", "m:l"), guarded)
    world.budgets.put(budget(0))
    plan = world.preemption.plan(PodInfo.of(sized("h:l")))
    assert isinstance(plan, Plan)
    assert (plan.node in ("c", "d"), plan.violations) == (True, 0)


def test_whom_a_budget_guards_stays_though_others_are_of_higher_priority() -> None:
    guarded = {name: {"labels": {"app": "foo"}} for name in ("a1", "a2")}
    world = World({"a": "l:s l:s m:s"}, guarded)
    world.budgets.put(budget(0))
    assert world.plans(sized("h:l")) == {"a": (["a3"], 0)}


def test_where_no_budget_is_broken_the_lowest_priority_decides() -> None:
    apps = {"a1": "foo", "b1": "bar", "b2": "bar", "c1": "bar", "c2": "bar", "c3": "bar"}
    world = World(
        {"a": "l:s m:s", "b": "l:s m:s", "c": "l:s l:s l:s"},
        {name: {"labels": {"app": app}} for name, app in apps.items()},
    )
    world.budgets.put(budget(0))
    world.budgets.put(budget(3, app="bar"))
    plan = world.preemption.plan(PodInfo.of(sized("h:v")))
    assert isinstance(plan, Plan)
    assert (plan.node, plan.violations) == ("c", 0)


def test_who_keeps_others_away_goes_and_nobody_else() -> None:
    away = {"labels": {"foo": ""}, "affinity": social(away=[f"foo @{HOST}"])}
    world = World({"a": "l:s m:s h:s", "b": "h:s"}, {"a1": away})
    assert world.plans(sized("h:s", labels={"foo": ""})) == {"a": (["a1"], 0)}


def test_who_stands_in_the_way_of_spreading_goes() -> None:
    foo: dict[str, Any] = {"labels": {"foo": ""}}
    names = ("a1", "a2", "b1", "x1", "x2")
    zones = {"a": "1", "b": "1", "x": "2"}
    world = World({"a": "m:- l:-", "b": "l:-", "x": "h:- h:-"}, dict.fromkeys(names, foo), zones)
    even = tuple(constraint(key, unsatisfiable="DoNotSchedule") for key in ("zone", HOST))
    pod = sized("h:-", topology_spread_constraints=even, **foo)
    assert world.plans(pod) == {"a": (["a2"], 0), "b": (["b1"], 0)}


@pytest.mark.parametrize(
    ("pod", "nodes", "why"),
    [
        ("h:v", {"a": "h:s", "b": "h:s"}, "2 No preemption victims found for incoming pod"),
        ("h:v", {"a": "h:m l:s", "b": "h:s"}, "1 Insufficient cpu, 1 Insufficient memory, 1 No preemption victims found for incoming pod"),
    ],
)  # fmt: skip
def test_why_it_would_not_help_is_what_kube_scheduler_says(
    pod: str, nodes: Mapping[str, str], why: str
) -> None:
    plan = World(nodes).preemption.plan(PodInfo.of(sized(pod)))
    assert plan == NoPlan(f"0/{len(nodes)} nodes are available: {why}.")


@pytest.mark.parametrize(
    ("told", "waits"),
    [
        (("True", "PreemptionByScheduler"), True),
        (("False", "PreemptionByScheduler"), False),
        (("True", "EvictionByEvictionAPI"), False),
        (None, False),
    ],
)
async def test_only_for_those_who_leave_for_it_does_a_pod_wait_before_it_makes_others_leave(
    world: Any, told: tuple[str, str] | None, waits: bool
) -> None:
    await world.add_nodes(1, allocatable={"cpu": "500m", "memory": "500", "pods": "10"})
    for name, value in (("low", 0), ("high", 1000)):
        made = PriorityClass(metadata=ObjectMeta(name=name), value=value)
        await world.direct.resource(PriorityClass).create(made)
    for name, priority, node in (("there", "low", "node-0"), ("waits", "high", "")):
        await world.add_pod(
            name, node=node, priority_class_name=priority, containers=containers(cpu="300m", memory="300")
        )
    await world.pods.delete(Key("default", "there"))
    status: dict[str, dict[str, object]] = {"waits": {"nominatedNodeName": "node-0"}}
    if told is not None:
        status["there"] = {"conditions": [{"type": "DisruptionTarget", "status": told[0], "reason": told[1]}]}
    for name, change in status.items():
        await world.pods.patch(
            Key("default", name), Patch("strategic", {"status": change}), subresource="status"
        )
    async with world.running(world.scheduler()):
        await anyio.sleep(2)
    said = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    if waits:
        said += " preemption: not eligible due to a terminating pod on the nominated node."
    assert await world.refusal("waits") == ("Unschedulable", said)
    assert (await world.pod("waits")).status.nominated_node_name == "node-0"


async def test_of_nodes_promised_by_others_and_found_by_preemption_the_cheaper_is_taken(world: Any) -> None:
    high = PriorityClass(metadata=ObjectMeta(name="high"), value=1000)
    await world.direct.resource(PriorityClass).create(high)
    await world.add_nodes(2, allocatable={"cpu": "4", "memory": "4Gi", "pods": "10"})
    for name, node, cpu in (("a", "node-0", "2"), ("b", "node-0", "2"), ("c", "node-1", "3")):
        await world.add_pod(name, node=node, containers=containers(cpu=cpu))
    await world.add_pod("waits", priority_class_name="high", containers=containers(cpu="4"))
    promise = Patch("merge", {"status": {"nominatedNodeName": "node-0"}})
    await world.pods.patch(Key("default", "waits"), promise, subresource="status")
    async with world.running(world.scheduler()):
        await anyio.sleep(2)
        assert (await world.pod("waits")).status.nominated_node_name == "node-1"
        await world.pods.delete(Key("default", "c"), grace=0)
        await anyio.sleep(12)
        assert (await world.placed())["waits"] == "node-1"


async def test_whom_a_promise_keeps_out_is_tried_again_when_that_is_taken_back(world: Any) -> None:
    for name, value in (("low", 0), ("middle", 100), ("high", 1000)):
        made = PriorityClass(metadata=ObjectMeta(name=name), value=value)
        await world.direct.resource(PriorityClass).create(made)
    await world.add_nodes(1, allocatable={"cpu": "32", "memory": "4Gi", "pods": "10"})

    async def add(name: str, priority: str, cpu: str) -> None:
        await world.add_pod(name, priority_class_name=priority, containers=containers(cpu=cpu))
        await anyio.sleep(0.1)

    async with world.running(world.scheduler()):
        await add("before", "low", "20")
        await add("promised", "middle", "25")
        assert (await world.pod("promised")).status.nominated_node_name == "node-0"
        await add("first", "high", "10")
        await add("later", "low", "20")
        await world.pods.delete(Key("default", "before"), grace=0)
        await anyio.sleep(30)
        assert await world.placed() == {"first": "node-0", "later": "node-0", "promised": ""}
