"""What Services hold: addresses of ranges, and ports of the nodes. What is free is known without a look at all of them.

An allocation is a key of the store that is written and deleted in one commit with the Service that holds it. So the Services of the
watch cache say what is taken, and of these only what has changed is looked at again. Several API servers may choose the same at
once: the commit of one of them fails.
"""

import ipaddress
from collections import deque
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from kubelib.api.meta import Key
from kubelib.api.networking import IPAddress, ServiceCIDR
from kubelib.api.scheme import Tree

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

DEFAULT_RANGE = "kubernetes"
"""The ServiceCIDR that the API server keeps itself."""
ADDRESSES = "/ranges/serviceips/"
NODE_PORTS = "/ranges/nodeports/"
FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767
MOST_PROMISED = 64
"""How many allocations are not chosen again at once: their commits may be on their way."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def held_by(tree: Tree | None) -> set[str]:
    """Return the allocation keys that a Service holds."""
    spec = (tree or {}).get("spec") or {}
    held = set()
    address = spec.get("clusterIP")
    if address and address != "None" and spec.get("type") != "ExternalName":
        held.add(ADDRESSES + address)
    held.update(f"{NODE_PORTS}{port['nodePort']}" for port in spec.get("ports") or () if port.get("nodePort"))
    if spec.get("healthCheckNodePort"):
        held.add(f"{NODE_PORTS}{spec['healthCheckNodePort']}")
    return held


class Allocations:
    """The allocations of all Services, in step with the watch cache, and the ranges that they are from."""

    def __init__(self, services: "GenericRegistry") -> None:
        owner = services.owner
        self._services = services
        self._shown = owner.cache_of(IPAddress)
        self._cidrs = owner.cache_of(ServiceCIDR)
        self._changed = services.cache.track()
        self._changed_ranges = self._cidrs.track()
        self._ranges: tuple[Network, ...] = (ipaddress.ip_network(owner.service_cidr),)
        self._held: dict[Key, set[str]] = {}
        self._taken: set[str] = set()
        self._promised: deque[str] = deque(maxlen=MOST_PROMISED)

    @property
    def ranges(self) -> tuple[Network, ...]:
        """Where Services get their addresses: the API server's own range, then those of ServiceCIDRs that are ready."""
        if self._changed_ranges:
            self._changed_ranges.clear()
            default = self._ranges[0]
            found = {default: None}
            for document in self._cidrs.all():
                tree = document.tree()
                conditions = (tree.get("status") or {}).get("conditions") or ()
                ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
                # what the one of the API server's own says is what the server was once started with
                if ready and not document.meta.deletion_timestamp and document.meta.name != DEFAULT_RANGE:
                    networks = map(ipaddress.ip_network, tree["spec"]["cidrs"])
                    found.update(dict.fromkeys(n for n in networks if n.version == default.version))
            self._ranges = tuple(found)
        return self._ranges

    async def free_address(self) -> str | None:
        """Return an address that nobody holds; None if there is none."""
        for network in self.ranges:
            # neither the first address, which names the network, nor the last one, which is for broadcasts
            offsets = self._from_anywhere(network.num_addresses - 2)
            addresses = (str(network[1 + offset]) for offset in offsets)
            keys = (ADDRESSES + address for address in addresses if not self._is_reserved(address))
            if (key := await self._free(keys, ())) is not None:
                return key.removeprefix(ADDRESSES)
        return None

    async def free_port(self, also_taken: Collection[object]) -> int | None:
        """Return a port of the nodes that nobody holds and that is not among `also_taken`; None if there is none."""
        taken = {f"{NODE_PORTS}{port}" for port in also_taken}
        offsets = self._from_anywhere(LAST_NODE_PORT - FIRST_NODE_PORT + 1)
        key = await self._free((f"{NODE_PORTS}{FIRST_NODE_PORT + offset}" for offset in offsets), taken)
        return int(key.removeprefix(NODE_PORTS)) if key is not None else None

    def _from_anywhere(self, size: int) -> Iterator[int]:
        start = self._services.owner.random.randrange(size) if size > 0 else 0
        return ((start + step) % size for step in range(size))

    async def _free(self, keys: Iterator[str], also_taken: Collection[str]) -> str | None:
        self._catch_up()
        promised = []
        for key in keys:
            if key in self._taken or key in also_taken:
                continue
            if key in self._promised:
                promised.append(key)
            elif await self._services.store.get(key) is None:  # another API server may have been quicker
                self._promised.append(key)
                return key
        # What was promised a while ago may have come to nothing.
        for key in promised:
            if await self._services.store.get(key) is None:
                return key
        return None

    def _is_reserved(self, address: str) -> bool:
        """Return whether an address is the API server's own, or somebody has made an IPAddress of it."""
        own = self._services.owner.api_service_address
        return address == own or self._shown.get(Key("", address)) is not None

    def _catch_up(self) -> None:
        changed, cache = self._changed, self._services.cache
        while changed:
            key = changed.pop()
            self._taken -= self._held.pop(key, set())
            document = cache.get(key)
            if document is not None and (held := held_by(document.tree())):
                self._held[key] = held
                self._taken |= held
