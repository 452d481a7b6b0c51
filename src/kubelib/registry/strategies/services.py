"""Services: addresses and node ports are allocated with the write that needs them, in one commit."""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubelib.api import codec
from kubelib.api.errors import Problem, invalid
from kubelib.api.meta import Key
from kubelib.api.networking import IPAddress
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation import problems
from kubelib.clock import new_uid
from kubelib.registry.keys import prefix_of, store_key
from kubelib.registry.strategies.allocations import (
    ADDRESSES,
    FIRST_NODE_PORT,
    LAST_NODE_PORT,
    NODE_PORTS,
    Allocations,
    Network,
    held_by,
)
from kubelib.registry.strategies.base import Operations, Strategy
from kubelib.store import ABSENT, Delete, Put

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry


def _shown_key(registry: "GenericRegistry", key: str) -> str:
    """Return where the IPAddress of an allocation is stored."""
    resource = registry.owner.scheme.of(IPAddress)
    return store_key(prefix_of(resource), Key("", key.removeprefix(ADDRESSES)))


def _is_addressed(spec: Tree) -> bool:
    return (spec.get("type") or "ClusterIP") != "ExternalName"


def _has_node_ports(spec: Tree) -> bool:
    balanced = spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort" or balanced


def _has_health_port(spec: Tree) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _is_reachable(spec: Tree) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


