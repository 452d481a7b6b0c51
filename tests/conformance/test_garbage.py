"""sig-api-machinery where controllers take part: garbage collection, namespaces, quotas."""

from typing import Any

import pytest

from kubelib.testing.cluster import ClusterOptions
from tests.conformance.conftest import JSON_PATCH, Api, Tree

OPTIONS = ClusterOptions(controllers=True, scheduler=True, fake_nodes=1)
POD: Tree = {
    "containers": [{"name": "c", "image": "registry.example/pause:1"}],
    "terminationGracePeriodSeconds": 0,
}


def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def rc(name: str, replicas: int = 2) -> Tree:
    template = {"metadata": {"labels": {"app": name}}, "spec": POD}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"app": name}, "template": template},
    }


def names(api: Api, path: str, **query: str) -> list[str]:
    return [item["metadata"]["name"] for item in api.get(path, **query)["items"]]


def owned_by(tree: Tree, **more: Any) -> Tree:
    api_version, kind, meta = tree["apiVersion"], tree["kind"], tree["metadata"]
    return {"apiVersion": api_version, "kind": kind, "name": meta["name"], "uid": meta["uid"], **more}


# Garbage


def test_pods_of_a_controller_go_with_it_unless_they_are_orphaned(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/replicationcontrollers"
    for name in ("gone", "kept"):
        api.create(path, rc(name))
        api.eventually(lambda name=name: len(names(api, pods(namespace), labelSelector=f"app={name}")) == 2)  # type: ignore[misc]
    api.delete(f"{path}/kept", {"propagationPolicy": "Orphan"})
    api.delete(f"{path}/gone", {"propagationPolicy": "Background"})
    api.gone(f"{path}/kept")
    api.eventually(lambda: not names(api, pods(namespace), labelSelector="app=gone"))
    left = api.get(pods(namespace), labelSelector="app=kept")["items"]
    assert len(left) == 2 and not any(pod["metadata"].get("ownerReferences") for pod in left)


def test_an_old_client_orphans_with_a_flag(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"app": "d"}}, "spec": POD}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    api.create(path, {"metadata": {"name": "d"}, "spec": spec})
    sets = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
    api.eventually(lambda: names(api, sets))
    api.delete(f"{path}/d", {"orphanDependents": True})
    api.gone(f"{path}/d")
    (left,) = api.get(sets)["items"]
    assert not left["metadata"].get("ownerReferences")


