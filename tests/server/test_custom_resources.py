"""Custom kinds over HTTP: served at once, whole and checked by their schemas, withdrawn with their definition."""

import base64
import json
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.hooks import CA
from tests.server.definitions import CRDS, OPEN, Api, Tree, definition, paths_of, thing

_numbers = count(1)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield Api(client)


@pytest.fixture
def names() -> tuple[str, str]:
    number = next(_numbers)
    return f"gadget{number}s", f"Gadget{number}"


COLORED: Tree = {
    "type": "object",
    "required": ["color"],
    "properties": {
        "color": {"type": "string", "enum": ["red", "green"], "description": "The colour."},
        "replicas": {"type": "integer", "default": 3, "minimum": 0, "maximum": 10},
        "nothing": {"type": "string", "nullable": True},
        "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "boolean", "default": True}}},
    },
}  # fmt: skip


def test_a_kind_is_served_when_the_answer_to_its_definition_is_there(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names, COLORED))
    created = api.made(
        "POST", path, json=thing(names[1], "a", {"color": "red", "unknown": 1, "nothing": None})
    )
    assert created["spec"] == {"color": "red", "replicas": 3, "nothing": None, "nested": {"deep": True}}
    assert created["metadata"]["generation"] == 1
    assert api.made("GET", f"{path}/a") == created
    listed = api.made("GET", path)
    assert (listed["kind"], listed["items"]) == (f"{names[1]}List", [created])


def test_discovery_and_openapi_show_a_kind_and_forget_it(api: Api, names: tuple[str, str]) -> None:
    tree = definition(*names, COLORED, names={"shortNames": [f"g{names[0][6:-1]}"], "categories": ["all"]})
    aggregated = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}

    def seen() -> tuple[bool, bool, bool, str]:
        groups = api.made("GET", "/apis", headers=aggregated)["items"]
        found = [
            r for g in groups for v in g["versions"] for r in v["resources"] if r["resource"] == names[0]
        ]
        listed = api.client.get("/apis/example.com/v1")
        openapi = api.client.get("/openapi/v2")
        return (
            bool(found),
            listed.is_success and names[0] in listed.text,
            f"com.example.v1.{names[1]}" in openapi.json()["definitions"],
            openapi.headers["etag"],
        )

    before = seen()
    api.define(tree)
    during = seen()
    index = api.made("GET", "/openapi/v3")["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    schema = api.made("GET", index)["components"]["schemas"][f"com.example.v1.{names[1]}"]
    assert schema["properties"]["spec"]["properties"]["color"]["description"] == "The colour."
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "example.com", "kind": names[1], "version": "v1"}
    ]
    api.undefine(tree)
    _gone(api, tree)
    after = seen()
    assert [before[:3], during[:3], after[:3]] == [(False,) * 3, (True,) * 3, (False,) * 3]
    assert before[3] != during[3] != after[3]


def _gone(api: Api, tree: Tree) -> None:
    for _ in range(200):
        if api.client.get(f"{CRDS}/{tree['metadata']['name']}").status_code == 404:
            return
        threading.Event().wait(0.02)
    raise AssertionError("the definition is still there")


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


