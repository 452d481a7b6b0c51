"""Ingresses, their classes, network policies and autoscalers: Kubernetes' rules and words, in tables."""

import copy
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.validation import validate_create, validate_update

Tree = dict[str, Any]
NET = "networking.k8s.io/v1"
BACKEND: Tree = {"service": {"name": "s", "port": {"number": 80}}}
PATH: Tree = {"path": "/a", "pathType": "Prefix", "backend": BACKEND}
GOOD: dict[str, Tree] = {
    f"{NET} Ingress": {
        "spec": {
            "ingressClassName": "c",
            "tls": [{"hosts": ["a.example.com"], "secretName": "t"}],
            "rules": [{"host": "a.example.com", "http": {"paths": [PATH]}}],
        }
    },
    f"{NET} IngressClass": {
        "spec": {
            "controller": "example.com/c",
            "parameters": {"apiGroup": "example.com", "kind": "P", "name": "p"},
        }
    },
    f"{NET} NetworkPolicy": {
        "spec": {
            "podSelector": {},
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
        }
    },
    "autoscaling/v2 HorizontalPodAutoscaler": {
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
                }
            ],
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]}},
        }
    },
    f"{NET} ServiceCIDR": {"spec": {"cidrs": ["10.0.0.0/24"]}},
    "storage.k8s.io/v1 CSINode": {
        "spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": []}]}
    },
}


def build(name: str, path: str = "", value: Any = None) -> Tree:
    api_version, kind = name.split()
    resource = SCHEME.kind(api_version, kind)
    tree: Tree = {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {"name": "a"},
        **copy.deepcopy(GOOD[name]),
    }
    if resource.namespaced:
        tree["metadata"]["namespace"] = "default"
    if path:
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("__"))
        place: Any = tree
        for step in steps:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    apply_defaults(kind, tree)
    return tree


def problems(name: str, path: str = "", value: Any = None) -> list[str]:
    return [str(p) for p in validate_create(SCHEME.kind(*name.split()), build(name, path, value))]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_document_is_accepted_and_may_stay(name: str) -> None:
    assert problems(name) == []
    assert validate_update(SCHEME.kind(*name.split()), build(name), build(name)) == []


