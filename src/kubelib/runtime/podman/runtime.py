"""The runtime itself."""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import attrs

from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.base import (
    CannotCreate,
    CannotResize,
    CannotStart,
    ContainerId,
    ContainerSpec,
    ImageNotFound,
    NoSuchContainer,
    Resources,
    Sandbox,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.containers import (
    ATTEMPT,
    OWNER,
    check_non_root,
    container_name,
    prepare_log,
    prepare_mounts,
)
from kubelib.runtime.engines import EngineRuntime, connect, in_order
from kubelib.runtime.enginestreams import EngineRefused
from kubelib.runtime.isolation.cgroups import groups_at
from kubelib.runtime.news import News
from kubelib.runtime.podman import readings, requests, rotation
from kubelib.runtime.podman.attachments import PipeAttachment, TerminalAttachment
from kubelib.runtime.podman.commands import PodmanCommand, end_monitors
from kubelib.runtime.podman.engine import Engine
from kubelib.runtime.podman.images import Images
from kubelib.runtime.podman.readings import Known
from kubelib.runtime.podman.stock import Stock
from kubelib.runtime.stats.cgroups import read as read_cgroup
from kubelib.runtime.streams import Answer

log = logging.getLogger("kubelib.runtime.podman")

Tree = Mapping[str, Any]

LOOK = 0.5
"""Seconds after which a container that is waited for is looked at, should its event not have come."""


class PodmanRuntime(EngineRuntime[Engine, Images, Known]):
    """A `kubelib.runtime.base.Runtime` on Podman; `owner` tells its Pods from those of other nodes there.

    The Pods are on the service's default network, or on the `network` that is named. The service runs on this machine, and
    this process may do what it does: it mounts files from here, and processes that it starts are ended from here.
    """

    name = "podman"

    def __init__(self, owner: str, *, url: str = "", network: str = "") -> None:
        engine = Engine(url)
        super().__init__(owner, engine, Images(engine))
        self.network = network
        self.mount_options = True
        self._stock = Stock(engine, owner)

    async def _begin(self, group: anyio.abc.TaskGroup) -> None:
        await self.engine.open()
        for pod in await self._stock.pods():
            if not pod.get(
                "InfraId"
            ):  # its creation or its removal was interrupted: it holds nothing, and nobody asks of it
                await self._remove_pod(pod["Id"])
        await group.start(self._stock.watch)
        group.start_soon(self._rotate_logs)

    @property
    def version(self) -> str:
        """The engine's version."""
        return self.engine.version

    # What there is

    @property
    def _news(self) -> News:
        return self._stock.news

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        return tuple(self._sandbox(uid) for uid in sorted(self._stock.sandboxes))

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        return self._sandbox(uid) if uid in self._stock.sandboxes else None

    def _sandbox(self, uid: str) -> Sandbox:
        own = (
            readings.container_of(known)
            for known in self._stock.containers.values()
            # One that is being started, or whose agent was killed before it could start it, has not begun.
            if known.uid == uid and (known.failure or not known.unborn)
        )
        return readings.sandbox_of(self._stock.sandboxes[uid], in_order(own))

    async def _rotate_logs(self) -> None:
        while True:
            await anyio.sleep(rotation.EVERY)
            await anyio.to_thread.run_sync(rotation.rotate, tuple(self._stock.containers.values()))

    # Sandboxes

    async def _have_sandbox(self, spec: SandboxSpec) -> None:
        """Start a pod, or make the network of the one that the Pod has anew if it was lost."""
        known = self._stock.sandboxes.get(spec.uid)
        if known is not None:
            known = await self._now(known)
        if known is None:
            await self._create_sandbox(spec)
        elif not known.running:
            await self._restart_sandbox(known)

    async def _look(self, known: Known) -> Known | None:
        return await self._stock.look(known.id)

    def _life(self, known: Known) -> str:
        return str(known.started) if known.running else ""

    def _pid(self, known: Known) -> int:
        return known.pid if known.running else 0

    async def _create_sandbox(self, spec: SandboxSpec) -> None:
        request = requests.pod_request(spec, self.owner, self.network)
        try:
            pod = (await self.engine.call("POST", "/pods/create", body=request))["Id"]
        except EngineRefused as error:
            if error.status != 409:
                raise CannotCreate(str(error)) from error
            there = await self.engine.call("GET", f"/pods/{request['name']}/json")
            pod = there["Id"]
            if not there.get("InfraContainerID"):  # its creation or its removal was interrupted
                await self._remove_pod(pod)
                await self._create_sandbox(spec)
                return
        try:
            await self._start_pod(pod)
        except EngineRefused as error:
            await self._remove_pod(pod)
            raise CannotCreate(str(error)) from error
        infra = (await self.engine.call("GET", f"/pods/{pod}/json"))["InfraContainerID"]
        if await self._stock.look(infra) is None:
            raise NoSuchContainer(f"pod {pod[:12]} was removed as soon as it was made")

    async def _start_pod(self, pod: str) -> None:
        status, told = await self.engine.ask("POST", f"/pods/{pod}/start")
        if status == 200 and told and told.get("Errs"):
            raise EngineRefused(500, "; ".join(map(str, told["Errs"])))

    async def _restart_sandbox(self, infra: Known) -> None:
        """Start an infra container anew. What still runs in its pod has no network any more: it ends, for the agent to see."""
        for known in list(self._stock.containers.values()):
            if known.pod == infra.pod and known.running:
                await self.stop_container(ContainerId(known.id), grace=0)
        try:
            await self.engine.call("POST", f"/containers/{infra.id}/start")
        except EngineRefused as error:
            raise CannotCreate(str(error)) from error
        await self._stock.look(infra.id)

    async def limit_sandbox(self, sandbox: SandboxId, resources: Resources) -> None:
        """Change what a Pod's containers weigh and may use together: their control groups are in their pod's."""
        infra = self._of(sandbox)
        groups = groups_at(infra.cgroup).above()
        if not groups.path or not all(infra.pod in path for path in groups.path.values()):
            raise CannotResize(f"pod {infra.pod[:12]} has no control group of its own")
        try:
            await anyio.to_thread.run_sync(groups.make_together, resources)
        except OSError as error:
            raise CannotResize(str(error)) from error

    async def address(self, sandbox: SandboxId) -> str:
        """Return a sandbox's address."""
        return self._of(sandbox).address

    @property
    def _sandboxes(self) -> Mapping[str, Known]:
        return self._stock.sandboxes

    def _containers_in(self, sandbox: SandboxId) -> list[ContainerId]:
        return [ContainerId(i) for i, known in self._stock.containers.items() if known.uid == sandbox]

    async def _end(self, sandbox: Known) -> None:
        with contextlib.suppress(NoSuchContainer):
            await self.engine.call("POST", f"/containers/{sandbox.id}/stop", {"timeout": 0})

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of a Pod."""
        infra = self._stock.sandboxes.get(sandbox)
        if infra is not None:
            await anyio.to_thread.run_sync(end_monitors, infra.cgroup)
        lines = await self._stock.listed(sandbox)
        # A removal that fails halfway may leave a pod without containers, or say that one of those is not there any more.
        for pod in await self._stock.pods(sandbox):
            await self._remove_pod(pod["Id"])
        if left := await self._stock.pods(sandbox):
            raise EngineRefused(409, f"pod {left[0]['Id'][:12]} cannot be removed yet")
        for line in lines:
            self._stock.drop(line["Id"], line["Labels"])
        self._stock.forget(sandbox)
        self._locks.pop(sandbox, None)

    async def _remove_pod(self, pod: str) -> None:
        try:
            await self.engine.call("DELETE", f"/pods/{pod}", {"force": "true", "timeout": 0})
        except NoSuchContainer:
            return

    # Containers

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Create and start a container in its pod."""
        infra = await self._alive(sandbox)
        image = await self.images.find(container.image)
        if image is None:
            raise ImageNotFound(f"{container.image}: image not known")
        check_non_root(container, image.get("User") or image.get("Config", {}).get("User") or "")
        await anyio.to_thread.run_sync(_prepare, container)
        await self._show_mounts(container, infra)
        name = container_name(container, infra.labels)
        request = requests.container_request(container, image["Id"], infra.pod, infra.labels)
        try:
            identity = await self._create(request, name)
        except CannotCreate:
            begun = await self._begun(name, str(container.attempt))
            if begun is None:
                raise
            return begun
        try:
            await self.engine.call("POST", f"/containers/{identity}/start")
        except (EngineRefused, NoSuchContainer) as error:
            if await self._has_ended(infra):
                await self.remove_container(ContainerId(identity))
                raise NoSuchContainer(f"sandbox {sandbox} has ended") from error
            await self._stock.look(identity, failure=str(error))
            raise CannotStart(f"failed to start container {container.name!r}: {error}") from error
        if await self._stock.look(identity) is None:
            raise NoSuchContainer(f"container {identity[:12]} was removed as soon as it was started")
        return ContainerId(identity)

    async def _create(self, request: dict[str, Any], name: str) -> str:
        """Create a container; one of that name that was never started is in nobody's way. Raises `CannotCreate`, `NoSuchContainer`."""
        try:
            made = await self.engine.call("POST", "/containers/create", body=request)
        except EngineRefused as error:
            if "already in use" in str(error) and await self._remove_unborn(name):
                return await self._create(request, name)
            raise CannotCreate(str(error)) from error
        return str(made["Id"])

    async def _begun(self, name: str, attempt: str) -> ContainerId | None:
        """Return the container of this attempt that an agent which has been killed has started: there is no second start."""
        try:
            known = readings.known_of(await self.engine.call("GET", f"/containers/{name}/json"))
        except NoSuchContainer:
            return None
        ours = known.labels.get(OWNER) == self.owner and known.labels.get(ATTEMPT) == attempt
        if not ours or known.unborn or known.status == "removing":
            return None
        await self._stock.look(known.id)
        return ContainerId(known.id)

    async def _remove_unborn(self, name: str) -> bool:
        try:
            known = readings.known_of(await self.engine.call("GET", f"/containers/{name}/json"))
        except NoSuchContainer:
            return True
        if known.labels.get(OWNER) != self.owner or not known.unborn:
            return False
        await self.remove_container(ContainerId(known.id))
        return True

    def _stop_signal(self, known: Known) -> str:
        return str(known.stop_signal)

    async def _signal(self, known: Known, signal: str) -> None:
        try:
            await self.engine.call("POST", f"/containers/{known.id}/kill", {"signal": signal})
        except NoSuchContainer:
            return
        except EngineRefused:
            now = await self._stock.look(known.id)
            if now is not None and now.running:
                raise

    async def _ended(self, known: Known) -> None:
        await _process_ended(known.pid)
        delay = 0.02
        while (now := self._stock.containers.get(known.id)) is not None and now.running:
            if await self._stock.look(known.id) is None or not self._stock.containers[known.id].running:
                return
            await self._stock.news.wait_for(known.id, delay)
            delay = min(delay * 1.5, LOOK)

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container and its writable files."""
        query = {"force": "true", "v": "true", "timeout": 0}
        with contextlib.suppress(NoSuchContainer):
            await self.engine.call("DELETE", f"/containers/{container}", query)
        if container in self._stock.containers:
            self._stock.drop(container)

    # What containers can be asked

    def _running(self, container: ContainerId) -> Known:
        known = self._stock.containers.get(container)
        if known is None or not known.running:
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return known

    async def _new_command(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> str:
        request = {
            "Cmd": list(command),
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
        }
        try:
            made = await self.engine.call("POST", f"/containers/{container}/exec", body=request)
        except EngineRefused as error:
            if "state improper" in str(error):
                raise NoSuchContainer(str(error)) from error
            raise CannotStart(str(error)) from error
        return str(made["Id"])

    def _command(self, identity: str, answer: Answer, *, stdin: bool, tty: bool) -> PodmanCommand:
        return PodmanCommand(self.engine, identity, answer, tty=tty, stdin=stdin)

    @asynccontextmanager
    async def attach(
        self, container: ContainerId, *, stdin: bool
    ) -> AsyncIterator[TerminalAttachment | PipeAttachment]:
        """Open the streams of what a container runs."""
        known = self._running(container)

        def over() -> bool:
            now = self._stock.containers.get(container)
            return now is None or not now.running

        attachment: TerminalAttachment | PipeAttachment
        if known.tty:
            attachment = TerminalAttachment(known, stdin=stdin)
        else:
            attachment = PipeAttachment(known, over, stdin=stdin)
        try:
            yield attachment
        finally:
            attachment.close()

    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        """Change the limits of memory and processors."""
        self._running(container)
        body = requests.limits(attrs.evolve(resources, pids=None))
        try:
            await self.engine.call("POST", f"/containers/{container}/update", body=body)
        except EngineRefused as error:
            raise CannotResize(str(error)) from error

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container uses now, from its control group."""
        known = self._running(container)
        figures = await anyio.to_thread.run_sync(read_cgroup, known.cgroup)
        if not figures.processes:
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return ContainerStats(
            cpu_seconds=figures.cpu_seconds,
            memory=figures.working_set,
            processes=figures.processes,
            user_seconds=figures.user_seconds,
            system_seconds=figures.system_seconds,
            memory_usage=figures.memory,
            rss=figures.rss,
            page_faults=figures.page_faults,
            major_page_faults=figures.major_page_faults,
        )

    async def connect(self, sandbox: SandboxId, port: int) -> anyio.abc.ByteStream:
        """Connect to a port of a Pod, on its loopback device where that can be reached. Raises OSError, `NoSuchContainer`."""
        infra = await self._alive(sandbox)
        return await connect(infra.pid, infra.address, port)


async def _process_ended(pid: int) -> None:
    """Wait for the end of a process of this machine, if it is one that we can see."""
    if pid <= 0:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _prepare(spec: ContainerSpec) -> None:
    """Make what is to be mounted and is not there, as Kubernetes does, and the directory of the log. Raises `CannotCreate`."""
    try:
        prepare_log(spec)
        prepare_mounts(spec)
    except OSError as error:
        raise CannotCreate(str(error)) from error
