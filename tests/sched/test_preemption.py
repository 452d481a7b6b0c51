from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelib.api.core.affinity import Affinity, PodAntiAffinity
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.api.scheduling import PriorityClass
from kubelib.client.local import LocalClient
from kubelib.registry.base import Patch
from kubelib.sched.base import Policy
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import FILTERS, AnyOf, default_policy, per_node
from kubelib.sched.preemption import NoPlan, Plan, Preemption
from kubelib.testing.objects import make_node
from tests.sched import plain
from tests.sched.test_engine import POD_TERMS, PODS, named, nodes, table_of
from tests.sched.test_scheduler import Remote, containers

SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}


@attrs.frozen
class Cost:
    node: str
    key: tuple[float, ...]
    victims: frozenset[str]


def broken(pods: Sequence[Pod], budgets: Sequence[PodDisruptionBudget]) -> set[str]:
    """Return the Pods whose loss, one after the other, breaks a budget."""
    left = [budget.status.disruptions_allowed for budget in budgets]
    found = set()
    for pod in pods:
        for number, budget in enumerate(budgets):
            assert budget.spec.selector is not None
            wanted = budget.spec.selector.match_labels
            if budget.metadata.namespace != pod.metadata.namespace or not wanted:
                continue
            if all(pod.metadata.labels.get(k) == v for k, v in wanted.items()):
                left[number] -= 1
                if left[number] < 0:
                    found.add(pod.metadata.uid)
    return found


def plain_plans(
    pod: Pod,
    machines: Sequence[Node],
    placed: plain.Placement,
    promised: plain.Placement,
    budgets: Sequence[PodDisruptionBudget],
    started: Callable[[str], float],
    judge: Callable[[Pod, Node, Sequence[Node], plain.Placement], bool] = plain.fits,
) -> list[Cost]:
    def rank(other: Pod) -> int:
        return other.spec.priority or 0

    found = []
    for node in machines:
        lower = [p for p, n in placed if n is node and rank(p) < rank(pod)]
        lower.sort(key=lambda p: (-rank(p), started(p.metadata.uid), p.metadata.namespace, p.metadata.name))
        if not lower:
            continue
        rest = [(p, n) for p, n in placed if p not in lower]
        beside = [(p, n) for p, n in promised if n is node and rank(p) >= rank(pod)]

        def fits(there: list[tuple[Pod, Node]], node: Node = node, beside: Any = beside) -> bool:
            return all(judge(pod, node, machines, [*there, *more]) for more in ((), beside))

        if not fits(rest):
            continue
        violating = broken(lower, budgets)
        victims, violations = [], 0
        for other in sorted(lower, key=lambda p: p.metadata.uid not in violating):
            if fits([*rest, (other, node)]):
                rest.append((other, node))
            else:
                victims.append(other)
                violations += other.metadata.uid in violating
        highest = max((rank(v) for v in victims), default=-(2**31))
        earliest = min((started(v.metadata.uid) for v in victims if rank(v) == highest), default=0)
        total = sum(rank(v) + 2**31 for v in victims)
        key = (violations, highest, total, len(victims), -earliest)
        found.append(Cost(node.metadata.name, key, frozenset(v.metadata.uid for v in victims)))
    return found


ANTI = st.none() | st.builds(
    Affinity,
    pod_anti_affinity=st.builds(
        PodAntiAffinity, required_during_scheduling_ignored_during_execution=POD_TERMS
    ),
)


def shape(data: Any, *, wishes: bool) -> Pod:
    pod = data.draw(PODS)
    spread = pod.spec.topology_spread_constraints if wishes else ()
    anti = data.draw(ANTI) if wishes else None
    ports = pod.spec.containers if wishes else tuple(replace(c, ports=()) for c in pod.spec.containers)
    spec = replace(pod.spec, affinity=anti, topology_spread_constraints=spread, containers=ports)
    result: Pod = replace(pod, spec=spec)
    return result


