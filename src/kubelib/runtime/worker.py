"""One Pod on its node: look at what it should be and what runs, do the next step, say how it is; again."""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.scheme import Tree
from kubelib.registry.base import Patch, Preconditions
from kubelib.runtime import lifecycle
from kubelib.runtime.abilities import SupportsLookup, SupportsProbes
from kubelib.runtime.admittance import Refusal, apparmor_refusal, refusal
from kubelib.runtime.anew import begun_anew, is_restarting, pasts, told_before
from kubelib.runtime.base import Container, RuntimeFailure, Sandbox, SandboxId
from kubelib.runtime.environment import ConfigMissing
from kubelib.runtime.eviction import turned_away
from kubelib.runtime.mirrors import SOURCE
from kubelib.runtime.node import NoAddress
from kubelib.runtime.probing import Probing
from kubelib.runtime.resizing import Resizing
from kubelib.runtime.restarts import could_restart_all
from kubelib.runtime.starting import Starter
from kubelib.runtime.statuses import container_id, pod_status
from kubelib.runtime.stopping import Stopper
from kubelib.runtime.termination import Messages
from kubelib.runtime.words import container_of, in_full

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent

log = logging.getLogger("kubelib.runtime")

TRY_AGAIN = 2.0
AFTER_FAILURE = 10.0


