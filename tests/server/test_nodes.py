"""What the credentials of a node are good for: the node itself and what its own Pods use, and nothing else."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster

CORE = "/api/v1/namespaces/default"
MINE = [("impersonate-user", "system:node:mine"), ("impersonate-group", "system:nodes")]
MERGE = ("content-type", "application/merge-patch+json")


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        for name in ("mine", "yours"):
            node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}
            assert client.post("/api/v1/nodes", json=node).status_code == 201
        yield client


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


def make(admin: httpx.Client, plural: str, body: dict[str, Any], of: str = CORE) -> dict[str, Any]:
    answer = admin.post(f"{of}/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": "v1", "metadata": {"name": name}, **more}


def as_node(admin: httpx.Client, method: str, path: str, body: Any = None, *headers: tuple[str, str]) -> int:
    return admin.request(method, path, json=body, headers=[*MINE, *headers]).status_code


def test_a_node_reads_the_secrets_and_maps_of_its_own_pods_only(admin: httpx.Client) -> None:
    for name in ("mine", "env", "pull", "yours", "nobody"):
        make(admin, "secrets", named("Secret", name))
        make(admin, "configmaps", named("ConfigMap", name))
    env = {
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
        "envFrom": [{"configMapRef": {"name": "env"}}],
    }
    volumes = [
        {"name": "a", "secret": {"secretName": "mine"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "mine"}}]}},
    ]
    mine = pod("mine", "mine", volumes=volumes, container=env, imagePullSecrets=[{"name": "pull"}])
    make(admin, "pods", mine)
    make(admin, "pods", pod("yours", "yours", volumes=[{"name": "a", "secret": {"secretName": "yours"}}]))
    for path, code in {
        "secrets/mine": 200, "secrets/env": 200, "secrets/pull": 200, "secrets/yours": 403, "secrets/nobody": 403,
        "configmaps/mine": 200, "configmaps/env": 200, "configmaps/pull": 403, "configmaps/nobody": 403,
        "secrets": 403, "configmaps": 403, "secrets?fieldSelector=metadata.name%3Dmine": 200,
        "secrets?fieldSelector=metadata.name%3Dyours": 403,
    }.items():  # fmt: skip
        assert as_node(admin, "GET", f"{CORE}/{path}") == code, path
    assert as_node(admin, "GET", "/api/v1/secrets") == 403
    assert as_node(admin, "PATCH", f"{CORE}/secrets/mine", {"data": {}}, MERGE) == 403
    assert as_node(admin, "GET", "/api/v1/namespaces/kube-system/secrets/mine") == 403
    admin.delete(f"{CORE}/pods/mine", params={"gracePeriodSeconds": 0})
    assert as_node(admin, "GET", f"{CORE}/secrets/mine") == 403


def test_a_node_reads_the_volumes_of_its_pods(admin: httpx.Client) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeName": "v",
        "storageClassName": "",
    }
    make(admin, "persistentvolumeclaims", named("PersistentVolumeClaim", "c", spec=claim))
    source = {
        "driver": "d",
        "volumeHandle": "h",
        "nodePublishSecretRef": {"name": "key", "namespace": "default"},
    }
    volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source}
    make(admin, "persistentvolumes", named("PersistentVolume", "v", spec=volume), of="/api/v1")
    make(admin, "persistentvolumes", named("PersistentVolume", "w", spec=volume), of="/api/v1")
    make(admin, "secrets", named("Secret", "key"))
    paths = (f"{CORE}/persistentvolumeclaims/c", "/api/v1/persistentvolumes/v", f"{CORE}/secrets/key")
    assert [as_node(admin, "GET", path) for path in paths] == [403, 403, 403]
    mounts = [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}]
    make(admin, "pods", pod("p", "mine", volumes=mounts))
    assert [as_node(admin, "GET", path) for path in paths] == [200, 200, 200]
    assert as_node(admin, "GET", "/api/v1/persistentvolumes/w") == 403


def test_a_mirror_pod_gives_its_node_nothing(admin: httpx.Client) -> None:
    make(admin, "configmaps", named("ConfigMap", "m"))
    body = pod("mirror", "mine")
    body["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert as_node(admin, "POST", f"{CORE}/pods", body) == 201
    greedy = pod("greedy", "mine", container={"envFrom": [{"configMapRef": {"name": "m"}}]})
    greedy["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert as_node(admin, "POST", f"{CORE}/pods", greedy) == 403
    assert as_node(admin, "POST", f"{CORE}/pods", pod("plain", "mine")) == 403
    make(admin, "pods", greedy)
    assert as_node(admin, "GET", f"{CORE}/configmaps/m") == 403


def test_a_node_changes_itself_and_its_pods_only(admin: httpx.Client) -> None:
    make(admin, "pods", pod("mine", "mine"))
    make(admin, "pods", pod("yours", "yours"))
    status = {"status": {"phase": "Running"}}
    assert as_node(admin, "PATCH", f"{CORE}/pods/mine/status", status, MERGE) == 200
    assert as_node(admin, "PATCH", f"{CORE}/pods/yours/status", status, MERGE) == 403
    assert as_node(admin, "PATCH", f"{CORE}/pods/mine", {"metadata": {"labels": {"a": "b"}}}, MERGE) == 403
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "yours"}}
    assert as_node(admin, "POST", f"{CORE}/pods/yours/eviction", eviction) == 403
    assert as_node(admin, "DELETE", f"{CORE}/pods/yours") == 403
    assert as_node(admin, "DELETE", f"{CORE}/pods/mine?gracePeriodSeconds=0") == 200
    nodes = "/api/v1/nodes"
    labels: dict[str, Any] = {"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "mine": "x"}}}
    assert as_node(admin, "PATCH", f"{nodes}/mine", labels, MERGE) == 200
    assert as_node(admin, "PATCH", f"{nodes}/yours", labels, MERGE) == 403
    assert as_node(admin, "PATCH", f"{nodes}/yours/status", {"status": {}}, MERGE) == 403
    for label in (
        "node-restriction.kubernetes.io/team",
        "kubernetes.io/made-up",
        "node-role.kubernetes.io/master",
    ):
        body = {"metadata": {"labels": {label: "x"}}}
        assert as_node(admin, "PATCH", f"{nodes}/mine", body, MERGE) == 403, label
    taints = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert as_node(admin, "PATCH", f"{nodes}/mine", taints, MERGE) == 403
    assert as_node(admin, "DELETE", f"{nodes}/mine") == 403
    assert as_node(admin, "POST", nodes, named("Node", "third")) == 403


def test_leases_and_tokens_are_those_of_the_node(admin: httpx.Client) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

    def lease(name: str) -> dict[str, Any]:
        return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name}}

    assert as_node(admin, "POST", leases, lease("mine")) == 201
    assert as_node(admin, "POST", leases, lease("yours")) == 403
    assert as_node(admin, "GET", f"{leases}/mine") == 200
    assert as_node(admin, "GET", f"{leases}/yours") == 403
    assert as_node(admin, "POST", leases.replace("kube-node-lease", "kube-system"), lease("mine")) == 403
    make(admin, "serviceaccounts", named("ServiceAccount", "robot"))
    make(admin, "serviceaccounts", named("ServiceAccount", "other"))
    made = {
        name: make(admin, "pods", pod(name, name, serviceAccountName="robot"))["metadata"]["uid"]
        for name in ("mine", "yours")
    }

    def ask(account: str, reference: dict[str, Any] | None) -> int:
        body = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"boundObjectRef": reference} if reference else {},
        }
        return as_node(admin, "POST", f"{CORE}/serviceaccounts/{account}/token", body)

    good = {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": made["mine"]}
    assert ask("robot", good) == 201
    assert ask("other", good) == 403
    assert ask("robot", None) == 403
    assert ask("robot", {**good, "uid": ""}) == 403
    assert ask("robot", {**good, "name": "yours", "uid": made["yours"]}) == 403


def test_whoever_is_in_the_group_without_being_a_node_may_nothing(admin: httpx.Client) -> None:
    headers = [("impersonate-user", "eve"), ("impersonate-group", "system:nodes")]
    assert admin.get("/api/v1/nodes", headers=headers).status_code == 403
    lone = [("impersonate-user", "system:node:mine")]
    assert admin.get("/api/v1/nodes", headers=lone).status_code == 403