@given(st.data(), st.booleans())
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_every_preemption_is_the_cheapest_of_a_plain_scheduler_and_leaves_no_trace(
    data: Any, wishes: bool
) -> None:
    table, budgets = table_of(), Budgets()
    cycle = Cycle(table, default_policy(), Random(7))
    machines = [data.draw(nodes(f"n{number}")) for number in range(data.draw(st.integers(1, 4)))]
    for node in machines:
        table.put_node(node)
    shapes = [shape(data, wishes=wishes) for _ in range(data.draw(st.integers(1, 3)))]
    placed: list[tuple[Pod, Node]] = []
    promised: list[tuple[Pod, Node]] = []
    limits = []
    for number, app in enumerate(data.draw(st.lists(st.sampled_from("xy"), max_size=2))):
        budget = PodDisruptionBudget(
            metadata=ObjectMeta(name=f"b{number}", namespace="default"),
            spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": app})),
            status=PodDisruptionBudgetStatus(disruptions_allowed=data.draw(st.integers(0, 1))),
        )
        budgets.put(budget)
        limits.append(budget)
    starts = data.draw(st.lists(st.integers(0, 3), min_size=12, max_size=12))

    def started(uid: str) -> float:
        return float(starts[int(uid[1:])])

    preemption = Preemption(cycle, budgets, started=lambda p: started(p.uid), random=Random(3))
    for number in range(12):
        pod = named(data.draw(st.sampled_from(shapes)), number)
        pod = replace(pod, spec=replace(pod.spec, priority=data.draw(st.sampled_from([-5, 0, 10, 1000]))))
        info = PodInfo.of(pod)
        chosen = cycle.decide(info).node
        if chosen:
            table.put_pod(info, chosen)
            placed.append((pod, next(m for m in machines if m.metadata.name == chosen)))
            continue
        before = table.free.copy(), table.log_end, {row: set(map(id, p)) for row, p in table.pods_by_row()}
        plan = preemption.plan(info)
        assert (table.free == before[0]).all() and table.log_end == before[1]
        assert {row: set(map(id, p)) for row, p in table.pods_by_row()} == before[2]
        expected = plain_plans(pod, machines, placed, promised, limits, started)
        if not expected:
            assert isinstance(plan, NoPlan)
            continue
        assert isinstance(plan, Plan), plan
        best = min(cost.key for cost in expected)
        assert plan.cost == best
        chosen_victims = frozenset(victim.uid for victim in plan.victims)
        assert Cost(plan.node, best, chosen_victims) in expected
        if data.draw(st.booleans()):
            # Either they leave, and it gets the place, or it is promised to it for the time being.
            for victim in plan.victims:
                table.remove_pod(victim.uid)
            placed = [(p, n) for p, n in placed if p.metadata.uid not in chosen_victims]
            table.nominate(info, plan.node)
            assert cycle.decide(info).node == plan.node
            table.put_pod(info, plan.node)
            placed.append((pod, next(m for m in machines if m.metadata.name == plan.node)))
        else:
            table.nominate(info, plan.node)
            promised.append((pod, next(m for m in machines if m.metadata.name == plan.node)))


# In the cluster


async def classes(world: Any, **values: Any) -> None:
    for name, value in values.items():
        policy = "Never" if name == "polite" else ""
        await world.direct.resource(PriorityClass).create(
            PriorityClass(metadata=ObjectMeta(name=name), value=value, preemption_policy=policy)
        )


async def pod_of(world: Any, name: str, priority: str, cpu: str = "2", **spec: Any) -> Any:
    spec.setdefault("containers", containers(cpu=cpu))
    return await world.add_pod(name, priority_class_name=priority, **spec)


async def gone(world: Any, name: str) -> None:
    """What the node agent does when the containers have ended."""
    await world.pods.delete(Key("default", name), grace=0)


