"""What webhooks are told of requests over HTTP: their options, and which of their subresources they are about."""

import threading
from typing import Any

import httpx

from kubelib.testing.cluster import Cluster
from kubelib.testing.webhooks import allowed, on
from tests.server.webhooks.asking import POD

Tree = dict[str, Any]
WHERE = "/api/v1/namespaces/default"


def parts(request: Tree) -> tuple[str, str, str, str | None]:
    return request["operation"], request["resource"]["resource"], request["name"], request.get("subResource")


def test_a_change_has_the_time_that_who_asks_for_it_gives_it(kubelib_cluster: Cluster) -> None:
    over = threading.Event()

    def slowly(review: Tree) -> Tree:
        over.wait(30)
        return allowed()

    kubelib_cluster.webhook(slowly, rules=[on("configmaps")], name="slow.example.com")
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, trust_env=False, timeout=60) as client:
        answer = client.post(f"{WHERE}/configmaps?timeout=300ms", json={"metadata": {"name": "a"}})
        status = answer.json()
        assert (answer.status_code, status["reason"]) == (504, "Timeout")
        assert status["message"] == "Timeout: request did not complete within the allotted timeout"
        over.set()
        for timeout in ("0", "-1s", "1h"):  # no time of its own, or more than there is
            answer = client.post(
                f"{WHERE}/configmaps?timeout={timeout}", json={"metadata": {"generateName": "b"}}
            )
            assert answer.status_code == 201, answer.text


def test_bindings_are_asked_about_as_such_and_what_an_eviction_does_is_not(kubelib_cluster: Cluster) -> None:
    seen = kubelib_cluster.webhook(
        lambda review: allowed(), rules=[on("*/*", "*", group="*", version="*")], name="all.example.com"
    )
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, trust_env=False, timeout=60) as client:

        def heard(method: str, path: str, body: Tree) -> list[Tree]:
            before = len(seen.asked)
            answer = client.request(method, f"{WHERE}/{path}", json=body)
            assert answer.is_success, answer.text
            return [review["request"] for review in seen.asked[before:]]

        plain = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        [made] = heard("POST", "pods", POD)
        assert made["options"] == plain
        [made] = heard(
            "POST",
            "pods?fieldManager=me&fieldValidation=Strict&dryRun=All",
            POD | {"metadata": {"name": "q"}},
        )
        given = {"fieldManager": "me", "fieldValidation": "Strict", "dryRun": ["All"]}
        assert made["options"] == plain | given
        binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}}
        bound = heard("POST", "bindings", binding | {"target": {"kind": "Node", "name": "n"}})
        assert list(map(parts, bound)) == [("CREATE", "bindings", "p", None)]
        eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}}
        evicted = heard("POST", "pods/p/eviction", eviction)
        assert list(map(parts, evicted)) == [("CREATE", "pods", "p", "eviction")]
        uid = client.get(f"{WHERE}/pods/p").json()["metadata"]["uid"]
        [gone] = heard("DELETE", "pods/p", {"preconditions": {"uid": uid}, "gracePeriodSeconds": 0})
        assert gone["options"] == {
            "kind": "DeleteOptions",
            "apiVersion": "meta.k8s.io/v1",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
        }
