import json
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME, builtin_scheme
from kubelib.api.meta import Object
from kubelib.api.model import Model
from kubelib.api.openapi import group_versions, openapi_v2, openapi_v3, openapi_v3_index
from kubelib.api.schemas import definition_name
from kubelib.api.scheme import Resource


class Part(Model):
    """A part of a gadget."""

    weight: float = 0.0


class Gadget(Object):
    """A custom kind."""

    api_version = "example.com/v1"
    kind = "Gadget"

    parts: tuple[Part, ...] = ()


V2 = json.loads(openapi_v2(SCHEME))
CORE = json.loads(openapi_v3(SCHEME, "api/v1"))
DOCUMENTS = [V2, *(json.loads(openapi_v3(SCHEME, path)) for path in group_versions(SCHEME))]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found["description"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"] + path
        for path, methods in document["paths"].items()
        for operation in methods.values()
    ]
    assert len(names) == len(set(names))


def test_a_pod_spec_says_what_kubernetes_says() -> None:
    spec = V2["definitions"]["io.k8s.api.core.v1.PodSpec"]
    containers = dict(spec["properties"]["containers"])
    assert containers.pop("description")
    assert containers == {
        "type": "array",
        "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Container"},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-patch-merge-key": "name",
        "x-kubernetes-patch-strategy": "merge",
    }
    assert spec["required"] == ["containers"]
    assert spec["properties"]["activeDeadlineSeconds"]["format"] == "int64"
    assert spec["properties"]["priority"]["format"] == "int32"
    assert spec["properties"]["tolerations"]["x-kubernetes-list-type"] == "atomic"
    assert spec["properties"]["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"


def test_scalars_with_names_of_their_own_are_referred_to() -> None:
    definitions = V2["definitions"]
    port = definitions["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
    assert port["$ref"] == "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    limits = definitions["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]
    assert limits["additionalProperties"]["$ref"].endswith("resource.Quantity")
    assert (
        definitions["io.k8s.api.core.v1.Secret"]["properties"]["data"]["additionalProperties"]["format"]
        == "byte"
    )
    assert (
        definitions["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"] == "atomic"
    )


def test_a_kind_is_found_by_group_version_and_kind() -> None:
    pod = CORE["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert pod["properties"]["spec"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert "io.k8s.api.core.v1.PodList" in CORE["components"]["schemas"]


def test_a_patch_can_be_a_dry_run_and_strict() -> None:
    patch = CORE["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert {"dryRun", "fieldValidation", "fieldManager", "force"} <= {
        parameter["name"] for parameter in patch["parameters"]
    }
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "kind": "Pod", "version": "v1"}
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]


def test_subresources_with_kinds_of_their_own_say_so() -> None:
    paths = json.loads(openapi_v3(SCHEME, "apis/apps/v1"))["paths"]
    scale = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
    assert scale["get"]["x-kubernetes-group-version-kind"] == {
        "group": "autoscaling",
        "kind": "Scale",
        "version": "v1",
    }
    assert set(CORE["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]) == {"post"}
    assert "/api/v1/nodes/{name}/proxy/{path}" in CORE["paths"]


def test_the_index_names_every_document_by_its_hash() -> None:
    index = json.loads(openapi_v3_index(SCHEME))["paths"]
    assert tuple(index) == group_versions(SCHEME)
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    assert len({entry["serverRelativeURL"] for entry in index.values()}) == len(index)


def test_a_custom_kind_appears_at_once_and_goes_again() -> None:
    scheme = builtin_scheme()
    assert "apis/example.com/v1" not in group_versions(scheme)
    before = openapi_v2(scheme)
    gadgets = Resource(group="example.com", version="v1", kind="Gadget", plural="gadgets", cls=Gadget)
    scheme.add(gadgets)
    schemas = json.loads(openapi_v3(scheme, "apis/example.com/v1"))["components"]["schemas"]
    assert "com.example.v1.Gadget" in schemas
    assert schemas[definition_name(Part)]["properties"]["weight"] == {"type": "number", "format": "double"}
    assert openapi_v2(scheme) != before
    scheme.remove(gadgets)
    assert openapi_v2(scheme) == before
    with pytest.raises(KeyError):
        openapi_v3(scheme, "apis/example.com/v1")


def test_documents_are_built_once() -> None:
    assert openapi_v2(SCHEME) is openapi_v2(SCHEME)
    assert openapi_v3(SCHEME, "api/v1") is openapi_v3(SCHEME, "api/v1")
