"""Routes between nodes: Pods that have networks of their own reach those of other machines by the machines' addresses.

It is what flannel calls host-gw: the machines are neighbours on one network, and each has a route to every other's range of Pods.
"""

import ipaddress
import json
import logging
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.client.base import Client
from kubelib.hosttools import ToolError, run_tool
from kubelib.informers import SharedInformers

log = logging.getLogger("kubelib.network")

PROTOCOL = "107"
"""What the kernel notes as the origin of these routes, so that they are told from others."""
AGAIN = 30.0
"""Seconds until a route that could not be made is tried again, and one that somebody has removed is made again."""
GATHER = 0.1
"""Seconds that a burst of changes may take to be one."""

Routes = Mapping[str, str]
"""Ranges of Pods, and by which address each is reached."""


class RouteError(RuntimeError):
    """A route cannot be read or made; the message says why."""


def _ip(*words: str) -> Any:
    """Run ``ip`` and return what it says, as JSON. Raises `RouteError`."""
    try:
        return json.loads(run_tool(["ip", "-j", *words]) or "[]")
    except ToolError as error:
        raise RouteError(str(error)) from error


def is_here(address: str) -> bool:
    """Return whether an address is one of this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def routes_between(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the routes from here to the Pods of other machines whose ranges and addresses are of IPv4, and no loopback ones."""
    found: dict[str, str] = {}
    for node in nodes:
        try:
            network = ipaddress.ip_network(node.spec.pod_cidr)
        except ValueError:
            continue
        addresses = [
            a.address for a in node.status.addresses if a.type == "InternalIP" and ":" not in a.address
        ]
        if network.version == 4 and not network.is_loopback and addresses and not is_here(addresses[0]):
            found[str(network)] = addresses[0]
    return found


class NodeRoutes:
    """A component: keeps a route to the Pods of every other node while it runs, and removes them when it ends."""

    def __init__(self, client: Client, *, random: Random, name: str = "node-routes") -> None:
        self.name = name
        self._informers = SharedInformers(client, random=random)
        self._nodes = self._informers.of(Node)
        self._news = anyio.Event()
        self._failed: set[str] = set()
        """The ranges of which it has been said that there is no route."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once there is a route to all the nodes that there are, or it is said why not."""
        try:
            async with anyio.create_task_group() as group:
                await group.start(self._informers.run)
                self._nodes.subscribe(lambda old, new: self._news.set())
                made: Routes | None = None
                while True:
                    self._news = anyio.Event()
                    wanted = routes_between(d.view(Node) for d in self._nodes.cache)
                    if wanted != made:  # nodes report all the time
                        await self._bring_about(wanted)
                        if made is None:
                            task_status.started()
                        made = wanted
                    with anyio.move_on_after(AGAIN) as waited:
                        await self._news.wait()
                        await anyio.sleep(GATHER)
                    if waited.cancelled_caught:
                        await self._bring_about(made)
        finally:
            with anyio.CancelScope(shield=True):
                await self._bring_about({})

    async def _bring_about(self, wanted: Routes) -> None:
        try:
            there = await anyio.to_thread.run_sync(known_routes)
        except RouteError as error:
            log.warning("Pods of other nodes cannot be reached: %s", error)
            return
        for network, by in wanted.items():
            if there.get(network) == by:
                continue
            try:
                await anyio.to_thread.run_sync(make_route, network, by)
                self._failed.discard(network)
            except RouteError as error:
                if network not in self._failed:
                    self._failed.add(network)
                    log.warning("Pods of %s cannot be reached by %s: %s", network, by, error)
        for network in there:
            if network not in wanted:
                await anyio.to_thread.run_sync(remove_route, network)


def known_routes() -> dict[str, str]:
    """Return the routes that are there. Raises `RouteError`."""
    found = _ip("route", "show", "proto", PROTOCOL)
    return {str(route["dst"]): str(route.get("gateway", "")) for route in found}


def make_route(network: str, by: str) -> None:
    """Make a route, and let what comes back on its way be forwarded to Pods. Raises `RouteError`."""
    _ip("route", "replace", network, "via", by, "proto", PROTOCOL)
    [way] = _ip("route", "get", by)
    try:
        (Path("/proc/sys/net/ipv4/conf") / way["dev"] / "forwarding").write_text("1")
    except OSError as error:
        raise RouteError(f"what comes in by {way['dev']} is not forwarded: {error}") from error


def remove_route(network: str) -> None:
    """Remove a route, if it is there."""
    try:
        _ip("route", "del", network, "proto", PROTOCOL)
    except RouteError as error:
        log.debug("route to %s: %s", network, error)
