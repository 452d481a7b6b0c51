"""Where a Service answers, for callers inside the API server: they need no proxy, only the endpoints."""

from kubelib.api.core.service import Endpoints, Service
from kubelib.api.discovery import EndpointSlice
from kubelib.api.meta import Key
from kubelib.labels import parse_selector
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.registry.webhooks.base import CannotConnect, ServiceTarget


class ServiceResolver:
    """Finds the address of a Service's port, one that is ready by chance, as ``--enable-aggregator-routing`` does."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries

    def __call__(self, target: ServiceTarget) -> tuple[str, int]:
        """Return host and port. Raises CannotConnect with Kubernetes' reason."""
        document = self._registries.cache_of(Service).get(Key(target.namespace, target.name))
        if document is None:
            raise CannotConnect(f'service "{target.name}" not found')
        spec = document.view(Service).spec
        if spec.type == "ExternalName":
            return spec.external_name, target.port
        names = [port.name for port in spec.ports if port.port == target.port]
        if not names:
            raise CannotConnect(f'no service port {target.port} found for service "{target.name}"')
        found = self.endpoints(target.namespace, target.name, names[0])
        if not found:
            raise CannotConnect(f'no endpoints available for service "{target.name}"')
        return found[self._registries.random.randrange(len(found))]

    def endpoints(self, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
        """Return what is ready behind the port of that name: by EndpointSlices, where there are none by Endpoints."""
        query = Query(namespace, parse_selector(f"kubernetes.io/service-name={name}"))
        slices = self._registries.cache_of(EndpointSlice).select(query)
        if slices:
            return [
                (endpoint.addresses[0], number.port)
                for piece in (document.view(EndpointSlice) for document in slices)
                for number in piece.ports
                if number.name == port and number.port
                for endpoint in piece.endpoints
                if endpoint.addresses and endpoint.conditions.ready is not False
            ]
        document = self._registries.cache_of(Endpoints).get(Key(namespace, name))
        if document is None:
            return []
        return [
            (address.ip, number.port)
            for subset in document.view(Endpoints).subsets
            for number in subset.ports
            if number.name == port
            for address in subset.addresses
        ]
