"""The columns of Services, what is behind them, and what routes to them."""

from datetime import datetime

from kubelib.api.columns.cells import (
    AGE,
    NAME,
    NONE,
    at,
    field,
    label_selector_text,
    selector_cell,
    some_of,
)
from kubelib.api.scheme import Column, Tree


def _load_balancer(tree: Tree) -> str:
    ingress = at(tree, "status", "loadBalancer", "ingress") or ()
    return ",".join(sorted({entry.get("ip") or entry.get("hostname") or "" for entry in ingress} - {""}))


def _external_ip(tree: Tree, now: datetime) -> str:
    spec = tree.get("spec") or {}
    external = ",".join(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            return ",".join(filter(None, (_load_balancer(tree), external))) or "<pending>"
    return external or NONE


def _cluster_ip(tree: Tree, now: datetime) -> str:
    return str(at(tree, "spec", "clusterIPs", 0) or at(tree, "spec", "clusterIP") or NONE)


def _service_ports(tree: Tree, now: datetime) -> str:
    ports = []
    for port in at(tree, "spec", "ports") or ():
        number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else port.get("port")
        ports.append(f"{number}/{port.get('protocol') or 'TCP'}")
    return ",".join(ports) or NONE


SERVICE = (
    NAME,
    Column("Type", field("spec", "type")),
    Column("Cluster-IP", _cluster_ip),
    Column("External-IP", _external_ip),
    Column("Port(s)", _service_ports),
    AGE,
    Column("Selector", selector_cell, wide=True),
)


def _endpoints(tree: Tree, now: datetime) -> str:
    shown: list[str] = []
    for subset in tree.get("subsets") or ():
        addresses = [str(address.get("ip")) for address in subset.get("addresses") or ()]
        if ports := subset.get("ports"):
            hosts = [f"[{address}]" if ":" in address else address for address in addresses]
            shown += (f"{host}:{port.get('port')}" for port in ports for host in hosts)
        else:
            shown += addresses
    return some_of(shown, empty="" if tree.get("subsets") else NONE)


ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)


def _slice_ports(tree: Tree, now: datetime) -> str:
    ports = [port.get("port") or port.get("name", "*") for port in tree.get("ports") or ()]
    return some_of(list(map(str, ports)), empty="<unset>") or "<unset>"


def _slice_endpoints(tree: Tree, now: datetime) -> str:
    endpoints = tree.get("endpoints") or ()
    return some_of([address for one in endpoints for address in one.get("addresses") or ()], empty="<unset>")


ENDPOINT_SLICE = (
    NAME,
    Column("AddressType", field("addressType")),
    Column("Ports", _slice_ports),
    Column("Endpoints", _slice_endpoints),
    AGE,
)


def _ingress_class(tree: Tree, now: datetime) -> str:
    return str(at(tree, "spec", "ingressClassName") or NONE)


def _hosts(tree: Tree, now: datetime) -> str:
    rules = at(tree, "spec", "rules") or ()
    named = [number for number, rule in enumerate(rules) if rule.get("host")]
    shown = ",".join(rules[number]["host"] for number in named[:3])
    # Whatever follows the third counts as more, and so do rules without a host before it.
    more = len(named) >= 3 and len(rules) > named[2] + 1
    return (f"{shown} + {len(rules) - 3} more..." if more else shown) or "*"


INGRESS = (
    NAME,
    Column("Class", _ingress_class),
    Column("Hosts", _hosts),
    Column("Address", lambda t, n: _load_balancer(t)),
    Column("Ports", lambda t, n: "80, 443" if at(t, "spec", "tls") else "80"),
    AGE,
)


def _parameters(tree: Tree, now: datetime) -> str:
    parameters = at(tree, "spec", "parameters")
    if not parameters:
        return NONE
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
    return f"{parameters.get('kind')}{group}/{parameters.get('name')}"


INGRESS_CLASS = (
    NAME,
    Column("Controller", field("spec", "controller")),
    Column("Parameters", _parameters),
    AGE,
)
NETWORK_POLICY = (
    NAME,
    Column("Pod-Selector", lambda t, n: label_selector_text(at(t, "spec", "podSelector") or {})),
    AGE,
)


def _parent(tree: Tree, now: datetime) -> str:
    parent = at(tree, "spec", "parentRef")
    if not parent:
        return NONE
    resource = ".".join(filter(None, (parent.get("resource"), parent.get("group")))).lower()
    return "/".join(filter(None, (resource, parent.get("namespace"), parent.get("name"))))


IP_ADDRESS = (NAME, Column("ParentRef", _parent))
SERVICE_CIDR = (NAME, Column("CIDRs", lambda t, n: ",".join(at(t, "spec", "cidrs") or ())), AGE)
