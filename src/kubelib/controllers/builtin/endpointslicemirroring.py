"""Endpoints that somebody writes by hand, for a Service without a selector, as EndpointSlices: proxies look at nothing else."""

import ipaddress
from collections.abc import Iterable

from kubelib.api.core.service import EndpointAddress, Endpoints, Service
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.slices import LARGEST, MANAGER, SERVICE_NAME, Part, write_slices
from kubelib.informers import SharedInformers
from kubelib.labels import selector_from_match_labels

NAME = "endpointslicemirroring-controller"
MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = (
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
)
MOST = 1000
"""How many addresses of one subset are mirrored at most."""


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    """Return whether Endpoints are a user's own, to be mirrored."""
    meta = endpoints.metadata
    return (
        service is not None
        and not service.spec.selector
        and meta.labels.get(SKIP) != "true"
        and LEADER not in meta.annotations
    )


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )


def _family(address: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def plan(endpoints: Endpoints) -> list[Part]:
    """Return the slices that mirror Endpoints: by ports and kind of address."""
    meta = endpoints.metadata
    labels = {**meta.labels, SERVICE_NAME: meta.name, MANAGER: MANAGED_BY}
    annotations = {key: value for key, value in meta.annotations.items() if key not in NOT_COPIED}
    groups: dict[tuple[tuple[EndpointPort, ...], str], list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(name=p.name, port=p.port, protocol=p.protocol or "TCP", app_protocol=p.app_protocol)
            for p in subset.ports
        )
        found = [(a, True) for a in subset.addresses] + [(a, False) for a in subset.not_ready_addresses]
        for address, ready in found[:MOST]:
            if family := _family(address.ip):
                groups.setdefault((ports, family), []).append(_endpoint(address, ready=ready))
    return [
        Part(ports, tuple(group[start : start + LARGEST]), labels, annotations, family)
        for (ports, family), group in sorted(groups.items(), key=lambda item: repr(item[0]))
        for start in range(0, len(group), LARGEST)
    ]


class Mirror:
    """Keeps the slices of one Service's Endpoints."""

    def __init__(self, informers: SharedInformers) -> None:
        self._client = informers.client
        self._endpoints = informers.of(Endpoints).cache
        self._services = informers.of(Service).cache
        self._slices = informers.of(EndpointSlice).cache

    async def reconcile(self, key: Key) -> After | None:
        """Mirror the Endpoints at `key`, or remove what mirrored them."""
        endpoints = self._endpoints.view(key)
        existing = [
            d.view(EndpointSlice)
            for d in self._slices.select(selector_from_match_labels({SERVICE_NAME: key.name}), key.namespace)
            if d.meta.labels.get(MANAGER) == MANAGED_BY
        ]
        wanted: list[Part] = []
        if (
            endpoints is not None
            and endpoints.metadata.deletion_timestamp is None
            and is_mirrored(endpoints, self._services.view(key))
        ):
            wanted = plan(endpoints)
        return await write_slices(self._client, endpoints, wanted, existing)


def endpoint_slice_mirroring_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller."""

    def of_slice(document: Document) -> Iterable[Key]:
        labels = document.meta.labels
        if labels.get(MANAGER) != MANAGED_BY or SERVICE_NAME not in labels:
            return ()
        return (Key(document.meta.namespace, labels[SERVICE_NAME]),)

    return Controller(
        NAME,
        Mirror(informers),
        [
            (informers.of(Endpoints), itself),
            (informers.of(Service), itself),
            (informers.of(EndpointSlice), of_slice),
        ],
        workers=5,
        recorder=recorder.source(NAME),
    )