def test_an_owner_in_the_foreground_waits_for_those_that_block_it(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = api.create(path, {"metadata": {"name": "owner"}})
    blocking = owned_by(owner, blockOwnerDeletion=True)
    api.create(
        path, {"metadata": {"name": "held", "ownerReferences": [blocking], "finalizers": ["example.com/f"]}}
    )
    answer = api.delete(f"{path}/owner", {"propagationPolicy": "Foreground"})
    assert (
        answer["metadata"]["finalizers"] == ["foregroundDeletion"] and answer["metadata"]["deletionTimestamp"]
    )
    api.eventually(lambda: api.get(f"{path}/held")["metadata"].get("deletionTimestamp"))
    api.get(f"{path}/owner")
    api.patch(f"{path}/held", {"metadata": {"finalizers": None}})
    api.gone(f"{path}/held")
    api.gone(f"{path}/owner")


def test_what_another_living_owner_has_is_kept(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    one, two = (api.create(path, {"metadata": {"name": name}}) for name in ("one", "two"))
    api.create(path, {"metadata": {"name": "both", "ownerReferences": [owned_by(one), owned_by(two)]}})
    api.delete(f"{path}/one", {"propagationPolicy": "Background"})
    api.eventually(lambda: len(api.get(f"{path}/both")["metadata"]["ownerReferences"]) == 1)
    assert api.get(f"{path}/both")["metadata"]["ownerReferences"][0]["name"] == "two"


def test_a_circle_of_owners_is_no_trap(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = [api.create(path, {"metadata": {"name": name}}) for name in "abc"]
    for at, tree in enumerate(made):
        reference = owned_by(made[(at + 1) % 3], blockOwnerDeletion=True, controller=True)
        api.patch(f"{path}/{tree['metadata']['name']}", {"metadata": {"ownerReferences": [reference]}})
    api.delete(f"{path}/a", {"propagationPolicy": "Foreground"})
    for name in "abc":
        api.gone(f"{path}/{name}")


def test_what_belongs_to_nobody_that_exists_goes(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = api.create(path, {"metadata": {"name": "owner"}})
    reference = {**owned_by(owner), "uid": "0f1f0f0e-0000-4000-8000-000000000000"}
    api.create(path, {"metadata": {"name": "lost", "ownerReferences": [reference]}})
    api.gone(f"{path}/lost")


# Namespaces


def test_a_namespace_is_patched_updated_and_has_a_status(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    assert api.get(path)["metadata"]["labels"] == {"kubernetes.io/metadata.name": namespace}
    assert api.patch(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"]["a"] == "b"
    condition = {
        "type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    patched = api.patch(f"{path}/status", {"status": {"conditions": [condition]}})
    assert patched["status"] == {"conditions": [condition], "phase": "Active"}
    current = api.get(f"{path}/status")
    current["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
    assert len(api.put(f"{path}/status", current)["status"]["conditions"]) == 2


def test_a_finalizer_in_the_spec_of_a_namespace_is_written_at_its_own_path(api: Api) -> None:
    path = "/api/v1/namespaces/finalized"
    api.create("/api/v1/namespaces", {"metadata": {"name": "finalized"}})
    current = api.get(path)
    current["spec"]["finalizers"] = ["e2e.example.com/fake", *current["spec"]["finalizers"]]
    assert "e2e.example.com/fake" in api.put(f"{path}/finalize", current)["spec"]["finalizers"]
    current = api.get(path)
    current["spec"]["finalizers"] = []
    assert api.put(path, current)["spec"]["finalizers"] == ["e2e.example.com/fake", "kubernetes"]
    api.delete(path)
    api.eventually(lambda: api.get(path)["spec"]["finalizers"] == ["e2e.example.com/fake"])
    assert api.get(path)["status"]["phase"] == "Terminating"
    current = api.get(path)
    current["spec"]["finalizers"] = []
    api.put(f"{path}/finalize", current)
    api.gone(path)


def test_a_namespace_takes_nothing_more_while_it_goes_and_then_all_is_gone(api: Api) -> None:
    api.create("/api/v1/namespaces", {"metadata": {"name": "going"}})
    api.eventually(
        lambda: api.http.get("/api/v1/namespaces/going/serviceaccounts/default").status_code == 200
    )
    held = {"metadata": {"name": "held", "finalizers": ["example.com/f"]}, "spec": POD}
    api.create("/api/v1/namespaces/going/pods", held)
    api.create("/api/v1/namespaces/going/configmaps", {"metadata": {"name": "later"}})
    api.delete("/api/v1/namespaces/going")
    refused = api.create("/api/v1/namespaces/going/secrets", {"metadata": {"name": "s"}}, status=403)
    assert (
        refused["reason"] == "Forbidden"
        and refused["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    )
    assert refused["message"] == (
        'secrets "s" is forbidden: unable to create new content in namespace going because it is being terminated'
    )

    def remaining() -> dict[str, str]:
        conditions = api.get("/api/v1/namespaces/going")["status"].get("conditions") or ()
        return {c["type"]: c["status"] for c in conditions}

    api.eventually(lambda: remaining().get("NamespaceFinalizersRemaining") == "True")
    assert remaining()["NamespaceContentRemaining"] == "True"
    # Pods go first: what they may still need is there until the last of them has gone.
    api.get("/api/v1/namespaces/going/configmaps/later")
    api.patch(
        "/api/v1/namespaces/going/pods/held", [{"op": "remove", "path": "/metadata/finalizers"}], JSON_PATCH
    )
    api.gone("/api/v1/namespaces/going")
    assert names(api, "/api/v1/namespaces/going/configmaps") == []


def test_every_namespace_has_an_account_and_the_root_certificate(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    api.eventually(lambda: api.http.get(path).status_code == 200)
    uid = api.get(path)["metadata"]["uid"]
    api.delete(path)
    api.eventually(
        lambda: (a := api.http.get(path)).status_code == 200 and a.json()["metadata"]["uid"] != uid
    )


# Quotas


def quota(api: Api, namespace: str, name: str, **spec: Any) -> str:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.create(path, {"metadata": {"name": name}, "spec": spec})
    api.eventually(lambda: (api.get(f"{path}/{name}").get("status") or {}).get("used") is not None)
    return f"{path}/{name}"


def used(api: Api, path: str, resource: str, amount: str) -> None:
    api.eventually(lambda: api.get(path)["status"]["used"].get(resource) == amount)


@pytest.mark.parametrize(
    ("resource", "path", "body"),
    [
        ("count/configmaps", "/api/v1/namespaces/{ns}/configmaps", {}),
        ("configmaps", "/api/v1/namespaces/{ns}/configmaps", {}),
        ("secrets", "/api/v1/namespaces/{ns}/secrets", {}),
        ("services", "/api/v1/namespaces/{ns}/services", {"spec": {"ports": [{"port": 80}]}}),
        ("replicationcontrollers", "/api/v1/namespaces/{ns}/replicationcontrollers", {"spec": rc("x", 0)["spec"]}),
        ("count/replicasets.apps", "/apis/apps/v1/namespaces/{ns}/replicasets",
         {"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": rc("x")["spec"]["template"]}}),
        ("pods", "/api/v1/namespaces/{ns}/pods", {"spec": POD}),
        ("persistentvolumeclaims", "/api/v1/namespaces/{ns}/persistentvolumeclaims",
         {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ],
)  # fmt: skip
def test_a_quota_counts_the_life_of_what_it_limits(
    api: Api, namespace: str, resource: str, path: str, body: Tree
) -> None:
    api.eventually(
        lambda: api.http.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default").status_code == 200
    )
    path = path.format(ns=namespace)
    before = len(names(api, path))
    limited = quota(api, namespace, "q", hard={resource: str(before + 1)})
    used(api, limited, resource, str(before))
    api.create(path, {**body, "metadata": {"name": "one"}})
    used(api, limited, resource, str(before + 1))
    refused = api.create(path, {**body, "metadata": {"name": "two"}}, status=403)
    assert (
        f"exceeded quota: q, requested: {resource}=1, used: {resource}={before + 1}, limited: {resource}={before + 1}"
        in (refused["message"])
    )
    api.delete(f"{path}/one", propagationPolicy="Background")
    used(api, limited, resource, str(before))
    api.create(path, {**body, "metadata": {"name": "two"}})


def test_a_quota_is_updated_and_deleted(api: Api, namespace: str) -> None:
    path = quota(api, namespace, "q", hard={"cpu": "1", "memory": "500Mi"})
    current = api.get(path)
    current["spec"]["hard"]["cpu"] = "2"
    api.put(path, current)
    api.eventually(lambda: api.get(path)["status"]["hard"]["cpu"] == "2")
    assert api.patch(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}
    everywhere = api.get("/api/v1/resourcequotas", labelSelector="a=b")
    assert [item["metadata"]["name"] for item in everywhere["items"]] == ["q"]
    api.delete(path)
    api.get(path, status=404)


def test_scopes_tell_which_pods_count(api: Api, namespace: str) -> None:
    api.eventually(
        lambda: api.http.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default").status_code == 200
    )
    ending = quota(api, namespace, "ending", hard={"pods": "5"}, scopes=["Terminating"])
    lasting = quota(api, namespace, "lasting", hard={"pods": "5"}, scopes=["NotTerminating"])
    best = quota(api, namespace, "best", hard={"pods": "5"}, scopes=["BestEffort"])
    for path in (ending, lasting, best):
        used(api, path, "pods", "0")
    api.create(pods(namespace), {"metadata": {"name": "a"}, "spec": {**POD, "activeDeadlineSeconds": 3600}})
    used(api, ending, "pods", "1")
    used(api, best, "pods", "1")
    used(api, lasting, "pods", "0")
    refused = api.create(
        f"/api/v1/namespaces/{namespace}/resourcequotas",
        {
            "metadata": {"name": "wrong"},
            "spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort", "NotBestEffort"]},
        },
        status=422,
    )
    assert "spec.scopes: Invalid value" in refused["message"] and "conflicting scopes" in refused["message"]
