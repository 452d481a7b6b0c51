"""Jobs, and workers in the place of scheduler and nodes, which run their Pods."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import anyio
from anyio import TASK_STATUS_IGNORED

from kubelib.api.batch import Job, JobSpec
from kubelib.api.core.container_status import ContainerState, ContainerStateTerminated, ContainerStatus
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.update import update_with
from kubelib.controllers.builtin.job import job_controller
from kubelib.informers import SharedInformers
from kubelib.testing.objects import make_meta, make_pod_status, make_template

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def make_job(name: str = "work", **spec: Any) -> Job:
    return Job(
        metadata=make_meta(name),
        spec=JobSpec(
            template=make_template(
                {}, restart_policy=spec.pop("restart_policy", "Never"), node_name=spec.pop("node", "")
            ),
            **spec,
        ),
    )


Outcome = Callable[[Pod], int | None]


def good(pod: Pod) -> int | None:
    return 0


def bad(pod: Pod) -> int | None:
    return 1


def lasting(pod: Pod) -> int | None:
    return None


class Workers:
    """A `Component` in the place of scheduler and nodes: Pods run for a second and end with a code, or go on."""

    name = "workers"

    def __init__(self, world: Any, outcome: Outcome, *, seconds: float = 1.0, linger: float = 0.0) -> None:
        self.world = world
        self.outcome = outcome
        self.seconds = seconds
        self.linger = linger
        self.started: list[float] = []

    async def run(self, *, task_status: Any = TASK_STATUS_IGNORED) -> None:
        informer = SharedInformers(self.world.direct, random=Random(1)).of(Pod)
        async with anyio.create_task_group() as tasks:

            def changed(old: Any, new: Any) -> None:
                if old is None and new is not None:
                    tasks.start_soon(self._work, new.key)
                elif new is not None and new.meta.deletion_timestamp and not old.meta.deletion_timestamp:
                    tasks.start_soon(self._end, new.key)

            informer.subscribe(changed)
            await tasks.start(informer.run)
            task_status.started()

    async def _set(self, key: Key, change: Callable[[Pod], Any]) -> None:
        with suppress(ApiError):
            await update_with(
                self.world.direct,
                Pod,
                key,
                lambda p: (
                    replace(p, status=change(p)) if p.status.phase not in ("Succeeded", "Failed") else None
                ),
                subresource="status",
            )

    async def _work(self, key: Key) -> None:
        self.started.append(anyio.current_time())
        await self._set(key, lambda p: make_pod_status("Running", ready=True, since=self.world.clock.now()))
        with suppress(ApiError):
            code = self.outcome(await self.world.get(Pod, key.name))
            if code is not None:
                await anyio.sleep(self.seconds)
                await self._set(key, lambda p: ended(code, self.world.clock.now()))

    async def _end(self, key: Key) -> None:
        await anyio.sleep(self.linger)
        await self._set(key, lambda p: ended(137, self.world.clock.now()))
        with suppress(ApiError):
            await self.world.direct.resource(Pod).delete(key, grace=0)


def ended(code: int, now: Any, conditions: Any = ()) -> Any:
    state = ContainerState(
        terminated=ContainerStateTerminated(exit_code=code, finished_at=now.replace(microsecond=0))
    )
    return replace(
        make_pod_status("Failed" if code else "Succeeded"),
        container_statuses=(ContainerStatus(name="main", state=state),),
        conditions=conditions,
    )


def index_of(pod: Pod) -> int:
    return int(pod.metadata.annotations[INDEX])


def running(world: Any, outcome: Outcome, **how: Any) -> Any:
    workers = Workers(world, outcome, **how)
    world.workers = workers
    return world.running(workers, job_controller(world.informers, clock=world.clock, recorder=world.recorder))


async def job_of(world: Any, name: str = "work") -> Job:
    found: Job = await world.get(Job, name)
    return found


def conditions(job: Job) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in job.status.conditions}


async def pods_of(world: Any) -> list[Pod]:
    return list(await world.all(Pod))
