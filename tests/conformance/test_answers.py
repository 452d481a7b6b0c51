"""What Kubernetes' integration tests of its API server ask and demand: owners, names, limits, and the words of refusals."""

import json
from typing import Any

import pytest

from kubelib.testing.cluster import Cluster
from tests.conformance.conftest import JSON_PATCH, MERGE, STRATEGIC, Api, Tree

DEPLOYMENT: Tree = {
    "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
}
EMBEDDED = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "properties": {"spec": {"type": "object"}},
}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION: Tree = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.wanted[0]",
                        "statusReplicasPath": ".status.seen",
                        "labelSelectorPath": ".status.selector",
                    },
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "template": EMBEDDED,
                                    "wanted[0]": {"x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                            "status": OPEN,
                        },
                    }
                },
            }
        ],
    },
}
TWICE = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject such"
    " requests as early as 1.24; please fix your requests; duplicate UID(s) observed: u"
)
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u"}
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


@pytest.fixture(scope="module")
def foos(cluster: Cluster) -> str:
    cluster.apply(DEFINITION)
    return "/apis/example.com/v1/namespaces/default/foos"


@pytest.mark.parametrize("kind", ["ConfigMap", "Foo"])
def test_an_owner_that_is_named_twice_is_kept_once_with_a_warning(api: Api, foos: str, kind: str) -> None:
    path = foos if kind == "Foo" else "/api/v1/namespaces/default/configmaps"
    version = "example.com/v1" if kind == "Foo" else "v1"

    def written(method: str, path: str, body: Any, kind: str = "application/json") -> tuple[list[Any], str]:
        answer = api.http.request(method, path, json=body, headers={"content-type": kind})
        assert answer.is_success, answer.text
        warning = answer.headers.get("warning", "").removeprefix('299 - "').removesuffix('"')
        return answer.json()["metadata"]["ownerReferences"], warning

    owned = {"name": "owned", "ownerReferences": [OWNER, OWNER]}
    body = {"apiVersion": version, "kind": kind, "metadata": owned}
    assert written("POST", path, body) == ([OWNER], TWICE.format(""))
    assert written("PUT", f"{path}/owned", body) == ([OWNER], TWICE.format(""))
    add = {"op": "add", "path": "/metadata/ownerReferences/-"}
    after = TWICE.format(" after mutating admission happens")
    assert written("PATCH", f"{path}/owned", [{**add, "value": OWNER}], JSON_PATCH) == ([OWNER], after)
    other = {**OWNER, "uid": "v"}
    assert written("PATCH", f"{path}/owned", [{**add, "value": other}], JSON_PATCH) == ([OWNER, other], "")


def test_a_namespace_always_has_its_name_for_a_label(api: Api, namespace: str) -> None:
    path, name = f"/api/v1/namespaces/{namespace}", "kubernetes.io/metadata.name"
    labels = {name: "other", "a": "b"}
    changed = api.patch(path, {"metadata": {"labels": labels}}, MERGE, fieldManager="two")["metadata"]
    assert changed["labels"] == {name: namespace, "a": "b"}
    (entry,) = [e for e in changed["managedFields"] if e["manager"] == "two"]
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {"f:a": {}}}}
    assert api.patch(path, {"metadata": {"labels": None}}, MERGE)["metadata"]["labels"] == {name: namespace}


def test_what_an_update_leaves_out_and_has_a_default_stays_with_its_manager(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = api.create(path, {"metadata": {"name": "d"}, "spec": DEPLOYMENT}, fieldManager="one")
    before = made["metadata"]["managedFields"]
    body = {"metadata": {"name": "d"}, "spec": {**DEPLOYMENT, "replicas": 3}}
    after = api.put(f"{path}/d", body, fieldManager="two")["metadata"]["managedFields"]
    fields = {entry["manager"]: entry["fieldsV1"] for entry in after}
    assert fields["two"] == {"f:spec": {"f:replicas": {}}}
    assert "f:progressDeadlineSeconds" in fields["one"]["f:spec"]
    del before[0]["fieldsV1"]["f:spec"]["f:replicas"]
    assert fields["one"] == before[0]["fieldsV1"]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "the name of the object (d based on URL) was undeterminable: name must be provided"),
        ({"name": "other"}, "the name of the object (other) does not match the name on the URL (d)"),
        (
            {"name": "d", "namespace": "other"},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
def test_a_scale_says_whose_it_is(api: Api, metadata: Tree, message: str) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    api.http.post(path, json={"metadata": {"name": "d"}, "spec": DEPLOYMENT})
    refused = api.put(f"{path}/d/scale", {"metadata": metadata, "spec": {"replicas": 2}}, status=400)
    assert refused["message"] == message


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ({"impersonate-group": "g"}, "{Group  g    }"),
        ({"impersonate-uid": "u"}, "{UID  u  authentication.k8s.io/v1  }"),
        ({"impersonate-extra-scopes": "x"}, "{UserExtra  x  authentication.k8s.io/v1  scopes}"),
    ],
)
def test_who_impersonates_names_a_user(api: Api, header: dict[str, str], asked: str) -> None:
    refused = api.get("/api/v1/namespaces", status=400, headers=header)
    assert refused["message"] == f"requested [{asked}] without impersonating a user"


