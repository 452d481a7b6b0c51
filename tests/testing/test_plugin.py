import time
from pathlib import Path
from random import Random

import pytest
from kubernetes import client, config, watch

from kubelib.runtime.base import ContainerSpec, SandboxSpec
from kubelib.runtime.fake import Life
from kubelib.testing.cluster import Cluster, ClusterOptions


def test_a_cluster_answers_the_official_client(kubelib_cluster: Cluster) -> None:
    api = client.CoreV1Api(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
    body = {"metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"x": "y"}}
    api.create_namespaced_config_map("default", body)
    assert [
        c.metadata.name for c in api.list_namespaced_config_map("default", label_selector="a=b").items
    ] == ["c"]
    assert api.list_namespaced_config_map("default", label_selector="a=c").items == []
    api.patch_namespaced_config_map("c", "default", {"data": {"x": "z"}})
    assert api.read_namespaced_config_map("c", "default").data == {"x": "z"}
    events = [
        e["type"] for e in watch.Watch().stream(api.list_namespaced_config_map, "default", timeout_seconds=1)
    ]
    assert events == ["ADDED"]
    api.delete_namespaced_config_map("c", "default")
    with pytest.raises(client.ApiException) as caught:
        api.read_namespaced_config_map("c", "default")
    assert caught.value.status == 404


@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=3)
def test_controllers_and_scheduler_run_when_asked_for(kubelib_cluster: Cluster) -> None:
    api = client.CoreV1Api(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    api.create_namespaced_replication_controller(
        "default",
        {"metadata": {"name": "rc"}, "spec": {"replicas": 6, "selector": {"a": "b"}, "template": template}},
    )
    deadline = time.monotonic() + 60
    nodes: list[str] = []
    while len(nodes) < 6 and time.monotonic() < deadline:
        nodes = [p.spec.node_name for p in api.list_namespaced_pod("default").items if p.spec.node_name]
        time.sleep(0.05)
    assert sorted(nodes) == sorted(["node-0", "node-1", "node-2"] * 2)


def crashes_once(sandbox: SandboxSpec, container: ContainerSpec, random: Random) -> Life:
    return Life(run_for=0.05, exit_code=1) if container.attempt == 0 else Life()


@pytest.mark.kubelib(fake_nodes=2, rule=crashes_once)
def test_containers_on_fake_nodes_live_by_the_rule(kubelib_cluster: Cluster) -> None:
    api = client.CoreV1Api(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
    assert [n.metadata.name for n in api.list_node().items] == ["node-0", "node-1"]
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node-1"}
    api.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": spec})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = api.read_namespaced_pod("p", "default").status
        if status.container_statuses and status.container_statuses[0].restart_count == 1:
            break
        time.sleep(0.02)
    assert status.phase == "Running"
    assert status.container_statuses[0].last_state.terminated.exit_code == 1


def test_clusters_know_nothing_of_each_other(tmp_path: Path, kubelib_cluster: Cluster) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Cluster(other, ClusterOptions()) as second:
        api = client.CoreV1Api(config.new_client_from_config(str(second.kubeconfig)))
        api.create_namespaced_secret("default", {"metadata": {"name": "s"}})
        first = client.CoreV1Api(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
        assert first.list_namespaced_secret("default").items == []


def test_a_wrong_token_is_refused(kubelib_cluster: Cluster) -> None:
    configuration = client.Configuration()
    configuration.host = kubelib_cluster.url
    configuration.api_key = {"authorization": "Bearer wrong"}
    with pytest.raises(client.ApiException) as caught:
        client.CoreV1Api(client.ApiClient(configuration)).list_namespace()
    assert caught.value.status == 401
