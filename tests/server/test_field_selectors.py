"""Field selectors: those that Kubernetes has for each kind, what they compare with, and its words for others."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions

PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
NAMED = ("metadata.name",)
BOTH = ("metadata.name", "metadata.namespace")
INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
KNOWN = {
    "/api/v1/pods": (
        *BOTH, "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName", "spec.host",
    ),
    "/api/v1/events": (
        *BOTH, *(f"involvedObject.{part}" for part in INVOLVED), "reason", "reportingComponent", "source", "type",
    ),
    "/apis/events.k8s.io/v1/events": (
        *BOTH, *(f"regarding.{part}" for part in INVOLVED), "reason", "reportingController", "type",
    ),
    "/api/v1/namespaces": (*NAMED, "status.phase"),
    "/api/v1/nodes": (*NAMED, "spec.unschedulable"),
    "/api/v1/replicationcontrollers": (*BOTH, "status.replicas"),
    "/api/v1/secrets": (*BOTH, "type"),
    "/api/v1/services": (*BOTH, "spec.clusterIP", "spec.type"),
    "/apis/apps/v1/replicasets": (*BOTH, "status.replicas"),
    "/apis/certificates.k8s.io/v1/certificatesigningrequests": (*NAMED, "spec.signerName"),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield client


@pytest.mark.parametrize("path", KNOWN)
def test_the_fields_of_kubernetes_can_be_selected_by_and_no_others(client: httpx.Client, path: str) -> None:
    for label in KNOWN[path]:
        answer = client.get(path, params={"fieldSelector": f"{label}!=nothing-like-it"})
        assert answer.status_code == 200, answer.text
    for label in {"metadata.uid", "spec.nonsense", "metadata.namespace"} - set(KNOWN[path]):
        for watch in ({}, {"watch": "1"}):
            answer = client.get(path, params={"fieldSelector": f"{label}=x", **watch})
            assert answer.status_code == 400
            assert answer.json()["message"].endswith(f"field label not supported: {label}")


def test_jobs_and_kinds_without_fields_of_their_own_have_other_words(client: httpx.Client) -> None:
    for path, message in (
        ("/apis/batch/v1/jobs", 'field label "spec.x" not supported for batchv1.Job'),
        (
            "/api/v1/configmaps",
            '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
    ):
        answer = client.get(path, params={"fieldSelector": "spec.x=y"})
        assert (answer.status_code, answer.json()["message"]) == (400, message)


def names(client: httpx.Client, path: str, selector: str) -> list[str]:
    answer = client.get(path, params={"fieldSelector": selector})
    assert answer.status_code == 200, answer.text
    return [item["metadata"]["name"] for item in answer.json()["items"]]


def test_pods_are_selected_by_where_and_how_they_run(client: httpx.Client) -> None:
    container = {"name": "c", "image": "i"}
    for name, spec in (
        ("here", {"nodeName": "n1", "hostNetwork": True, "serviceAccountName": "me"}),
        ("there", {"nodeName": "n2", "restartPolicy": "Never", "schedulerName": "mine"}),
    ):
        body = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        assert client.post(PODS, json=body).status_code == 201, name
    addresses = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
    answer = client.patch(
        f"{PODS}/here/status",
        content=json.dumps({"status": addresses}),
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text
    for selector, found in (
        ("spec.nodeName=n1", ["here"]),
        ("spec.host=n2", ["there"]),
        ("spec.host!=n2", ["here"]),
        ("spec.hostNetwork=true", ["here"]),
        ("spec.hostNetwork=false,spec.restartPolicy=Never", ["there"]),
        ("spec.schedulerName=mine", ["there"]),
        ("spec.serviceAccountName=me", ["here"]),
        ("status.phase=Running", ["here"]),
        ("status.phase!=Running", ["there"]),
        ("status.podIP=10.0.0.1", ["here"]),
        ("status.podIPs=10.0.0.1", []),  # Kubernetes takes it and never fills it in
        ("status.nominatedNodeName=", ["here", "there"]),
    ):
        assert names(client, PODS, selector) == found, selector
    with client.stream(
        "GET", PODS, params={"watch": "1", "timeoutSeconds": "1", "fieldSelector": "spec.host=n2"}
    ) as answer:
        events: list[Any] = [json.loads(line) for line in answer.iter_lines()]
    assert [event["object"]["metadata"]["name"] for event in events] == ["there"]


def test_events_are_selected_by_who_reports_them(client: httpx.Client) -> None:
    involved = {"kind": "Pod", "namespace": "default", "name": "p"}
    for name, more in (
        ("older", {"source": {"component": "kubelet", "host": "n1"}}),
        ("newer", {"reportingComponent": "kubelet"}),
        ("other", {"source": {"component": "scheduler"}}),
    ):
        body = {
            "metadata": {"name": name},
            "involvedObject": involved,
            "reason": "R",
            "type": "Normal",
            **more,
        }
        answer = client.post(EVENTS, json=body)
        assert answer.status_code == 201, answer.text
    assert names(client, EVENTS, "source=kubelet") == ["newer", "older"]
    assert names(client, EVENTS, "source!=kubelet") == ["other"]
    assert names(client, EVENTS, "reportingComponent=kubelet") == ["newer"]
    regarding = "/apis/events.k8s.io/v1/namespaces/default/events"
    assert names(client, regarding, "reportingController=kubelet") == ["newer"]


def test_a_rule_for_one_name_allows_lists_of_that_name(client: httpx.Client) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "resourceNames": ["a"]}
    client.post(f"{rbac}/roles", json={"metadata": {"name": "one"}, "rules": [rule]})
    jane = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    client.post(
        f"{rbac}/rolebindings", json={"metadata": {"name": "one"}, "subjects": [jane], "roleRef": role}
    )

    def may(selector: str) -> bool:
        headers = {"impersonate-user": "jane"}
        answer = client.get(PODS, params={"fieldSelector": selector}, headers=headers)
        assert answer.status_code in (200, 403), answer.text
        return answer.status_code == 200

    for selector in ("metadata.name=a", "metadata.name==a", "status.phase!=Failed,metadata.name=a"):
        assert may(selector), selector
    for selector in ("metadata.name=b", "metadata.name!=a", "status.phase=a", "metadata.name=a/b", ""):
        assert not may(selector), selector
