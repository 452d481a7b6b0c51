"""Descriptions of Services and of what is behind them."""

from collections.abc import Sequence
from datetime import datetime

from reference_cluster.cli.describe.page import Page, Tree, selector_text


def describe_service(tree: Tree, slices: Sequence[Tree], events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of a Service, given its EndpointSlices."""
    spec, status = tree["spec"], tree.get("status") or {}
    page = Page()
    page.heading(tree)
    page.line(0, "Selector:", selector_text(spec.get("selector")))
    page.line(0, "Type:", spec.get("type", ""))
    if spec.get("ipFamilyPolicy"):
        page.line(0, "IP Family Policy:", spec["ipFamilyPolicy"])
    if families := spec.get("ipFamilies"):
        page.line(0, "IP Families:", ",".join(families))
    else:
        page.line(0, "IP Families:", "<none>")
    page.line(0, "IP:", spec.get("clusterIP", ""))
    page.line(0, "IPs:", ",".join(spec.get("clusterIPs") or ()) or "<none>")
    if spec.get("externalIPs"):
        page.line(0, "External IPs:", ",".join(spec["externalIPs"]))
    if spec.get("externalName"):
        page.line(0, "External Name:", spec["externalName"])
    if spec.get("loadBalancerIP"):
        page.line(0, "Desired LoadBalancer IP:", spec["loadBalancerIP"])
    if ingress := (status.get("loadBalancer") or {}).get("ingress"):
        texts = [i.get("ip") or i.get("hostname") or "" for i in ingress]
        page.line(0, "LoadBalancer Ingress:", ", ".join(texts))
    for port in spec.get("ports") or ():
        protocol = port.get("protocol", "TCP")
        page.line(0, "Port:", port.get("name") or "<unset>", f"{port['port']}/{protocol}")
        page.line(0, "TargetPort:", f"{port.get('targetPort', port['port'])}/{protocol}")
        if port.get("nodePort"):
            page.line(0, "NodePort:", port.get("name") or "<unset>", f"{port['nodePort']}/{protocol}")
        page.line(0, "Endpoints:", _endpoints(slices, port.get("name") or ""))
    page.line(0, "Session Affinity:", spec.get("sessionAffinity", ""))
    for title, name in (
        ("External Traffic Policy:", "externalTrafficPolicy"),
        ("Internal Traffic Policy:", "internalTrafficPolicy"),
        ("Traffic Distribution:", "trafficDistribution"),
    ):
        if spec.get(name):
            page.line(0, title, spec[name])
    if spec.get("healthCheckNodePort"):
        page.line(0, "HealthCheck NodePort:", spec["healthCheckNodePort"])
    if ranges := spec.get("loadBalancerSourceRanges"):
        page.line(0, "LoadBalancer Source Ranges:", ",".join(ranges))
    page.events(events, now)
    return page.text()


_SHOWN = 3


def _endpoints(slices: Sequence[Tree], name: str) -> str:
    if not slices:
        return "<none>"
    found = []
    for part in slices:
        for port in part.get("ports") or ():
            if (port.get("name") or "") != name:
                continue
            for endpoint in part.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True):
                    found += [_join(address, port.get("port")) for address in endpoint.get("addresses") or ()]
    text = ",".join(found[:_SHOWN])
    return f"{text} + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else text


def _join(address: str, port: int | None) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def describe_endpoints(tree: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of Endpoints."""
    page = Page()
    page.heading(tree)
    page.line(0, "Subsets:")
    for subset in tree.get("subsets") or ():
        for title, name in (("Addresses:", "addresses"), ("NotReadyAddresses:", "notReadyAddresses")):
            addresses = ",".join(address["ip"] for address in subset.get(name) or ())
            page.line(2, title, addresses or "<none>")
        if ports := subset.get("ports"):
            page.line(2, "Ports:")
            rows = [(p.get("name") or "<unset>", p["port"], p.get("protocol", "TCP")) for p in ports]
            page.table(4, ("Name", "Port", "Protocol"), rows)
        page.line(0, "")
    page.events(events, now)
    return page.text()


def describe_endpoint_slice(tree: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of an EndpointSlice."""
    page = Page()
    page.heading(tree)
    page.line(0, "AddressType:", tree.get("addressType", ""))
    if ports := tree.get("ports"):
        page.line(0, "Ports:")
        rows = [
            (p.get("name") or "<unset>", p.get("port", "<unset>"), p.get("protocol", "TCP")) for p in ports
        ]
        page.table(2, ("Name", "Port", "Protocol"), rows)
    else:
        page.line(0, "Ports: <unset>")
    endpoints = tree.get("endpoints") or ()
    if not endpoints:
        page.line(0, "Endpoints: <none>")
    else:
        page.line(0, "Endpoints:")
    for endpoint in endpoints:
        page.line(2, "- Addresses:", ",".join(endpoint.get("addresses") or ()))
        page.line(4, "Conditions:")
        ready = (endpoint.get("conditions") or {}).get("ready")
        page.line(6, "Ready:", "<unset>" if ready is None else str(ready).lower())
        page.line(4, "Hostname:", endpoint.get("hostname") or "<unset>")
        if target := endpoint.get("targetRef"):
            page.line(4, "TargetRef:", f"{target.get('kind')}/{target.get('name')}")
        page.line(4, "NodeName:", endpoint.get("nodeName") or "<unset>")
        page.line(4, "Zone:", endpoint.get("zone") or "<unset>")
        if topology := endpoint.get("deprecatedTopology"):
            page.labels(topology, title="Topology:", indent=4)
    page.events(events, now)
    return page.text()