_OF_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def drop_what_the_type_has_not(spec: Tree, before: Tree) -> None:
    """Remove, in place, what belongs to the old type and was left as it was: who changes the type need not tidy up."""

    def drop(*parts: str) -> None:
        if all(spec.get(part) == before.get(part) for part in parts[:1]):
            for part in parts:
                if spec.get(part) == before.get(part):
                    spec.pop(part, None)

    if _is_addressed(before) and not _is_addressed(spec):
        drop(*_OF_ADDRESSES)
        drop("internalTrafficPolicy")
    if not _is_reachable(spec):
        drop("externalTrafficPolicy")
    if not _has_health_port(spec):
        drop("healthCheckNodePort")
    if spec.get("type") != "LoadBalancer":
        drop("allocateLoadBalancerNodePorts")
        drop("loadBalancerClass")
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        had = {port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in had:
                port.pop("nodePort", None)


def _keep_node_ports(spec: Tree, before: Tree) -> None:
    """Fill in, in place, the node ports that ports of the same name had and that are not those of others now."""
    ports = spec.get("ports") or ()
    had = {port.get("name") or "": port.get("nodePort") for port in before.get("ports") or ()}
    used = {port.get("nodePort") for port in ports} & set(had.values())
    for port in ports:
        known = had.get(port.get("name") or "")
        if known and not port.get("nodePort") and known not in used:
            port["nodePort"] = known
            used.add(known)


def _choose_families(spec: Tree, name: str) -> None:
    """Fill in, in place, the address families of a Service in a cluster that has IPv4. Raises Invalid."""
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    # Kubernetes lets whoever writes the endpoints of a headless Service without a selector choose their families.
    anybodys = spec.get("clusterIP") == "None" and not spec.get("selector")
    if anybodys:
        spec.setdefault("ipFamilyPolicy", "SingleStack" if len(families) == 1 else "RequireDualStack")
        if not families:
            both = spec["ipFamilyPolicy"] != "SingleStack"
            spec["ipFamilies"] = ["IPv4", "IPv6"] if both else ["IPv4"]
        return
    found = []
    if policy == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        found.append(problems.invalid("spec.ipFamilyPolicy", policy, why))
    found += [
        problems.invalid(f"spec.ipFamilies[{at}]", family, "not configured on this cluster")
        for at, family in enumerate(families)
        if family != "IPv4"
    ]
    if found:
        raise invalid("Service", "", name, found)
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if not families:
        spec["ipFamilies"] = ["IPv4"]


def _require_in_range(tree: Tree, old: Tree | None, ranges: Sequence[Network]) -> None:
    """Refuse an address or a port that was asked for and is out of range. Raises Invalid."""
    spec, before = tree["spec"], (old or {}).get("spec") or {}
    found = []
    address = spec.get("clusterIP")
    if (
        address
        and address not in ("None", before.get("clusterIP"))
        and not any(ipaddress.ip_address(address) in network for network in ranges)
    ):
        why = f"failed to allocate IP {address}: the provided network does not match the current range"
        found.append(problems.invalid("spec.clusterIPs", [address], why))
    had = {port.get("nodePort") for port in before.get("ports") or ()}
    asked = [
        (f"spec.ports[{n}].nodePort", port.get("nodePort")) for n, port in enumerate(spec.get("ports") or ())
    ]
    asked.append(("spec.healthCheckNodePort", spec.get("healthCheckNodePort")))
    found += [
        problems.invalid(
            path,
            port,
            "provided port is not in the valid range. The range of valid ports is"
            f" {FIRST_NODE_PORT}-{LAST_NODE_PORT}",
        )
        for path, port in asked
        if port and port not in had and not FIRST_NODE_PORT <= port <= LAST_NODE_PORT
    ]
    if found:
        raise invalid("Service", "", tree["metadata"].get("name") or "", found)


class ServiceStrategy(Strategy):
    """What is special about Services."""

    create_on_update = True
    reserves = True

    _known: Allocations | None = None

    def _allocations(self, registry: "GenericRegistry") -> Allocations:
        if self._known is None:
            self._known = Allocations(registry)
        return self._known

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
        if _is_addressed(spec) and _is_addressed(before) and not spec.get("clusterIP"):
            for part in _OF_ADDRESSES:
                if part in before:
                    spec.setdefault(part, before[part])
        address, addresses = spec.get("clusterIP"), spec.get("clusterIPs")
        if address and address != before.get("clusterIP") and addresses == before.get("clusterIPs"):
            spec["clusterIPs"] = [address]  # who changes the one means the other too
        health = before.get("healthCheckNodePort")
        if _has_health_port(spec) and health and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = health
        if _has_node_ports(spec):
            _keep_node_ports(spec, before)
        drop_what_the_type_has_not(spec, before)
        return tree

    async def reserve(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> Operations:
        """Allocate an address and node ports where they are missing; give back those that are dropped."""
        spec = tree["spec"]
        name = tree["metadata"].get("name") or ""
        allocations = self._allocations(registry)
        if not _is_addressed(spec):
            # A policy for traffic to addresses may be given, of old, where there are none.
            for part in (*_OF_ADDRESSES, "internalTrafficPolicy"):
                spec.pop(part, None)
        else:
            _choose_families(spec, name)
            if not spec.get("clusterIP"):
                spec["clusterIP"] = (spec.get("clusterIPs") or [""])[0] or await self._free_address(
                    allocations
                )
            spec["clusterIPs"] = [spec["clusterIP"]]
        _require_in_range(tree, old, allocations.ranges)
        taken = {port.get("nodePort") for port in spec.get("ports") or ()} | {spec.get("healthCheckNodePort")}
        if _has_node_ports(spec):
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = await self._free_port(allocations, taken)
                    taken.add(port["nodePort"])
        if _has_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = await self._free_port(allocations, taken)
        held, wanted = held_by(old), held_by(tree)
        meta = tree["metadata"]
        owner = f"{meta.get('namespace')}/{meta.get('name')}".encode()
        operations: Operations = []
        for key in sorted(wanted - held):
            if await registry.store.get(key) is not None:
                raise self._taken(key, tree)
            operations.append(Put(key, owner, ABSENT))
            if key.startswith(ADDRESSES):
                operations.append(await self._shown(registry, key, tree))
        operations += await self._give_back(registry, held - wanted)
        return operations

    async def release(self, registry: "GenericRegistry", tree: Tree) -> Operations:
        """Give back everything."""
        return await self._give_back(registry, held_by(tree))

    @staticmethod
    async def _give_back(registry: "GenericRegistry", keys: set[str]) -> Operations:
        shown = {_shown_key(registry, key) for key in keys if key.startswith(ADDRESSES)}
        entries = [await registry.store.get(key) for key in sorted(keys | shown)]
        return [Delete(entry.key, entry.modified) for entry in entries if entry is not None]

    async def _shown(self, registry: "GenericRegistry", key: str, tree: Tree) -> Put:
        """Return the write of the IPAddress by which everybody sees whose an address is. Raises Invalid when it is taken."""
        path, address = _shown_key(registry, key), key.removeprefix(ADDRESSES)
        if await registry.store.get(path) is not None:
            raise self._taken(key, tree)
        meta, owner = tree["metadata"], registry.owner
        shown = {
            "kind": "IPAddress",
            "apiVersion": IPAddress.api_version,
            "metadata": {
                "name": address,
                "uid": new_uid(owner.random),
                "creationTimestamp": format_time(owner.clock.now()),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": f"IPv{ipaddress.ip_address(address).version}",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {
                "parentRef": {
                    "resource": "services",
                    "namespace": meta.get("namespace"),
                    "name": meta.get("name"),
                }
            },
        }
        return Put(path, codec.encode_tree(shown, owner.scheme.of(IPAddress)), ABSENT)

    @staticmethod
    def _taken(key: str, tree: Tree) -> Exception:
        value = key.rpartition("/")[2]
        if key.startswith(NODE_PORTS):
            ports = tree["spec"].get("ports") or ()
            at = next((n for n, port in enumerate(ports) if port.get("nodePort") == int(value)), None)
            problem = problems.invalid(
                "spec.healthCheckNodePort" if at is None else f"spec.ports[{at}].nodePort",
                int(value),
                "provided port is already allocated",
            )
        else:
            why = f"failed to allocate IP {value}: provided IP is already allocated"
            problem = problems.invalid("spec.clusterIPs", [value], why)
        return invalid("Service", "", tree["metadata"].get("name") or "", [problem])

    @staticmethod
    async def _free_address(allocations: Allocations) -> str:
        address = await allocations.free_address()
        if address is None:
            raise _full("spec.clusterIPs", "serviceIP")
        return address

    @staticmethod
    async def _free_port(allocations: Allocations, also_taken: set[object]) -> int:
        port = await allocations.free_port(also_taken)
        if port is None:
            raise _full("spec.ports[0].nodePort", "nodePort")
        return port


def _full(path: str, what: str) -> Exception:
    why = f"Internal error: failed to allocate a {what}: range is full"
    return invalid("Service", "", "", [Problem("InternalError", path, why)])
