"""What is left on each node, asked at the moment at which a Pod is bound.

Schedulers decide on what they have seen, and several may decide at once. Here, where all of their decisions land, a Pod is bound only
if the node still has room for it, so that no interleaving of any schedulers overcommits a node. What is counted is what the
scheduler counts: requests of all resources with the arithmetic of `kubelib.api.podresources`, the number of Pods, and ports of the host.
Pods that were created on a node, as DaemonSets of old and static Pods are, are counted but not refused. For transactions with coarse
detection it is known, too, when a node was last given a Pod; for policies of the commit point, how much whose Pods take up.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from kubelib.api.core.node import Node
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.podresources import Amounts, add, amounts, pod_requests
from kubelib.api.quantity import ZERO
from kubelib.api.scheme import Tree
from kubelib.api.validation.resources import is_extended
from kubelib.store import ABSENT, Put, Revision, RevisionMismatch
from kubelib.transactions.base import Party

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

Port = tuple[str, str, int]
"""Protocol, address and number of a port of the host."""
GUARDS = "/claims/"
"""Keys, one a node, that every binding on the node writes where several API servers share a store."""
ONE_BY_ONE = 8
"""Of more nodes than that the guards are read by one list of all."""
_ANY = ("", "0.0.0.0")
_ENDED = ("Succeeded", "Failed")
_PODS = "pods"
_SAYING = frozenset({"containerStatuses", "initContainerStatuses", "resources", "allocatedResources"})
"""What of a Pod's status says how much it takes up."""


@attrs.frozen
class Wanted:
    """What one Pod takes up on a node."""

    requests: Amounts
    ports: tuple[Port, ...]
    plain: bool = False
    """Whether the Pod's status is known to say nothing of it."""

    @classmethod
    def by(cls, spec: Tree, status: Tree | None = None, *, plain: bool = False) -> "Wanted":
        """Return what a Pod with this spec takes up; with its status, also while it is being resized."""
        sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
        ports = tuple(
            (port.get("protocol") or "TCP", port.get("hostIP") or "", port["hostPort"])
            for container in (*(spec.get("containers") or ()), *sidecars)
            for port in container.get("ports") or ()
            if port.get("hostPort")
        )
        wanted = pod_requests(spec, status)
        return cls({name: amount for name, amount in wanted.items() if amount > ZERO}, ports, plain)


def is_plain(status: Tree) -> bool:
    """Return whether a Pod takes up what its spec says: it has not ended, and its node says nothing else."""
    return status.get("phase") not in _ENDED and _SAYING.isdisjoint(status)


class _Load:
    """What is taken up on one node."""

    __slots__ = ("holders", "pods", "ports", "total")

    def __init__(self) -> None:
        self.total: Amounts = {}
        self.holders: dict[Held, int] = {}
        """Who has claims on the node that are on their way, and how many."""
        self.pods = 0
        self.ports: list[Port] = []

    def put(self, wanted: Wanted) -> None:
        self.pods += 1
        add(self.total, wanted.requests)
        self.ports += wanted.ports

    def take(self, wanted: Wanted) -> None:
        self.pods -= 1
        for name, amount in wanted.requests.items():
            self.total[name] -= amount
        for port in wanted.ports:
            self.ports.remove(port)


@attrs.frozen
class _Landed:
    """What was written of a Pod when it was bound here."""

    revision: Revision
    held: tuple[str, Wanted] | None
    """Node and wants; None if it has been seen to be bound, and to be gone again."""

    def as_written(self, document: Document) -> tuple[str, Wanted] | None:
        """Return node and wants of a Pod that nobody has written since: that need not be decoded, nor added up again.

        None also for one whose status says what it takes up, or that it takes up nothing.
        """
        if self.held is None or not self.held[1].plain:
            return None
        return self.held if int(document.meta.resource_version) == self.revision else None


