"""sig-node, sig-scheduling, sig-auth and sig-apps as far as only the API is concerned."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.conformance.conftest import JSON_PATCH, MERGE, STRATEGIC, Api, Tree

POD: Tree = {"containers": [{"name": "c", "image": "registry.example/pause:1"}]}


@pytest.fixture
def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(name: str = "p", **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {**POD, **spec}}


# Pods


def test_a_pod_has_kubernetes_defaults(api: Api, pods: str) -> None:
    made = api.create(pods, pod())
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    spec = made["spec"]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["terminationGracePeriodSeconds"]) == (
        "Always",
        "ClusterFirst",
        30,
    )
    assert spec["securityContext"] == {} and spec["schedulerName"] == "default-scheduler"
    assert (
        spec["enableServiceLinks"] is True
        and spec["preemptionPolicy"] == "PreemptLowerPriority"
        and spec["priority"] == 0
    )
    (container,) = spec["containers"]
    assert container["terminationMessagePath"] == "/dev/termination-log" and container["resources"] == {}
    assert container["imagePullPolicy"] == "IfNotPresent" and container["terminationMessagePolicy"] == "File"


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "100m"}}, "Burstable"),
        ({"limits": {"cpu": "100m", "memory": "100Mi"}}, "Guaranteed"),
        (
            {"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}},
            "Burstable",
        ),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(
    api: Api, pods: str, resources: Tree, quality: str
) -> None:
    made = api.create(pods, pod(containers=[{**POD["containers"][0], "resources": resources}]))
    assert made["status"]["qosClass"] == quality


def test_what_may_change_about_a_pod_and_what_may_not(api: Api, pods: str) -> None:
    api.create(pods, pod())
    patched = api.patch(f"{pods}/p", {"spec": {"containers": [{"name": "c", "image": "other:1"}]}}, STRATEGIC)
    assert patched["spec"]["containers"][0]["image"] == "other:1"
    assert (
        api.patch(f"{pods}/p", {"spec": {"activeDeadlineSeconds": 30}})["spec"]["activeDeadlineSeconds"] == 30
    )
    refused = api.patch(f"{pods}/p", {"spec": {"activeDeadlineSeconds": 60}}, status=422)
    assert "must be less than or equal to previous value" in refused["message"]
    refused = api.patch(f"{pods}/p", {"spec": {"hostname": "other"}}, status=422)
    assert refused["message"].startswith(
        'Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than '
    )
    refused = api.patch(f"{pods}/p", {"spec": {"schedulingGates": [{"name": "a"}]}}, status=422)
    assert refused["reason"] == "Invalid"


def test_a_pod_is_bound_once(api: Api, pods: str) -> None:
    api.create("/api/v1/nodes", {"metadata": {"name": f"n-{pods.split('/')[4]}"}})
    node = f"n-{pods.split('/')[4]}"
    api.create(pods, pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": node},
    }
    assert api.create(f"{pods}/p/binding", binding)["status"] == "Success"
    bound = api.get(f"{pods}/p")
    assert bound["spec"]["nodeName"] == node
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    refused = api.create(f"{pods}/p/binding", binding, status=409)
    assert "is already assigned to node" in refused["message"]


def test_a_gated_pod_is_not_bound_until_its_gates_are_gone(api: Api, pods: str) -> None:
    made = api.create(pods, pod(schedulingGates=[{"name": "example.com/wait"}]))
    (condition,) = made["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    refused = api.create(f"{pods}/p/binding", binding, status=409)
    assert "has non-empty .spec.schedulingGates" in refused["message"]
    assert "schedulingGates" not in api.patch(f"{pods}/p", {"spec": {"schedulingGates": None}})["spec"]


def test_the_status_of_a_pod_is_patched_and_replaced(api: Api, pods: str) -> None:
    api.create(pods, pod())
    patch = {
        "status": {
            "conditions": [{"type": "TestConditionType", "status": "True", "reason": "R", "message": "m"}]
        }
    }
    patched = api.patch(f"{pods}/p/status", patch, STRATEGIC)
    assert "TestConditionType" in [c["type"] for c in patched["status"]["conditions"]]
    current = api.get(f"{pods}/p/status")
    current["status"]["message"] = "replaced"
    current["spec"]["hostname"] = "ignored"
    replaced = api.put(f"{pods}/p/status", current)
    assert replaced["status"]["message"] == "replaced" and "hostname" not in replaced["spec"]


def test_ephemeral_containers_are_added_and_stay(api: Api, pods: str) -> None:
    api.create(pods, pod())
    patch = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "command": ["sh"]}]}}
    patched = api.patch(f"{pods}/p/ephemeralcontainers", patch, STRATEGIC)
    assert patched["spec"]["ephemeralContainers"][0]["name"] == "e"
    current = api.get(f"{pods}/p/ephemeralcontainers")
    current["spec"]["ephemeralContainers"].append({"name": "f", "image": "i"})
    assert len(api.put(f"{pods}/p/ephemeralcontainers", current)["spec"]["ephemeralContainers"]) == 2
    current = api.get(f"{pods}/p")
    current["spec"]["ephemeralContainers"] = []
    refused = api.put(f"{pods}/p/ephemeralcontainers", current, status=422)
    assert "existing ephemeral containers" in refused["message"]
    refused = api.create(pods, pod("q", ephemeralContainers=[{"name": "e", "image": "i"}]), status=422)
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in refused["message"]


def test_a_pod_is_resized_at_its_own_path(api: Api, pods: str) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}}
    api.create(pods, pod(containers=[{**POD["containers"][0], "resources": resources}]))
    more = {"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}}
    patch = {"spec": {"containers": [{"name": "c", "resources": more}]}}
    assert api.patch(f"{pods}/p", patch, STRATEGIC, status=422)["reason"] == "Invalid"
    resized = api.patch(f"{pods}/p/resize", patch, STRATEGIC)
    assert resized["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "200m", "memory": "100Mi"}
    refused = api.patch(
        f"{pods}/p/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "300m"}}}]}},
        STRATEGIC,
        status=422,
    )
    assert "Pod QOS Class may not change as a result of resizing" in refused["message"]


def test_pods_are_deleted_together_or_with_conditions(api: Api, pods: str) -> None:
    for name in ("a", "b"):
        api.create(pods, pod(name))
    uid = api.get(f"{pods}/a")["metadata"]["uid"]
    refused = api.delete(f"{pods}/b", {"preconditions": {"uid": uid}}, status=409)
    other = api.get(f"{pods}/b")["metadata"]["uid"]
    assert refused["message"] == (
        f'Operation cannot be fulfilled on Pod "b": the UID in the precondition ({uid}) does not match the UID in record ({other}).'
        " The object might have been deleted and then recreated"
    )
    api.delete(f"{pods}/a", {"preconditions": {"uid": uid}})
    api.get(f"{pods}/a", status=404)  # nobody runs it: there is nothing to wait for
    api.delete(pods)
    assert api.get(pods)["items"] == []


def test_an_eviction_keeps_to_the_budget(api: Api, pods: str, namespace: str) -> None:
    api.create(pods, {**pod(), "metadata": {"name": "p", "labels": {"app": "a"}}})
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    api.create(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", budget)
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    api.patch(f"{pods}/p/status", ready)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    refused = api.create(f"{pods}/p/eviction", eviction, status=429)
    assert (
        refused["reason"] == "TooManyRequests"
        and refused["details"]["causes"][0]["reason"] == "DisruptionBudget"
    )
    assert refused["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    api.delete(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/b")
    assert api.create(f"{pods}/p/eviction", eviction)["status"] == "Success"


# Nodes


def test_a_node_has_a_status_of_its_own(api: Api) -> None:
    api.create("/api/v1/nodes", {"metadata": {"name": "noded"}})
    patch = {
        "status": {
            "capacity": {"example.com/dongle": "4"},
            "conditions": [{"type": "Mine", "status": "True"}],
        }
    }
    patched = api.patch("/api/v1/nodes/noded/status", patch, STRATEGIC)
    assert patched["status"]["capacity"] == {"example.com/dongle": "4"}
    step = [{"op": "add", "path": "/status/capacity/example.com~1toy", "value": "7"}]
    assert (
        api.patch("/api/v1/nodes/noded/status", step, JSON_PATCH)["status"]["capacity"]["example.com/toy"]
        == "7"
    )
    patched = api.patch(
        "/api/v1/nodes/noded", {"metadata": {"labels": {"a": "b"}}, "spec": {"unschedulable": True}}
    )
    assert patched["spec"]["unschedulable"] is True and patched["status"]["capacity"]
    assert [
        n["metadata"]["name"]
        for n in api.get("/api/v1/nodes", fieldSelector="spec.unschedulable=true")["items"]
    ] == ["noded"]


# Leases, events, templates


def test_a_lease_changes_hands(api: Api, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {
        "holderIdentity": "one", "leaseDurationSeconds": 30, "acquireTime": "2026-01-01T00:00:00.000005Z",
        "renewTime": "2026-01-01T00:00:05.000000Z", "leaseTransitions": 0,
    }  # fmt: skip
    assert api.create(path, {"metadata": {"name": "l"}, "spec": spec})["spec"] == spec
    current = api.get(f"{path}/l")
    current["spec"].update(holderIdentity="two", leaseTransitions=1)
    assert api.put(f"{path}/l", current)["spec"]["leaseTransitions"] == 1
    refused = api.create(
        path, {"metadata": {"name": "m"}, "spec": {**spec, "leaseDurationSeconds": 0}}, status=422
    )
    assert "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0" in refused["message"]


def test_events_are_the_same_in_both_groups(api: Api, namespace: str) -> None:
    core, group = (
        f"/api/v1/namespaces/{namespace}/events",
        f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    )
    body = {
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace}, "reason": "Test",
        "message": "m", "type": "Normal", "source": {"component": "c"}, "count": 1,
    }  # fmt: skip
    api.create(core, body)
    assert api.get(f"{group}/e")["note"] == "m"
    assert api.patch(f"{core}/e", {"message": "n"}, STRATEGIC)["message"] == "n"
    assert [
        e["metadata"]["name"]
        for e in api.get(core, fieldSelector="reason=Test,involvedObject.name=p")["items"]
    ] == ["e"]
    api.delete(core, labelSelector="!x")
    assert api.get(group)["items"] == []


# ConfigMaps and Secrets that stay


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_what_is_immutable_stays(api: Api, namespace: str, plural: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/{plural}"
    one, two = base64.b64encode(b"1").decode(), base64.b64encode(b"2").decode()
    api.create(path, {"metadata": {"name": "m"}, "data": {"a": one}})
    assert api.patch(f"{path}/m", {"data": {"a": two}})["data"] == {"a": two}
    assert api.patch(f"{path}/m", {"immutable": True})["immutable"] is True
    for patch in ({"immutable": False}, {"data": {"a": one}}):
        refused = api.patch(f"{path}/m", patch, status=422)
        assert "Forbidden: " in refused["message"] and "when `immutable` is set" in refused["message"]
    api.patch(f"{path}/m", {"metadata": {"labels": {"a": "b"}}})
    api.delete(f"{path}/m")


# Priorities, runtime classes


def test_the_value_of_a_priority_stays(api: Api) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    api.create(path, {"metadata": {"name": "p1"}, "value": 1})
    refused = api.patch(f"{path}/p1", {"value": 2}, status=422)
    assert "value: " in refused["message"] and "may not be changed in an update" in refused["message"]
    assert api.patch(f"{path}/p1", {"description": "d"})["description"] == "d"
    refused = api.create(path, {"metadata": {"name": "system-mine"}, "value": 1}, status=422)
    assert "priority class names with 'system-' prefix are reserved for system use only" in refused["message"]
    assert {"system-cluster-critical", "system-node-critical"} <= {
        c["metadata"]["name"] for c in api.get(path)["items"]
    }


def test_a_pod_of_an_unknown_class_is_refused(api: Api, pods: str) -> None:
    assert (
        "no PriorityClass with name none was found"
        in api.create(pods, pod(priorityClassName="none"), status=403)["message"]
    )
    refused = api.create(pods, pod(runtimeClassName="none"), status=403)
    assert 'RuntimeClass "none" not found' in refused["message"]


# Scales


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets"])
def test_a_scale_is_read_replaced_and_patched(api: Api, namespace: str, plural: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/{plural}"
    template = {"metadata": {"labels": {"app": "a"}}, "spec": POD}
    spec: Tree = {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    api.create(path, {"metadata": {"name": "w"}, "spec": spec})
    scale = api.get(f"{path}/w/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 1)
    assert scale["status"]["selector"] == "app=a"
    scale["spec"]["replicas"] = 2
    assert api.put(f"{path}/w/scale", scale)["spec"]["replicas"] == 2
    assert api.get(f"{path}/w")["spec"]["replicas"] == 2
    assert api.patch(f"{path}/w/scale", {"spec": {"replicas": 4}}, MERGE)["spec"]["replicas"] == 4
    refused = api.patch(f"{path}/w/scale", {"spec": {"replicas": -1}}, MERGE, status=422)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in refused["message"]
    refused = api.patch(f"{path}/w", {"spec": {"selector": {"matchLabels": {"app": "b"}}}}, status=422)
    assert "field is immutable" in refused["message"] or "are forbidden" in refused["message"]


def test_a_job_keeps_what_it_is_and_says_how_it_goes(api: Api, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    template = {"spec": {**POD, "restartPolicy": "Never"}}
    made = api.create(
        path, {"metadata": {"name": "j"}, "spec": {"suspend": True, "completions": 2, "template": template}}
    )
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": uid}
    assert made["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j"
    for change in ({"completions": 3}, {"selector": {"matchLabels": {"a": "b"}}}):
        refused = api.patch(f"{path}/j", {"spec": change}, status=422)
        assert "field is immutable" in refused["message"]
    assert api.patch(f"{path}/j", {"spec": {"parallelism": 2}})["spec"]["parallelism"] == 2
    answer = api.http.delete(f"{path}/j")
    assert "child pods are preserved by default when jobs are deleted" in answer.headers["warning"]
    refused = api.create(path, {"metadata": {"name": "k"}, "spec": {"template": {"spec": POD}}}, status=422)
    assert (
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
        in refused["message"]
    )


def test_a_cron_job_is_checked(api: Api, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/cronjobs"
    job = {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}
    spec: Tree = {"schedule": "*/1 * * * *", "jobTemplate": job}
    made = api.create(path, {"metadata": {"name": "c"}, "spec": spec})["spec"]
    assert (made["concurrencyPolicy"], made["suspend"]) == ("Allow", False)
    assert (made["successfulJobsHistoryLimit"], made["failedJobsHistoryLimit"]) == (3, 1)
    for change, why in (
        ({"schedule": "always"}, "spec.schedule: Invalid value"),
        ({"timeZone": "Nowhere/Land"}, "spec.timeZone: Invalid value"),
        ({"concurrencyPolicy": "Maybe"}, 'supported values: "Allow", "Forbid", "Replace"'),
        (
            {"schedule": "TZ=UTC * * * * *"},
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
    ):
        assert (
            why
            in api.create(path, {"metadata": {"name": "x"}, "spec": {**spec, **change}}, status=422)[
                "message"
            ]
        )
    long = {"metadata": {"name": "n" * 53}, "spec": spec}
    assert "must be no more than 52 characters" in api.create(path, long, status=422)["message"]


# Accounts and reviews


def test_a_token_is_asked_for_and_reviewed(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    account = api.create(path, {"metadata": {"name": "a"}})
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    answer = api.create(f"{path}/a/token", body)
    token = answer["status"]["token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{namespace}:a" and claims["exp"] - claims["iat"] == 600
    assert claims["kubernetes.io"]["serviceaccount"]["uid"] == account["metadata"]["uid"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert (
        status["authenticated"] is True
        and status["user"]["username"] == f"system:serviceaccount:{namespace}:a"
    )
    assert "system:serviceaccounts" in status["user"]["groups"]
    refused = api.create(f"{path}/a/token", {**body, "spec": {"expirationSeconds": 1}}, status=422)
    assert (
        "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes"
        in refused["message"]
    )


def test_the_issuer_of_tokens_is_discovered(api: Api) -> None:
    document = api.get("/.well-known/openid-configuration")
    assert document["issuer"] and document["jwks_uri"].endswith("/openid/v1/jwks")
    answer = api.http.get("/openid/v1/jwks")
    assert answer.headers["content-type"] == "application/jwk-set+json" and answer.json()["keys"]


def test_access_is_reviewed(api: Api, namespace: str) -> None:
    root = "/apis/authorization.k8s.io/v1"
    attributes = {"namespace": namespace, "verb": "get", "resource": "pods"}
    asked = {"spec": {"resourceAttributes": attributes, "user": "nobody"}}
    assert api.create(f"{root}/subjectaccessreviews", asked)["status"]["allowed"] is False
    assert (
        api.create(f"{root}/namespaces/{namespace}/localsubjectaccessreviews", asked)["status"]["allowed"]
        is False
    )
    mine = {"spec": {"resourceAttributes": attributes}}
    assert api.create(f"{root}/selfsubjectaccessreviews", mine)["status"]["allowed"] is True
    me = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]
    assert "system:masters" in me["groups"]


def test_a_stranger_is_told_what_is_forbidden(api: Api, namespace: str) -> None:
    answer = httpx.get(api.http.base_url.join(f"/api/v1/namespaces/{namespace}/pods"))
    assert answer.status_code == 403
    status = answer.json()
    assert status["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace'
        f' "{namespace}"'
    )
    assert status["reason"] == "Forbidden" and status["details"] == {"kind": "pods"}
    wrong = httpx.get(api.http.base_url.join("/api/v1/pods"), headers={"authorization": "Bearer none"})
    assert (
        wrong.status_code == 401
        and wrong.json()["reason"] == "Unauthorized"
        and wrong.json()["message"] == "Unauthorized"
    )
