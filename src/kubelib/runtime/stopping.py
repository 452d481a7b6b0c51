"""End the containers of a Pod: hooks first, then the request, then force; or at once."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.runtime import lifecycle
from kubelib.runtime.base import Container, NoSuchContainer
from kubelib.runtime.hooks import call_hook
from kubelib.runtime.words import container_of

if TYPE_CHECKING:
    from kubelib.runtime.worker import PodWorker

log = logging.getLogger("kubelib.runtime")

EVICTION_GRACE = 1.0
"""Seconds that the containers of a Pod have whose node has run out of something."""
SHORTEST_GRACE = 2.0
"""Seconds that a container has to end even if its hook used up the grace period."""


class Stopper:
    """Stops what a Pod's worker decides to stop."""

    def __init__(self, worker: "PodWorker") -> None:
        self._worker = worker
        self._told = False
        """Whether it was told that the Pod's containers are stopped for good."""

    async def stop_to_restart(self, pod: Pod, container: Container, why: lifecycle.Condemnation) -> None:
        """End a container that has to be restarted, with the grace of the probe that says so where it has one."""
        definition = _definition(pod, container.name)
        probe = None
        if definition is not None and why.kind != "resize":
            probe = definition.liveness_probe if why.kind == "liveness" else definition.startup_probe
        own = probe.termination_grace_period_seconds if probe is not None else None
        grace = float(own) if own is not None else self._grace(pod)
        await self._stop(pod, container, anyio.current_time() + grace)

    async def stop_together(self, pod: Pod) -> None:
        """End all containers side by side."""
        until = anyio.current_time() + self._grace(pod)
        async with anyio.create_task_group() as group:
            for container in self._worker.containers:
                if container.state == "running":
                    group.start_soon(self._stop, pod, container, until)

    async def kill(self, pod: Pod, containers: Sequence[Container]) -> None:
        """End containers at once and in no order: no hook is called, and no grace is given."""
        runtime, counts = self._worker.agent.runtime, self._worker.agent.counts

        async def end(container: Container) -> None:
            try:
                with counts.operation("stop_container"):
                    await runtime.stop_container(container.id, grace=0)
            except NoSuchContainer:
                return

        async with anyio.create_task_group() as group:
            for container in containers:
                if container.state == "running":
                    self._tell(pod, container)
                    group.start_soon(end, container)

    async def stop_all(self, pod: Pod) -> None:
        """End all containers: the main ones together, then sidecars, the last one first, within one grace period."""
        containers = self._worker.containers
        if pod.metadata.deletion_timestamp is not None and not self._told:
            self._told = True
            for container in lifecycle.latest(containers).values():
                if container.state == "running":
                    self._tell(pod, container)
        until = anyio.current_time() + self._grace(pod)
        order = {d.name: place for place, d in enumerate(pod.spec.init_containers)}
        alive = [c for c in containers if c.state == "running"]
        sidecars = sorted((c for c in alive if c.name in order), key=lambda c: -order[c.name])
        for part in ([c for c in alive if c.name not in order], *([c] for c in sidecars)):
            async with anyio.create_task_group() as group:
                for container in part:
                    group.start_soon(self._stop, pod, container, until)
                group.start_soon(self._worker.hurry, part)

    def _tell(self, pod: Pod, container: Container) -> None:
        self._worker.agent.recorder.normal(
            container_of(pod, container.name), "Killing", f"Stopping container {container.name}"
        )

    def _grace(self, pod: Pod) -> float:
        if self._worker.memory.evicted is not None:
            return EVICTION_GRACE
        grace = pod.metadata.deletion_grace_period_seconds
        if grace is None:
            grace = pod.spec.termination_grace_period_seconds
        return float(grace if grace is not None else 30)

    async def _stop(self, pod: Pod, container: Container, until: float) -> None:
        """End a container: its hook first, then the request, and force at `until` by the loop's time."""
        agent = self._worker.agent
        definition = _definition(pod, container.name)
        left = until - anyio.current_time()
        hook = (
            definition.lifecycle.pre_stop
            if definition is not None and definition.lifecycle is not None
            else None
        )
        if definition is not None and hook is not None and left > 0:
            if hook.sleep is not None:
                await anyio.sleep(min(left, hook.sleep.seconds))
            else:
                address = agent.address_of(pod)
                why = await call_hook(agent, pod, hook, definition, container.id, address, left)
                if why is not None:
                    log.warning("pod %s: %s", pod.key, why)
                    about = container_of(pod, container.name)
                    agent.recorder.warning(about, "FailedPreStopHook", "PreStopHook failed")
            # However long the hook took, the container gets a moment of its own.
            left = max(SHORTEST_GRACE, until - anyio.current_time())
        try:
            with agent.counts.operation("stop_container"):
                await agent.runtime.stop_container(container.id, grace=max(0.0, left))
        except NoSuchContainer:
            return


def _definition(pod: Pod, name: str) -> ContainerDefinition | None:
    spec = pod.spec
    every = (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
    return next((d for d in every if d.name == name), None)
