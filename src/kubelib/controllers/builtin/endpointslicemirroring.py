"""Endpoints that somebody writes by hand, for a Service without a selector, as EndpointSlices: proxies look at nothing else."""

import ipaddress
from collections.abc import Iterable, Iterator

from kubelib.api.core.service import EndpointAddress, Endpoints, EndpointSubset, Service
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.backends import LEADER
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.slices import MANAGER, SERVICE_NAME, Part, pairs, slices_of, write_slices
from kubelib.controllers.triggers import LAST_CHANGE
from kubelib.informers import SharedInformers

NAME = "endpointslicemirroring-controller"
MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
NOT_COPIED = (LAST_CHANGE, "kubectl.kubernetes.io/last-applied-configuration")
MOST = 1000
"""How many addresses of one subset are mirrored at most, all of them in one slice."""


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


def _all(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    """Return the addresses of a subset with whether they are ready."""
    return [(a, True) for a in subset.addresses] + [(a, False) for a in subset.not_ready_addresses]


def _valid(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    return [(address, ready) for address, ready in _all(subset) if _family(address.ip)]


def left_out(endpoints: Endpoints) -> Iterator[tuple[str, str]]:
    """Yield the reasons and messages of what is not mirrored."""
    invalid = sum(len(_all(subset)) - len(_valid(subset)) for subset in endpoints.subsets)
    if invalid:
        yield "InvalidIPAddress", f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
    skipped = sum(max(0, len(_valid(subset)) - MOST) for subset in endpoints.subsets)
    if skipped:
        most = f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset."
        yield "TooManyAddressesToMirror", f"{most} {skipped} addresses were skipped"


def plan(endpoints: Endpoints) -> list[Part]:
    """Return the slices that mirror Endpoints: by ports and kind of address. What they leave out, `left_out` tells."""
    meta = endpoints.metadata
    labels = {**meta.labels, SERVICE_NAME: meta.name, MANAGER: MANAGED_BY}
    annotations = {key: value for key, value in meta.annotations.items() if key not in NOT_COPIED}
    groups: dict[tuple[tuple[EndpointPort, ...], str], list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(name=p.name, port=p.port, protocol=p.protocol or "TCP", app_protocol=p.app_protocol)
            for p in subset.ports
        )
        for address, ready in _valid(subset)[:MOST]:
            groups.setdefault((ports, _family(address.ip)), []).append(_endpoint(address, ready=ready))
    return [
        Part(ports, tuple(group[:MOST]), labels, annotations, family)
        for (ports, family), group in sorted(groups.items(), key=lambda item: repr(item[0]))
    ]


class Mirror:
    """Keeps the slices of one Service's Endpoints."""

    def __init__(self, informers: SharedInformers, recorder: Recorder) -> None:
        self._client = informers.client
        self._recorder = recorder
        self._endpoints = informers.of(Endpoints).cache
        self._services = informers.of(Service).cache
        self._slices = informers.of(EndpointSlice).cache

    async def reconcile(self, key: Key) -> After | None:
        """Mirror the Endpoints at `key`, or remove what mirrored them."""
        endpoints = self._endpoints.view(key)
        existing = slices_of(self._slices, key, MANAGED_BY)
        wanted: list[Part] = []
        if (
            endpoints is not None
            and endpoints.metadata.deletion_timestamp is None
            and is_mirrored(endpoints, self._services.view(key))
        ):
            wanted = plan(endpoints)
            for reason, message in left_out(endpoints):
                self._recorder.warning(endpoints, reason, message)
        return await write_slices(self._client, endpoints, pairs(endpoints, wanted, existing, MOST))


def endpoint_slice_mirroring_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller."""

    def of_slice(document: Document) -> Iterable[Key]:
        labels = document.meta.labels
        if labels.get(MANAGER) != MANAGED_BY or SERVICE_NAME not in labels:
            return ()
        return (Key(document.meta.namespace, labels[SERVICE_NAME]),)

    own = recorder.source(NAME)
    return Controller(
        NAME,
        Mirror(informers, own),
        [
            (informers.of(Endpoints), itself),
            (informers.of(Service), itself),
            (informers.of(EndpointSlice), of_slice),
        ],
        workers=5,
        recorder=own,
    )
