"""Columns in the odd cases: what Kubernetes' printers show of what is missing, empty, or more than there is room for."""

from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from tests.api.test_columns import meta, row

RULES = [{"host": "a"}, {"host": "b"}, {}, {"host": "c"}]
REQUIREMENTS = [
    {"key": "b", "operator": "DoesNotExist"},
    {"key": "c", "operator": "In", "values": ["y", "x"]},
]


@pytest.mark.parametrize(
    ("api_version", "kind", "tree", "column", "cell"),
    [
        ("v1", "Endpoints", {}, 1, "<none>"),
        ("v1", "Endpoints", {"subsets": [{"notReadyAddresses": [{"ip": "1"}]}]}, 1, ""),
        ("v1", "Endpoints", {"subsets": [{"addresses": [{"ip": "fd::1"}], "ports": [{"port": 8}]}]}, 1, "[fd::1]:8"),
        ("discovery.k8s.io/v1", "EndpointSlice", {"ports": [{}, {"name": "a"}, {"port": 8}]}, 2, "*,a,8"),
        ("discovery.k8s.io/v1", "EndpointSlice", {"ports": [{"name": ""}]}, 2, "<unset>"),
        ("networking.k8s.io/v1", "Ingress", {"spec": {"rules": RULES}}, 2, "a,b,c"),
        ("networking.k8s.io/v1", "Ingress", {"spec": {"rules": [*RULES, {}]}}, 2, "a,b,c + 2 more..."),
        ("networking.k8s.io/v1", "Ingress", {"spec": {"rules": [{}]}}, 2, "*"),
        ("networking.k8s.io/v1", "Ingress", {"metadata": meta(annotations={"kubernetes.io/ingress.class": "a"})}, 1, "<none>"),
        ("networking.k8s.io/v1", "IPAddress", {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}, 1, "services/n/s"),
        ("networking.k8s.io/v1", "IPAddress", {"spec": {"parentRef": {"group": "g.io", "resource": "Gates", "name": "s"}}}, 1, "gates.g.io/s"),
        ("networking.k8s.io/v1", "IPAddress", {}, 1, "<none>"),
        (
            "networking.k8s.io/v1", "NetworkPolicy",
            {"spec": {"podSelector": {"matchLabels": {"d": "e", "a": "b"}, "matchExpressions": REQUIREMENTS}}}, 1,
            "a=b,!b,c in (x,y),d=e",
        ),
        ("v1", "PersistentVolume", {"spec": {}}, 1, "0"),
        ("v1", "PersistentVolumeClaim", {"spec": {"volumeName": "v"}}, 3, "0"),
        ("v1", "PersistentVolumeClaim", {"spec": {}}, 3, ""),
        (
            "storage.k8s.io/v1", "VolumeAttributesClass",
            {"metadata": meta(annotations={"storage.alpha.kubernetes.io/is-default-class": "true"})}, 0, "x (default)",
        ),
        (
            "autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {"metrics": [{"type": "Odd"}]}}, 2, "<unknown type>",
        ),
        (
            "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding",
            {"spec": {"policyName": "p", "paramRef": {"selector": {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": REQUIREMENTS}}}}, 2,
            ("&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{"
            "LabelSelectorRequirement{Key:b,Operator:DoesNotExist,Values:[],},LabelSelectorRequirement{Key:c,Operator:In,Values:[y x],},},}"),
        ),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", {"spec": {"paramRef": {"name": "n"}}}, 2, "*/n"),
    ],
)  # fmt: skip
def test_a_cell_is_what_kubernetes_prints(
    api_version: str, kind: str, tree: dict[str, Any], column: int, cell: Any
) -> None:
    shown = row(kind, {"metadata": meta(), **tree}, api_version=api_version, wide=True)
    assert shown[column] == cell


def test_columns_say_what_they_hold() -> None:
    def of(kind: str, api_version: str = "v1") -> dict[str, tuple[str, str]]:
        return {c.name: (c.type, c.format) for c in SCHEME.kind(api_version, kind).columns}

    assert of("PriorityClass", "scheduling.k8s.io/v1")["Value"] == ("integer", "")
    assert of("Role", "rbac.authorization.k8s.io/v1")["Created At"] == ("date", "")
    assert of("LimitRange")["Created At"] == ("date", "")
    assert of("Event")["Name"] == ("string", "name")
