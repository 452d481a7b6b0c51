"""Names of Services: who answers for them in a cluster, and where."""

import ipaddress
import logging
from collections.abc import Sequence
from random import Random

import attrs

from kubelib.api.core.service import Service, ServicePort, ServiceSpec
from kubelib.api.errors import AlreadyExists, Invalid, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client import LocalClient
from kubelib.network.dns import PORT, ClusterDns, may_listen
from kubelib.network.tracking import ServiceTracker
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.names import dns_of_host

log = logging.getLogger("kubelib")

KEY = Key("kube-system", "kube-dns")
PLACE = 10
"""Which address of the services' network the server has, as in most clusters."""
LABELS = {
    "k8s-app": "kube-dns",
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "CoreDNS",
}


@attrs.frozen
class Names:
    """Whom Pods ask for names."""

    servers: Sequence[str] = ()
    own: bool = False
    """Whether that is `server`, and not Pods that somebody runs."""

    def server(self, tracker: ServiceTracker, random: Random) -> ClusterDns:
        """Return the component that answers."""
        upstream = [(server, PORT) for server in dns_of_host().servers]
        return ClusterDns(tracker, random=random, address=self.servers[0], upstream=upstream)


NO_NAMES = Names()


async def cluster_names(registries: ResourceRegistries) -> Names:
    """Return whom the Pods of a cluster ask: the Service ``kube-dns``, made if there is none and this user may answer at its address.

    If it has a selector, somebody runs DNS servers as Pods, and these are asked.
    """
    services = LocalClient(registries, manager="kubelib").resource(Service)
    try:
        found = await services.get(KEY)
    except NotFound:
        address = str(ipaddress.ip_network(registries.service_cidr)[PLACE])
        if not _may_answer(address):
            return NO_NAMES
        try:
            found = await services.create(_service(address))
        except Invalid:  # it is another Service's
            found = await services.create(_service(""))
        except AlreadyExists:
            found = await services.get(KEY)
    address = found.spec.cluster_ip
    if found.spec.selector:
        return Names((address,))
    return Names((address,), own=True) if _may_answer(address) else NO_NAMES


def _may_answer(address: str) -> bool:
    if may_listen(address):
        return True
    log.info("names of Services do not resolve: this user may not listen on %s:%s", address, PORT)
    return False


def _service(address: str) -> Service:
    return Service(
        metadata=ObjectMeta(name=KEY.name, namespace=KEY.namespace, labels=LABELS),
        spec=ServiceSpec(
            cluster_ip=address,
            ports=(
                ServicePort(name="dns", port=PORT, protocol="UDP"),
                ServicePort(name="dns-tcp", port=PORT, protocol="TCP"),
            ),
        ),
    )
