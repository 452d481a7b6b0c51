"""Services of type LoadBalancer get a load balancer from whoever makes them here, and give it back."""

from collections.abc import Iterable
from contextlib import suppress

import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.service import LoadBalancerStatus, Service
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.update import patch_difference
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.loadbalancers import LoadBalancers, differences, may_be_behind, wants_one
from kubelib.informers import SharedInformers

NAME = "service-lb-controller"
SOURCE = "service-controller"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"


@attrs.frozen
class _Made:
    """What a load balancer was made for."""

    service: Service
    nodes: frozenset[str]


class ServiceReconciler:
    """A `Reconciler` of Services."""

    def __init__(self, informers: SharedInformers, balancers: LoadBalancers, recorder: Recorder) -> None:
        self._client = informers.client
        self._services = informers.of(Service).cache
        self._nodes = informers.of(Node).cache
        self._registry = informers.client.resource(Service)
        self._balancers = balancers
        self._recorder = recorder
        self._made: dict[Key, _Made] = {}
        informers.of(Service).subscribe(self._tell_changes)

    def with_balancer(self, document: Document) -> Iterable[Key]:
        """Map a Service to itself if it wants a load balancer or may still have one."""
        raw = document.raw
        concerns = b'"LoadBalancer"' in raw or FINALIZER.encode() in raw or document.key in self._made
        return (document.key,) if concerns else ()

    def of_node(self, document: Document) -> Iterable[Key]:
        """Map a node to the Services whose load balancers would lead to other nodes than they do."""
        nodes = self._behind()
        return [key for key, made in self._made.items() if made.nodes != nodes]

    def _behind(self) -> frozenset[str]:
        return frozenset(document.meta.name for document in self._nodes if may_be_behind(document.view(Node)))

    def _tell_changes(self, old: Document | None, new: Document | None) -> None:
        if old is None or new is None or not (old.key in self._made or b'"LoadBalancer"' in new.raw):
            return
        service = new.view(Service)
        for reason, message in differences(old.view(Service), service):
            if reason:
                self._recorder.normal(service, reason, message)

    async def reconcile(self, key: Key) -> After | None:
        """Make, change or remove the load balancer of one Service."""
        service = self._services.view(key)
        if service is None:
            self._made.pop(key, None)
            return None
        ends = service.metadata.deletion_timestamp is not None
        held = FINALIZER in service.metadata.finalizers
        try:
            if wants_one(service) and not ends:
                await self._ensure(service)
            elif key in self._made or (held and (ends or service.spec.type != "LoadBalancer")):
                await self._remove(service)
        except OSError as error:
            self._recorder.warning(service, "SyncLoadBalancerFailed", f"Error syncing load balancer: {error}")
            raise
        return None

    async def _ensure(self, service: Service) -> None:
        key, nodes, made = service.key, self._behind(), self._made.get(service.key)
        as_it_was = made is not None and not [*differences(made.service, service)]
        if made is not None and as_it_was and made.nodes == nodes:
            return
        if not as_it_was:
            self._recorder.normal(service, "EnsuringLoadBalancer", "Ensuring load balancer")
        service = await self._hold(service, held=True)
        if not nodes:
            self._recorder.warning(
                service, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer"
            )
        try:
            status = await self._balancers.ensure(
                service, [document.view(Node) for document in self._nodes if document.meta.name in nodes]
            )
        except OSError as error:
            if as_it_was:
                self._recorder.warning(
                    service,
                    "UpdateLoadBalancerFailed",
                    f"Error updating load balancer with new hosts {sorted(nodes)}: {error}",
                )
            raise OSError(f"failed to ensure load balancer: {error}") from error
        if not as_it_was:
            self._recorder.normal(service, "EnsuredLoadBalancer", "Ensured load balancer")
        elif nodes:
            self._recorder.normal(service, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
        await self._show(service, status)
        self._made[key] = _Made(service, nodes)

    async def _remove(self, service: Service) -> None:
        try:
            if await self._balancers.find(service) is not None:
                self._recorder.normal(service, "DeletingLoadBalancer", "Deleting load balancer")
                await self._balancers.remove(service)
        except OSError as error:
            raise OSError(f"failed to delete load balancer: {error}") from error
        with suppress(NotFound):  # the finalizer may be the last thing that keeps it
            service = await self._hold(service, held=False)
            await self._show(service, LoadBalancerStatus())
        self._recorder.normal(service, "DeletedLoadBalancer", "Deleted load balancer")
        self._made.pop(service.key, None)

    async def _hold(self, service: Service, *, held: bool) -> Service:
        """Put the finalizer on a Service, or take it off."""
        finalizers = service.metadata.finalizers
        if (FINALIZER in finalizers) == held:
            return service
        kept = (*finalizers, FINALIZER) if held else tuple(name for name in finalizers if name != FINALIZER)
        wanted = replace(service, metadata=replace(service.metadata, finalizers=kept))
        return await patch_difference(self._client, service, wanted)

    async def _show(self, service: Service, status: LoadBalancerStatus) -> None:
        if service.status.load_balancer != status:
            wanted = replace(service, status=replace(service.status, load_balancer=status))
            await patch_difference(self._client, service, wanted, subresource="status")


def service_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, balancers: LoadBalancers
) -> Controller:
    """Return the controller; `balancers` makes what it asks for."""
    own = recorder.source(SOURCE)
    reconciler = ServiceReconciler(informers, balancers, own)
    return Controller(
        NAME,
        reconciler,
        [
            (informers.of(Service), reconciler.with_balancer),
            (informers.of(Node), reconciler.of_node),
        ],
        recorder=own,
    )
