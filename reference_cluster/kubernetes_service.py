"""The Service `kubernetes` in `default`, through which Pods reach the API server."""

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
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.model import replace
from kubelib.client import LocalClient
from kubelib.client.update import patch_difference
from kubelib.registry.registries import ResourceRegistries

NAME, NAMESPACE = "kubernetes", "default"
PORT = 443


async def ensure_kubernetes_service(registries: ResourceRegistries, address: str, port: int) -> None:
    """Make the Service, at the first address of the services' range, and let it lead to `address` and `port`."""
    client = LocalClient(registries, manager="kube-apiserver")
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service = Service(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=labels),
        spec=ServiceSpec(
            cluster_ip=registries.api_service_address,
            cluster_ips=(registries.api_service_address,),
            ports=(ServicePort(name="https", port=PORT, protocol="TCP", target_port=port),),
        ),
    )
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints = Endpoints(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=mirrored),
        subsets=(
            EndpointSubset(
                addresses=(EndpointAddress(ip=address),),
                ports=(EndpointPort(name="https", port=port, protocol="TCP"),),
            ),
        ),
    )
    slice_ = EndpointSlice(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={"kubernetes.io/service-name": NAME}),
        address_type="IPv6" if ":" in address else "IPv4",
        endpoints=(Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True)),),
        ports=(SlicePort(name="https", port=port, protocol="TCP"),),
    )
    for wanted in (service, endpoints, slice_):
        await _ensure(client, wanted)


async def _ensure(client: LocalClient, wanted: Object) -> None:
    registry = client.resource(type(wanted))
    try:
        current = await registry.get(Key(NAMESPACE, NAME))
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
