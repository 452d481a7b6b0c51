"""Where a cluster's Pods and Services get their addresses: of the loopback addresses, those that no other cluster here has.

Containers of an engine have a loopback device of their own, on which no Service of this machine can be. There Services get addresses
that are routed to, and this machine takes all of them for its own: the proxy may then listen on each, and whoever routes to here
reaches it. So it is where containers without an engine have networks of their own; their Pods' addresses are routed to as well.

A cluster takes the first pair of networks that nobody holds, in which nobody listens, and to which nothing is routed: 127.244/16
and 127.96/16, or 10.244/16 and 10.96/16, where it is alone. It keeps them for good in its data directory, and holds them, for as long as it runs, by an abstract socket, which ends
with the process and is seen by whoever shares the loopback device, and by nobody else.
"""

import ipaddress
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from kubelib.hosttools import ToolError, run_tool
from reference_cluster.datadir import DataDirectory, DataDirectoryError

FIRST_PODS, FIRST_SERVICES = 244, 96
PAIRS = 64
ROUTES = Path("/proc/net/route")
LISTENING = Path("/proc/net/tcp")
FILE = "networks.json"


log = logging.getLogger("kubelib")


@attrs.frozen
class Networks:
    """A pair of networks."""

    pods: str
    services: str


def pair(number: int, *, routed: bool = False, pods_routed: bool = False) -> Networks:
    """Return the networks of the cluster with this number on its machine, from 0.

    With `routed`, its Services are for containers with networks of their own; with `pods_routed`, it gives these their addresses.
    """
    pods, services = (10 if pods_routed else 127), (10 if routed else 127)
    return Networks(f"{pods}.{FIRST_PODS - number}.0.0/16", f"{services}.{FIRST_SERVICES + number}.0.0/16")


@contextmanager
def own_networks(
    directory: DataDirectory, *, routed: bool = False, pods_routed: bool = False
) -> Iterator[Networks]:
    """Hold a `pair` of networks for the cluster in `directory`. Raises `DataDirectoryError` if what it has kept is damaged.

    What it has kept it keeps: its Services have these addresses.
    """
    file = directory.path / FILE
    with ExitStack() as stack:
        if file.exists():
            networks = _kept(file)
            _hold(stack, networks)  # its Pods have these addresses, whoever else has taken them meanwhile
        elif (directory.path / "store.sqlite").exists():
            networks = pair(0)  # a cluster from before there was a choice
            _hold(stack, networks)
        else:
            networks = _choose(stack, routed=routed, pods_routed=pods_routed)
        file.write_text(json.dumps({"pods": networks.pods, "services": networks.services}) + "\n")
        yield networks


def kept_networks(directory: Path) -> Networks | None:
    """Return the networks that the cluster in a directory keeps, if it has any yet. Raises `DataDirectoryError` if that is damaged."""
    file = directory / FILE
    return _kept(file) if file.exists() else None


def _kept(file: Path) -> Networks:
    try:
        found = json.loads(file.read_text())
        return Networks(str(found["pods"]), str(found["services"]))
    except (ValueError, KeyError, TypeError):
        raise DataDirectoryError(
            f"{file} is damaged: restore the directory from a backup or choose another --data-dir"
        ) from None


def _choose(stack: ExitStack, *, routed: bool, pods_routed: bool) -> Networks:
    busy, elsewhere = _listening(), _routes()
    for number in range(PAIRS):
        networks = pair(number, routed=routed, pods_routed=pods_routed)
        both = [ipaddress.IPv4Network(text) for text in (networks.pods, networks.services)]
        taken = busy & {FIRST_PODS - number, FIRST_SERVICES + number} or any(
            network.overlaps(other) for network in both for other in elsewhere
        )
        if not taken and _hold(stack, networks):
            return networks
    return pair(0, routed=routed, pods_routed=pods_routed)


def _routes() -> list[ipaddress.IPv4Network]:
    """Return the networks that this machine has routes to, but for the rest of the world."""
    try:
        lines = ROUTES.read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        destination, mask = (_address(line.split()[column]) for column in (1, 7))
        if mask != "0.0.0.0":
            found.append(ipaddress.IPv4Network(f"{destination}/{mask}"))
    return found


def _address(number: str) -> str:
    """Return an address that the kernel has written as a little-endian number."""
    return str(ipaddress.IPv4Address(bytes.fromhex(number)[::-1]))


@contextmanager
def local_addresses(network: str) -> Iterator[None]:
    """Take all addresses of a network for this machine's own, so that a proxy may listen on each of them.

    Loopback addresses are that anyway. Who may not change routes is told that Services will not answer.
    """
    if not network or ipaddress.ip_network(network).is_loopback:
        yield
        return
    route = ("local", network, "dev", "lo")
    if why := _ip("route", "replace", *route):
        log.warning("Services will not answer: %s are no addresses of this machine: %s", network, why)
    try:
        yield
    finally:
        if not why:
            _ip("route", "del", *route)


def _ip(*arguments: str) -> str:
    """Run ``ip``; return why it failed, or nothing."""
    if os.geteuid() != 0:
        return "only root may change routes"
    try:
        run_tool(["ip", *arguments], timeout=10)
    except ToolError as error:
        return str(error)
    return ""


def _hold(stack: ExitStack, networks: Networks) -> bool:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0kubelib {networks.pods} {networks.services}")
    except OSError:
        holder.close()
        return False
    stack.callback(holder.close)
    return True


def _listening() -> set[int]:
    """Return the second parts of the loopback addresses at which something listens: Pods go on when their cluster has ended."""
    try:
        lines = LISTENING.read_text().splitlines()[1:]
    except OSError:
        return set()
    found = set()
    for line in lines:
        _, local, _, state, *_ = line.split()
        address = bytes.fromhex(local.partition(":")[0])[
            ::-1
        ]  # the kernel writes it as a little-endian number
        if state == "0A" and address[0] == 127:
            found.add(address[1])
    return found
