"""``metrics.k8s.io`` of a cluster with simulated nodes, over HTTP."""

from typing import Any

import anyio
import httpx
import pytest

from kubelib.runtime.fake import Life
from kubelib.runtime.lives import case, lives
from kubelib.testing import Cluster

AUTOSCALED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      containers: [{name: main, image: busy, resources: {requests: {cpu: 100m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 3
"""

RULE = lives(case(pod="busy*", cpu=0.5, memory=64 << 20), otherwise=Life(cpu=0.01, memory=4 << 20))
BASE = "/apis/metrics.k8s.io/v1beta1"
pytestmark = pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=2, rule=RULE)


def pod(name: str, *containers: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": c, "image": "i"} for c in containers]},
    }


def http(cluster: Cluster) -> httpx.Client:
    headers = {"authorization": f"Bearer {cluster.token}"}
    return httpx.Client(base_url=cluster.url, headers=headers, trust_env=False, timeout=60)


def test_nodes_and_pods_are_measured_when_somebody_asks(kubelib_cluster: Cluster) -> None:
    with http(kubelib_cluster) as client:
        for tree in (pod("busy", "a", "b", app="web"), pod("idle", "a")):
            assert client.post("/api/v1/namespaces/default/pods", json=tree).status_code == 201
        found: dict[str, Any] = {}
        for _ in range(200):
            answer = client.get(f"{BASE}/namespaces/default/pods")
            assert answer.status_code == 200, answer.text
            found = {item["metadata"]["name"]: item for item in answer.json()["items"]}
            if found.keys() == {"busy", "idle"}:
                break
            anyio.run(anyio.sleep, 0.1)
        assert [c["name"] for c in found["busy"]["containers"]] == ["a", "b"]
        used = found["busy"]["containers"][0]["usage"]
        assert used["memory"] == "65536Ki"
        assert used["cpu"].endswith("n") and 0 < int(used["cpu"][:-1]) <= 600_000_000
        assert found["busy"]["kind"] == "PodMetrics" and found["busy"]["metadata"]["labels"] == {"app": "web"}
        listed = client.get(f"{BASE}/pods", params={"labelSelector": "app=web"}).json()
        assert listed["kind"] == "PodMetricsList"
        assert [item["metadata"]["name"] for item in listed["items"]] == ["busy"]
        nodes = client.get(f"{BASE}/nodes").json()["items"]
        assert [node["metadata"]["name"] for node in nodes] == ["node-0", "node-1"]
        assert all(
            node["usage"].keys() == {"cpu", "memory"} and node["window"].endswith("s") for node in nodes
        )
        table = client.get(
            f"{BASE}/nodes", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        ).json()
        assert [row["cells"][0] for row in table["rows"]] == ["node-0", "node-1"]


def test_it_is_discovered_and_gives_way_to_a_server_that_is_registered_for_it(
    kubelib_cluster: Cluster,
) -> None:
    with http(kubelib_cluster) as client:
        groups = {group["name"]: group for group in client.get("/apis").json()["groups"]}
        assert groups["metrics.k8s.io"]["preferredVersion"]["groupVersion"] == "metrics.k8s.io/v1beta1"
        names = [resource["name"] for resource in client.get(BASE).json()["resources"]]
        assert names == ["nodes", "pods"]
        accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        documents = {
            item["metadata"]["name"]: item for item in client.get("/apis", headers=accept).json()["items"]
        }
        (version,) = documents["metrics.k8s.io"]["versions"]
        assert [resource["responseKind"]["kind"] for resource in version["resources"]] == [
            "NodeMetrics",
            "PodMetrics",
        ]
        services = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
        registered = client.get(services).json()
        assert "service" not in registered["spec"] and registered["spec"]["groupPriorityMinimum"] == 100
        patch = {
            "spec": {
                "service": {"namespace": "kube-system", "name": "metrics-server"},
                "insecureSkipTLSVerify": True,
            }
        }
        answer = client.patch(services, json=patch, headers={"content-type": "application/merge-patch+json"})
        assert answer.status_code == 200, answer.text
        assert client.get(f"{BASE}/nodes").status_code == 503


REFUSALS = [
    ("GET", "/nodes/none", 404, 'nodemetrics.metrics.k8s.io "none" not found'),
    ("GET", "/namespaces/default/pods/none", 404, 'podmetrics.metrics.k8s.io "none" not found'),
    ("GET", "/things", 404, "the server could not find the requested resource"),
    ("GET", "/nodes?watch=1", 405, "watch is not supported on resources of kind nodes.metrics.k8s.io"),
    ("DELETE", "/nodes/node-1", 405, "delete is not supported on resources of kind nodes.metrics.k8s.io"),
    ("GET", "/nodes?labelSelector=a%20b", 400, "unable to parse"),
]


def test_what_it_does_not_have_is_said(kubelib_cluster: Cluster) -> None:
    with http(kubelib_cluster) as client:
        for method, path, code, message in REFUSALS:
            answer = client.request(method, BASE + path)
            assert answer.status_code == code, answer.text
            assert message in answer.json()["message"], path


def test_autoscalers_of_the_fixture_are_fed_from_it(kubelib_cluster: Cluster) -> None:
    kubelib_cluster.apply(AUTOSCALED)
    kubelib_cluster.kubectl("wait", "--for=jsonpath={.spec.replicas}=3", "deployment/busy", "--timeout=60s")
