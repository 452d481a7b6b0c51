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
            shown += (f"{address}:{port.get('port')}" for port in ports for address in addresses)
        else:
            shown += addresses
    return some_of(shown)


ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)


def _slice_ports(tree: Tree, now: datetime) -> str:
    ports = tree.get("ports") or ()
    return some_of([str(port.get("port") or port.get("name") or "*") for port in ports], empty="<unset>")


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
    annotated = at(tree, "metadata", "annotations", "kubernetes.io/ingress.class")
    return str(at(tree, "spec", "ingressClassName") or annotated or NONE)


def _hosts(tree: Tree, now: datetime) -> str:
    hosts = [rule["host"] for rule in at(tree, "spec", "rules") or () if rule.get("host")]
    return some_of(hosts, empty="*")


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
    parent = at(tree, "spec", "parentRef") or {}
    parts = ("group", "resource", "namespace", "name")
    return "/".join(str(parent[part]) for part in parts if parent.get(part))


IP_ADDRESS = (NAME, Column("ParentRef", _parent))
SERVICE_CIDR = (NAME, Column("CIDRs", lambda t, n: ",".join(at(t, "spec", "cidrs") or ())), AGE)
