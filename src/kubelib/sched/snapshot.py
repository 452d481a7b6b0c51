"""The cluster at one moment, as a scheduler would know it: for those who ask what it would decide, and why."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import attrs

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.errors import Forbidden, NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.policy import PodDisruptionBudget
from kubelib.api.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from kubelib.api.scheduling_v1beta1 import PodGroup
from kubelib.api.storage import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kubelib.client.base import Client
from kubelib.sched.budgets import Budgets
from kubelib.sched.devices import DeviceObject
from kubelib.sched.groups import Groups
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo, group_of
from kubelib.sched.volumes import StorageObject

T = TypeVar("T", bound=Object)


@attrs.frozen(eq=False)
class Snapshot:
    """Nodes, what is on them, what is promised on them, the disruption budgets, and the groups of Pods."""

    table: NodeTable
    budgets: Budgets
    pods: Mapping[Key, Pod]
    """All Pods, those that wait or have ended too."""
    now: datetime
    """When it was taken."""
    groups: Groups = attrs.field(factory=Groups)

    def started(self, pod: PodInfo) -> float:
        """Return when a Pod was started, in seconds; that of one that was not is the moment of the snapshot."""
        known = self.pods.get(pod.key)
        return ((known.status.start_time if known is not None else None) or self.now).timestamp()

    def promise(self, schedulers: Collection[str]) -> None:
        """Count what ``status.nominatedNodeName`` promises to Pods of these schedulers: each minds its own promises alone."""
        for pod in self.pods.values():
            node = pod.status.nominated_node_name
            if node and _waits(pod) and pod.spec.scheduler_name in schedulers:
                with suppress(ValueError):
                    self.table.nominate(PodInfo.of(pod), node)

    def waiting(self, group: Key, scheduler: str) -> list[PodInfo]:
        """Return the Pods of a group that wait for this scheduler, the most important first."""
        found = []
        for pod in self.pods.values():
            if group_of(pod) == group and _waits(pod) and pod.spec.scheduler_name == scheduler:
                with suppress(ValueError):
                    found.append(PodInfo.of(pod))
        return sorted(found, key=lambda pod: -pod.priority)


def make_snapshot(
    nodes: Iterable[Node],
    pods: Iterable[Pod],
    *,
    now: datetime,
    namespaces: Iterable[Namespace] = (),
    budgets: Iterable[PodDisruptionBudget] = (),
    storage: Iterable[StorageObject] = (),
    groups: Iterable[PodGroup] = (),
    devices: Iterable[DeviceObject] = (),
    services: Iterable[Service] = (),
) -> Snapshot:
    """Lay out what a scheduler would know. Objects that make no sense are left out, as a scheduler leaves them out."""
    snapshot = Snapshot(NodeTable(), Budgets(), {pod.key: pod for pod in pods}, now)
    for namespace in namespaces:
        snapshot.table.put_namespace(namespace.metadata.name, namespace.metadata.labels)
    for thing in storage:
        snapshot.table.volumes.put(thing)
    for claim in devices:
        snapshot.table.devices.put(claim)
    for service in services:
        snapshot.table.services.put(service.key, service)
    for node in nodes:
        with suppress(ValueError):
            snapshot.table.put_node(node)
    for budget in budgets:
        with suppress(ValueError):
            snapshot.budgets.put(budget)
    for group in groups:
        snapshot.groups.put(group.key, group)
    for pod in snapshot.pods.values():
        if pod.spec.node_name and _lives(pod):
            with suppress(ValueError):
                info = PodInfo.of(pod)
                snapshot.table.put_pod(info)
                snapshot.groups.bind(info)
    return snapshot


async def take_snapshot(client: Client, now: datetime) -> Snapshot:
    """List what a scheduler looks at. Raises Forbidden for who may not list it in the whole cluster."""
    storage: list[StorageObject] = [
        *(await client.resource(StorageClass).list()).items,
        *(await client.resource(PersistentVolume).list()).items,
        *(await client.resource(PersistentVolumeClaim).list()).items,
        *(await client.resource(CSINode).list()).items,
        *(await client.resource(CSIDriver).list()).items,
        *(await client.resource(CSIStorageCapacity).list()).items,
        *(await client.resource(VolumeAttachment).list()).items,
    ]
    return make_snapshot(
        (await client.resource(Node).list()).items,
        (await client.resource(Pod).list()).items,
        now=now,
        namespaces=(await client.resource(Namespace).list()).items,
        budgets=(await client.resource(PodDisruptionBudget).list()).items,
        storage=storage,
        groups=await _if_any(client, PodGroup),
        devices=[
            *await _if_any(client, ResourceClaim),
            *await _if_any(client, DeviceClass),
            *await _if_any(client, ResourceSlice),
            *await _if_any(client, DeviceTaintRule),
        ],
        services=await _if_any(client, Service),
    )


async def _if_any(client: Client, kind: type[T]) -> Iterable[T]:
    """List the objects of a kind, where the server knows any and the user may."""
    try:
        return (await client.resource(kind).list()).items
    except (NotFound, Forbidden):
        return ()


def _waits(pod: Pod) -> bool:
    waits = not (pod.spec.node_name or pod.spec.scheduling_gates or pod.metadata.deletion_timestamp)
    return waits and _lives(pod)


def _lives(pod: Pod) -> bool:
    return pod.status.phase not in ("Succeeded", "Failed")
