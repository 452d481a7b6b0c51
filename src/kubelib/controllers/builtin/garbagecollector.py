"""The garbage collector: what becomes of objects when the objects that own them go.

It watches every kind and keeps a graph of who owns whom. An object whose owners are all gone is deleted in the background; an
owner deleted in the foreground waits for the dependents that block it; one deleted with orphans lets go of its dependents.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import attrs

from kubelib.api.core.references import ObjectReference
from kubelib.api.document import Document
from kubelib.api.errors import Conflict, NotFound
from kubelib.api.meta import Key, Object, OwnerReference
from kubelib.api.model import replace
from kubelib.api.scheme import Resource, Scheme, UnknownKind
from kubelib.client.base import Client
from kubelib.client.update import update_with
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.informers import Informer, SharedInformers
from kubelib.registry.base import Preconditions, Propagation

NAME = "garbage-collector-controller"
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
LOOK_AGAIN = 0.5


@attrs.frozen
class Node:
    """An object in the graph."""

    resource: Resource
    key: Key
    uid: str
    owners: tuple[OwnerReference, ...]
    deleting: bool
    finalizers: tuple[str, ...]


class Graph:
    """Who owns whom, by uid."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.dependents: dict[str, dict[str, None]] = {}

    def put(self, node: Node) -> None:
        """Add an object, or what has become of it."""
        old = self.nodes.get(node.uid)
        if old is not None:
            self._unlink(old)
        self.nodes[node.uid] = node
        for owner in node.owners:
            self.dependents.setdefault(owner.uid, {})[node.uid] = None

    def remove(self, uid: str) -> list[str]:
        """Take an object out; return the uids of its dependents."""
        node = self.nodes.pop(uid, None)
        if node is not None:
            self._unlink(node)
        return list(self.dependents.get(uid, ()))

    def _unlink(self, node: Node) -> None:
        for owner in node.owners:
            dependents = self.dependents.get(owner.uid)
            if dependents is not None:
                dependents.pop(node.uid, None)
                if not dependents:
                    del self.dependents[owner.uid]

    def of(self, uid: str) -> list[Node]:
        """Return the dependents of an object."""
        return [self.nodes[d] for d in self.dependents.get(uid, ()) if d in self.nodes]


