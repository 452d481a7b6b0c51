"""Custom objects are checked by their schema, in Kubernetes' words."""

import json
from typing import Any

import pytest

from tests.server.customkinds.schemas import COLORED
from tests.server.definitions import CRDS, Api, Tree, definition, thing

LISTS: Tree = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
            "items": {"type": "object", "required": ["k"], "properties": {
                "k": {"type": "string"}, "p": {"type": "string", "default": "TCP"}, "v": {"type": "integer"},
            }},
        },
    },
}  # fmt: skip

CASES: list[tuple[Tree, Any, list[tuple[str, str]]]] = [
    ({"type": "string"}, 1, [("spec.x", 'Invalid value: "integer": spec.x in body must be of type string: "integer"')]),
    ({"type": "integer"}, 1.5, [("spec.x", 'Invalid value: "number": spec.x in body must be of type integer: "number"')]),
    ({"type": "integer"}, 1.0, []),
    ({"type": "number"}, 1, []),
    ({"type": "integer", "minimum": 2}, 1, [("spec.x", "Invalid value: 1: spec.x in body should be greater than or equal to 2")]),
    ({"type": "integer", "maximum": 2, "exclusiveMaximum": True}, 2, [("spec.x", "Invalid value: 2: spec.x in body should be less than 2")]),
    ({"type": "integer", "multipleOf": 3}, 4, [("spec.x", "Invalid value: 4: spec.x in body should be a multiple of 3")]),
    ({"type": "string", "minLength": 2}, "é", [("spec.x", 'Invalid value: "é": spec.x in body should be at least 2 chars long')]),
    ({"type": "string", "maxLength": 2}, "éàü", [("spec.x", "Too long: may not be more than 2 bytes")]),
    ({"type": "string", "pattern": "^a+$"}, "b", [("spec.x", "Invalid value: \"b\": spec.x in body should match '^a+$'")]),
    ({"type": "string", "pattern": "^(a+)+$"}, "a" * 50 + "!", [("spec.x", f"Invalid value: \"{'a' * 50}!\": spec.x in body should match '^(a+)+$'")]),
    ({"type": "string", "enum": ["a", "b"]}, "c", [("spec.x", 'Unsupported value: "c": supported values: "a", "b"')]),
    ({"type": "string", "format": "date-time"}, "then", [("spec.x", 'Invalid value: "then": spec.x in body must be of type date-time: "then"')]),
    ({"type": "string", "format": "ipv4"}, "10.0.0.1", []),
    ({"type": "string", "format": "of our own"}, "anything", []),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [], [("spec.x", "Invalid value: 0: spec.x in body should have at least 1 items")]),
    ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, [1, 2], [("spec.x", "Too many: 2: must have at most 1 items")]),
    ({"type": "array", "items": {"type": "integer"}}, [1, "a"], [("spec.x[1]", 'Invalid value: "string": spec.x[1] in body must be of type integer: "string"')]),
    ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": 1}, [("spec.x.a", 'Invalid value: "integer": spec.x.a in body must be of type string: "integer"')]),
    ({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}, {}, [("spec.x", "Invalid value: 1: spec.x in body should have at least 1 properties")]),
    ({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1}, {"a": "", "b": ""}, [("spec.x", "Too many: 2: must have at most 1 items")]),
    ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, {}, [("spec.x.a", "Required value")]),
    ({"x-kubernetes-int-or-string": True}, "50%", []),
    ({"x-kubernetes-int-or-string": True}, True, [("spec.x", 'Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean"')]),
    ({"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 1}]}, 3, [
        ("<nil>", 'Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid'),
        ("spec.x", "Invalid value: 3: spec.x in body should be greater than or equal to 5"),
    ]),
    ({"type": "integer", "oneOf": [{"minimum": 1}, {"maximum": 5}]}, 3, [("<nil>", 'Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives')]),
    ({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]}, 3, [
        ("<nil>", 'Invalid value: "": "spec.x" must validate at least one schema (anyOf)'),
        ("spec.x", "Invalid value: 3: spec.x in body should be greater than or equal to 5"),
    ]),
    ({"type": "integer", "not": {"minimum": 1}}, 3, [("<nil>", 'Invalid value: "": "spec.x" must not validate the schema (not)')]),
    ({"type": "integer", "allOf": [{"minimum": 5}, {"maximum": 9}]}, 3, [
        ("spec.x", "Invalid value: 3: spec.x in body should be greater than or equal to 5"),
        ("<nil>", 'Invalid value: "": "spec.x" must validate all the schemas (allOf)'),
    ]),
    (LISTS, {"set": ["a", "b", "a"]}, [("spec.x.set[2]", 'Duplicate value: "a"')]),
    (LISTS, {"map": [{"k": "a"}, {"k": "a", "p": "UDP"}, {"k": "a", "p": "TCP"}]}, [("spec.x.map[2]", 'Duplicate value: {"k":"a","p":"TCP"}')]),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, {"apiVersion": "v1"}, [("spec.x.kind", "Required value: must not be empty")]),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, {"apiVersion": "a/b/c", "kind": ""}, [
        ("spec.x.apiVersion", 'Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'),
        ("spec.x.kind", 'Invalid value: "": must not be empty'),
    ]),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, {"apiVersion": "v1", "kind": "Pod%"}, [
        ("spec.x.kind", "Invalid value: \"Pod%\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"),
    ]),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, {"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "..", "generateName": "a/", "namespace": "a.b", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}],
        "finalizers": ["orphan", "foregroundDeletion"],
    }}, [
        ("spec.x.metadata.generateName", "Invalid value: \"a/\": may not contain '/'"),
        ("spec.x.metadata.name", "Invalid value: \"..\": may not be '..'"),
        ("spec.x.metadata.namespace", "Invalid value: \"a.b\": must not contain dots"),
        ("spec.x.metadata.ownerReferences.uid", 'Invalid value: "": must not be empty'),
        ("spec.x.metadata.finalizers", 'Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set'),
    ]),
    ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "Any_Name:1"}}, []),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_objects_are_checked_by_their_schema_with_the_words_of_kubernetes(api: Api, number: int) -> None:
    schema, value, problems = CASES[number]
    names = f"case{number}s", f"Case{number}"
    path = api.define(definition(*names, {"type": "object", "properties": {"x": schema}}))
    tree = thing(names[1], "a", {"x": value})
    if not problems:
        assert api.made("POST", path, json=tree)["spec"] == {"x": value}
        return
    status = api.refused("POST", path, 422, json=tree)
    assert [(cause["field"], cause["message"]) for cause in status["details"]["causes"]] == problems
    assert status["message"].startswith(f'{names[1]}.example.com "a" is invalid: ')


