"""One Pod on its node: look at what it should be and what runs, do the next step, say how it is; again."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.abc import TaskGroup

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.registry.base import Patch, Preconditions
from kubelib.runtime import lifecycle
from kubelib.runtime.base import (
    CannotStart,
    Container,
    ContainerSpec,
    ImageNotFound,
    Mount,
    NoSuchContainer,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxId,
    SandboxSpec,
    SupportsLookup,
)
from kubelib.runtime.environment import ConfigMissing, environment, expand
from kubelib.runtime.probes import Kind, check, watch_probe

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent

log = logging.getLogger("kubelib.runtime")

TRY_AGAIN = 2.0
SHORTEST_GRACE = 2.0
"""Seconds that a container has to end even if its hook used up the grace period."""


@attrs.define
class _FailedPull:
    """An image that could not be had, since when and until when it is not tried again, by the loop's time."""

    error: str
    delay: float
    since: float
    again: float
    said: bool = False


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
        self._probes: dict[tuple[str, Kind], anyio.CancelScope] = {}
        self._written: Tree | None = None
        self._mounts: dict[str, Path] | None = None
        self._stopping = False
        self._pulls: dict[str, _FailedPull] = {}
        """By container name."""
        self._backing_off: set[tuple[str, int]] = set()
        self._group: TaskGroup | None = None

    # Told by the agent

    def see(self, pod: Pod) -> None:
        """Take the Pod's latest state."""
        self.pod = pod
        self.wake()

    def vanish(self) -> None:
        """The Pod's object is gone: end what runs without asking anybody."""
        self._gone = True
        self.wake()

    def wake(self) -> None:
        """Look again."""
        self._news.set()

    def refresh(self) -> None:
        """Look again, at what volumes show as well."""
        self._mounts = None
        self.wake()

    async def run(self) -> None:
        """Work until the Pod is gone."""
        async with anyio.create_task_group() as group:
            self._group = group
            while True:
                self._news = anyio.Event()
                try:
                    look_again = await self._sync()
                except (ApiError, RuntimeFailure, OSError) as error:
                    log.warning("pod %s: %s", self.pod.key if self.pod else self.uid, error)
                    look_again = TRY_AGAIN
                if look_again is None and self._finished:
                    break
                with anyio.move_on_after(look_again):
                    await self._news.wait()
            group.cancel_scope.cancel()

    _finished = False

    async def _sync(self) -> float | None:
        pod = self.pod
        assert pod is not None
        agent = self.agent
        if self._gone:
            await agent.runtime.remove_sandbox(SandboxId(self.uid))
            agent.forget(self.uid)
            self._finished = True
            return None
        sandbox = await self._sandbox()
        self.containers = sandbox.containers if sandbox is not None else ()
        if not self._recalled:
            self._recall(pod)
        address = agent.address_for(pod)
        now = agent.clock.now()
        deadline = pod.spec.active_deadline_seconds
        if deadline is not None and pod.status.start_time is not None:
            self.memory.deadline_exceeded |= (now - pod.status.start_time).total_seconds() >= deadline
        decision = lifecycle.next_step(pod, self.containers, self.memory, now)
        look_again = decision.look_again
        if self._mounts is None and self.containers and not isinstance(_first(decision), lifecycle.StopAll):
            # What a volume refers to may be gone by now, or not to be had: what was shown stays.
            with contextlib.suppress(ConfigMissing, ApiError):
                self._mounts = await agent.volumes.prepare(pod, address=address)
        for step in decision.steps:
            match step:
                case lifecycle.Start():
                    await self._start(pod, step, address)
                case lifecycle.Kill(container, reason):
                    message = f"Container {container.name} failed {reason.kind} probe, will be restarted"
                    agent.recorder.normal(pod, "Killing", message)
                    log.info("pod %s: %s (%s)", pod.key, message, reason.message)
                    grace = self._restart_grace(pod, container, reason)
                    await self._stop(pod, container, anyio.current_time() + grace)
                case lifecycle.StopAll():
                    await self._stop_all(pod)
                case lifecycle.Forget():
                    await self._write_status(pod, address)
                    await self._forget(pod)
                    return None
        if decision.steps:
            sandbox = await self._sandbox()
            self.containers = sandbox.containers if sandbox is not None else ()
            look_again = 0.0 if look_again is None and not self.memory.waiting else TRY_AGAIN
        self._note_backoff(pod)
        self._keep_probes(pod, address)
        await self._write_status(pod, address)
        if self.memory.waiting:
            self.memory.waiting.clear()
            return TRY_AGAIN
        return look_again

    _recalled = False

    def _recall(self, pod: Pod) -> None:
        """Take over what an earlier agent has found: a container that was ready is not unready for being looked at anew."""
        self._recalled = True
        known = {
            s.container_id: s for s in (*pod.status.init_container_statuses, *pod.status.container_statuses)
        }
        for container in self.containers:
            status = known.get(lifecycle.container_id(container, self.memory))
            if status is not None and container.state == "running":
                self.memory.ready[container.id] = status.ready
                self.memory.started[container.id] = bool(status.started)

    async def _sandbox(self) -> Sandbox | None:
        runtime = self.agent.runtime
        if isinstance(runtime, SupportsLookup):
            return await runtime.sandbox(self.uid)
        return next((s for s in await runtime.list_sandboxes() if s.uid == self.uid), None)

    # Starting

    async def _start(self, pod: Pod, step: lifecycle.Start, address: str) -> None:
        agent, definition, name = self.agent, step.container, step.container.name
        try:
            if self._mounts is None:
                self._mounts = await agent.volumes.prepare(pod, address=address)
        except ConfigMissing as error:
            agent.recorder.warning(pod, "FailedMount", str(error))
            self.memory.waiting[name] = ("ContainerCreating", "")
            return
        try:
            env = await environment(
                pod,
                definition,
                agent,
                agent.services(pod.metadata.namespace),
                address=address,
                host=agent.settings.address,
            )
            spec = self._spec(pod, step, env)
        except (ConfigMissing, QuantityError) as error:
            agent.recorder.warning(pod, "Failed", f"Error: {error}")
            self.memory.waiting[name] = ("CreateContainerConfigError", str(error))
            return
        if not await self._image(pod, definition):
            return
        sandbox = await agent.runtime.run_sandbox(
            SandboxSpec(
                uid=self.uid,
                namespace=pod.metadata.namespace,
                name=pod.metadata.name,
                hostname=pod.spec.hostname or pod.metadata.name,
                address=address,
            )
        )
        try:
            identity = await agent.runtime.start_container(sandbox, spec)
        except CannotStart as error:
            agent.recorder.warning(pod, "Failed", f"Error: {error}")
            self.memory.waiting[name] = ("RunContainerError", str(error))
            return
        agent.recorder.normal(pod, "Created", f"Container created: {name}")
        agent.recorder.normal(pod, "Started", f"Container started: {name}")
        hook = definition.lifecycle.post_start if definition.lifecycle is not None else None
        if hook is not None:
            why = await check(hook, definition, identity, agent.runtime, address, 30)
            if why is not None:
                agent.recorder.warning(pod, "FailedPostStartHook", f"PostStartHook failed: {why}")
                await agent.runtime.stop_container(
                    identity, grace=float(pod.spec.termination_grace_period_seconds or 0)
                )

    async def _image(self, pod: Pod, definition: ContainerDefinition) -> bool:
        """See to it that a container's image is here, pulling it as its policy says; a failure puts the next try off."""
        agent, name, image = self.agent, definition.name, definition.image
        recorder = agent.recorder
        policy = definition.image_pull_policy or "IfNotPresent"
        if policy != "Always" and await agent.runtime.has_image(image):
            self._pulls.pop(name, None)
            recorder.normal(
                pod,
                "Pulled",
                f'Container image "{image}" already present on machine and can be accessed by the pod',
            )
            return True
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            recorder.warning(pod, "ErrImageNeverPull", message)
            self.memory.waiting[name] = ("ErrImageNeverPull", message)
            return False
        now = anyio.current_time()
        failed = self._pulls.get(name)
        if failed is not None and now < failed.again:
            if now < failed.since + TRY_AGAIN:
                self.memory.waiting[name] = ("ErrImagePull", failed.error)
                return False
            if not failed.said:
                failed.said = True
                recorder.normal(pod, "BackOff", f'Back-off pulling image "{image}"')
                recorder.warning(pod, "Failed", "Error: ImagePullBackOff")
            message = f'Back-off pulling image "{image}": ErrImagePull: {failed.error}'
            self.memory.waiting[name] = ("ImagePullBackOff", message)
            return False
        recorder.normal(pod, "Pulling", f'Pulling image "{image}"')
        try:
            await agent.runtime.pull(image)
        except ImageNotFound as error:
            delay = min(failed.delay * 2, lifecycle.LONGEST_BACKOFF) if failed else lifecycle.FIRST_BACKOFF
            since = anyio.current_time()
            self._pulls[name] = _FailedPull(str(error), delay, since=since, again=since + delay)
            recorder.warning(pod, "Failed", f'Failed to pull image "{image}": {error}')
            recorder.warning(pod, "Failed", "Error: ErrImagePull")
            self.memory.waiting[name] = ("ErrImagePull", str(error))
            return False
        self._pulls.pop(name, None)
        took = anyio.current_time() - now
        recorder.normal(pod, "Pulled", f'Successfully pulled image "{image}" in {took:.3f}s')
        return True

    def _spec(self, pod: Pod, step: lifecycle.Start, env: dict[str, str]) -> ContainerSpec:
        assert self._mounts is not None
        definition, attempt = step.container, step.attempt
        mounts = []
        for mount in definition.volume_mounts:
            source = self._mounts[mount.name]
            below = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path
            if below:
                source = _below(source, below)
            mounts.append(Mount(str(source), mount.mount_path, bool(mount.read_only)))
        limits, requests = definition.resources.limits, definition.resources.requests
        security, pod_security = definition.security_context, pod.spec.security_context
        user = security.run_as_user if security is not None else None
        group = security.run_as_group if security is not None else None
        return ContainerSpec(
            name=definition.name,
            image=definition.image,
            attempt=attempt,
            command=[expand(word, env) for word in definition.command],
            args=[expand(word, env) for word in definition.args],
            env=env,
            working_dir=definition.working_dir,
            mounts=mounts,
            resources=Resources(
                memory=parse_quantity(limits["memory"]).value() if "memory" in limits else None,
                cpu=parse_quantity(limits["cpu"]).milli() / 1000 if "cpu" in limits else None,
                cpu_request=parse_quantity(requests["cpu"]).milli() / 1000 if "cpu" in requests else 0.0,
            ),
            user=user if user is not None else pod_security.run_as_user if pod_security else None,
            group=group if group is not None else pod_security.run_as_group if pod_security else None,
            stdin=definition.stdin,
            tty=definition.tty,
            log_path=str(self.agent.log_path(pod, definition.name, attempt)),
            annotations={lifecycle.BACKOFF: f"{step.backoff:g}"},
        )

    def _note_backoff(self, pod: Pod) -> None:
        """Say once per attempt that a restart is put off."""
        now = self.agent.clock.now()
        status = lifecycle.pod_status(pod, self.containers, self.memory, address="", host="", now=now)
        for container in (*status.get("initContainerStatuses", ()), *status["containerStatuses"]):
            waiting = container["state"].get("waiting") or {}
            key = (container["name"], container["restartCount"])
            if waiting.get("reason") == "CrashLoopBackOff" and key not in self._backing_off:
                self._backing_off.add(key)
                self.agent.recorder.warning(
                    pod,
                    "BackOff",
                    f"Back-off restarting failed container {container['name']} in pod"
                    f" {pod.metadata.name}_{pod.metadata.namespace}({self.uid})",
                )

    # Stopping

    def _grace(self, pod: Pod) -> float:
        grace = pod.metadata.deletion_grace_period_seconds
        if grace is None:
            grace = pod.spec.termination_grace_period_seconds
        return float(grace if grace is not None else 30)

    def _restart_grace(self, pod: Pod, container: Container, why: lifecycle.Condemnation) -> float:
        """Return the grace of a container that a probe has condemned: the probe's own where it has one."""
        definition = self._definition(pod, container.name)
        probe = None
        if definition is not None:
            probe = definition.liveness_probe if why.kind == "liveness" else definition.startup_probe
        own = probe.termination_grace_period_seconds if probe is not None else None
        return float(own) if own is not None else self._grace(pod)

    async def _stop(self, pod: Pod, container: Container, until: float) -> None:
        """End a container: its hook first, then the request, and force at `until` by the loop's time."""
        definition = self._definition(pod, container.name)
        runtime = self.agent.runtime
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
                why = await check(hook, definition, container.id, runtime, self.agent.address_for(pod), left)
                if why is not None:
                    self.agent.recorder.warning(pod, "FailedPreStopHook", f"PreStopHook failed: {why}")
            # However long the hook took, the container gets a moment of its own.
            left = max(SHORTEST_GRACE, until - anyio.current_time())
        try:
            await runtime.stop_container(container.id, grace=max(0.0, left))
        except NoSuchContainer:
            return

    @staticmethod
    def _definition(pod: Pod, name: str) -> ContainerDefinition | None:
        return next((d for d in (*pod.spec.init_containers, *pod.spec.containers) if d.name == name), None)

    async def _stop_all(self, pod: Pod) -> None:
        """End all containers: the main ones together, then sidecars, the last one first, within one grace period."""
        if pod.metadata.deletion_timestamp is not None and not self._stopping:
            self._stopping = True
            for container in lifecycle.latest(self.containers).values():
                if container.state == "running":
                    self.agent.recorder.normal(pod, "Killing", f"Stopping container {container.name}")
        self._keep_probes(pod, "", none=True)
        until = anyio.current_time() + self._grace(pod)
        order = {d.name: place for place, d in enumerate(pod.spec.init_containers)}
        alive = [c for c in self.containers if c.state == "running"]
        sidecars = sorted((c for c in alive if c.name in order), key=lambda c: -order[c.name])
        for part in ([c for c in alive if c.name not in order], *([c] for c in sidecars)):
            async with anyio.create_task_group() as group:
                for container in part:
                    group.start_soon(self._stop, pod, container, until)
                group.start_soon(self._hurry, part)

    async def _hurry(self, containers: list[Container]) -> None:
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
        await self.agent.runtime.remove_sandbox(SandboxId(self.uid))
        with contextlib.suppress(NotFound, Conflict):  # gone already; or another Pod has its name
            await self.agent.client.resource(Pod).delete(
                pod.key, grace=0, preconditions=Preconditions(self.uid)
            )
        self.agent.forget(self.uid)
        self._finished = True

    # Probes

    def _keep_probes(self, pod: Pod, address: str, *, none: bool = False) -> None:
        """Probe what runs, and nothing else."""
        wanted: dict[tuple[str, Kind], tuple[ContainerDefinition, Container]] = {}
        definitions = {d.name: d for d in (*pod.spec.init_containers, *pod.spec.containers)}
        for container in () if none else self.containers:
            definition = definitions.get(container.name)
            if container.state != "running" or definition is None:
                continue
            started = definition.startup_probe is None or self.memory.started.get(container.id, False)
            if not started:
                wanted[container.id, "startup"] = (definition, container)
                continue
            if definition.liveness_probe is not None:
                wanted[container.id, "liveness"] = (definition, container)
            if definition.readiness_probe is not None:
                wanted[container.id, "readiness"] = (definition, container)
        for key in self._probes.keys() - wanted.keys():
            self._probes.pop(key).cancel()
        assert self._group is not None
        for key, (definition, container) in wanted.items():
            if key not in self._probes:
                scope = self._probes[key] = anyio.CancelScope()
                self._group.start_soon(self._probe, scope, pod, definition, container, key[1], address)

    async def _probe(
        self,
        scope: anyio.CancelScope,
        pod: Pod,
        definition: ContainerDefinition,
        container: Container,
        kind: Kind,
        address: str,
    ) -> None:
        probe = {
            "startup": definition.startup_probe,
            "liveness": definition.liveness_probe,
            "readiness": definition.readiness_probe,
        }[kind]
        runtime = self.agent.runtime
        assert probe is not None

        async def once() -> str | None:
            timeout = float(probe.timeout_seconds or 1)
            why = await check(probe, definition, container.id, runtime, address, timeout)
            if why is not None:
                self.agent.recorder.warning(pod, "Unhealthy", f"{kind.capitalize()} probe failed: {why}")
            return why

        now = self.agent.clock.now()
        age = (now - (container.started or now)).total_seconds()
        with scope:
            await watch_probe(probe, once, self._reporter(container, kind), age=age)

    def _reporter(self, container: Container, kind: Kind) -> Callable[[bool, str], None]:
        memory = self.memory

        def report(good: bool, why: str) -> None:
            match kind:
                case "readiness":
                    changed = memory.ready.get(container.id) is not good
                    memory.ready[container.id] = good
                case "startup" if good:
                    changed = True
                    memory.started[container.id] = True
                case _:
                    changed = not good
                    if not good:
                        memory.condemned[container.id] = lifecycle.Condemnation(kind, why)
            if changed:
                self.wake()

        return report

    # Status

    async def _write_status(self, pod: Pod, address: str) -> None:
        agent = self.agent
        status = lifecycle.pod_status(
            pod,
            self.containers,
            self.memory,
            address=address,
            host=agent.settings.address,
            now=agent.clock.now(),
        )
        if status == self._written:
            return
        try:
            await agent.client.resource(Pod).patch(
                pod.key,
                Patch("merge", {"metadata": {"uid": self.uid}, "status": status}),
                subresource="status",
            )
        except (NotFound, Conflict):
            return
        self._written = status


def _first(decision: lifecycle.Decision) -> lifecycle.Step | None:
    return decision.steps[0] if decision.steps else None


def _below(volume: Path, path: str) -> Path:
    """Return a place in a volume, made a directory if there is nothing. Raises `ConfigMissing` if it leads out."""
    place = volume / path
    if ".." in Path(path).parts or not place.resolve().is_relative_to(volume.resolve()):
        raise ConfigMissing(f"subPath {path} leads out of its volume")
    if not place.exists():
        place.mkdir(parents=True)
    return place