class GarbageCollector:
    """Decides about one object, known by its uid (as the name of a key)."""

    def __init__(self, client: Client, scheme: Scheme, recorder: Recorder) -> None:
        self._client = client
        self._scheme = scheme
        self._recorder = recorder
        self.graph = Graph()
        self.following: object = None
        """What tells of changes: it lives as long as this."""

    def forget(self, resource: Resource) -> None:
        """Forget the objects of a resource that is served no more: they went before it."""
        for uid, node in list(self.graph.nodes.items()):
            if (node.resource.group, node.resource.plural) == (resource.group, resource.plural):
                self.graph.remove(uid)

    def on_change(self, resource: Resource, old: Document | None, new: Document | None) -> Iterable[str]:
        """Take a change into the graph; return the uids of the objects to look at."""
        if new is None:
            assert old is not None
            node = self.graph.nodes.get(old.meta.uid)
            owners = [owner.uid for owner in node.owners] if node is not None else []
            return [*self.graph.remove(old.meta.uid), *owners]
        meta = new.meta
        node = Node(
            resource, new.key, meta.uid, meta.owner_references, bool(meta.deletion_timestamp), meta.finalizers
        )
        known = self.graph.nodes.get(meta.uid)
        if known == node:
            return ()
        self.graph.put(node)
        interesting = node.owners or (node.deleting and {ORPHAN, FOREGROUND} & set(node.finalizers))
        # Who says something else of an owner than what is now seen of it is looked at again.
        mistaken = (
            (d.uid for d in self.graph.of(meta.uid) if self._is_mistaken(d, node)) if known is None else ()
        )
        return [*([meta.uid] if interesting else ()), *mistaken]

    async def reconcile(self, key: Key) -> After | None:
        """Look at one object."""
        node = self.graph.nodes.get(key.name)
        if node is None:
            return None
        if node.deleting and ORPHAN in node.finalizers:
            return await self._orphan(node)
        if node.deleting and FOREGROUND in node.finalizers:
            return await self._delete_dependents(node)
        if node.owners and not node.deleting:
            await self._check_owners(node)
        return None

    async def _check_owners(self, node: Node) -> None:
        """Delete an object whose owners are all gone; let go of those that are, if others are left."""
        try:
            # The graph may be behind: what may be deleted is looked at as it is now.
            live = await self._client.resource(node.resource.cls).get(node.key)
        except NotFound:
            return
        if live.metadata.uid != node.uid or live.metadata.deletion_timestamp is not None:
            return
        references = live.metadata.owner_references
        if not references:
            return
        for owner in references:
            self._tell_if_misplaced(owner, node)
        if not node.key.namespace and any(map(self._is_namespaced, references)):
            return  # such a reference means nothing: it is not for us to say that the owner is gone
        solid: list[OwnerReference] = []
        others: list[OwnerReference] = []
        waiting = False
        for owner in references:
            known = self.graph.nodes.get(owner.uid)
            if known is not None and self._is_meant(owner, known, node):
                foreground = known.deleting and FOREGROUND in known.finalizers
            else:
                # What the graph does not know may only not have been seen yet: the server decides.
                found = await self._find(owner, node.key.namespace)
                if found is None:
                    others.append(owner)
                    continue
                meta = found.metadata
                foreground = meta.deletion_timestamp is not None and FOREGROUND in meta.finalizers
            waiting |= foreground
            (others if foreground else solid).append(owner)
        if solid:
            if others:
                left = {owner.uid for owner in solid}
                await self._change(
                    node,
                    lambda meta: {
                        "owner_references": tuple(o for o in meta.owner_references if o.uid in left)
                    },
                )
            return
        # An owner that waits for this one must also wait for what this one owns.
        dependents = self.graph.of(node.uid)
        foreground = waiting and bool(dependents)
        if foreground and any(d.deleting and FOREGROUND in d.finalizers for d in dependents):
            # A circle: everybody would wait for everybody. This one no longer holds up its owners.
            await self._change(
                node,
                lambda meta: {
                    "owner_references": tuple(
                        replace(owner, block_owner_deletion=False) if owner.block_owner_deletion else owner
                        for owner in meta.owner_references
                    )
                },
            )
        with suppress(NotFound):
            await self._delete(node, live, "Foreground" if foreground else _propagation(live))

    async def _delete(self, node: Node, live: Object, propagation: Propagation) -> None:
        """Delete an object unless it has got other owners since it was looked at."""
        registry = self._client.resource(node.resource.cls)
        version = Preconditions(node.uid, live.metadata.resource_version)
        try:
            await registry.delete(node.key, preconditions=version, propagation=propagation)
        except Conflict:
            now = (await registry.get(node.key)).metadata
            if (now.uid, now.owner_references) != (node.uid, live.metadata.owner_references):
                raise
            # Something else of it has changed: objects that change all the time must be able to go, too.
            await registry.delete(node.key, preconditions=Preconditions(node.uid), propagation=propagation)

    def _tell_if_misplaced(self, owner: OwnerReference, node: Node) -> None:
        """Tell of a reference to an owner in another namespace."""
        known, namespace = self.graph.nodes.get(owner.uid), node.key.namespace
        if known is None or known.key.namespace in ("", namespace):
            return
        about = ObjectReference(
            kind=node.resource.kind,
            api_version=node.resource.api_version,
            namespace=namespace,
            name=node.key.name,
            uid=node.uid,
        )
        who = (
            f"{owner.api_version}/{owner.kind}, namespace: {namespace}, name: {owner.name}, uid: {owner.uid}"
        )
        message = f'ownerRef [{who}] does not exist in namespace "{namespace}"'
        self._recorder.warning(about, "OwnerRefInvalidNamespace", message)

    def _is_namespaced(self, owner: OwnerReference) -> bool:
        try:
            return self._scheme.kind(owner.api_version, owner.kind).namespaced
        except UnknownKind:
            return False

    def _is_mistaken(self, dependent: Node, owner: Node) -> bool:
        return any(r.uid == owner.uid and not self._is_meant(r, owner, dependent) for r in dependent.owners)

    @staticmethod
    def _is_meant(owner: OwnerReference, known: Node, node: Node) -> bool:
        """Whether a reference says truly of what kind and where the object with its uid is, in whichever version."""
        return (
            known.resource.kind == owner.kind
            and known.resource.group == owner.api_version.rpartition("/")[0]
            and known.key.name == owner.name
            and known.key.namespace in ("", node.key.namespace)
        )

    async def _find(self, owner: OwnerReference, namespace: str) -> Object | None:
        """Return an owner, asking the server: what the graph does not know may only not have been seen yet."""
        try:
            resource = self._scheme.kind(owner.api_version, owner.kind)
        except UnknownKind:
            return Object()  # a kind that we do not know: not ours to judge
        cls: type[Object] = resource.cls
        try:
            found = await self._client.resource(cls).get(
                Key(namespace if resource.namespaced else "", owner.name)
            )
        except NotFound:
            return None
        return found if found.metadata.uid == owner.uid else None

    async def _orphan(self, node: Node) -> After | None:
        for dependent in self.graph.of(node.uid):
            await self._change(
                dependent,
                lambda meta: {
                    "owner_references": tuple(o for o in meta.owner_references if o.uid != node.uid)
                },
            )
        await self._change(
            node, lambda meta: {"finalizers": tuple(f for f in meta.finalizers if f != ORPHAN)}
        )
        return None

    async def _delete_dependents(self, node: Node) -> After | None:
        """Delete the dependents; let the owner go once none that blocks it is left."""
        blocking = False
        for dependent in self.graph.of(node.uid):
            blocking |= any(o.uid == node.uid and o.block_owner_deletion for o in dependent.owners)
            if not dependent.deleting:
                await self._check_owners(dependent)
        if blocking:
            return After(LOOK_AGAIN)
        await self._change(
            node, lambda meta: {"finalizers": tuple(f for f in meta.finalizers if f != FOREGROUND)}
        )
        return None

    async def _change(self, node: Node, change: Any) -> None:
        """Change the metadata of an object, if it still is the one that was meant."""

        def changed(obj: Object) -> Object | None:
            if obj.metadata.uid != node.uid:
                return None
            return replace(obj, metadata=replace(obj.metadata, **change(obj.metadata)))

        cls: type[Object] = node.resource.cls
        with suppress(NotFound):
            await update_with(self._client, cls, node.key, changed)


