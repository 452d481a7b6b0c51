import json
import struct
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from kubelib.api.builtin import SCHEME, builtin_scheme
from kubelib.api.meta import Object
from kubelib.api.model import Model
from kubelib.api.openapi import document_paths, group_versions, openapi_v2, openapi_v3, openapi_v3_index
from kubelib.api.openapi_protobuf import encode_openapi_v2, encode_openapi_v3
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
DOCUMENTS = [V2, *(json.loads(openapi_v3(SCHEME, path)) for path in document_paths(SCHEME))]


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


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("namespaces/{namespace}/pods/{name}/exec", "PodExecOptions"),
        ("namespaces/{namespace}/pods/{name}/attach", "PodAttachOptions"),
        ("namespaces/{namespace}/pods/{name}/portforward", "PodPortForwardOptions"),
        ("namespaces/{namespace}/pods/{name}/proxy", "PodProxyOptions"),
        ("namespaces/{namespace}/services/{name}/proxy/{path}", "ServiceProxyOptions"),
        ("nodes/{name}/proxy", "NodeProxyOptions"),
    ],
)
def test_connections_are_of_the_kind_of_their_options(path: str, kind: str) -> None:
    for document in (V2, CORE):
        for operation in document["paths"][f"/api/v1/{path}"].values():
            if isinstance(operation, dict):
                found = operation["x-kubernetes-group-version-kind"]
                assert found == {"group": "", "kind": kind, "version": "v1"}


def test_kubectl_finds_every_patch_of_a_kind_to_be_strict() -> None:
    """Kubectl asks any PATCH of the kind whether it takes fieldValidation, and else validates by itself, with other words."""
    for document in (V2, CORE):
        for path, operations in document["paths"].items():
            patch = operations.get("patch")
            if patch and patch["x-kubernetes-action"] == "patch":
                names = {parameter.get("name") for parameter in patch["parameters"]}
                assert "fieldValidation" in names, path
            elif patch:
                assert patch["x-kubernetes-group-version-kind"]["kind"].endswith("Options"), path


def query(path: str, method: str = "get") -> set[str]:
    """Return the names in the query of an operation of the core group, the same in both versions of the document."""
    in_v2, in_v3 = (
        {p["name"] for p in document["paths"][path][method]["parameters"] if p["in"] == "query"}
        for document in (V2, CORE)
    )
    assert in_v2 == in_v3
    return in_v2


def test_connections_to_pods_say_what_can_be_asked_for() -> None:
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    assert query(f"{pod}/log") == {
        "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous", "sinceSeconds", "stream",
        "tailLines", "timestamps",
    }  # fmt: skip
    assert query(f"{pod}/exec", "post") == {"command", "container", "stderr", "stdin", "stdout", "tty"}
    assert query(f"{pod}/attach") == {"container", "stderr", "stdin", "stdout", "tty"}
    assert query(f"{pod}/portforward") == {"ports"}
    assert query(f"{pod}/proxy", "delete") == query("/api/v1/nodes/{name}/proxy/{path}", "put") == {"path"}
    assert query(pod) == {"pretty"}


ROOTS = {
    "/.well-known/openid-configuration/": ("getServiceAccountIssuerOpenIDConfiguration", ""),
    "/api/": ("getCoreAPIVersions", "meta.v1.APIVersions"),
    "/api/v1/": ("getCoreV1APIResources", "meta.v1.APIResourceList"),
    "/apis/": ("getAPIVersions", "meta.v1.APIGroupList"),
    "/apis/rbac.authorization.k8s.io/": ("getRbacAuthorizationAPIGroup", "meta.v1.APIGroup"),
    "/apis/apps/v1/": ("getAppsV1APIResources", "meta.v1.APIResourceList"),
    "/openid/v1/jwks/": ("getServiceAccountIssuerOpenIDKeyset", ""),
    "/version/": ("getCodeVersion", "pkg.version.Info"),
}


@pytest.mark.parametrize("path", ROOTS)
def test_what_is_no_resource_is_documented_too(path: str) -> None:
    name, answer = ROOTS[path]
    for document in (V2, json.loads(openapi_v3(SCHEME, path.strip("/")))):
        get = document["paths"][path]["get"]
        assert get["operationId"] == name
        assert (
            any(reference.endswith(answer) for reference in references(get))
            if answer
            else not references(get)
        )


def test_operations_are_named_by_the_whole_group() -> None:
    role = V2["paths"]["/apis/rbac.authorization.k8s.io/v1/clusterroles"]["get"]
    assert (role["operationId"], role["tags"]) == (
        "listRbacAuthorizationV1ClusterRole",
        ["rbacAuthorization_v1"],
    )


def test_the_index_names_every_document_by_its_hash() -> None:
    index = json.loads(openapi_v3_index(SCHEME))["paths"]
    assert tuple(index) == document_paths(SCHEME)
    assert set(group_versions(SCHEME)) <= set(index)
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


# Protocol buffers

Fields = dict[int, list[Any]]


def fields(message: bytes) -> Fields:
    """Return what a message has under its numbers."""
    found: Fields = {}
    for field in UnknownFieldSet(Empty.FromString(message)):
        found.setdefault(field.field_number, []).append(field.data)
    return found


