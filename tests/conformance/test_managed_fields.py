"""What the server itself sets in a new object belongs to none of its managers, as published objects of real clusters show."""

from typing import Any

from tests.conformance.conftest import Api

CONTAINER = {"name": "c", "image": "i"}


def fields_of(made: dict[str, Any]) -> dict[str, Any]:
    (entry,) = made["metadata"]["managedFields"]
    found: dict[str, Any] = entry["fieldsV1"]
    return found


def test_the_finalizer_of_a_namespace_belongs_to_nobody(api: Api) -> None:
    made = api.create("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": "owned"}})
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert list(made)[-2:] == ["spec", "status"]
    labels: dict[str, Any] = {".": {}, "f:kubernetes.io/metadata.name": {}}
    assert fields_of(made) == {"f:metadata": {"f:labels": labels}}


def test_the_selector_of_a_job_belongs_to_nobody(api: Api, namespace: str) -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    made = api.create(
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        {"kind": "Job", "metadata": {"generateName": "j-"}, "spec": {"template": template}},
    )
    meta, spec = made["metadata"], made["spec"]
    assert spec["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": meta["uid"]}
    assert spec["template"]["metadata"]["labels"]["job-name"] == meta["name"]
    owned = fields_of(made)["f:spec"]
    assert "f:parallelism" in owned
    assert "f:selector" not in owned
    assert list(owned["f:template"]) == ["f:spec"]


def test_the_addresses_of_a_service_belong_to_nobody(api: Api, namespace: str) -> None:
    made = api.create(
        f"/api/v1/namespaces/{namespace}/services",
        {"kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}},
    )
    assert made["spec"]["clusterIP"]
    assert made["spec"]["ports"][0]["nodePort"]
    port: dict[str, Any] = {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}
    assert fields_of(made)["f:spec"] == {
        "f:externalTrafficPolicy": {},
        "f:internalTrafficPolicy": {},
        "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': port},
        "f:sessionAffinity": {},
        "f:type": {},
    }