def test_who_may_not_create_does_not_by_putting_or_applying_either(api: Api, cluster: Cluster) -> None:
    kinds = {"apiGroups": ["", "coordination.k8s.io"], "resources": ["configmaps", "leases"]}
    user = cluster.user("changes-only", rules=[{**kinds, "verbs": ["get", "update", "patch"]}])
    headers = {"authorization": f"Bearer {user.token}"}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    refused = api.put(f"{leases}/mine", {"metadata": {"name": "mine"}}, status=403, headers=headers)
    assert refused["message"] == (
        'leases.coordination.k8s.io "mine" is forbidden: User "changes-only" cannot create resource "leases" in API group'
        ' "coordination.k8s.io" in the namespace "default"'
    )
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    path = "/api/v1/namespaces/default/configmaps/mine"
    assert "cannot create" in api.apply(path, body, status=403, headers=headers)["message"]
    api.create(leases, {"metadata": {"name": "mine"}})
    api.patch(f"{leases}/mine", {"spec": {"holderIdentity": "me"}}, headers=headers)
    api.apply(path, body, status=201)
    api.apply(path, {**body, "data": {"a": "b"}}, "other", headers=headers)


UNDECODED = "error decoding patch: json: cannot unmarshal"
NOTHING_TO_TELL = "the server rejected our request due to an error in our request"


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ([{"op": "test", "path": "/data/a", "value": "1"}], 422, NOTHING_TO_TELL),
        ([{"op": "remove", "path": "/nowhere"}], 422, NOTHING_TO_TELL),
        ({}, 400, f"{UNDECODED} object into Go value of type []handlers.jsonPatchOp"),
        (["x"], 400, f"{UNDECODED} string into Go value of type handlers.jsonPatchOp"),
        ([{"op": 1}], 400, f"{UNDECODED} number into Go struct field jsonPatchOp.op of type string"),
        ("", 400, "error decoding patch: unexpected end of JSON input"),
        (
            [{"op": "add", "path": "/data", "value": {}}] * 10_001,
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ],
    ids=["test", "remove", "object", "text", "number", "empty", "many"],
)
def test_a_json_patch_is_refused_in_few_words(api: Api, patch: Any, code: int, message: str) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    api.http.post(maps, json={"metadata": {"name": "patched"}})
    assert api.patch(f"{maps}/patched", patch, JSON_PATCH, status=code)["message"] == message


def test_other_patches_are_objects_whose_kind_only_some_are_asked_for(api: Api) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    api.http.post(maps, json={"metadata": {"name": "typed"}})
    wrong = "json: cannot unmarshal array into Go value of type map[string]interface {}"
    refused = api.patch(f"{maps}/typed", [], MERGE, status=400)
    assert refused["message"] == f"error decoding patch: {wrong}"
    assert api.patch(f"{maps}/typed", [], STRATEGIC, status=400)["message"] == wrong
    assert api.patch(f"{maps}/typed", "null", MERGE, status=400)["message"] == "Invalid JSON Patch"
    refused = api.patch(f"{maps}/typed", {"kind": "Secret"}, MERGE, status=422)
    assert refused["message"].endswith(": converting (v1.Secret) to (core.ConfigMap): unknown conversion")
    assert api.patch(f"{maps}/typed", {"kind": "Secret"}, STRATEGIC)["kind"] == "ConfigMap"
    assert api.patch(f"{maps}/typed", "null", STRATEGIC)["kind"] == "ConfigMap"
    assert api.patch(f"{maps}/typed", "null", JSON_PATCH)["kind"] == "ConfigMap"
    api.get(maps, status=400, timeoutSeconds="soon")


