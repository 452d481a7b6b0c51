"""Transactions of schedulers over HTTP: carried out once, answered claim by claim, for those who may bind Pods."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster

PATH = "/apis/scheduling.kubelib.dev/v1alpha1/transactions"


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers) as client:
        amounts = {"cpu": "1", "memory": "8Gi", "pods": "10"}
        for name in ("n", "m"):
            node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}
            status = {"capacity": amounts, "allocatable": amounts}
            assert client.post("/api/v1/nodes", json={**node, "status": status}).status_code == 201
        yield client


def add_pod(admin: httpx.Client, name: str, cpu: str = "300m") -> None:
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": [container]}}
    answer = admin.post("/api/v1/namespaces/default/pods", json=pod)
    assert answer.status_code == 201, answer.text


def claim(pod: str, node: str, **more: Any) -> dict[str, Any]:
    return {"namespace": "default", "name": pod, "node": node, **more}


def transaction(*claims: dict[str, Any], name: str = "", **spec: Any) -> dict[str, Any]:
    metadata = {"metadata": {"name": name}} if name else {}
    kind = {"kind": "Transaction", "apiVersion": "scheduling.kubelib.dev/v1alpha1"}
    return {**kind, **metadata, "spec": {"claims": list(claims), **spec}}


def commit(admin: httpx.Client, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = admin.post(PATH, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    status: dict[str, Any] = answer.json()["status"]
    return status


def node_of(admin: httpx.Client, pod: str) -> str:
    node: str = admin.get(f"/api/v1/namespaces/default/pods/{pod}").json()["spec"].get("nodeName", "")
    return node


def test_losers_learn_which_claims_conflict_and_why(admin: httpx.Client) -> None:
    for name in "abcd":
        add_pod(admin, name)
    status = commit(
        admin,
        transaction(*(claim(name, "n") for name in "abcd"), claim("nobody", "n"), claim("a2", "m", uid="x")),
    )
    assert [outcome["bound"] for outcome in status["outcomes"]] == [True] * 3 + [False] * 3
    full, gone, absent = status["outcomes"][3:]
    assert full["cause"] == "NoRoom"
    assert 'node "n" no longer has room for pod d: it has too little cpu' in full["message"]
    assert (gone["cause"], gone["code"]) == ("Gone", 404)
    assert (absent["cause"], absent["code"]) == ("Gone", 404)
    assert (status["landed"], status["conflicts"]) == (3, 1)
    assert [node_of(admin, name) for name in "abcd"] == ["n", "n", "n", ""]


def test_all_or_nothing_names_the_claim_in_the_way_and_binds_none(admin: httpx.Client) -> None:
    add_pod(admin, "small")
    add_pod(admin, "large", "2")
    status = commit(admin, transaction(claim("small", "n"), claim("large", "n"), commit="AllOrNothing"))
    assert [outcome["cause"] for outcome in status["outcomes"]] == ["Together", "NoRoom"]
    assert (status["landed"], node_of(admin, "small")) == (0, "")


def test_a_transaction_that_is_sent_again_is_answered_as_the_first_time(admin: httpx.Client) -> None:
    for name in "abcd":
        add_pod(admin, name)
    body = transaction(*(claim(name, "n") for name in "abcd"), name="once")
    first = commit(admin, body)
    assert admin.delete("/api/v1/namespaces/default/pods/a?gracePeriodSeconds=0").status_code == 200
    again = commit(admin, body)
    assert again == {**first, "repeated": True}
    assert node_of(admin, "d") == ""
    answer = admin.post(PATH, json=transaction(claim("d", "m"), name="once"))
    assert (answer.status_code, answer.json()["reason"]) == (409, "AlreadyExists")


def test_coarse_claims_land_only_on_nodes_that_were_given_nothing_since(admin: httpx.Client) -> None:
    for name in "abcdef":
        add_pod(admin, name, "100m")
    seen = admin.get("/api/v1/pods").json()["metadata"]["resourceVersion"]
    coarse = {"detection": "Coarse"}
    assert commit(admin, transaction(claim("a", "n")))["landed"] == 1
    status = commit(
        admin,
        transaction(*(claim(name, "n", seenResourceVersion=seen) for name in "bc"), claim("d", "m", seenResourceVersion=seen), **coarse),
    )  # fmt: skip
    # Both claims on n: also the second, whatever the first may have counted.
    assert [outcome.get("cause", "") for outcome in status["outcomes"]] == ["Outdated", "Outdated", ""]
    now = admin.get("/api/v1/pods").json()["metadata"]["resourceVersion"]
    again = transaction(*(claim(name, "n", seenResourceVersion=now) for name in "bc"), **coarse)
    assert commit(admin, again)["landed"] == 2
    # What is given back makes nothing outdated.
    now = admin.get("/api/v1/pods").json()["metadata"]["resourceVersion"]
    assert admin.delete("/api/v1/namespaces/default/pods/b?gracePeriodSeconds=0").status_code == 200
    assert commit(admin, transaction(claim("e", "n", seenResourceVersion=now), **coarse))["landed"] == 1


def test_a_dry_run_says_what_would_happen(admin: httpx.Client) -> None:
    add_pod(admin, "a")
    answer = admin.post(f"{PATH}?dryRun=All", json=transaction(claim("a", "n"), name="dry"))
    assert answer.json()["status"]["outcomes"] == [{"bound": True}]
    assert node_of(admin, "a") == ""
    assert "repeated" not in commit(admin, transaction(claim("a", "n"), name="dry"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (transaction(), "spec.claims"),
        (transaction(claim("a", "")), "spec.claims[0].node"),
        (transaction(claim("a", "n"), claim("a", "m")), "spec.claims[1]"),
        (transaction(claim("a", "n"), detection="Medium"), "spec.detection"),
        (transaction(claim("a", "n"), commit="Maybe"), "spec.commit"),
        (transaction(claim("a", "n"), detection="Coarse"), "spec.claims[0].seenResourceVersion"),
        (transaction(claim("a", "n", seenResourceVersion="new")), "spec.claims[0].seenResourceVersion"),
        (transaction(claim("a", "n"), name="a/b"), "metadata.name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(
    admin: httpx.Client, body: dict[str, Any], field: str
) -> None:
    answer = admin.post(PATH, json=body)
    assert answer.status_code == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == [field]


def test_only_those_may_commit_who_may_bind_the_pods(admin: httpx.Client) -> None:
    add_pod(admin, "a")
    body = transaction(claim("a", "n"))
    assert admin.post(PATH, json=body, headers={"impersonate-user": "jane"}).status_code == 403
    group = "rbac.authorization.k8s.io"
    binding = {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{group}/v1",
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "kubelib:transactions"},
        "subjects": [{"kind": "User", "name": "jane"}],
    }
    assert admin.post(f"/apis/{group}/v1/clusterrolebindings", json=binding).status_code == 201
    answer = admin.post(PATH, json=body, headers={"impersonate-user": "jane"})
    assert answer.status_code == 403
    assert '"pods/binding"' in answer.json()["message"]
    assert commit(admin, body, **{"impersonate-user": "system:kube-scheduler"})["landed"] == 1


def test_transactions_are_discovered_and_described_and_not_kept(admin: httpx.Client) -> None:
    found = admin.get("/apis/scheduling.kubelib.dev/v1alpha1").json()["resources"]
    assert [(r["name"], r["namespaced"], r["verbs"]) for r in found] == [("transactions", False, ["create"])]
    schemas = admin.get("/openapi/v3/apis/scheduling.kubelib.dev/v1alpha1").json()["components"]["schemas"]
    assert "detection" in schemas["dev.kubelib.scheduling.v1alpha1.TransactionSpec"]["properties"]
    assert admin.get(PATH).status_code == 405
