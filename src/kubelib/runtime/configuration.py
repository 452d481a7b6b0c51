"""The ConfigMaps and Secrets that a node's Pods use: each is watched on its own, by one watch, for as long as a Pod uses it.

What the kubelet calls the change detection strategy ``Watch``. A node may not see others (`kubelib.server.authz.nodes`). One that is
immutable is read and then watched no more. One that no volume shows, as only variables are made of it, is watched again when somebody
asks for it, once nobody has for a while.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeAlias, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.codec import to_tree
from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.podreferences import references_of
from kubelib.api.scheme import Tree
from kubelib.client.base import Client
from kubelib.informers.reflector import Reflector
from kubelib.labels import parse_field_selector
from kubelib.registry.base import EventType, Query
from kubelib.runtime.environment import ConfigMissing

PATIENCE = 1.0
"""Seconds that who asks waits for what has not been read yet."""
IDLE_AFTER, LOOK_AROUND = 300.0, 60.0
"""Seconds after which what nobody asks for and no volume shows is watched no more, and after which one looks for such again."""
Changed = Callable[[str], object]
"""Told the UID of a Pod when something that it uses has changed. Must not wait."""
Kind: TypeAlias = type[ConfigMap] | type[Secret]
C = TypeVar("C", ConfigMap, Secret)


class Configuration:
    """A `kubelib.runtime.environment.ConfigSource` for the Pods that are registered. A `Component`."""

    def __init__(self, client: Client, changed: Changed, *, random: Random) -> None:
        self.name = "configuration"
        self._client = client
        self._changed = changed
        self._random = random
        self._used: dict[tuple[Kind, Key], _Used] = {}
        self._by_pod: dict[str, frozenset[tuple[Kind, Key]]] = {}
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Watch what registered Pods use until cancelled."""
        async with anyio.create_task_group() as self._tasks:
            for (kind, key), used in self._used.items():
                self._tasks.start_soon(self._watch, kind, key, used)
            task_status.started()
            while True:
                await anyio.sleep(LOOK_AROUND)
                for used in self._used.values():
                    used.rest_if_idle()

    def register(self, pod: Pod) -> None:
        """Begin to watch what a Pod uses, and what it uses no more no longer."""
        uid, tree = pod.metadata.uid, to_tree(pod)
        before, now = self._by_pod.get(uid, frozenset()), frozenset(_used_by(tree))
        self._by_pod[uid] = now
        shown = frozenset(_used_by({**tree, "spec": {"volumes": tree["spec"].get("volumes")}}))
        for kind, key in sorted(now, key=_order):
            used = self._used.get((kind, key))
            if used is None:
                used = self._used[kind, key] = _Used(kind, self._changed)
                if self._tasks is not None:
                    self._tasks.start_soon(self._watch, kind, key, used)
            used.pods.add(uid)
            if (kind, key) in shown:
                used.shown.add(uid)
                self._wake(kind, key, used)
            else:
                used.shown.discard(uid)
        self._drop(uid, before - now)

    def release(self, uid: str) -> None:
        """End the watches that only this Pod needed."""
        self._drop(uid, self._by_pod.pop(uid, frozenset()))

    def _drop(self, uid: str, names: frozenset[tuple[Kind, Key]]) -> None:
        for name in names:
            used = self._used[name]
            used.pods.discard(uid)
            used.shown.discard(uid)
            if not used.pods:
                del self._used[name]
                used.watching.cancel()

    def _wake(self, kind: Kind, key: Key, used: "_Used") -> None:
        """Watch something again that was at rest."""
        if used.rests and self._tasks is not None:
            used.rests, used.watching = False, anyio.CancelScope()
            self._tasks.start_soon(self._watch, kind, key, used)

    async def _watch(self, kind: Kind, key: Key, used: "_Used") -> None:
        query = Query(key.namespace, fields=parse_field_selector(f"metadata.name={key.name}"))
        registry = self._client.resource(kind)
        with used.watching:
            name = f"{kind.kind} {key}"
            await Reflector(registry, used, query=query, random=self._random, name=name).run()

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        """Return a ConfigMap. Raises `ConfigMissing`."""
        return await self._get(ConfigMap, Key(namespace, name))

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret. Raises `ConfigMissing`."""
        return await self._get(Secret, Key(namespace, name))

    async def _get(self, kind: type[C], key: Key) -> C:
        used = self._used.get((kind, key))
        if used is None:
            raise ConfigMissing(f'object "{key.namespace}"/"{key.name}" not registered')
        used.asked = anyio.current_time()
        self._wake(kind, key, used)
        what = kind.kind.lower()
        if not await used.is_known():
            raise ConfigMissing(f"failed to sync {what} cache: timed out waiting for the condition")
        if used.document is None:
            raise ConfigMissing(f'{what} "{key.name}" not found')
        return used.document.view(kind)

    def __len__(self) -> int:
        """Return how many objects are used."""
        return len(self._used)

    @property
    def watched(self) -> int:
        """How many of them are watched."""
        return sum(not used.watching.cancel_called for used in self._used.values())


class _Used:
    """One object, and who uses it. What its reflector keeps in step."""

    def __init__(self, kind: Kind, changed: Changed) -> None:
        self.pods: set[str] = set()
        """By UID."""
        self.shown: set[str] = set()
        """The Pods of which volumes show it, by UID."""
        self.asked = anyio.current_time()
        """When somebody last asked for it, by the loop's time."""
        self.rests = False
        """Whether it is watched no more until somebody asks for it."""
        self.document: Document | None = None
        """As it is; None if it is not there."""
        self.watching = anyio.CancelScope()
        self._kind = kind
        self._changed = changed
        self._known = anyio.Event()
        self._missed = False
        """Whether somebody has asked in vain for what had not been read."""

    async def is_known(self) -> bool:
        """Return whether the object has been read, or found not to be there; wait a moment for that."""
        with anyio.move_on_after(PATIENCE):
            await self._known.wait()
        if not self._known.is_set():
            self._missed = True
        return self._known.is_set()

    def rest_if_idle(self) -> None:
        """End the watch if nobody needs it any more."""
        idle = not self.shown and anyio.current_time() - self.asked >= IDLE_AFTER
        # What is about to be read is not read in vain.
        if idle and self._known.is_set() and not self.watching.cancel_called:
            self.rests, self._known, self.document = True, anyio.Event(), None
            self.watching.cancel()

    def replace(self, documents: Sequence[Document], resource_version: str) -> None:
        """Take the object as it is."""
        self._take(documents[0] if documents else None)

    def apply(self, type: EventType, document: Document) -> None:
        """Take a change of it."""
        if type != "BOOKMARK":
            self._take(None if type == "DELETED" else document)

    def _take(self, document: Document | None) -> None:
        news = self._missed
        if self._known.is_set():
            news = _version(document) != _version(self.document)
        self.document = document
        self._known.set()
        if document is not None and document.view(self._kind).immutable:
            self.watching.cancel()
        if news:
            for uid in sorted(self.pods):
                self._changed(uid)


def _version(document: Document | None) -> str:
    return "" if document is None else document.meta.resource_version


def _used_by(pod: Tree) -> Iterator[tuple[Kind, Key]]:
    references, namespace = references_of(pod), pod["metadata"]["namespace"]
    for name in references.config_maps:
        yield ConfigMap, Key(namespace, name)
    for name in references.secrets:
        yield Secret, Key(namespace, name)


def _order(used: tuple[Kind, Key]) -> tuple[str, Key]:
    kind, key = used
    return kind.kind, key