def test_unknown_and_repeated_fields_are_refused_or_warned_of_as_asked(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names, COLORED))
    body = json.dumps(thing(names[1], "a", {"color": "red", "foo": 1, "nested": {"bar": 2}}))
    body = body.replace('"color": "red"', '"color": "green", "color": "red"')
    headers = {"content-type": "application/json"}
    status = api.refused("POST", f"{path}?fieldValidation=Strict", 400, content=body, headers=headers)
    assert status["message"] == (
        f'{names[1]} in version "v1" cannot be handled as a {names[1]}: strict decoding error: duplicate field "spec.color",'
        ' unknown field "spec.foo", unknown field "spec.nested.bar"'
    )
    once = body.replace('"color": "green", ', "")
    status = api.refused("POST", f"{path}?fieldValidation=Strict", 400, content=once, headers=headers)
    assert status["message"].endswith(
        ': strict decoding error: unknown field "spec.foo", unknown field "spec.nested.bar"'
    )
    answer = api.client.post(path, content=body, headers=headers)
    assert answer.status_code == 201
    assert answer.headers.get_list("warning") == [
        '299 - "duplicate field \\"spec.color\\""',
        '299 - "unknown field \\"spec.foo\\""',
        '299 - "unknown field \\"spec.nested.bar\\""',
    ]


