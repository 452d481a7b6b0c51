"""Start one container of a Pod: its volumes, sandbox, image, environment, then itself and its hook."""

import logging
import math
from typing import TYPE_CHECKING

import anyio
import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import EphemeralContainer
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import LifecycleHandler
from kubelib.api.core.volumes import ImageVolumeSource
from kubelib.api.quantity import QuantityError
from kubelib.runtime import lifecycle
from kubelib.runtime.abilities import (
    SupportsAddresses,
    SupportsDevices,
    SupportsMountOptions,
    SupportsProbes,
    SupportsUserNamespaces,
)
from kubelib.runtime.base import (
    BadContainerConfig,
    CannotCreate,
    CannotPrepare,
    CannotResize,
    CannotStart,
    ContainerId,
    ContainerSpec,
    Mount,
    Runtime,
    SandboxId,
)
from kubelib.runtime.environment import ConfigMissing, environment
from kubelib.runtime.hooks import call_hook
from kubelib.runtime.names import NO_CLUSTER_DNS, lacks_dns, within_limits
from kubelib.runtime.pulls import Pulls
from kubelib.runtime.specs import container_spec, sandbox_spec
from kubelib.runtime.termination import annotations_of, termination_mount
from kubelib.runtime.words import container_of, in_full, quoted

log = logging.getLogger("kubelib.runtime")

NO_MOUNT_OPTIONS = "can't set `bindMountOptions`, runtime does not support mount options"
NO_DEVICES = "runtime does not support devices that are claimed"
NO_USER_NAMESPACES = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"

if TYPE_CHECKING:
    from kubelib.runtime.worker import PodWorker


