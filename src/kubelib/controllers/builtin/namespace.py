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
from kubelib.controllers.aggregated import AggregatedContent, RemoteResource, Request
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
    undiscovered: dict[str, str] = attrs.field(factory=dict)
    """Why it is not known what other servers keep, by group and version."""

    def add(self, resource: str, objects: Sequence[tuple[str, ...]]) -> None:
        """Count the objects of a resource, each of which is given as its finalizers."""
        if objects:
            self.instances[resource] = len(objects)
        for finalizer in (finalizer for finalizers in objects for finalizer in finalizers):
            self.finalizers[finalizer] = self.finalizers.get(finalizer, 0) + 1


_Told = tuple[str, str]
"""The reason and the message of a condition."""


def _findings(remains: Remains) -> Iterator[tuple[str, bool, _Told]]:
    """Yield each condition's type, whether it holds, and what it tells."""

    def finding(type: str, fine: _Told, trouble: _Told | None = None) -> tuple[str, bool, _Told]:
        return type, trouble is not None, trouble or fine

    unknown = ", ".join(f"{name}: {why}" for name, why in sorted(remains.undiscovered.items()))
    missing = f"unable to retrieve the complete list of server APIs: {unknown}"
    yield finding(
        "NamespaceDeletionDiscoveryFailure",
        ("ResourcesDiscovered", "All resources successfully discovered"),
        (
            "DiscoveryFailed",
            f"Discovery failed for some groups, {len(remains.undiscovered)} failing: {missing}",
        )
        if unknown
        else None,
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
    """Return what a namespace says about its end: a condition keeps its place, and its date if it stays as it was."""
    told = {condition.type: condition for condition in current}
    for type, holds, (reason, message) in _findings(remains):
        old, status = told.get(type), "True" if holds else "False"
        same = old is not None and old.status == status
        date = old.last_transition_time if same and old is not None else now.replace(microsecond=0)
        told[type] = NamespaceCondition(
            type=type, status=status, reason=reason, message=message, last_transition_time=date
        )
    return tuple(told.values())


class NamespaceContent:
    """Deletes what is in a namespace, and lifts its finalizer once nothing is left."""

    def __init__(
        self, informers: SharedInformers, scheme: Scheme, clock: Clock, aggregated: AggregatedContent
    ) -> None:
        self._client = informers.client
        self._aggregated = aggregated
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
        remains = await self._delete_content(namespace)
        registry = self._client.resource(Namespace)
        try:
            told = conditions(remains, namespace.status.conditions, self._clock.now())
            if told != namespace.status.conditions:
                status = replace(namespace.status, conditions=told)
                namespace = await registry.update(replace(namespace, status=status), subresource="status")
            if remains.instances or remains.errors or remains.undiscovered:
                return After(LOOK_AGAIN)
            left = tuple(f for f in namespace.spec.finalizers if f != FINALIZER)
            spec = replace(namespace.spec, finalizers=left)
            await registry.update(replace(namespace, spec=spec), subresource="finalize")
        except NotFound:
            return None
        except Conflict:
            return After(LOOK_AGAIN)
        return None

    async def _delete_content(self, namespace: Namespace) -> Remains:
        """Ask for everything to be deleted; return what is left.

        Pods go first, and nothing else until the last has gone: they are not to run without their policies and settings.
        """
        discovered = await self._aggregated.discover()
        remains = Remains(undiscovered=dict(discovered.failures))
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
                return remains
        for remote in discovered.resources:
            await self._delete_remote(remote, namespace.metadata.name, remains)
        return remains

    async def _delete_all(self, resource: Resource, namespace: Namespace, remains: Remains) -> None:
        cls: type[Object] = resource.cls
        registry, query = self._client.resource(cls), Query(namespace.metadata.name)
        items = (await registry.list(query)).items
        if not len(items):
            return
        patience = self._patience(items, namespace)
        refused = ""
        for item in items:
            if item.metadata.deletion_timestamp is not None:
                continue
            try:
                await registry.delete(item.key, propagation="Background")
            except NotFound:
                continue
            except ApiError as error:
                refused = refused or str(error)
        if refused:
            remains.errors.append(refused)
            return
        left = [item.metadata.finalizers for item in (await registry.list(query)).items]
        remains.add(f"{resource.plural}.{resource.group}", left)
        if left and not patience and not any(left):
            what = f"{resource.group}/{resource.version}, Resource={resource.plural}"
            remains.errors.append(_unexpected(query.namespace, what))

    def _patience(self, items: Sequence[Object], namespace: Namespace) -> bool:
        """Whether Pods that are still there may take the time that they have to end."""
        ended, since = ("Succeeded", "Failed"), namespace.metadata.deletion_timestamp
        pods = [item for item in items if isinstance(item, Pod) and item.status.phase not in ended]
        grace = max((pod.spec.termination_grace_period_seconds or 0 for pod in pods), default=0)
        return since is not None and (self._clock.now() - since).total_seconds() < grace

    async def _delete_remote(self, resource: RemoteResource, namespace: str, remains: Remains) -> None:
        try:
            await self._aggregated.delete_all(resource, namespace)
            items = await self._aggregated.items(resource, namespace)
        except NotFound:
            return
        except ApiError as error:
            remains.errors.append(str(error))
            return
        left = [tuple(item["metadata"].get("finalizers") or ()) for item in items]
        remains.add(f"{resource.plural}.{resource.group}", left)
        if left and not any(left):
            what = f"{resource.group}/{resource.version}, Resource={resource.plural}"
            remains.errors.append(_unexpected(namespace, what))


def _unexpected(namespace: str, what: str) -> str:
    return f"unexpected items still remain in namespace: {namespace} for gvr: {what}"


def namespace_controller(
    informers: SharedInformers,
    *,
    clock: Clock,
    recorder: EventRecorder,
    scheme: Scheme,
    request: Request | None = None,
) -> Controller:
    """Return the controller of namespaces; by `request` it deletes what other API servers keep in them."""
    return Controller(
        NAME,
        NamespaceContent(informers, scheme, clock, AggregatedContent(informers, request)),
        [(informers.of(Namespace), itself)],
        workers=5,
        recorder=recorder.source(NAME),
    )
