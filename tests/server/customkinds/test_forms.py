"""Versions, subresources, defaults, selectable fields and columns of custom kinds."""

import json

from tests.server.definitions import CRDS, OPEN, Api, Tree, definition, paths_of, thing


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


def test_a_scale_may_be_written_before_it_can_be_read(api: Api, names: tuple[str, str]) -> None:
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    path = api.define(definition(*names, subresources={"scale": paths}))
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale"}
    merge, apply = (
        {"content-type": f"application/{kind}"} for kind in ("merge-patch+json", "apply-patch+yaml")
    )
    writes: list[tuple[str, str, Tree, Tree]] = [
        ("PUT", "", {}, {**scale, "metadata": {"name": "a"}, "spec": {"replicas": 2}}),
        ("PATCH", "", merge, {"spec": {"replicas": 2}}),
        ("PATCH", "?fieldManager=me&force=1", apply, {**scale, "spec": {"replicas": 2}}),
    ]
    for method, query, headers, body in writes:
        api.made("POST", path, json=thing(names[1], "a", {}))
        where = f"{path}/a/scale{query}"
        why = 'the spec replicas field ".spec.size" does not exist'
        assert why in api.refused("GET", f"{path}/a/scale", 500)["message"]
        assert api.made(method, where, json=body, headers=headers)["spec"] == {"replicas": 2}
        assert api.made("GET", f"{path}/a")["spec"] == {"size": 2}
        refused = api.refused(method, where, 422, json={**body, "spec": {"replicas": -1}}, headers=headers)
        assert refused["details"]["kind"] == names[1]
        (cause,) = refused["details"]["causes"]
        assert (cause["field"], cause["message"]) == (
            ".spec.size",
            "Invalid value: -1: should be a non-negative integer",
        )
        api.made("DELETE", f"{path}/a")
    api.made("POST", path, json=thing(names[1], "a", {}))
    refused = api.refused("PATCH", f"{path}/a/scale", 400, json={"status": {"replicas": 1}}, headers=merge)
    assert refused["message"] == 'the spec replicas field ".spec.size" cannot be empty'


def test_without_a_status_subresource_the_status_is_a_part_like_others(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names))
    created = api.made("POST", path, json=thing(names[1], "a", {"size": 1}, status={"size": 9}))
    assert created["status"] == {"size": 9}
    changed = api.made("PUT", f"{path}/a", json={**created, "status": {"size": 8}})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"size": 8}, 2)
    api.refused("PUT", f"{path}/a/status", 404, json=changed)


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
    group = path.split("/namespaces/")[0]
    published = [{"fieldPath": "spec.color"}, {"fieldPath": "spec.on"}]
    for schemas in (
        api.made("GET", f"/openapi/v3{group}")["components"]["schemas"],
        api.made("GET", "/openapi/v2")["definitions"],
    ):
        [kind] = [s for n, s in schemas.items() if n.endswith(f".v1.{names[1]}")]
        assert kind["x-kubernetes-selectable-fields"] == published


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


def test_whole_numbers_are_written_as_such_however_they_came(api: Api, names: tuple[str, str]) -> None:
    path = api.define(definition(*names, OPEN))
    spec = '{"a":1.0,"b":1.5e3,"c":1E2,"d":0.5,"e":9223372036854775807,"f":-2.0,"g":"1.0"}'
    body = json.dumps(thing(names[1], "n"))[:-1] + f',"spec":{spec}}}'
    headers = {"content-type": "application/json"}
    kept = '"spec":{"a":1,"b":1500,"c":100,"d":0.5,"e":9223372036854775807,"f":-2,"g":"1.0"'
    assert kept in api.client.post(path, content=body, headers=headers).text
    merge = {"content-type": "application/merge-patch+json"}
    patched = api.client.patch(f"{path}/n", content='{"spec":{"h":3.0}}', headers=merge).text
    assert f'{kept},"h":3}}' in patched
    api.refused("POST", path, 400, content=body.replace("1.5e3", "1e400"), headers=headers)


def test_a_kind_without_columns_shows_its_age_as_a_date(api: Api, names: tuple[str, str]) -> None:
    path = api.define(definition(*names, OPEN))
    shown = api.made("GET", path, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    columns = [(column["name"], column["type"]) for column in shown["columnDefinitions"]]
    assert columns == [("Name", "string"), ("Age", "date")]


def test_what_only_the_stored_version_fills_in_is_there_in_all_versions(
    api: Api, names: tuple[str, str]
) -> None:
    """The version of a request fills in what is stored; the stored version fills in what is read, and others nothing."""
    every = ("v1", "v2", "v3")
    versions = []
    for name in every:
        fields: Tree = {other: {"type": "boolean"} for other in every}
        fields[name] = {"type": "boolean", "default": True}
        root = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
        schema = {"openAPIV3Schema": root}
        versions.append({"name": name, "served": True, "storage": name == "v1", "schema": schema})
    paths = paths_of(tree := definition(*names, versions=versions))
    api.define(tree)
    for made, path in zip(every, paths, strict=True):
        filled = {made: True, "v1": True}
        created = api.made("POST", path, json=thing(names[1], f"of-{made}", {}, version=made))
        assert created["spec"] == filled
        for other in paths:
            assert api.made("GET", f"{other}/of-{made}")["spec"] == filled