@pytest.mark.parametrize("line", [lambda client: client, Remote], ids=["transaction", "one by one"])
async def test_a_pod_of_high_priority_makes_one_of_low_priority_leave_and_takes_its_place(
    make_world: Callable[..., Any], line: Callable[[LocalClient], Any]
) -> None:
    world = make_world(line)
    await classes(world, low=10, high=1000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        large = await pod_of(world, "large", "high")
        await anyio.sleep(2)
        victim, waiting = await world.pod("small"), await world.pod("large")
        assert victim.metadata.deletion_timestamp and victim.metadata.deletion_grace_period_seconds == 30
        (told,) = [c for c in victim.status.conditions if c.type == "DisruptionTarget"]
        assert (told.status, told.reason) == ("True", "PreemptionByScheduler")
        assert told.message == "default-scheduler: preempting to accommodate a higher priority pod"
        assert told.observed_generation == 1
        assert waiting.status.nominated_node_name == "node-0" and not waiting.spec.node_name
        said = f"Preempted by pod {large.metadata.uid} on node node-0"
        assert ("Preempted", said) in await world.events()
        # While it leaves, nobody of the same or a lower priority gets the room, and nobody else has to go.
        await pod_of(world, "late", "low", "1")
        await anyio.sleep(3)
        await gone(world, "small")
        await anyio.sleep(12)
        assert (await world.pod("large")).spec.node_name == "node-0"
        assert not (await world.pod("late")).spec.node_name
        assert len([reason for reason, _ in await world.events() if reason == "Preempted"]) == 1


async def test_who_never_preempts_waits_and_says_so(world: Any) -> None:
    await classes(world, low=10, polite=1000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "polite")
        await anyio.sleep(2)
        assert await world.refusal("large") == (
            "Unschedulable",
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
        )
        assert not (await world.pod("small")).metadata.deletion_timestamp


async def test_a_pod_that_no_departure_would_help_says_why(world: Any) -> None:
    await classes(world, low=10, high=1000)
    await world.add_nodes(2, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await pod_of(world, "peer", "high")
        await anyio.sleep(2)
        await pod_of(world, "huge", "high", "3")
        await anyio.sleep(2)
        assert (await world.refusal("huge"))[1] == (
            "0/2 nodes are available: 2 Insufficient cpu. "
            "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        )
        assert not (await world.pod("small")).metadata.deletion_timestamp


async def test_a_disruption_budget_spares_its_pods_while_others_can_go(world: Any) -> None:
    await classes(world, low=10, lower=5, high=1000)
    await world.add_nodes(2, allocatable=SMALL)
    budgets = world.direct.resource(PodDisruptionBudget)
    await budgets.create(
        PodDisruptionBudget(
            metadata=ObjectMeta(name="keep", namespace="default"),
            spec=PodDisruptionBudgetSpec(
                min_available=1, selector=LabelSelector(match_labels={"app": "kept"})
            ),
        )
    )
    async with world.running(world.scheduler()):
        await pod_of(world, "kept", "lower", labels={"app": "kept"})
        await pod_of(world, "other", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "high")
        await anyio.sleep(2)
        assert not (await world.pod("kept")).metadata.deletion_timestamp
        assert (await world.pod("other")).metadata.deletion_timestamp


async def test_a_pod_that_another_of_higher_priority_robs_of_its_promise_looks_elsewhere(world: Any) -> None:
    await classes(world, low=10, high=1000, higher=2000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "high")
        await anyio.sleep(2)
        assert (await world.pod("large")).status.nominated_node_name == "node-0"
        await pod_of(world, "first", "higher")
        await anyio.sleep(2)
        assert (await world.pod("first")).status.nominated_node_name == "node-0"
        await gone(world, "small")
        await anyio.sleep(12)
        assert (await world.pod("first")).spec.node_name == "node-0"
        large = await world.pod("large")
        assert not large.spec.node_name and not large.status.nominated_node_name


async def test_a_pod_that_is_overtaken_by_one_who_fits_beside_its_victims_is_promised_nothing_more(
    world: Any,
) -> None:
    await classes(world, low=10, middle=100, high=1000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low", "1")
        await anyio.sleep(2)
        await pod_of(world, "large", "middle")
        await anyio.sleep(2)
        assert (await world.pod("large")).status.nominated_node_name == "node-0"
        await pod_of(world, "first", "high", "1")
        await anyio.sleep(2)
        assert (await world.pod("first")).spec.node_name == "node-0"
        await gone(world, "small")
        await anyio.sleep(12)
        large = await world.pod("large")
        assert (large.spec.node_name, large.status.nominated_node_name) == ("", "")


async def test_a_scheduler_that_takes_over_keeps_what_was_promised(world: Any) -> None:
    await classes(world, low=10, high=1000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "high")
        await anyio.sleep(2)
    async with world.running(second := world.scheduler()):
        await anyio.sleep(1)
        uid = (await world.pod("large")).metadata.uid
        assert second.table.nominated_node(uid) == "node-0"
        await gone(world, "small")
        await anyio.sleep(12)
        assert (await world.pod("large")).spec.node_name == "node-0"
        assert second.table.nominated_node(uid) == ""


@pytest.mark.parametrize("others", [0, 1])
async def test_the_promise_of_a_node_that_goes_is_taken_back(world: Any, others: int) -> None:
    """Whether there are no nodes any more, or none where others could make way."""
    await classes(world, low=10, high=1000)
    await world.add_nodes(1, allocatable=SMALL)
    for _ in range(others):
        full = make_node("full", allocatable={**SMALL, "pods": "0"})
        await world.add_node(full)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "high")
        await anyio.sleep(2)
        assert (await world.pod("large")).status.nominated_node_name == "node-0"
        await world.nodes.delete(Key("", "node-0"))
        await gone(world, "small")
        await anyio.sleep(12)
        assert (await world.pod("large")).status.nominated_node_name == ""


async def test_the_promise_of_a_pod_that_is_deleted_goes_to_others(world: Any) -> None:
    await classes(world, low=10, high=1000)
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await pod_of(world, "small", "low")
        await anyio.sleep(2)
        await pod_of(world, "large", "high")
        await anyio.sleep(2)
        await gone(world, "small")
        await gone(world, "large")
        await pod_of(world, "late", "low", "1")
        await anyio.sleep(12)
        assert (await world.pod("late")).spec.node_name == "node-0"


async def test_a_burst_of_high_priority_takes_exactly_the_room_that_it_needs(world: Any) -> None:
    await classes(world, low=10, high=1000)
    await world.add_nodes(4, allocatable=SMALL)
    async with world.running(world.scheduler()):
        for number in range(8):
            await pod_of(world, f"low-{number}", "low", "1")
        await anyio.sleep(2)
        for number in range(5):
            await pod_of(world, f"high-{number}", "high", "1")
        for _ in range(30):
            await anyio.sleep(1)
            for pod in (await world.pods.list()).items:
                if pod.metadata.deletion_timestamp:
                    await gone(world, pod.metadata.name)
    placed = await world.placed()
    assert len(placed) == 8 and all(placed[f"high-{number}"] for number in range(5))


async def test_a_pod_whose_node_another_scheduler_has_filled_is_tried_elsewhere_at_once(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    began = anyio.current_time()

    class Late:
        """A client that binds when the other scheduler has been there: what the room is asked for is gone."""

        def __init__(self, client: LocalClient) -> None:
            self._client = client
            self.asked: list[str] = []

        def resource(self, kind: Any) -> Any:
            return self._client.resource(kind)

        @property
        def binder(self) -> Any:
            return self

        may_lose_answers = False

        async def commit(self, transaction: Any) -> Any:
            claims = transaction.claims
            self.asked += [claim.node for claim in claims]
            if len(self.asked) == 1:
                node = claims[0].node
                await world.pods.create(
                    replace(
                        await world.pods.get(claims[0].pod),
                        metadata=ObjectMeta(name="quick", namespace="default"),
                        spec=replace((await world.pods.get(claims[0].pod)).spec, node_name=node),
                    )
                )
            return await self._client.binder.commit(transaction)

    world.client = late = Late(world.direct)
    async with world.running(world.scheduler()):
        await world.add_pod("a", containers=containers(cpu="2"))
        while not (await world.pod("a")).spec.node_name:
            await anyio.sleep(0.01)
        assert anyio.current_time() - began < 0.5
    assert len(late.asked) == 2 and len(set(late.asked)) == 2


async def test_a_nomination_made_by_somebody_else_is_kept_to(world: Any) -> None:
    await classes(world, high=1000)
    await world.add_nodes(2, allocatable=SMALL)
    await pod_of(world, "chosen", "high")
    patch = Patch("merge", {"status": {"nominatedNodeName": "node-1"}})
    await world.pods.patch(Key("default", "chosen"), patch, subresource="status")
    async with world.running(world.scheduler()):
        await anyio.sleep(2)
    chosen = await world.pod("chosen")
    assert chosen.spec.node_name == "node-1"
    # What was a hint while it waited is not said of a Pod that has a node.
    assert chosen.status.nominated_node_name == ""


@pytest.mark.parametrize("hindrance", ["no nodes", "a plug-in that raises", "a policy that does not preempt"])
async def test_a_nomination_is_taken_back_from_who_cannot_be_placed_nor_make_way(
    world: Any, hindrance: str
) -> None:
    def judge(pod: Any, node: Any) -> float:
        raise ZeroDivisionError

    await classes(world, high=1000)
    if hindrance != "no nodes":
        await world.add_nodes(1, allocatable={**SMALL, "cpu": "1"})
    await pod_of(world, "chosen", "high")
    patch = Patch("merge", {"status": {"nominatedNodeName": "node-0"}})
    await world.pods.patch(Key("default", "chosen"), patch, subresource="status")
    policy = attrs.evolve(default_policy(), preempts=False)
    if hindrance == "a plug-in that raises":
        policy = Policy(filters=(*FILTERS, per_node(judge, name="Judge")), choose=AnyOf())
    async with world.running(world.scheduler(policy if hindrance != "no nodes" else None)):
        await anyio.sleep(2)
    chosen = await world.pod("chosen")
    assert chosen.status.nominated_node_name == ""
    assert [c.status for c in chosen.status.conditions] == ["False"]
