"""The elastic scheduler: which nodes, how many, and when they go again; in virtual time."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import product
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.core.affinity import Toleration
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod, PodSchedulingGroup
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, ObjectMeta, OwnerReference
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.api.scheduling_v1beta1 import (
    GangSchedulingPolicy,
    PodGroup,
    PodGroupSchedulingPolicy,
    PodGroupSpec,
)
from kubelib.sched.budgets import Budgets
from kubelib.sched.elastic import (
    ClusterView,
    Elastic,
    ElasticSettings,
    FakeProvider,
    NodeProvider,
    NodeTemplate,
    Offer,
    ProviderError,
    find_spare,
    plan_growth,
)
from kubelib.sched.elastic.draining import DRAINING
from kubelib.sched.elastic.planning import Growth
from kubelib.sched.elastic.shrinking import SAFE
from kubelib.sched.groups import Groups
from kubelib.sched.pods import PodInfo
from kubelib.testing.objects import make_meta, make_pod
from kubelib.testing.provider import ProviderSuite
from tests.sched.conftest import World, containers

SMALL = NodeTemplate(name="small", capacity={"cpu": "2", "memory": "4Gi", "pods": "20"}, price=1.0)
LARGE = NodeTemplate(name="large", capacity={"cpu": "8", "memory": "16Gi", "pods": "20"}, price=3.0)
OWNER = (OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="rs", uid="rs", controller=True),)


def infos(*cpus: str, **spec: Any) -> list[PodInfo]:
    return [
        PodInfo.of(make_pod(f"p{n}", uid=f"u{n}", containers=containers(cpu=cpu), **spec))
        for n, cpu in enumerate(cpus)
    ]


def plan(pods: Sequence[PodInfo], *templates: NodeTemplate, upcoming: Any = ()) -> dict[str, int]:
    view = ClusterView(nodes=[], pods=[])
    offers = [Offer(template, template.maximum) for template in templates]
    return dict(plan_growth(view, pods, offers, upcoming=upcoming, random=Random(1)).wanted)


class TestPlanningGrowth:
    def test_the_cheapest_template_that_fits(self) -> None:
        assert plan(infos("1"), LARGE, SMALL) == {"small": 1}
        assert plan(infos("3"), LARGE, SMALL) == {"large": 1}

    def test_many_share_a_large_one_when_that_is_cheaper(self) -> None:
        assert plan(infos(*["2"] * 4), SMALL, LARGE) == {"large": 1}
        assert plan(infos(*["2"] * 5), SMALL, LARGE) == {"large": 1, "small": 1}

    def test_upcoming_nodes_are_filled_first(self) -> None:
        assert plan(infos("1", "1"), SMALL, upcoming=[("x", SMALL)]) == {}
        assert plan(infos("1", "1", "1"), SMALL, upcoming=[("x", SMALL)]) == {"small": 1}

    def test_limits_hold_and_what_cannot_be_helped_is_told(self) -> None:
        growth = plan_growth(
            ClusterView(nodes=[], pods=[]), infos("2", "2", "99"), [Offer(SMALL, 1)], random=Random(1)
        )
        assert growth.wanted == {"small": 1}
        assert [len(growth.helped), len(growth.hopeless)] == [1, 2]

    def test_nothing_is_asked_for_a_gang_of_which_too_few_could_be_helped(self) -> None:
        policy = PodGroupSchedulingPolicy(gang=GangSchedulingPolicy(min_count=3))
        meta = ObjectMeta(name="gang", namespace="default")
        group = PodGroup(metadata=meta, spec=PodGroupSpec(scheduling_policy=policy))
        groups = Groups()
        groups.put(group.key, group)
        members = infos("2", "2", "2", scheduling_group=PodSchedulingGroup(pod_group_name="gang"))
        others = [attrs.evolve(pod, uid=f"other-{pod.uid}") for pod in infos("2", "2")]

        def growth(count: int) -> Growth:
            view = ClusterView(nodes=[], pods=[], groups=groups)
            return plan_growth(view, [*members, *others], [Offer(SMALL, count)], random=Random(1))

        assert growth(5).wanted == {"small": 5}
        found = growth(2)
        assert found.wanted == {"small": 2}
        assert {pod.uid for pod in found.helped} == {pod.uid for pod in others}
        assert {pod.uid for pod in found.hopeless} == {pod.uid for pod in members}

    def test_taints_and_labels_of_templates_are_minded(self) -> None:
        tainted = NodeTemplate(
            name="gpu",
            capacity=LARGE.capacity,
            price=0.1,
            labels={"gpu": "yes"},
            taints=(Taint(key="gpu", effect="NoSchedule"),),
        )
        assert plan(infos("1"), tainted, SMALL) == {"small": 1}
        tolerant = infos(
            "1", node_selector={"gpu": "yes"}, tolerations=(Toleration(key="gpu", operator="Exists"),)
        )
        assert plan(tolerant, tainted, SMALL) == {"gpu": 1}

    def test_daemons_take_their_part_of_new_nodes(self) -> None:
        daemon = PodInfo.of(make_pod("d", uid="d", containers=containers(cpu="1500m")))
        view = ClusterView(nodes=[], pods=[], daemons=[daemon])
        assert plan_growth(view, infos("1"), [Offer(SMALL, 5)], random=Random(1)).wanted == {}
        assert plan_growth(view, infos("500m"), [Offer(SMALL, 5)], random=Random(1)).wanted == {"small": 1}

    @pytest.mark.parametrize("seed", range(12))
    def test_no_cheaper_set_would_do(self, seed: int) -> None:
        """Against all sets there are, packed in all ways by brute force."""
        random = Random(seed)
        cpus = [random.choice([1, 2, 3, 5]) for _ in range(random.randint(1, 5))]
        templates = [
            NodeTemplate(
                name=f"t{n}",
                capacity={"cpu": str(random.choice([2, 4, 6, 8])), "memory": "1Gi", "pods": "9"},
                price=random.choice([1.0, 1.5, 2.0, 3.0]),
            )
            for n in range(2)
        ]
        growth = plan_growth(
            ClusterView(nodes=[], pods=[]),
            infos(*map(str, cpus)),
            [Offer(template, 4) for template in templates],
            random=random,
        )
        sizes = [int(template.capacity["cpu"]) for template in templates]
        possible = [
            sum(n * t.price for n, t in zip(counts, templates, strict=True))
            for counts in product(range(5), repeat=2)
            if _packs(cpus, [s for n, s in zip(counts, sizes, strict=True) for _ in range(n)])
        ]
        if not possible:
            assert growth.hopeless
        else:
            assert not growth.hopeless
            assert growth.price == min(possible)


def _packs(cpus: Sequence[int], nodes: list[int]) -> bool:
    if not cpus:
        return True
    for number, free in enumerate(nodes):
        if free >= cpus[0] and _packs(cpus[1:], [*nodes[:number], free - cpus[0], *nodes[number + 1 :]]):
            return True
    return False


class TestTemplates:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": "No Name"}, "is no name of a template"),
            ({"capacity": {"cpu": "1", "memory": "1Gi"}}, "does not say its pods"),
            ({"capacity": {"cpu": "much", "memory": "1Gi", "pods": "1"}}, "'much' of cpu"),
            ({"capacity": {"cpu": "0", "memory": "1Gi", "pods": "1"}}, "'0' of cpu"),
            ({"price": float("nan")}, "a price that is not below 0"),
            ({"minimum": 3, "maximum": 2}, "from 3 to 2 nodes"),
            ({"taints": (Taint(key="x", effect="Never"),)}, "a key and one of"),
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused_in_a_sentence(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            NodeTemplate(**{"name": "t", "capacity": SMALL.capacity, **change})


class TestFindingSpareNodes:
    def spare(self, pods: dict[str, list[Pod]], budgets: Budgets | None = None) -> list[str]:
        view = ClusterView(
            nodes=[SMALL.node(name) for name in ("a", "b")],
            pods=[PodInfo.of(pod) for some in pods.values() for pod in some],
        )
        found = find_spare(view, pods, ["a", "b"], budgets=budgets or Budgets(), random=Random(1))
        return [spare.node for spare in found]

    def pod(self, node: str, cpu: str = "500m", **options: Any) -> Pod:
        options.setdefault("owners", OWNER)
        return make_pod(f"on-{node}", uid=f"on-{node}", node=node, containers=containers(cpu=cpu), **options)

    def test_two_half_empty_nodes_become_one(self) -> None:
        assert self.spare({"a": [self.pod("a")], "b": [self.pod("b", "1900m")]}) == []
        assert self.spare({"a": [self.pod("a")], "b": [self.pod("b", "900m")]}) == ["a"]
        assert self.spare({}) == ["a", "b"]

    @pytest.mark.parametrize(
        "options",
        [
            {"owners": ()},
            {"metadata": {"annotations": {SAFE: "false"}}},
            {"volumes": (Volume(name="v", empty_dir=EmptyDirVolumeSource()),)},
            {"namespace": "kube-system"},
        ],
        ids=["bare", "unsafe", "local storage", "system"],
    )
    def test_a_pod_that_must_stay_keeps_its_node(self, options: dict[str, Any]) -> None:
        assert self.spare({"a": [self.pod("a", "100m", **options)]}) == ["b"]

    def test_static_and_daemon_pods_keep_no_node(self) -> None:
        daemon = (replace(OWNER[0], kind="DaemonSet"),)
        static = {"annotations": {"kubernetes.io/config.mirror": "x"}}
        assert self.spare({"a": [self.pod("a", owners=daemon)]}) == ["b", "a"]
        assert self.spare({"a": [self.pod("a", owners=(), metadata=static)]}) == ["b", "a"]

    def budgets(self, allowed: int) -> Budgets:
        budgets = Budgets()
        budgets.put(
            PodDisruptionBudget(
                metadata=make_meta("b"),
                spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": "x"})),
                status=PodDisruptionBudgetStatus(disruptions_allowed=allowed),
            )
        )
        return budgets

    def test_a_disruption_budget_keeps_a_node(self) -> None:
        pods = {"a": [self.pod("a", "100m", labels={"app": "x"})]}
        assert self.spare(pods, self.budgets(0)) == ["b"]
        assert self.spare(pods) == ["b"]  # b is empty and goes first: a must stay to take nothing in

    def test_pods_that_a_budget_lets_go_one_by_one_keep_no_node(self) -> None:
        """As in the cluster autoscaler: evictions that are refused are tried again."""
        pods = {
            node: [
                make_pod(
                    f"{node}-{n}",
                    uid=f"{node}-{n}",
                    node=node,
                    containers=containers(cpu="100m"),
                    owners=OWNER,
                    labels={"app": "x"},
                )
                for n in range(count)
            ]
            for node, count in (("a", 2), ("b", 3))
        }
        assert self.spare(pods, self.budgets(1)) == ["a"]
        assert self.spare(pods, self.budgets(0)) == []


@asynccontextmanager
async def elastic(world: World, provider: FakeProvider, **settings: Any) -> AsyncIterator[None]:
    scaler = Elastic(
        world.client,
        provider,
        random=Random(3),
        settings=ElasticSettings(**settings),
        recorder=world.recorder.source("elastic"),
    )
    async with world.running(world.scheduler()), anyio.create_task_group() as tasks:
        await tasks.start(provider.run)
        await tasks.start(scaler.run)
        yield
        tasks.cancel_scope.cancel()


async def until(check: Callable[[], Any], within: float = 7200.0) -> None:
    with anyio.fail_after(within):
        while not await check():
            await anyio.sleep(5.0)


async def node_count(world: World) -> int:
    return len((await world.nodes.list()).items)


async def all_placed(world: World) -> bool:
    return all((await world.placed()).values())


class TestElastic:
    async def test_grows_for_a_burst_and_shrinks_back(self, world: World) -> None:
        """From one node to five and back to one."""
        one = NodeTemplate(name="small", capacity=SMALL.capacity, minimum=1, maximum=5)
        provider = FakeProvider(world.direct, [one], delay=45.0)
        async with elastic(world, provider):
            await until(lambda: _is(node_count(world), 1))
            for number in range(10):
                await world.add_pod(f"burst-{number}", owners=OWNER)
            await until(lambda: all_placed(world))
            assert await node_count(world) == 5
            assert sum(len(names) for _, names in provider.asked) == 5
            assert ("TriggeredScaleUp", "pod triggered scale-up: 4 small") in await world.events()
            began = anyio.current_time()
            for number in range(1, 10):
                await world.pods.delete(Key("default", f"burst-{number}"), grace=0)
            await until(lambda: _is(node_count(world), 1))
            assert anyio.current_time() - began >= 600.0
            await anyio.sleep(3600.0)
            assert await node_count(world) == 1

    async def test_a_lost_answer_is_asked_for_again_under_the_same_names(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL])
        provider.lost = [OSError("the line is cut")]
        async with elastic(world, provider):
            await world.add_pod("p")
            await until(lambda: all_placed(world))
            await anyio.sleep(300.0)
            assert await node_count(world) == 1
            assert len({name for _, names in provider.asked for name in names}) == 1

    async def test_a_slow_provider_is_not_asked_for_more(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL], delay=500.0)
        provider.answer_after = 200.0
        async with elastic(world, provider):
            await world.add_pod("p")
            await until(lambda: all_placed(world))
            assert await node_count(world) == 1

    async def test_a_provider_that_fails_is_asked_again_later(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL])
        provider.failures = [ProviderError("no quota"), OSError("unreachable"), ProviderError("no quota")]
        async with elastic(world, provider):
            await world.add_pod("p")
            await until(lambda: all_placed(world))
            assert anyio.current_time() >= 30.0 + 60.0 + 120.0
            assert await node_count(world) == 1

    async def test_another_template_helps_where_one_cannot_be_had(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL, LARGE])
        provider.failures = [ProviderError("no quota")]
        async with elastic(world, provider):
            await world.add_pod("p")
            await until(lambda: all_placed(world), within=29.0)
            assert [template for template, _ in provider.asked] == ["small", "large"]

    async def test_fewer_nodes_than_asked_for(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL])
        provider.fewer = 1
        async with elastic(world, provider):
            for number in range(4):
                await world.add_pod(f"p-{number}", containers=containers(cpu="1500m"))
            await until(lambda: _is(node_count(world), 3))
            provider.fewer = 0
            await until(lambda: all_placed(world))
            assert await node_count(world) == 4

    async def test_a_node_that_never_comes_is_given_up(self, world: World) -> None:
        provider = FakeProvider(world.direct, [SMALL], delay=1e6)
        async with elastic(world, provider):
            await world.add_pod("p")
            await until(lambda: _is(_provided(provider), 1))
            await until(lambda: _is(_provided(provider), 0))
            assert 900.0 <= anyio.current_time() < 1000.0

    async def _half_empty(self, world: World) -> None:
        """Leave two nodes of which the first Pod's could be emptied into the other's."""
        for name, cpu in (("big", "1200m"), ("mover", "700m"), ("stayer", "1")):
            await world.add_pod(name, owners=OWNER, labels={"app": name}, containers=containers(cpu=cpu))
            await until(lambda: all_placed(world))
        assert await node_count(world) == 2
        await world.pods.delete(Key("default", "big"), grace=0)

    async def test_half_empty_nodes_are_merged(self, world: World) -> None:
        """A Pod is evicted, made again by whoever controls it, and runs on the other node."""
        provider = FakeProvider(world.direct, [SMALL])
        async with elastic(world, provider, threshold=0.6), anyio.create_task_group() as tasks:
            await self._half_empty(world)
            moved: list[str] = []

            async def live() -> None:
                """Be the agent that lets Pods go, and the controller that makes them again."""
                while True:
                    for pod in (await world.pods.list()).items:
                        if pod.metadata.deletion_timestamp is not None:
                            await world.pods.delete(pod.key, grace=0)
                            moved.append(pod.metadata.name)
                            await world.add_pod(
                                f"again-{len(moved)}", owners=OWNER, containers=pod.spec.containers
                            )
                    await anyio.sleep(1.0)

            tasks.start_soon(live)
            await until(lambda: _is(node_count(world), 1))
            await until(lambda: all_placed(world))
            assert len(moved) == 1
            assert ("ScaleDown", True) in [(r, "is not needed" in m) for r, m in await world.events()]
            tasks.cancel_scope.cancel()

    async def test_a_budget_that_is_against_evictions_stops_the_drain(self, world: World) -> None:
        """The budget's controller is behind, so the API server says no; after a while the node is used again."""
        provider = FakeProvider(world.direct, [SMALL])
        async with elastic(world, provider, threshold=0.6, drain_time=60.0):
            for name in ("mover", "stayer"):
                budgets = world.direct.resource(PodDisruptionBudget)
                selector = LabelSelector(match_labels={"app": name})
                made = await budgets.create(
                    PodDisruptionBudget(
                        metadata=make_meta(name),
                        spec=PodDisruptionBudgetSpec(max_unavailable=1, selector=selector),
                    )
                )
                status = PodDisruptionBudgetStatus(disruptions_allowed=1, observed_generation=0)
                await budgets.update(replace(made, status=status), subresource="status")
            await self._half_empty(world)
            await until(lambda: cordoned(world))
            await anyio.sleep(65.0)
            assert not await cordoned(world)
            assert set(await world.placed()) == {"mover", "stayer"}
            assert await node_count(world) == 2

    async def test_a_drain_that_a_dead_process_began_is_taken_back(self, world: World) -> None:
        """A node that somebody else has cordoned stays so."""
        for name, annotations in (("ours", {DRAINING: "true"}), ("theirs", {})):
            node = SMALL.node(name)
            await world.add_node(
                replace(
                    node,
                    metadata=replace(node.metadata, annotations=annotations),
                    spec=replace(node.spec, unschedulable=True),
                )
            )
        async with elastic(world, FakeProvider(world.direct, [SMALL])):
            await anyio.sleep(30.0)
            assert await cordoned(world) == ["theirs"]


async def cordoned(world: World) -> list[str]:
    return [node.metadata.name for node in (await world.nodes.list()).items if node.spec.unschedulable]


async def _is(value: Any, wanted: int) -> bool:
    return bool(await value == wanted)


async def _provided(provider: FakeProvider) -> int:
    return len(await provider.nodes())


class TestFakeProvider(ProviderSuite):
    @pytest.fixture
    async def provider(self, world: World) -> AsyncIterator[NodeProvider]:
        provider = FakeProvider(world.direct, [SMALL, LARGE], delay=5.0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(provider.run)
            yield provider
            tasks.cancel_scope.cancel()

    async def test_its_nodes_are_ready_after_the_delay(self, provider: NodeProvider, world: World) -> None:
        await provider.add("small", ["n"])
        await anyio.sleep(4.9)
        assert await node_count(world) == 0
        await anyio.sleep(0.2)
        node: Node = await world.nodes.get(Key("", "n"))
        assert node.status.allocatable == SMALL.capacity
