"""Which kinds there are: kind ↔ class ↔ resource name, and what each can do.

A kind is declared once, as a `Resource`; discovery, the codec, OpenAPI, `kubectl explain` and the printed columns
all follow from it. Custom kinds register here like built-in ones.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api.meta import Object

if TYPE_CHECKING:
    from kubelib.api.errors import Problem
    from kubelib.api.structural.structure import Structure

Tree = dict[str, Any]
"""A decoded JSON document."""


@attrs.frozen
class Column:
    """A printed column. `cell` takes the decoded document (and the current time) and returns the cell."""

    name: str
    cell: Callable[[Tree, Any], Any]
    type: str = "string"
    format: str = ""
    description: str = ""
    wide: bool = False
    """Shown only with ``-o wide`` (priority 1)."""
    priority: int = attrs.field(default=attrs.Factory(lambda self: int(self.wide), takes_self=True))
    """0 for columns that are always shown."""


_OF_CUSTOM_KINDS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""The order of verbs in discovery; those of other kinds are sorted."""


@attrs.frozen(kw_only=True)
class Resource:
    """One resource of the API: the kind it holds, how it is named, what may be done with it."""

    group: str
    """The API group, empty for the core group."""
    version: str
    kind: str
    plural: str
    singular: str = attrs.field(default=attrs.Factory(lambda self: self.kind.lower(), takes_self=True))
    namespaced: bool = True
    cls: type[Object]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = (
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    )  # fmt: skip
    columns: tuple[Column, ...] = ()
    selectable: Mapping[str, str] = attrs.field(factory=dict)
    """Field selectors beyond ``metadata.name`` and ``metadata.namespace``: label → value when the field is absent."""
    shows_deleted: bool = False
    """Whether a delete answers with the object that was deleted, and not with a ``Status``."""
    warning: str = ""
    """What every client that uses the resource is told: that it is deprecated, and what to use instead."""
    storage_group: str = attrs.field(default=attrs.Factory(lambda self: self.group, takes_self=True))
    """The group under which objects are stored: kinds served in two groups (Event) are stored once."""
    storage_version: str = attrs.field(default=attrs.Factory(lambda self: self.version, takes_self=True))
    """The version in whose form objects are stored, where the group serves several."""
    list_kind: str = attrs.field(default=attrs.Factory(lambda self: f"{self.kind}List", takes_self=True))
    """The kind of lists of it."""
    structure: "Structure | None" = attrs.field(default=None, eq=False, repr=False)
    """How documents are checked where the kind is defined by a schema; None where it is by its class."""
    rules: "Rules | None" = attrs.field(default=None, eq=False, repr=False)
    """What a kind that is defined in Python says of its documents beyond their types; None for built-in kinds."""

    terminating: bool = False
    """Whether the definition of the kind is being deleted: its objects may still be changed, but that is not offered any more."""

    @property
    def offered(self) -> list[str]:
        """The verbs that discovery lists, in the order in which Kubernetes does."""
        offered = set(self.verbs) - ({"create", "patch", "update"} if self.terminating else set())
        return sorted(offered, key=_OF_CUSTOM_KINDS.index if self.structure is not None else None)

    @functools.cached_property
    def builtin(self) -> bool:
        """Whether the rules that Kubernetes has for kinds of this name are meant."""
        return self.structure is None and self.cls.__module__.startswith("kubelib.api.")

    @functools.cached_property
    def api_version(self) -> str:
        """``group/version``, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @functools.cached_property
    def group_resource(self) -> str:
        """The resource's name in messages: ``pods``, ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@attrs.frozen(kw_only=True)
class Rules:
    """What a kind that is defined in Python says of its documents."""

    default: Callable[[Tree], None] | None = None
    """Fills in what a document leaves out, in place."""
    validate: Callable[[Tree], list["Problem"]] | None = None
    """Returns what is wrong with a document."""
    validate_update: Callable[[Tree, Tree], list["Problem"]] | None = None
    """Returns what is wrong with a change: called with the new document and the old one, after `validate`."""
    strategy: Callable[[], Any] | None = None
    """Makes the `kubelib.registry.strategies.base.Strategy` of the kind; None for the generic one."""


class UnknownKind(LookupError):
    """There is no such kind or resource in the scheme."""


class Scheme:
    """A set of resources, found by class, by kind or by path. Later registrations replace earlier ones.

    With a `base`, everything of that is in the scheme too, also what is added there later; it is never changed from here.
    """

    def __init__(self, base: "Scheme | None" = None) -> None:
        self._base = base
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_class: dict[type[Object], Resource] = {}
        self._changes = 0
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of this scheme, its base apart, until what is returned is called."""
        self._callbacks.append(callback)

        def stop() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return stop

    def _changed(self) -> None:
        self._changes += 1
        for callback in list(self._callbacks):
            callback()

    @property
    def generation(self) -> tuple[int, ...]:
        """Which state of the scheme this is: another after every change."""
        return (self._changes, *(self._base.generation if self._base is not None else ()))

    def add(self, *resources: Resource) -> None:
        """Register resources."""
        for resource in resources:
            self._by_kind[resource.api_version, resource.kind] = resource
            self._by_path[resource.group, resource.version, resource.plural] = resource
            self._by_class[resource.cls] = resource
        self._changed()

    def remove(self, *resources: Resource) -> None:
        """Take resources out."""
        self.replace(resources, ())

    def replace(self, old: Iterable[Resource], new: Iterable[Resource]) -> None:
        """Take resources out and register others, as one change."""
        for resource in old:
            self._by_kind.pop((resource.api_version, resource.kind), None)
            self._by_path.pop((resource.group, resource.version, resource.plural), None)
            self._by_class.pop(resource.cls, None)
        self.add(*new)

    def of(self, cls: type[Object]) -> Resource:
        """Return the resource that holds objects of class `cls`. Raises `UnknownKind`."""
        try:
            return self._by_class[cls]
        except KeyError:
            if self._base is not None:
                return self._base.of(cls)
            raise UnknownKind(f"no resource is registered for {cls.__name__}") from None

    def kind(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind. Raises `UnknownKind`."""
        try:
            return self._by_kind[api_version, kind]
        except KeyError:
            if self._base is not None:
                return self._base.kind(api_version, kind)
            raise UnknownKind(f'no kind "{kind}" is registered for version "{api_version}"') from None

    def path(self, group: str, version: str, plural: str) -> Resource:
        """Return the resource at ``group/version/plural``. Raises `UnknownKind`."""
        found = self._by_path.get((group, version, plural))
        if found is not None:
            return found
        if self._base is not None:
            return self._base.path(group, version, plural)
        raise UnknownKind(f"the server has no resource {plural!r} in {group or 'core'}/{version}")

    def __iter__(self) -> Iterator[Resource]:
        if self._base is None:
            return iter(list(self._by_path.values()))
        own = self._by_path
        inherited = [r for r in self._base if (r.group, r.version, r.plural) not in own]
        return iter([*inherited, *own.values()])

    def __len__(self) -> int:
        return sum(1 for _ in self)
