"""Quotas: counted again when their limits change, when what they count goes, and now and then.

Admission charges a quota in the very commit that stores an object. Here a quota is read first, then what it counts, and its
status is written only if it has not been charged meanwhile: nothing that is stored can be missing from the sum.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

from kubelib.api.core.quota import ResourceQuota, ResourceQuotaStatus
from kubelib.api.document import Document
from kubelib.api.errors import Conflict, NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.podresources import Amounts, add
from kubelib.api.quantity import ZERO, canonical
from kubelib.api.scheme import Resource, Scheme, Tree
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, nothing
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.informers.reflector import documents_of
from kubelib.registry.admission.quota.usage import counts, in_scopes, selectors_of, usage_of
from kubelib.registry.base import Patch, Query

NAME = "resourcequota-controller"
RESYNC = 300.0
PAGE = 500


def plan(
    quota: ResourceQuota, objects: Iterable[tuple[Resource, Iterable[Tree]]], now: datetime
) -> ResourceQuotaStatus:
    """Return the status of a quota by all objects of the resources that it counts."""
    selectors = selectors_of(_spec(quota))
    used: Amounts = dict.fromkeys(quota.spec.hard, ZERO)
    for resource, trees in objects:
        names = [name for name in quota.spec.hard if counts(resource, name)]
        for tree in trees:
            if not in_scopes(resource, tree, selectors):
                continue
            usage = usage_of(resource, tree, now)
            add(used, {name: usage[name] for name in names if name in usage})
    return ResourceQuotaStatus(
        hard={name: canonical(text) for name, text in quota.spec.hard.items()},
        used={name: str(amount) for name, amount in used.items()},
    )


def _spec(quota: ResourceQuota) -> Tree:
    selector = quota.spec.scope_selector
    return {
        "scopes": quota.spec.scopes,
        "scopeSelector": {
            "matchExpressions": [
                {"scopeName": e.scope_name, "operator": e.operator, "values": e.values}
                for e in (selector.match_expressions if selector is not None else ())
            ]
        },
    }


class Quotas:
    """A `Reconciler` of quotas."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, scheme: Scheme) -> None:
        self._informers = informers
        self._client = informers.client
        self._quotas = informers.of(ResourceQuota)
        self._clock = clock
        self._scheme = scheme
        self._watched: set[type[Object]] = set()
        self.controller: Controller | None = None

    async def reconcile(self, key: Key) -> After | None:
        """Count for one quota."""
        registry = self._client.resource(ResourceQuota)
        try:
            quota = await registry.get(key)
        except NotFound:
            return None
        objects = [(resource, await self._all(resource, key.namespace)) for resource in self._counted(quota)]
        status = plan(quota, objects, self._clock.now())
        if status != quota.status:
            try:
                await registry.update(replace(quota, status=status), subresource="status")
            except NotFound:
                return None
            except Conflict:
                if quota.status.hard != status.hard:
                    await self._fence(key, status)
                raise
        return After(RESYNC)

    async def _fence(self, key: Key, status: ResourceQuotaStatus) -> None:
        """Say the new limits without what is used, which admission refuses to charge: so that those who write without a
        pause do not keep the new limits from ever being counted for."""
        fence = Patch("merge", {"status": {"hard": dict(status.hard), "used": None}})
        with suppress(NotFound):
            await self._client.resource(ResourceQuota).patch(key, fence, subresource="status")

    def _counted(self, quota: ResourceQuota) -> list[Resource]:
        """Return the resources that a quota counts; from now on it is noticed when something of them goes."""
        found = [
            resource
            for resource in self._scheme
            if resource.namespaced
            and "list" in resource.verbs
            and (resource.storage_group, resource.storage_version) == (resource.group, resource.version)
            and any(counts(resource, name) for name in quota.spec.hard)
        ]
        for resource in found:
            cls: type[Object] = resource.cls
            if cls not in self._watched and "watch" in resource.verbs:
                self._watched.add(cls)
                self._informers.of(cls).subscribe(self._replenished(resource))
        return found

    async def _all(self, resource: Resource, namespace: str) -> list[Tree]:
        # A page is read from the store itself, which no charge that the quota shows can be ahead of.
        cls: type[Object] = resource.cls
        registry = self._client.resource(cls)
        trees: list[Tree] = []
        page = ""
        while True:
            part = await registry.list(Query(namespace), limit=PAGE, page=page)
            trees += [document.tree() for document in documents_of(part.items)]
            page = part.page
            if not page:
                return trees

    def _replenished(self, resource: Resource) -> Callable[[Document | None, Document | None], None]:
        """Return a handler that has the quotas of a namespace counted again when something in it uses less."""

        def changed(old: Document | None, new: Document | None) -> None:
            if old is None or self.controller is None:
                return
            if new is not None and not _may_use_less(resource, old, new):
                return
            for quota in self._quotas.cache.by_index("namespace", old.meta.namespace):
                self.controller.queue.add(quota.key)

        return changed

    def limits_changed(self, old: Document | None, new: Document | None) -> None:
        """Count for a quota that is new or has other limits; admission's own charges are right as they are."""
        if new is None or self.controller is None:
            return
        quota = new.view(ResourceQuota)
        if old is None or old.view(ResourceQuota).spec != quota.spec or not quota.status.hard:
            self.controller.queue.add(new.key)


def _may_use_less(resource: Resource, old: Document, new: Document) -> bool:
    if resource.group:
        return False
    match resource.plural:
        case "pods":
            ended = (b'"phase":"Succeeded"', b'"phase":"Failed"')
            if any(mark in new.raw and mark not in old.raw for mark in ended):
                return True
            return old.meta.generation != new.meta.generation
        case "services" | "persistentvolumeclaims":
            return old.raw != new.raw
    return False


def resource_quota_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the controller that counts for quotas."""
    reconciler = Quotas(informers, clock=clock, scheme=scheme)
    quotas = informers.of(ResourceQuota)
    controller = Controller(NAME, reconciler, [(quotas, nothing)], workers=5, recorder=recorder.source(NAME))
    reconciler.controller = controller
    quotas.subscribe(reconciler.limits_changed)
    return controller
