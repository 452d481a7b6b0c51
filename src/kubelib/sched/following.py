"""What keeps a scheduler's knowledge in step with the cluster: informers on one side, a node table and queues on the other."""

import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.api.policy import PodDisruptionBudget
from kubelib.api.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from kubelib.api.scheduling_v1beta1 import PodGroup
from kubelib.api.storage import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kubelib.client.base import Client, SupportsTransactions
from kubelib.informers import SharedInformers
from kubelib.sched.base import Happening
from kubelib.sched.budgets import Budgets
from kubelib.sched.groups import Groups
from kubelib.sched.keeping import ENDED, PODS_PER_PAGE, CountedPod, take, trimmed
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo, has_resources, resources_said
from kubelib.sched.queue import SchedulingQueue

AnyObject = TypeVar("AnyObject", bound=Object)

log = logging.getLogger("kubelib.sched")

STORAGE: tuple[type[Object], ...] = (
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    CSINode,
    CSIDriver,
    CSIStorageCapacity,
    VolumeAttachment,
)
"""The kinds that say something of storage."""

Route = Callable[[Pod], SchedulingQueue | None]
"""Returns the queue in which a Pod is to wait for a node; None if it is somebody else's."""


class Following:
    """Keeps a table, the disruption budgets and queues of Pods in step with the cluster. A `Component`."""

    def __init__(
        self,
        client: Client,
        *,
        queues: Sequence[SchedulingQueue],
        route: Route,
        random: Random,
        nodes: Callable[[Node], bool] | None = None,
        groups: Groups | None = None,
        services: bool = False,
    ) -> None:
        """Make one. Only `nodes` of which that is true are in the table: a partition. The queues look at the same `groups`.

        Services are followed if they are asked for.
        """
        self.name = "following"
        self.table = NodeTable()
        self.budgets = Budgets()
        self.groups = groups if groups is not None else Groups()
        self.abandoned = 0
        """How many Pods went while they waited for a node."""
        self._queues = queues
        for queue in queues:
            queue.heeds = lambda pod, other: pod.heeds(other, self.table.namespaces)
        self._route = route
        self._is_ours = nodes
        self._informers = SharedInformers(client, random=random)
        near = isinstance(client, SupportsTransactions) and not client.binder.may_lose_answers
        self._pods = (
            self._informers.of(Pod) if near else self._informers.of(Pod, trim=trimmed, page=PODS_PER_PAGE)
        )
        self._nodes = self._informers.of(Node)
        self._namespaces = self._informers.of(Namespace)
        self._disruption_budgets = self._informers.of(PodDisruptionBudget)
        for kind in (*STORAGE, Service) if services else STORAGE:
            self._informers.of(kind)
        self._by_services = services
        # Servers of earlier versions do not know groups and devices: nobody waits for these informers.
        self._unawaited = SharedInformers(client, random=random)
        self._pod_groups = self._unawaited.of(PodGroup)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once nodes and Pods are known."""

        class Started:
            """Subscribes when the informers are in step, and says so."""

            @staticmethod
            def started(value: None = None) -> None:
                self._subscribe()
                task_status.started()

        async with anyio.create_task_group() as tasks:
            self._pod_groups.subscribe(self._on_group)
            self._learn_devices()
            tasks.start_soon(self._unawaited.run)
            await self._informers.run(task_status=Started())

    def _subscribe(self) -> None:
        self._namespaces.subscribe(self._on_namespace)
        if self._by_services:
            self._learn(Service, self.table.services.put)
        known = self.table.volumes
        self._learn(StorageClass, lambda key, found: known.put_class(key.name, found))
        self._learn(PersistentVolume, lambda key, found: known.put_volume(key.name, found), about=_kept_for)
        self._learn(PersistentVolumeClaim, known.put_claim, about=lambda key, found: key)
        self._learn(CSINode, lambda key, found: known.put_limits(key.name, found))
        self._learn(CSIDriver, lambda key, found: known.put_driver(key.name, found))
        self._learn(CSIStorageCapacity, known.capacities.put)
        self._learn(VolumeAttachment, lambda key, found: known.put_attachment(key.name, found))
        self._nodes.subscribe(self._on_node)
        self._disruption_budgets.subscribe(self._on_budget)
        self._pods.subscribe(self.on_pod)

    def _learn_devices(self) -> None:
        known, where = self.table.devices, self._unawaited
        self._learn(ResourceClaim, known.put_claim, where, "devices")
        self._learn(DeviceClass, lambda key, found: known.put_class(key.name, found), where, "devices")
        self._learn(
            ResourceSlice, lambda key, found: known.pools.put_slice(key.name, found), where, "devices"
        )
        self._learn(DeviceTaintRule, lambda key, found: known.put_rule(key.name, found), where, "devices")

    def _learn(
        self,
        model: type[AnyObject],
        learn: Callable[[Key, AnyObject | None], bool],
        informers: SharedInformers | None = None,
        what: Happening = "storage",
        about: Callable[[Key, AnyObject | None], Key | None] = lambda key, found: None,
    ) -> None:
        """Let `learn` hear of what becomes of objects, and Pods be tried again that this may help: of some only one claim's."""

        def take(key: Key, document: Document | None) -> None:
            found = document.view(model) if document is not None else None
            if learn(key, found):
                self.wake(what, claim=about(key, found))

        informer = (informers or self._informers).of(model)
        informer.subscribe(lambda old, new: self._on_thing(old, new, take, what))

    @property
    def seen(self) -> int:
        """The resource version of Pods up to which all is known."""
        return self._pods.cache.revision

    def document(self, pod: PodInfo) -> Document | None:
        """Return a Pod as it was last seen; None if it is not there any more."""
        document = self._pods.cache.get(pod.key)
        return document if document is not None and document.meta.uid == pod.uid else None

    def group(self, key: Key) -> PodGroup | None:
        """Return a group as it was last seen."""
        document = self._pod_groups.cache.get(key)
        return document.view(PodGroup) if document is not None else None

    def settled(self, pod: PodInfo, node: str) -> bool:
        """Count a Pod on the node that it has been given; return whether that is news."""
        if pod.group is not None and self.groups.bind(pod):
            self._regroup(pod.group)
        return self.table.put_pod(pod, node)

    def _regroup(self, group: Key) -> None:
        for queue in self._queues:
            queue.regroup(group)

    def wake(self, what: Happening, pod: PodInfo | None = None, claim: Key | None = None) -> None:
        """Let Pods be tried again that something may help that has happened; `pod` is new on its node, or it is about one claim."""
        for queue in self._queues:
            queue.wake(what, pod, claim)

    def withdraw(self, uid: str) -> None:
        """Take back what is promised to a Pod, which may help others."""
        if self.table.withdraw(uid):
            self.wake("pod gone")

    # What happens

    def _on_namespace(self, old: Document | None, new: Document | None) -> None:
        about = new or old
        assert about is not None
        if self.table.put_namespace(about.meta.name, new.meta.labels if new is not None else None):
            # Terms that select namespaces may now mean Pods of it, or mean them no more.
            self.wake("pod placed")
            self.wake("pod gone")

    def _on_node(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self._forget_node(old.meta.name)
            return
        try:
            node = new.view(Node)
            if self._is_ours is not None and not self._is_ours(node):
                self._forget_node(new.meta.name)
                return
            changed = self.table.put_node(node)
        except ValueError as error:
            log.warning("node %s is not understood: %s", new.meta.name, error)
            return
        if changed:
            for what in ("node", *changed):
                self.wake(what)

    def _forget_node(self, name: str) -> None:
        if name in self.table.rows:
            self.table.remove_node(name)
            # Pods that must be spread evenly need not heed a place that is no more.
            self.wake("node")
            self.wake("lost node")

    def _on_thing(
        self,
        old: Document | None,
        new: Document | None,
        learn: Callable[[Key, Document | None], None],
        what: Happening,
    ) -> None:
        about = new or old
        assert about is not None
        try:
            learn(about.key, new)
        except ValueError as error:
            log.warning("what is said of %s by %s is not understood: %s", what, about.key, error)

    def _on_group(self, old: Document | None, new: Document | None) -> None:
        about = new or old
        assert about is not None
        try:
            helps = self.groups.put(about.key, new.view(PodGroup) if new is not None else None)
        except ValueError as error:
            log.warning("pod group %s is not understood: %s", about.key, error)
            return
        if helps:
            self._regroup(about.key)

    def _on_budget(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self.budgets.remove(old.key)
            return
        try:
            self.budgets.put(new.view(PodDisruptionBudget))
        except ValueError as error:
            log.warning("disruption budget %s is not understood: %s", new.key, error)

    def on_pod(self, old: Document | None, new: Document | None) -> None:
        """Take in what has become of a Pod."""
        if new is None:
            assert old is not None
            self._gone(old)
            return
        if isinstance(new, CountedPod):
            self._remove(new)
            self._count(new.info)
            return
        pod = new.view(Pod)
        if pod.status.phase in ENDED:
            self._gone(new)
        elif pod.spec.node_name:
            self._remove(new)
            if not self._is_counted(old, new, pod.spec.node_name):
                self._count(take(pod))
        elif pod.spec.scheduling_gates or (new.meta.deletion_timestamp and pod.spec.scheduling_group):
            self.abandoned += self._remove(new)
            self.withdraw(new.meta.uid)
        elif not self.table.has_pod(new.meta.uid):
            self._enqueue(old, pod)

    def _count(self, info: PodInfo | None) -> None:
        """Count a Pod that has a node as it is now."""
        if info is None:
            return
        known = self.table.pod(info.uid)
        if self.settled(info, info.node):
            # With its node a Pod gets labels, too: no reason to try those again that do not heed it with these.
            self.wake("pod placed", info if known is None or _gained_labels(known, info) else None)
            before = known.requests if known is not None else {}
            if any(info.requests.get(name, 0) < value for name, value in before.items()):
                # It has been resized, and others may have what it no longer has.
                self.wake("pod gone")

    def _enqueue(self, old: Document | None, pod: Pod) -> None:
        chosen = self._route(pod)
        if chosen is None:
            return
        info = take(pod)
        if info is None:
            return
        # Before any node is promised to it, the Pod says nothing of it: what we have promised since stands.
        if info.going:
            self.withdraw(info.uid)
        elif info.nominated:
            self.table.nominate(info, info.nominated)
        elif old is not None and old.view(Pod).status.nominated_node_name:
            self.withdraw(info.uid)
        for queue in self._queues:
            if queue is not chosen:
                queue.remove(info.key)
        chosen.add(info)

    def _remove(self, document: Document) -> bool:
        removed = [queue.remove(document.key, document.meta.uid) for queue in self._queues]
        return any(removed)

    def _gone(self, document: Document) -> None:
        self.abandoned += self._remove(document)
        self.withdraw(document.meta.uid)
        self.groups.leave(document.meta.uid)
        if self.table.remove_pod(document.meta.uid):
            self.wake("pod gone")

    def _is_counted(self, old: Document | None, new: Document, node: str) -> bool:
        """Return whether only what does not matter here has changed: most changes of Pods are to their status."""
        if (
            self.table.node_of(new.meta.uid) != node
            or old is None
            or old.meta.generation != new.meta.generation
            or old.meta.labels != new.meta.labels
            or bool(old.meta.deletion_timestamp) != bool(new.meta.deletion_timestamp)
        ):
            return False
        before, now = old.view(Pod).status, new.view(Pod).status
        return not (has_resources(before) or has_resources(now)) or resources_said(before) == resources_said(
            now
        )


def _gained_labels(known: PodInfo, info: PodInfo) -> bool:
    """Return whether a Pod has more labels than before, and nothing else has changed of what may keep others from a node."""
    return (
        len(known.labels) < len(info.labels)
        and known.labels.items() <= info.labels.items()
        and known.going == info.going
        and known.requests == info.requests
    )


def _kept_for(key: Key, volume: PersistentVolume | None) -> Key | None:
    """Return the claim for which alone a volume is."""
    ref = volume.spec.claim_ref if volume is not None else None
    return Key(ref.namespace, ref.name) if ref is not None else None
