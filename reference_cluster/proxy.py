"""The service proxy as a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubelib.clock import system_random
from kubelib.informers import Component
from reference_cluster.daemon import connected, running
from reference_cluster.names import Names
from reference_cluster.networks import local_addresses

NAME = "kube-proxy"


@asynccontextmanager
async def run_proxy(
    kubeconfig: Path, *, node_address: str, service_network: str = "", cluster_dns: str = ""
) -> AsyncIterator[str]:
    """Forward connections to Services, whose addresses are in `service_network`, while the context is open.

    Questions for their names are answered at the address `cluster_dns`, if there is one.
    """
    from kubelib.network.userspace import ServiceProxy

    async with connected(kubeconfig, NAME) as client:
        random = system_random()
        components: list[Component] = [ServiceProxy(client, random=random, node_address=node_address)]
        if cluster_dns:
            components.append(Names((cluster_dns,), own=True).server(client, random))
        with local_addresses(service_network):
            async with running(NAME, components):
                yield f"{NAME} is ready for {client.connection.server}"
