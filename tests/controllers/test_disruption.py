"""Disruption budgets: what they count, and which evictions they let through."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.errors import ApiError, InternalError, TooManyRequests
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kubelib.controllers.builtin.deployment import deployment_controller
from kubelib.controllers.builtin.disruption import disruption_controller, plan
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.registry.base import WriteOptions
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_deployment, make_meta, make_pod, make_pod_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def budget(name: str = "b", **spec: Any) -> PodDisruptionBudget:
    spec.setdefault("selector", LabelSelector(match_labels={"app": "web"}))
    return PodDisruptionBudget(metadata=make_meta(name), spec=PodDisruptionBudgetSpec(**spec))


def web(name: str, *, ready: bool = True, **parts: Any) -> Pod:
    return make_pod(name, labels={"app": "web"}, phase="Running", ready=ready, **parts)


def numbers(status: PodDisruptionBudgetStatus) -> tuple[int, int, int, int]:
    return (
        status.expected_pods,
        status.desired_healthy,
        status.current_healthy,
        status.disruptions_allowed,
    )


@pytest.mark.parametrize(
    ("spec", "ready", "expected"),
    [
        ({"min_available": 2}, 3, (4, 2, 3, 1)),
        ({"min_available": 3}, 3, (4, 3, 3, 0)),
        ({"min_available": "50%"}, 4, (4, 2, 4, 2)),
        ({"min_available": "60%"}, 4, (4, 3, 4, 1)),
        ({"max_unavailable": 1}, 4, (4, 3, 4, 1)),
        ({"max_unavailable": "30%"}, 4, (4, 2, 4, 2)),
        ({"max_unavailable": 9}, 4, (4, 0, 4, 4)),
    ],
)
def test_a_budget_allows_what_is_healthy_beyond_what_is_wanted(
    spec: Any, ready: int, expected: tuple[int, ...]
) -> None:
    pods = [web(f"p{n}", ready=n < ready) for n in range(4)]
    status = plan(budget(**spec), pods, {"owner": 4}, NOW).status
    assert numbers(status) == expected
    (condition,) = status.conditions
    assert (condition.type, condition.status, condition.reason) == (
        ("DisruptionAllowed", "True", "SufficientPods")
        if expected[3]
        else ("DisruptionAllowed", "False", "InsufficientPods")
    )


def test_a_budget_without_pods_allows_nothing() -> None:
    assert numbers(plan(budget(max_unavailable=1), [], {}, NOW).status) == (0, 0, 0, 0)


def test_a_pod_that_was_to_be_evicted_does_not_count_for_two_minutes() -> None:
    charged = budget(min_available=1)
    charged = replace(charged, status=PodDisruptionBudgetStatus(disrupted_pods={"p0": NOW, "gone": NOW}))
    pods = [web("p0"), web("p1"), web("p2")]
    soon = plan(charged, pods, {}, NOW + timedelta(seconds=30))
    assert numbers(soon.status) == (3, 1, 2, 1)
    assert dict(soon.status.disrupted_pods) == {"p0": NOW}
    assert soon.again == NOW + timedelta(minutes=2)
    late = plan(charged, pods, {}, NOW + timedelta(minutes=3))
    assert numbers(late.status) == (3, 1, 3, 2)
    assert (late.not_deleted, late.again) == (("p0",), None)


# In virtual time


def controller(world: Any) -> Any:
    return disruption_controller(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )


async def add(world: Any, pod: Pod) -> None:
    await world.create(pod)
    await world.change(Pod, pod.metadata.name, lambda p: replace(p, status=pod.status), subresource="status")


async def evict(world: Any, name: str, *, dry_run: bool = False, **delete: Any) -> None:
    pods = world.registries.of(world.registries.scheme.of(Pod))
    tree = {
        "kind": "Eviction",
        "apiVersion": "policy/v1",
        "metadata": {"name": name},
        "deleteOptions": delete,
    }
    await pods.create(
        tree,
        namespace="default",
        name=name,
        subresource="eviction",
        options=WriteOptions(dry_run=dry_run),
    )


async def refused(world: Any, name: str) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await evict(world, name)
    return raised.value


async def status_of(world: Any, name: str = "b") -> PodDisruptionBudgetStatus:
    found: PodDisruptionBudget = await world.get(PodDisruptionBudget, name)
    return found.status


async def test_an_eviction_beyond_the_budget_is_told_to_try_later_and_why(world: Any) -> None:
    async with world.running(controller(world)):
        for name in ("p0", "p1"):
            await add(world, web(name))
        await world.create(budget(min_available=1))
        early = await refused(world, "p0")
        assert early.status()["details"]["causes"][0]["message"] == (
            "The disruption budget b is still being processed by the server."
        )
        assert early.retry_after == 10
        await world.settled(5)
        await evict(world, "p0", dry_run=True)
        assert (await status_of(world)).disruptions_allowed == 1
        await evict(world, "p0")
        error = await refused(world, "p1")
        assert isinstance(error, TooManyRequests)
        assert error.status() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "reason": "TooManyRequests",
            "details": {
                "causes": [
                    {
                        "reason": "DisruptionBudget",
                        "message": "The disruption budget b does not allow evicting pods currently",
                    }
                ]
            },
            "code": 429,
        }
        await world.settled(5)
        assert await world.names(Pod) == ["p1"]
        assert numbers(await status_of(world)) == (1, 1, 1, 0)
        error = await refused(world, "p1")
        assert error.causes[0].message == "The disruption budget b needs 1 healthy pods and has 1 currently"


async def test_evictions_that_come_together_do_not_get_more_than_the_budget(world: Any) -> None:
    async with world.running(controller(world)):
        for n in range(30):
            await add(world, web(f"p{n}"))
        await world.create(budget(min_available=20))
        await world.settled(5)
        outcomes: list[bool] = []

        async def one(name: str) -> None:
            try:
                await evict(world, name)
                outcomes.append(True)
            except TooManyRequests:
                outcomes.append(False)

        async with anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(one, f"p{n}")
        assert outcomes.count(True) == 10
        assert len(await world.names(Pod)) == 20


async def test_pods_that_serve_nobody_are_evicted_whatever_the_budget_says(world: Any) -> None:
    async with world.running(controller(world)):
        await add(world, web("healthy"))
        await world.create(make_pod("pending", labels={"app": "web"}))
        await add(world, make_pod("ended", labels={"app": "web"}, phase="Succeeded"))
        await world.create(budget(min_available=5))
        await world.settled(5)
        await evict(world, "pending")
        await evict(world, "ended")
        assert (await refused(world, "healthy")).code == 429
        assert await world.names(Pod) == ["healthy"]


@pytest.mark.parametrize(
    ("policy", "wanted", "goes"),
    [("", 1, True), ("", 2, False), ("AlwaysAllow", 2, True), ("IfHealthyBudget", 2, False)],
)
async def test_an_unready_pod_goes_by_the_policy_for_unhealthy_ones(
    world: Any, policy: str, wanted: int, goes: bool
) -> None:
    async with world.running(controller(world)):
        await add(world, web("ready"))
        await add(world, web("unready", ready=False))
        await world.create(budget(min_available=wanted, unhealthy_pod_eviction_policy=policy))
        await world.settled(5)
        if goes:
            await evict(world, "unready")
            assert await world.names(Pod) == ["ready"]
            assert not (await status_of(world)).disrupted_pods
        else:
            assert (await refused(world, "unready")).code == 429


async def test_a_pod_with_two_budgets_is_not_evicted(world: Any) -> None:
    async with world.running(controller(world)):
        await add(world, web("p"))
        await world.create(budget("b", min_available=0))
        await world.create(budget("c", min_available=0))
        await world.settled(5)
        error = await refused(world, "p")
        assert isinstance(error, InternalError)
        assert error.message == (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )


async def test_an_evicted_pod_says_why_it_goes(world: Any) -> None:
    held = web("p")
    await add(world, replace(held, metadata=replace(held.metadata, finalizers=("example.com/hold",))))
    await evict(world, "p")
    pod = await world.get(Pod, "p")
    assert pod.metadata.deletion_timestamp is not None
    (told,) = [c for c in pod.status.conditions if c.type == "DisruptionTarget"]
    assert (told.status, told.reason, told.message) == (
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )
    assert told.observed_generation == 1


async def test_the_percentage_of_a_deployment_is_counted_by_its_scale(world: Any, running_pods: Any) -> None:
    parts = [
        make(world.informers, clock=world.clock, recorder=world.recorder)
        for make in (deployment_controller, replica_set_controller)
    ]
    async with world.running(running_pods(world), controller(world), *parts):
        await world.create(make_deployment("web", replicas=4))
        labels = (await world.get(Deployment, "web")).spec.selector.match_labels
        await world.create(budget(max_unavailable="25%", selector=LabelSelector(match_labels=labels)))
        await world.settled(20)
        assert numbers(await status_of(world)) == (4, 3, 4, 1)
        (replicas,) = await world.all(ReplicaSet)
        assert replicas.spec.replicas == 4
        first, second, *_ = await world.names(Pod)
        await evict(world, first)
        assert (await refused(world, second)).code == 429
        await world.settled(20)
        assert numbers(await status_of(world)) == (4, 3, 4, 1)
        await evict(world, second)


async def test_pods_that_nothing_controls_are_told_of_where_shares_are_counted(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(web("alone"))
        await world.create(budget(max_unavailable="50%"))
        await world.settled(5)
        (told,) = [message for reason, message in await world.events() if reason == "UnmanagedPods"]
        selector = (
            "&LabelSelector{MatchLabels:map[string]string{app: web,},"
            "MatchExpressions:[]LabelSelectorRequirement{},}"
        )
        assert told.startswith(
            f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be"
        )


async def test_a_budget_that_cannot_be_counted_allows_nothing_and_says_so(world: Any) -> None:
    async with world.running(controller(world)):
        pod = web("p")
        reference = OwnerReference(api_version="v1", kind="ConfigMap", name="c", uid="1", controller=True)
        await add(world, replace(pod, metadata=replace(pod.metadata, owner_references=(reference,))))
        await world.create(budget(max_unavailable=1))
        await world.settled(5)
        (condition,) = (await status_of(world)).conditions
        assert (condition.status, condition.reason, condition.message) == (
            "False",
            "SyncFailed",
            "configmaps does not implement the scale subresource",
        )
        assert (
            "CalculateExpectedPodCountFailed",
            "Failed to calculate the number of expected pods: configmaps does not implement the scale subresource",
        ) in await world.events()


async def test_a_pod_that_stayed_after_all_no_longer_says_that_it_goes(world: Any) -> None:
    async with world.running(controller(world)):
        await add(world, web("p"))
        going = PodCondition(
            type="DisruptionTarget", status="True", reason="X", last_transition_time=world.clock.now()
        )
        await world.change(
            Pod,
            "p",
            lambda p: replace(p, status=replace(p.status, conditions=(*p.status.conditions, going))),
            subresource="status",
        )

        async def told() -> str:
            pod = await world.get(Pod, "p")
            return str(next(c.status for c in pod.status.conditions if c.type == "DisruptionTarget"))

        await world.settled(100)
        assert await told() == "True"
        await world.settled(60)
        assert await told() == "False"


@pytest.mark.seeds(6)
async def test_on_a_bad_line_the_budget_is_right_in_the_end(make_world: Any, anyio_backend: Any) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.1, latency=0.05, until=100.0), every=3)

    async with make_world(line, seed) as world, world.running(controller(world)):
        await world.create(budget(min_available=2))
        for n in range(5):
            await add(world, web(f"p{n}"))
        await anyio.sleep(60)
        status = make_pod_status("Running", ready=False)
        await world.change(Pod, "p0", lambda p: replace(p, status=status), subresource="status")
        await world.delete(Pod, "p1", grace=0)
        await anyio.sleep(300)
        assert numbers(await status_of(world)) == (4, 2, 3, 1)
        with pytest.raises(ApiError):
            await world.direct.resource(Pod).get(Key("default", "p1"))