PATHS = "spec__rules__0__http__paths__0"
AT = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec", {}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        ("spec__rules__0__host", "10.0.0.1", "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"),
        ("spec__rules__0__host", "*.*.example.com", "spec.rules[0].host: Invalid value: \"*.*.example.com\": a wildcard DNS-1123 subdomain"),
        ("spec__rules__0__http", {"paths": []}, "spec.rules[0].http.paths: Required value"),
        (f"{PATHS}__pathType", ..., f"{AT}.pathType: Required value: pathType must be specified"),
        (f"{PATHS}__pathType", "Regex", f'{AT}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"'),
        (f"{PATHS}__path", "a", f'{AT}.path: Invalid value: "a": must be an absolute path'),
        (f"{PATHS}__path", "/a//b", f"{AT}.path: Invalid value: \"/a//b\": must not contain '//'"),
        (f"{PATHS}__path", "/a/..", f"{AT}.path: Invalid value: \"/a/..\": cannot end with '/..'"),
        (f"{PATHS}__backend", {}, f'{AT}.backend: Invalid value: "": resource or service backend is required'),
        (f"{PATHS}__backend", {**BACKEND, "resource": {"kind": "K", "name": "n"}},
         f'{AT}.backend: Invalid value: "": cannot set both resource and service backends'),
        (f"{PATHS}__backend", {"resource": {"name": "n"}}, f"{AT}.backend.resource.kind: Required value"),
        (f"{PATHS}__backend__service__name", "", f"{AT}.backend.service.name: Required value"),
        (f"{PATHS}__backend__service__name", "s.t", f'{AT}.backend.service.name: Invalid value: "s.t": must not contain dots'),
        (f"{PATHS}__path", "a//b", f"{AT}.path: Invalid value: \"a//b\": must not contain '//'"),
        (f"{PATHS}__backend", {"resource": {"apiGroup": "", "kind": "K", "name": "n"}}, f'{AT}.backend.resource.apiGroup: Invalid value: ""'),
        (f"{PATHS}__backend__service__port", {}, f"{AT}.backend: Required value: port name or number is required"),
        (f"{PATHS}__backend__service__port__name", "x", f'{AT}.backend: Invalid value: "": cannot set both port name & port number'),
        (f"{PATHS}__backend__service__port__number", 70000, f"{AT}.backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ("spec__tls__0__hosts", ["*"], "spec.tls[0].hosts[0]: Invalid value: \"*\": a wildcard"),
        ("spec__ingressClassName", "A", 'spec.ingressClassName: Invalid value: "A"'),
        ("metadata__annotations", {"kubernetes.io/ingress.class": "x"},
         'annotations.kubernetes.io/ingress.class: Invalid value: "x": must match `ingressClassName` when both are specified'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_ingress_is_said(path: str, value: Any, problem: str) -> None:
    found = problems(f"{NET} Ingress", path, value)
    assert any(one.startswith(problem) for one in found), found


def test_an_ingress_may_keep_the_old_annotation_when_it_is_changed() -> None:
    assert problems(f"{NET} Ingress", "metadata__annotations", {"kubernetes.io/ingress.class": "c"}) == []
    old = build(f"{NET} Ingress", "metadata__annotations", {"kubernetes.io/ingress.class": "x"})
    assert validate_update(SCHEME.kind(NET, "Ingress"), copy.deepcopy(old), old) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec__controller", "", "spec.controller: Required value"),
        ("spec__controller", "plain", 'spec.controller: Invalid value: "plain": must be a domain-prefixed path (such as "acme.io/foo")'),
        ("spec__controller", "a.b/" + "c" * 250, "spec.controller: Too long: may not be more than 250 bytes"),
        ("spec__parameters__kind", "", "spec.parameters.kind: Required value"),
        ("spec__parameters__scope", "World", 'spec.parameters.scope: Unsupported value: "World": supported values: "Cluster", "Namespace"'),
        ("spec__parameters__scope", "Namespace", "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
        ("spec__parameters__namespace", "x", "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_class_is_said(path: str, value: Any, problem: str) -> None:
    assert problems(f"{NET} IngressClass", path, value) == [problem]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec__policyTypes", ["Ingress", "Egress", "Ingress"],
         'spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes'),
        ("spec__policyTypes", ["Sideways"], 'spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'),
        ("spec__ingress__0__ports__0__protocol", "ICMP",
         'spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"'),
        ("spec__ingress__0__ports__0__port", 0, "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("spec__ingress__0__ports__0", {"endPort": 90}, "spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is not specified"),
        ("spec__ingress__0__ports__0__endPort", 10, "spec.ingress[0].ports[0].endPort: Invalid value: 10: must be greater than or equal to `port`"),
        ("spec__ingress__0__ports__0", {"port": "http", "endPort": 10},
         "spec.ingress[0].ports[0].endPort: Invalid value: 10: may not be specified when `port` is non-numeric"),
        ("spec__ingress__0__from__0", {}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
        ("spec__egress__0__to__0__podSelector", {}, "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"),
        ("spec__egress__0__to__0__ipBlock__cidr", "", "spec.egress[0].to[0].ipBlock.cidr: Required value"),
        ("spec__egress__0__to__0__ipBlock__cidr", "10.0.0.300/8",
         'spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.300/8": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
        ("spec__egress__0__to__0__ipBlock__except", ["11.0.0.0/16"],
         'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`'),
        ("spec__egress__0__to__0__ipBlock__except", ["10.0.0.0/8"],
         'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`'),
        ("spec__podSelector", {"matchExpressions": [{"key": "a", "operator": "Near"}]},
         'spec.podSelector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_network_policy_is_said(path: str, value: Any, problem: str) -> None:
    assert problems(f"{NET} NetworkPolicy", path, value) == [problem]


def test_a_network_policy_is_about_what_it_mentions() -> None:
    assert build(f"{NET} NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert build(f"{NET} NetworkPolicy", "spec__egress", ...)["spec"]["policyTypes"] == ["Ingress"]
    assert build(f"{NET} NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]


METRIC = "spec__metrics__0"
HPA = "autoscaling/v2 HorizontalPodAutoscaler"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec__minReplicas", -1, "spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"),
        ("spec__minReplicas", 0, "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"),
        ("spec__behavior__scaleUp__tolerance", "-100m", 'spec.behavior.scaleUp.tolerance: Invalid value: "-100m": must be greater than or equal to 0'),
        ("spec__minReplicas", 9, "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"),
        ("spec__scaleTargetRef__name", "a/b", "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'"),
        (f"{METRIC}__type", "Pods", "spec.metrics[0].pods: Required value: must populate information for the given metric source"),
        (f"{METRIC}__pods", {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}},
         "spec.metrics[0].pods: Forbidden: must populate the given metric source only"),
        (f"{METRIC}__resource__name", "", "spec.metrics[0].resource.name: Required value: must specify a resource name"),
        (f"{METRIC}__resource__target__averageUtilization", 0,
         "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"),
        (f"{METRIC}__resource__target__averageUtilization", ...,
         "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"),
        (f"{METRIC}__resource__target__averageValue", "1",
         "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"),
        (METRIC, {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue"}}},
         "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"),
        (METRIC, {"type": "External", "external": {"metric": {"name": ""}, "target": {"type": "Value", "value": "1"}}},
         "spec.metrics[0].external.metric.name: Required value: must specify a metric name"),
        (METRIC, {"type": "Object", "object": {
            "describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "-1"}}},
         'spec.metrics[0].object.target.value: Invalid value: "-1": must be positive'),
        ("spec__behavior__scaleUp__stabilizationWindowSeconds", 3601,
         "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"),
        ("spec__behavior__scaleUp__selectPolicy", "Any",
         'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Any": supported values: "Disabled", "Max", "Min"'),
        ("spec__behavior__scaleUp__policies__0__value", 0, "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero"),
        ("spec__behavior__scaleUp__policies__0__periodSeconds", 1801,
         "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"),
        ("spec__behavior__scaleUp__policies__0__type", "Cent",
         'spec.behavior.scaleUp.policies[0].type: Unsupported value: "Cent": supported values: "Percent", "Pods"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_autoscaler_is_said(path: str, value: Any, problem: str) -> None:
    assert problems(HPA, path, value) == [problem]


def test_an_autoscaler_of_something_else_may_scale_to_zero() -> None:
    tree = build(HPA, "spec__minReplicas", 0)
    external = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}
    tree["spec"]["metrics"] = [{"type": "External", "external": external}]
    assert validate_create(SCHEME.kind(*HPA.split()), tree) == []


def test_an_autoscaler_measures_cpu_and_has_kubernetes_pace_unless_told_otherwise() -> None:
    spec = build(HPA, "spec__metrics", ...)["spec"]
    assert spec["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 80},
    }
    assert spec["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}],
        },
        "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "value", "problem"),
    [
        (f"{NET} IngressClass", "spec__controller", "example.com/d", 'spec.controller: Invalid value: "example.com/d": field is immutable'),
        (f"{NET} ServiceCIDR", "spec__cidrs", ["10.0.1.0/24"], 'spec.cidrs[0]: Invalid value: "10.0.1.0/24": field is immutable'),
        (f"{NET} ServiceCIDR", "spec__cidrs", [], "spec.cidrs: Invalid value: []: field is immutable"),
        ("storage.k8s.io/v1 CSINode", "spec__drivers__0__nodeID", "m",
         'spec.drivers: Invalid value: {"name":"d.example.com","nodeID":"m","topologyKeys":[]}: field is immutable'),
    ],
)  # fmt: skip
def test_what_may_not_change_is_said(name: str, path: str, value: Any, problem: str) -> None:
    found = validate_update(SCHEME.kind(*name.split()), build(name, path, value), build(name))
    assert [str(p) for p in found] == [problem]


def test_a_range_of_the_other_family_may_join() -> None:
    name = f"{NET} ServiceCIDR"
    grown = build(name, "spec__cidrs", ["10.0.0.0/24", "2001:db8::/112"])
    assert validate_update(SCHEME.kind(*name.split()), grown, build(name)) == []


def test_the_claims_of_a_stateful_set_are_complete() -> None:
    claim = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    tree = {"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"volumeClaimTemplates": [claim]}}
    apply_defaults("StatefulSet", tree)
    assert claim == {
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}, "status": {"phase": "Pending"},
    }  # fmt: skip
