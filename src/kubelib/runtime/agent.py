"""The node agent: makes a node's Pods run, and says how they fare. What Kubernetes calls the kubelet."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Protocol

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, Object
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.informers import SharedInformers
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Query
from kubelib.runtime.base import Runtime, Sandbox
from kubelib.runtime.environment import API_SERVICE, ConfigMissing
from kubelib.runtime.node import NodeReporter
from kubelib.runtime.volumes import Volumes
from kubelib.runtime.worker import PodWorker

log = logging.getLogger("kubelib.runtime")

RESYNC = 60.0
"""Seconds after which every Pod is looked at again: what its volumes show may have changed."""


class Recorder(Protocol):
    """Where Events go."""

    def normal(self, about: Object, reason: str, message: str) -> None:
        """Report something ordinary."""
        ...

    def warning(self, about: Object, reason: str, message: str) -> None:
        """Report something wrong."""
        ...


class SilentRecorder:
    """Reports nothing."""

    def normal(self, about: Object, reason: str, message: str) -> None:
        """Do nothing."""

    def warning(self, about: Object, reason: str, message: str) -> None:
        """Do nothing."""


@attrs.frozen(kw_only=True)
class NodeSettings:
    """What a node offers, and how it is known."""

    name: str
    address: str = "127.0.0.1"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    capacity: Mapping[str, str] = attrs.field(factory=dict)
    """Beyond, or instead of, what the machine has: cpu, memory, pods, ephemeral-storage."""
    port: int = 0
    """Where the node's own server listens (`kubelib.server.nodeserver`); 0 if it is in the API server's process."""
    pod_network: str = "127.244.0.0/16"
    """Each node takes a /24 of it for its Pods."""


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
    ) -> None:
        self.name = f"kubelet {settings.name}"
        self.client = client
        self.runtime = runtime
        self.settings = settings
        self.root = root
        self.clock = clock
        self.random = random
        self.recorder: Recorder = recorder or SilentRecorder()
        self.volumes = Volumes(root / "volumes", self)
        self.node = NodeReporter(client, settings, clock=clock, runtime_name=runtime.name)
        self.workers: dict[str, PodWorker] = {}
        """By Pod UID."""
        self._addresses: dict[str, str] = {}
        informers = SharedInformers(client, random=random)
        self._pods = informers.of(Pod, Query(fields=parse_field_selector(f"spec.nodeName={settings.name}")))
        self._services = informers.of(Service)
        self._informers = informers
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the node is registered and its Pods are known."""
        await self.node.register()
        async with anyio.create_task_group() as group, self.runtime.events() as events:
            self._group = group
            await group.start(self._informers.run)
            sandboxes = {sandbox.uid: sandbox for sandbox in await self.runtime.list_sandboxes()}
            for sandbox in sandboxes.values():
                if sandbox.address:
                    self._addresses[sandbox.uid] = sandbox.address
            known = {document.meta.uid for document in self._pods.cache}
            for uid in sandboxes.keys() - known:
                group.start_soon(self._remove_orphan, sandboxes[uid])
            self._pods.subscribe(self._on_pod)
            group.start_soon(self.node.heartbeat)
            group.start_soon(self.node.report)
            group.start_soon(self._resync)
            task_status.started()
            async for event in events:
                worker = self.workers.get(event.sandbox_uid)
                if worker is not None:
                    worker.wake()

    async def _remove_orphan(self, sandbox: Sandbox) -> None:
        """End what runs for a Pod that is gone."""
        await self.runtime.remove_sandbox(sandbox.id)
        self.forget(sandbox.uid)

    async def _resync(self) -> None:
        while True:
            await anyio.sleep(RESYNC)
            for worker in list(self.workers.values()):
                worker.refresh()

    def _on_pod(self, old: Document | None, new: Document | None) -> None:
        document = new or old
        assert document is not None
        uid = document.meta.uid
        worker = self.workers.get(uid)
        if worker is None:
            if new is None:
                return
            worker = self.workers[uid] = PodWorker(self, uid)
            assert self._group is not None
            self._group.start_soon(self._work, worker)
        if new is None or (old is not None and old.meta.uid != uid):
            worker.vanish()
        else:
            worker.see(new.view(Pod))

    async def _work(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self.workers.pop(worker.uid, None)

    # What others ask

    def pod(self, namespace: str, name: str) -> Pod | None:
        """Return a Pod of this node."""
        return self._pods.cache.view(Key(namespace, name))

    def pod_documents(self) -> list[bytes]:
        """Return the Pods of this node as the API server has them."""
        return [document.raw for document in self._pods.cache]

    # What workers need

    def services(self, namespace: str) -> Iterable[Service]:
        """Return the Services that Pods of a namespace may be told of, by name: its own, and the API's."""
        keys = sorted(
            d.key for d in self._services.cache if d.meta.namespace == namespace or d.key == API_SERVICE
        )
        for key in keys:
            service = self._services.cache.view(key)
            if service is not None:
                yield service

    def address_for(self, pod: Pod) -> str:
        """Return the Pod's address, taken from the node's range when it has none. Raises LookupError if none is left."""
        if pod.spec.host_network:
            return self.settings.address
        uid = pod.metadata.uid
        if uid not in self._addresses:
            taken = set(self._addresses.values())
            self._addresses[uid] = next(a for a in self.node.pod_addresses() if a not in taken)
        return self._addresses[uid]

    def forget(self, uid: str) -> None:
        """Give back what a Pod that is gone had."""
        self._addresses.pop(uid, None)
        self.volumes.remove(uid)

    def log_path(self, pod: Pod, container: str, attempt: int) -> Path:
        """Return where the log of one attempt of a container is."""
        meta = pod.metadata
        return self.root / "logs" / f"{meta.namespace}_{meta.name}_{meta.uid}" / container / f"{attempt}.log"

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        """Return a ConfigMap. Raises `ConfigMissing`."""
        try:
            return await self.client.resource(ConfigMap).get(Key(namespace, name))
        except NotFound:
            raise ConfigMissing(f'configmap "{name}" not found') from None

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret. Raises `ConfigMissing`."""
        try:
            return await self.client.resource(Secret).get(Key(namespace, name))
        except NotFound:
            raise ConfigMissing(f'secret "{name}" not found') from None