def entries(message: bytes, number: int = 1) -> dict[str, bytes]:
    pairs = [fields(entry) for entry in fields(message).get(number, ())]
    return {pair[1][0].decode(): pair[2][0] for pair in pairs}


def test_version_2_in_protocol_buffers_says_what_patches_may_be_asked_for() -> None:
    # By it a kubectl before 1.27 knows that there are dry runs, and validates fields itself or not.
    paths = entries(fields(encode_openapi_v2(V2))[8][0], 2)
    assert paths.keys() == {path for path, item in V2["paths"].items() if "patch" in item}
    path = "/api/v1/namespaces/{namespace}/pods/{name}"
    patch = fields(fields(paths[path])[8][0])
    asked = [fields(fields(fields(fields(item)[1][0])[2][0])[3][0]) for item in patch[8]]
    wanted = [item for item in V2["paths"][path]["patch"]["parameters"] if item["in"] == "query"]
    assert [(item[2], item[4], item[6]) for item in asked] == [
        ([b"query"], [item["name"].encode()], [item["type"].encode()]) for item in wanted
    ]
    kind = json.loads(fields(entries(fields(paths[path])[8][0], 13)["x-kubernetes-group-version-kind"])[2][0])
    assert kind == {"group": "", "kind": "Pod", "version": "v1"}


def test_a_document_of_version_3_is_the_same_in_protocol_buffers() -> None:
    tree = json.loads(openapi_v3(SCHEME, "apis/apps/v1"))
    whole = fields(encode_openapi_v3(tree))
    assert whole[1] == [tree["openapi"].encode()]
    assert fields(whole[2][0])[1] == [tree["info"]["title"].encode()]
    components = fields(whole[5][0])
    schemas = entries(components[1][0])
    assert schemas.keys() == tree["components"]["schemas"].keys()
    [name] = [name for name in schemas if name.endswith(".apps.v1.DeploymentSpec")]
    wanted = tree["components"]["schemas"][name]
    spec = fields(fields(schemas[name])[1][0])
    assert spec[25] == [b"object"]
    assert {required.decode() for required in spec[23]} == set(wanted["required"])
    properties = entries(spec[31][0])
    assert properties.keys() == wanted["properties"].keys()
    replicas = fields(fields(properties["replicas"])[1][0])
    assert (replicas[25], replicas[35]) == ([b"integer"], [b"int32"])
    assert replicas[34] == [wanted["properties"]["replicas"]["description"].encode()]
    [selector] = fields(fields(properties["selector"])[1][0])[26]
    assert fields(fields(selector)[2][0])[1] == [
        wanted["properties"]["selector"]["allOf"][0]["$ref"].encode()
    ]
    paths = entries(whole[4][0])
    assert paths.keys() == tree["paths"].keys()
    place = "/apis/apps/v1/namespaces/{namespace}/deployments"
    create = fields(fields(paths[place])[6][0])
    operation = tree["paths"][place]["post"]
    assert create[5] == [operation["operationId"].encode()]
    assert len(create[6]) == len(operation["parameters"])
    assert entries(create[8][0], 2).keys() == operation["responses"].keys()
    extensions = {fields(entry)[1][0].decode(): fields(fields(entry)[2][0])[2][0] for entry in create[13]}
    assert json.loads(extensions["x-kubernetes-action"]) == "post"


def test_schemas_in_protocol_buffers_have_all_that_schemas_can_say() -> None:
    schema = {
        "type": "object",
        "nullable": True,
        "additionalProperties": False,
        "default": {"x": 1},
        "properties": {
            "number": {"type": "number", "minimum": 0.5, "maximum": -2, "default": 1, "enum": [1, 2]},
            "text": {"type": "string", "default": "", "maxLength": 7, "pattern": "^a"},
            "flag": {"type": "boolean", "default": False},
            "list": {"type": "array", "items": {"$ref": "#/x"}, "uniqueItems": True},
            "map": {"additionalProperties": {"type": "string"}, "not": {"minProperties": 1}},
        },
    }
    whole = fields(encode_openapi_v3({"components": {"schemas": {"a": schema}}}))
    top = fields(fields(entries(fields(whole[5][0])[1][0])["a"])[1][0])
    assert (top[1], fields(top[32][0]), top.get(33)) == ([1], {2: [0]}, None)  # no default that is an object
    inner = {name: fields(fields(raw)[1][0]) for name, raw in entries(top[31][0]).items()}

    def double(value: float) -> int:
        return int.from_bytes(struct.pack("<d", value), "little")

    number = inner["number"]
    assert (number[13], number[11], fields(number[33][0])) == (
        [double(0.5)], [double(-2)], {1: [double(1)]},
    )  # fmt: skip
    assert [fields(value)[2] for value in number[24]] == [[b"1"], [b"2"]]
    assert (inner["text"][15], inner["text"][17], fields(inner["text"][33][0])) == ([7], [b"^a"], {3: [b""]})
    assert fields(inner["flag"][33][0]) == {2: [0]}
    [item] = fields(inner["list"][30][0])[1]
    assert (fields(fields(item)[2][0]), inner["list"][20]) == ({1: [b"#/x"]}, [1])
    assert fields(fields(fields(inner["map"][32][0])[1][0])[1][0]) == {25: [b"string"]}
    assert fields(inner["map"][29][0]) == {22: [1]}