def test_the_status_is_written_apart_and_the_scale_is_where_the_definition_says(
    api: Api, names: tuple[str, str]
) -> None:
    scale = {
        "specReplicasPath": ".spec.size",
        "statusReplicasPath": ".status.size",
        "labelSelectorPath": ".status.sel",
    }
    path = api.define(definition(*names, subresources={"status": {}, "scale": scale}))
    created = api.made("POST", path, json=thing(names[1], "a", {"size": 1}, status={"size": 9}))
    assert "status" not in created
    new = {**created, "spec": {"size": 7}, "status": {"size": 1, "sel": "a=b"}}
    new["metadata"] = {**created["metadata"], "labels": {"not": "here"}}
    written = api.made("PUT", f"{path}/a/status", json=new)
    assert (written["spec"], written["status"]) == ({"size": 1}, {"size": 1, "sel": "a=b"})
    assert written["metadata"]["generation"] == 1
    assert "labels" not in written["metadata"]
    assert api.made("GET", f"{path}/a/scale")["status"] == {"replicas": 1, "selector": "a=b"}
    body = {"spec": {"replicas": 4}}
    patch = {"content-type": "application/merge-patch+json"}
    assert api.made("PATCH", f"{path}/a/scale", json=body, headers=patch)["spec"] == {"replicas": 4}
    after = api.made("GET", f"{path}/a")
    assert (after["spec"], after["metadata"]["generation"]) == ({"size": 4}, 2)
    apply = {"content-type": "application/apply-patch+yaml"}
    scaled = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 6}}
    api.made("PATCH", f"{path}/a/scale?fieldManager=me&force=1", json=scaled, headers=apply)
    after = api.made("GET", f"{path}/a")
    assert after["spec"] == {"size": 6}
    mine = next(e for e in after["metadata"]["managedFields"] if e["manager"] == "me")
    assert (mine["fieldsV1"], mine["subresource"]) == ({"f:spec": {"f:size": {}}}, "scale")


def test_without_a_status_subresource_the_status_is_a_part_like_others(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names))
    created = api.made("POST", path, json=thing(names[1], "a", {"size": 1}, status={"size": 9}))
    assert created["status"] == {"size": 9}
    changed = api.made("PUT", f"{path}/a", json={**created, "status": {"size": 8}})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"size": 8}, 2)
    api.refused("PUT", f"{path}/a/status", 404, json=changed)


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


def test_defaults_of_a_changed_definition_are_seen_on_what_is_stored(
    api: Api, names: tuple[str, str]
) -> None:
    tree = definition(
        *names, {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    )
    path = api.define(tree)
    api.made("POST", path, json=thing(names[1], "x", {"a": "1", "b": "2"}))
    where = f"{CRDS}/{tree['metadata']['name']}"
    stored = api.made("GET", where)
    changed = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "c": {"type": "string", "default": "new"}},
    }
    stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = changed
    assert api.made("PUT", where, json=stored)["metadata"]["generation"] == 2
    assert api.made("GET", f"{path}/x")["spec"] == {"a": "1", "c": "new"}
    for query in ("", "?limit=5"):
        assert [item["spec"] for item in api.made("GET", path + query)["items"]] == [{"a": "1", "c": "new"}]


def test_a_status_that_is_written_apart_has_its_defaults_from_the_start(
    api: Api, names: tuple[str, str]
) -> None:
    pending = {"phase": "Pending"}
    phase = {
        "type": "object",
        "default": {},
        "properties": {"phase": {"type": "string", "default": "Pending"}},
    }
    root = {"type": "object", "properties": {"spec": OPEN, "status": phase}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}
    path = api.define(definition(*names, versions=[{**version, "subresources": {"status": {}}}]))
    created = api.made("POST", path, json=thing(names[1], "a", {"x": 1}, status={"phase": "Mine"}))
    assert created["status"] == pending
    assert api.made("GET", f"{path}/a") == created
    assert api.made("GET", path)["items"] == [created]
    bound = api.made("PUT", f"{path}/a/status", json={**created, "status": {"phase": "Bound"}})
    assert bound["status"] == {"phase": "Bound"}
    assert api.made("PUT", f"{path}/a/status", json={**bound, "status": None})["status"] == pending
    assert api.made("GET", f"{path}/a")["status"] == pending


VERSIONS: list[Tree] = [
    {"name": "v1beta1", "served": True, "storage": False, "deprecated": True},
    {"name": "v1", "served": True, "storage": True},
    {"name": "v2alpha1", "served": False, "storage": False},
]


def _versions() -> list[Tree]:
    root = {"type": "object", "properties": {"spec": OPEN}}
    return [{**version, "schema": {"openAPIV3Schema": root}} for version in VERSIONS]


