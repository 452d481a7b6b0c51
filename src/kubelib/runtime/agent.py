"""The node agent: makes a node's Pods run, and says how they fare. What Kubernetes calls the kubelet."""

import logging
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.service import Service
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key, Object
from kubelib.client.base import Client, SupportsTokens
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.informers import SharedInformers
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Query
from kubelib.runtime.abilities import (
    SupportsAddresses,
    SupportsHealth,
    SupportsHosts,
    SupportsImages,
    SupportsImageVolumes,
    SupportsProbes,
    SupportsVersion,
)
from kubelib.runtime.base import DeviceDriver, Dns, Runtime, RuntimeEvent, RuntimeFailure, Sandbox
from kubelib.runtime.configuration import Configuration
from kubelib.runtime.counts import Counts
from kubelib.runtime.devices import ClaimedDevices
from kubelib.runtime.deviceslices import DeviceSlices
from kubelib.runtime.environment import API_SERVICE, ConfigMissing
from kubelib.runtime.garbage import ImageCollector
from kubelib.runtime.health import RuntimeHealth
from kubelib.runtime.mirrors import document_hash, is_mirror
from kubelib.runtime.names import dns_of, dns_of_host, hosts_file
from kubelib.runtime.node import NoAddress, NodeReporter
from kubelib.runtime.podcertificates import PodCertificates
from kubelib.runtime.pressure import EvictionManager
from kubelib.runtime.pulls import Recorder
from kubelib.runtime.settings import NodeSettings
from kubelib.runtime.static import StaticPods
from kubelib.runtime.tokens import PodTokens
from kubelib.runtime.trust import TrustBundles
from kubelib.runtime.volumes import Volumes
from kubelib.runtime.worker import TRY_AGAIN, PodWorker

log = logging.getLogger("kubelib.runtime")

RESYNC = 60.0
"""Seconds after which every Pod is looked at again: tokens that its volumes show may be due."""


JOIN_RETRY = 1.0
"""Seconds between attempts to register a node that has static Pods to run meanwhile."""
HOSTS = Path("/etc/hosts")
"""How the host resolves names."""


