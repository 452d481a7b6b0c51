"""Server-side apply as it is documented: who owns what, what conflicts, what goes, and how it is written down."""

import json
from typing import Any

import pytest

from tests.conformance.applying import CONTAINER, TEMPLATE, config, deployment, entries, service
from tests.conformance.conftest import APPLY, JSON_PATCH, MERGE, Api, Tree

# Creating


def test_applying_what_is_not_there_creates_it(api: Api, maps: str) -> None:
    made = api.apply(f"{maps}/m", config({"a": "1"}), status=201)
    (entry,) = made["metadata"]["managedFields"]
    assert entry.pop("time")
    assert entry == {
        "manager": "applier", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }  # fmt: skip


def test_yaml_is_as_good_as_json(api: Api, maps: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: '1'\n"
    assert api.ask("PATCH", f"{maps}/m", text, kind=APPLY, fieldManager="y", status=201)["data"] == {"a": "1"}


def test_a_status_cannot_be_created_by_applying_it(api: Api, deployments: str) -> None:
    refused = api.apply(
        f"{deployments}/none/status", {**deployment("none"), "status": {"replicas": 1}}, status=404
    )
    assert refused["message"] == 'deployments.apps "none" not found'


def test_an_identity_is_not_given_to_what_is_not_there(api: Api, maps: str) -> None:
    body = config({"a": "1"}, uid="0f1f0f0e-0000-4000-8000-000000000000")
    refused = api.apply(f"{maps}/m", body, status=409)
    assert refused["reason"] == "Conflict"
    assert (
        "uid mismatch: the provided object specified uid 0f1f0f0e-0000-4000-8000-000000000000, and no existing object was found"
        in refused["message"]
    )


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({}, "fieldManager: Required value: is required for apply patch"),
        ({"fieldManager": "x" * 129}, "fieldManager: Too long: may not be more than 128 bytes"),
        ({"fieldManager": "a\u0001b"}, "fieldManager: Invalid value"),
        ({"fieldManager": "m", "dryRun": "Some"}, "dryRun: Unsupported value"),
    ],
)
def test_options_must_make_sense(api: Api, maps: str, query: dict[str, Any], problem: str) -> None:
    refused = api.ask("PATCH", f"{maps}/m", config({}), kind=APPLY, status=422, **query)
    assert problem in refused["message"] and "PatchOptions.meta.k8s.io" in refused["message"]