class NodeRoom:
    """The room on all nodes, in step with the Pods in the watch cache: of those only what has changed is looked at again."""

    def __init__(self, pods: "GenericRegistry") -> None:
        self._pods = pods
        self._nodes = pods.owner.cache_of(Node)
        self._changed = pods.cache.track()
        self._bound: dict[Key, tuple[str, Wanted]] = {}
        self._loads: dict[str, _Load] = {}
        self._allocatable: dict[str, tuple[Document, Amounts]] = {}
        self._guards: dict[str, Revision] = {}
        self._held: dict[Key, dict[Held, tuple[str, Wanted]]] = {}
        self._given: dict[str, int] = {}
        self._landed: dict[Key, _Landed] = {}
        self._shares: Shares | None = None

    def lacks(self, node: str, wanted: Wanted) -> tuple[str, ...]:
        """Return what the node has too little of for one more such Pod; nothing where it fits or nobody knows the node.

        An extended resource of which the node does not say how much it has is another's to mind, as for kubelets.
        """
        self._catch_up()
        allocatable = self._of(node)
        if not allocatable:
            return ()
        load = self._loads.get(node) or _Load()
        lacking = []
        if _PODS in allocatable and load.pods + 1 > allocatable[_PODS].value():
            lacking.append(_PODS)
        for name, amount in wanted.requests.items():
            if name not in allocatable and is_extended(name):
                continue
            taken = load.total.get(name)
            if (taken + amount if taken is not None else amount) > allocatable.get(name, ZERO):
                lacking.append(name)
        if any(_clash(port, taken) for port in wanted.ports for taken in load.ports):
            lacking.append("ports")
        return tuple(lacking)

    def given(self, node: str, beside: "Held") -> float:
        """Return the resource version at which the node was last given a Pod, or one that is certainly not earlier.

        A Pod whose binding is under way, by another than `beside`, is given to it later than at any that somebody can have seen.
        """
        self._catch_up()
        load = self._loads.get(node)
        if load is not None and any(holder is not beside for holder in load.holders):
            return float("inf")
        return self._given.get(node, 0)

    @property
    def shares(self) -> "Shares":
        """How much of the cluster whose Pods take up, as of the Pods in the watch cache."""
        if self._shares is None:
            self._shares = Shares(self._nodes.track(), self._of)
            for key, (_, wanted) in self._bound.items():
                self._shares.count(self._pods.cache.get(key), wanted)
        self._catch_up()
        return self._shares

    @contextmanager
    def holding(self) -> Iterator["Held"]:
        """Hold what is claimed in the block, until what comes of it is seen in the watch cache."""
        held = Held(self)
        try:
            yield held
        finally:
            held.release()

    def hold(self, holder: "Held", pod: Key, node: str, wanted: Wanted) -> None:
        """Take room for a Pod whose binding is under way; several may be trying to bind it."""
        self._held.setdefault(pod, {})[holder] = node, wanted
        load = self._load(node)
        load.put(wanted)
        load.holders[holder] = load.holders.get(holder, 0) + 1

    def give_back(self, holder: "Held", pod: Key) -> None:
        """Give back what is held for a Pod, unless it has been seen to be bound."""
        holders = self._held.get(pod, {})
        held = holders.pop(holder, None)
        if held is not None:
            load = self._load(held[0])
            load.take(held[1])
            load.holders[holder] -= 1
            if not load.holders[holder]:
                del load.holders[holder]
            if not holders:
                del self._held[pod]

    def _load(self, node: str) -> _Load:
        return self._loads.setdefault(node, _Load())

    def guard(self, node: str) -> Put:
        """Return the write that lets a transaction fail if another API server binds on the node at the same time."""
        return Put(GUARDS + node, b"{}", self._guards.get(node, ABSENT))

    def landed(
        self, holder: "Held", pods: Iterable[Key], nodes: "set[str]", revision: Revision, *, guarded: bool
    ) -> None:
        """Remember at which revision nodes were given Pods that were held, and, if they are `guarded`, their guards written."""
        self._given.update(dict.fromkeys(nodes, revision))
        bound, landed = self._bound, self._landed
        for pod in pods:
            if pod not in bound:
                landed[pod] = _Landed(revision, self._held.get(pod, {}).get(holder))
        if guarded:
            self._guards.update(dict.fromkeys(nodes, revision))

    async def learn(self, mismatch: RevisionMismatch, nodes: "set[str]") -> None:
        """Take from a lost transaction who has been on its nodes. Raises `StoreError`, ServiceUnavailable.

        A guard is known only once the Pods of the commit that wrote it are, too: whoever decided in between would hold a guard
        that nobody has written since, without having counted what it guards.
        """
        if not mismatch.key.startswith(GUARDS):
            return
        found = {mismatch.key.removeprefix(GUARDS): mismatch.found}
        store = self._pods.owner.store
        if len(nodes) > ONE_BY_ONE:
            for entry in (await store.list(GUARDS)).entries:
                found[entry.key.removeprefix(GUARDS)] = entry.modified
        else:
            for node in nodes - found.keys():
                guard = await store.get(GUARDS + node)
                found[node] = guard.modified if guard is not None else ABSENT
        if max(found.values()) > self._pods.cache.revision:
            await self._pods.catch_up()
        self._guards.update(found)

    def _of(self, node: str) -> Amounts:
        document = self._nodes.get(Key("", node))
        if document is None:
            return {}
        known = self._allocatable.get(node)
        if known is None or known[0] is not document:
            status = document.tree().get("status") or {}
            known = self._allocatable[node] = document, amounts(status.get("allocatable"))
        return known[1]

    def _catch_up(self) -> None:
        changed, cache = self._changed, self._pods.cache
        while changed:
            key = changed.pop()
            landed = self._landed.pop(key, None)
            before = self._bound.pop(key, None)
            if before is not None:
                self._loads[before[0]].take(before[1])
                if self._shares is not None:
                    self._shares.discount(key)
            document = cache.get(key)
            if document is None:
                continue
            at = landed.revision if landed is not None else 0
            now = landed.as_written(document) if landed is not None else None
            found = now or self._found(document)
            if found is not None:
                node, wanted = found
                for holder in tuple(self._held.get(key, ())):
                    self.give_back(holder, key)
                self._bound[key] = node, wanted
                self._load(node).put(wanted)
                # Of a Pod that others have put there it is only known when it was last written: that is not too early.
                if not at and (before is None or before[0] != node):
                    at = int(document.meta.resource_version)
                    # Who put it there wrote the guard in the same commit. If the Pod was written again since, this is a
                    # wrong guess, and the first transaction on the node learns it.
                    self._guards[node] = max(Revision(at), self._guards.get(node, ABSENT))
                self._given[node] = max(at, self._given.get(node, 0))
                if self._shares is not None:
                    self._shares.count(document, wanted)

    def _found(self, document: Document) -> tuple[str, Wanted] | None:
        """Return the node that a Pod has, and what it takes up there."""
        tree = document.tree()
        spec, status = tree.get("spec") or {}, tree.get("status") or {}
        node = spec.get("nodeName")
        if not node or status.get("phase") in _ENDED:
            return None
        return node, Wanted.by(spec, status)


