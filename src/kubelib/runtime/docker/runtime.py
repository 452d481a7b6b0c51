"""The runtime itself: what it is asked to do, it asks of the engine; what there is, the inventory knows."""

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

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
    CPU_PERIOD,
    KIND,
    OWNER,
    POD_NAME,
    POD_NAMESPACE,
    check_non_root,
    container_name,
    cpu_quota,
    cpu_shares,
    prepare_mounts,
    sandbox_name,
)
from kubelib.runtime.docker import configs, readings
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.docker.images import Images
from kubelib.runtime.docker.inventory import Inventory, each
from kubelib.runtime.docker.podgroups import PodGroups, obstacle
from kubelib.runtime.docker.streamed import DockerCommand
from kubelib.runtime.engines import EngineRuntime, connect
from kubelib.runtime.enginestreams import EngineRefused, EngineStream
from kubelib.runtime.news import News
from kubelib.runtime.streams import Answer

log = logging.getLogger("kubelib.runtime.docker")

Tree = Mapping[str, Any]

LEAVING = (0.0, 0.02, 0.1, 0.5, 2.0)
"""Seconds before each try to remove a Pod's control group: those of its containers may take a moment to go."""


class DockerRuntime(EngineRuntime[Engine, Images, Tree]):
    """A `kubelib.runtime.base.Runtime` on a Docker Engine; `owner` tells its Pods from those of other nodes there."""

    name = "docker"

    def __init__(self, owner: str, *, url: str = "") -> None:
        engine = Engine(url)
        super().__init__(owner, engine, Images(engine))

    async def _begin(self, group: anyio.abc.TaskGroup) -> None:
        await self.engine.open()
        self._inventory = Inventory(self.engine, self.owner, group)
        await group.start(self._inventory.watch)
        local = self.engine.is_local()
        info = await self.engine.call(lambda client: client.info()) if local else {}
        self._groups = PodGroups(self.owner, obstacle(info, local=local))
        for uid in (
            self._groups.left() - self._inventory.sandboxes.keys()
        ):  # whoever removed the rest was killed
            self._groups.remove(uid)

    @property
    def version(self) -> str:
        """The engine's version."""
        return self.engine.version.engine

    # Sandboxes

    @property
    def _news(self) -> News:
        return self._inventory.news

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        found = (self._inventory.sandbox(uid) for uid in sorted(self._inventory.sandboxes))
        return tuple(sandbox for sandbox in found if sandbox is not None)

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        return self._inventory.sandbox(uid)

    async def _have_sandbox(self, spec: SandboxSpec) -> None:
        """Start the container that holds a Pod's network, also again if it has ended."""
        known = self._inventory.sandboxes.get(spec.uid)
        if known is not None:
            known = await self._now(known)
        if known is None:
            try:
                await self._start_sandbox(await self._create_sandbox(spec), fresh=True)
            except CannotCreate:
                await self._leave_groups(spec.uid)
                raise
        elif not readings.is_running(known):
            await self._start_sandbox(known["Id"], fresh=False)

    async def _look(self, known: Tree) -> Tree | None:
        return await self._inventory.look(known["Id"])

    def _life(self, known: Tree) -> str:
        return str(known["State"]["StartedAt"]) if readings.is_running(known) else ""

    def _pid(self, known: Tree) -> int:
        return int(known["State"].get("Pid") or 0) if self.engine.is_local() else 0

    async def _create_sandbox(self, spec: SandboxSpec) -> str:
        image = await self.images.pause()
        config = configs.sandbox_config(spec, image, self.owner, self._groups.path(spec.uid))
        return await self._create(config, sandbox_name(spec))

    async def _start_sandbox(self, identity: str, *, fresh: bool) -> None:
        try:
            await self.engine.call(lambda client: client.start(identity))
        except EngineRefused as error:
            if fresh:
                await self._remove(identity)
            raise CannotCreate(str(error)) from error
        if await self._inventory.look(identity) is None:
            raise NoSuchContainer(f"sandbox {identity[:12]} was removed as soon as it was made")

    async def address(self, sandbox: SandboxId) -> str:
        """Return a sandbox's address."""
        return readings.address_of(self._of(sandbox))

    @property
    def _sandboxes(self) -> Mapping[str, Tree]:
        return self._inventory.sandboxes

    def _containers_in(self, sandbox: SandboxId) -> list[ContainerId]:
        return self._inventory.of_pod(sandbox)

    async def _end(self, sandbox: Tree) -> None:
        with contextlib.suppress(NoSuchContainer):
            await self.engine.call(lambda client: client.stop(sandbox["Id"], timeout=0))

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of a Pod: the containers, then the one that they have joined."""
        lines = await self._inventory.listed(sandbox)
        for kind in ("container", "sandbox"):
            await each(self._remove, [line["Id"] for line in lines if line["Labels"][KIND] == kind])
        await self._leave_groups(sandbox)
        self._locks.pop(sandbox, None)

    async def _leave_groups(self, uid: str) -> None:
        """Remove a Pod's control group. If it stays all the same, the next agent removes it."""
        for delay in LEAVING:
            await anyio.sleep(delay)
            if await anyio.to_thread.run_sync(self._groups.remove, uid):
                return

    async def limit_sandbox(self, sandbox: SandboxId, resources: Resources) -> None:
        """Change what a Pod's containers weigh and may use together. Limits that it has no control group for are not kept, and logged."""
        tree = self._of(sandbox)
        parent, why = tree["HostConfig"]["CgroupParent"], self._groups.why_not
        if parent and not why:
            try:
                if await anyio.to_thread.run_sync(self._groups.limit, parent, resources):
                    return
            except OSError as error:
                raise CannotResize(str(error)) from error
            why = f"its control group {parent} is not seen from here"
        if not resources.has_limits:  # then its containers are weighed against others one by one
            return
        labels = readings.labels_of(tree)
        log.warning(
            "pod %s/%s is not limited as a whole: %s",
            labels[POD_NAMESPACE],
            labels[POD_NAME],
            why or "its sandbox was made without a control group",
        )

    async def _remove(self, identity: str) -> None:
        """Remove a container, whatever it does, and wait until it is gone."""
        while True:
            try:
                await self.engine.call(lambda client: client.remove_container(identity, v=True, force=True))
            except NoSuchContainer:
                break
            except EngineRefused as error:
                if error.status != 409:  # being removed already
                    raise
                await anyio.sleep(0.05)
        self._inventory.drop(identity)

    # Containers

    async def _create(self, config: Tree, name: str) -> str:
        """Create a container; one of that name that was never started is in nobody's way. Raises `CannotCreate`, `ImageNotFound`."""
        try:
            made = await self.engine.call(lambda client: client.create_container_from_config(config, name))
        except EngineRefused as error:
            if error.status == 409 and await self._remove_unborn(name):
                return await self._create(config, name)
            raise CannotCreate(f"Error response from daemon: {error}") from error
        return str(made["Id"])

    async def _begun(self, name: str, attempt: str) -> ContainerId | None:
        """Return the container of this attempt that an agent which has been killed has started, or had refused: there is no second start."""
        try:
            tree = await self.engine.call(lambda client: client.inspect_container(name))
        except NoSuchContainer:
            return None
        labels = readings.labels_of(tree)
        if labels.get(OWNER) != self.owner or labels.get(ATTEMPT) != attempt:
            return None
        if readings.is_unborn(tree) or readings.is_going(tree):
            return None
        await self._inventory.look(tree["Id"])
        return ContainerId(tree["Id"])

    async def _remove_unborn(self, name: str) -> bool:
        try:
            tree = await self.engine.call(lambda client: client.inspect_container(name))
        except NoSuchContainer:
            return True
        ours = readings.labels_of(tree).get(OWNER) == self.owner
        if not ours or not (readings.is_unborn(tree) or readings.is_going(tree)):
            return False
        await self._remove(tree["Id"])
        return True

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Create and start a container that joins its sandbox."""
        tree = await self._alive(sandbox)
        image = await self.images.find(container.image)
        if image is None:
            raise ImageNotFound(f"No such image: {container.image}")
        check_non_root(container, image["Config"].get("User") or "")
        seccomp = await anyio.to_thread.run_sync(_prepare, container)
        await self._show_mounts(container, tree)
        pid = _processes(container, tree)
        config = configs.container_config(
            container,
            tree["Id"],
            readings.labels_of(tree),
            pid=pid,
            seccomp=seccomp,
            parent=tree["HostConfig"]["CgroupParent"],
        )
        name = container_name(container, readings.labels_of(tree))
        try:
            identity = await self._create(config, name)
        except CannotCreate:
            begun = await self._begun(name, str(container.attempt))
            if begun is None:
                raise
            return begun
        try:
            await self.engine.call(lambda client: client.start(identity))
        except (EngineRefused, NoSuchContainer) as error:
            if await self._has_ended(tree):
                await self._remove(identity)
                raise NoSuchContainer(f"sandbox {sandbox} has ended") from error
            await self._inventory.look(identity)
            message = f'failed to start container "{container.name}": Error response from daemon: {error}'
            raise CannotStart(message) from error
        if await self._inventory.look(identity) is None:
            raise NoSuchContainer(f"container {identity[:12]} was removed as soon as it was started")
        return ContainerId(identity)

    def _stop_signal(self, known: Tree) -> str:
        return known["Config"].get("StopSignal") or "SIGTERM"

    async def _signal(self, known: Tree, signal: str) -> None:
        try:
            await self.engine.call(lambda client: client.kill(known["Id"], signal))
        except NoSuchContainer:
            return
        except EngineRefused as error:
            if error.status != 409:  # it does not run
                raise

    async def _ended(self, known: Tree) -> None:
        await self._inventory.ended(known["Id"])

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container and its writable files."""
        await self._remove(container)

    # What containers can be asked

    def _running(self, container: ContainerId) -> Tree:
        tree = self._inventory.containers.get(container)
        if tree is None or not readings.is_running(tree):
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return tree

    async def _new_command(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> str:
        try:
            made = await self.engine.call(
                lambda client: client.exec_create(container, list(command), stdin=stdin, tty=tty)
            )
        except EngineRefused as error:
            if error.status == 409:
                raise NoSuchContainer(str(error)) from error
            raise CannotStart(str(error)) from error
        return str(made["Id"])

    def _command(self, identity: str, answer: Answer, *, stdin: bool, tty: bool) -> DockerCommand:
        return DockerCommand(self.engine, identity, answer, tty=tty, stdin=stdin)

    @asynccontextmanager
    async def attach(self, container: ContainerId, *, stdin: bool) -> AsyncIterator[EngineStream]:
        """Open the streams of what a container runs."""
        tty = self._running(container)["Config"]["Tty"]

        async def resize(width: int, height: int) -> None:
            await self.engine.call(lambda client: client.resize(container, height=height, width=width))

        query = {"stream": 1, "stdout": 1, "stderr": 1, "stdin": int(stdin)}
        path = f"/containers/{container}/attach"
        async with self.engine.stream("POST", path, query, upgrade=True) as answer:
            yield EngineStream(answer, resize, tty=tty, stdin=stdin)

    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        """Change the limits of memory and processors."""
        self._running(container)
        quota, memory = cpu_quota(resources), resources.memory
        try:
            await self.engine.call(
                lambda client: client.update_container(
                    container,
                    cpu_shares=cpu_shares(resources),
                    cpu_quota=quota or None,
                    cpu_period=CPU_PERIOD if quota else None,
                    mem_limit=memory,
                    memswap_limit=memory,
                )
            )
        except EngineRefused as error:
            raise CannotResize(f"Error response from daemon: {error}") from error
        await self._inventory.look(container)

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container uses now."""
        self._running(container)
        told = await self.engine.call(lambda client: client.stats(container, stream=False, one_shot=True))
        if not told["memory_stats"]:
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return stats_of(told)

    async def connect(self, sandbox: SandboxId, port: int) -> anyio.abc.ByteStream:
        """Connect to a port of a Pod, on its loopback device where that can be reached. Raises OSError, `NoSuchContainer`."""
        tree = await self._alive(sandbox)
        return await connect(self._pid(tree), readings.address_of(tree), port)


def _processes(spec: ContainerSpec, sandbox: Tree) -> str:
    """Return whose processes a container sees, as the engine is told it."""
    if spec.target is not None:
        return f"container:{spec.target}"
    if sandbox["HostConfig"]["PidMode"] == "host":
        return "host"
    return f"container:{sandbox['Id']}" if configs.SHARES in readings.labels_of(sandbox) else ""


def _prepare(spec: ContainerSpec) -> str:
    """Make what is to be mounted and is not there, as Kubernetes does; return the seccomp profile. Raises `CannotCreate`."""
    try:
        prepare_mounts(spec)
        seccomp = spec.security.seccomp
        return Path(seccomp).read_text() if seccomp not in ("", "Unconfined") else ""
    except OSError as error:
        raise CannotCreate(str(error)) from error


def stats_of(told: Tree) -> ContainerStats:
    """Return the figures in the engine's: what can be dropped at once, which either version of cgroups names its way, is not in use."""
    memory = told["memory_stats"]
    details, cpu = memory.get("stats", {}), told["cpu_stats"]["cpu_usage"]

    def detail(first: str, second: str) -> int:
        return int(details.get(first, details.get(second, 0)))

    usage = memory.get("usage", 0)
    return ContainerStats(
        cpu_seconds=cpu["total_usage"] / 1e9,
        user_seconds=cpu.get("usage_in_usermode", 0) / 1e9,
        system_seconds=cpu.get("usage_in_kernelmode", 0) / 1e9,
        memory=max(0, usage - detail("total_inactive_file", "inactive_file")),
        memory_usage=usage,
        rss=detail("total_rss", "anon"),
        page_faults=detail("total_pgfault", "pgfault"),
        major_page_faults=detail("total_pgmajfault", "pgmajfault"),
        processes=told.get("pids_stats", {}).get("current", 0),
    )
