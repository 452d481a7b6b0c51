"""What a node says of itself: its object, its conditions, its heartbeats."""

import ipaddress
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from random import Random

import anyio

from kubelib.api.coordination import Lease, LeaseSpec
from kubelib.api.core.node import Node, NodeSpec
from kubelib.api.declaredfeatures import RESIZE_INIT, RESIZE_PODS, RESTART_ALL, WEBSOCKETS
from kubelib.api.errors import AlreadyExists, ApiError, NotFound
from kubelib.api.meta import Key, ObjectMeta, OwnerReference
from kubelib.api.quantity import from_bytes, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.times import format_micro_time, format_time
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.registry.base import Patch, Registry
from kubelib.runtime.pulls import Recorder
from kubelib.runtime.settings import NodeSettings

log = logging.getLogger("kubelib.runtime")

LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION = 40
HEARTBEAT = 10.0
REPORT = 300.0
CLAIM = "kubelib.dev/claimed-pod-cidr"
"""The annotation of a node that is about to take a range of addresses."""
POD_CIDR = "pod-cidr"
"""The file that tells the node's range of addresses."""
VERSION = "v1.37.0+kubelib"
FEATURES = sorted((WEBSOCKETS, RESIZE_PODS, RESIZE_INIT, RESTART_ALL))
"""What this agent can do of that which nodes declare."""


class NoAddress(LookupError):
    """There is no address for a Pod."""


class NoRange(LookupError):
    """There is no range of addresses left for a node."""


def is_loopback(cidr: str) -> bool:
    """Return whether a network is one of the loopback device: these addresses are every host's own."""
    return bool(cidr) and ipaddress.ip_network(cidr).is_loopback


def known_range(root: Path) -> str:
    """Return the range of addresses that the node has had, which keeps its files in `root`; empty if there was none."""
    try:
        return (root / POD_CIDR).read_text().strip()
    except OSError:
        return ""


