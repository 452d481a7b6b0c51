"""Autoscalers in both versions: stored once, and nothing is lost on the way through v1."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.api.autoscaler_forms import autoscaler_as_v1, autoscaler_as_v2
from kubelib.testing.cluster import Cluster, ClusterOptions

V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
TARGET = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
}
OTHERS: list[dict[str, Any]] = [
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "main",
            "target": {"type": "Utilization", "averageUtilization": 50},
        },
    },
    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
    {
        "type": "Object",
        "object": {
            "describedObject": {"kind": "Service", "name": "web", "apiVersion": "v1"},
            "metric": {"name": "rps", "selector": {"matchLabels": {"verb": "get"}}},
            "target": {"type": "Value", "value": "100"},
        },
    },
    {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}},
    },
]  # fmt: skip
BEHAVIOR = {
    "scaleDown": {
        "stabilizationWindowSeconds": 60,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}],
    }
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield client


def test_every_metric_survives_v1() -> None:
    tree = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": "web", "annotations": {"mine": "kept"}},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 5, "metrics": [*OTHERS, CPU], "behavior": BEHAVIOR},
        "status": {
            "desiredReplicas": 1,
            "currentMetrics": [
                {"type": "Pods", "pods": {"metric": {"name": "rps"}, "current": {"averageValue": "9"}}},
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30}}},
            ],
            "conditions": [{"type": "AbleToScale", "status": "True"}],
        },
    }
    served = autoscaler_as_v1(tree)
    assert served["spec"] == {
        "scaleTargetRef": TARGET,
        "maxReplicas": 5,
        "targetCPUUtilizationPercentage": 70,
    }
    observed = {"currentReplicas": 0, "desiredReplicas": 1, "currentCPUUtilizationPercentage": 30}
    assert served["status"] == observed
    metrics = json.loads(served["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"])
    assert metrics[0] == {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}
    assert metrics[3]["object"] == {
        "target": {"kind": "Service", "name": "web", "apiVersion": "v1"},
        "metricName": "rps",
        "selector": {"matchLabels": {"verb": "get"}},
        "targetValue": "100",
    }
    behavior = json.loads(served["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"])
    assert behavior["ScaleDown"]["StabilizationWindowSeconds"] == 60
    assert autoscaler_as_v2(served) == tree


def test_annotations_that_carry_nonsense_carry_nothing() -> None:
    for text in ("nonsense", "1", '[1,{"type":"Pods","pods":{}}]'):
        annotations = {"autoscaling.alpha.kubernetes.io/metrics": text}
        tree = autoscaler_as_v2({"apiVersion": "autoscaling/v1", "metadata": {"annotations": annotations}})
        assert "annotations" not in tree["metadata"]
        assert tree.get("spec", {}).get("metrics", []) in ([], [{"type": "Pods", "pods": {}}])


def test_an_autoscaler_of_either_version_is_one_object(client: httpx.Client) -> None:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
    made = client.post(V1, json={"metadata": {"name": "web"}, "spec": spec}).json()
    assert (made["apiVersion"], made["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)
    other = client.get(f"{V2}/web").json()
    assert (other["apiVersion"], other["spec"]["metrics"]) == ("autoscaling/v2", [CPU])
    assert other["metadata"]["uid"] == made["metadata"]["uid"]

    other["spec"]["metrics"] = [OTHERS[2], CPU]
    assert client.put(f"{V2}/web", json=other).status_code == 200
    merge = {"content-type": "application/merge-patch+json"}
    patch = '{"spec":{"targetCPUUtilizationPercentage":60}}'
    assert client.patch(f"{V1}/web", content=patch, headers=merge).status_code == 200
    metrics = client.get(f"{V2}/web").json()["spec"]["metrics"]
    assert metrics[0] == OTHERS[2], "what v1 knows nothing of was lost"
    assert metrics[1]["resource"]["target"]["averageUtilization"] == 60

    status = '{"status":{"currentReplicas":2,"desiredReplicas":3,"currentCPUUtilizationPercentage":40}}'
    assert client.patch(f"{V1}/web/status", content=status, headers=merge).status_code == 200
    assert client.get(f"{V2}/web").json()["status"]["desiredReplicas"] == 3

    table = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    rows = [client.get(f"{path}/web", headers=table).json()["rows"][0]["cells"][:6] for path in (V1, V2)]
    assert rows[0] == rows[1]
    watch = client.get(f"{V1}?watch=1&timeoutSeconds=1").text.splitlines()
    assert [json.loads(line)["object"]["apiVersion"] for line in watch] == ["autoscaling/v1"]
    assert [item["metadata"]["name"] for item in client.get(V1).json()["items"]] == ["web"]
    assert client.delete(f"{V1}/web").status_code == 200
    assert client.get(f"{V2}/web").status_code == 404


def test_the_newer_version_is_preferred(client: httpx.Client) -> None:
    group = client.get("/apis/autoscaling").json()
    assert [version["version"] for version in group["versions"]] == ["v2", "v1"]
    assert group["preferredVersion"]["version"] == "v2"


def test_rules_are_the_same_in_both_versions(client: httpx.Client) -> None:
    body = {"metadata": {"name": "bad"}, "spec": {"scaleTargetRef": TARGET, "maxReplicas": 0}}
    for path in (V1, V2):
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert "spec.maxReplicas" in answer.text
