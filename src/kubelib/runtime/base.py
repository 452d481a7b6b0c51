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
from anyio.abc import ByteStream

from kubelib.api.core.probes import LifecycleHandler, ProbeHandler

SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)

ContainerState = Literal["created", "running", "exited"]
Propagation = Literal["None", "HostToContainer", "Bidirectional"]
"""Which mounts that are made later are seen on the other side: none, the host's, or both sides'."""


@attrs.frozen
class PortMapping:
    """A port of the host that leads to a port of a sandbox."""

    host_port: int
    port: int
    protocol: str = "TCP"
    host_ip: str = ""
    """The host's address to listen on; empty: all of them."""


@attrs.frozen(kw_only=True)
class Dns:
    """How names are resolved in a sandbox. All empty: as on the host, or as the runtime does it."""

    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()
    """``ndots:5``, ``rotate``, …"""


@attrs.frozen(kw_only=True)
class Security:
    """What a container's processes may do."""

    privileged: bool = False
    read_only_root: bool = False
    add_capabilities: Sequence[str] = ()
    """Names without ``CAP_``; ``ALL`` for all."""
    drop_capabilities: Sequence[str] = ()
    no_new_privileges: bool = False
    supplemental_groups: Sequence[int] = ()
    seccomp: str = ""
    """``Unconfined``, or the file of a profile; empty: the runtime's own profile."""
    apparmor: str = ""
    """``Unconfined``, or the name of a profile that the machine has loaded; empty: the runtime's own profile, where there is AppArmor."""
    selinux: Mapping[str, str] = attrs.field(factory=dict)
    """Parts of the SELinux label (user, role, type, level) that are not the runtime's own."""
    unmasked_proc: bool = False
    non_root: bool = False
    """Whether to refuse to run as user 0, also where it is the image that says so."""


@attrs.frozen(kw_only=True)
class SandboxSpec:
    """What a Pod's containers share."""

    uid: str
    """The Pod's UID: running a sandbox is idempotent by it."""
    namespace: str
    name: str
    hostname: str
    address: str
    """The Pod's IP address where the agent assigns it; empty where the runtime does: `SupportsAddresses`."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool = True
    """False: it is to have a user namespace of its own, for which a runtime must be `SupportsUserNamespaces`."""
    share_processes: bool = False
    """Whether its containers see each other's processes."""
    ports: Sequence[PortMapping] = ()
    dns: Dns = Dns()
    sysctls: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Mount:
    """A directory or file of the host that a container sees at `target`."""

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = "None"
    file_system: str = ""
    """Where the file system that holds `source` was mounted for this Pod; empty: it was there before. An engine need not see it."""


@attrs.frozen(kw_only=True)
class Resources:
    """Limits of one container, or of all of a sandbox together. None: no limit."""

    memory: int | None = None
    """Bytes."""
    cpu: float | None = None
    """Cores."""
    cpu_request: float = 0.0
    """Cores that it should have when processors are short: what it weighs beside others."""
    pids: int | None = None

    @property
    def has_limits(self) -> bool:
        """Whether there is a limit, and not only a weight."""
        return (self.memory, self.cpu, self.pids) != (None, None, None)


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
    """Whether its input is kept open for those who attach."""
    stdin_once: bool = False
    """Whether the input ends when the first who attached to it leaves."""
    tty: bool = False
    """Whether it has a terminal, which is its input and all of its output."""
    log_path: str = ""
    """The file to which output goes, one line a record: time, stream, tag, text (the CRI log format)."""
    security: Security = Security()
    oom_score_adj: int | None = None
    """How early the kernel kills it when the host's memory is full: from -1000, last, to 1000, first."""
    target: ContainerId | None = None
    """A container whose processes it sees: what an ephemeral container looks into."""
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
    """Of this machine; 0 if it has none here."""
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
    """Empty if it was stopped: another one may have it by now."""
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


@attrs.frozen(kw_only=True)
class Credentials:
    """Who asks a registry for an image."""

    username: str = ""
    password: str = attrs.field(default="", repr=False)
    registry: str = ""
    """The registry that they are for."""
    identity_token: str = attrs.field(default="", repr=False)
    """In place of user and password."""


class RuntimeFailure(Exception):
    """The tree: `ImageNotFound`, `InvalidImageName`, `CannotCreate` (`BadContainerConfig`), `CannotStart`, `CannotResize`, `NoSuchContainer`, `RuntimeUnavailable`."""


class ImageNotFound(RuntimeFailure):
    """The image is neither here nor to be had: becomes ErrImagePull."""


class InvalidImageName(RuntimeFailure):
    """What is given is no name of an image: becomes InvalidImageName."""


class CannotCreate(RuntimeFailure):
    """The container could not be made (its name or a device is taken, a mount is bad): becomes CreateContainerError."""


class BadContainerConfig(CannotCreate):
    """What the container asks for contradicts its image: becomes CreateContainerConfigError."""


class CannotStart(RuntimeFailure):
    """The container could not be started (no such command, bad directory): becomes RunContainerError."""


class CannotResize(RuntimeFailure):
    """The limits of the container or sandbox cannot be changed so: becomes the condition PodResizeInProgress with the reason Error."""


class NoSuchContainer(RuntimeFailure):
    """There is no such container or sandbox (any more)."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime does not answer; what it ran may still run."""


class Runtime(Protocol):
    """Runs containers in sandboxes."""

    name: str

    async def pull(self, image: str, *, credentials: Credentials | None = None) -> ImageId:
        """Make an image available. Raises `InvalidImageName`, and `ImageNotFound`, also where the credentials do not suffice."""
        ...

    async def has_image(self, image: str) -> bool:
        """Return whether an image is here already. Raises `InvalidImageName`."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Create the sandbox of a Pod, or return the one that it has; one that was stopped is made anew."""
        ...

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Create and start a container. Raises `CannotCreate`, `CannotStart`, `ImageNotFound`, `NoSuchContainer`."""
        ...

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Ask the container to end, and kill it after `grace` seconds. Returns when it has ended."""
        ...

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container and its writable files (not its log)."""
        ...

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Kill what still runs in the sandbox and give back its address, ports and namespaces. May be repeated.

        What has ended is still listed. There need not be such a sandbox.
        """
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