def test_what_was_invalid_and_has_not_changed_is_tolerated(api: Api, names: tuple[str, str]) -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    tree = definition(*names, loose)
    path = api.define(tree)
    api.made("POST", path, json=thing(names[1], "x", {"a": "long", "b": "ok"}))
    stored = api.made("GET", f"{CRDS}/{tree['metadata']['name']}")
    tight: Tree = {"type": "object", "properties": {n: {"type": "string", "maxLength": 2} for n in "ab"}}
    stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = tight
    api.made("PUT", f"{CRDS}/{tree['metadata']['name']}", json=stored)
    patch = {"content-type": "application/merge-patch+json"}
    assert api.made("PATCH", f"{path}/x", json={"spec": {"b": "no"}}, headers=patch)["spec"]["a"] == "long"
    status = api.refused("PATCH", f"{path}/x", 422, json={"spec": {"a": "longer"}}, headers=patch)
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.a"]


def test_items_that_are_known_by_their_keys_may_change_their_order_in_a_list_that_was_too_long(
    api: Api, names: tuple[str, str]
) -> None:
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {n: {"type": "string"} for n in ("name", "x")},
    }
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": item,
    }
    tree = definition(*names, {"type": "object", "properties": {"a": keyed, "b": keyed}})
    path = api.define(tree)
    one, two, three = ({"name": name, "x": "1"} for name in ("one", "two", "three"))
    api.made("POST", path, json=thing(names[1], "x", {"a": [one, two, three], "b": []}))
    stored = api.made("GET", f"{CRDS}/{tree['metadata']['name']}")
    root = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    root["properties"]["a"]["maxItems"] = 2
    root["properties"]["a"]["x-kubernetes-validations"] = [{"rule": "self.all(item, item.name != 'one')"}]
    api.made("PUT", f"{CRDS}/{tree['metadata']['name']}", json=stored)
    patch = {"content-type": "application/merge-patch+json"}
    api.made("PATCH", f"{path}/x", json={"spec": {"a": [three, one, two], "b": [one]}}, headers=patch)
    for changed in (
        [three, one],
        [three, two, two],
        [three, two, one, {"name": "four"}],
        [three, one, {**two, "x": "2"}],
    ):
        status = api.refused("PATCH", f"{path}/x", 422, json={"spec": {"a": changed}}, headers=patch)
        assert "spec.a" in {cause["field"].partition("[")[0] for cause in status["details"]["causes"]}


def test_apply_merges_lists_by_the_keys_of_the_schema(api: Api, names: tuple[str, str]) -> None:
    path = api.define(definition(*names, LISTS))

    def apply(manager: str, spec: Tree, **query: Any) -> Tree:
        headers = {"content-type": "application/apply-patch+yaml"}
        params = {"fieldManager": manager, **query}
        return api.made("PATCH", f"{path}/a", json=thing(names[1], "a", spec), headers=headers, params=params)

    apply("one", {"set": ["a"], "map": [{"k": "x", "v": 1}]})
    both = apply("two", {"set": ["b"], "map": [{"k": "y", "v": 2}]})
    assert both["spec"]["set"] == ["a", "b"]
    assert [(item["k"], item["p"], item["v"]) for item in both["spec"]["map"]] == [
        ("x", "TCP", 1),
        ("y", "TCP", 2),
    ]
    left = apply("one", {})
    assert (left["spec"]["set"], len(left["spec"]["map"])) == (["b"], 1)
    conflict = api.refused(
        "PATCH", f"{path}/a?fieldManager=one", 409, json=thing(names[1], "a", {"map": [{"k": "y", "v": 3}]}),
        headers={"content-type": "application/apply-patch+yaml"},
    )  # fmt: skip
    assert conflict["details"]["causes"][0]["field"] == '.spec.map[k="y",p="TCP"].v'


