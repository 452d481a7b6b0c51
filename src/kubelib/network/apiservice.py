"""The Service `kubernetes` in `default`, through which Pods reach the API server."""

import socket
from collections.abc import Collection, Sequence
from contextlib import suppress

from kubelib.api.core.service import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
    ServiceSpec,
)
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from kubelib.api.discovery import EndpointPort as SlicePort
from kubelib.api.errors import AlreadyExists, NotFound
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.model import replace
from kubelib.client import LocalClient
from kubelib.client.update import patch_difference
from kubelib.labels import parse_selector
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries

NAME, NAMESPACE = "kubernetes", "default"
PORT = 443


def service_port(address: str, port: int) -> int:
    """Return the Service's port: 443 as everywhere, or the server's own where this user may not listen so low.

    A proxy of the same user could not listen there either, and Pods would have been told a port that nobody answers.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, PORT))
        except PermissionError:
            return port
        except OSError:
            return PORT  # it is taken, or the address is not of this machine: others know more
    return PORT


Addresses = Sequence[tuple[str, int]]


async def ensure_kubernetes_service(registries: ResourceRegistries, servers: Addresses) -> None:
    """Make the Service, at the first address of the services' range, and let it lead to all `servers`: address and port."""
    client = LocalClient(registries, manager="kube-apiserver")
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = servers[0][1]
    service = Service(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=labels),
        spec=ServiceSpec(
            cluster_ip=registries.api_service_address,
            cluster_ips=(registries.api_service_address,),
            ports=(
                ServicePort(
                    name="https",
                    port=service_port(registries.api_service_address, port),
                    protocol="TCP",
                    target_port=port,
                ),
            ),
        ),
    )
    by_port: dict[int, list[str]] = {}
    for address, number in sorted(servers):
        by_port.setdefault(number, []).append(address)
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints = Endpoints(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=mirrored),
        subsets=tuple(
            EndpointSubset(
                addresses=tuple(EndpointAddress(ip=address) for address in addresses),
                ports=(EndpointPort(name="https", port=number, protocol="TCP"),),
            )
            for number, addresses in by_port.items()
        ),
    )
    await _ensure(client, service)
    await _ensure(client, endpoints)
    slices = [_slice(number, addresses) for number, addresses in by_port.items()]
    # All ports in one slice are those of all its endpoints, so servers at other ports have slices of their own.
    slices[0] = replace(slices[0], metadata=replace(slices[0].metadata, name=NAME))
    for slice_ in slices:
        await _ensure(client, slice_)
    await _remove_others(client, {slice_.metadata.name for slice_ in slices})


def _slice(port: int, addresses: Sequence[str]) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{NAME}-{port}", namespace=NAMESPACE, labels={"kubernetes.io/service-name": NAME}
        ),
        address_type="IPv6" if ":" in addresses[0] else "IPv4",
        endpoints=tuple(
            Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True)) for address in addresses
        ),
        ports=(SlicePort(name="https", port=port, protocol="TCP"),),
    )


async def _remove_others(client: LocalClient, names: Collection[str]) -> None:
    query = Query(namespace=NAMESPACE, labels=parse_selector(f"kubernetes.io/service-name={NAME}"))
    slices = client.resource(EndpointSlice)
    for found in (await slices.list(query)).items:
        if found.metadata.name not in names:
            with suppress(NotFound):
                await slices.delete(found.key)


async def _ensure(client: LocalClient, wanted: Object) -> None:
    registry = client.resource(type(wanted))
    try:
        current = await registry.get(wanted.key)
    except NotFound:
        try:
            await registry.create(wanted)
        except AlreadyExists:
            return  # another API server was quicker
        return
    if isinstance(current, Endpoints) and isinstance(wanted, Endpoints):
        await patch_difference(client, current, replace(current, subsets=wanted.subsets))
    elif isinstance(current, EndpointSlice) and isinstance(wanted, EndpointSlice):
        await patch_difference(
            client, current, replace(current, endpoints=wanted.endpoints, ports=wanted.ports)
        )
    elif isinstance(current, Service) and isinstance(wanted, Service):
        spec = replace(current.spec, ports=wanted.spec.ports)
        await patch_difference(client, current, replace(current, spec=spec))
