"""EndpointSlices: the addresses behind each Service that chooses Pods, in parts of at most a hundred."""

from collections.abc import Callable, Iterable, Mapping, Sequence

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
from kubelib.controllers.slices import (
    MANAGER,
    SERVICE_NAME,
    Change,
    Part,
    pairs,
    slices_of,
    with_their_hints,
    write_slices,
)
from kubelib.controllers.taints import condition_status
from kubelib.controllers.topology import ZONE, allot, asks_for_shares, is_overloaded, zone_shares
from kubelib.controllers.triggers import TriggerTimes
from kubelib.informers import Cache, SharedInformers

NAME = "endpointslice-controller"
MANAGED_BY = "endpointslice-controller.k8s.io"
_ENABLED, _DISABLED = "TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"


def _hints(service: Service, backend: Backend, zone: str) -> EndpointHints | None:
    """Return for whom an endpoint is meant first, by what its Service says of where its traffic is to go.

    A topology mode has precedence over it: `ZoneShares` says what becomes of such endpoints.
    """
    if asks_for_shares(service):
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


class ZoneShares:
    """What zones are to have of the endpoints of Services that ask for it, and what they have."""

    def __init__(self, nodes: Cache[Node], recorder: Recorder) -> None:
        self._nodes = nodes
        self._recorder = recorder
        self._shares: dict[str, float] | None = None
        self._allotted: dict[Key, Mapping[str, int]] = {}

    def nodes_changed(self) -> list[Key]:
        """Note that nodes have come, gone or changed; return the Services that have to be looked at for it."""
        self._shares = None
        return [key for key, by_zone in self._allotted.items() if is_overloaded(by_zone, self._by_zone())]

    def _by_zone(self) -> dict[str, float]:
        if self._shares is None:
            self._shares = zone_shares(document.view(Node) for document in self._nodes)
        return self._shares

    def forget(self, key: Key) -> None:
        """Forget a Service that is gone."""
        self._allotted.pop(key, None)

    def share(
        self, service: Service, changes: Sequence[Change], existing: Sequence[EndpointSlice]
    ) -> list[Change]:
        """Return changes that also say for which zones endpoints are meant, if a Service asks for it. Told in Events."""
        key = service.key
        if not asks_for_shares(service):
            if self._allotted.pop(key, None) is not None:
                self._tell(service, _DISABLED, "Topology Aware Hints has been disabled")
            return list(changes)
        written = {slice_.metadata.name for _, slice_ in changes if slice_ is not None}
        settled = [slice_ for slice_ in existing if slice_.metadata.name not in written]
        parts = [part.endpoints for part, _ in changes if part is not None]
        allotted = allot(self._by_zone(), parts, [slice_.endpoints for slice_ in settled])
        if allotted.refusal:
            self._allotted.pop(key, None)
            self._tell(service, _DISABLED, allotted.refusal)
        else:
            if key not in self._allotted:
                self._tell(service, _ENABLED, "Topology Aware Hints has been enabled")
            self._allotted[key] = allotted.by_zone
        told = iter(allotted.changing)
        found: list[Change] = [
            (part.of(next(told)) if part is not None else None, slice_) for part, slice_ in changes
        ]
        for slice_, endpoints in zip(settled, allotted.settled, strict=True):
            if endpoints is not None:
                part = Part(slice_.ports, endpoints, slice_.metadata.labels, None, slice_.address_type)
                found.append((part, slice_))
        return found

    def _tell(self, service: Service, reason: str, message: str) -> None:
        report = self._recorder.normal if reason == _ENABLED else self._recorder.warning
        report(service, reason, f"{message}, addressType: IPv4")


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
        self.shares = ZoneShares(self._nodes, recorder)

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
        if service is None:
            self._triggers.forget(key)
            self.shares.forget(key)
            wanted: list[Part] = []
        elif not chooses_pods(service):
            return None
        else:
            pods = [d.view(Pod) for d in self._pods.select(selector_of(service), key.namespace)]
            lost = self._lost(service, pods)
            wanted = plan(service, [pod for pod in pods if pod not in lost], self._zone_of)
            if asks_for_shares(service):
                wanted = with_their_hints(wanted, existing)
            since = self._triggers.next(service, pods)
        try:
            changes = pairs(service, wanted, existing)
            if service is not None:
                changes = self.shares.share(service, changes, existing)
            after = await write_slices(self._client, service, changes, since=since)
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
    slices = SlicesOfServices(informers, own)
    controller = Controller(
        NAME,
        slices,
        [
            (informers.of(Service), itself),
            (informers.of(Pod), services_of_pod(informers.of(Service))),
            (informers.of(EndpointSlice), service_of),
            (informers.of(Node), nothing),
        ],
        workers=5,
        recorder=own,
    )

    def node_changed(old: Document | None, new: Document | None) -> None:
        if old is None or new is None or _concerns(old) != _concerns(new):
            for key in slices.shares.nodes_changed():
                controller.queue.add(key)

    informers.of(Node).subscribe(node_changed)
    return controller


def _concerns(document: Document) -> tuple[str, bool]:
    """Return what of a node decides about the shares of zones."""
    node = document.view(Node)
    return node.metadata.labels.get(ZONE, ""), condition_status(node, "Ready") == "True"
