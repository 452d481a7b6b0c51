"""Namespaces that are being deleted: their content goes first, then they."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import attrs

from kubelib.api.core.namespace import Namespace, NamespaceCondition
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.scheme import Resource, Scheme, UnknownKind
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Query

NAME = "namespace-controller"
FINALIZER = "kubernetes"
LOOK_AGAIN = 1.0


@attrs.define
class Remains:
    """What is left of a namespace's content, and what went wrong."""

    instances: dict[str, int] = attrs.field(factory=dict)
    """How many objects of each resource."""
    finalizers: dict[str, int] = attrs.field(factory=dict)
    """How many objects each finalizer holds."""
    errors: list[str] = attrs.field(factory=list)


_Told = tuple[str, str]
"""The reason and the message of a condition."""


def _findings(remains: Remains) -> Iterator[tuple[str, bool, _Told]]:
    """Yield each condition's type, whether it holds, and what it tells."""

    def finding(type: str, fine: _Told, trouble: _Told | None = None) -> tuple[str, bool, _Told]:
        return type, trouble is not None, trouble or fine

    yield finding(
        "NamespaceDeletionDiscoveryFailure", ("ResourcesDiscovered", "All resources successfully discovered")
    )
    yield finding(
        "NamespaceDeletionGroupVersionParsingFailure",
        ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    )
    yield finding(
        "NamespaceDeletionContentFailure",
        ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        (
            "ContentDeletionFailed",
            f"Failed to delete all resource types, {len(remains.errors)} remaining: "
            + ", ".join(sorted(remains.errors)),
        )
        if remains.errors
        else None,
    )
    kinds = ", ".join(
        f"{name} has {count} resource instances" for name, count in sorted(remains.instances.items())
    )
    yield finding(
        "NamespaceContentRemaining",
        ("ContentRemoved", "All content successfully removed"),
        ("SomeResourcesRemain", f"Some resources are remaining: {kinds}") if kinds else None,
    )
    holders = ", ".join(
        f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items())
    )
    some = f"Some content in the namespace has finalizers remaining: {holders}"
    yield finding(
        "NamespaceFinalizersRemaining",
        ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ("SomeFinalizersRemain", some) if holders else None,
    )


def conditions(
    remains: Remains, current: Sequence[NamespaceCondition], now: datetime
) -> tuple[NamespaceCondition, ...]:
    """Return what a namespace says about its end. A condition that stays as it was keeps its date."""
    before = {condition.type: condition for condition in current}
    told = []
    for type, holds, (reason, message) in _findings(remains):
        old, status = before.pop(type, None), "True" if holds else "False"
        same = old is not None and old.status == status
        date = old.last_transition_time if same and old is not None else now.replace(microsecond=0)
        told.append(
            NamespaceCondition(
                type=type, status=status, reason=reason, message=message, last_transition_time=date
            )
        )
    return (*before.values(), *told)


class NamespaceContent:
    """Deletes what is in a namespace, and lifts its finalizer once nothing is left."""

    def __init__(self, informers: SharedInformers, scheme: Scheme, clock: Clock) -> None:
        self._client = informers.client
        self._cache = informers.of(Namespace).cache
        self._scheme = scheme
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Look at one namespace."""
        namespace = self._cache.view(key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return None
        if FINALIZER not in namespace.spec.finalizers:
            return None
        remains = await self._delete_content(key.name)
        registry = self._client.resource(Namespace)
        try:
            told = conditions(remains, namespace.status.conditions, self._clock.now())
            if told != namespace.status.conditions:
                status = replace(namespace.status, conditions=told)
                namespace = await registry.update(replace(namespace, status=status), subresource="status")
            if remains.instances or remains.errors:
                return After(LOOK_AGAIN)
            left = tuple(f for f in namespace.spec.finalizers if f != FINALIZER)
            spec = replace(namespace.spec, finalizers=left)
            await registry.update(replace(namespace, spec=spec), subresource="finalize")
        except NotFound:
            return None
        except Conflict:
            return After(LOOK_AGAIN)
        return None

    async def _delete_content(self, namespace: str) -> Remains:
        """Ask for everything to be deleted; return what is left.

        Pods go first, and nothing else until the last has gone: they are not to run without their policies and settings.
        """
        remains = Remains()
        seen: set[tuple[str, str]] = set()
        for resource in sorted(self._scheme, key=lambda one: one.cls is not Pod):
            if not resource.namespaced or not {"delete", "list"} <= set(resource.verbs):
                continue
            # What is served in several versions, or forms, is there once.
            if (resource.storage_group, resource.plural) in seen:
                continue
            seen.add((resource.storage_group, resource.plural))
            try:
                await self._delete_all(resource, namespace, remains)
            except (NotFound, UnknownKind):
                continue  # a custom kind that has gone meanwhile
            if resource.cls is Pod and (remains.instances or remains.errors):
                break
        return remains

    async def _delete_all(self, resource: Resource, namespace: str, remains: Remains) -> None:
        cls: type[Object] = resource.cls
        registry = self._client.resource(cls)
        items = (await registry.list(Query(namespace))).items
        if not len(items):
            return
        for item in items:
            if item.metadata.deletion_timestamp is not None:
                continue
            try:
                await registry.delete(item.key, propagation="Background")
            except NotFound:
                continue
            except ApiError as error:
                remains.errors.append(str(error))
        left = (await registry.list(Query(namespace))).items
        if len(left):
            remains.instances[f"{resource.plural}.{resource.group}"] = len(left)
        for item in left:
            for finalizer in item.metadata.finalizers:
                remains.finalizers[finalizer] = remains.finalizers.get(finalizer, 0) + 1


def namespace_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the controller of namespaces."""
    return Controller(
        NAME,
        NamespaceContent(informers, scheme, clock),
        [(informers.of(Namespace), itself)],
        workers=5,
        recorder=recorder.source(NAME),
    )