class PodWorker:
    """Works on one Pod for as long as it is on the node."""

    def __init__(self, agent: "NodeAgent", uid: str) -> None:
        self.agent = agent
        self.uid = uid
        self.pod: Pod | None = None
        self.memory = lifecycle.Memory(runtime=agent.runtime.name)
        self.containers: tuple[Container, ...] = ()
        self._gone = False
        self._news = anyio.Event()
        self._written: Tree | None = None
        self.mounts: dict[str, Path] | None = None
        """Where the Pod's volumes are, once they are prepared."""
        self._outdated = False
        """Whether what volumes show may have changed."""
        self._registered: PodSpec | None = None
        """The specification whose configuration is watched."""
        self.sandbox_ready = True
        self._address = ""
        self._released = False
        """Whether the Pod has ended and has nothing any more that another could need."""
        self._stopper = Stopper(self)
        self._starter = Starter(self)
        self.resizing = Resizing(self)
        self._messages = Messages()
        self._backing_off: set[tuple[str, int]] = set()

    # Told by the agent

    def see(self, pod: Pod) -> None:
        """Take the Pod's latest state."""
        ran = not self.over
        if self.pod is not None and _given(pod) != _given(self.pod):
            self._outdated = True
        self.pod = pod
        self.wake()
        if ran and pod.status.phase in ("Succeeded", "Failed"):
            self.agent.retry_resizes()  # its place is free

    def vanish(self) -> None:
        """The Pod's object is gone: end what runs without asking anybody."""
        self._gone = True
        self.wake()

    @property
    def over(self) -> bool:
        """Whether the Pod has ended, or is ending."""
        pod = self.pod
        return (
            self._gone
            or self.memory.over
            or pod is None
            or pod.metadata.deletion_timestamp is not None
            or pod.status.phase in ("Succeeded", "Failed")
        )

    async def ended(self) -> None:
        """Wait until the Pod has ended, or is ending."""
        while not self.over:
            news = self._news = anyio.Event()
            await news.wait()

    def evict(self, why: str) -> None:
        """End the Pod for its node's sake."""
        self.memory.evicted = why
        self.wake()

    def wake(self) -> None:
        """Look again."""
        self._news.set()

    def refresh(self) -> None:
        """Look again, at what volumes show as well."""
        self._outdated = True
        self.wake()

    async def run(self) -> None:
        """Work until the Pod is gone."""
        async with anyio.create_task_group() as group:
            self._probing = Probing(self.agent, self.memory, group, self.wake)
            while True:
                self._news = anyio.Event()
                try:
                    look_again = await self._sync()
                except (ApiError, RuntimeFailure, OSError, NoAddress) as error:
                    if isinstance(error, NoAddress) and self.pod is not None:
                        message = f"Failed to create pod sandbox: {error}"
                        self.agent.recorder.warning(self.pod, "FailedCreatePodSandBox", message)
                    log.warning("pod %s: %s", self.pod.key if self.pod else self.uid, error)
                    look_again = TRY_AGAIN
                except ExceptionGroup as failures:  # of what was done side by side
                    _, other = failures.split((ApiError, RuntimeFailure, OSError))
                    look_again = TRY_AGAIN if other is None else AFTER_FAILURE
                    log.warning("pod %s", self.pod.key if self.pod else self.uid, exc_info=other)
                except Exception:
                    # One Pod that cannot be worked on must not take the node with it.
                    log.exception("pod %s: working on it failed", self.pod.key if self.pod else self.uid)
                    look_again = AFTER_FAILURE
                if look_again is None and self._finished:
                    break
                with anyio.move_on_after(look_again):
                    await self._news.wait()
            group.cancel_scope.cancel()

    _probing: Probing
    _finished = False

    async def _sync(self) -> float | None:
        pod = self.pod
        assert pod is not None
        agent = self.agent
        if self._gone:
            await self._remove_sandbox()
            await agent.devices.unprepare(self.uid)
            agent.forget(self.uid)
            self._finished = True
            return None
        await self._look(pod)
        await self._collect(pod)
        if not self._recalled:
            self._recall(pod)
        desired, pod = pod, self.resizing.allocated(pod)
        if not self.admitted and not await self._admit(pod):
            return TRY_AGAIN
        if not self.over:
            pod = self.resizing.allocate(desired)
        await self._end_with_sandbox(pod)
        now = agent.clock.now()
        deadline = pod.spec.active_deadline_seconds
        if deadline is not None and pod.status.start_time is not None:
            self.memory.deadline_exceeded |= (now - pod.status.start_time).total_seconds() >= deadline
        ending = pod.metadata.deletion_timestamp is not None or self._has_ended(pod)
        address = (agent.address_of(pod) or self._address) if ending else agent.address_for(pod)
        if not ending and pod.spec != self._registered:
            agent.configuration.register(pod)
            self._registered = pod.spec
        decision = lifecycle.next_step(pod, self.containers, self.memory, now)
        look_again = decision.look_again
        if (self._outdated or self.mounts is None) and self.containers and not ending:
            self._outdated, self.mounts = False, None
            # What a volume refers to may be gone by now, or not to be had: what was shown stays.
            with contextlib.suppress(ConfigMissing, ApiError):
                self.mounts = await agent.volumes.prepare(pod, address=address)
        sized = await self.resizing.resize_whole(pod)
        retry = 0.0
        for step in decision.steps:
            match step:
                case lifecycle.Start():
                    await self._starter.start(pod, step, address)
                case lifecycle.Resize(container, definition):
                    if not await self.resizing.resize(pod, container, definition):
                        retry = TRY_AGAIN
                case lifecycle.Kill(container, reason):
                    self.memory.condemned[container.id] = reason
                    message = reason.told(container.name)
                    agent.recorder.normal(container_of(pod, container.name), "Killing", message)
                    log.info("pod %s: %s (%s)", pod.key, message, reason.message)
                    await self._stopper.stop_to_restart(pod, container, reason)
                case lifecycle.RestartAll():
                    await self._restart_all(pod, address)
                case lifecycle.StopAll():
                    self._probing.keep(pod, (), "")
                    await self._stopper.stop_all(pod)
                case lifecycle.Forget():
                    await self._write_status(pod, address)
                    await self._forget(pod)
                    return None
        if decision.steps:
            await self._look(pod)
            address = agent.address_of(pod) or address
            look_again = retry if look_again is None and not self.memory.waiting else TRY_AGAIN
        self.resizing.complete(pod)
        self._note_backoff(pod)
        self._probing.keep(pod, self.containers, address)
        self._address = address
        releases = not self._released and pod.metadata.deletion_timestamp is None and self._has_ended(pod)
        if releases:
            await self._stop_sandbox()
            # Before others learn that it uses its claims no more, and may have their devices.
            await agent.devices.unprepare(self.uid)
        await self._write_status(pod, address)
        if releases:  # and not before everybody may know that it does not listen there any more
            agent.release(self.uid)
            self._released = True
        if self.memory.waiting:
            self.memory.waiting.clear()
            return TRY_AGAIN
        return look_again if sized else TRY_AGAIN

    admitted = False
    """Whether the node has taken the Pod."""

    async def _admit(self, pod: Pod) -> bool:
        """Take a Pod, or turn it away for good; return whether to go on with it."""
        agent = self.agent
        fresh = pod.status.phase in ("", "Pending") and not self.containers
        if fresh and pod.metadata.deletion_timestamp is None:
            refused = self._refused(pod)
            if refused is not None and refused.reason == "NodeAffinity":
                # The scheduler may have seen a label of the node that is not known here.
                await agent.node.look()
                refused = self._refused(pod)
            if refused is not None:
                agent.recorder.warning(pod, refused.reason, refused.message)
                await self._patch_status(
                    pod, {**refused.status, "observedGeneration": pod.metadata.generation}
                )
                return False
        self.admitted = True
        self.resizing.count(pod)
        return True

    requests: Mapping[str, int] = MappingProxyType({})
    """What the Pod asks for, once the node has taken it."""

    has_apparmor = Path("/sys/module/apparmor").exists()
    """Whether this machine's kernel can confine containers so."""

    def _refused(self, pod: Pod) -> Refusal | None:
        agent = self.agent
        why = turned_away(pod, agent.eviction.pressures)
        if why is not None:
            return Refusal("Evicted", why)
        confined = apparmor_refusal(
            pod, enabled=self.has_apparmor or isinstance(agent.runtime, SupportsProbes)
        )
        if confined is not None:
            return confined
        # Static Pods are the node's own: whatever else it runs has to make room.
        static = agent.static is not None and pod.metadata.annotations.get(SOURCE) == "file"
        return refusal(
            pod,
            agent.taken(),
            requests=agent.requests(),
            allocatable=None if static else agent.node.allocatable,
            labels=agent.node.labels,
        )

    _recalled = False

    def _recall(self, pod: Pod) -> None:
        """Take over what an earlier agent has found: a container that was ready is not unready for being looked at anew."""
        self._recalled = True
        known = {
            s.container_id: s for s in (*pod.status.init_container_statuses, *pod.status.container_statuses)
        }
        for container in self.containers:
            status = known.get(container_id(container, self.memory))
            if status is not None and container.state == "running":
                self.memory.ready[container.id] = status.ready
                self.memory.started[container.id] = bool(status.started)

        if could_restart_all(pod):
            self.memory.past.update(told_before(pod, self.containers))
            self.memory.restarting = is_restarting(pod)

    def _has_ended(self, pod: Pod) -> bool:
        """Return whether nothing of the Pod runs, nor will."""
        over = lifecycle.is_over(pod, self.containers, self.memory)
        return over and all(c.state != "running" for c in self.containers)

    async def _stop_sandbox(self) -> None:
        """Give back what a Pod that has ended needs no more: as the kubelet does it, before it tells of the end."""
        sandbox = await self._sandbox()
        if sandbox is not None and (sandbox.ready or sandbox.address):
            with self.agent.counts.operation("stop_podsandbox"):
                await self.agent.runtime.stop_sandbox(sandbox.id)

    async def _remove_sandbox(self) -> None:
        with self.agent.counts.operation("remove_podsandbox"):
            await self.agent.runtime.remove_sandbox(SandboxId(self.uid))

    async def _look(self, pod: Pod) -> None:
        """See what runs."""
        sandbox = await self._sandbox()
        self.sandbox_ready = sandbox is None or sandbox.ready
        found = sandbox.containers if sandbox is not None else ()
        if self.agent.images is not None:
            self.agent.images.saw(container.image_id for container in found)
        self.containers = self._messages.added(found, lambda c: self.agent.log_path(pod, c.name, c.attempt))

    async def _collect(self, pod: Pod) -> None:
        """Remove the attempts that nobody asks of any more."""
        await self._remove(pod, lifecycle.superfluous(self.containers))

    async def _remove(self, pod: Pod, containers: Iterable[Container]) -> None:
        """Remove containers that have ended, with their logs."""
        for container in containers:
            with self.agent.counts.operation("remove_container"):
                await self.agent.runtime.remove_container(container.id)
            path = self.agent.log_path(pod, container.name, container.attempt)
            for log_file in (path, path.with_name(f"{path.name}.1")):
                log_file.unlink(missing_ok=True)

    async def _end_with_sandbox(self, pod: Pod) -> None:
        """End what runs in a sandbox that has ended, as its network is gone: what should run is started anew in another, from the first init container on."""
        if self.sandbox_ready or pod.metadata.deletion_timestamp is not None or self._has_ended(pod):
            return
        await self._stopper.stop_together(pod)
        await self._look(pod)
        if not lifecycle.is_over(pod, self.containers, self.memory):
            before = {definition.name for definition in pod.spec.init_containers}
            await self._remove(pod, [c for c in self.containers if c.name in before])
            await self._look(pod)

    async def _restart_all(self, pod: Pod, address: str) -> None:
        """End all containers but ephemeral ones at once, and remove them: what is needed of them is remembered."""
        self.memory.restarting = True
        await self._write_status(pod, address)
        self._probing.keep(pod, (), "")
        await self._stopper.kill(pod, begun_anew(pod, self.containers))
        await self._look(pod)
        ended = begun_anew(pod, self.containers)
        self.memory.past.update(pasts(pod, ended, self.memory))
        await self._remove(pod, ended)
        self.memory.restarting = False

    async def _sandbox(self) -> Sandbox | None:
        runtime = self.agent.runtime
        if isinstance(runtime, SupportsLookup):
            return await runtime.sandbox(self.uid)
        return next((s for s in await runtime.list_sandboxes() if s.uid == self.uid), None)

    def _note_backoff(self, pod: Pod) -> None:
        """Say once per attempt that a restart is put off."""
        now = self.agent.clock.now()
        status = pod_status(pod, self.containers, self.memory, address="", host="", now=now)
        for container in (*status.get("initContainerStatuses", ()), *status["containerStatuses"]):
            waiting = container["state"].get("waiting") or {}
            key = (container["name"], container["restartCount"])
            if waiting.get("reason") == "CrashLoopBackOff" and key not in self._backing_off:
                self._backing_off.add(key)
                self.agent.recorder.warning(
                    container_of(pod, container["name"]),
                    "BackOff",
                    f"Back-off restarting failed container {container['name']} in pod {in_full(pod)}",
                )

    async def hurry(self, containers: list[Container]) -> None:
        """End a slow stop at once when the Pod is deleted without grace meanwhile."""
        while containers:
            news = self._news = anyio.Event()
            with anyio.move_on_after(0.2):
                await news.wait()
            if self._gone or (self.pod is not None and self.pod.metadata.deletion_grace_period_seconds == 0):
                for container in containers:
                    await self.agent.runtime.stop_container(container.id, grace=0)
                return
            sandbox = await self._sandbox()
            running = {c.id for c in (sandbox.containers if sandbox else ()) if c.state == "running"}
            containers = [c for c in containers if c.id in running]

    async def _forget(self, pod: Pod) -> None:
        """Remove what is left of a Pod that is being deleted, then its object."""
        await self._remove_sandbox()
        await self.agent.devices.unprepare(self.uid)
        self.agent.forget(self.uid)  # before others learn that the Pod is gone: as the kubelet does it
        await self._forget_object(pod)
        self._finished = True

    async def _forget_object(self, pod: Pod) -> None:
        with contextlib.suppress(NotFound, Conflict):  # gone already; or another Pod has its name
            await self.agent.client.resource(Pod).delete(
                pod.key, grace=0, preconditions=Preconditions(self.uid)
            )

    # Status

    async def _write_status(self, pod: Pod, address: str) -> None:
        agent = self.agent
        status = pod_status(
            pod,
            self.containers,
            self.memory,
            address=address,
            host=agent.settings.address,
            now=agent.clock.now(),
        )
        if status != self._written and await self._patch_status(pod, status):
            self._written = status

    async def _patch_status(self, pod: Pod, status: Tree) -> bool:
        """Write a status; return whether there was something to write it to."""
        body = {"metadata": {"uid": self.uid}, "status": status}
        try:
            await self.agent.client.resource(Pod).patch(pod.key, Patch("merge", body), subresource="status")
        except (NotFound, Conflict):
            return False
        return True


def _given(pod: Pod) -> tuple[object, ...]:
    """Return what of a Pod is others' to change, and not its node's."""
    meta = pod.metadata
    return meta.labels, meta.annotations, pod.spec, meta.deletion_timestamp
