"""What Kubernetes fills in, field by field, and what it leaves alone."""

import copy
from typing import Any

import pytest

from kubelib.api.defaults import apply_defaults


def complete(kind: str, tree: dict[str, Any]) -> dict[str, Any]:
    tree = {"metadata": {"name": "a", "namespace": "default"}, **tree}
    apply_defaults(kind, tree)
    return tree


def at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step)] if step.isdigit() else tree[step]
    return tree


CONTAINER: dict[str, Any] = {
    "name": "c",
    "image": "nginx",
    "ports": [{"containerPort": 80}],
    "env": [
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "B", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}},
    ],
    "livenessProbe": {"httpGet": {"port": 80}},
    "readinessProbe": {"grpc": {"port": 80}},
    "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
    "resources": {"limits": {"cpu": "0.5"}},
}
SPEC: dict[str, Any] = {
    "containers": [CONTAINER],
    "volumes": [
        {"name": "v"},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "m", "configMap": {"name": "m"}},
        {"name": "h", "hostPath": {"path": "/"}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {
            "name": "d",
            "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]},
        },
    ],
}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
CASES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("Pod", {"spec": SPEC}, "spec.restartPolicy", "Always"),
    ("Pod", {"spec": SPEC}, "spec.dnsPolicy", "ClusterFirst"),
    ("Pod", {"spec": SPEC}, "spec.schedulerName", "default-scheduler"),
    ("Pod", {"spec": SPEC}, "spec.terminationGracePeriodSeconds", 30),
    ("Pod", {"spec": SPEC}, "spec.enableServiceLinks", True),
    ("Pod", {"spec": SPEC}, "spec.securityContext", {}),
    ("Pod", {"spec": SPEC}, "spec.containers.0.imagePullPolicy", "Always"),
    (
        "Pod",
        {"spec": {"containers": [{"image": "nginx:1"}]}},
        "spec.containers.0.imagePullPolicy",
        "IfNotPresent",
    ),
    (
        "Pod",
        {"spec": {"containers": [{"image": "nginx:latest"}]}},
        "spec.containers.0.imagePullPolicy",
        "Always",
    ),
    (
        "Pod",
        {"spec": {"containers": [{"image": "host:5000/n"}]}},
        "spec.containers.0.imagePullPolicy",
        "Always",
    ),
    (
        "Pod",
        {"spec": {"containers": [{"image": "n@sha256:" + "0" * 64}]}},
        "spec.containers.0.imagePullPolicy",
        "IfNotPresent",
    ),
    ("Pod", {"spec": SPEC}, "spec.containers.0.terminationMessagePath", "/dev/termination-log"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.terminationMessagePolicy", "File"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.ports.0.protocol", "TCP"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.env.0.valueFrom.fieldRef.apiVersion", "v1"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.env.1.valueFrom.fileKeyRef.optional", False),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.timeoutSeconds", 1),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.periodSeconds", 10),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.successThreshold", 1),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.failureThreshold", 3),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.httpGet.path", "/"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.livenessProbe.httpGet.scheme", "HTTP"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.readinessProbe.grpc.service", ""),
    ("Pod", {"spec": SPEC}, "spec.containers.0.lifecycle.preStop.httpGet.scheme", "HTTP"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.resources.limits.cpu", "500m"),
    ("Pod", {"spec": SPEC}, "spec.containers.0.resources.requests.cpu", "500m"),
    ("Pod", {"spec": SPEC}, "spec.volumes.0.emptyDir", {}),
    ("Pod", {"spec": SPEC}, "spec.volumes.1.secret.defaultMode", 0o644),
    ("Pod", {"spec": SPEC}, "spec.volumes.2.configMap.defaultMode", 0o644),
    ("Pod", {"spec": SPEC}, "spec.volumes.3.hostPath.type", ""),
    ("Pod", {"spec": SPEC}, "spec.volumes.4.projected.defaultMode", 0o644),
    ("Pod", {"spec": SPEC}, "spec.volumes.4.projected.sources.0.serviceAccountToken.expirationSeconds", 3600),
    ("Pod", {"spec": SPEC}, "spec.volumes.5.downwardAPI.defaultMode", 0o644),
    ("Pod", {"spec": {"serviceAccount": "x", "containers": []}}, "spec.serviceAccountName", "x"),
    (
        "Pod",
        {"spec": {"hostNetwork": True, "containers": [{"ports": [{"containerPort": 80}]}]}},
        "spec.containers.0.ports.0.hostPort",
        80,
    ),
    ("ReplicationController", {"spec": {"template": TEMPLATE}}, "spec.replicas", 1),
    ("ReplicationController", {"spec": {"template": TEMPLATE}}, "spec.selector", {"a": "b"}),
    ("ReplicationController", {"spec": {"template": TEMPLATE}}, "metadata.labels", {"a": "b"}),
    ("ReplicaSet", {"spec": {"template": TEMPLATE}}, "spec.replicas", 1),
    ("ReplicaSet", {"spec": {"template": TEMPLATE}}, "spec.template.spec.restartPolicy", "Always"),
    ("Deployment", {"spec": {"template": TEMPLATE}}, "spec.replicas", 1),
    ("Deployment", {"spec": {"template": TEMPLATE}}, "spec.revisionHistoryLimit", 10),
    ("Deployment", {"spec": {"template": TEMPLATE}}, "spec.progressDeadlineSeconds", 600),
    (
        "Deployment",
        {"spec": {"template": TEMPLATE}},
        "spec.strategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    ),
    ("Deployment", {"spec": {"strategy": {"type": "Recreate"}}}, "spec.strategy", {"type": "Recreate"}),
    ("Service", {"spec": {"ports": [{"port": 80}]}}, "spec.type", "ClusterIP"),
    ("Service", {"spec": {"ports": [{"port": 80}]}}, "spec.sessionAffinity", "None"),
    ("Service", {"spec": {"ports": [{"port": 80}]}}, "spec.ports.0.protocol", "TCP"),
    ("Service", {"spec": {"ports": [{"port": 80}]}}, "spec.ports.0.targetPort", 80),
    ("Service", {"spec": {"ports": [{"port": 80, "targetPort": "web"}]}}, "spec.ports.0.targetPort", "web"),
    ("Service", {"spec": {}}, "spec.internalTrafficPolicy", "Cluster"),
    ("Service", {"spec": {"type": "NodePort"}}, "spec.externalTrafficPolicy", "Cluster"),
    ("Service", {"spec": {"type": "LoadBalancer"}}, "spec.allocateLoadBalancerNodePorts", True),
    (
        "Service",
        {"spec": {"sessionAffinity": "ClientIP"}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        10800,
    ),
    ("Endpoints", {"subsets": [{"ports": [{"port": 80}]}]}, "subsets.0.ports.0.protocol", "TCP"),
    ("EndpointSlice", {"ports": [{"port": 80}]}, "ports.0", {"port": 80, "name": "", "protocol": "TCP"}),
    ("Secret", {}, "type", "Opaque"),
    ("Secret", {"stringData": {"a": "b"}}, "data", {"a": "Yg=="}),
    ("Namespace", {}, "metadata.labels", {"kubernetes.io/metadata.name": "a"}),
    ("Namespace", {}, "status.phase", "Active"),
    ("Node", {"status": {"capacity": {"cpu": "2000m"}}}, "status.allocatable", {"cpu": "2"}),
]


@pytest.mark.parametrize(("kind", "tree", "path", "value"), CASES)
def test_a_field_that_is_left_out_is_filled_in(
    kind: str, tree: dict[str, Any], path: str, value: Any
) -> None:
    assert at(complete(kind, copy.deepcopy(tree)), path) == value


def test_what_is_given_is_left_alone() -> None:
    given: dict[str, Any] = {
        "spec": {
            "restartPolicy": "Never",
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "imagePullPolicy": "Never",
                    "ports": [{"containerPort": 53, "protocol": "UDP"}],
                }
            ],
        }
    }
    spec = complete("Pod", given)["spec"]
    assert (spec["restartPolicy"], spec["dnsPolicy"]) == ("Never", "Default")
    assert (spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"]) == (0, False)
    assert spec["containers"][0]["imagePullPolicy"] == "Never"
    assert spec["containers"][0]["ports"] == [{"containerPort": 53, "protocol": "UDP"}]


def test_defaults_are_filled_in_once_and_for_all() -> None:
    for kind, tree, _, _ in CASES:
        once = complete(kind, copy.deepcopy(tree))
        assert complete(kind, copy.deepcopy(once)) == once, kind


def test_a_service_by_name_only_has_no_addresses_to_have_policies_for() -> None:
    spec = complete("Service", {"spec": {"type": "ExternalName", "externalName": "x.example"}})["spec"]
    assert "internalTrafficPolicy" not in spec


def test_templates_ask_only_for_what_they_say() -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}}
    tree = complete("Deployment", {"spec": {"template": template}})
    assert at(tree, "spec.template.spec.containers.0.resources") == {"limits": {"cpu": "1"}}
