"""The service proxy as a daemon, and what it leaves on a machine."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random

from kubelib.api.core.node import Node
from kubelib.client.base import Client
from kubelib.clock import system_random
from kubelib.informers import Component
from kubelib.network.following import ServiceFollower
from kubelib.network.healthchecks import HealthChecks
from kubelib.network.services import ANY_NODE_ADDRESS, networks
from kubelib.network.tracking import ServiceTracker
from reference_cluster.daemon import connected, running
from reference_cluster.names import NO_NAMES, Names
from reference_cluster.networks import kept_networks, local_addresses, pair

NAME = "kube-proxy"
MODES = ("userspace", "nftables")


def _table(service_network: str) -> str:
    return f"kubelib-{service_network.partition('/')[0]}"


def clear_services(directory: Path) -> None:
    """Remove what a cluster that was killed has left on this machine to lead to its Services: rules and a route."""
    from kubelib.network.nftables import NftablesError, remove

    network = kept_networks(directory)
    if network is None or os.geteuid() != 0:
        return
    with suppress(NftablesError):  # without the program there are no rules
        remove(_table(network.services))
    with local_addresses(network.services):
        pass  # on leaving it, the machine gives them up


def ways_to_services(
    mode: str,
    client: Client,
    random: Random,
    *,
    service_network: str,
    names: Names = NO_NAMES,
    node: str = "",
    here: Callable[[Node], bool] | None = None,
    node_address: str = "127.0.0.1",
    node_port_addresses: tuple[str, ...] = (),
    on_engine: bool = False,
) -> list[Component]:
    """Return what leads to Services, by one of `MODES`, and answers for their `names` if nobody else does, in the order in which to start it.

    It is on the node of this name, or on all that are `here`. In the kernel, ports of the node are at its addresses in the networks
    `node_port_addresses`, or else at all. `on_engine` if an engine's bridge connects Pods. Raises ValueError if it cannot here.
    """
    tracker = ServiceTracker(client, random=random, node=node, here=here)
    settings = (service_network, node_address, node_port_addresses)
    proxies = list(_proxies(mode, tracker, *settings, on_engine=on_engine))
    health = HealthChecks(
        tracker,
        # As ports of the node: where the kernel leads to Services, at all addresses.
        node_address=node_address if mode == "userspace" else ANY_NODE_ADDRESS,
        healthy=lambda: all(proxy.healthy for proxy in proxies),
    )
    return [tracker, *proxies, health, *([names.server(tracker, random)] if names.own else [])]


def _proxies(
    mode: str,
    tracker: ServiceTracker,
    service_network: str,
    node_address: str,
    node_port_addresses: tuple[str, ...],
    *,
    on_engine: bool,
) -> Iterator[ServiceFollower]:
    from kubelib.network.userspace import ServiceProxy

    if mode == "userspace":
        yield ServiceProxy(tracker, node_address=node_address)
        return
    from kubelib.network.nftables import NftablesError, NftablesProxy, NftablesSettings, check, within_reach

    table = _table(service_network)
    try:
        check(table)
    except NftablesError as error:
        raise ValueError(
            f"Services cannot be reached by nftables: {error}; use userspace instead."
        ) from error
    settings = NftablesSettings(
        table=table,
        service_network=service_network,
        masquerade_all=on_engine,
        node_port_addresses=networks(node_port_addresses, 4),
    )
    yield NftablesProxy(tracker, settings=settings)
    yield ServiceProxy(
        tracker,
        node_address=node_address,
        name="kube-proxy-userspace",
        concerns=lambda rule: not within_reach(rule, service_network),
    )


def _has(address: str, node: Node) -> bool:
    return any(known.address == address for known in node.status.addresses)


@asynccontextmanager
async def run_proxy(
    kubeconfig: Path,
    *,
    node_address: str,
    node: str = "",
    node_port_addresses: tuple[str, ...] = (),
    service_network: str = "",
    cluster_dns: str = "",
    mode: str = "userspace",
    pod_routes: bool = False,
) -> AsyncIterator[str]:
    """Forward connections to Services, whose addresses are in `service_network`, while the context is open.

    This is the machine of the node of this name, or, without one, of all nodes that have `node_address`. Questions for their names are answered at the address `cluster_dns`, if there is one. With `pod_routes`, Pods of other machines are
    reached too.
    """
    async with connected(kubeconfig, NAME) as client:
        random = system_random()
        network = service_network or pair(0).services
        names = Names((cluster_dns,), own=True) if cluster_dns else NO_NAMES
        components = ways_to_services(
            mode,
            client,
            random,
            service_network=network,
            names=names,
            node=node,
            here=None if node else partial(_has, node_address),
            node_address=node_address,
            node_port_addresses=node_port_addresses,
        )
        if pod_routes:
            from kubelib.network.pods import NodeRoutes

            components.append(NodeRoutes(client, random=random))
        with local_addresses(service_network):
            async with running(NAME, components):
                yield f"{NAME} is ready for {client.connection.server}"
