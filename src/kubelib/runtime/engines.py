"""What all runtimes on a container engine have in common: the engine decides how, the promises are the same."""

import json
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any, Generic, Protocol, TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from kubelib.runtime import forward
from kubelib.runtime.abilities import Space
from kubelib.runtime.background import Background
from kubelib.runtime.base import (
    CannotCreate,
    Container,
    ContainerId,
    ContainerSpec,
    Credentials,
    ImageId,
    NoSuchContainer,
    RuntimeEvent,
    RuntimeFailure,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.commands import RunsCommands
from kubelib.runtime.containers import OWNER, check_image_name
from kubelib.runtime.enginestreams import CommandStream
from kubelib.runtime.mounts import show_mount
from kubelib.runtime.news import News
from kubelib.runtime.streams import Answer

log = logging.getLogger("kubelib.runtime.engines")

NOTICED = 5.0
"""Seconds within which an engine hears of the end of a process."""
FLAGS, EXITING = 5, 0x4
"""Where /proc/PID/stat has a process's flags, after its state, and the flag of one that is ending (PF_EXITING)."""
REMEMBERED = 1000
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds between tries to reach an engine that has gone."""


class EngineClient(Protocol):
    """A connection to an engine."""

    async def open(self) -> None:
        """Connect. Raises `RuntimeUnavailable`, saying in one sentence why not."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...

    def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: object = None,
        upgrade: bool = False,
    ) -> AbstractAsyncContextManager[Answer]:
        """Open an answer that goes on; with `upgrade`, the connection becomes a container's streams."""
        ...


class EngineImages(Protocol):
    """The images that an engine has."""

    async def find(self, image: str) -> Any:
        """Return an image as the engine describes it, or None."""
        ...

    async def pull(self, image: str, credentials: Credentials | None = None) -> ImageId:
        """Fetch an image from its registry. Raises `ImageNotFound`."""
        ...

    async def space(self) -> Space | None:
        """Return what there is of the disk that has the images."""
        ...

    async def remove(self, identity: str) -> int:
        """Remove an image unless a container has it; return its size."""
        ...


class Removed:
    """The last containers that were removed: what is told late of one is not news."""

    def __init__(self) -> None:
        self._identities: dict[str, None] = {}

    def __contains__(self, identity: str) -> bool:
        return identity in self._identities

    def add(self, identity: str) -> bool:
        """Note that one is gone; return whether that was not known. The oldest is forgotten."""
        if identity in self._identities:
            return False
        self._identities[identity] = None
        while len(self._identities) > REMEMBERED:
            del self._identities[next(iter(self._identities))]
        return True


async def follow_events(
    engine: EngineClient,
    owner: str,
    query: Mapping[str, str],
    take_stock: Callable[[], Awaitable[None]],
    on_event: Callable[[Mapping[str, Any]], None],
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    """Hear of an owner's containers for ever, also over restarts of the engine; started once the first stock is taken.

    Raises `RuntimeFailure`, OSError if that fails.
    """
    delay, began = FIRST_DELAY, False
    filters = json.dumps({"type": ["container"], "label": [f"{OWNER}={owner}"]})
    while True:
        try:
            async with engine.stream("GET", "/events", {**query, "filters": filters}) as answer:
                # Asked for after listening has begun: what happens meanwhile is told as well.
                await take_stock()
                delay = FIRST_DELAY
                if not began:
                    began = True
                    task_status.started()
                rest = b""
                async for chunk in answer:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, map(bytes.strip, lines)):
                        on_event(json.loads(line))
        except (RuntimeFailure, OSError) as error:
            if not began:
                raise
            log.warning("%s", error)
        await anyio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)


def in_order(containers: Iterable[Container]) -> tuple[Container, ...]:
    """Return containers by name, the attempts of each one after the other."""
    return tuple(sorted(containers, key=lambda container: (container.name, container.attempt)))


E = TypeVar("E", bound=EngineClient)
I = TypeVar("I", bound=EngineImages)  # noqa: E741 # of images
K = TypeVar("K")
"""What an engine's runtime knows of a container."""


