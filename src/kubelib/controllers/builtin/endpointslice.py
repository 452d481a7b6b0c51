"""EndpointSlices: the addresses behind each Service that chooses Pods, in parts of at most a hundred."""

from collections.abc import Callable, Iterable, Sequence

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.service import Service
from kubelib.api.discovery import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kubelib.api.document import Document
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.backends import Backend, backends, resolved_ports
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.services import chooses_pods, labels_of, selector_of, services_of_pod
from kubelib.controllers.slices import MANAGER, SERVICE_NAME, Part, slices_of, write_slices
from kubelib.controllers.triggers import TriggerTimes
from kubelib.informers import SharedInformers

NAME = "endpointslice-controller"
MANAGED_BY = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"


def _hints(service: Service, backend: Backend, zone: str) -> EndpointHints | None:
    """Return for whom an endpoint is meant first, by what its Service says of where its traffic is to go.

    A topology mode has precedence over it. The shares of zones that `Auto` asks for are not reckoned here.
    """
    annotations = service.metadata.annotations
    if annotations.get(_HINTS, annotations.get(_MODE)) in ("Auto", "auto"):
        return None
    preference = service.spec.traffic_distribution
    if not backend.ready or not zone:
        zones: tuple[ForZone, ...] = ()
    else:
        zones = (ForZone(name=zone),)
    if preference in ("PreferClose", "PreferSameZone"):
        return EndpointHints(for_zones=zones) if zones else None
    if preference == "PreferSameNode" and backend.ready and (node := backend.pod.spec.node_name):
        return EndpointHints(for_zones=zones, for_nodes=(ForNode(name=node),))
    return None


def _endpoint(service: Service, backend: Backend, zone_of: Callable[[str], str]) -> Endpoint:
    meta = backend.pod.metadata
    spec = backend.pod.spec
    zone = zone_of(spec.node_name)
    return Endpoint(
        addresses=(backend.address,),
        conditions=EndpointConditions(
            ready=backend.ready, serving=backend.serving, terminating=backend.terminating
        ),
        hostname=spec.hostname if spec.hostname and spec.subdomain == service.metadata.name else "",
        node_name=spec.node_name,
        zone=zone,
        hints=_hints(service, backend, zone),
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def plan(
    service: Service, pods: Iterable[Pod], zone_of: Callable[[str], str] = lambda node: ""
) -> list[Part]:
    """Return what a Service's slices should have, by ports. `zone_of` knows where nodes are."""
    groups: dict[tuple[EndpointPort, ...], list[Endpoint]] = {}
    for backend in backends(service, pods):
        ports = tuple(
            EndpointPort(name=p.name, port=number, protocol=p.protocol or "TCP", app_protocol=p.app_protocol)
            for p, number in resolved_ports(service, backend)
        )
        groups.setdefault(ports, []).append(_endpoint(service, backend, zone_of))
    labels = {**labels_of(service), SERVICE_NAME: service.metadata.name, MANAGER: MANAGED_BY}
    found = sorted(groups.items(), key=lambda item: repr(item[0]))
    parts = [Part(ports, tuple(endpoints), labels) for ports, endpoints in found]
    return parts or [Part((), (), labels)]


class NodesLacking(ApiError):
    """Pods are left out of the slices, because their nodes are not known (yet)."""


class SlicesOfServices:
    """Keeps the EndpointSlices of one Service."""

    def __init__(self, informers: SharedInformers, recorder: Recorder) -> None:
        self._client = informers.client
        self._recorder = recorder
        self._triggers = TriggerTimes()
        self._services = informers.of(Service).cache
        self._pods = informers.of(Pod).cache
        self._slices = informers.of(EndpointSlice).cache
        self._nodes = informers.of(Node).cache

    def _zone_of(self, node: str) -> str:
        document = self._nodes.get(Key("", node)) if node else None
        return document.meta.labels.get(ZONE, "") if document is not None else ""

    def _lost(self, service: Service, pods: Iterable[Pod]) -> list[Pod]:
        """Return the Pods whose node is not there: traffic to them would go nowhere."""
        if service.spec.publish_not_ready_addresses:
            return []
        homeless = [pod for pod in pods if self._nodes.get(Key("", pod.spec.node_name)) is None]
        return [backend.pod for backend in backends(service, homeless)]

    async def reconcile(self, key: Key) -> After | None:
        """Look at one Service. Raises `NodesLacking` if Pods are left out that may be known soon."""
        service = self._services.view(key)
        existing = slices_of(self._slices, key, MANAGED_BY)
        since = ""
        lost: list[Pod] = []
        if service is None or service.metadata.deletion_timestamp is not None:
            self._triggers.forget(key)
            wanted: list[Part] = []
        elif not chooses_pods(service):
            return None
        else:
            pods = [d.view(Pod) for d in self._pods.select(selector_of(service), key.namespace)]
            lost = self._lost(service, pods)
            wanted = plan(service, [pod for pod in pods if pod not in lost], self._zone_of)
            since = self._triggers.next(service, pods)
        try:
            after = await write_slices(self._client, service, wanted, existing, since=since)
            if lost:
                raise NodesLacking(_told(key, lost))
            return after
        except ApiError as error:
            if service is not None:
                message = f"Error updating Endpoint Slices for Service {key}: {error}"
                self._recorder.warning(service, "FailedToUpdateEndpointSlices", message)
            raise


def _told(service: Key, lost: Sequence[Pod]) -> str:
    """Return why Pods are left out, as one error or a list of them."""
    problems = [
        f"skipping Pod {pod.metadata.name} for Service {service}: Node {pod.spec.node_name} Not Found"
        for pod in lost
    ]
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"


def endpoint_slice_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller of EndpointSlices."""

    def service_of(document: Document) -> tuple[Key, ...]:
        name = document.meta.labels.get(SERVICE_NAME)
        return (Key(document.meta.namespace, name),) if name else ()

    own = recorder.source(NAME)
    return Controller(
        NAME,
        SlicesOfServices(informers, own),
        [
            (informers.of(Service), itself),
            (informers.of(Pod), services_of_pod(informers.of(Service))),
            (informers.of(EndpointSlice), service_of),
            (informers.of(Node), nothing),
        ],
        workers=5,
        recorder=own,
    )
