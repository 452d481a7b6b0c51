"""What a runtime need not be able to do, each ability a Protocol of its own; `kubelib.testing.runtime` has a suite for each."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import attrs
from anyio.abc import ByteStream

from kubelib.api.core.probes import LifecycleHandler, ProbeHandler
from kubelib.runtime.base import ContainerId, Resources, Sandbox, SandboxId


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


@runtime_checkable
class SupportsAttach(Protocol):
    """Can open the streams of what a container runs itself."""

    def attach(self, container: ContainerId, *, stdin: bool) -> AbstractAsyncContextManager[ExecStream]:
        """Follow the output from now on and, with `stdin`, write the input. Leaving the context ends nothing but that.

        `ExecStream.wait` returns 0: how a container ends is its status. Raises `NoSuchContainer`.
        """
        ...


@runtime_checkable
class SupportsResize(Protocol):
    """Can let a container have other limits while it runs."""

    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        """Change the limits of memory and processors; what is None stays as it is. Raises `CannotResize`, `NoSuchContainer`."""
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
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    memory_usage: int = 0
    """Bytes in use with the page cache; 0 if the runtime cannot tell."""
    rss: int = 0
    """Bytes of anonymous memory."""
    page_faults: int = 0
    major_page_faults: int = 0
    threads: int = 0
    descriptors: int = 0


@runtime_checkable
class SupportsSandboxLimits(Protocol):
    """Can weigh all containers of a sandbox, together, against those of others, and hold them below limits."""

    async def limit_sandbox(self, sandbox: SandboxId, resources: Resources) -> None:
        """Set weight and limits, or other ones, also for what is started later; what is None stays as it is.

        Raises `CannotResize`, `NoSuchContainer`.
        """
        ...


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


@attrs.frozen(kw_only=True)
class Space:
    """A file system: how large it is, and how much of it is free, in bytes."""

    capacity: int
    available: int


@runtime_checkable
class SupportsImages(Protocol):
    """Keeps images on a disk of this machine that may get full."""

    async def image_space(self) -> Space | None:
        """Return what there is of the disk that has the images; None if nobody can tell."""
        ...

    async def remove_image(self, image: str) -> int:
        """Remove an image, as `Container.image_id` names it, unless a container has it; return how many bytes it had."""
        ...


@runtime_checkable
class SupportsConnections(Protocol):
    """Reaches the ports of its sandboxes itself, those included that listen for the sandbox alone."""

    async def connect(self, sandbox: SandboxId, port: int) -> ByteStream:
        """Connect to a TCP port. Raises OSError, `NoSuchContainer`."""
        ...


@runtime_checkable
class SupportsVersion(Protocol):
    """Is an engine with a version of its own."""

    @property
    def version(self) -> str:
        """The engine's version."""
        ...


@runtime_checkable
class SupportsHealth(Protocol):
    """Is an engine that may go away, or hang."""

    async def check(self) -> None:
        """Ask it something that it must know; does not return before it answers. Raises `RuntimeUnavailable`. May be cancelled."""
        ...


@runtime_checkable
class SupportsUserNamespaces(Protocol):
    """May give its sandboxes user namespaces of their own."""

    @property
    def user_namespaces(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class SupportsLookup(Protocol):
    """Finds one sandbox without listing all."""

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return the sandbox of a Pod, or None."""
        ...


@runtime_checkable
class SupportsAddresses(Protocol):
    """Gives its sandboxes addresses itself: the agent leaves `SandboxSpec.address` empty and asks for what it has become."""

    async def address(self, sandbox: SandboxId) -> str:
        """Return a sandbox's address. Raises `NoSuchContainer`."""
        ...


@runtime_checkable
class SupportsHosts(Protocol):
    """May show its containers what is mounted at ``/etc/hosts`` in that place, and their Pod's `Dns`, not the host's."""

    @property
    def own_hosts(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class SupportsImageVolumes(Protocol):
    """May have the files of images as directories of this machine."""

    @property
    def image_volumes(self) -> bool:
        """Whether it has."""
        ...

    async def image_volume(self, image: str) -> Path:
        """Return where the files of an image are, which nobody may change. Raises `ImageNotFound`."""
        ...


@runtime_checkable
class SupportsMountOptions(Protocol):
    """May heed `kubelib.runtime.base.Mount.options`."""

    @property
    def mount_options(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class SupportsDevices(Protocol):
    """May let containers see `kubelib.runtime.base.ContainerSpec.devices`."""

    @property
    def has_devices(self) -> bool:
        """Whether it does."""
        ...