class NodeReporter:
    """Keeps a Node object true."""

    def __init__(
        self,
        client: Client,
        settings: NodeSettings,
        *,
        clock: Clock,
        random: Random,
        runtime: str,
        recorder: Recorder,
        root: Path,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._recorder = recorder
        self._random = random
        self._runtime = runtime
        self._uid = ""
        self.labels: Mapping[str, str] | None = None
        """The node's labels, as they were when it was last looked at; None before."""
        self.problems: tuple[str, ...] = ()
        """What keeps the node from being ready, in the kubelet's words."""
        self._no_range = ""
        """Why the node has no range of addresses, once it has been refused one."""
        self.pressures: tuple[str, ...] = ()
        """The conditions of pressure that the node is in."""
        self._note = root / POD_CIDR
        self.pod_cidr = known_range(root)
        """The node's range of addresses; before it is registered, that of the last time."""

    async def register(self) -> None:
        """Create the Node, or find it, and give it a range of addresses that no other node has."""
        nodes = self._client.resource(Node)
        name = self._settings.name
        while True:
            try:
                node = await nodes.get(Key("", name))
            except NotFound:
                labels = {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": _architecture(),
                    "beta.kubernetes.io/os": "linux",
                    "beta.kubernetes.io/arch": _architecture(),
                    **self._settings.labels,
                }
                spec = NodeSpec(taints=tuple(self._settings.taints))
                try:
                    node = await nodes.create(Node(metadata=ObjectMeta(name=name, labels=labels), spec=spec))
                except AlreadyExists:
                    continue
            self._uid = node.metadata.uid
            self.labels = node.metadata.labels
            said = dict(self._settings.annotations)
            if any(node.metadata.annotations.get(key) != value for key, value in said.items()):
                node = await nodes.patch(Key("", name), Patch("merge", {"metadata": {"annotations": said}}))
            try:
                if not node.spec.pod_cidr:
                    node = await self._take_range(nodes)
            except NoRange as error:
                await self._wait_for_range(str(error))
                continue
            break
        self._no_range = ""
        self.pod_cidr = node.spec.pod_cidr
        self._remember()
        if is_loopback(self.pod_cidr) and not is_loopback(self._settings.pod_network):
            log.warning(
                "node %s has had the range %s before, in which Pods share the host's network: delete the Node for another one",
                name, self.pod_cidr,
            )  # fmt: skip
        await self.write_status()

    async def _wait_for_range(self, why: str) -> None:
        """Say that the node has no range of addresses, and be alive until it is time to ask again: others may go."""
        name = self._settings.name
        if not self._no_range:
            self._no_range = why
            log.warning("node %s is not ready: %s", name, why)
            about = Node(metadata=ObjectMeta(name=name, uid=name))
            self._recorder.normal(about, "CIDRNotAvailable", f"Node {name} status is now: CIDRNotAvailable")
        await self.write_status()
        await self.renew()
        await anyio.sleep(HEARTBEAT)

    def _remember(self) -> None:
        """Keep the range for a start without an API server."""
        try:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text(self.pod_cidr)
        except OSError as error:
            log.warning("node %s: cannot write %s: %s", self._settings.name, self._note, error)

    async def _take_range(self, nodes: Registry[Node]) -> Node:
        """Give the node a range that no other has, for good.

        It is claimed first, and taken if then nobody else has it or claims it. Of two nodes the one that claims later sees the
        other's claim, so that never both take it; where both see it, neither does, and chance decides what they claim next.
        """
        name, tried = self._settings.name, False
        while True:
            taken = await self._taken(nodes)
            subnets = ipaddress.ip_network(self._settings.pod_network).subnets(new_prefix=24)
            free = list(islice((str(subnet) for subnet in subnets if str(subnet) not in taken), 64))
            if not free:
                raise NoRange(f"no range of {self._settings.pod_network} is left for node {name}")
            wanted = self._random.choice(free) if tried else free[0]
            await nodes.patch(Key("", name), Patch("merge", {"metadata": {"annotations": {CLAIM: wanted}}}))
            if wanted not in await self._taken(nodes):
                given = {"podCIDR": wanted, "podCIDRs": [wanted]}
                return await nodes.patch(
                    Key("", name), Patch("merge", {"metadata": {"annotations": {CLAIM: None}}, "spec": given})
                )
            tried = True

    async def _taken(self, nodes: Registry[Node]) -> set[str]:
        """Return the ranges that other nodes have or claim."""
        others = (n for n in (await nodes.list()).items if n.metadata.name != self._settings.name)
        return {
            cidr for n in others for cidr in (n.spec.pod_cidr, n.metadata.annotations.get(CLAIM, "")) if cidr
        }

    def pod_addresses(self) -> Iterator[str]:
        """Yield the addresses that the node's Pods may have."""
        if not self.pod_cidr:
            raise NoAddress("the node has no range of addresses yet")
        hosts = ipaddress.ip_network(self.pod_cidr).hosts()
        next(hosts)  # the first is the node's own
        yield from map(str, hosts)

    async def heartbeat(self) -> None:
        """Renew the node's lease for ever."""
        while True:
            await self.renew()
            await anyio.sleep(HEARTBEAT)

    async def renew(self) -> None:
        """Renew the node's lease, if the API server answers."""
        leases = self._client.resource(Lease)
        name = self._settings.name
        now = format_micro_time(self._clock.now())
        try:
            try:
                await leases.patch(Key(LEASE_NAMESPACE, name), Patch("merge", {"spec": {"renewTime": now}}))
            except NotFound:
                owner = OwnerReference(api_version="v1", kind="Node", name=name, uid=self._uid)
                await leases.create(
                    Lease(
                        metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE, owner_references=(owner,)),
                        spec=LeaseSpec(
                            holder_identity=name, lease_duration_seconds=LEASE_DURATION, renew_time=now
                        ),
                    )
                )
        except (ApiError, OSError) as error:
            log.warning("node %s: cannot renew the lease: %s", name, error)

    async def report(self) -> None:
        """Write the node's status now and then, for ever."""
        while True:
            await anyio.sleep(REPORT)
            try:
                await self.write_status()
            except NotFound:
                await self.register()
            except (ApiError, OSError) as error:
                log.warning("node %s: cannot write the status: %s", self._settings.name, error)

    async def look(self) -> None:
        """Learn the node's labels anew."""
        self.labels = (await self._client.resource(Node).get(Key("", self._settings.name))).metadata.labels

    async def write_status(self) -> None:
        """Write the node's status."""
        nodes = self._client.resource(Node)
        node = await nodes.get(Key("", self._settings.name))
        self.labels = node.metadata.labels
        known = {condition.type: condition for condition in node.status.conditions}
        now = format_time(self._clock.now())
        conditions = []
        every = self.problems
        if self._no_range:
            network = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
            every = (*every, f"{network} message:{self._no_range}")
        for kind, *said in _CONDITIONS:
            status, reason, message = _PRESSURE[kind] if kind in self.pressures else said
            if kind == "Ready" and (problems := ", ".join(every)):
                several = len(every) > 1
                status, reason, message = "False", "KubeletNotReady", f"[{problems}]" if several else problems
            old = known.get(kind)
            since = old.last_transition_time if old is not None and old.status == status else None
            conditions.append(
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": format_time(since) if since else now,
                }
            )
        capacity = self._capacity()
        status_tree: Tree = {
            "capacity": capacity,
            "allocatable": dict(capacity),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": self._settings.address},
                {"type": "Hostname", "address": self._settings.name},
            ],
            "nodeInfo": _node_info(self._runtime),
            "declaredFeatures": FEATURES,
        }
        if self._settings.port:
            status_tree["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self._settings.port}}
        await nodes.patch(node.key, Patch("merge", {"status": status_tree}), subresource="status")

    def _capacity(self) -> dict[str, str]:
        return {**_machine_capacity(), **self._settings.capacity}

    @cached_property
    def allocatable(self) -> dict[str, str]:
        """What Pods may have of the node."""
        return self._capacity()

    @cached_property
    def memory(self) -> int:
        """The node's memory in bytes."""
        return parse_quantity(self._capacity()["memory"]).value()


_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)

_PRESSURE = {
    "MemoryPressure": ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("True", "KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _machine_capacity() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = os.statvfs("/")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": str(from_bytes(memory // 1024 * 1024)),
        "ephemeral-storage": str(from_bytes(disk.f_frsize * disk.f_blocks // 1024 * 1024)),
        "pods": "250",
    }


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _node_info(runtime: str) -> dict[str, str]:
    release = dict(line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    return {
        "machineID": _read("/etc/machine-id"),
        "systemUUID": _read("/etc/machine-id"),
        "bootID": _read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": release.get("PRETTY_NAME", "Linux").strip('"'),
        "containerRuntimeVersion": runtime,
        "kubeletVersion": VERSION,
        "kubeProxyVersion": VERSION,
        "operatingSystem": "linux",
        "architecture": _architecture(),
    }
