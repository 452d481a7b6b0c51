"""Who answers for which group and version: the APIServices, and this server's own kinds."""

from collections.abc import Callable

import anyio

from kubelib.api.apiregistration import APIService
from kubelib.api.errors import AlreadyExists, Conflict, NotFound
from kubelib.api.meta import Key
from kubelib.api.scheme import UnknownKind
from kubelib.registry.base import User, WriteOptions
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.aggregation.base import (
    ALWAYS,
    BUILTIN_GROUPS,
    CUSTOM_PRIORITIES,
    MANAGED,
    ON_START,
    Remote,
    builtin_priorities,
    registration,
    version_order,
)
from kubelib.server.aggregation.extension import Extension

GroupVersion = tuple[str, str]
AGGREGATOR = WriteOptions(
    user=User("system:kube-aggregator", ("system:masters", "system:authenticated")), manager="kube-apiserver"
)
_OWN_GROUP = "apiregistration.k8s.io"


class Registrations:
    """An index of the APIServices; with a scheme that has no such kind, this server answers for everything."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries
        self.extensions: dict[GroupVersion, Extension] = {}
        self.generation = 0
        """Counts the changes, for those who keep what they have made of the registrations."""
        self._seen = -1
        self._remotes: dict[GroupVersion, Remote] = {}
        self._priorities: dict[GroupVersion, tuple[int, int]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._registered: frozenset[GroupVersion] = frozenset()
        """What has been registered of this server's own."""
        try:
            self.resource = registries.scheme.of(APIService)
        except UnknownKind:
            self.enabled = False
            return
        self.enabled = True
        self._cache = registries.cache_of(APIService)
        self._cache.on_change(self._read)
        self._read()

    def _read(self) -> None:
        remotes: dict[GroupVersion, Remote] = {}
        priorities: dict[GroupVersion, tuple[int, int]] = {}
        for document in self._cache.all():
            spec = document.view(APIService).spec
            key = (spec.group, spec.version)
            priorities[key] = (spec.group_priority_minimum, spec.version_priority)
            remote = Remote.of(document)
            if remote is not None:
                remotes[key] = remote
        self._remotes, self._priorities = remotes, priorities
        self.generation += 1
        for listener in self._listeners:
            listener()

    def add(self, extension: Extension) -> None:
        """Note an extension."""
        self.extensions[extension.group, extension.version] = extension
        self.generation += 1

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    @property
    def remotes(self) -> dict[GroupVersion, Remote]:
        """Those that other servers answer for."""
        return self._remotes

    def groups(self) -> dict[str, list[str]]:
        """Return all groups with their versions, in the order of their priorities."""
        every = dict.fromkeys((r.group, r.version) for r in self._registries.scheme)
        every.update(dict.fromkeys(self.extensions))
        every.update(dict.fromkeys(self._remotes))
        known = {key: self._priorities.get(key) or builtin_priorities(*key) for key in every}
        highest: dict[str, int] = {}
        for (group, _), (priority, _) in known.items():
            highest[group] = max(highest.get(group, 0), priority)
        # Whatever others ask for, the group in which they ask comes first.
        own = self.resource.group if self.enabled else ""
        groups: dict[str, list[str]] = {
            group: [] for group in sorted(highest, key=lambda name: (name != own, -highest[name], name))
        }
        for group, version in sorted(known, key=lambda key: (-known[key][1], version_order(key[1]))):
            groups[group].append(version)
        return groups

    async def register_own(self) -> None:
        """Make the APIServices of this server's own kinds: once for the built-in ones, which then are the administrator's.

        Those of custom kinds come and go with them.
        """
        if not self.enabled:
            return
        own = frozenset((r.group, r.version) for r in self._registries.scheme if r.group != _OWN_GROUP)
        if own == self._registered and self._seen == self.generation:
            return
        first, self._registered, self._seen = not self._registered, own, self.generation
        async with anyio.create_task_group() as tasks:
            if first:
                for group, version in self.extensions:
                    # Whoever has another server answer for it may say so, once and for all.
                    if self._cache.get(Key("", f"{version}.{group}")) is None:
                        tasks.start_soon(self._ensure, group, version, ON_START)
            for group, version in sorted(own):
                if group not in BUILTIN_GROUPS:
                    tasks.start_soon(self._ensure, group, version, ALWAYS)
                elif first:
                    tasks.start_soon(self._ensure, group, version, ON_START)
            for document in list(self._cache.all()):
                spec = document.view(APIService).spec
                if document.meta.labels.get(MANAGED) == ALWAYS and (spec.group, spec.version) not in own:
                    tasks.start_soon(self._remove, document.key)

    async def _ensure(self, group: str, version: str, managed: str) -> None:
        registry = self._registries.of(self.resource)
        tree = registration(
            group, version, managed=managed, priorities=self._priorities_of(group, version, managed)
        )
        existing = self._cache.get(Key("", f"{version}.{group}"))
        try:
            if existing is None:
                await registry.create(tree, options=AGGREGATOR)
            elif existing.meta.labels.get(MANAGED) == managed and existing.tree()["spec"] != tree["spec"]:
                changed = {**existing.tree(), "spec": tree["spec"]}
                await registry.update(existing.key, changed, options=AGGREGATOR)
        except (AlreadyExists, Conflict, NotFound):
            return  # somebody else was quicker

    @staticmethod
    def _priorities_of(group: str, version: str, managed: str) -> tuple[int, int]:
        return CUSTOM_PRIORITIES if managed == ALWAYS else builtin_priorities(group, version)

    async def _remove(self, key: Key) -> None:
        try:
            await self._registries.of(self.resource).delete(key, options=AGGREGATOR)
        except (NotFound, Conflict):
            return
