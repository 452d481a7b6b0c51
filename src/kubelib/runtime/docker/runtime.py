"""The runtime itself: what it is asked to do, it asks of the engine; what there is, the inventory knows."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc
import anyio.to_thread

from kubelib.runtime import forward
from kubelib.runtime.base import (
    CannotCreate,
    CannotStart,
    ContainerId,
    ContainerSpec,
    ContainerStats,
    Credentials,
    ExecResult,
    ImageId,
    ImageNotFound,
    NoSuchContainer,
    RuntimeEvent,
    Sandbox,
    SandboxId,
    SandboxSpec,
    Space,
)
from kubelib.runtime.commands import run_to_end
from kubelib.runtime.containers import (
    KIND,
    OWNER,
    check_image_name,
    check_non_root,
    container_name,
    sandbox_name,
)
from kubelib.runtime.docker import configs, readings
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.docker.images import Images
from kubelib.runtime.docker.inventory import Inventory, each
from kubelib.runtime.docker.streamed import EngineCommand
from kubelib.runtime.enginestreams import EngineRefused, EngineStream

Tree = Mapping[str, Any]


class DockerRuntime:
    """A `kubelib.runtime.base.Runtime` on a Docker Engine; `owner` tells its Pods from those of other nodes there."""

    name = "docker"

    def __init__(self, owner: str, *, url: str = "") -> None:
        self.owner = owner
        self.engine = Engine(url)
        self.images = Images(self.engine)
        self._locks: dict[str, anyio.Lock] = {}
        """By Pod UID: held while its sandbox is made."""
        self._group: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        await self.engine.open()
        self._group = await anyio.create_task_group().__aenter__()
        self._inventory = Inventory(self.engine, self.owner, self._group)
        try:
            await self._group.start(self._inventory.watch)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return None  # the caller's own error goes on as it is
            raise
        finally:
            self.engine.close()

    @property
    def version(self) -> str:
        """The engine's version."""
        return self.engine.version.engine

    async def check(self) -> None:
        """Ask for a container, on a connection of its own: what hangs keeps no thread busy for this."""
        async with self.engine.stream("GET", "/containers/json", {"limit": 1}) as answer:
            async for _ in answer:
                pass

    # Images

    async def pull(self, image: str, *, credentials: Credentials | None = None) -> ImageId:
        """Fetch an image from its registry."""
        check_image_name(image)
        return await self.images.pull(image, credentials)

    async def has_image(self, image: str) -> bool:
        """Return whether the engine has an image."""
        check_image_name(image)
        return await self.images.find(image) is not None

    async def image_space(self) -> Space | None:
        """Return what there is of the disk that has the images."""
        return await self.images.space()

    async def remove_image(self, image: str) -> int:
        """Remove an image unless a container has it; return its size."""
        return await self.images.remove(image.removeprefix("docker://"))

    # Sandboxes

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Report what happens from now on."""
        return self._inventory.news.events()

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        found = (self._inventory.sandbox(uid) for uid in sorted(self._inventory.sandboxes))
        return tuple(sandbox for sandbox in found if sandbox is not None)

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        return self._inventory.sandbox(uid)

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Start the container that holds a Pod's network, or return the one that it has, started anew if it has ended."""
        async with self._locks.setdefault(spec.uid, anyio.Lock()):  # two would both make one
            known = self._inventory.sandboxes.get(spec.uid)
            if known is not None:  # the news of its end may still be on its way
                known = await self._inventory.look(known["Id"])
            if known is None:
                await self._start_sandbox(await self._create_sandbox(spec), fresh=True)
            elif not readings.is_running(known):
                await self._start_sandbox(known["Id"], fresh=False)
        return SandboxId(spec.uid)

    async def _create_sandbox(self, spec: SandboxSpec) -> str:
        image = await self.images.pause()
        config = configs.sandbox_config(spec, image, self.owner)
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

    def _of(self, sandbox: SandboxId) -> Tree:
        try:
            return self._inventory.sandboxes[sandbox]
        except KeyError:
            raise NoSuchContainer(f"there is no sandbox {sandbox}") from None

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of a Pod: the containers, then the one that they have joined."""
        lines = await self._inventory.listed(sandbox)
        for kind in ("container", "sandbox"):
            await each(self._remove, [line["Id"] for line in lines if line["Labels"][KIND] == kind])
        self._locks.pop(sandbox, None)

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
        tree = self._of(sandbox)
        image = await self.images.find(container.image)
        if image is None:
            raise ImageNotFound(f"No such image: {container.image}")
        check_non_root(container, image["Config"].get("User") or "")
        seccomp = await anyio.to_thread.run_sync(_prepare, container)
        pid = _processes(container, tree)
        config = configs.container_config(
            container, tree["Id"], readings.labels_of(tree), pid=pid, seccomp=seccomp
        )
        identity = await self._create(config, container_name(container, readings.labels_of(tree)))
        try:
            await self.engine.call(lambda client: client.start(identity))
        except (EngineRefused, NoSuchContainer) as error:
            joined = await self._inventory.look(tree["Id"])
            if joined is None or not readings.is_running(joined):  # nothing is wrong with the container
                await self._remove(identity)
                raise NoSuchContainer(f"sandbox {sandbox} has ended") from error
            await self._inventory.look(identity)
            message = f'failed to start container "{container.name}": Error response from daemon: {error}'
            raise CannotStart(message) from error
        if await self._inventory.look(identity) is None:
            raise NoSuchContainer(f"container {identity[:12]} was removed as soon as it was started")
        return ContainerId(identity)

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Send the signal that the image asks for, SIGTERM if none, and SIGKILL after `grace` seconds."""
        known = self._inventory.containers.get(container)
        if known is None or not readings.is_running(known):
            return
        if grace > 0:
            await self._signal(container, known["Config"].get("StopSignal") or "SIGTERM")
            with anyio.move_on_after(grace):
                await self._inventory.ended(container)
                return
        await self._signal(container, "SIGKILL")
        await self._inventory.ended(container)

    async def _signal(self, container: ContainerId, signal: str) -> None:
        try:
            await self.engine.call(lambda client: client.kill(container, signal))
        except NoSuchContainer:
            return
        except EngineRefused as error:
            if error.status != 409:  # it does not run
                raise

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container and its writable files."""
        await self._remove(container)

    # What containers can be asked

    def _running(self, container: ContainerId) -> Tree:
        tree = self._inventory.containers.get(container)
        if tree is None or not readings.is_running(tree):
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return tree

    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command to its end."""
        with anyio.fail_after(timeout):
            async with self.exec_stream(container, command, stdin=False, tty=False) as stream:
                return await run_to_end(stream)

    @asynccontextmanager
    async def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator[EngineCommand]:
        """Run a command with open streams; leaving the context ends it."""
        self._running(container)
        try:
            made = await self.engine.call(
                lambda client: client.exec_create(container, list(command), stdin=stdin, tty=tty)
            )
        except EngineRefused as error:
            if error.status == 409:
                raise NoSuchContainer(str(error)) from error
            raise CannotStart(str(error)) from error
        body = {"Detach": False, "Tty": tty}
        async with self.engine.stream("POST", f"/exec/{made['Id']}/start", body=body, upgrade=True) as answer:
            running = EngineCommand(self.engine, made["Id"], answer, tty=tty, stdin=stdin)
            try:
                await running.begun()
                yield running
            finally:
                with anyio.CancelScope(shield=True):
                    await running.end()

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

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container uses now."""
        self._running(container)
        told = await self.engine.call(lambda client: client.stats(container, stream=False, one_shot=True))
        if not told["memory_stats"]:
            raise NoSuchContainer(f"container {container[:12]} is not running")
        return stats_of(told)

    async def connect(self, sandbox: SandboxId, port: int) -> anyio.abc.ByteStream:
        """Connect to a port of a Pod, on its loopback device where that can be reached. Raises OSError, `NoSuchContainer`."""
        tree = self._of(sandbox)
        if self.engine.is_local() and forward.can_enter(tree["State"]["Pid"]):
            return await forward.connect_inside(tree["State"]["Pid"], port)
        return await anyio.connect_tcp(readings.address_of(tree) or "127.0.0.1", port)


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
        for mount in spec.mounts:
            if not os.path.lexists(mount.source):
                os.makedirs(mount.source, exist_ok=True)
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