class Held:
    """What a transaction on its way has claimed: others find it taken."""

    def __init__(self, room: NodeRoom) -> None:
        self._room = room
        self._pods: list[Key] = []

    def claim(self, pod: Key, node: str, tree: Tree) -> tuple[str, ...]:
        """Take room on a node for a Pod, and return what it lacks if it has too little."""
        wanted = Wanted.by(tree["spec"], plain=is_plain(tree["status"]))
        lacking = self._room.lacks(node, wanted)
        if not lacking:
            self._room.hold(self, pod, node, wanted)
            self._pods.append(pod)
        return lacking

    def release(self) -> None:
        """Give back what has not been bound."""
        for pod in self._pods:
            self._room.give_back(self, pod)


class Shares:
    """Dominant shares: of the resource of which somebody's Pods take up the largest part, that part, from 0 to 1."""

    def __init__(self, changed: set[Key], allocatable: Callable[[str], Amounts]) -> None:
        self._changed = changed
        self._allocatable = allocatable
        self._offered: dict[Key, Amounts] = {}
        self._total: Amounts = {}
        self._used: dict[tuple[Party, str], Amounts] = {}
        self._counted: dict[Key, tuple[tuple[tuple[Party, str], ...], Wanted]] = {}

    def count(self, document: Document | None, wanted: Wanted) -> None:
        """Count a Pod for its scheduler and its namespace."""
        if document is None:
            return
        scheduler = document.tree()["spec"].get("schedulerName") or ""
        parties: tuple[tuple[Party, str], ...] = (
            ("scheduler", scheduler),
            ("namespace", document.key.namespace),
        )
        self._counted[document.key] = parties, wanted
        for party in parties:
            add(self._used.setdefault(party, {}), wanted.requests)

    def discount(self, pod: Key) -> None:
        """Count a Pod no more."""
        parties, wanted = self._counted.pop(pod, ((), None))
        for party in parties:
            assert wanted is not None
            used = self._used[party]
            for name, amount in wanted.requests.items():
                used[name] -= amount

    def dominant(self, party: Party, name: str) -> float:
        """Return the dominant share of a scheduler or a namespace."""
        while self._changed:
            key = self._changed.pop()
            for resource, amount in self._offered.pop(key, {}).items():
                self._total[resource] -= amount
            offered = self._offered[key] = dict(self._allocatable(key.name))
            add(self._total, offered)
        largest = 0.0
        for resource, amount in self._used.get((party, name), {}).items():
            total = self._total.get(resource, ZERO)
            if total > ZERO:
                largest = max(largest, amount.milli() / total.milli())
        return largest


def _clash(one: Port, other: Port) -> bool:
    (protocol, address, number), (protocol2, address2, number2) = one, other
    same = address == address2 or address in _ANY or address2 in _ANY
    return protocol == protocol2 and number == number2 and same
