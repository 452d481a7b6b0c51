"""What runs containers: sandboxes hold containers; restart rules, probes and order stay in the agent.

A sandbox is what the containers of one Pod share (its address, its directory). Runtimes other than this one's
implementations register through the entry point group ``kubelib.runtimes``; `kubelib.testing.runtime` is the
definition.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, NewType, Protocol, runtime_checkable

import attrs

from kubelib.api.core.probes import LifecycleHandler, ProbeHandler

SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)

ContainerState = Literal["created", "running", "exited"]


@attrs.frozen(kw_only=True)
class SandboxSpec:
    """What a Pod's containers share."""

    uid: str
    """The Pod's UID: running a sandbox is idempotent by it."""
    namespace: str
    name: str
    hostname: str
    address: str
    """The Pod's IP address where the agent assigns it; empty where the runtime does."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    annotations: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Mount:
    """A directory or file of the host that a container sees at `target`."""

    source: str
    target: str
    read_only: bool = False


@attrs.frozen(kw_only=True)
class Resources:
    """Limits of one container. None: no limit."""

    memory: int | None = None
    """Bytes."""
    cpu: float | None = None
    """Cores."""
    cpu_request: float = 0.0
    pids: int | None = None


@attrs.frozen(kw_only=True)
class ContainerSpec:
    """One container, everything resolved: environment, mounts, limits."""

    name: str
    image: str
    attempt: int = 0
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    resources: Resources = Resources()
    user: int | None = None
    group: int | None = None
    stdin: bool = False
    tty: bool = False
    log_path: str = ""
    """The file to which output goes, one line a record: time, stream, tag, text (the CRI log format)."""
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    """Kept with the container and given back by `list_sandboxes`: the agent's memory across restarts."""


@attrs.frozen(kw_only=True)
class Container:
    """A container as the runtime knows it."""

    id: ContainerId
    name: str
    image: str
    image_id: str = ""
    attempt: int = 0
    state: ContainerState = "created"
    pid: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    """``Completed``, ``Error``, ``OOMKilled``, ``ContainerCannotRun``, …"""
    message: str = ""
    annotations: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Sandbox:
    """A sandbox as the runtime knows it, with its containers."""

    id: SandboxId
    uid: str
    namespace: str
    name: str
    address: str
    ready: bool
    created: datetime
    containers: tuple[Container, ...] = ()
    annotations: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class RuntimeEvent:
    """Something happened to a sandbox or one of its containers: look again."""

    type: Literal["started", "exited", "removed"]
    sandbox_uid: str
    container: ContainerId | None = None


class RuntimeFailure(Exception):
    """The tree: `ImageNotFound`, `CannotStart`, `NoSuchContainer`, `RuntimeUnavailable`."""


class ImageNotFound(RuntimeFailure):
    """The image is neither here nor to be had: becomes ErrImagePull."""


class CannotStart(RuntimeFailure):
    """The container could not be started (no such command, bad directory): becomes RunContainerError."""


class NoSuchContainer(RuntimeFailure):
    """There is no such container or sandbox (any more)."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer; what it ran may still run."""


class Runtime(Protocol):
    """Runs containers in sandboxes."""

    name: str

    async def pull(self, image: str) -> ImageId:
        """Make an image available. Raises `ImageNotFound`."""
        ...

    async def has_image(self, image: str) -> bool:
        """Return whether an image is here already."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Create the sandbox of a Pod, or return the one that it has."""
        ...

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Create and start a container. Raises `CannotStart`, `ImageNotFound`, `NoSuchContainer`."""
        ...

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Ask the container to end, and kill it after `grace` seconds. Returns when it has ended."""
        ...

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container and its writable files (not its log)."""
        ...

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of the sandbox."""
        ...

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is: the truth after a restart of the agent."""
        ...

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Report what happens from now on, without loss: everything that starts, ends or goes after entering."""
        ...


@attrs.frozen
class ExecResult:
    """How a command in a container ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ExecStream(Protocol):
    """A command that runs in a container, its streams open."""

    async def send(self, data: bytes) -> None:
        """Write to its standard input."""
        ...

    async def close_stdin(self) -> None:
        """Tell it that no more input comes."""
        ...

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when all has been read."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""
        ...

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        ...


@runtime_checkable
class SupportsExec(Protocol):
    """Can run further commands in a container."""

    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command to its end. Raises `TimeoutError`, `NoSuchContainer`, `CannotStart`."""
        ...

    def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[ExecStream]:
        """Run a command with open streams; leaving the context ends it."""
        ...


@attrs.frozen(kw_only=True)
class ContainerStats:
    """What a container, with everything that it has started, uses now."""

    cpu_seconds: float
    """Processor time used since it started: it never falls while the container runs, so a rate is a difference of two."""
    memory: int
    """Bytes in use (the working set): not what can be dropped at once, and shared pages counted once."""
    processes: int = 0
    """How many processes there are; 0 if the runtime cannot tell."""


@runtime_checkable
class SupportsStats(Protocol):
    """Can tell what a container uses."""

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container uses now. Raises `NoSuchContainer`."""
        ...


@runtime_checkable
class SupportsProbes(Protocol):
    """Probes its containers itself, since this host's network does not reach them."""

    async def probe(
        self, container: ContainerId, handler: ProbeHandler | LifecycleHandler, *, timeout: float
    ) -> str | None:
        """Make one check; return None if all is well, else why not. Raises `NoSuchContainer`."""
        ...


@runtime_checkable
class SupportsLookup(Protocol):
    """Finds one sandbox without listing all."""

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return the sandbox of a Pod, or None."""
        ...