def test_protocol_buffers_and_strategic_patches_are_for_built_in_kinds(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names))
    api.made("POST", path, json=thing(names[1], "a", {}))
    proto = "application/vnd.kubernetes.protobuf"
    assert api.client.get(path, headers={"accept": proto}).status_code == 406
    api.refused("POST", path, 415, content=b"k8s\0", headers={"content-type": proto})
    assert api.client.get(path, headers={"accept": f"{proto},application/json"}).is_success
    strategic = {"content-type": "application/strategic-merge-patch+json"}
    status = api.refused("PATCH", f"{path}/a", 415, json={}, headers=strategic)
    assert "application/strategic" not in status["message"]
    assert api.client.get(CRDS, headers={"accept": proto}).headers["content-type"] == proto
    bare = {"accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    assert api.made("GET", f"{path}/a", headers=bare)["kind"] == "PartialObjectMetadata"
    assert api.client.get(path, headers={"accept": "application/yaml"}).text.startswith("kind: ")


def test_metadata_of_the_wrong_type_are_refused(api: Api, names: tuple[str, str]) -> None:
    path = api.define(definition(*names))
    tree = thing(names[1], "a", {})
    metadata: Any
    for metadata in ({"labels": {"a": 1}}, {"annotations": "x"}, {"finalizers": {}}, {"name": 7}, "x"):
        tree["metadata"] = metadata
        api.refused("POST", path, 400, json=tree)
    tree["metadata"] = {"name": "Not_A_Name"}
    status = api.refused("POST", path, 422, json=tree)
    assert status["details"]["causes"][0]["field"] == "metadata.name"


EMBEDDED: Tree = {
    "type": "object",
    "properties": {
        "template": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object", "properties": {"x": {"type": "string"}}}},
        },
    },
}  # fmt: skip


def test_unknown_fields_of_metadata_are_found_in_embedded_objects_too(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names, EMBEDDED))
    template = {
        "apiVersion": "v1",
        "kind": "X",
        "metadata": {"name": "a", "unknownSubMeta": 1},
        "spec": {"x": "y"},
    }
    tree = thing(names[1], "a", {"template": template})
    tree["metadata"]["unknownMeta"] = 1
    status = api.refused("POST", f"{path}?fieldValidation=Strict", 400, json=tree)
    assert status["message"].endswith(
        ': strict decoding error: unknown field "metadata.unknownMeta", unknown field "spec.template.metadata.unknownSubMeta"'
    )
    created = api.made("POST", path, json=tree)
    assert created["spec"]["template"] == {**template, "metadata": {"name": "a"}}
    assert "unknownMeta" not in created["metadata"]


def test_applying_what_the_schema_does_not_have_is_refused(api: Api, names: tuple[str, str]) -> None:
    path = api.define(definition(*names, COLORED))
    headers = {"content-type": "application/apply-patch+yaml"}
    body = thing(names[1], "a", {"color": "red", "colour": "red"})
    answer = api.client.patch(f"{path}/a?fieldManager=me", json=body, headers=headers)
    assert not answer.is_success
    assert ".spec.colour: field not declared in schema" in answer.json()["message"]


@pytest.mark.parametrize(
    ("name", "schema", "message"),
    [
        ("apiVersion", {"pattern": "/v2$"}, "apiVersion in body should match '/v2$'"),
        ("apiVersion", {"maxLength": 3}, "may not be more than 3 bytes"),
        ("kind", {"enum": ["Odd"]}, 'supported values: "Odd"'),
    ],
)
def test_the_kind_and_version_of_an_object_are_checked_by_the_schema_too(
    api: Api, names: tuple[str, str], name: str, schema: Tree, message: str
) -> None:
    tree = definition(*names)
    [version] = tree["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"][name] = {"type": "string", **schema}
    path = api.define(tree)
    status = api.refused("POST", path, 422, json=thing(names[1], "a", {}))
    [cause] = status["details"]["causes"]
    assert cause["field"] == name
    assert message in cause["message"]
