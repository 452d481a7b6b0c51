"""Plug-ins that return what they must not: a Pod is never put where it does not fit, and the plug-in is named."""

from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import numpy as np
import pytest

from kubelib.api.core.node import NodeSpec
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.guarding import BadPlugin
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import FILTERS, POLICIES, AnyOf, Best, load_policy
from kubelib.testing.objects import make_node, make_pod

NODES = 20
ROOM = {"cpu": "4", "memory": "8Gi", "pods": "10"}


def table_with_room_on(name: str) -> NodeTable:
    """Return many nodes, of which all but one are closed."""
    table = NodeTable()
    for number in range(NODES):
        node = make_node(f"n{number}", allocatable=ROOM)
        table.put_node(replace(node, spec=NodeSpec(unschedulable=node.metadata.name != name)))
    return table


class Says:
    """A filter or score that says what it is told to."""

    name = "Says"

    def __init__(self, what: Callable[[int], Any], *, wide: bool = False) -> None:
        self._what = what
        if wide:
            self.concerns = lambda pod, nodes: True  # only instances that have it look at other rows

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Any) -> Any:
        return self._what(len(nodes.present[rows]))

    score = fits

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> tuple[str, ...]:
        return ("says no",)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("what", "shown"),
    [
        pytest.param(lambda n: np.full(n, np.nan), "not a finite number", id="nan"),
        pytest.param(lambda n: np.full(n, np.inf), "not a finite number", id="infinite"),
        pytest.param(lambda n: float("nan"), "not a finite number", id="one nan"),
        pytest.param(lambda n: np.zeros(n + 1), "an array of shape", id="too long"),
        pytest.param(lambda n: np.zeros((n, 2)), "an array of shape", id="two columns"),
        pytest.param(lambda n: np.array(["a"] * n), "type <U1", id="texts"),
        pytest.param(lambda n: "much", "it returned 'much'", id="a text"),
        pytest.param(lambda n: None, "it returned None", id="nothing"),
        pytest.param(lambda n: [1.0] * n, "it returned", id="a list"),
    ],
)
def test_a_bad_score_is_refused_with_its_name(what: Any, shown: str, wide: bool) -> None:
    policy = Policy(filters=FILTERS, scores=((Says(what, wide=wide), 1.0),), choose=Best())
    with pytest.raises(BadPlugin, match="Says") as caught:
        Cycle(table_with_room_on("n5"), policy, Random(1)).decide(PodInfo.of(make_pod("a")))
    assert shown in str(caught.value)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(lambda n: np.ones(n + 1, bool), id="too long"),
        pytest.param(lambda n: np.ones(n), id="floats"),
        pytest.param(lambda n: None, id="nothing"),
        pytest.param(lambda n: 1, id="a number"),
        pytest.param(lambda n: "yes", id="a text"),
    ],
)
def test_a_bad_verdict_is_refused_with_the_name_of_the_filter(what: Any, wide: bool) -> None:
    policy = Policy(filters=(*FILTERS, Says(what, wide=wide)), choose=AnyOf())
    with pytest.raises(BadPlugin, match="the filter Says must return a bool"):
        Cycle(table_with_room_on("n5"), policy, Random(1)).decide(PodInfo.of(make_pod("a")))


def test_bad_names_of_candidates_are_refused_with_the_name_of_the_filter() -> None:
    says = Says(lambda n: np.zeros(n, bool))
    says.candidates = lambda pod: ["n5"]  # type: ignore[attr-defined]
    policy = Policy(filters=(*FILTERS, says), choose=AnyOf())
    with pytest.raises(BadPlugin, match="the filter Says must return a set of names, or None: it returned"):
        Cycle(table_with_room_on("n5"), policy, Random(1)).decide(PodInfo.of(make_pod("a")))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_said_of_nodes_that_do_not_fit_counts_for_nothing(bad: float) -> None:
    def except_five(count: int) -> Any:
        points = np.full(count, bad)
        points[5 if count > 1 else 0] = 1.0
        return points

    policy = Policy(filters=FILTERS, scores=((Says(except_five), 1.0),), choose=Best())
    assert Cycle(table_with_room_on("n5"), policy, Random(1)).decide(PodInfo.of(make_pod("a"))).node == "n5"


@pytest.mark.parametrize("row", [-1, 3, NODES, 10**9])
def test_a_choice_that_does_not_fit_is_refused(row: int) -> None:
    class Chooses:
        def choose(self, fits: Any, scores: Any, random: Random) -> int:
            return row

    policy = Policy(filters=FILTERS, choose=Chooses())
    with pytest.raises(BadPlugin, match=f"Chooses chose row {row}"):
        Cycle(table_with_room_on("n5"), policy, Random(1)).decide(PodInfo.of(make_pod("a")))


async def test_the_scheduler_goes_on_and_says_which_plug_in_it_was(world: Any) -> None:
    class Picky(Says):
        def score(self, pod: PodInfo, nodes: NodeTable, rows: Any) -> Any:
            return float("nan") if pod.key == Key("default", "bad") else 1.0

    policy = Policy(filters=FILTERS, scores=((Picky(lambda rows: 1.0), 1.0),), choose=Best())
    await world.add_nodes(1)
    async with world.running(world.scheduler(policy)):
        await world.add_pod("bad", labels={"a": "b"})
        await world.add_pod("good")
        await anyio.sleep(3)
    assert (await world.pod("good")).spec.node_name == "node-0"
    reason, message = await world.refusal("bad")
    assert reason == "SchedulerError"
    assert "BadPlugin: a score" in message


@pytest.mark.parametrize("name", ["default", "spread"])
def test_replicas_are_spread_over_zones_more_than_over_nodes(name: str) -> None:
    """Zones of one, two and six nodes get nearly as many Pods each."""
    assert name in POLICIES
    table = NodeTable()
    for number, zone in enumerate("abbcccccc"):
        labels = {"topology.kubernetes.io/zone": zone}
        node = make_node(f"n{number}", allocatable={"cpu": "64", "memory": "64Gi", "pods": "110"})
        table.put_node(replace(node, metadata=replace(node.metadata, labels=labels)))
    cycle = Cycle(table, load_policy(name), Random(1))
    zones = {"a": 0, "b": 0, "c": 0}
    for number in range(12):
        owner = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="rs", uid="rs", controller=True)
        pod = PodInfo.of(make_pod(f"p{number}", owners=[owner], uid=f"uid-{number}"))
        chosen = cycle.decide(pod).node
        table.put_pod(pod, chosen)
        zones["abbcccccc"[int(chosen[1:])]] += 1
    assert max(zones.values()) - min(zones.values()) <= 2, "and not 1 : 2 : 9"
