"""Managed fields name the programs that a cluster of Kubernetes consists of: programs that look for their own writes know these names."""

from typing import Any

import httpx
import pytest

from kubelib.testing import Cluster

Written = tuple[str, str]

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


def writers(cluster: Cluster, path: str) -> set[Written]:
    """Return the managers of all objects of a list, each with the subresource that it wrote."""
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, trust_env=False, timeout=60) as http:
        items = http.get(path).raise_for_status().json()["items"]
    assert items
    entries = [entry for item in items for entry in item["metadata"].get("managedFields") or ()]
    return {(entry["manager"], entry.get("subresource", "")) for entry in entries}


@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=1)
def test_writes_of_controllers_scheduler_and_kubelets_have_their_programs_names(
    kubelib_cluster: Cluster,
) -> None:
    kubelib_cluster.apply(DEPLOYMENT)
    manager, kubelet = "kube-controller-manager", "kubelet"
    expected = {
        "/apis/apps/v1/replicasets": {(manager, ""), (manager, "status")},
        "/api/v1/pods": {(manager, ""), (kubelet, "status")},
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases": {(kubelet, "")},
        "/apis/discovery.k8s.io/v1/endpointslices": {("kube-apiserver", "")},
    }
    kubelib_cluster.eventually(
        lambda: all(writers(kubelib_cluster, path) == names for path, names in expected.items())
    )
    told = {(name, "") for name in ("kubelet", "kube-scheduler", manager)}
    kubelib_cluster.eventually(lambda: writers(kubelib_cluster, "/api/v1/events") == told)
    assert {name for name, _ in writers(kubelib_cluster, "/api/v1/nodes")} <= {kubelet, manager}


def test_what_the_server_makes_itself_is_its_own(kubelib_cluster: Cluster) -> None:
    server = {("kube-apiserver", "")}
    for path in (
        "/api/v1/namespaces",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/api/v1/namespaces/kube-system/configmaps",
    ):
        assert writers(kubelib_cluster, path) == server, path
    for path in ("/apis/networking.k8s.io/v1/servicecidrs", "/apis/apiregistration.k8s.io/v1/apiservices"):
        assert {name for name, _ in writers(kubelib_cluster, path)} == {"kube-apiserver"}, path
    flow = "api-priority-and-fairness-config"
    levels, schemas = (
        f"/apis/flowcontrol.apiserver.k8s.io/v1/{kind}"
        for kind in ("prioritylevelconfigurations", "flowschemas")
    )
    assert writers(kubelib_cluster, levels) == {(f"{flow}-producer-v1", "")}
    kubelib_cluster.eventually(
        lambda: (
            writers(kubelib_cluster, schemas)
            == {(f"{flow}-producer-v1", ""), (f"{flow}-consumer-v1", "status")}
        )
    )
