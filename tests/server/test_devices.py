"""Device classes, claims and slices as objects of the API."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions

ROOT = "/apis/resource.k8s.io/v1"
CLAIMS = f"{ROOT}/namespaces/default/resourceclaims"
TABLE = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield client


def claim(*requests: dict[str, Any], **devices: Any) -> dict[str, Any]:
    return {"metadata": {"name": "gpu"}, "spec": {"devices": {"requests": list(requests), **devices}}}


def test_a_claim_asks_for_one_device_unless_it_says_more_and_stays_as_it_is(client: httpx.Client) -> None:
    made = client.post(CLAIMS, json=claim({"name": "a", "exactly": {"deviceClassName": "gpu.example.com"}}))
    assert made.status_code == 201, made.text
    exactly = made.json()["spec"]["devices"]["requests"][0]["exactly"]
    assert exactly == {"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 1}
    changed = client.patch(f"{CLAIMS}/gpu", content='{"spec":{"devices":{"requests":[]}}}', headers=MERGE)
    assert changed.status_code == 422
    assert "field is immutable" in changed.text

    def state() -> str:
        row = client.get(f"{CLAIMS}/gpu", headers=TABLE).json()["rows"][0]
        text: str = row["cells"][1]
        return text

    assert state() == "pending"
    status = (
        '{"status":{"allocation":{"devices":{}},"reservedFor":[{"resource":"pods","name":"p","uid":"u"}]}}'
    )
    assert client.patch(f"{CLAIMS}/gpu/status", content=status, headers=MERGE).status_code == 200
    assert state() == "allocated,reserved"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CLAIMS, claim({"name": "A_", "exactly": {"deviceClassName": "c"}}), "spec.devices.requests[0].name"),
        (CLAIMS, claim({"name": "a"}), "spec.devices.requests[0]"),
        (CLAIMS, claim({"name": "a", "exactly": {}}), "spec.devices.requests[0].exactly.deviceClassName"),
        (
            CLAIMS,
            claim({"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "Some"}}),
            "spec.devices.requests[0].exactly.allocationMode",
        ),
        (
            CLAIMS,
            claim({"name": "a", "exactly": {"deviceClassName": "c"}}, constraints=[{"requests": ["b"], "matchAttribute": "x/y"}]),
            "spec.devices.constraints[0].requests[0]",
        ),
        (f"{ROOT}/deviceclasses", {"metadata": {"name": "c"}, "spec": {"selectors": [{"cel": {}}]}}, "spec.selectors[0].cel.expression"),
        (f"{ROOT}/deviceclasses", {"metadata": {"name": "c"}, "spec": {"config": [{}]}}, "spec.config[0].opaque"),
        (
            f"{ROOT}/resourceslices",
            {"metadata": {"name": "s"}, "spec": {"driver": "d.example.com", "pool": {"name": "n", "resourceSliceCount": 1}}},
            "spec",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_field(
    client: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert field in [cause["field"] for cause in answer.json()["details"]["causes"]]


def test_devices_that_others_use_are_for_namespaces_that_are_meant_for_it(client: httpx.Client) -> None:
    labels = {"resource.kubernetes.io/admin-access": "true"}
    for name, given in (("plain", {}), ("admins", labels)):
        namespace = {"metadata": {"name": name, "labels": given}}
        assert client.post("/api/v1/namespaces", json=namespace).status_code == 201
    wanted = {"name": "a", "exactly": {"deviceClassName": "c", "adminAccess": True}}
    plain = {"name": "p", "exactly": {"deviceClassName": "c"}}
    template = {"metadata": {"name": "t"}, "spec": {"spec": claim(plain, wanted)["spec"]}}
    for plural, body in (("resourceclaims", claim(plain, wanted)), ("resourceclaimtemplates", template)):
        refused = client.post(f"{ROOT}/namespaces/plain/{plural}", json=body)
        assert refused.status_code == 422
        assert refused.json()["message"].endswith(
            "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the"
            " `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        )
        assert client.post(f"{ROOT}/namespaces/admins/{plural}", json=body).status_code == 201
    assert client.post(f"{ROOT}/namespaces/plain/resourceclaims", json=claim(plain)).status_code == 201
    result = {"request": "p", "driver": "d.example", "pool": "x", "device": "y", "adminAccess": True}
    status = {"status": {"allocation": {"devices": {"results": [result]}}}}
    refused = client.patch(f"{ROOT}/namespaces/plain/resourceclaims/gpu/status", json=status, headers=MERGE)
    assert refused.status_code == 422
    assert "status.allocation.devices.results[0].adminAccess: Forbidden" in refused.json()["message"]


def test_slices_are_selected_by_node_and_driver(client: httpx.Client) -> None:
    for node in ("n1", "n2"):
        spec = {
            "driver": "gpu.example.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {"name": "gpu-0", "attributes": {"index": {"int": 0}, "fast": {"bool": True}}},
                {"name": "gpu-1", "capacity": {"memory": {"value": "40Gi"}}},
            ],
        }
        made = client.post(f"{ROOT}/resourceslices", json={"metadata": {"name": f"s-{node}"}, "spec": spec})
        assert made.status_code == 201, made.text
        assert made.json()["spec"] == spec
    found = client.get(
        f"{ROOT}/resourceslices?fieldSelector=spec.nodeName%3Dn2,spec.driver%3Dgpu.example.com"
    )
    assert [item["metadata"]["name"] for item in found.json()["items"]] == ["s-n2"]
    row = client.get(f"{ROOT}/resourceslices/s-n1", headers=TABLE).json()["rows"][0]["cells"]
    assert row[:4] == ["s-n1", "n1", "gpu.example.com", "n1"]
    moved = client.patch(f"{ROOT}/resourceslices/s-n1", content='{"spec":{"nodeName":"n3"}}', headers=MERGE)
    assert moved.status_code == 422


def test_a_template_stays_as_it_is(client: httpx.Client) -> None:
    templates = f"{ROOT}/namespaces/default/resourceclaimtemplates"
    spec = {"spec": claim({"name": "a", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]})["spec"]}
    made = client.post(templates, json={"metadata": {"name": "t"}, "spec": spec})
    assert made.status_code == 201, made.text
    alternative = made.json()["spec"]["spec"]["devices"]["requests"][0]["firstAvailable"][0]
    assert alternative["allocationMode"] == "ExactCount"
    assert client.patch(f"{templates}/t", content='{"spec":{"spec":null}}', headers=MERGE).status_code == 422
