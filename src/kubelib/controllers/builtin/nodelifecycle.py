"""Nodes that fall silent: they become unknown, are tainted, and their pods have to leave.

Three parts, each with one job: `NodeHealth` looks every few seconds who has been heard of, `NodeTaints` turns conditions
into taints, `TaintEviction` deletes the pods that do not tolerate them. They meet only in the Node.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.coordination import Lease
from kubelib.api.core.node import Node, NodeCondition
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.core.references import ObjectReference
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.update import update_with
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.manager import Manager
from kubelib.controllers.parallel import for_each
from kubelib.controllers.taints import condition_status, drives_away, tolerated_for, wanted_taints
from kubelib.informers import Informer, SharedInformers
from kubelib.registry.base import Preconditions, Query

NAME = "node-controller"
EVICTION_NAME = "taint-eviction-controller"
LEASES = "kube-node-lease"
BY_NODE = "spec.nodeName"
NOT_COUNTED = "node.kubernetes.io/exclude-disruption"
"""The label of nodes that do not count when it is judged whether a zone is disrupted."""
OLD_LABELS = {
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
}
"""Labels that say what others say, by their earlier names."""
_FROM_KUBELET = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@attrs.frozen(kw_only=True)
class Patience:
    """How long silence is borne, in seconds, and how fast pods are driven away."""

    period: float = 5.0
    """How often nodes are looked at."""
    grace: float = 50.0
    """How long a node may be silent."""
    startup_grace: float = 60.0
    """How long a new node may take to say its first word."""
    between_evictions: float = 10.0
    """Between two nodes whose pods begin to be driven away: a fault of ours must not empty the cluster."""
    partial_threshold: float = 0.55
    """With this share of nodes (and more than two) not ready, the fault is likelier to be a network's than theirs."""
    large_cluster: int = 50
    """In a partial outage, large clusters evict ten times slower, those of up to this size not at all."""


PATIENCE = Patience()


def pods_by_node(document: Document) -> Iterable[str]:
    """Index pods by the node that they are on."""
    node = document.view(Pod).spec.node_name
    return (node,) if node else ()


def silenced(node: Node, now: datetime) -> Node:
    """Return a node as it is when nothing has been heard of it for too long: nobody knows how it fares."""
    now = now.replace(microsecond=0)
    there = {condition.type: None for condition in node.status.conditions}
    fallen_silent = (
        replace(
            condition,
            status="Unknown",
            reason="NodeStatusUnknown",
            message="Kubelet stopped posting node status.",
            last_transition_time=now,
        )
        if condition.type in _FROM_KUBELET and condition.status != "Unknown"
        else condition
        for condition in node.status.conditions
    )
    never_heard_of = (
        NodeCondition(
            type=type,
            status="Unknown",
            reason="NodeStatusNeverUpdated",
            message="Kubelet never posted node status.",
            last_heartbeat_time=node.metadata.creation_timestamp,
            last_transition_time=now,
        )
        for type in _FROM_KUBELET
        if type not in there
    )
    conditions = (*fallen_silent, *never_heard_of)
    return replace(node, status=replace(node.status, conditions=conditions))


def not_ready(pod: Pod, now: datetime) -> Pod:
    """Return a pod whose node is silent: it is not ready any more."""
    conditions = tuple(
        replace(c, status="False", last_transition_time=now.replace(microsecond=0))
        if c.type == "Ready" and c.status == "True"
        else c
        for c in pod.status.conditions
    )
    return replace(pod, status=replace(pod.status, conditions=conditions))


def _about(name: str, uid: str) -> ObjectReference:
    return ObjectReference(kind="Node", api_version="v1", name=name, uid=uid)


@attrs.define
class _Heard:
    signs: tuple[object, ...]
    at: datetime


