"""Explanations and forecasts: they say what the decisions are, and leave everything as it was."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod, PodSchedulingGate, PodSchedulingGroup, PodStatus
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.api.scheduling_v1beta1 import (
    GangSchedulingPolicy,
    PodGroup,
    PodGroupSchedulingPolicy,
    PodGroupSpec,
)
from kubelib.sched.cycle import Cycle
from kubelib.sched.explaining import NodeVerdict, explain
from kubelib.sched.forecasting import NOBODY, what_if
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy, random_policy
from kubelib.sched.preemption import NO_HELP, NO_VICTIMS, Plan
from kubelib.sched.snapshot import Snapshot, make_snapshot, take_snapshot
from kubelib.testing.objects import make_meta, make_node, make_pod
from tests.sched.conftest import World, containers
from tests.sched.test_engine import PODS, named, nodes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, cpu: str = "1", **options: Any) -> Pod:
    return make_pod(name, uid=name, containers=containers(cpu=cpu), **options)


def node(name: str, cpu: str = "2", **spec: Any) -> Node:
    made = make_node(name, allocatable={"cpu": cpu, "memory": "8Gi", "pods": "10"})
    return replace(made, spec=replace(made.spec, **spec))


def owned(name: str, **options: Any) -> Pod:
    owner = OwnerReference(
        api_version="v1", kind="ReplicationController", name="rc", uid="rc", controller=True
    )
    return pod(name, owners=[owner], **options)


def state(snapshot: Snapshot) -> dict[str, Any]:
    table = snapshot.table
    there = {name: sorted(p.uid for p in table.pods_on(row)) for name, row in table.rows.items()}
    return {"there": there, "free": table.free.tolist(), "promised": sorted(p.uid for p in table.nominees())}


def test_every_filter_and_score_speaks_of_every_node() -> None:
    cluster = [
        node("a"),
        node("b", taints=(Taint(key="k", value="v", effect="NoSchedule"),)),
        node("c", unschedulable=True),
    ]
    snapshot = make_snapshot(cluster, [pod("big", "2", node="c")], now=NOW)
    found = explain(snapshot, pod("new"), default_policy(), Random(1))
    assert (found.state, found.node, found.equals, found.message) == ("waiting", "a", 1, "")
    a, b, c = found.nodes
    assert list(a.filters) == [f.name for f in default_policy().filters]
    assert a.fits
    assert a.total == pytest.approx(sum(s.points * s.weight for s in a.scores.values()))
    assert list(a.scores) == [s.name for s, _ in default_policy().scores]
    assert {n: r for n, r in b.filters.items() if r} == {
        "TaintToleration": ("node(s) had untolerated taint(s)",)
    }
    # A node that fails several filters is counted once in the sentence, and here says it all.
    assert {n: tuple(r) for n, r in c.filters.items() if r} == {
        "NodeUnschedulable": ("node(s) were unschedulable",),
        "NodeResourcesFit": ("Insufficient cpu",),
    }
    assert not b.scores
    assert not b.preemption


def test_a_bound_pod_is_judged_as_if_it_had_left_and_is_still_there() -> None:
    there = pod("there", "2", node="a")
    snapshot = make_snapshot([node("a"), node("b", "1")], [there], now=NOW)
    before = state(snapshot)
    found = explain(snapshot, there, default_policy(), Random(1))
    assert (found.state, found.bound, found.node) == ("bound", "a", "a")
    assert found.nodes[1].filters["NodeResourcesFit"] == ("Insufficient cpu",)
    assert state(snapshot) == before


def test_states_of_pods() -> None:
    snapshot = make_snapshot([node("a")], [], now=NOW)

    def of(pod: Pod) -> Any:
        return explain(snapshot, pod, default_policy(), Random(1))

    gated = of(pod("gated", scheduling_gates=(PodSchedulingGate(name="quota"),)))
    assert (gated.state, gated.gates, gated.node) == ("gated", ("quota",), "a")
    assert of(pod("ended", node="a", phase="Succeeded")).state == "ended"
    assert of(pod("leaving", metadata={"deletion_timestamp": NOW})).state == "leaving"
    other = of(pod("other", scheduler_name="omega"))
    assert (other.scheduler, other.policy) == ("omega", "default")
    assert explain(snapshot, pod("r"), random_policy(), Random(1)).nodes[0].scores == {}


def test_what_preemption_would_do_is_said_of_every_node() -> None:
    cluster = [node("a"), node("b"), node("c", "1"), node("d", unschedulable=True)]
    placed = [pod("low", "2", node="a", priority=1), pod("high", "2", node="b", priority=99)]
    snapshot = make_snapshot(cluster, placed, now=NOW)
    found = explain(snapshot, pod("new", "2", priority=10), default_policy(), Random(1))
    a, b, c, d = found.nodes
    assert found.node == ""
    assert isinstance(found.plan, Plan)
    assert found.plan.node == "a"
    assert found.message == "0/4 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu."
    assert a.victims == (Key("default", "low"),)
    assert (b.preemption, c.preemption, d.preemption) == (NO_VICTIMS, NO_HELP, NO_HELP)
    never = explain(
        snapshot, pod("never", "2", priority=10, preemption_policy="Never"), default_policy(), Random(1)
    )
    assert never.plan is None
    assert "preemptionPolicy=Never" in never.message
    assert all("preemptionPolicy=Never" in verdict.preemption for verdict in never.nodes)
    nowhere = explain(snapshot, pod("huge", "8", priority=10), default_policy(), Random(1))
    assert nowhere.plan is None
    assert nowhere.message.endswith(
        "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    )


def test_promised_room_is_somebody_elses() -> None:
    promised = replace(pod("first", "2", priority=5), status=PodStatus(nominated_node_name="a"))
    promised = replace(promised, spec=replace(promised.spec, scheduler_name="default-scheduler"))
    snapshot = make_snapshot([node("a")], [promised], now=NOW)
    snapshot.promise({"omega"})
    assert explain(snapshot, pod("new"), default_policy(), Random(1)).node == "a"
    snapshot.promise({"default-scheduler"})
    found = explain(snapshot, pod("new"), default_policy(), Random(1))
    assert found.node == ""
    assert not any(found.nodes[0].filters.values())
    assert found.nodes[0].promised == ("Insufficient cpu",)
    assert explain(snapshot, promised, default_policy(), Random(1)).nominated == "a"


def test_no_nodes_at_all() -> None:
    found = explain(make_snapshot([], [], now=NOW), pod("new"), default_policy(), Random(1))
    assert (found.node, found.message, found.nodes) == ("", "no nodes available to schedule pods", [])


def first_reasons(node: NodeVerdict) -> Sequence[str]:
    """Return why a decision passes over a node: it is no candidate, which is asked first, or it fails a filter, of which the first counts."""
    told = [why for why in node.filters.values() if why]
    return next((why for why in told if why[0].startswith("node(s) didn't satisfy plugin(s)")), told[0])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_explained_is_what_is_decided(data: st.DataObject) -> None:
    cluster = [data.draw(nodes(f"node-{n}")) for n in range(data.draw(st.integers(1, 4)))]
    placed = []
    for number in range(data.draw(st.integers(0, 5))):
        where = data.draw(st.sampled_from(cluster)).metadata.name
        made = named(data.draw(PODS), number)
        placed.append(replace(made, spec=replace(made.spec, node_name=where)))
    snapshot = make_snapshot(cluster, placed, now=NOW)
    new = named(data.draw(PODS), 99)
    before = state(snapshot)
    found = explain(snapshot, new, default_policy(), Random(1))
    assert state(snapshot) == before
    verdict = Cycle(snapshot.table, default_policy(), Random(1)).decide(
        attrs.evolve(PodInfo.of(new), node="")
    )
    assert found.node == verdict.node
    fitting = {n.node: n.total for n in found.nodes if n.fits}
    if verdict.node:
        assert fitting[verdict.node] == pytest.approx(max(fitting.values()))
        return
    assert not fitting
    assert Counter(r for n in found.nodes for r in first_reasons(n)) == Counter(verdict.reasons)


# What if


def infos(*pods: Pod) -> list[PodInfo]:
    return [PodInfo.of(pod) for pod in pods]


def test_pods_take_the_room_of_those_after_them_and_none_is_gone_in_the_end() -> None:
    snapshot = make_snapshot([node("a"), node("b", "1")], [], now=NOW)
    before = state(snapshot)
    found = what_if(snapshot, infos(*(pod(f"p{n}") for n in range(4))), default_policy(), Random(1))
    assert sorted(p.node for p in found.placements) == ["", "a", "a", "b"]
    assert not found.complete
    assert found.placements[3].message.startswith("0/2 nodes are available: 2 Insufficient cpu.")
    assert state(snapshot) == before


def test_victims_move_if_somebody_makes_them_again() -> None:
    cluster = [node("a"), node("b", "1")]
    placed = [owned("low", node="a"), pod("single", node="a")]
    snapshot = make_snapshot(cluster, placed, now=NOW)
    before = state(snapshot)
    found = what_if(snapshot, infos(pod("new", "2", priority=10)), default_policy(), Random(1))
    (placement,) = found.placements
    assert placement.node == "a"
    assert set(placement.victims) == {Key("default", "low"), Key("default", "single")}
    moves = {move.pod.name: (move.origin, move.node, move.message) for move in found.moves}
    assert moves == {"low": ("a", "b", ""), "single": ("a", "", NOBODY)}
    assert found.complete
    assert state(snapshot) == before


def test_a_pod_of_the_same_file_may_have_to_move_too() -> None:
    snapshot = make_snapshot([node("a")], [], now=NOW)
    before = state(snapshot)
    found = what_if(
        snapshot, infos(pod("low", "2"), pod("high", "2", priority=5)), default_policy(), Random(1)
    )
    assert [p.node for p in found.placements] == ["a", "a"]
    assert [move.pod.name for move in found.moves] == ["low"]
    assert state(snapshot) == before


def test_budgets_that_would_be_broken_are_counted() -> None:
    budget = PodDisruptionBudget(
        metadata=make_meta("b"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": "x"})),
        status=PodDisruptionBudgetStatus(disruptions_allowed=0),
    )
    there = pod("low", "2", node="a", labels={"app": "x"})
    snapshot = make_snapshot([node("a")], [there], now=NOW, budgets=[budget])
    found = what_if(snapshot, infos(pod("new", "2", priority=1)), default_policy(), Random(1))
    assert [p.violations for p in found.placements] == [1]


def test_pods_of_which_no_scheduler_is_asked() -> None:
    snapshot = make_snapshot([node("a")], [], now=NOW)
    pods = infos(
        pod("gated", scheduling_gates=(PodSchedulingGate(name="g"),)),
        pod("named", "2", node="a"),
        pod("lost", node="nope"),
        pod("late"),
    )
    found = what_if(snapshot, pods, default_policy(), Random(1))
    assert [p.node for p in found.placements] == ["", "a", "", ""]
    assert "scheduling gates" in found.placements[0].message
    assert "names its node" in found.placements[1].message
    assert "nope" in found.placements[2].message
    with pytest.raises(ValueError, match="uid of its own"):
        what_if(snapshot, infos(pod("same"), pod("same")), default_policy(), Random(1))


@pytest.mark.anyio
async def test_a_forecast_comes_true(world: World) -> None:
    for name, cpu in (("a", "5"), ("b", "3"), ("c", "2")):
        await world.add_node(node(name, cpu))
    await world.add_pod("there", containers=containers(cpu="2"))
    scheduler = world.scheduler()
    async with world.running(scheduler):
        await anyio.sleep(5)
        snapshot = await take_snapshot(world.client, NOW)
        asked = ["1", "2", "1", "3", "1", "1"]
        pods = infos(*(pod(f"p{number}", cpu) for number, cpu in enumerate(asked)))
        forecast = what_if(snapshot, pods, default_policy(), Random(7))
        for number, cpu in enumerate(asked):
            await world.add_pod(f"p{number}", containers=containers(cpu=cpu))
            await anyio.sleep(5)
        placed = await world.placed()
        assert {p.pod.name: p.node for p in forecast.placements} == {
            name: where for name, where in placed.items() if name != "there"
        }
        for placement in forecast.placements:
            if not placement.node:
                assert (await world.refusal(placement.pod.name))[1] == placement.message
        assert not forecast.complete


def gang(name: str, minimum: int) -> PodGroup:
    policy = PodGroupSchedulingPolicy(gang=GangSchedulingPolicy(min_count=minimum))
    return PodGroup(metadata=make_meta(name, "default"), spec=PodGroupSpec(scheduling_policy=policy))


def member(name: str, cpu: str = "1", **options: Any) -> Pod:
    return pod(name, cpu, scheduling_group=PodSchedulingGroup(pod_group_name="gang"), **options)


def test_an_explanation_judges_a_pod_with_its_group() -> None:
    waiting = [member(f"m{number}") for number in range(3)]
    there = member("there", node="a")
    groups = [gang("gang", 5)]
    snapshot = make_snapshot([node("a"), node("b")], [*waiting, there], now=NOW, groups=groups)
    before = state(snapshot)
    found = explain(snapshot, waiting[0], default_policy(), Random(1))
    why = "waiting for minCount pods from a gang to appear in scheduling queue: 4 of 5"
    assert (found.node, found.message, found.plan) == ("", why, None)
    assert found.group is not None and (found.group.bound, found.group.waiting) == (1, 3)
    snapshot.groups.put(Key("default", "gang"), gang("gang", 4))
    found = explain(snapshot, waiting[0], default_policy(), Random(1))
    assert found.node and found.group is not None and not found.group.message
    again = explain(snapshot, there, default_policy(), Random(1))
    assert again.group is not None and (again.group.bound, again.group.waiting) == (0, 4)
    assert again.node
    snapshot.table.put_pod(PodInfo.of(pod("full", "1")), "b")
    found = explain(snapshot, waiting[0], default_policy(), Random(1))
    assert found.message.endswith(
        'pod group "gang": minCount (4) cannot be satisfied: 3 scheduled, 0 remaining'
    )
    assert [verdict.fits for verdict in found.nodes] == [True, True], "alone it would fit"
    snapshot.table.remove_pod("full")
    assert state(snapshot) == before


@pytest.mark.parametrize("policy", ["PreemptLowerPriority", "Never"])
def test_a_forecast_says_who_leaves_for_a_group_unless_it_is_polite(policy: str) -> None:
    spec = replace(gang("gang", 2).spec, priority=10, preemption_policy=policy)
    there = [
        pod("low", "2", node="a"),
        pod("lower", "1", node="b", priority=-5),
        pod("high", "1", node="b", priority=20),
    ]
    snapshot = make_snapshot(
        [node("a"), node("b")], there, now=NOW, groups=[replace(gang("gang", 2), spec=spec)]
    )
    before = state(snapshot)
    members = [PodInfo.of(member(f"m{number}", "1")) for number in range(4)]
    found = what_if(snapshot, members, default_policy(), Random(1))
    gone = {victim.name for placement in found.placements for victim in placement.victims}
    if policy == "Never":
        assert not gone and not found.moves and not any(p.node for p in found.placements)
        why = 'pod group "gang": minCount (2) cannot be satisfied'
        assert all(why in placement.message for placement in found.placements)
    else:
        assert gone == {"low"} and [(m.pod.name, m.origin, m.node) for m in found.moves] == [("low", "a", "")]
        assert [p.node for p in found.placements] == ["a", "a", "", ""]
        assert "Insufficient cpu" in found.placements[-1].message
    assert state(snapshot) == before


def test_a_forecast_places_a_group_as_a_whole_or_not_at_all() -> None:
    groups = [gang("gang", 3)]
    snapshot = make_snapshot([node("a")], [], now=NOW, groups=groups)
    before = state(snapshot)
    members = [PodInfo.of(member(f"m{number}")) for number in range(3)]
    alone = PodInfo.of(pod("alone"))

    def forecast(*pods: PodInfo) -> list[tuple[str, str]]:
        placements = what_if(snapshot, pods, default_policy(), Random(1)).placements
        return [(placement.pod.name, placement.node) for placement in placements]

    assert forecast(members[0], alone, *members[1:]) == [("m0", ""), ("alone", "a"), ("m1", ""), ("m2", "")]
    assert forecast(*members[:2]) == [("m0", ""), ("m1", "")]
    snapshot.groups.put(Key("default", "gang"), gang("gang", 2))
    assert forecast(*members, alone) == [("m0", "a"), ("m1", "a"), ("m2", ""), ("alone", "")]
    assert state(snapshot) == before