class SilentRecorder:
    """Reports nothing."""

    def normal(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Do nothing."""

    def warning(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Do nothing."""


class NodeAgent:
    """A component: registers its node, and runs the Pods bound to it until it is cancelled, which stops no Pod."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        settings: NodeSettings,
        root: Path,
        *,
        random: Random,
        clock: Clock = SYSTEM_CLOCK,
        recorder: Recorder | None = None,
        device_drivers: Sequence[DeviceDriver] = (),
    ) -> None:
        self.name = f"kubelet {settings.name}"
        self.client = client
        self.runtime = runtime
        self.settings = settings
        self.root = root
        self.clock = clock
        self.random = random
        self.recorder: Recorder = recorder or SilentRecorder()
        self.counts = Counts()
        tokens = None
        if isinstance(client, SupportsTokens):
            tokens = PodTokens(client.create_token, clock=clock, random=random)
        self.configuration = Configuration(client, self._refresh, random=random)
        self.volumes = Volumes(
            root / "volumes",
            self.configuration,
            tokens,
            self,
            TrustBundles(client),
            PodCertificates(client, settings.name, clock=clock),
            runtime.image_volume
            if isinstance(runtime, SupportsImageVolumes) and runtime.image_volumes
            else None,
            allocatable=lambda: self.node.allocatable,
        )
        self.node = NodeReporter(
            client,
            settings,
            clock=clock,
            random=random,
            runtime=_version(runtime),
            recorder=self.recorder,
            root=root,
        )
        self.devices = ClaimedDevices(client, device_drivers, root / "devices" / "claims.json")
        self.device_slices = DeviceSlices(client, settings.name, device_drivers) if device_drivers else None
        self.static = StaticPods(self, settings.static_pods) if settings.static_pods is not None else None
        self.eviction = EvictionManager(self, settings.eviction_hard)
        self.keeps_hosts = isinstance(runtime, SupportsAddresses) or (
            isinstance(runtime, SupportsHosts) and runtime.own_hosts
        )
        """Whether containers have files in ``/etc`` that are not the host's."""
        self.images = ImageCollector(self, runtime) if isinstance(runtime, SupportsImages) else None
        self.registered = False
        """Whether the API server knows this node, and its Pods are known here."""
        self.workers: dict[str, PodWorker] = {}
        """By Pod UID."""
        self._addresses: dict[str, str] = {}
        informers = SharedInformers(client, random=random)
        self._pods = informers.of(Pod, Query(fields=parse_field_selector(f"spec.nodeName={settings.name}")))
        self._services = informers.of(Service)
        self._informers = informers
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the node is registered and its Pods are known.

        A node with static Pods runs those before, and does not need an API server for that.
        """
        async with self.runtime.events() as events, anyio.create_task_group() as group:
            self._group = group
            sandboxes = {sandbox.uid: sandbox for sandbox in await self.runtime.list_sandboxes()}
            for sandbox in sandboxes.values():
                if sandbox.address:
                    self._addresses[sandbox.uid] = sandbox.address
            group.start_soon(self._listen, events)
            group.start_soon(self.configuration.run)
            if self.static is not None:
                group.start_soon(self.static.run)
            await self._join(group)
            known = {document.meta.uid for document in self._pods.cache}
            if self.static is not None:
                known |= {pod.metadata.uid for pod in self.static.pods().values()}
            known |= self.workers.keys()
            for uid in (sandboxes.keys() | self.devices.pods()) - known:
                group.start_soon(self._remove_orphan, uid, sandboxes.get(uid))
            # Of an agent that was killed before it had made the sandbox, or after it had removed it.
            for uid in self._on_disk() - sandboxes.keys() - known:
                self.forget(uid)
            self._pods.subscribe(self._on_pod)
            group.start_soon(self.node.heartbeat)
            group.start_soon(self.node.report)
            group.start_soon(self._resync)
            if self.settings.eviction_hard or not isinstance(self.runtime, SupportsProbes):
                group.start_soon(self.eviction.run)
            if isinstance(self.runtime, SupportsHealth):
                group.start_soon(RuntimeHealth(self, self.runtime).run)
            if self.images is not None:
                group.start_soon(self.images.run)
            if self.device_slices is not None:
                group.start_soon(self.device_slices.run)
            self.registered = True
            task_status.started()
            await anyio.sleep_forever()

    async def _join(self, group: TaskGroup) -> None:
        """Register the node, and learn of its Pods. With static Pods to run, it is tried until it succeeds."""
        said = False
        while True:
            try:
                await self.node.register()
                break
            except (ApiError, OSError) as error:
                if self.static is None:
                    raise
                if not said:
                    log.warning("node %s cannot be registered yet: %s", self.settings.name, error)
                    said = True
            await anyio.sleep(JOIN_RETRY)
        await group.start(self._informers.run)

    async def _listen(self, events: AsyncIterator[RuntimeEvent]) -> None:
        async for event in events:
            worker = self.workers.get(event.sandbox_uid)
            if worker is not None:
                worker.wake()

    async def _remove_orphan(self, uid: str, sandbox: Sandbox | None) -> None:
        """End what runs for a Pod that is gone, and give back what it claimed."""
        while True:
            try:
                if sandbox is not None:
                    await self.runtime.remove_sandbox(sandbox.id)
                await self.devices.unprepare(uid)
                break
            except RuntimeFailure as error:
                log.warning("what is left of pod %s, which is gone, cannot be removed: %s", uid, error)
                await anyio.sleep(TRY_AGAIN)
        self.forget(uid)

    async def _resync(self) -> None:
        while True:
            await anyio.sleep(RESYNC)
            for worker in list(self.workers.values()):
                worker.refresh()

    def _refresh(self, uid: str) -> None:
        """Let a Pod's worker look at what its volumes show."""
        worker = self.workers.get(uid)
        if worker is not None:
            worker.refresh()

    def _on_pod(self, old: Document | None, new: Document | None) -> None:
        document = new or old
        assert document is not None
        if is_mirror(document):
            if self.static is not None:
                self.static.wake()
                if (shown := self.workers.get(document_hash(document))) is not None:
                    shown.wake()
            return
        uid = document.meta.uid
        worker = self.workers.get(uid)
        if worker is None:
            if new is None:
                return
            worker = PodWorker(self, uid)
            self.employ(worker)
        if new is None or (old is not None and old.meta.uid != uid):
            worker.vanish()
        else:
            worker.see(new.view(Pod))

    def employ(self, worker: PodWorker) -> None:
        """Let a worker begin."""
        self.workers[worker.uid] = worker
        assert self._group is not None
        self._group.start_soon(self._work, worker)

    async def _work(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self.workers.pop(worker.uid, None)
            self.retry_resizes()

    # What others ask

    def pod(self, namespace: str, name: str) -> Pod | None:
        """Return a Pod of this node; of a static Pod the mirror, if the API server has shown one yet."""
        key = Key(namespace, name)
        pod = self._pods.cache.view(key)
        if pod is None and self.static is not None:
            pod = self.static.pods().get(key)
        return pod

    def has_pod(self, key: Key) -> bool:
        """Return whether the API server has shown a Pod of that name."""
        return self._pods.cache.get(key) is not None

    def mirror(self, key: Key) -> Document | None:
        """Return the mirror Pod of that name."""
        document = self._pods.cache.get(key)
        return document if document is not None and is_mirror(document) else None

    def mirrors(self) -> list[Document]:
        """Return all mirror Pods of this node."""
        return [document for document in self._pods.cache if is_mirror(document)]

    def pod_documents(self) -> list[bytes]:
        """Return the Pods of this node as the API server has them."""
        return [document.raw for document in self._pods.cache]

    # What workers need

    def taken(self) -> Iterable[Pod]:
        """Return the Pods that the node has taken and that have not ended."""
        for worker in self.workers.values():
            pod = worker.pod
            if worker.admitted and pod is not None and pod.status.phase not in ("Succeeded", "Failed"):
                yield pod

    def requests(self, *, but: PodWorker | None = None) -> Iterable[Mapping[str, int]]:
        """Return what the Pods ask for that the node has taken and that have not ended, without those of one worker."""
        for worker in self.workers.values():
            if worker is but or not worker.admitted or worker.pod is None:
                continue
            if worker.pod.status.phase not in ("Succeeded", "Failed"):
                yield worker.requests

    def retry_resizes(self, *, but: PodWorker | None = None) -> None:
        """Let the Pods that wait for it grow, as the node has something back, those first whose turn it is."""
        waiting = [w for w in self.workers.values() if w is not but and w.resizing.is_deferred]
        for worker in sorted(waiting, key=lambda worker: worker.resizing.rank()):
            if worker.pod is not None and not worker.over:
                worker.resizing.allocate(worker.pod)
                worker.wake()

    def services(self, namespace: str) -> list[Service]:
        """Return the Services that Pods of a namespace may be told of, by name: its own, and the API's."""
        keys = sorted(
            d.key for d in self._services.cache if d.meta.namespace == namespace or d.key == API_SERVICE
        )
        found = map(self._services.cache.view, keys)
        return [service for service in found if service is not None]

    def address_for(self, pod: Pod) -> str:
        """Return the Pod's address, taken from the node's range when it has none. Raises `NoAddress` if none is left.

        Where the runtime gives addresses, it is empty until the Pod has a sandbox.
        """
        if pod.spec.host_network:
            return self.settings.address
        uid = pod.metadata.uid
        if uid not in self._addresses:
            if isinstance(self.runtime, SupportsAddresses):
                return ""
            taken = set(self._addresses.values())
            free = next((a for a in self.node.pod_addresses() if a not in taken), None)
            if free is None:
                raise NoAddress(f"no address of {self.node.pod_cidr} is left")
            self._addresses[uid] = free
        return self._addresses[uid]

    def address_of(self, pod: Pod) -> str:
        """Return the address that a Pod has or, if it has given it back, had; empty if it never had one."""
        if pod.spec.host_network:
            return self.settings.address
        return self._addresses.get(pod.metadata.uid) or pod.status.pod_ip

    def release(self, uid: str) -> None:
        """Give back what a Pod that has ended had: its address, which another may have, and its volumes. What it has said stays."""
        self._addresses.pop(uid, None)
        self.configuration.release(uid)
        self.volumes.remove(uid)

    def note_address(self, uid: str, address: str) -> None:
        """Note the address that the runtime has given a Pod."""
        self._addresses[uid] = address

    def dns_of(self, pod: Pod) -> Dns:
        """Return how a Pod resolves names."""
        settings = self.settings
        return dns_of(pod, host=dns_of_host(), cluster=settings.cluster_dns, domain=settings.cluster_domain)

    def pod_directory(self, uid: str) -> Path:
        """Return where the node keeps what is a Pod's beside its volumes and logs."""
        return self.root / "pods" / uid

    def hosts_path(self, uid: str) -> Path:
        """Return where a Pod's ``/etc/hosts`` is."""
        return self.pod_directory(uid) / "etc-hosts"

    def write_hosts(self, pod: Pod, address: str) -> None:
        """Write a Pod's ``/etc/hosts``, into the file that its containers have mounted."""
        path = self.hosts_path(pod.metadata.uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        host = HOSTS.read_text() if pod.spec.host_network and HOSTS.exists() else ""
        path.write_text(hosts_file(pod, address, domain=self.settings.cluster_domain, host=host))
        path.chmod(0o644)

    def forget(self, uid: str) -> None:
        """Give back what a Pod that is gone had."""
        self.release(uid)
        shutil.rmtree(self.pod_directory(uid), ignore_errors=True)
        for directory in (self.root / "logs").glob(f"*_{uid}"):
            shutil.rmtree(directory, ignore_errors=True)

    def _on_disk(self) -> set[str]:
        """Return the UIDs of the Pods of which there is something in the node's directory."""
        places = [path for part in ("pods", "volumes", "logs") for path in (self.root / part).glob("*")]
        return {path.name.rpartition("_")[2] for path in places}

    def log_path(self, pod: Pod, container: str, attempt: int) -> Path:
        """Return where the log of one attempt of a container is."""
        meta = pod.metadata
        return self.root / "logs" / f"{meta.namespace}_{meta.name}_{meta.uid}" / container / f"{attempt}.log"

    async def claimed_volume(self, namespace: str, name: str) -> PersistentVolume:
        """Return the volume of a claim. Raises `ConfigMissing`."""
        try:
            claim = await self.client.resource(PersistentVolumeClaim).get(Key(namespace, name))
        except NotFound:
            raise ConfigMissing(f'persistentvolumeclaim "{name}" not found') from None
        if claim.metadata.deletion_timestamp is not None:
            raise ConfigMissing(f'persistentvolumeclaim "{name}" is being deleted')
        if claim.status.phase != "Bound" or not claim.spec.volume_name:
            raise ConfigMissing(f'PVC "{namespace}/{name}" is not bound')
        try:
            volume = await self.client.resource(PersistentVolume).get(Key("", claim.spec.volume_name))
        except NotFound:
            raise ConfigMissing(f'persistentvolume "{claim.spec.volume_name}" not found') from None
        ref = volume.spec.claim_ref
        if ref is None or ref.uid != claim.metadata.uid:
            raise ConfigMissing(f'persistentvolume "{volume.metadata.name}" is bound to another claim')
        return volume


def _version(runtime: Runtime) -> str:
    """Return what a node says of its runtime."""
    return f"{runtime.name}://{runtime.version if isinstance(runtime, SupportsVersion) else '0.1.0'}"
