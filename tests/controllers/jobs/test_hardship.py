"""Jobs count exactly under conflicts, losses and restarts of their controller."""

from random import Random
from typing import Any, TypeVar

import anyio
import pytest
from anyio import TASK_STATUS_IGNORED

from kubelib.api.batch import Job
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key, Object
from kubelib.client.base import Client
from kubelib.controllers.builtin.job import job_controller
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch, Registry
from kubelib.sim import Conflicting, Lossy
from kubelib.sim.hardship import Wrapper
from tests.controllers.jobs.workers import (
    FINALIZER,
    Workers,
    conditions,
    good,
    job_of,
    make_job,
    pods_of,
    running,
)

R = TypeVar("R", bound=Object)


class Witness:
    """A client that notes of each Pod what its controller saw when it took the finalizer off: an end to be counted, or not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.world: Any = None
        self.seen_to_end: dict[str, bool] = {}

    def resource(self, kind: type[R], /) -> Registry[R]:
        registry = self._client.resource(kind)
        return WitnessedPods(registry, self) if kind is Pod else registry  # type: ignore[arg-type, return-value]


class WitnessedPods(Wrapper[Pod]):
    def __init__(self, registry: Registry[Pod], witness: Witness) -> None:
        super().__init__(registry)
        self._witness = witness

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> Pod:
        world = self._witness.world
        pod = world.informers.of(Pod).cache.view(key)
        job = world.informers.of(Job).cache.view(Key(key.namespace, "work"))
        seen = pod.status.phase in ("Succeeded", "Failed") and "Complete" not in conditions(job)
        try:
            return await self.registry.patch(key, patch, subresource=subresource)
        finally:
            # Whatever was answered: this is when it went, if it is not there any more.
            there = [p for p in await world.all(Pod) if p.metadata.uid == pod.metadata.uid]
            if not any(FINALIZER in p.metadata.finalizers for p in there):
                self._witness.seen_to_end.setdefault(pod.metadata.uid, seen)


class History:
    """The states of all objects of a kind, from a moment on."""

    def __init__(self, world: Any, kind: type[Any]) -> None:
        self._registry = world.direct.resource(kind)
        self.states: list[Any] = []

    async def run(self, *, task_status: Any = TASK_STATUS_IGNORED) -> None:
        now = (await self._registry.list()).resource_version
        async with self._registry.watch(since=now) as events:
            task_status.started()
            async for event in events:
                self.states.append(event.object)


@pytest.mark.seeds(20)
async def test_under_conflicts_and_losses_every_pod_is_counted_once(
    make_world: Any, anyio_backend: Any
) -> None:
    """A Pod counts exactly if, when its finalizer went, the controller had seen it end, and its Job not yet finished.

    It does not count in two cases, both Kubernetes' own: it was too many, and its end was not known yet when it was let go;
    or the controller had not heard of its end, or of the Pod at all, when all others were counted and the Job was complete.
    """
    seed = anyio_backend[1]["loop_factory"].args[0]
    random = Random(seed)

    def line(client: Any) -> Any:
        return Witness(Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=200.0), every=4))

    def outcome(pod: Pod) -> int | None:
        return int(random.random() < 0.3)

    async with make_world(line, seed) as world, anyio.create_task_group() as watching:
        world.client.world = world
        jobs, pods = History(world, Job), History(world, Pod)
        await watching.start(jobs.run)
        await watching.start(pods.run)
        async with running(world, outcome):
            await world.create(make_job(completions=12, parallelism=4, backoff_limit=1000))
            await world.settled(5000)
        watching.cancel_scope.cancel()
    job = jobs.states[-1]
    assert "Complete" in conditions(job)
    # Later states of a Pod overwrite earlier ones: a phase that is an end is the last.
    phases = {pod.metadata.uid: pod.status.phase for pod in pods.states}
    counted = {uid for uid, seen in world.client.seen_to_end.items() if seen}
    assert job.status.succeeded == sum(phases[uid] == "Succeeded" for uid in counted) >= 12
    assert job.status.failed == sum(phases[uid] == "Failed" for uid in counted)
    # Each was noted by its uid first, as what it was, and every finalizer has gone.
    noted = [j.status.uncounted_terminated_pods for j in jobs.states if j.status.uncounted_terminated_pods]
    assert {uid for n in noted for uid in n.succeeded} == {u for u in counted if phases[u] == "Succeeded"}
    assert {uid for n in noted for uid in n.failed} == {u for u in counted if phases[u] == "Failed"}
    assert world.client.seen_to_end.keys() == phases.keys()


@pytest.mark.parametrize("pause", [0.3, 0.7, 1.0, 1.1])
async def test_nothing_is_counted_twice_when_the_controller_is_stopped_anywhere(
    world: Any, pause: float
) -> None:
    workers = Workers(world, good)
    await world.create(make_job(completions=8, parallelism=3))
    for last in (*[False] * 12, True):
        world.informers = SharedInformers(world.client, random=world.random)
        controller = job_controller(world.informers, clock=world.clock, recorder=world.recorder)
        async with world.running(workers, controller):
            await anyio.sleep(60 if last else pause)
    job = await job_of(world)
    made = [p for p in await pods_of(world) if p.status.phase == "Succeeded"]
    assert "Complete" in conditions(job)
    assert job.status.succeeded == len(made) >= 8