def test_force_is_for_applying_only(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1"}), status=201)
    refused = api.patch(f"{maps}/m", {"data": {"a": "2"}}, MERGE, force="true", status=422)
    assert "force: Forbidden: may not be specified for non-apply patch" in refused["message"]


def test_managed_fields_may_not_be_applied(api: Api, maps: str) -> None:
    body = config({"a": "1"}, managedFields=[{"manager": "x", "operation": "Apply"}])
    assert api.apply(f"{maps}/m", body, status=400)["message"] == "metadata.managedFields must be nil"


def test_the_name_in_the_body_must_be_that_of_the_path(api: Api, maps: str) -> None:
    refused = api.apply(f"{maps}/m", config({"a": "1"}, name="other"), status=400)
    assert refused["message"] == "the name of the object (other) does not match the name on the URL (m)"


def test_a_dry_run_shows_and_stores_nothing(api: Api, maps: str) -> None:
    assert api.apply(f"{maps}/m", config({"a": "1"}), status=201, dryRun="All")["data"] == {"a": "1"}
    api.get(f"{maps}/m", status=404)
    api.apply(f"{maps}/m", config({"a": "1"}), status=201)
    assert api.apply(f"{maps}/m", config({"a": "2"}), dryRun="All")["data"] == {"a": "2"}
    assert api.get(f"{maps}/m")["data"] == {"a": "1"}


# What the schema says


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unknown": 1}, ".spec.unknown: field not declared in schema"),
        (
            {"template": {**TEMPLATE, "spec": {"containers": [{**CONTAINER, "oops": 1}]}}},
            '.spec.template.spec.containers[name="c"].oops: field not declared in schema',
        ),
        (
            {"template": {**TEMPLATE, "spec": {"containers": [CONTAINER, CONTAINER]}}},
            '.spec.template.spec.containers: duplicate entries for key [name="c"]',
        ),
        (
            {
                "template": {
                    **TEMPLATE,
                    "spec": {
                        "containers": [
                            {
                                **CONTAINER,
                                "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}],
                            }
                        ]
                    },
                }
            },
            '.spec.template.spec.containers[name="c"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        ),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(
    api: Api, deployments: str, namespace: str, change: Tree, why: str
) -> None:
    refused = api.apply(f"{deployments}/d", deployment(**change), status=400)
    prefix = f"failed to create typed patch object ({namespace}/d; apps/v1, Kind=Deployment): "
    assert refused["message"] == prefix + why


# Who owns what


def test_what_a_manager_no_longer_applies_goes(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1", "b": "2"}, labels={"l": "1"}), status=201)
    api.patch(f"{maps}/m", {"data": {"other": "x"}}, fieldManager="other")
    left = api.apply(f"{maps}/m", config({"a": "1"}))
    assert left["data"] == {"a": "1", "other": "x"} and "labels" not in left["metadata"]


def test_what_two_apply_stays_until_both_give_it_up(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1"}), "one", status=201)
    both = api.apply(f"{maps}/m", config({"a": "1"}), "two")
    assert {key[0] for key in entries(both)} == {"one", "two"}
    assert api.apply(f"{maps}/m", config({}), "one")["data"] == {"a": "1"}
    assert not api.apply(f"{maps}/m", config({}), "two").get("data")


def test_another_value_conflicts_with_its_owner(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1", "b": "1"}), "one", status=201)
    refused = api.apply(f"{maps}/m", config({"a": "2"}), "two", status=409)
    assert refused["reason"] == "Conflict"
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert refused["details"] == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}]
    }
    refused = api.apply(f"{maps}/m", config({"a": "2", "b": "2"}), "two", status=409)
    assert refused["message"] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    api.patch(f"{maps}/m", {"data": {"c": "1"}}, fieldManager="editor")
    refused = api.apply(f"{maps}/m", config({"c": "2"}), "two", status=409)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.c'


def test_force_takes_a_field_over(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1", "b": "1"}), "one", status=201)
    forced = api.apply(f"{maps}/m", config({"a": "2"}), "two", force="true")
    assert forced["data"] == {"a": "2", "b": "1"}
    assert entries(forced) == {
        ("one", "Apply", ""): {"f:data": {"f:b": {}}},
        ("two", "Apply", ""): {"f:data": {"f:a": {}}},
    }


def test_an_update_takes_a_field_over_without_asking(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1"}), "one", status=201)
    current = api.get(f"{maps}/m")
    current["data"]["a"] = "2"
    updated = api.put(f"{maps}/m", current, fieldManager="editor")
    assert entries(updated) == {("editor", "Update", ""): {"f:data": {"f:a": {}}}}
    refused = api.apply(f"{maps}/m", config({"a": "1"}), "one", status=409)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.a'


def test_applying_the_same_again_changes_nothing(api: Api, maps: str) -> None:
    first = api.apply(f"{maps}/m", config({"a": "1"}), status=201)
    again = api.apply(f"{maps}/m", config({"a": "1"}))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_version_that_is_applied_must_be_the_current_one(api: Api, maps: str) -> None:
    first = api.apply(f"{maps}/m", config({"a": "1"}), status=201)
    api.patch(f"{maps}/m", {"data": {"b": "1"}})
    stale = config({"a": "2"}, resourceVersion=first["metadata"]["resourceVersion"])
    assert api.apply(f"{maps}/m", stale, status=409)["message"].startswith(
        'Operation cannot be fulfilled on configmaps "m"'
    )


# Lists and maps


def test_ports_are_known_by_number_and_protocol(api: Api, services: str) -> None:
    made = api.apply(f"{services}/s", service([{"name": "a", "port": 80}]), "one", status=201)
    assert entries(made)["one", "Apply", ""] == {
        "f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}}}
    }
    both = api.apply(f"{services}/s", service([{"name": "b", "port": 80, "protocol": "UDP"}]), "two")
    assert [(port["port"], port["protocol"]) for port in both["spec"]["ports"]] == [(80, "TCP"), (80, "UDP")]
    assert [port["name"] for port in api.apply(f"{services}/s", service([]), "two")["spec"]["ports"]] == ["a"]


def test_finalizers_are_a_set(api: Api, maps: str) -> None:
    made = api.apply(f"{maps}/m", config(finalizers=["example.com/a"]), "one", status=201)
    assert entries(made)["one", "Apply", ""] == {"f:metadata": {"f:finalizers": {'v:"example.com/a"': {}}}}
    both = api.apply(f"{maps}/m", config(finalizers=["example.com/b"]), "two")
    assert sorted(both["metadata"]["finalizers"]) == ["example.com/a", "example.com/b"]
    one = api.apply(f"{maps}/m", config(), "one")
    assert one["metadata"]["finalizers"] == ["example.com/b"]


def test_a_selector_is_owned_as_a_whole(api: Api, deployments: str, services: str) -> None:
    made = api.apply(f"{deployments}/d", deployment(), status=201)
    assert entries(made)["applier", "Apply", ""]["f:spec"]["f:selector"] == {}
    assert entries(made)["applier", "Apply", ""]["f:spec"]["f:template"]["f:spec"]["f:containers"] == {
        'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}
    }
    made = api.apply(f"{services}/s", service([{"port": 80}], selector={"a": "b"}), "one", status=201)
    assert entries(made)["one", "Apply", ""]["f:spec"]["f:selector"] == {}
    refused = api.apply(f"{services}/s", service([{"port": 80}], selector={"c": "d"}), "two", status=409)
    assert refused["details"]["causes"][0]["field"] == ".spec.selector"


def test_a_list_without_keys_is_owned_as_a_whole(api: Api, deployments: str) -> None:
    template = {**TEMPLATE, "spec": {"containers": [{**CONTAINER, "args": ["a", "b"]}]}}
    made = api.apply(f"{deployments}/d", deployment(template=template), "one", status=201)
    own = entries(made)["one", "Apply", ""]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert own['k:{"name":"c"}']["f:args"] == {}
    template = {"spec": {"containers": [{"name": "c", "args": ["c"]}]}}
    body = {**deployment(), "spec": {"template": template}}
    refused = api.apply(f"{deployments}/d", body, "two", status=409)
    assert refused["details"]["causes"][0]["field"] == '.spec.template.spec.containers[name="c"].args'


def test_who_sets_environment_variables_apart_shares_the_list(api: Api, deployments: str) -> None:
    def with_env(*names: str) -> Tree:
        env = [{"name": name, "value": name} for name in names]
        return deployment(template={**TEMPLATE, "spec": {"containers": [{**CONTAINER, "env": env}]}})

    api.apply(f"{deployments}/d", with_env("A", "B"), "one", status=201)
    both = api.apply(f"{deployments}/d", with_env("C"), "two")
    env = both["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [variable["name"] for variable in env] == ["A", "B", "C"]
    less = api.apply(f"{deployments}/d", with_env("B"), "one")
    assert [v["name"] for v in less["spec"]["template"]["spec"]["containers"][0]["env"]] == ["B", "C"]


def test_a_container_that_two_share_stays_with_the_other(api: Api, deployments: str) -> None:
    side = {"name": "side", "image": "registry.example/pause:1"}
    template = {**TEMPLATE, "spec": {"containers": [CONTAINER, side]}}
    api.apply(f"{deployments}/d", deployment(template=template), "one", status=201)
    api.apply(f"{deployments}/d", deployment(template=template), "two")
    kept = api.apply(f"{deployments}/d", deployment(), "one")
    assert len(kept["spec"]["template"]["spec"]["containers"]) == 2
    gone = api.apply(f"{deployments}/d", deployment(), "two")
    assert len(gone["spec"]["template"]["spec"]["containers"]) == 1


def test_a_key_that_is_left_out_is_its_default(api: Api, deployments: str) -> None:
    template = {**TEMPLATE, "spec": {"containers": [{"image": "i"}]}}
    refused = api.apply(f"{deployments}/d", deployment(template=template), status=422)
    assert "spec.template.spec.containers[0].name: Required value" in refused["message"]


def test_the_items_of_a_set_are_written_in_the_order_of_their_numbers(api: Api, services: str) -> None:
    ports = [{"name": f"p{port}", "port": port} for port in (443, 8080, 80)]
    made = api.apply(f"{services}/s", service(ports), status=201)
    keys = list(entries(made)["applier", "Apply", ""]["f:spec"]["f:ports"])
    assert [json.loads(key[2:])["port"] for key in keys] == [80, 443, 8080]


def test_an_item_goes_although_another_owns_a_part_of_it(api: Api, deployments: str) -> None:
    other = {"name": "other", "image": "registry.example/pause:1", "imagePullPolicy": "Always"}
    both = {**TEMPLATE, "spec": {"containers": [CONTAINER, other]}}
    api.apply(f"{deployments}/d", deployment(template=both), status=201)
    path = "/spec/template/spec/containers/1/imagePullPolicy"
    api.patch(f"{deployments}/d", [{"op": "replace", "path": path, "value": "Never"}], JSON_PATCH)
    left = api.apply(f"{deployments}/d", deployment())
    assert [container["name"] for container in left["spec"]["template"]["spec"]["containers"]] == ["c"]
    assert [manager for manager, _, _ in entries(left)] == ["applier"]


def test_what_has_nothing_left_is_as_if_it_had_not_been_set(api: Api, deployments: str) -> None:
    strategy = {"type": "Recreate"}
    api.apply(f"{deployments}/d", deployment(strategy=strategy), status=201)
    emptied = api.apply(f"{deployments}/d", deployment(strategy={}))
    assert emptied["spec"]["strategy"]["type"] == "RollingUpdate"


def test_null_takes_nothing_away(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config({"a": "1"}), "one", status=201)
    kept = api.apply(f"{maps}/m", {**config(), "data": None}, "two")
    assert kept["data"] == {"a": "1"}


def test_who_applies_nothing_owns_nothing(api: Api, maps: str) -> None:
    assert "managedFields" not in api.apply(f"{maps}/m", config(), status=201)["metadata"]


def test_an_empty_map_and_null_are_set_too(api: Api, maps: str) -> None:
    made = api.apply(f"{maps}/m", {**config(), "data": {}}, status=201)
    assert entries(made)["applier", "Apply", ""] == {"f:data": {}}


# Subresources


def test_the_status_is_applied_at_its_own_path(api: Api, deployments: str) -> None:
    api.apply(f"{deployments}/d", deployment(), "user", status=201)
    condition = {
        "type": "Mine",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "R",
        "message": "m",
    }
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 9},
        "status": {"observedGeneration": 1, "conditions": [condition]},
    }  # fmt: skip
    applied = api.apply(f"{deployments}/d/status", body, "controller")
    assert applied["spec"]["replicas"] == 1 and applied["status"]["conditions"][0]["type"] == "Mine"
    own = entries(applied)["controller", "Apply", "status"]
    assert set(own) == {"f:status"} and 'k:{"type":"Mine"}' in own["f:status"]["f:conditions"]
    ignored = api.apply(f"{deployments}/d", {**deployment(), "status": {"observedGeneration": 7}}, "user")
    assert ignored["status"]["observedGeneration"] == 1
    assert "f:status" not in entries(ignored)["user", "Apply", ""]


def scale(replicas: int) -> Tree:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "d"},
        "spec": {"replicas": replicas},
    }


