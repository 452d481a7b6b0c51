"""Services: addresses and node ports are allocated with the write that needs them, in one commit."""

import ipaddress
from typing import TYPE_CHECKING

from kubelib.api import codec
from kubelib.api.errors import Problem, invalid
from kubelib.api.meta import Key
from kubelib.api.networking import IPAddress, ServiceCIDR
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation import problems
from kubelib.clock import new_uid
from kubelib.registry.keys import prefix_of, store_key
from kubelib.registry.strategies.base import Operations, Strategy
from kubelib.store import ABSENT, Delete, Put

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

DEFAULT_RANGE = "kubernetes"
"""The ServiceCIDR that the API server keeps itself."""
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
    if spec.get("healthCheckNodePort"):
        held.add(f"{NODE_PORTS}{spec['healthCheckNodePort']}")
    return held


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
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))


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


def _port_key(port: Tree) -> tuple[object, ...]:
    return port.get("name") or "", port.get("port"), port.get("protocol") or "TCP"


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


def ranges_of(registry: "GenericRegistry") -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return where Services get their addresses: the API server's own range, then those of ServiceCIDRs that are ready."""
    owner = registry.owner
    default = ipaddress.ip_network(owner.service_cidr)
    found = {default: None}
    for document in owner.of(owner.scheme.of(ServiceCIDR)).cache.all():
        tree = document.tree()
        conditions = (tree.get("status") or {}).get("conditions") or ()
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
        # what the one of the API server's own says is what the server was once started with
        if ready and not document.meta.deletion_timestamp and document.meta.name != DEFAULT_RANGE:
            networks = map(ipaddress.ip_network, tree["spec"]["cidrs"])
            found.update(dict.fromkeys(network for network in networks if network.version == default.version))
    return list(found)


def _require_in_range(tree: Tree, old: Tree | None, registry: "GenericRegistry") -> None:
    """Refuse an address or a port that was asked for and is out of range. Raises Invalid."""
    spec, before = tree["spec"], (old or {}).get("spec") or {}
    found = []
    address = spec.get("clusterIP")
    if (
        address
        and address not in ("None", before.get("clusterIP"))
        and not any(ipaddress.ip_address(address) in network for network in ranges_of(registry))
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
        health = before.get("healthCheckNodePort")
        if _has_health_port(spec) and health and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = health
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            ports = {_port_key(port): port.get("nodePort") for port in before.get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort") and (known := ports.get(_port_key(port))):
                    port["nodePort"] = known
        drop_what_the_type_has_not(spec, before)
        return tree

    async def reserve(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> Operations:
        """Allocate an address and node ports where they are missing; give back those that are dropped."""
        spec = tree["spec"]
        name = tree["metadata"].get("name") or ""
        if not _is_addressed(spec):
            for part in _OF_ADDRESSES:
                spec.pop(part, None)
        else:
            _choose_families(spec, name)
            if not spec.get("clusterIP"):
                spec["clusterIP"] = (spec.get("clusterIPs") or [""])[0] or await self._free_address(registry)
            spec["clusterIPs"] = [spec["clusterIP"]]
        _require_in_range(tree, old, registry)
        taken = {port.get("nodePort") for port in spec.get("ports") or ()} | {spec.get("healthCheckNodePort")}
        if _has_node_ports(spec):
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = await self._free_port(registry, taken)
                    taken.add(port["nodePort"])
        if _has_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = await self._free_port(registry, taken)
        held, wanted = _allocations(old), _allocations(tree)
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
        return await self._give_back(registry, _allocations(tree))

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

    async def _free_address(self, registry: "GenericRegistry") -> str:
        page = await registry.store.list(ADDRESSES)
        shown = registry.owner.of(registry.owner.scheme.of(IPAddress)).cache
        taken = {entry.key.removeprefix(ADDRESSES) for entry in page.entries}
        for network in ranges_of(registry):
            # neither the first address, which names the network, nor the last one, which is for broadcasts
            size = network.num_addresses - 2
            start = registry.owner.random.randrange(size) if size > 0 else 0
            for step in range(size):
                address = str(network[1 + (start + step) % size])
                free = address not in taken and shown.get(Key("", address)) is None
                if free and address != registry.owner.api_service_address:
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