class NodeHealth:
    """A `Component` that marks silent nodes as unknown and their pods as not ready."""

    def __init__(
        self,
        informers: SharedInformers,
        leases: Informer[Lease],
        *,
        clock: Clock,
        recorder: Recorder,
        patience: Patience = PATIENCE,
    ) -> None:
        self.name = "node health"
        self._client = informers.client
        self._nodes = informers.of(Node)
        self._pods = informers.of(Pod)
        self._leases = leases
        self._clock = clock
        self._recorder = recorder
        self._patience = patience
        # Whether a node is silent is judged by our own clock: when did we last see one of its signs change?
        self._heard: dict[str, _Heard] = {}
        # Nodes whose pods are to be marked.
        self._unmarked: set[str] = set()
        self._known: dict[str, str] = {}

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Look at all nodes now and then, until cancelled."""
        for informer in (self._nodes, self._pods, self._leases):
            await informer.wait_until_synced()
        task_status.started()
        while True:
            await self.look()
            await anyio.sleep(self._patience.period)

    async def look(self) -> None:
        """Look at all nodes once."""
        nodes = [document.view(Node) for document in self._nodes.cache]
        self._meet({node.metadata.name: node.metadata.uid for node in nodes})
        await for_each(nodes, self._look_at)
        await self._spare([document.view(Node) for document in self._nodes.cache])

    def _meet(self, nodes: Mapping[str, str]) -> None:
        """Tell of nodes, uids by names, that are new to us, and forget those that are gone."""
        for name in sorted(self._known.keys() - nodes.keys()):
            self._tell(name, self._known[name], "RemovingNode", f"Removing Node {name} from Controller")
            self._heard.pop(name, None)
            self._unmarked.discard(name)
        for name in nodes:
            if name not in self._known:
                self._tell(name, nodes[name], "RegisteredNode", f"Registered Node {name} in Controller")
        self._known = dict(nodes)

    def _tell(self, name: str, uid: str, reason: str, message: str) -> None:
        self._recorder.normal(_about(name, uid), reason, f"Node {name} event: {message}")

    async def _look_at(self, node: Node) -> None:
        name, now = node.metadata.name, self._clock.now()
        was, new = condition_status(node, "Ready"), name not in self._heard
        if self._is_silent(node, now):
            judged = node.status.conditions

            def unless_heard_of(current: Node) -> Node | None:
                # A report that came in meanwhile must not be overwritten: the node is there.
                return silenced(current, now) if current.status.conditions == judged else None

            try:
                node = await update_with(self._client, Node, node.key, unless_heard_of, subresource="status")
            except (ApiError, OSError):
                if was == "True":
                    self._unmarked.add(name)  # it may have been written all the same
                return  # the next look tries again
        now_so = condition_status(node, "Ready")
        if now_so == "True":
            self._unmarked.discard(name)
            return
        if was == "True":
            about = _about(name, node.metadata.uid)
            self._recorder.normal(about, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        if was == "True" or (new and now_so == "Unknown"):
            self._unmarked.add(name)
        # What a node says of itself, that it is not ready among it, says nothing of its pods: of these it tells as well.
        if name in self._unmarked:
            # Until every pod has been marked we go on trying: others send requests to pods that say they are ready.
            errors = await for_each(self._pods.cache.by_index(BY_NODE, name), self._mark_not_ready)
            if not errors:
                self._unmarked.discard(name)

    async def _spare(self, nodes: Sequence[Node]) -> None:
        """When nobody is ready it is we who hear nothing: who had begun to be driven away may stay."""
        if not all_disrupted(nodes):
            return

        def spared(node: Node) -> Node:
            taints = tuple(t for t in node.spec.taints if not drives_away(t))
            return replace(node, spec=replace(node.spec, taints=taints))

        for node in nodes:
            if spared(node) != node:
                with suppress(ApiError, OSError):  # the next look tries again
                    await update_with(self._client, Node, node.key, spared)

    def _is_silent(self, node: Node, now: datetime) -> bool:
        name = node.metadata.name
        lease = self._leases.cache.view(Key(LEASES, name))
        ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
        signs = (
            lease.spec.renew_time if lease is not None else None,
            ready.last_heartbeat_time if ready is not None else None,
            ready is not None,
        )
        heard = self._heard.get(name)
        if heard is None or heard.signs != signs:
            # One that was never heard of is not new because we are.
            mute = heard is None and ready is None and lease is None
            since = (node.metadata.creation_timestamp if mute else None) or now
            heard = self._heard[name] = _Heard(signs, since)
        grace = self._patience.grace if ready is not None else self._patience.startup_grace
        return now - heard.at > timedelta(seconds=grace)

    async def _mark_not_ready(self, document: Document) -> None:
        pod = document.view(Pod)
        now = self._clock.now()
        if not_ready(pod, now) == pod:
            return
        self._recorder.warning(pod, "NodeNotReady", "Node is not ready")
        try:
            await update_with(self._client, Pod, pod.key, lambda p: not_ready(p, now), subresource="status")
        except NotFound:
            return


def labels_of(node: Node) -> Mapping[str, str]:
    """Return the labels of a node, those by their earlier names as the others say."""
    labels = node.metadata.labels
    return {**labels, **{old: labels[new] for old, new in OLD_LABELS.items() if new in labels}}


def zone_of(node: Node) -> str:
    """Return the zone in which a node is, empty for none."""
    labels = node.metadata.labels
    return (
        labels.get("topology.kubernetes.io/region", "") + ":" + labels.get("topology.kubernetes.io/zone", "")
    )


def _readiness(nodes: Iterable[Node]) -> dict[str, list[bool]]:
    """Return of each zone which of the nodes that count are ready."""
    zones: dict[str, list[bool]] = {}
    for node in nodes:
        ready = zones.setdefault(zone_of(node), [])
        if NOT_COUNTED not in node.metadata.labels:
            ready.append(condition_status(node, "Ready") == "True")
    return zones


def all_disrupted(nodes: Iterable[Node]) -> bool:
    """Return whether none of the nodes that count is ready."""
    counted = [ready for zone in _readiness(nodes).values() for ready in zone]
    return bool(counted) and not any(counted)


def seconds_between_evictions(
    nodes: Sequence[Node], patience: Patience = PATIENCE
) -> dict[str, float | None]:
    """Return, per zone, how long to wait between two nodes; None where no eviction may begin now."""
    zones = _readiness(nodes)
    if all_disrupted(nodes):
        return dict.fromkeys(zones)
    pace: dict[str, float | None] = {}
    for zone, ready in zones.items():
        bad = ready.count(False)
        if bad > 2 and ready.count(True) > 0 and bad / len(ready) >= patience.partial_threshold:
            slow = patience.between_evictions * 10
            pace[zone] = slow if len(ready) > patience.large_cluster else None
        else:
            pace[zone] = patience.between_evictions
    return pace


class NodeTaints:
    """A `Reconciler` of nodes: their taints follow their conditions, evictions begin at a measured pace.

    Their labels are put right by the way.
    """

    def __init__(self, informers: SharedInformers, *, clock: Clock, patience: Patience = PATIENCE) -> None:
        self._client = informers.client
        self._nodes = informers.of(Node).cache
        self._clock = clock
        self._patience = patience
        self._began: dict[str, float] = {}
        """When an eviction last began, per zone."""

    async def reconcile(self, key: Key) -> After | None:
        """Look at one node."""
        node = self._nodes.view(key)
        if node is None:
            return None
        now = self._clock.now()
        if wanted_taints(node, now, evict=False) == wanted_taints(node, now, evict=True):
            await self._taint(node, now, evict=False)
            return None
        wait = self._wait(zone_of(node))
        if wait == 0:
            self._began[zone_of(node)] = anyio.current_time()
        await self._taint(node, now, evict=wait == 0)
        return None if wait == 0 else After(wait)

    def _wait(self, zone: str) -> float:
        """Return in how many seconds an eviction may begin in a zone."""
        pace = seconds_between_evictions([d.view(Node) for d in self._nodes], self._patience).get(zone)
        if pace is None:
            return self._patience.period
        began = self._began.get(zone)
        return 0.0 if began is None else max(0.0, began + pace - anyio.current_time())

    async def _taint(self, node: Node, now: datetime, *, evict: bool) -> None:
        def tainted(current: Node) -> Node:
            taints = wanted_taints(current, now, evict=evict)
            meta = replace(current.metadata, labels=labels_of(current))
            return replace(current, metadata=meta, spec=replace(current.spec, taints=taints))

        if tainted(node) != node:
            try:
                await update_with(self._client, Node, node.key, tainted)
            except NotFound:
                return


@attrs.frozen
class _Eviction:
    uid: str
    due: float
    """By the loop's clock."""


