"""The service proxy as a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubelib.clock import system_random
from reference_cluster.daemon import connected, running
from reference_cluster.networks import local_addresses

NAME = "kube-proxy"


@asynccontextmanager
async def run_proxy(kubeconfig: Path, *, node_address: str, service_network: str = "") -> AsyncIterator[str]:
    """Forward connections to Services, whose addresses are in `service_network`, while the context is open."""
    from kubelib.network.userspace import ServiceProxy

    async with connected(kubeconfig, NAME) as client:
        proxy = ServiceProxy(client, random=system_random(), node_address=node_address)
        with local_addresses(service_network):
            async with running(NAME, [proxy]):
                yield f"{NAME} is ready for {client.connection.server}"
