"""EndpointSlices: the addresses behind each Service that chooses Pods, in parts of at most a hundred."""

from collections.abc import Iterable

from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.service import Service
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.backends import Backend, backends, resolved_ports
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.services import services_of_pod
from kubelib.controllers.slices import LARGEST, MANAGER, SERVICE_NAME, Part, write_slices
from kubelib.informers import SharedInformers
from kubelib.labels import selector_from_match_labels

NAME = "endpointslice-controller"
MANAGED_BY = "endpointslice-controller.k8s.io"


def labels_of(service: Service) -> dict[str, str]:
    """Return the labels of a Service's slices: its own, and what says whose they are."""
    labels = {**service.metadata.labels, SERVICE_NAME: service.metadata.name, MANAGER: MANAGED_BY}
    if service.spec.cluster_ip == "None":
        labels["service.kubernetes.io/headless"] = ""
    return labels


def _endpoint(service: Service, backend: Backend) -> Endpoint:
    meta = backend.pod.metadata
    spec = backend.pod.spec
    return Endpoint(
        addresses=(backend.address,),
        conditions=EndpointConditions(
            ready=backend.ready, serving=backend.serving, terminating=backend.terminating
        ),
        hostname=spec.hostname if spec.hostname and spec.subdomain == service.metadata.name else "",
        node_name=spec.node_name,
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def plan(service: Service, pods: Iterable[Pod]) -> list[Part]:
    """Return the slices that a Service should have."""
    groups: dict[tuple[EndpointPort, ...], list[Endpoint]] = {}
    for backend in backends(service, pods):
        ports = tuple(
            EndpointPort(name=p.name, port=number, protocol=p.protocol or "TCP", app_protocol=p.app_protocol)
            for p, number in resolved_ports(service, backend)
        )
        groups.setdefault(ports, []).append(_endpoint(service, backend))
    parts: list[Part] = []
    labels = labels_of(service)
    for ports, endpoints in sorted(groups.items(), key=lambda item: repr(item[0])):
        starts = range(0, len(endpoints), LARGEST)
        parts += [Part(ports, tuple(endpoints[start : start + LARGEST]), labels) for start in starts]
    return parts or [Part((), (), labels)]


class SlicesOfServices:
    """Keeps the EndpointSlices of one Service."""

    def __init__(self, informers: SharedInformers) -> None:
        self._client = informers.client
        self._services = informers.of(Service).cache
        self._pods = informers.of(Pod).cache
        self._slices = informers.of(EndpointSlice).cache

    async def reconcile(self, key: Key) -> After | None:
        """Look at one Service."""
        service = self._services.view(key)
        existing = [
            d.view(EndpointSlice)
            for d in self._slices.select(selector_from_match_labels({SERVICE_NAME: key.name}), key.namespace)
            if d.meta.labels.get(MANAGER) == MANAGED_BY
        ]
        if service is None or service.metadata.deletion_timestamp is not None:
            wanted: list[Part] = []
        elif not service.spec.selector:
            return None  # somebody else says what is behind it
        else:
            selector = selector_from_match_labels(service.spec.selector)
            wanted = plan(service, [d.view(Pod) for d in self._pods.select(selector, key.namespace)])
        return await write_slices(self._client, service, wanted, existing)


def endpoint_slice_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller of EndpointSlices."""

    def service_of(document: Document) -> tuple[Key, ...]:
        name = document.meta.labels.get(SERVICE_NAME)
        return (Key(document.meta.namespace, name),) if name else ()

    return Controller(
        NAME,
        SlicesOfServices(informers),
        [
            (informers.of(Service), itself),
            (informers.of(Pod), services_of_pod(informers.of(Service))),
            (informers.of(EndpointSlice), service_of),
        ],
        workers=5,
        recorder=recorder.source(NAME),
    )
