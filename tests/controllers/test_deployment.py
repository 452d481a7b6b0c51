from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apps import Deployment, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.controllers import progress
from kubelib.controllers.builtin.deployment import deployment_controller
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.controllers.rollout import (
    DESIRED,
    MAXIMUM,
    CreateSet,
    DeleteSet,
    UpdateSet,
    max_surge,
    max_unavailable,
    new_set,
    plan,
    share,
    size_of,
    template_hash,
)
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_deployment, make_template

RECREATE = DeploymentStrategy(type="Recreate")


def rolling(surge: int | str, unavailable: int | str) -> DeploymentStrategy:
    return DeploymentStrategy(
        type="RollingUpdate",
        rolling_update=RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable),
    )


def replica_set(
    deployment: Deployment,
    image: str,
    size: int,
    *,
    available: int | None = None,
    was: int = 0,
    revision: int = 1,
) -> ReplicaSet:
    """A ReplicaSet of the deployment with another image; `was` is the size of the whole when it was sized."""
    made = new_set(with_image(deployment, image))
    annotations = {"deployment.kubernetes.io/revision": str(revision)}
    if was:
        annotations |= {DESIRED: str(was), MAXIMUM: str(was + max_surge(deployment))}
    there = size if available is None else available
    return replace(
        made,
        metadata=replace(made.metadata, uid=made.metadata.name, annotations=annotations),
        spec=replace(made.spec, replicas=size),
        status=replace(made.status, replicas=size, ready_replicas=there, available_replicas=there),
    )


def with_image(deployment: Deployment, image: str) -> Deployment:
    template = deployment.spec.template
    container = replace(template.spec.containers[0], image=image)
    template = replace(template, spec=replace(template.spec, containers=(container,)))
    return replace(deployment, spec=replace(deployment.spec, template=template))


def sizes(deployment: Deployment, sets: list[ReplicaSet], **how: Any) -> list[int]:
    """The sizes that a plan gives to these sets and to the one that it makes."""
    step = plan(deployment, sets, **how)
    found = {s.metadata.name: size_of(s) for s in step.sets}
    named = [found.pop(s.metadata.name) for s in sets]
    return named + list(found.values())


# The arithmetic, with plain lists


def test_percentages_are_rounded_up_for_surge_and_down_for_unavailability() -> None:
    assert [share("25%", 10, up=True), share("25%", 10, up=False), share("100%", 3, up=False)] == [3, 2, 3]


def test_a_rollout_that_may_neither_surge_nor_miss_may_still_miss_one() -> None:
    deployment = make_deployment(replicas=3, strategy=rolling("0%", "0%"))
    assert (max_surge(deployment), max_unavailable(deployment)) == (0, 1)


def test_the_hash_depends_on_the_template_and_on_collisions_only() -> None:
    one, two = make_template({"a": "b"}), make_template({"a": "c"})
    assert template_hash(one, None) == template_hash(make_template({"a": "b"}), None)
    assert len({template_hash(one, None), template_hash(two, None), template_hash(one, 1)}) == 3


def test_a_new_deployment_gets_a_replica_set_of_its_full_size() -> None:
    deployment = make_deployment(replicas=4, strategy=rolling(1, 0))
    (action,) = plan(deployment, []).actions
    assert isinstance(action, CreateSet)
    assert action.new.spec.replicas == 4
    assert action.new.metadata.annotations == {
        "deployment.kubernetes.io/revision": "1",
        DESIRED: "4",
        MAXIMUM: "5",
    }


@pytest.mark.parametrize(
    ("surge", "unavailable", "old", "new"),
    [(1, 0, 10, 1), ("30%", 0, 10, 3), (0, 2, 10, 0), ("50%", "50%", 10, 5), ("100%", 0, 10, 10)],
)
def test_the_first_step_of_a_rollout_makes_what_the_surge_allows(
    surge: int | str, unavailable: int | str, old: int, new: int
) -> None:
    deployment = make_deployment(replicas=10, strategy=rolling(surge, unavailable))
    before = replica_set(deployment, "v1", 10, was=10)
    result = sizes(with_image(deployment, "v2"), [before])
    assert result[1] == new
    assert result[0] == old - (max_unavailable(deployment) if result[1] or not max_surge(deployment) else 0)


def test_old_pods_go_only_as_new_ones_become_available() -> None:
    deployment = with_image(make_deployment(replicas=10, strategy=rolling(2, 0)), "v2")
    old = replica_set(deployment, "v1", 10, was=10)
    assert sizes(deployment, [old, replica_set(deployment, "v2", 2, available=0, was=10, revision=2)]) == [
        10,
        2,
    ]
    assert sizes(deployment, [old, replica_set(deployment, "v2", 2, available=1, was=10, revision=2)]) == [
        9,
        2,
    ]


