"""sig-apps: what controllers, a scheduler and nodes make of workloads, where the plain life of a kind does not show it."""

import datetime

from kubelib.testing.cluster import ClusterOptions
from tests.conformance.conftest import STRATEGIC, Api, Tree

OPTIONS = ClusterOptions(controllers=True, scheduler=True, fake_nodes=2)
SPEC: Tree = {"containers": [{"name": "c", "image": "registry.example/server:1"}]}


def template(labels: dict[str, str], **spec: object) -> Tree:
    return {"metadata": {"labels": labels}, "spec": {**SPEC, **spec}}


def apps(namespace: str, plural: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/{plural}"


def pods(api: Api, namespace: str, **labels: str) -> list[Tree]:
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    found: list[Tree] = api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)["items"]
    return found


def test_the_revisions_of_a_daemon_set_are_counted_on(api: Api, namespace: str) -> None:
    sets, revisions = apps(namespace, "daemonsets"), apps(namespace, "controllerrevisions")
    labels = {"daemon": "d"}
    body = {
        "metadata": {"name": "d", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template(labels)},
    }
    made = api.create(sets, body)
    api.eventually(lambda: api.get(f"{sets}/d")["status"].get("numberAvailable") == 2)

    def kept(**query: str) -> list[Tree]:
        found: list[Tree] = api.get(revisions, labelSelector="daemon=d", **query)["items"]
        return found

    (first,) = kept()
    (owner,) = first["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("DaemonSet", made["metadata"]["uid"])
    name = first["metadata"]["name"]
    api.patch(f"{revisions}/{name}", {"metadata": {"labels": {name: "patched"}}}, STRATEGIC)
    second = {
        "metadata": {"name": "d-other", "labels": {**labels, "controller-revision-hash": "other"},
                     "ownerReferences": [owner]},
        "data": first["data"], "revision": first["revision"] + 1,
    }  # fmt: skip
    api.create(revisions, second)
    api.delete(f"{revisions}/{name}")
    api.eventually(lambda: len(kept()) == 1)
    (left,) = kept()
    left["metadata"]["labels"]["left"] = "updated"
    api.put(f"{revisions}/{left['metadata']['name']}", left)
    patch = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    api.patch(f"{sets}/d", patch, STRATEGIC)
    api.eventually(lambda: len(kept()) == 2)
    api.delete(revisions, labelSelector="left=updated")
    api.eventually(lambda: [revision["revision"] for revision in kept()] == [3])


def test_a_rollout_in_the_middle_of_another_leaves_only_the_last(api: Api, namespace: str) -> None:
    path, labels = apps(namespace, "deployments"), {"app": "d"}
    body = {
        "metadata": {"name": "d"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template(labels)},
    }
    api.create(path, body)
    for image in ("registry.example/server:2", "registry.example/server:3"):
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
        changed = api.patch(f"{path}/d", patch, STRATEGIC)

    def finished() -> bool:
        status = api.get(f"{path}/d")["status"]
        counts = {
            status.get(field)
            for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        }
        return counts == {3} and status["observedGeneration"] == changed["metadata"]["generation"]

    api.eventually(finished)
    api.eventually(lambda: len(pods(api, namespace, app="d")) == 3)
    images = [pod["spec"]["containers"][0]["image"] for pod in pods(api, namespace, app="d")]
    assert set(images) == {"registry.example/server:3"}
    sizes = [rs["spec"]["replicas"] for rs in api.get(apps(namespace, "replicasets"))["items"]]
    assert sorted(sizes)[-1] == 3 and sum(sizes) == 3


def test_the_status_of_a_running_job_is_written(api: Api, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    spec = {
        "parallelism": 2,
        "completions": 2,
        "backoffLimit": 6,
        "template": template({}, restartPolicy="Never"),
    }
    api.create(path, {"metadata": {"name": "j"}, "spec": spec})
    api.eventually(lambda: api.get(f"{path}/j")["status"].get("ready") == 2)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "CustomConditionType", "status": "True", "lastTransitionTime": now}
    said = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [condition]}}
    patched = api.patch(f"{path}/j/status", said)
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert condition.items() <= patched["status"]["conditions"][0].items()

    def replaced() -> bool:
        current = api.get(f"{path}/j/status")
        current["status"]["conditions"][0]["message"] = "replaced"
        return api.http.put(f"{path}/j/status", json=current).status_code == 200

    api.eventually(replaced)
    assert api.get(f"{path}/j/status")["status"]["conditions"][0]["message"] == "replaced"


def test_a_controller_says_that_a_quota_keeps_it_from_its_pods(api: Api, namespace: str) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    path = f"/api/v1/namespaces/{namespace}/replicationcontrollers"
    api.create(quotas, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}})
    api.eventually(lambda: (api.get(f"{quotas}/q").get("status") or {}).get("hard") == {"pods": "2"})
    spec = {"replicas": 3, "selector": {"app": "r"}, "template": template({"app": "r"})}
    api.create(path, {"metadata": {"name": "r"}, "spec": spec})

    def condition() -> Tree:
        conditions = api.get(f"{path}/r")["status"].get("conditions") or []
        return next((c for c in conditions if c["type"] == "ReplicaFailure"), {})

    api.eventually(condition)
    assert (condition()["status"], condition()["reason"]) == ("True", "FailedCreate")
    assert "exceeded quota: q" in condition()["message"]
    api.eventually(lambda: api.http.patch(
        f"{path}/r/scale", json={"spec": {"replicas": 2}}, headers={"content-type": "application/merge-patch+json"}
    ).is_success)  # fmt: skip
    api.eventually(lambda: not condition())


def test_a_parallel_set_does_not_wait_for_pods_that_are_not_ready(api: Api, namespace: str) -> None:
    path = apps(namespace, "statefulsets")
    gate = {"readinessGates": [{"conditionType": "example.com/never"}]}
    spec = {
        "replicas": 3, "serviceName": "s", "podManagementPolicy": "Parallel", "selector": {"matchLabels": {"app": "s"}},
        "template": template({"app": "s"}, **gate),
    }  # fmt: skip
    api.create(path, {"metadata": {"name": "s"}, "spec": spec})
    api.eventually(lambda: len(pods(api, namespace, app="s")) == 3)
    api.patch(f"{path}/s/scale", {"spec": {"replicas": 5}})
    api.eventually(lambda: len(pods(api, namespace, app="s")) == 5)
    assert not api.get(f"{path}/s")["status"].get("readyReplicas")
    api.patch(f"{path}/s/scale", {"spec": {"replicas": 0}})
    api.eventually(lambda: not pods(api, namespace, app="s"))