class TaintEviction:
    """A `Reconciler` of pods: those that do not tolerate their node's NoExecute taints go, in their time.

    Their time begins when we first see a pod below such taints, whatever date these bear, and other taints or tolerations
    do not change it until nothing drives the pod away any more.
    """

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        self._client = informers.client
        self._pods = informers.of(Pod).cache
        self._nodes = informers.of(Node).cache
        self._clock = clock
        self._recorder = recorder
        self._evictions: dict[Key, _Eviction] = {}

    async def reconcile(self, key: Key) -> After | None:
        """Look at one pod."""
        pod = self._pods.view(key)
        if pod is None:
            self._cancel(
                key, ObjectReference(kind="Pod", api_version="v1", namespace=key.namespace, name=key.name)
            )
            return None
        if pod.metadata.deletion_timestamp is not None or not pod.spec.node_name:
            return None
        node = self._nodes.view(Key("", pod.spec.node_name))
        seconds = tolerated_for(pod.spec.tolerations, node.spec.taints) if node is not None else None
        if seconds is None:
            self._cancel(key, pod)
            return None
        uid, now = pod.metadata.uid, anyio.current_time()
        if seconds > 0:
            planned = self._evictions.get(key)
            if planned is None or planned.uid != uid:
                planned = self._evictions[key] = _Eviction(uid, now + seconds)
            if planned.due > now:
                return After(planned.due - now)
        else:
            self._cancel(key, pod)
        self._recorder.normal(pod, "TaintManagerEviction", f"Marking for deletion Pod {key}")
        date = self._clock.now()
        try:
            await update_with(self._client, Pod, key, lambda p: _disrupted(p, date), subresource="status")
            await self._client.resource(Pod).delete(key, preconditions=Preconditions(uid=uid))
        except NotFound:
            pass
        # Only now: a try that failed must not give the pod its time anew.
        self._evictions.pop(key, None)
        return None

    def _cancel(self, key: Key, about: Pod | ObjectReference) -> None:
        """Tell of it if a Pod that was to go later is not to any more, or has gone by itself."""
        if self._evictions.pop(key, None) is not None:
            self._recorder.normal(about, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")


def _disrupted(pod: Pod, now: datetime) -> Pod:
    others = tuple(c for c in pod.status.conditions if c.type != "DisruptionTarget")
    condition = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="DeletionByTaintManager",
        message="Taint manager: deleting due to NoExecute taint",
        last_transition_time=now.replace(microsecond=0),
        observed_generation=pod.metadata.generation,
    )
    return replace(pod, status=replace(pod.status, conditions=(*others, condition)))


