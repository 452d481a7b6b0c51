"""Which kinds there are: kind ↔ class ↔ resource name, and what each can do.

A kind is declared once, as a `Resource`; discovery, the codec, OpenAPI, `kubectl explain` and the printed columns
all follow from it. Custom kinds register here like built-in ones.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from kubelib.api.meta import Object

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
    storage_group: str = attrs.field(default=attrs.Factory(lambda self: self.group, takes_self=True))
    """The group under which objects are stored: kinds served in two groups (Event) are stored once."""

    @property
    def api_version(self) -> str:
        """``group/version``, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """The resource's name in messages: ``pods``, ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class UnknownKind(LookupError):
    """There is no such kind or resource in the scheme."""


class Scheme:
    """A set of resources, found by class, by kind or by path. Later registrations replace earlier ones."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_class: dict[type[Object], Resource] = {}

    def add(self, *resources: Resource) -> None:
        """Register resources."""
        for resource in resources:
            self._by_kind[resource.api_version, resource.kind] = resource
            self._by_path[resource.group, resource.version, resource.plural] = resource
            self._by_class[resource.cls] = resource

    def remove(self, resource: Resource) -> None:
        """Take a resource out."""
        self._by_kind.pop((resource.api_version, resource.kind), None)
        self._by_path.pop((resource.group, resource.version, resource.plural), None)
        self._by_class.pop(resource.cls, None)

    def of(self, cls: type[Object]) -> Resource:
        """Return the resource that holds objects of class `cls`. Raises `UnknownKind`."""
        try:
            return self._by_class[cls]
        except KeyError:
            raise UnknownKind(f"no resource is registered for {cls.__name__}") from None

    def kind(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind. Raises `UnknownKind`."""
        try:
            return self._by_kind[api_version, kind]
        except KeyError:
            raise UnknownKind(f'no kind "{kind}" is registered for version "{api_version}"') from None

    def path(self, group: str, version: str, plural: str) -> Resource:
        """Return the resource at ``group/version/plural``. Raises `UnknownKind`."""
        try:
            return self._by_path[group, version, plural]
        except KeyError:
            raise UnknownKind(
                f"the server has no resource {plural!r} in {group or 'core'}/{version}"
            ) from None

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def __len__(self) -> int:
        return len(self._by_path)