def test_who_scales_owns_the_number(api: Api, deployments: str) -> None:
    api.apply(f"{deployments}/d", deployment(replicas=1), "user", status=201)
    current = api.get(f"{deployments}/d/scale")
    current["spec"]["replicas"] = 3
    assert api.put(f"{deployments}/d/scale", current, fieldManager="scaler")["spec"]["replicas"] == 3
    tree = api.get(f"{deployments}/d")
    assert entries(tree)["scaler", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in entries(tree)["user", "Apply", ""]["f:spec"]
    refused = api.apply(f"{deployments}/d", deployment(replicas=1), "user", status=409)
    assert refused["message"] == (
        'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas'
    )


def test_nothing_says_when_somebody_scaled_as_in_kubernetes(api: Api, deployments: str) -> None:
    api.create(deployments, deployment(replicas=1), fieldManager="zoe")
    for replicas in (3, 4):
        change = {"spec": {"replicas": replicas}}
        api.patch(f"{deployments}/d/scale", change, fieldManager="bob")
    owners = api.get(f"{deployments}/d")["metadata"]["managedFields"]
    assert [(e["manager"], e.get("subresource"), "time" in e) for e in owners] == [
        ("bob", "scale", False),  # what has no time comes first
        ("zoe", None, True),
    ]


def test_a_scale_is_applied(api: Api, deployments: str) -> None:
    api.apply(f"{deployments}/d", deployment(replicas=1), "user", status=201)
    refused = api.apply(f"{deployments}/d/scale", scale(2), "scaler", status=409)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "user": .spec.replicas'
    assert api.apply(f"{deployments}/d/scale", scale(2), "scaler", force="true")["spec"]["replicas"] == 2
    tree = api.get(f"{deployments}/d")
    assert tree["spec"]["replicas"] == 2
    entry = next(e for e in tree["metadata"]["managedFields"] if e["manager"] == "scaler")
    assert entry == {  # Kubernetes does not say when
        "manager": "scaler", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": "scale",
    }  # fmt: skip
    assert "f:replicas" not in entries(tree)["user", "Apply", ""]["f:spec"]
    # The user leaves the number to the scaler, and it stays.
    assert api.apply(f"{deployments}/d", deployment(), "user")["spec"]["replicas"] == 2
    assert api.apply(f"{deployments}/d/scale", scale(3), "scaler")["spec"]["replicas"] == 3


# From client-side apply


LAST = "kubectl.kubernetes.io/last-applied-configuration"


def test_what_client_side_apply_owned_goes_over_to_kubectl(api: Api, maps: str) -> None:
    body = config({"a": "1", "b": "1"})
    made = {**body, "metadata": {**body["metadata"], "annotations": {LAST: json.dumps(body)}}}
    api.create(maps, made, fieldManager="kubectl-client-side-apply")
    changed = api.apply(f"{maps}/m", config({"a": "2", "b": "1"}), "kubectl")
    assert changed["data"] == {"a": "2", "b": "1"}
    assert json.loads(changed["metadata"]["annotations"][LAST])["data"] == {"a": "2", "b": "1"}
    # Another manager has no such licence.
    refused = api.apply(f"{maps}/m", config({"a": "3"}), "other", status=409)
    assert refused["reason"] == "Conflict"


def test_a_manager_who_gives_up_its_container_takes_it_along(api: Api, deployments: str) -> None:
    api.apply(f"{deployments}/d", deployment(), "one", status=201)
    extra = {"name": "extra", "image": "registry.example/pause:1"}
    body = {**deployment(), "spec": {"template": {"spec": {"containers": [extra]}}}}
    assert len(api.apply(f"{deployments}/d", body, "two")["spec"]["template"]["spec"]["containers"]) == 2
    body = {**deployment(), "spec": {}}
    assert [
        c["name"]
        for c in api.apply(f"{deployments}/d", body, "two")["spec"]["template"]["spec"]["containers"]
    ] == ["c"]


def test_defaults_belong_to_nobody(api: Api, deployments: str) -> None:
    made = api.apply(f"{deployments}/d", deployment(), "one", status=201)
    assert made["spec"]["replicas"] == 1 and "f:replicas" not in entries(made)["one", "Apply", ""]["f:spec"]
    assert api.apply(f"{deployments}/d", deployment(replicas=3), "two")["spec"]["replicas"] == 3
    # Given up, a field with a default falls back to it.
    assert api.apply(f"{deployments}/d", deployment(), "two")["spec"]["replicas"] == 1


def test_the_time_of_an_entry_moves_only_with_its_fields(api: Api, maps: str) -> None:
    first = api.apply(f"{maps}/m", config({"a": "1"}), "one", status=201)
    time = first["metadata"]["managedFields"][0]["time"]
    other = api.apply(f"{maps}/m", config({"b": "1"}), "two")
    assert next(e["time"] for e in other["metadata"]["managedFields"] if e["manager"] == "one") == time


def test_an_object_that_is_being_deleted_takes_no_new_finalizer(api: Api, maps: str) -> None:
    api.apply(f"{maps}/m", config(finalizers=["example.com/a"]), "one", status=201)
    api.delete(f"{maps}/m")
    refused = api.apply(f"{maps}/m", config(finalizers=["example.com/b"]), "two", status=422)
    assert "no new finalizers can be added if the object is being deleted" in refused["message"]
    api.apply(f"{maps}/m", config(), "one")
    api.gone(f"{maps}/m")
