"""Managed fields after writes that do not apply: whose fields are whose, and what clients may say of that."""

import json

import pytest

from tests.conformance.applying import CONTAINER, config, deployment, entries
from tests.conformance.conftest import JSON_PATCH, MERGE, Api, Tree


def test_what_a_post_sets_belongs_to_its_manager(api: Api, maps: str) -> None:
    body = config({"a": "1"}, labels={"l": "1"}, annotations={"n": "1"}, finalizers=["example.com/f"])
    made = api.create(maps, body, fieldManager="poster")
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("poster", "Update")
    assert entry["fieldsV1"] == {
        "f:data": {".": {}, "f:a": {}},
        "f:metadata": {
            "f:annotations": {".": {}, "f:n": {}},
            "f:finalizers": {".": {}, 'v:"example.com/f"': {}},
            "f:labels": {".": {}, "f:l": {}},
        },
    }
    api.patch(f"{maps}/m", {"metadata": {"finalizers": None}})


def test_a_manager_without_a_name_is_called_by_its_user_agent(api: Api, maps: str) -> None:
    answer = api.http.post(maps, json=config({"a": "1"}), headers={"user-agent": "my-tool/1.2 (linux)"})
    assert answer.json()["metadata"]["managedFields"][0]["manager"] == "my-tool"


def test_the_form_of_a_set_of_fields_is_canonical(api: Api, maps: str) -> None:
    made = api.create(maps, config({"b": "1", "a": "1", "c": "2"}), fieldManager="poster")
    text = json.dumps(made["metadata"]["managedFields"][0]["fieldsV1"])
    assert text == '{"f:data": {".": {}, "f:a": {}, "f:b": {}, "f:c": {}}}'
    applied = api.apply(f"{maps}/n", config({"z": "1", "y": "1"}, name="n", labels={"q": "1"}), status=201)
    text = json.dumps(applied["metadata"]["managedFields"][0]["fieldsV1"])
    assert text == '{"f:data": {"f:y": {}, "f:z": {}}, "f:metadata": {"f:labels": {"f:q": {}}}}'


def test_entries_are_told_in_order(api: Api, deployments: str) -> None:
    api.create(deployments, deployment(replicas=1), fieldManager="z-poster")
    api.apply(f"{deployments}/d", deployment(), "b-applier")
    api.apply(f"{deployments}/d", deployment(), "a-applier")
    api.patch(f"{deployments}/d/status", {"status": {"observedGeneration": 1}}, fieldManager="controller")
    order = [
        (e["manager"], e["operation"], e.get("subresource", ""))
        for e in api.get(f"{deployments}/d")["metadata"]["managedFields"]
    ]
    assert order[:2] in (
        [("a-applier", "Apply", ""), ("b-applier", "Apply", "")],
        [("b-applier", "Apply", ""), ("a-applier", "Apply", "")],  # in different seconds
    )
    assert set(order[2:]) == {("z-poster", "Update", ""), ("controller", "Update", "status")}


@pytest.mark.parametrize("kind", ["merge", "json", "put"])
def test_a_list_with_one_empty_entry_ends_the_tracking(api: Api, maps: str, kind: str) -> None:
    api.create(maps, config({"a": "1"}))
    if kind == "merge":
        left = api.patch(f"{maps}/m", {"metadata": {"managedFields": [{}]}}, MERGE)
    elif kind == "json":
        left = api.patch(
            f"{maps}/m", [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}], JSON_PATCH
        )
    else:
        current = api.get(f"{maps}/m")
        current["metadata"]["managedFields"] = [{}]
        left = api.put(f"{maps}/m", current)
    assert "managedFields" not in left["metadata"]
    applied = api.apply(f"{maps}/m", config({"b": "1"}), "one")
    assert entries(applied) == {
        ("before-first-apply", "Update", ""): {"f:data": {".": {}, "f:a": {}}},
        ("one", "Apply", ""): {"f:data": {"f:b": {}}},
    }


