"""What runs containers: sandboxes hold containers; restart rules, probes and order stay in the agent.

A sandbox is what the containers of one Pod share (its address, its directory). Runtimes other than this one's
implementations register through the entry point group ``kubelib.runtimes``; `kubelib.testing.runtime` is the
definition. What a runtime need not be able to do is in `kubelib.runtime.abilities`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, NewType, Protocol

import attrs

from kubelib.api.resource import Device, ResourceClaim

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
    options: Sequence[str] = ()
    """``noexec``, ``nosuid``, ``nodev``, for which a runtime must be `kubelib.runtime.abilities.SupportsMountOptions`."""


@attrs.frozen
class DeviceNode:
    """A device of the host, as ``/dev`` has them, that a container sees."""

    source: str
    """Where it is on the host."""
    target: str
    permissions: str = "rwm"
    """What it may be used for: reading, writing, making a device of that number (mknod)."""


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
    devices: Sequence[DeviceNode] = ()
    """For which a runtime must be `kubelib.runtime.abilities.SupportsDevices`."""
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
    """The tree: `ImageNotFound`, `InvalidImageName`, `CannotCreate` (`BadContainerConfig`), `CannotStart`, `CannotResize`, `CannotPrepare`, `NoSuchContainer`, `RuntimeUnavailable`."""


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


class CannotPrepare(RuntimeFailure):
    """Devices that a Pod claims could not be made ready, or not be given back: becomes the Event FailedPrepareDynamicResources."""


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


@attrs.frozen(kw_only=True)
class PreparedDevice:
    """What containers get together with devices of a claim: what the Container Device Interface calls edits."""

    requests: Sequence[str] = ()
    """The requests of the claim that it is for; none: all of them."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Goes before what a container's own environment says."""
    devices: Sequence[DeviceNode] = ()
    mounts: Sequence[Mount] = ()


@attrs.frozen
class ClaimId:
    """Which claim is meant, also when its object is gone."""

    namespace: str
    name: str
    uid: str


class DeviceDriver(Protocol):
    """Has devices on one node. Others register through the entry point group ``kubelib.device_drivers``."""

    name: str
    """As slices, classes and allocations know it: ``gpu.example.com``."""

    def devices(self) -> Sequence[Device]:
        """Return the devices that there are: the node shows them in ResourceSlices, and looks again every minute."""
        ...

    async def prepare(self, claim: ResourceClaim) -> Sequence[PreparedDevice]:
        """Make the devices ready that a claim was allocated: those in its `status.allocation` that are this driver's.

        Asked before the first Pod starts that uses the claim, and again for what is ready already: then the answer is the same.
        Raises `CannotPrepare`, OSError: asked again while the Pod waits.
        """
        ...

    async def unprepare(self, claim: ClaimId) -> None:
        """Take back what `prepare` did, once no Pod uses the claim any more; there may be nothing to take back.

        Raises `CannotPrepare`, OSError: asked again before the last of the Pods is gone.
        """
        ...