def _propagation(obj: Object) -> Propagation:
    """Return how an object is deleted whose finalizers may say so."""
    finalizers = obj.metadata.finalizers
    return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"


def collected(scheme: Scheme) -> dict[type[Object], Resource]:
    """Return the resources whose objects are looked after: of each kind one version, by its class."""
    found: dict[tuple[str, str], Resource] = {}
    for resource in scheme:
        if {"watch", "delete"} <= set(resource.verbs) and not (resource.builtin and resource.kind == "Event"):
            key = (resource.group, resource.plural)
            if key not in found or resource.version == resource.storage_version:
                found[key] = resource
    return {resource.cls: resource for resource in found.values()}


class Following:
    """Keeps the collector's informers in step with the kinds that there are: some come and go while it runs."""

    def __init__(self, informers: SharedInformers, scheme: Scheme, collector: GarbageCollector) -> None:
        self._informers = informers
        self._scheme = scheme
        self._collector = collector
        self._watched: dict[type[Object], Resource] = {}
        self.controller: Controller | None = None
        # The scheme may live longer than this: it must not keep it alive.
        follow = weakref.WeakMethod(self.follow)

        def changed() -> None:
            method = follow()
            if method is None:
                stop()
            else:
                method()

        stop = scheme.on_change(changed)

    def follow(self) -> list[Informer[Any]]:
        """Watch the kinds that are new, and forget those that are gone; return the informers of the new ones."""
        wanted = collected(self._scheme)
        for cls in [cls for cls in self._watched if cls not in wanted]:
            resource = self._watched.pop(cls)
            self._informers.forget(cls)
            self._collector.forget(resource)
        new = [cls for cls in wanted if cls not in self._watched]
        self._watched = wanted
        informers = [self._informers.of(cls) for cls in new]
        for informer in informers:
            informer.subscribe(self._handler(informer.cls))
        return informers

    def _handler(self, cls: type[Object]) -> Callable[[Document | None, Document | None], None]:
        def handle(old: Document | None, new: Document | None) -> None:
            resource = self._watched.get(cls)
            if resource is None:
                return
            for uid in self._collector.on_change(resource, old, new):
                if self.controller is not None:
                    self.controller.queue.add(Key("", uid))

        return handle


def garbage_collector(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the garbage collector over every kind of a scheme that can be watched and deleted."""
    own = recorder.source(NAME)
    collector = GarbageCollector(informers.client, scheme, own)
    following = Following(informers, scheme, collector)
    sources = [(informer, nothing) for informer in following.follow()]
    controller = Controller(NAME, collector, sources, workers=5, recorder=own)
    following.controller = controller
    collector.following = following
    return controller