class EngineRuntime(Background, RunsCommands, Generic[E, I, K]):
    """The part of a `kubelib.runtime.base.Runtime` that does not depend on the engine; `owner` tells its Pods from those of other nodes."""

    name: str
    has_devices = True

    def __init__(self, owner: str, engine: E, images: I) -> None:
        self.owner = owner
        self.engine = engine
        self.images = images
        self._locks: dict[str, anyio.Lock] = {}
        """By Pod UID: held while its sandbox is made."""

    def _finish(self) -> None:
        self.engine.close()

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
        """Remove an image, named as containers tell it, unless a container has it; return its size."""
        return await self.images.remove(image.removeprefix(f"{self.name}://"))

    # What there is

    @property
    @abstractmethod
    def _news(self) -> News:
        """Where what happens is told."""

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Report what happens from now on."""
        return self._news.events()

    @abstractmethod
    def _running(self, container: ContainerId) -> K:
        """Return what is known of a container. Raises `NoSuchContainer` if it does not run."""

    # Sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Make a Pod's sandbox, or return the one that it has, started anew if it has ended."""
        async with self._locks.setdefault(spec.uid, anyio.Lock()):  # two would both make one
            await self._have_sandbox(spec)
        return SandboxId(spec.uid)

    @abstractmethod
    async def _have_sandbox(self, spec: SandboxSpec) -> None:
        """See to it that a Pod's sandbox runs. Nobody else does meanwhile."""

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """End what holds a Pod's network, so that the engine gives its address to others, and what still runs in it."""
        async with self._locks.setdefault(sandbox, anyio.Lock()):
            for container in self._containers_in(sandbox):
                await self.stop_container(container, grace=0)
            known = self._sandboxes.get(sandbox)
            if known is not None and self._life(known):
                await self._end(known)
                await self._look(known)

    @property
    @abstractmethod
    def _sandboxes(self) -> Mapping[str, K]:
        """What holds the networks of Pods, by their UIDs."""

    @abstractmethod
    def _containers_in(self, sandbox: SandboxId) -> list[ContainerId]:
        """Return the containers of a Pod."""

    @abstractmethod
    async def _end(self, sandbox: K) -> None:
        """Kill what holds a Pod's network; return once the network is gone."""

    def _of(self, sandbox: SandboxId) -> K:
        """Return what holds a Pod's network. Raises `NoSuchContainer`."""
        try:
            return self._sandboxes[sandbox]
        except KeyError:
            raise NoSuchContainer(f"there is no sandbox {sandbox}") from None

    async def _alive(self, sandbox: SandboxId) -> K:
        """Return what holds a Pod's network now. Raises `NoSuchContainer`, also if it has ended."""
        known: K | None = self._of(sandbox)
        if known is not None and not self._life(known):  # it may have been started a moment ago
            known = await self._look(known)
        if known is None or not self._life(known):
            raise NoSuchContainer(f"sandbox {sandbox} has ended")
        return known

    async def _now(self, sandbox: K) -> K | None:
        """Look at what holds a sandbox. The news of its end may still be on its way, to us and to the engine."""
        known = await self._look(sandbox)
        with anyio.move_on_after(NOTICED):
            while known is not None and (pid := self._pid(known)) > 0 and not has_process(pid):
                await anyio.sleep(0.05)
                known = await self._look(known)
        return known

    async def _has_ended(self, sandbox: K) -> bool:
        """Return whether what held a sandbox does not run any more, also if it was started anew: nothing is wrong with who joined it."""
        now = await self._now(sandbox)
        return now is None or not self._life(now) or self._life(now) != self._life(sandbox)

    @abstractmethod
    def _life(self, known: K) -> str:
        """Return what tells one life of a container from the next; empty if it does not run."""

    @abstractmethod
    async def _look(self, known: K) -> K | None:
        """Ask the engine how a container is now; None if it is gone."""

    @abstractmethod
    def _pid(self, known: K) -> int:
        """Return the number of a container's process on this machine; 0 if it does not run, or elsewhere."""

    # Containers

    async def _show_mounts(self, spec: ContainerSpec, sandbox: K) -> None:
        """Let the engine see what was mounted for a container: it may have begun in a mount namespace that hears of nothing later.

        Containers are mounted by what their first processes are children of. Raises `CannotCreate`.
        """
        places = {Path(mount.file_system) for mount in spec.mounts if mount.file_system}
        parent = parent_of(self._pid(sandbox)) if places else 0
        try:
            for place in places if parent else ():
                await anyio.to_thread.run_sync(show_mount, place, parent)
        except OSError as error:
            raise CannotCreate(
                f"cannot show the engine what is mounted at {error.filename}: {error.strerror}"
            ) from error

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Send the signal that the image asks for, SIGTERM if none, and SIGKILL after `grace` seconds.

        The engines' own stopping holds a container for all of the grace, so that nobody could hurry it.
        """
        try:
            known = self._running(container)
        except NoSuchContainer:
            return
        if grace > 0:
            await self._signal(known, self._stop_signal(known))
            with anyio.move_on_after(grace):
                await self._ended(known)
                return
        await self._signal(known, "SIGKILL")
        await self._ended(known)

    @abstractmethod
    def _stop_signal(self, known: K) -> str:
        """Return the signal that asks a container to end."""

    @abstractmethod
    async def _signal(self, known: K, signal: str) -> None:
        """Send a signal to a container, if it still runs."""

    @abstractmethod
    async def _ended(self, known: K) -> None:
        """Wait until a container does not run."""

    # Commands

    @asynccontextmanager
    async def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator[CommandStream]:
        """Run a command with open streams; leaving the context ends it."""
        self._running(container)
        identity = await self._new_command(container, command, stdin=stdin, tty=tty)
        body = {"Detach": False, "Tty": tty}
        async with self.engine.stream("POST", f"/exec/{identity}/start", body=body, upgrade=True) as answer:
            running = self._command(identity, answer, stdin=stdin, tty=tty)
            try:
                await running.begun()
                yield running
            finally:
                with anyio.CancelScope(shield=True):
                    await running.end()

    @abstractmethod
    async def _new_command(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> str:
        """Make a command; return its identity. Raises `NoSuchContainer`, `CannotStart`."""

    @abstractmethod
    def _command(self, identity: str, answer: Answer, *, stdin: bool, tty: bool) -> CommandStream:
        """Return the streams of a command that is being started."""


def has_process(pid: int) -> bool:
    """Return whether a process of this machine runs and is not about to end: the first one of a Pod's takes a while over it.

    It ends the other processes of its namespace then, which nobody can join any more.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pending = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "Pnd:" in line]
    except OSError:
        return False
    killed = any(int(line.split()[1], 16) & 1 << SIGKILL - 1 for line in pending)
    return state != "Z" and not killed and not int(fields[FLAGS]) & EXITING


def parent_of(pid: int) -> int:
    """Return the parent of a process of this machine; 0 if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


async def connect(pid: int, address: str, port: int) -> anyio.abc.ByteStream:
    """Connect to a port of a Pod, on its loopback device where `pid`, a process of it on this machine, leads there. Raises OSError."""
    if pid > 0 and forward.can_enter(pid):
        return await forward.connect_inside(pid, port)
    return await anyio.connect_tcp(address or "127.0.0.1", port)