def test_an_object_is_served_in_every_version_that_is_served(api: Api, names: tuple[str, str]) -> None:
    tree = definition(*names, group="versions.example.com", versions=_versions())
    beta = api.define(tree)
    v1 = paths_of(tree)[1]
    body = {**thing(names[1], "a", {"x": 1}), "apiVersion": "versions.example.com/v1beta1"}
    answer = api.client.post(beta, json=body)
    assert answer.json()["apiVersion"] == "versions.example.com/v1beta1"
    assert answer.headers["warning"] == (
        f'299 - "versions.example.com/v1beta1 {names[1]} is deprecated; use versions.example.com/v1 {names[1]}"'
    )
    found = api.made("GET", f"{v1}/a")
    assert found["apiVersion"] == "versions.example.com/v1"
    assert {**found, "apiVersion": ""} == {**api.made("GET", f"{beta}/a"), "apiVersion": ""}
    assert [i["apiVersion"] for i in api.made("GET", beta)["items"]] == ["versions.example.com/v1beta1"]
    group = api.made("GET", "/apis/versions.example.com")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"
    api.refused("GET", paths_of(tree)[2], 404)
    assert api.made("DELETE", f"{beta}/a")["status"] == "Success"


def test_fields_that_a_version_names_can_be_selected_by(api: Api, names: tuple[str, str]) -> None:
    schema = {"type": "object", "properties": {"color": {"type": "string"}, "on": {"type": "boolean"}}}
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.on"}]
    path = api.define(definition(*names, schema, selectableFields=fields))
    for name, color in (("a", "red"), ("b", "green"), ("c", "red")):
        api.made("POST", path, json=thing(names[1], name, {"color": color, "on": name == "c"}))
    found = api.made("GET", f"{path}?fieldSelector=spec.color=red")["items"]
    assert [item["metadata"]["name"] for item in found] == ["a", "c"]
    found = api.made("GET", f"{path}?fieldSelector=spec.color=red,spec.on=true")["items"]
    assert [item["metadata"]["name"] for item in found] == ["c"]
    assert "field label not supported" in api.refused("GET", f"{path}?fieldSelector=spec.x=1", 400)["message"]


def test_columns_show_what_their_paths_find(api: Api, names: tuple[str, str]) -> None:
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {
            "name": "Size",
            "type": "integer",
            "jsonPath": ".spec.size",
            "priority": 1,
            "description": "How many.",
        },
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Names", "type": "string", "jsonPath": ".spec.list[*].name"},
        {"name": "Whole", "type": "string", "jsonPath": ".spec.list[0]"},
        {"name": "None", "type": "integer", "jsonPath": ".spec.nothing"},
    ]
    path = api.define(definition(*names, additionalPrinterColumns=columns))
    status = {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}
    spec = {"size": 3, "list": [{"name": "x"}, {"name": "y"}]}
    api.made("POST", path, json=thing(names[1], "a", spec, status=status))
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = api.made("GET", path, headers=headers)
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", 0), ("Ready", 0), ("Size", 1), ("Since", 0), ("Names", 0), ("Whole", 0), ("None", 0),
    ]  # fmt: skip
    cells = table["rows"][0]["cells"]
    assert cells[3].endswith("s")
    assert [*cells[:3], *cells[4:]] == ["a", "True", 3, "x", '{"name":"x"}', None]


def test_names_that_are_taken_are_refused_and_given_when_they_are_free(api: Api) -> None:
    first = definition("firsts", "Shared", names={"shortNames": ["sh"]})
    second = definition("seconds", "Shared", names={"listKind": "SecondList", "shortNames": ["sh"]})
    api.define(first)
    created = api.made("POST", CRDS, json=second)
    conditions = {
        c["type"]: (c["status"], c["reason"], c["message"]) for c in created["status"]["conditions"]
    }
    assert conditions == {
        "NamesAccepted": ("False", "KindConflict", '"Shared" is already in use'),
        "Established": ("False", "NotAccepted", "not all names are accepted"),
    }
    assert "shortNames" not in created["status"]["acceptedNames"]
    api.refused("GET", paths_of(second)[0], 404)
    api.undefine(first)
    _gone(api, first)
    for _ in range(100):
        if api.client.get(paths_of(second)[0]).is_success:
            break
        threading.Event().wait(0.02)
    assert api.made("GET", f"{CRDS}/seconds.example.com")["status"]["acceptedNames"]["kind"] == "Shared"