def taint_eviction_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that drives pods away from nodes with NoExecute taints."""
    own = recorder.source(EVICTION_NAME)
    nodes, pods = informers.of(Node), informers.of(Pod)
    pods.cache.add_index(BY_NODE, pods_by_node)
    eviction = Controller(
        EVICTION_NAME,
        TaintEviction(informers, clock=clock, recorder=own),
        [(pods, itself), (nodes, nothing)],
        workers=8,
        recorder=own,
    )

    def taints_changed(old: Document | None, new: Document | None) -> None:
        # Nodes report all the time; their pods are looked at only when what drives them away has changed.
        before = old.view(Node).spec.taints if old is not None else ()
        after = new.view(Node).spec.taints if new is not None else ()
        if new is not None and before != after:
            for pod in pods.cache.by_index(BY_NODE, new.meta.name):
                eviction.queue.add(pod.key)

    nodes.subscribe(taints_changed)
    return eviction


def node_lifecycle_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, patience: Patience = PATIENCE
) -> Manager:
    """Return the three parts as one component."""
    own = recorder.source(NAME)
    nodes = informers.of(Node)
    leases = informers.of(Lease, Query(LEASES))
    informers.of(Pod).cache.add_index(BY_NODE, pods_by_node)
    taints = Controller(
        "node taints", NodeTaints(informers, clock=clock, patience=patience), [(nodes, itself)], recorder=own
    )
    eviction = taint_eviction_controller(informers, clock=clock, recorder=recorder)
    health = NodeHealth(informers, leases, clock=clock, recorder=own, patience=patience)
    return Manager([health, taints, eviction], name="node-lifecycle-controller")