class Starter:
    """Starts what a Pod's worker decides to start."""

    def __init__(self, worker: "PodWorker") -> None:
        self.worker, agent = worker, worker.agent
        self._pulls = Pulls(agent.runtime, agent.recorder, agent.configuration, agent.counts)

    async def start(self, pod: Pod, step: lifecycle.Start, address: str) -> None:
        """Do a step: whatever keeps the container from starting is noted as what it waits for, and told."""
        worker, agent = self.worker, self.worker.agent
        definition, name = step.container, step.container.name
        for volume in pod.spec.volumes if worker.mounts is None else ():
            if volume.image is not None and agent.volumes.has_images:
                waiting = await self._pulls.ensure(pod, _of_volume(volume.name, volume.image))
                if waiting is not None:
                    worker.memory.waiting[name] = waiting
                    return
        try:
            if worker.mounts is None:
                worker.mounts = await agent.volumes.prepare(pod, address=address)
        except ConfigMissing as error:
            agent.recorder.warning(pod, "FailedMount", str(error))
            worker.memory.waiting[name] = ("ContainerCreating", "")
            return
        try:
            await agent.devices.prepare(pod)
        except CannotPrepare as error:
            message = f"Failed to prepare dynamic resources: {error}"
            agent.recorder.warning(pod, "FailedPrepareDynamicResources", message)
            worker.memory.waiting[name] = ("ContainerCreating", "")
            return
        if not worker.sandbox_ready:
            worker.sandbox_ready = True
            message = "Pod sandbox changed, it will be killed and re-created."
            agent.recorder.normal(pod, "SandboxChanged", message)
        try:
            dns, told = within_limits(agent.dns_of(pod))
            if not worker.containers:
                for message in told:
                    agent.recorder.warning(pod, "DNSConfigForming", message)
                if agent.keeps_hosts and lacks_dns(pod, agent.settings.cluster_dns):
                    message = f"pod: {quoted(in_full(pod))}. {NO_CLUSTER_DNS}"
                    agent.recorder.warning(pod, "MissingClusterDNS", message)
            wanted = sandbox_spec(pod, address=address, dns=dns, domain=agent.settings.cluster_domain)
            if not (wanted.host_users or has_user_namespaces(agent.runtime)):
                raise CannotCreate(NO_USER_NAMESPACES)
            with agent.counts.operation("run_podsandbox"):
                sandbox = await agent.runtime.run_sandbox(wanted)
            if not worker.resizing.runs:  # what cannot be changed keeps no container from being started again
                await worker.resizing.limit_whole(pod, sandbox)
        except (CannotCreate, CannotResize) as error:
            agent.recorder.warning(pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            worker.memory.waiting[name] = ("ContainerCreating", "")
            return
        if isinstance(agent.runtime, SupportsAddresses):
            address = await self._learn_address(pod, sandbox, agent.runtime)
        if agent.keeps_hosts:
            agent.write_hosts(pod, address)
        waiting = await self._pulls.ensure(pod, definition)
        if waiting is not None:
            worker.memory.waiting[name] = waiting
            return
        about = container_of(pod, name)
        try:
            spec = await self._spec(pod, step, address)
            with agent.counts.operation("start_container"):
                identity = await agent.runtime.start_container(sandbox, spec)
        except (ConfigMissing, QuantityError, BadContainerConfig) as error:
            agent.recorder.warning(about, "Failed", f"Error: {error}")
            worker.memory.waiting[name] = ("CreateContainerConfigError", str(error))
            return
        except CannotCreate as error:
            agent.recorder.warning(about, "Failed", f"Error: {error}")
            worker.memory.waiting[name] = ("CreateContainerError", str(error))
            return
        except CannotStart as error:
            agent.recorder.warning(about, "Failed", f"Error: {error}")
            worker.memory.waiting[name] = ("RunContainerError", str(error))
            agent.counts.failures["RunContainerError"] += 1
            return
        worker.resizing.started(identity, definition)
        agent.counts.containers += 1
        if not worker.containers:
            agent.counts.pods += 1
        agent.recorder.normal(about, "Created", f"Container created: {name}")
        agent.recorder.normal(about, "Started", f"Container started: {name}")
        hook = definition.lifecycle.post_start if definition.lifecycle is not None else None
        if hook is not None:
            why = await self._after_start(pod, hook, definition, identity, address)
            if why is not None:
                # What it said may be secret, and Events are for more people to read than Pods and logs of nodes are.
                log.warning("pod %s: %s", pod.key, why)
                agent.recorder.warning(about, "FailedPostStartHook", "PostStartHook failed")
                agent.recorder.normal(about, "Killing", "FailedPostStartHook")
                await agent.runtime.stop_container(
                    identity, grace=float(pod.spec.termination_grace_period_seconds or 0)
                )
                worker.memory.waiting[name] = ("PostStartHookError", why)

    async def _after_start(
        self,
        pod: Pod,
        hook: LifecycleHandler,
        definition: ContainerDefinition,
        identity: ContainerId,
        address: str,
    ) -> str | None:
        """Run a hook to its end, however long it takes, unless the Pod is deleted meanwhile; return why it failed."""
        why: str | None = None

        async def until_over(scope: anyio.CancelScope) -> None:
            await self.worker.ended()
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(until_over, group.cancel_scope)
            why = await call_hook(self.worker.agent, pod, hook, definition, identity, address, math.inf)
            group.cancel_scope.cancel()
        self.worker.wake()  # whatever news there was is still to be looked at
        return why

    async def _learn_address(self, pod: Pod, sandbox: SandboxId, runtime: SupportsAddresses) -> str:
        """Note the address that the runtime has given a Pod."""
        agent = self.worker.agent
        if not pod.spec.host_network:
            agent.note_address(self.worker.uid, await runtime.address(sandbox))
        return agent.address_for(pod)

    async def _spec(self, pod: Pod, step: lifecycle.Start, address: str) -> ContainerSpec:
        worker, agent, definition = self.worker, self.worker.agent, step.container
        assert worker.mounts is not None
        env = await environment(
            pod,
            definition,
            agent.configuration,
            agent.services(pod.metadata.namespace),
            address=address,
            host=agent.settings.address,
            allocatable=agent.node.allocatable,
            volumes=worker.mounts,
            domain=agent.settings.cluster_domain,
        )
        mounted = definition.volume_mounts
        if any(mount.bind_mount_options for mount in mounted) and not has_mount_options(agent.runtime):
            raise CannotCreate(NO_MOUNT_OPTIONS)
        more, annotations = [], {lifecycle.BACKOFF: f"{step.backoff:g}"}
        if not isinstance(agent.runtime, SupportsProbes):  # else no process reads or writes
            said = agent.pod_directory(worker.uid) / "containers" / definition.name / str(step.attempt)
            more.append(termination_mount(definition, said))
            annotations |= annotations_of(definition, said)
        if agent.keeps_hosts:
            more.append(Mount(str(agent.hosts_path(worker.uid)), "/etc/hosts"))
        spec = container_spec(
            pod,
            definition,
            attempt=step.attempt,
            env=env,
            volumes=worker.mounts,
            log_path=agent.log_path(pod, definition.name, step.attempt),
            memory=agent.node.memory,
            pids=agent.settings.pids_limit,
            more=more,
            annotations=annotations,
        )
        for device in agent.devices.given(pod, definition):
            if device.devices and not has_devices(agent.runtime):
                raise CannotCreate(NO_DEVICES)
            spec = attrs.evolve(
                spec,
                env={**spec.env, **device.env},
                mounts=[*spec.mounts, *device.mounts],
                devices=[*spec.devices, *device.devices],
            )
        if isinstance(definition, EphemeralContainer) and definition.target_container_name:
            target = lifecycle.latest(worker.containers).get(definition.target_container_name)
            if target is None or target.state != "running":
                raise CannotCreate(f"unable to find target container {definition.target_container_name!r}")
            spec = attrs.evolve(spec, target=target.id)
        return spec


def _of_volume(name: str, image: ImageVolumeSource) -> ContainerDefinition:
    """Return what is pulled like the image of a container of this name, which there is not."""
    return ContainerDefinition(
        name=f"volume {name}", image=image.reference, image_pull_policy=image.pull_policy
    )


def has_mount_options(runtime: Runtime) -> bool:
    """Return whether a runtime mounts with options."""
    return isinstance(runtime, SupportsMountOptions) and runtime.mount_options


def has_devices(runtime: Runtime) -> bool:
    """Return whether a runtime can let containers see devices."""
    return isinstance(runtime, SupportsDevices) and runtime.has_devices


def has_user_namespaces(runtime: Runtime) -> bool:
    """Return whether a runtime can give a sandbox a user namespace of its own."""
    return isinstance(runtime, SupportsUserNamespaces) and runtime.user_namespaces