def test_managers_that_are_given_one_name_are_one_and_the_last_entry_counts(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1"}), "one", status=201)
    api.apply(f"{maps}/m", config({"b": "1"}), "two")
    api.patch(f"{maps}/m", {"data": {"c": "1"}}, fieldManager="updater-1")
    api.patch(f"{maps}/m", {"data": {"d": "1"}}, fieldManager="updater-2")
    renamed = api.get(f"{maps}/m")
    for entry in renamed["metadata"]["managedFields"]:
        entry["manager"] = "all"
    assert entries(api.put(f"{maps}/m", renamed)) == {
        ("all", "Apply", ""): {"f:data": {"f:b": {}}},
        ("all", "Update", ""): {"f:data": {"f:d": {}}},
    }


def test_managers_whose_subresource_is_taken_away_are_one(api: Api, namespace: str) -> None:
    pod = f"/api/v1/namespaces/{namespace}/pods/p"
    made = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
    api.apply(pod, made, "first", status=201)
    api.patch(pod, {"metadata": {"labels": {"a": "b"}}}, fieldManager="manager")
    api.patch(f"{pod}/status", {"status": {"phase": "Running"}}, fieldManager="manager")
    whole = api.get(pod)
    assert len(whole["metadata"]["managedFields"]) == 3
    for entry in whole["metadata"]["managedFields"]:
        entry.pop("subresource", None)
    _, left = api.put(pod, whole)["metadata"]["managedFields"]
    assert (left["manager"], left["fieldsV1"]) == ("manager", {"f:status": {"f:phase": {}}})


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"operation": "Nope"}, False),
        ({"apiVersion": ""}, False),
        ({"fieldsType": "FieldsV2"}, False),
        ({"fieldsV1": {"k:bad": {}}}, False),
        ({"fieldsV1": {"f:data": {"a": {}}}}, False),
        ({"fieldsV1": {"f:data": {"i:one": {}}}}, False),
        ({"fieldsV1": {"f:data": {"i:1": {}, "v:1": {}, 'k:{"a":1}': {}, "z:later": {}}}}, True),
    ],
)
def test_managed_fields_that_cannot_be_read_change_nothing(
    api: Api, maps: str, change: Tree, kept: bool
) -> None:
    made = api.create(maps, config({"a": "1"}), fieldManager="poster")
    (entry,) = made["metadata"]["managedFields"]
    given = [{**entry, "manager": "other", **change}]
    left = api.patch(f"{maps}/m", {"metadata": {"managedFields": given}})
    assert left["metadata"]["managedFields"] == (given if kept else [entry])


@pytest.mark.parametrize(
    ("part", "value", "problem"),
    [
        ("manager", "m" * 129, "Too long: may not be more than 128 bytes"),
        ("manager", "a\nb", 'Invalid value: "a\\nb": should only contain printable characters: index 1'),
        ("subresource", "s" * 257, "Too long: may not be more than 256 bytes"),
    ],
)
def test_names_in_managed_fields_have_limits(
    api: Api, maps: str, part: str, value: str, problem: str
) -> None:
    made = api.create(maps, config({"a": "1"}))
    given = [{**made["metadata"]["managedFields"][0], part: value}]
    refused = api.patch(f"{maps}/m", {"metadata": {"managedFields": given}}, status=422)
    causes = [(cause["field"], cause["message"]) for cause in refused["details"]["causes"]]
    assert causes == [(f"metadata.managedFields[0].{part}", problem)]


def test_an_empty_list_of_managed_fields_changes_nothing(api: Api, maps: str) -> None:
    made = api.create(maps, config({"a": "1"}))
    current = api.get(f"{maps}/m")
    current["metadata"]["managedFields"] = []
    assert api.put(f"{maps}/m", current)["metadata"]["managedFields"] == made["metadata"]["managedFields"]