def test_unknown_fields_are_told_in_the_order_of_those_who_look_for_them(api: Api, foos: str) -> None:
    """The metadata come first, then what the schema does not have, and last the metadata of embedded objects."""
    template = {
        "apiVersion": "v1",
        "kind": "Pod",
        "more": 1,
        "metadata": {"name": "p", "zeta": 1, "beta": 1},
    }
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Foo",
        "metadata": {"name": "f", "zeta": 1, "beta": 1},
        "alpha": 1,
        "spec": {"zeta": 1, "template": template},
    }
    refused = api.create(foos, body, status=400, fieldValidation="Strict")
    paths = [
        "metadata.beta", "metadata.zeta", "alpha", "spec.template.more", "spec.zeta", "spec.template.metadata.beta",
        "spec.template.metadata.zeta",
    ]  # fmt: skip
    assert refused["message"] == (
        'Foo in version "v1" cannot be handled as a Foo: strict decoding error: '
        + ", ".join(f'unknown field "{path}"' for path in paths)
    )


@pytest.mark.parametrize("query", [{}, {"watch": "1", "timeoutSeconds": "1"}], ids=["list", "watch"])
@pytest.mark.parametrize(
    ("accept", "code", "message"),
    [
        (
            TABLE,
            400,
            'Unable to convert to Table as requested: includeObject: Invalid value: "odd": ',
        ),
        ("application/json;g=meta.k8s.io;v=v1", 406, "only the following media types are accepted: "),
        ("application/json;as=Table;g=meta.k8s.io", 406, "only the following media types are accepted: "),
        ("application/json;as=Service;g=;v=v1", 406, "only the following media types are accepted: "),
    ],
)
def test_a_form_that_cannot_be_had_is_refused(
    api: Api, query: dict[str, str], accept: str, code: int, message: str
) -> None:
    path = "/api/v1/namespaces/default/services"
    refused = api.get(path, status=code, headers={"accept": accept}, includeObject="odd", **query)
    assert refused["message"].startswith(message)


def foo(name: str, **parts: Any) -> Tree:
    return {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, **parts}


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (-1, "Invalid value: -1: should be a non-negative integer"),
        (2**31, "Invalid value: 2147483648: should be less than or equal to 2147483647"),
        ("x", "Invalid value: 0: {} accessor error: x is of the type string, expected int64"),
        (True, "Invalid value: 0: {} accessor error: true is of the type bool, expected int64"),
    ],
)
def test_a_number_of_which_no_scale_can_be_made_is_refused(
    api: Api, foos: str, number: Any, message: str
) -> None:
    refused = api.create(foos, foo("scaled", spec={"wanted[0]": number}), status=422)
    (cause,) = refused["details"]["causes"]
    assert (cause["field"], cause["message"]) == (".spec.wanted[0]", message.format(".spec.wanted[0]"))
    made = {**foo(""), "metadata": {"generateName": "scaled-"}, "spec": {"wanted[0]": 2}}
    name = api.create(foos, made)["metadata"]["name"]
    assert api.get(f"{foos}/{name}/scale")["spec"] == {"replicas": 2}
    refused = api.patch(f"{foos}/{name}/status", {"status": {"seen": number, "selector": 5}}, status=422)
    seen, selector = refused["details"]["causes"]
    assert (seen["field"], seen["message"]) == (".status.seen", message.format(".status.seen"))
    assert selector["message"] == (
        'Invalid value: "": .status.selector accessor error: 5 is of the type int64, expected string'
    )


def test_the_subresources_of_a_custom_kind_are_discovered_as_kubernetes_lists_them(
    api: Api, foos: str
) -> None:
    listed = api.get("/apis/example.com/v1")["resources"]
    assert [entry["name"] for entry in listed] == ["foos", "foos/status", "foos/scale"]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"namespace": 4}, "number into Go struct field ObjectMeta.namespace of type string"),
        ({"annotations": [1]}, "array into Go struct field ObjectMeta.annotations of type map[string]string"),
        ("x", "string into Go value of type v1.ObjectMeta"),
    ],
)
def test_an_embedded_object_must_be_one(api: Api, foos: str, metadata: Any, why: str) -> None:
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    refused = api.create(foos, foo("embedding", spec={"template": template}), status=400)
    assert refused["message"] == (
        'Foo in version "v1" cannot be handled as a Foo: spec.template.metadata: Invalid value:'
        f" {json.dumps(metadata, separators=(',', ':'))}: json: cannot unmarshal {why}"
    )