def test_with_a_definition_its_objects_go_and_watches_end(api: Api, names: tuple[str, str]) -> None:
    tree = definition(*names)
    path = api.define(tree)
    api.made("POST", path, json=thing(names[1], "a", {}))
    held = thing(names[1], "held", {})
    held["metadata"]["finalizers"] = ["example.com/held"]
    api.made("POST", path, json=held)
    seen: list[Tree] = []

    def watch() -> None:
        with api.client.stream("GET", f"{path}?watch=1", timeout=60) as stream:
            started.set()
            seen.extend(json.loads(line) for line in stream.iter_lines())

    started = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    started.wait(10)
    deleted = api.made("DELETE", f"{CRDS}/{tree['metadata']['name']}")
    assert deleted["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    for _ in range(200):
        if "deletionTimestamp" in api.made("GET", f"{path}/held")["metadata"]:
            break
        threading.Event().wait(0.02)
    status = api.refused("POST", path, 405, json=thing(names[1], "late", {}))
    assert status["message"] == "create not allowed while custom resource definition is terminating"
    assert api.client.get(f"{path}/a").status_code == 404
    patch = {"content-type": "application/merge-patch+json"}
    api.made("PATCH", f"{path}/held", json={"metadata": {"finalizers": None}}, headers=patch)
    _gone(api, tree)
    thread.join(20)
    assert not thread.is_alive()
    assert [e["object"]["metadata"]["name"] for e in seen if e["type"] == "DELETED"] == ["a", "held"]
    api.refused("GET", path, 404)
    api.define(tree)
    assert api.made("GET", path)["items"] == []


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


def test_kinds_named_like_built_in_ones_have_none_of_their_rules(api: Api) -> None:
    for plural, kind in (
        ("pods", "Pod"),
        ("deployments", "Deployment"),
        ("services", "Service"),
        ("roles", "Role"),
    ):
        tree = definition(plural, kind, group="mine.example.com", subresources={"status": {}})
        path = api.define(tree)
        body = {**thing(kind, "a", {"own": True}), "apiVersion": "mine.example.com/v1"}
        created = api.made("POST", path, json=body)
        assert (created["spec"], "status" in created) == ({"own": True}, False)
        assert api.made("DELETE", f"{path}/a")["status"] == "Success"


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


def test_definitions_are_deleted_together_and_their_status_can_be_written(api: Api) -> None:
    trees = [definition(f"many{number}s", f"Many{number}") for number in range(3)]
    for tree in trees:
        tree["metadata"]["labels"] = {"many": "yes"}
        api.define(tree)
    where = f"{CRDS}/{trees[0]['metadata']['name']}"
    current = api.made("GET", f"{where}/status")
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    current["status"]["conditions"].append(condition)
    written = api.made("PUT", f"{where}/status", json=current)
    assert [c["type"] for c in written["status"]["conditions"]] == [
        "NamesAccepted",
        "Established",
        "StatusUpdate",
    ]
    api.made("DELETE", f"{CRDS}?labelSelector=many=yes")
    for tree in trees:
        _gone(api, tree)


def test_documents_of_groups_that_there_are_not_are_not_found(api: Api) -> None:
    api.refused("GET", "/openapi/v3/apis/nothing.example.com/v1", 404)
    api.refused("GET", "/apis/nothing.example.com/v1/things", 404)


def test_a_definition_takes_nothing_from_the_built_in_kinds(api: Api) -> None:
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    for plural, kind in (("ingresses", "Ingress"), ("others", "Other")):
        tree = definition(plural, kind, group="networking.k8s.io")
        refused = api.refused("POST", CRDS, 422, json=tree)
        assert "protected groups must have approval annotation" in refused["message"]
        tree["metadata"]["annotations"] = approved
        created = api.made("POST", CRDS, json=tree)
        conditions = {c["type"]: (c["status"], c["reason"]) for c in created["status"]["conditions"]}
        assert conditions["KubernetesAPIApprovalPolicyConformant"] == ("False", "UnapprovedAnnotation")
        backend = {"service": {"name": "x", "port": {"number": 1}}}
        ingress = {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": f"for-{plural}"}, "spec": {"defaultBackend": backend},
        }  # fmt: skip
        api.made("POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", json=ingress)
        api.undefine(tree)
        _gone(api, tree)
        assert api.made("GET", f"/apis/networking.k8s.io/v1/namespaces/default/ingresses/for-{plural}")
    api.refused("GET", "/apis/networking.k8s.io/v1/namespaces/default/others", 404)


def test_a_kind_has_the_paths_and_verbs_of_its_scope_and_subresources_only(
    api: Api, names: tuple[str, str]
) -> None:
    path, kind = api.define(definition(*names, OPEN)), f"{names[0]}.example.com"
    cluster = api.define(
        definition(f"all{names[0]}", f"All{names[1]}", OPEN, scope="Cluster", subresources={"status": {}})
    )
    flat, spaced = path.replace("namespaces/default/", ""), cluster.replace("/v1/", "/v1/namespaces/default/")
    api.made("POST", path, json=thing(names[1], "a"))
    for method, where in (
        ("POST", flat),
        ("DELETE", flat),
        ("GET", f"{flat}/a"),
        ("GET", spaced),
        ("POST", spaced),
    ):
        assert api.refused(method, where, 404, json={}) == {}
    assert [item["metadata"]["name"] for item in api.made("GET", flat)["items"]] == ["a"]
    refusals = [
        ("GET", f"{path}/a/status", 404, f'{kind} "a" not found', {"name": "a", "group": "example.com", "kind": names[0]}),
        ("DELETE", f"{cluster}/a/status", 405, f'delete is not supported on resources of kind "all{kind}"', {"group": "example.com", "kind": f"all{names[0]}"}),
        ("PUT", path, 400, "name must be provided", None),
    ]  # fmt: skip
    for method, where, code, message, details in refusals:
        status = api.refused(method, where, code, json={})
        assert (status["message"], status.get("details")) == (message, details)
    # Kinds that are built in have routes instead: what there is none for is not found, or not allowed.
    api.refused("GET", "/api/v1/pods/a", 404)
    api.refused("POST", "/api/v1/pods", 405, json={})


def test_a_definition_whose_webhook_could_not_be_trusted_is_not_served(
    api: Api, names: tuple[str, str]
) -> None:
    def conversion(bundle: bytes) -> Tree:
        config = {
            "service": {"namespace": "default", "name": "a"},
            "caBundle": base64.b64encode(bundle).decode(),
        }
        webhook = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
        return {"spec": {"conversion": {"strategy": "Webhook", "webhook": webhook}}}

    def established(tree: Tree) -> tuple[str, str]:
        return next(
            (c["status"], c["reason"]) for c in tree["status"]["conditions"] if c["type"] == "Established"
        )

    tree = definition(*names, OPEN)
    tree["spec"] |= conversion(b"none")["spec"]
    where = f"{CRDS}/{tree['metadata']['name']}"
    assert established(api.made("POST", CRDS, json=tree)) == ("False", "InvalidCABundle")
    api.refused("GET", paths_of(tree)[0], 404)
    merge = {"content-type": "application/merge-patch+json"}
    mended = api.made("PATCH", where, content=json.dumps(conversion(CA)), headers=merge)
    assert established(mended) == ("True", "InitialNamesAccepted")
    api.made("GET", paths_of(tree)[0])
    status = api.refused("PATCH", where, 422, content=json.dumps(conversion(b"none")), headers=merge)
    assert [(cause["field"], cause["message"]) for cause in status["details"]["causes"]] == [
        (
            "spec.conversion.webhookClientConfig.caBundle",
            "Invalid value: []byte{0x6e, 0x6f, 0x6e, 0x65}: unable to load root certificates: unable to parse bytes as PEM block",
        )
    ]
