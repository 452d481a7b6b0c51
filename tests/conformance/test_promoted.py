"""Behaviours of Pods and their keys that became a part of Kubernetes' conformance suite late, or are asked by its node suite alone."""

import pytest

from tests.conformance.conftest import JSON_PATCH, STRATEGIC, Api, Tree

CONTAINER: Tree = {"name": "c", "image": "registry.example/pause:1"}


@pytest.fixture
def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(**spec: object) -> Tree:
    return {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], "schedulerName": "nobody", **spec}}


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_a_key_is_not_empty(api: Api, namespace: str, plural: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/{plural}"
    refused = api.create(path, {"metadata": {"name": "m"}, "data": {"": "dmFsdWU="}}, status=422)
    assert 'data[]: Invalid value: ""' in refused["message"]


def test_the_generation_of_a_pod_counts_the_changes_of_its_spec(api: Api, pods: str) -> None:
    def generation(found: Tree) -> int:
        return int(found["metadata"]["generation"])

    made = pod(terminationGracePeriodSeconds=100)
    made["metadata"] |= {"generation": 100, "finalizers": ["example.com/stays"]}
    assert generation(api.create(pods, made)) == 1, "nobody chooses where it begins"
    path = f"{pods}/p"
    changes: list[Tree] = [
        {"containers": [{"name": "c", "image": "registry.example/pause:2"}]},
        {"activeDeadlineSeconds": 1000},
    ]
    for at, change in enumerate(changes):
        assert generation(api.patch(path, {"spec": change}, STRATEGIC)) == at + 2
        assert generation(api.patch(path, {"spec": change}, STRATEGIC)) == at + 2, (
            "and those that change nothing"
        )
    toleration = [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "a", "operator": "Exists"}}]
    assert generation(api.patch(path, toleration, JSON_PATCH)) == 4
    resources = {"requests": {"cpu": "100m"}}
    resize = {"spec": {"containers": [{"name": "c", "resources": resources}]}}
    quality = api.patch(f"{path}/resize", resize, STRATEGIC, status=422)
    assert "Pod QOS Class" in quality["message"]
    added = {"spec": {"ephemeralContainers": [{"name": "look", "image": "registry.example/pause:1"}]}}
    assert generation(api.patch(f"{path}/ephemeralcontainers", added, STRATEGIC)) == 5
    assert generation(api.patch(path, {"metadata": {"labels": {"a": "b"}}})) == 5
    assert generation(api.patch(f"{path}/status", {"status": {"message": "said"}})) == 5
    assert generation(api.delete(path)) == 6, "its end is a change too, for which its finalizer is waited"
    api.patch(path, [{"op": "remove", "path": "/metadata/finalizers"}], JSON_PATCH)
    api.gone(path)


def test_the_graceful_end_of_a_pod_is_a_change_of_it(api: Api, pods: str) -> None:
    api.create(pods, pod(nodeName="nowhere", terminationGracePeriodSeconds=100))
    assert api.delete(f"{pods}/p")["metadata"]["generation"] == 2
    shorter = api.delete(f"{pods}/p", gracePeriodSeconds="50")
    assert (shorter["metadata"]["generation"], shorter["metadata"]["deletionGracePeriodSeconds"]) == (2, 50)
    api.delete(f"{pods}/p", gracePeriodSeconds="0")


def test_a_pod_may_name_a_volume_of_a_driver_of_its_own(api: Api, pods: str) -> None:
    source = {"driver": "inline.example.com", "readOnly": True, "volumeAttributes": {"a": "b"}}
    made = api.create(pods, pod(volumes=[{"name": "v", "csi": source}]))
    assert made["spec"]["volumes"][0]["csi"] == source
    assert api.get(f"{pods}/p")["spec"]["volumes"][0]["csi"] == source
    [listed] = api.get(pods)["items"]
    assert listed["spec"]["volumes"][0]["csi"] == source
    patched = api.patch(f"{pods}/p", {"metadata": {"labels": {"a": "b"}}})
    assert patched["metadata"]["labels"] == {"a": "b"} and patched["spec"]["volumes"][0]["csi"] == source
    api.delete(f"{pods}/p")
    api.gone(f"{pods}/p")
