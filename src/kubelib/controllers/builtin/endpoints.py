"""Endpoints: the addresses behind each Service that chooses Pods, in the classic form."""

import contextlib
import math
from collections.abc import Iterable

from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.service import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.backends import LEADER, Backend, backends, resolved_ports
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.controllers.services import chooses_pods, labels_of, selector_of, services_of_pod
from kubelib.controllers.triggers import TriggerTimes, triggered
from kubelib.informers import SharedInformers

NAME = "endpoint-controller"
CAPACITY = 1000
"""How many addresses Endpoints hold at most: more are in EndpointSlices only."""
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def _address(service: Service, backend: Backend) -> EndpointAddress:
    meta = backend.pod.metadata
    reference = ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)
    spec = backend.pod.spec
    hostname = spec.hostname if spec.subdomain == service.metadata.name else ""
    return EndpointAddress(
        ip=backend.address, hostname=hostname, node_name=spec.node_name, target_ref=reference
    )


def plan(service: Service, pods: Iterable[Pod]) -> tuple[EndpointSubset, ...]:
    """Return the subsets of a Service: Pods whose ports resolve alike stand together."""
    groups: dict[tuple[EndpointPort, ...], tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    for backend in backends(service, pods):
        if backend.terminating and not service.spec.publish_not_ready_addresses:
            continue
        ports = tuple(
            EndpointPort(name=p.name, port=number, protocol=p.protocol or "TCP", app_protocol=p.app_protocol)
            for p, number in resolved_ports(service, backend)
        )
        if service.spec.ports and not ports:
            continue
        ready, unready = groups.setdefault(ports, ([], []))
        (ready if backend.ready else unready).append(_address(service, backend))
    return tuple(
        EndpointSubset(addresses=tuple(ready), not_ready_addresses=tuple(unready), ports=ports)
        for ports, (ready, unready) in sorted(groups.items(), key=lambda item: repr(item[0]))
    )


def within_capacity(subsets: tuple[EndpointSubset, ...]) -> tuple[EndpointSubset, ...]:
    """Return subsets with no more than a thousand addresses in all, those that are ready first.

    Each gives up in proportion to what it has; the last one has what is left.
    """
    ready = sum(len(subset.addresses) for subset in subsets)
    unready = sum(len(subset.not_ready_addresses) for subset in subsets)
    if ready + unready <= CAPACITY:
        return subsets
    crowded = ready > CAPACITY
    room = CAPACITY if crowded else CAPACITY - ready
    total, left = (ready if crowded else unready), room
    kept = []
    for subset in subsets:
        has = len(subset.addresses if crowded else subset.not_ready_addresses)
        part = min(left, math.ceil(has / total * room))
        left -= part
        if crowded:
            kept.append(replace(subset, addresses=subset.addresses[:part], not_ready_addresses=()))
        else:
            kept.append(replace(subset, not_ready_addresses=subset.not_ready_addresses[:part]))
    return tuple(kept)


class EndpointsOfServices:
    """Keeps the Endpoints of one Service."""

    def __init__(self, informers: SharedInformers, recorder: Recorder) -> None:
        self._client = informers.client
        self._recorder = recorder
        self._triggers = TriggerTimes()
        self._services = informers.of(Service).cache
        self._pods = informers.of(Pod).cache
        self._endpoints = informers.of(Endpoints).cache

    async def reconcile(self, key: Key) -> After | None:
        """Look at one Service."""
        service = self._services.view(key)
        registry = self._client.resource(Endpoints)
        if service is None:
            self._triggers.forget(key)
            with contextlib.suppress(NotFound):
                await registry.delete(key)  # also what the cache does not show yet
            return None
        if not chooses_pods(service):
            return None
        pods = [d.view(Pod) for d in self._pods.select(selector_of(service), key.namespace)]
        all_subsets = plan(service, pods)
        subsets = within_capacity(all_subsets)
        labels = {**labels_of(service), "endpoints.kubernetes.io/managed-by": NAME}
        since = self._triggers.next(service, pods)
        current = self._endpoints.view(key)
        annotations = dict(current.metadata.annotations) if current is not None else {}
        annotations.pop(OVER_CAPACITY, None)
        if subsets is not all_subsets:
            annotations[OVER_CAPACITY] = "truncated"
        try:
            if current is None:
                meta = ObjectMeta(
                    name=key.name,
                    namespace=key.namespace,
                    labels=labels,
                    annotations=triggered(annotations, since),
                )
                await registry.create(Endpoints(metadata=meta, subsets=subsets))
            else:
                meta = replace(current.metadata, labels=labels, annotations=annotations)
                if (meta, subsets) != (current.metadata, current.subsets):
                    meta = replace(meta, annotations=triggered(annotations, since))
                    await registry.update(replace(current, metadata=meta, subsets=subsets))
        except (AlreadyExists, Conflict):
            return After(0.05)  # the cache is behind
        except NotFound:
            return None  # the Service has gone meanwhile
        except ApiError as error:
            if namespace_is_ending(error):
                return None
            if current is None:
                what, reason = f"create endpoint for service {key}", "FailedToCreateEndpoint"
            else:
                what, reason = f"update endpoint {key}", "FailedToUpdateEndpoint"
            self._recorder.warning(service, reason, f"Failed to {what}: {error}")
            raise
        return None


def endpoints_controller(informers: SharedInformers, *, clock: Clock, recorder: EventRecorder) -> Controller:
    """Return the controller of Endpoints."""

    services, endpoints = informers.of(Service), informers.of(Endpoints)

    def of_services(document: Document) -> tuple[Key, ...]:
        # Others are somebody's own, such as the lock of an election, and go only when a Service of their name does.
        return (document.key,) if document.key in services.cache else ()

    def leftovers() -> list[Key]:
        return [d.key for d in endpoints.cache if LEADER not in d.view(Endpoints).metadata.annotations]

    own = recorder.source(NAME)
    return Controller(
        NAME,
        EndpointsOfServices(informers, own),
        [
            (services, itself),
            (informers.of(Pod), services_of_pod(services)),
            (endpoints, of_services),
        ],
        workers=5,
        recorder=own,
        leftovers=leftovers,
    )
