"""Nodes, namespaces, quotas, Services and endpoints: what is wrong with each, one to a line, in Kubernetes' words and order."""

import base64
import copy
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.validation import validate_create, validate_update
from tests.api.test_validation import SUBDOMAIN, build, put, resource_of

NEITHER = "name is neither a standard finalizer name nor is it fully qualified"
SCOPE = "spec.scopeSelector.matchExpressions"
ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
HINTS, MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def selected(hard: str, **expression: Any) -> dict[str, Any]:
    return {
        "spec__hard": {hard: "1"},
        "spec__scopes": [],
        "spec__scopeSelector": {"matchExpressions": [expression]},
    }


def addressed(*addresses: str, **spec: Any) -> dict[str, Any]:
    changes = {"spec__clusterIP": addresses[0], "spec__clusterIPs": list(addresses)}
    return changes | {f"spec__{field}": value for field, value in spec.items()}


def at_address(ip: str) -> dict[str, Any]:
    return {"subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 1}]}]}


def hinted(**hints: Any) -> dict[str, Any]:
    return {"endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]}


NEW: list[tuple[str, dict[str, Any], list[str]]] = [
    ("ConfigMap", {"metadata__finalizers": ["mine", "example.com/mine", "kubernetes"]}, [f'metadata.finalizers[0]: Invalid value: "mine": {NEITHER}']),
    ("Lease", {"metadata__finalizers": ["mine"]}, []),
    ("ConfigMap", {"metadata__ownerReferences": [{"apiVersion": "a/b/c", "kind": "K", "name": "n", "uid": "u"}]}, [
        'metadata.ownerReferences.apiVersion: Invalid value: "a/b/c": version must not be empty']),
    ("Namespace", {"spec__finalizers": ["mine"]}, [f'spec.finalizers: Invalid value: "mine": {NEITHER}']),
    ("Node", {"spec__podCIDRs": ["10.0.0.0/24", "10.0.0.0/24"]}, [
        'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.0.0/24"]: may specify no more than one CIDR for each IP family',
        'spec.podCIDRs[1]: Duplicate value: "10.0.0.0/24"']),
    ("ResourceQuota", {"spec__hard": {"storage": "1"}, "spec__scopes": []}, ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota']),
    ("ResourceQuota", {"spec__hard": {"requests.x.com/gpu": "500m"}, "spec__scopes": []}, []),
    ("ResourceQuota", {"spec__hard": {"services": "1", "pods": "1"}, "spec__scopes": ["BestEffort"]}, [
        'spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource']),
    ("ResourceQuota", {"spec__hard": {"count/x.com": "1"}, "spec__scopes": ["BestEffort"]}, []),
    ("ResourceQuota", {"spec__scopes": ["Odd", "Terminating", "NotTerminating"]}, [
        'spec.scopes: Invalid value: ["Odd","Terminating","NotTerminating"]: unsupported scope',
        'spec.scopes: Invalid value: ["Odd","Terminating","NotTerminating"]: conflicting scopes']),
    ("ResourceQuota", selected("pods", scopeName="BestEffort", operator="In"), [
        (f'{SCOPE}.operator: Invalid value: "In": must be \'Exists\' when scope is any of ResourceQuotaScopeTerminating,'
        " ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or"
        " ResourceQuotaScopeCrossNamespacePodAffinity"),
        f"{SCOPE}.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"]),
    ("ResourceQuota", selected("pods", scopeName="PriorityClass", operator="Exists", values=["a"]), [
        f"{SCOPE}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"]),
    ("ResourceQuota", selected("pods", scopeName="VolumeAttributesClass", operator="Exists"), [
        (f'{SCOPE}: Invalid value: {{"matchExpressions":[{{"scopeName":"VolumeAttributesClass","operator":"Exists"}}]}}: unsupported scope'
        " applied to resource")]),
    ("ResourceQuota", {"status": {"used": {"odd": "1"}}}, [
        'status.used[odd]: Invalid value: "odd": must be a standard resource type or fully qualified',
        'status.used[odd]: Invalid value: "odd": must be a standard resource for quota']),
    ("Service", {"metadata__annotations": {HINTS: "Auto", MODE: "Disabled"}}, [
        f'metadata.annotations[{MODE}]: Invalid value: "Disabled": must match annotations[{HINTS}] when both are specified']),
    ("Service", {"metadata__annotations": {RANGES: "10.0.0.0/8, x"}}, [
        f"metadata.annotations[{RANGES}]: Forbidden: {ONLY_BALANCED}",
        f'metadata.annotations[{RANGES}]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)']),
    ("Service", {"spec__externalIPs": ["10.0.0.1"]}, []),
    ("Service", {"spec__externalIPs": ["224.0.0.9"]}, [
        'spec.externalIPs[0]: Invalid value: "224.0.0.9": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)']),
    ("Service", {"spec__loadBalancerClass": "a b"}, [f"spec.loadBalancerClass: Forbidden: {ONLY_BALANCED}"]),
    ("Service", {"spec__sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, []),
    ("Service", {"spec__type": "LoadBalancer", "spec__healthCheckNodePort": 31000}, [
        "spec.healthCheckNodePort: Invalid value: 31000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"]),
    ("Service", {"spec__type": "LoadBalancer", "spec__externalTrafficPolicy": "Local", "spec__healthCheckNodePort": 70000}, [
        "spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    ("Service", addressed("None", "10.0.0.1"), [
        'spec.clusterIPs: Invalid value: ["None","10.0.0.1"]: \'None\' must be the first and only value']),
    ("Service", addressed("10.0.0.1", "10.0.0.2", "::1"), [
        'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2","::1"]: may only hold up to 2 values']),
    ("Service", addressed("10.0.0.1", "10.0.0.2"), [
        'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than one IP for each IP family']),
    ("Service", addressed("10.0.0.1", "x"), [f'spec.clusterIPs[1]: Invalid value: "x": {IP}']),
    ("Service", addressed("10.0.0.1", ipFamilies=["IPv6"]), [
        'spec.clusterIPs[0]: Invalid value: "10.0.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`']),
    ("Service", {"spec__clusterIPs": ["10.0.0.1"]}, [
        'spec.clusterIPs: Invalid value: ["10.0.0.1"]: must be empty when `clusterIP` is not specified']),
    ("Service", {"spec__ports": [{"port": 80, "name": "a", "nodePort": 30000}, {"port": 80, "name": "b", "nodePort": 30000}], "spec__type": "NodePort"}, [
        "spec.ports[1].nodePort: Duplicate value: 30000", 'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}']),
    ("Endpoints", at_address("0.0.0.0"), ['subsets[0].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)']),
    ("Endpoints", at_address("169.254.169.254"), [
        'subsets[0].addresses[0].ip: Invalid value: "169.254.169.254": may not be in the link-local range (169.254.0.0/16, fe80::/10)']),
    ("Endpoints", at_address("127.0.0.1"), []),  # unlike in Kubernetes: Pods live there
    ("Endpoints", at_address("x"), [
        f'subsets[0].addresses[0].ip: Invalid value: "x": {IP}', 'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address']),
    ("EndpointSlice", {"addressType": "Odd"}, ['addressType: Unsupported value: "Odd": supported values: "FQDN", "IPv4", "IPv6"']),
    ("EndpointSlice", {"addressType": "FQDN", "endpoints": [{"addresses": ["a"]}]}, [
        'endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated by dots']),
    ("EndpointSlice", hinted(forZones=[{"name": "a"}] * 9), ["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"]),
    ("EndpointSlice", hinted(forZones=[{"name": "a"}, {"name": "a"}]), ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"']),
    ("EndpointSlice", hinted(forNodes=[{"name": "A"}]), [f'endpoints[0].hints.forNodes[0].name: Invalid value: "A": {SUBDOMAIN}']),
    ("EndpointSlice", {"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {f"k{n}": "v" for n in range(17)}}]}, [
        "endpoints[0].deprecatedTopology: Too many: 17: must have at most 16 items"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "wanted"), NEW)
def test_what_a_cluster_is_made_of_is_judged(kind: str, changes: dict[str, Any], wanted: list[str]) -> None:
    found = [str(problem) for problem in validate_create(resource_of(kind), build(kind, **changes))]
    assert found == wanted


TWO = addressed("10.0.0.1", "fd00::1", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="PreferDualStack")
ONE = addressed("10.0.0.1", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
ONCE = "may not change once set"


@pytest.mark.parametrize(
    ("kind", "before", "after", "wanted"),
    [
        ("Service", ONE, addressed("10.0.0.2"), [f'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: {ONCE}']),
        ("Service", ONE, TWO, []),
        ("Service", TWO, ONE, []),
        ("Service", TWO, ONE | {"spec__ipFamilyPolicy": "PreferDualStack"}, [
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily"]),
        ("Service", TWO, addressed("10.0.0.1", "fd00::2"), [f'spec.clusterIPs[1]: Invalid value: ["10.0.0.1","fd00::2"]: {ONCE}']),
        ("Service", ONE, {"spec__clusterIP": ..., "spec__clusterIPs": ...}, ["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"]),
        ("Service", {"spec__type": "LoadBalancer"}, {"spec__loadBalancerClass": "a/b"}, [f'spec.loadBalancerClass: Invalid value: "a/b": {ONCE}']),
        ("Service", {"spec__type": "LoadBalancer", "spec__loadBalancerClass": "a/b"}, {"spec__loadBalancerClass": ...}, [
            f'spec.loadBalancerClass: Invalid value: "null": {ONCE}']),
        ("Service", {"spec__type": "LoadBalancer", "spec__externalTrafficPolicy": "Local", "spec__healthCheckNodePort": 31000},
         {"spec__healthCheckNodePort": 31001}, ["spec.healthCheckNodePort: Forbidden: field is immutable"]),
        ("EndpointSlice", {"addressType": "IP"}, {}, []),
        ("Namespace", {}, {"spec__finalizers": ["mine"]}, []),
        ("Node", {}, {"spec__externalID": "x"}, ["spec.externalID: Forbidden: may not be updated"]),
        ("Node", {"spec__podCIDRs": ["10.0.0.0/24"]}, {"spec__podCIDRs": ["10.0.1.0/24"]}, [
            'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid']),
        ("Node", {}, {"status__addresses": [{"type": "InternalIP", "address": "a"}] * 2}, [
            'status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"a"}']),
        ("ResourceQuota", {"spec__scopes": ["NotTerminating", "NotTerminating"]}, {"spec__scopes": ["NotTerminating"]}, []),
    ],
)  # fmt: skip
def test_what_may_change_about_a_cluster_is_told_from_the_rest(
    kind: str, before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    old = build(kind, **before)
    new = copy.deepcopy(old)
    for path, value in after.items():
        put(new, path, value)
    assert [str(problem) for problem in validate_update(resource_of(kind), new, old)] == wanted


@pytest.mark.parametrize(
    ("kind", "entry", "wanted"),
    [
        ("ClusterIP", {"ip": "1.1.1.1", "ipMode": "VIP"}, ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]),
        ("LoadBalancer", {"ip": "1.1.1.1"}, ["status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set"]),
        ("LoadBalancer", {"hostname": "a.b", "ipMode": "VIP"}, [
            "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"]),
        ("LoadBalancer", {"ip": "1.1.1.1", "ipMode": "Odd"}, [
            'status.loadBalancer.ingress[0].ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP"']),
        ("LoadBalancer", {"hostname": "1.1.1.1"}, [
            'status.loadBalancer.ingress[0].hostname: Invalid value: "1.1.1.1": must be a DNS name, not an IP address']),
    ],
)  # fmt: skip
def test_where_a_service_is_reached_from_outside_is_judged(
    kind: str, entry: dict[str, Any], wanted: list[str]
) -> None:
    old = build("Service", spec__type=kind)
    new = {**old, "status": {"loadBalancer": {"ingress": [entry]}}}
    found = validate_update(resource_of("Service"), new, old, subresource="status")
    assert [str(problem) for problem in found] == wanted


def test_what_holds_a_namespace_is_judged_where_it_changes() -> None:
    old = build("Namespace")
    found = validate_update(
        resource_of("Namespace"), build("Namespace", spec__finalizers=["mine"]), old, subresource="finalize"
    )
    assert [str(problem) for problem in found] == [f'spec.finalizers[0]: Invalid value: "mine": {NEITHER}']


RUNTIME = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "r"}, "handler": "h"}
TOLERATED = {"key": "a", "operator": "Exists"}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"overhead": {"podFixed": {"odd": "-1"}}}, [
            'overhead.limits[odd]: Invalid value: "odd": must be a standard resource type or fully qualified',
            'overhead.limits[odd]: Invalid value: "odd": must be a standard resource for containers',
            'overhead.limits[odd]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"scheduling": {"tolerations": [TOLERATED, {**TOLERATED, "effect": "NoExecute"}, TOLERATED]}}, [
            'scheduling.tolerations[2]: Duplicate value: {"key":"a","operator":"Exists"}']),
        ({"scheduling": {"tolerations": [{"key": "a", "operator": "Exists", "value": "v"}]}}, [
            'scheduling.tolerations.tolerations[0].operator: Invalid value: "v": value must be empty when `operator` is \'Exists\'']),
        ({"scheduling": {"nodeSelector": {"a": "b"}}}, []),
    ],
)  # fmt: skip
def test_what_a_runtime_costs_and_where_it_is_are_judged(changes: dict[str, Any], wanted: list[str]) -> None:
    found = validate_create(SCHEME.kind("node.k8s.io/v1", "RuntimeClass"), {**RUNTIME, **changes})
    assert [str(problem) for problem in found] == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        ("auths", "invalid character 'a' looking for beginning of value"),
        ("{a}", "invalid character 'a' looking for beginning of object key string"),
        ("{} {}", "invalid character '{' after top-level value"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ('{"auths":{}}', ""),
        ("null", ""),
    ],
)
def test_what_a_registry_is_entered_with_is_json(text: str, why: str) -> None:
    data = {".dockerconfigjson": base64.b64encode(text.encode()).decode()}
    secret = build("Secret", type="kubernetes.io/dockerconfigjson", data=data)
    found = [str(problem) for problem in validate_create(resource_of("Secret"), secret)]
    shown = 'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": '
    assert found == ([shown + why] if why else [])