def test_sick_old_pods_go_first() -> None:
    deployment = with_image(make_deployment(replicas=4, strategy=rolling(1, 1)), "v3")
    sick = replica_set(deployment, "v1", 3, available=0, was=4)
    healthy = replica_set(deployment, "v2", 1, was=4, revision=2)
    new = replica_set(deployment, "v3", 1, available=0, was=4, revision=3)
    assert (
        sizes(deployment, [sick, healthy, new])[:2] == [2, 1]
        or sizes(deployment, [sick, healthy, new])[1] == 1
    )


def test_scaling_in_the_middle_of_a_rollout_is_proportional() -> None:
    deployment = with_image(make_deployment(replicas=20, strategy=rolling(2, 2)), "v2")
    old = replica_set(deployment, "v1", 8, was=10)
    new = replica_set(deployment, "v2", 4, available=0, was=10, revision=2)
    assert sizes(deployment, [old, new]) == [15, 7]
    shrunk = replace(deployment, spec=replace(deployment.spec, replicas=5))
    assert sum(sizes(shrunk, [old, new])) == 7


def test_scaling_to_nothing_takes_all_sets_away() -> None:
    deployment = with_image(make_deployment(replicas=0, strategy=rolling(2, 2)), "v2")
    sets = [replica_set(deployment, "v1", 8, was=10), replica_set(deployment, "v2", 4, was=10, revision=2)]
    assert sizes(deployment, sets) == [0, 0]


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    deployment = make_deployment(replicas=3, paused=True)
    old = replica_set(deployment, "v1", 3, was=3)
    assert sizes(with_image(deployment, "v2"), [old]) == [3]
    more = replace(deployment, spec=replace(deployment.spec, replicas=5))
    assert sizes(with_image(more, "v2"), [old]) == [5]


def test_recreate_waits_for_the_old_pods_to_be_gone() -> None:
    deployment = with_image(make_deployment(replicas=3, strategy=RECREATE), "v2")
    old = replica_set(deployment, "v1", 3, was=3)
    assert sizes(deployment, [old]) == [0]
    gone = replica_set(deployment, "v1", 0, was=3)
    assert sizes(deployment, [gone], old_pods_exist=lambda new: True) == [0]
    assert sizes(deployment, [gone], old_pods_exist=lambda new: False) == [0, 3]


def test_going_back_gives_the_old_set_the_highest_revision_and_remembers_the_former_one() -> None:
    deployment = with_image(make_deployment(replicas=2, strategy=rolling(1, 0)), "v1")
    first = replica_set(deployment, "v1", 0, was=2, revision=1)
    second = replica_set(deployment, "v2", 2, was=2, revision=2)
    action = next(a for a in plan(deployment, [first, second]).actions if isinstance(a, UpdateSet))
    annotations = action.after.metadata.annotations
    assert annotations["deployment.kubernetes.io/revision"] == "3"
    assert annotations["deployment.kubernetes.io/revision-history"] == "1"


def test_only_empty_sets_beyond_the_limit_are_cleaned_up_the_oldest_first() -> None:
    deployment = with_image(
        make_deployment(replicas=1, strategy=rolling(1, 0), revision_history_limit=1), "v4"
    )
    sets = [replica_set(deployment, f"v{n}", 1 if n == 4 else 0, was=1, revision=n) for n in range(1, 5)]
    status = replace(deployment.status, replicas=1, updated_replicas=1, available_replicas=1)
    actions = plan(replace(deployment, status=status), sets).actions
    assert actions == (DeleteSet(sets[0]), DeleteSet(sets[1]))


def test_nothing_is_cleaned_up_while_a_paused_deployment_is_to_go_back() -> None:
    deployment = make_deployment(replicas=1, paused=True, revision_history_limit=0)
    sets = [replica_set(deployment, "v0", 0, was=1, revision=1), replica_set(deployment, "v1", 1, was=1)]
    assert DeleteSet(sets[0]) in plan(with_image(deployment, "v1"), sets).actions
    asked = replace(deployment.metadata, annotations={"deprecated.deployment.rollback.to": "1"})
    paused = replace(with_image(deployment, "v1"), metadata=asked)
    assert not [action for action in plan(paused, sets).actions if isinstance(action, DeleteSet)]


def test_how_many_pods_are_ending_is_not_said_before_all_sets_are_counted() -> None:
    deployment = make_deployment()
    sets = [replica_set(deployment, "v1", 1, was=1), replica_set(deployment, "v2", 1, was=1)]
    counted = [replace(s, status=replace(s.status, terminating_replicas=2)) for s in sets]
    assert progress.count(deployment, counted, None).terminating_replicas == 4
    assert progress.count(deployment, [counted[0], sets[1]], None).terminating_replicas is None


