"""Admission webhooks see custom resources in the version that they asked for."""

import httpx

from kubelib.testing.cluster import Cluster
from kubelib.testing.webhooks import mutated, on
from tests.server.definitions import CRDS, definition
from tests.server.webhooks.asking import Tree

SIZE: Tree = {"type": "object", "properties": {"size": {"type": "integer"}, "old": {"type": "integer"}}}


def resize(review: Tree) -> Tree:
    return mutated(review, lambda tree: tree["spec"].update(size=tree["spec"]["size"] + 1))


def convert(review: Tree) -> Tree:
    """Move the size to where the wanted version has it."""
    wanted = review["request"]["desiredAPIVersion"]
    converted = []
    for tree in review["request"]["objects"]:
        size = tree["spec"].pop("old", None) if wanted.endswith("v2") else tree["spec"].pop("size", None)
        tree["spec"]["size" if wanted.endswith("v2") else "old"] = size
        converted.append({**tree, "apiVersion": wanted})
    return {"convertedObjects": converted, "result": {"status": "Success"}}


def test_a_custom_resource_is_seen_in_the_version_that_a_rule_names(kubelib_cluster: Cluster) -> None:
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SIZE}}},
        }
        for name in ("v1", "v2")
    ]
    tree = definition("boxes", "Box", versions=versions)
    served = kubelib_cluster.serve_webhook(convert, path="/convert")
    webhook = {"clientConfig": served.client_config, "conversionReviewVersions": ["v1"]}
    tree["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    boxes = "/apis/example.com/v1/namespaces/default/boxes"
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, trust_env=False, timeout=60) as client:
        assert client.post(CRDS, json=tree).status_code == 201
        rules = [on("boxes", "CREATE", "UPDATE", group="example.com", version="v2")]
        seen = kubelib_cluster.webhook(resize, mutating=True, rules=rules)
        kind = {"kind": "Box", "apiVersion": "example.com/v1"}
        answer = client.post(boxes, json={**kind, "metadata": {"name": "b"}, "spec": {"old": 1}})
        assert answer.status_code == 201, answer.text
        assert answer.json()["apiVersion"] == "example.com/v1"
        assert answer.json()["spec"] == {"old": 2}
        changed = {**answer.json(), "spec": {"old": 10}}
        assert client.put(f"{boxes}/b", json=changed).json()["spec"] == {"old": 11}
    create, update = [review["request"] for review in seen.asked]
    assert create["kind"] == {"group": "example.com", "version": "v2", "kind": "Box"}
    assert create["requestKind"]["version"] == "v1"
    assert create["object"]["spec"] == {"size": 1}
    assert (update["oldObject"]["spec"], update["object"]["spec"]) == ({"size": 2}, {"size": 10})
