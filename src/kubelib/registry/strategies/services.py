"""Services: addresses and node ports are allocated with the write that needs them, in one commit."""

import ipaddress
from typing import TYPE_CHECKING

from kubelib.api.errors import Problem, invalid
from kubelib.api.scheme import Tree
from kubelib.registry.strategies.base import Operations, Strategy
from kubelib.store import ABSENT, Delete, Put

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

ADDRESSES = "/ranges/serviceips/"
NODE_PORTS = "/ranges/nodeports/"
FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767


def _allocations(tree: Tree | None) -> set[str]:
    """Return the allocation keys that a Service holds."""
    spec = (tree or {}).get("spec") or {}
    held = set()
    address = spec.get("clusterIP")
    if address and address != "None" and spec.get("type") != "ExternalName":
        held.add(ADDRESSES + address)
    held.update(f"{NODE_PORTS}{port['nodePort']}" for port in spec.get("ports") or () if port.get("nodePort"))
    return held


class ServiceStrategy(Strategy):
    """What is special about Services."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin without a load balancer."""
        tree["status"] = {"loadBalancer": {}}

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Keep the address and the node ports that the writer left out."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        spec, before = tree.get("spec"), old.get("spec") or {}
        if subresource or not isinstance(spec, dict):
            return tree
        kind = spec.get("type") or "ClusterIP"
        if kind != "ExternalName" and before.get("type") != "ExternalName" and not spec.get("clusterIP"):
            for part in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if part in before:
                    spec.setdefault(part, before[part])
        ports = {
            (p.get("name") or "", p.get("port"), p.get("protocol") or "TCP"): p
            for p in before.get("ports") or ()
        }
        for port in spec.get("ports") or ():
            known = ports.get((port.get("name") or "", port.get("port"), port.get("protocol") or "TCP"))
            if kind in ("NodePort", "LoadBalancer"):
                if known and known.get("nodePort") and not port.get("nodePort"):
                    port["nodePort"] = known["nodePort"]
            elif known and port.get("nodePort") == known.get("nodePort"):
                port.pop("nodePort", None)
        return tree

    async def reserve(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> Operations:
        """Allocate an address and node ports where they are missing; give back those that are dropped."""
        spec = tree["spec"]
        kind = spec.get("type")
        if kind == "ExternalName":
            for part in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(part, None)
        else:
            if not spec.get("clusterIP"):
                spec["clusterIP"] = await self._free_address(registry)
            spec["clusterIPs"] = [spec["clusterIP"]]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        if kind in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts") is not False:
            taken = {port.get("nodePort") for port in spec.get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = await self._free_port(registry, taken)
                    taken.add(port["nodePort"])
        held, wanted = _allocations(old), _allocations(tree)
        meta = tree["metadata"]
        owner = f"{meta.get('namespace')}/{meta.get('name')}".encode()
        operations: Operations = []
        for key in sorted(wanted - held):
            if await registry.store.get(key) is not None:
                raise self._taken(key, meta.get("name") or "")
            operations.append(Put(key, owner, ABSENT))
        operations += await self._give_back(registry, held - wanted)
        return operations

    async def release(self, registry: "GenericRegistry", tree: Tree) -> Operations:
        """Give back everything."""
        return await self._give_back(registry, _allocations(tree))

    @staticmethod
    async def _give_back(registry: "GenericRegistry", keys: set[str]) -> Operations:
        entries = [await registry.store.get(key) for key in sorted(keys)]
        return [Delete(entry.key, entry.modified) for entry in entries if entry is not None]

    @staticmethod
    def _taken(key: str, name: str) -> Exception:
        value = key.rpartition("/")[2]
        if key.startswith(NODE_PORTS):
            problem = Problem(
                "FieldValueInvalid",
                "spec.ports[0].nodePort",
                f"Invalid value: {value}: provided port is already allocated",
            )
        else:
            problem = Problem(
                "FieldValueInvalid",
                "spec.clusterIPs",
                f'Invalid value: ["{value}"]: failed to allocate IP {value}: provided IP is already allocated',
            )
        return invalid("Service", "", name, [problem])

    async def _free_address(self, registry: "GenericRegistry") -> str:
        network = ipaddress.ip_network(registry.owner.service_cidr)
        page = await registry.store.list(ADDRESSES)
        taken = {entry.key.removeprefix(ADDRESSES) for entry in page.entries}
        size = network.num_addresses - 2
        start = registry.owner.random.randrange(size)
        for step in range(size):
            address = str(network[1 + (start + step) % size])
            if address not in taken and address != registry.owner.api_service_address:
                return address
        raise invalid(
            "Service",
            "",
            "",
            [
                Problem(
                    "InternalError",
                    "spec.clusterIPs",
                    "Internal error: failed to allocate a serviceIP: range is full",
                )
            ],
        )

    @staticmethod
    async def _free_port(registry: "GenericRegistry", also_taken: set[object]) -> int:
        page = await registry.store.list(NODE_PORTS)
        taken = {int(entry.key.removeprefix(NODE_PORTS)) for entry in page.entries}
        size = LAST_NODE_PORT - FIRST_NODE_PORT + 1
        start = registry.owner.random.randrange(size)
        for step in range(size):
            port = FIRST_NODE_PORT + (start + step) % size
            if port not in taken and port not in also_taken:
                return port
        raise invalid(
            "Service",
            "",
            "",
            [
                Problem(
                    "InternalError",
                    "spec.ports[0].nodePort",
                    "Internal error: failed to allocate a nodePort: range is full",
                )
            ],
        )