# In virtual time


def controllers(world: Any) -> list[Any]:
    return [
        make(world.informers, clock=world.clock, recorder=world.recorder)
        for make in (replica_set_controller, deployment_controller)
    ]


def condition(deployment: Deployment, type: str) -> tuple[str, str, str]:
    (found,) = [c for c in deployment.status.conditions if c.type == type]
    return found.status, found.reason, found.message


def change_image(image: str) -> Callable[[Deployment], Deployment]:
    return lambda deployment: with_image(deployment, image)


async def images(world: Any) -> list[str]:
    return sorted(pod.spec.containers[0].image for pod in await world.all(Pod))


async def watch_counts(world: Any, low: list[int], high: list[int]) -> None:
    """Note the fewest available and the most existing pods while something rolls."""
    while True:
        pods = await world.all(Pod)
        ready = [
            p for p in pods if any(c.type == "Ready" and c.status == "True" for c in p.status.conditions)
        ]
        low[0] = min(low[0], len(ready))
        high[0] = max(high[0], len([p for p in pods if p.metadata.deletion_timestamp is None]))
        await anyio.sleep(0.05)


async def test_a_deployment_becomes_available_and_says_so(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", replicas=3))
        await world.settled(10)
        deployment = await world.get(Deployment, "web")
        (owned,) = await world.all(ReplicaSet)
        name = owned.metadata.name
        assert name == f"web-{owned.metadata.labels['pod-template-hash']}"
        status = deployment.status
        assert (status.replicas, status.updated_replicas, status.ready_replicas) == (3, 3, 3)
        assert (status.available_replicas, status.unavailable_replicas) == (3, 0)
        assert status.observed_generation == deployment.metadata.generation
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
        assert condition(deployment, "Available") == (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
        assert condition(deployment, "Progressing") == (
            "True",
            "NewReplicaSetAvailable",
            f'ReplicaSet "{name}" has successfully progressed.',
        )
        assert ("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 3") in await world.events()


async def test_a_rolling_update_keeps_within_its_bounds_and_ends(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", replicas=6, image="v1", strategy=rolling(2, 1)))
        await world.settled(10)
        low, high = [6], [6]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_counts, world, low, high)
            await world.change(Deployment, "web", change_image("v2"))
            await world.settled(30)
            tasks.cancel_scope.cancel()
        assert await images(world) == ["v2"] * 6
        assert low[0] == 5
        assert high[0] == 8
        deployment = await world.get(Deployment, "web")
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "2"
        assert condition(deployment, "Progressing")[1] == "NewReplicaSetAvailable"


async def test_recreate_never_mixes_old_and_new(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", replicas=3, image="v1", strategy=RECREATE))
        await world.settled(10)
        await world.change(Deployment, "web", change_image("v2"))
        for _ in range(200):
            assert len(set(await images(world))) <= 1
            await anyio.sleep(0.05)
        assert await images(world) == ["v2"] * 3


async def test_a_rollback_reuses_the_old_replica_set(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", replicas=2, image="v1"))
        await world.settled(10)
        before = await world.names(ReplicaSet)
        await world.change(Deployment, "web", change_image("v2"))
        await world.settled(20)
        await world.change(Deployment, "web", change_image("v1"))
        await world.settled(20)
        sets = {s.metadata.name: s for s in await world.all(ReplicaSet)}
        assert len(sets) == 2
        again = sets[before[0]]
        assert size_of(again) == 2
        assert again.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        deployment = await world.get(Deployment, "web")
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        assert await images(world) == ["v1"] * 2


async def test_an_annotation_asks_for_an_earlier_revision(world: Any, running_pods: Any) -> None:
    def asking(revision: int) -> Callable[[Deployment], Deployment]:
        asked = {"deprecated.deployment.rollback.to": str(revision)}
        return lambda d: replace(
            d, metadata=replace(d.metadata, annotations={**d.metadata.annotations, **asked})
        )

    def because(why: str, image: str) -> Callable[[Deployment], Deployment]:
        said = {"kubernetes.io/change-cause": why}

        def change(d: Deployment) -> Deployment:
            d = change_image(image)(d)
            return replace(d, metadata=replace(d.metadata, annotations={**d.metadata.annotations, **said}))

        return change

    async with world.running(running_pods(world), *controllers(world)):
        await world.create(because("first", "v1")(make_deployment("web", replicas=2)))
        await world.settled(10)
        await world.change(Deployment, "web", because("second", "v2"))
        await world.settled(20)
        # Each is carried out once: the last one, the same as now, and two that are not there.
        for revision, images_now, cause in (
            (0, "v1", "first"),
            (3, "v1", "first"),
            (1, "v1", "first"),
            (2, "v2", "second"),
        ):
            await world.change(Deployment, "web", asking(revision))
            await world.settled(20)
            deployment = await world.get(Deployment, "web")
            assert "deprecated.deployment.rollback.to" not in deployment.metadata.annotations
            assert deployment.metadata.annotations["kubernetes.io/change-cause"] == cause
            assert await images(world) == [images_now] * 2
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "4"
        told = [event for event in await world.events() if event[0].startswith("DeploymentRollback")]
        assert set(told) == {
            ("DeploymentRollback", 'Rolled back deployment "web" to revision 1'),
            (
                "DeploymentRollbackTemplateUnchanged",
                'The rollback revision contains the same template as current deployment "web"',
            ),
            ("DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to."),
            ("DeploymentRollback", 'Rolled back deployment "web" to revision 2'),
        }


async def test_a_stuck_rollout_is_reported_after_its_deadline_and_keeps_the_old_pods(
    world: Any, running_pods: Any
) -> None:
    async with world.running(running_pods(world, broken=["v2"]), *controllers(world)):
        await world.create(
            make_deployment(
                "web", replicas=4, image="v1", strategy=rolling(1, 0), progress_deadline_seconds=60
            )
        )
        await world.settled(10)
        await world.change(Deployment, "web", change_image("v2"))
        await world.settled(40)
        assert condition(await world.get(Deployment, "web"), "Progressing")[0] == "True"
        await world.settled(60)
        deployment = await world.get(Deployment, "web")
        status, reason, message = condition(deployment, "Progressing")
        assert (status, reason) == ("False", "ProgressDeadlineExceeded")
        assert message.endswith('" has timed out progressing.')
        assert condition(deployment, "Available")[0] == "True"
        assert await images(world) == ["v1"] * 4 + ["v2"]


async def test_pausing_stops_a_rollout_and_resuming_finishes_it(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(
            make_deployment("web", replicas=3, image="v1", paused=True, progress_deadline_seconds=60)
        )
        await world.settled(10)
        assert await images(world) == []
        paused = await world.get(Deployment, "web")
        assert condition(paused, "Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
        await world.change(Deployment, "web", lambda d: replace(d, spec=replace(d.spec, paused=False)))
        await world.settled(20)
        assert await images(world) == ["v1"] * 3


async def test_old_revisions_beyond_the_limit_are_deleted(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", image="v0", revision_history_limit=2))
        for n in range(1, 6):
            await world.settled(15)
            await world.change(Deployment, "web", change_image(f"v{n}"))
        await world.settled(20)
        kept = sorted(s.spec.template.spec.containers[0].image for s in await world.all(ReplicaSet))
        assert kept == ["v3", "v4", "v5"]


async def test_a_hash_collision_is_survived(world: Any, running_pods: Any) -> None:
    deployment = make_deployment("web", replicas=1)
    async with world.running(running_pods(world), *controllers(world)):
        await world.create(replace(deployment, spec=replace(deployment.spec, paused=True)))
        stored = await world.get(Deployment, "web")
        taken = new_set(stored)
        other = make_template({"app": "other"})
        await world.create(
            replace(
                taken,
                metadata=replace(taken.metadata, owner_references=(), labels={"app": "other"}),
                spec=replace(
                    taken.spec,
                    selector=replace(taken.spec.selector, match_labels={"app": "other"}),
                    template=other,
                ),
            )
        )
        await world.change(Deployment, "web", lambda d: replace(d, spec=replace(d.spec, paused=False)))
        await world.settled(20)
        status = (await world.get(Deployment, "web")).status
        assert status.collision_count == 1
        assert status.available_replicas == 1


@pytest.mark.seeds(10)
async def test_under_conflicts_and_losses_a_rollout_still_ends(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.15, latency=0.1, until=120.0), every=5)

    async with make_world(line, seed) as world, world.running(running_pods(world), *controllers(world)):
        await world.create(make_deployment("web", replicas=5, image="v1"))
        await anyio.sleep(30)
        await world.change(Deployment, "web", change_image("v2"))
        await anyio.sleep(15)
        await world.change(
            Deployment,
            "web",
            lambda d: replace(with_image(d, "v3"), spec=replace(with_image(d, "v3").spec, replicas=7)),
        )
        await anyio.sleep(1500)
        assert await images(world) == ["v3"] * 7
        deployment = await world.get(Deployment, "web")
        assert deployment.status.available_replicas == deployment.status.replicas == 7
        assert condition(deployment, "Progressing")[1] == "NewReplicaSetAvailable"
