"""The patches: JSON against the jsonpatch library and RFC 6902, merge against RFC 7386, strategic against Kubernetes' directives."""

import copy
from typing import Any

import jsonpatch
import jsonpointer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.apps import Deployment
from kubelib.api.codec import encode_json
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.errors import ApiError, BadRequest, Conflict, Invalid
from kubelib.api.patch import apply_json_patch, apply_merge_patch, apply_strategic_patch, diff_merge_patch
from kubelib.api.patch.apply import server_side_apply
from kubelib.api.patch.managedfields import Applier, track_create, track_update
from kubelib.api.patch.shapes import shape_of

# JSON patch

NAMES = st.sampled_from(["a", "b", "c~d", "e/f", "0", ""])
LEAVES = st.one_of(st.integers(-2, 2), st.none(), st.sampled_from(["", "x"]))
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, DOCUMENTS, max_size=4)
POINTERS = st.lists(st.one_of(NAMES, st.sampled_from(["-", "1", "2"])), min_size=1, max_size=3).map(
    lambda parts: "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
)
OPERATIONS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "replace", "test"]), "path": POINTERS, "value": DOCUMENTS}
        ),
        st.fixed_dictionaries({"op": st.just("remove"), "path": POINTERS}),
        st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": POINTERS, "from": POINTERS}),
    ),
    min_size=1,
    max_size=3,
)


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@given(OBJECTS, OPERATIONS)
def test_json_patches_do_what_the_reference_library_does(tree: Any, operations: Any) -> None:
    before = copy.deepcopy(tree)
    try:
        expected = jsonpatch.apply_patch(copy.deepcopy(tree), copy.deepcopy(operations))
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError):
        expected = ApiError
    try:
        found: Any = apply_json_patch(tree, operations)
    except ApiError:
        found = ApiError
    assert same(tree, before), "the original was changed"
    assert expected is ApiError or same(found, expected), "Kubernetes carries out more than the RFC has"


@pytest.mark.parametrize(
    ("tree", "operation", "result"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, {"op": "add", "path": "/foo/1", "value": "b"}, {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, {"op": "add", "path": "/foo/-", "value": "b"}, {"foo": ["a", "b"]}),
        ({"foo": {"a": 1}}, {"op": "remove", "path": "/foo/a"}, {"foo": {}}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, {"a": {}, "c": {"d": 1}}),
        ({"a": [1, 2]}, {"op": "move", "from": "/a/0", "path": "/a/1"}, {"a": [2, 1]}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
        ({"m~n": 1, "x/y": 2}, {"op": "replace", "path": "/m~0n", "value": 3}, {"m~n": 3, "x/y": 2}),
        ({"x/y": 2}, {"op": "remove", "path": "/x~1y"}, {}),
    ],
)
def test_the_examples_of_rfc_6902(tree: Any, operation: Any, result: Any) -> None:
    assert apply_json_patch(tree, [operation]) == result


@pytest.mark.parametrize(
    ("tree", "operation", "result"),
    [
        ({"a": [1, 2]}, {"op": "replace", "path": "/a/-1", "value": 3}, {"a": [1, 3]}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/-2"}, {"a": [2]}),
        ({"a": [1, 2]}, {"op": "add", "path": "/a/-1", "value": 3}, {"a": [1, 2, 3]}),
        ({"a": [{"b": 1}]}, {"op": "add", "path": "/a/-1/c", "value": 3}, {"a": [{"b": 1, "c": 3}]}),
        ({}, {"op": "replace", "path": "/a", "value": 1}, {"a": 1}),
        ({}, {"op": "add", "path": "/a"}, {"a": None}),
        ({}, {"op": "test", "path": "/a", "value": None}, {}),
        ({}, {"op": "copy", "from": "/a", "path": "/b"}, {"b": None}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"op": "test", "path": "", "value": {"a": 1}}, {"a": 1}),
    ],
)
def test_kubernetes_allows_what_rfc_6902_does_not(tree: Any, operation: Any, result: Any) -> None:
    assert apply_json_patch(tree, [operation]) == result


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "remove", "path": "/nowhere"}],
        [{"op": "add", "path": "/a/b/c", "value": 1}],
        [{"op": "add", "path": "/list/7", "value": 1}],
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "move", "from": "/nowhere", "path": "/b"}],
        [{"op": "move", "from": "/a", "path": "/a/b"}],
        [{"op": "add", "path": "/list/-3", "value": 1}],
        [{"op": "remove", "path": "/list/-2"}],
        [{"op": "add", "path": "", "value": {}}],
        [{"op": "copy", "from": "", "path": "/b"}],
        [{"op": "replace", "path": "", "value": 1}],
        [{"op": "test", "path": "", "value": {}}],
        [{"op": "jump", "path": "/a"}],
        [{"path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        ["add"],
        {"op": "add"},
        "add",
    ],
)
def test_a_json_patch_that_cannot_be_carried_out_is_refused(operations: Any) -> None:
    tree = {"a": 1, "list": [1]}
    with pytest.raises(ApiError) as caught:
        apply_json_patch(tree, operations)
    assert caught.value.code in (400, 422)
    assert tree == {"a": 1, "list": [1]}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "add", "path": "/b/c", "value": 1}, 'add operation does not apply: doc is missing path: "/b/c": missing value'),
        ({"op": "add", "path": "/l/9", "value": 1}, "error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced"),
        ({"op": "remove", "path": "/b/c"}, 'remove operation does not apply: doc is missing path: "/b/c": missing value'),
        ({"op": "remove", "path": "/b"}, "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value"),
        ({"op": "replace", "path": "/b/c", "value": 1}, "replace operation does not apply: doc is missing path: /b/c: missing value"),
        ({"op": "test", "path": "/b/c", "value": 1}, "test operation does not apply: is missing path: /b/c: missing value"),
        ({"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
        ({"op": "move", "from": "/b/c", "path": "/d"}, "move operation does not apply: doc is missing from path: /b/c: missing value"),
        ({"op": "move", "from": "/a", "path": "/b/c"}, "move operation does not apply: doc is missing destination path: /b/c: missing value"),
        ({"op": "copy", "from": "/b/c", "path": "/d"}, "copy operation does not apply: doc is missing from path: /b/c: missing value"),
        ({"op": "copy", "from": "/a", "path": "/b/c"}, "copy operation does not apply: doc is missing destination path: /b/c: missing value"),
        ({"op": "remove"}, "remove operation failed to decode path: missing value"),
    ],
)  # fmt: skip
def test_a_json_patch_says_which_operation_does_not_fit(operation: Any, message: str) -> None:
    with pytest.raises(Invalid) as failure:
        apply_json_patch({"a": 1, "l": []}, [operation])
    assert failure.value.message == message


# Merge patch


@pytest.mark.parametrize(
    ("tree", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_rfc_7386(tree: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(tree)
    assert apply_merge_patch(tree, patch) == result
    assert tree == before


NULLLESS = st.recursive(
    st.one_of(st.integers(0, 3), st.text(max_size=1)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, NULLLESS, max_size=4), st.dictionaries(NAMES, NULLLESS, max_size=4))
def test_the_difference_of_two_documents_makes_one_of_the_other(before: Any, after: Any) -> None:
    assert apply_merge_patch(before, diff_merge_patch(before, after)) == after
    assert diff_merge_patch(after, after) == {}


# Strategic merge patch

CONTAINERS = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}}


def strategic(tree: Any, patch: Any, cls: Any = Pod) -> Any:
    before = copy.deepcopy(tree)
    result = apply_strategic_patch(tree, patch, cls)
    assert tree == before
    return result


def test_list_items_are_known_by_their_keys() -> None:
    patched = strategic(CONTAINERS, {"spec": {"containers": [{"name": "b", "image": "9"}, {"name": "c"}]}})
    assert patched["spec"]["containers"] == [
        {"name": "a", "image": "1"},
        {"name": "b", "image": "9"},
        {"name": "c"},
    ]


def test_one_item_is_deleted_by_its_key() -> None:
    patched = strategic(CONTAINERS, {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})
    assert [c["name"] for c in patched["spec"]["containers"]] == ["b"]


def test_a_list_is_replaced_when_the_patch_says_so() -> None:
    patched = strategic(CONTAINERS, {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}})
    assert patched["spec"]["containers"] == [{"name": "z"}]


def test_a_map_is_replaced_or_deleted_when_the_patch_says_so() -> None:
    tree = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    replaced = strategic(tree, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}})
    assert replaced["metadata"]["labels"] == {"c": "3"}
    deleted = strategic(tree, {"metadata": {"labels": {"$patch": "delete"}}})
    assert not deleted["metadata"].get("labels")


def test_lists_without_a_key_are_replaced() -> None:
    tree = {"spec": {"containers": [{"name": "a", "command": ["x", "y"]}]}}
    patched = strategic(tree, {"spec": {"containers": [{"name": "a", "command": ["z"]}]}})
    assert patched["spec"]["containers"][0]["command"] == ["z"]


def test_lists_of_scalars_merge_where_the_class_says_so_and_lose_what_the_patch_names() -> None:
    tree = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic(tree, {"metadata": {"finalizers": ["b", "c"]}})["metadata"]["finalizers"] == [
        "a",
        "b",
        "c",
    ]
    lost = strategic(tree, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})
    assert lost["metadata"]["finalizers"] == ["b"]


def test_the_order_of_items_is_the_one_that_the_patch_asks_for() -> None:
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "9"}],
        }
    }
    patched = strategic(CONTAINERS, patch)
    assert [c["name"] for c in patched["spec"]["containers"]] == ["b", "a"]
    assert "$setElementOrder/containers" not in patched["spec"]


def test_retained_keys_are_all_that_stays() -> None:
    tree = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic(tree, patch, Deployment)["spec"]["strategy"] == {"type": "Recreate"}
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    other = {
        "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}
    }
    assert strategic(volumes, other)["spec"]["volumes"] == [{"name": "v", "secret": {"secretName": "s"}}]


@pytest.mark.parametrize(
    ("cls", "path", "key", "other"),
    [
        (Pod, "containers", "name", "image"),
        (Pod, "initContainers", "name", "image"),
        (Pod, "volumes", "name", "emptyDir"),
        (Pod, "imagePullSecrets", "name", ""),
        (Pod, "hostAliases", "ip", "hostnames"),
        (Service, "ports", "port", "targetPort"),
    ],
)
def test_the_lists_of_a_spec_merge_by_kubernetes_keys(cls: Any, path: str, key: str, other: str) -> None:
    tree = {"spec": {path: [{key: "one", "kept": True}]}}
    new: dict[str, Any] = {key: "one", **({other: "new"} if other else {})}
    patched = strategic(tree, {"spec": {path: [new, {key: "two"}]}}, cls)
    assert patched["spec"][path] == [{key: "one", "kept": True, **new}, {key: "two"}]


@pytest.mark.parametrize(
    "patch", [[1], "x", {"spec": {"$patch": "explode"}}, {"spec": {"$retainKeys": "type"}}]
)
def test_a_strategic_patch_that_is_none_is_refused(patch: Any) -> None:
    with pytest.raises(BadRequest):
        strategic(CONTAINERS, patch)


# Server-side apply


def apply(tree: Any, body: Any, manager: str, cls: Any = ConfigMap, *, force: bool = False) -> Any:
    kind = {"apiVersion": "v1", "kind": cls.kind}
    meta = {"name": "a", **body.get("metadata", {})}
    return server_side_apply(
        tree,
        {**kind, **body, "metadata": meta},
        Applier(manager, "v1", force=force, time="2026-01-01T00:00:00Z"),
        shape_of(cls),
    )


def managers(tree: Any) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in tree["metadata"]["managedFields"]}


def test_an_apply_says_in_managed_fields_what_it_owns() -> None:
    tree = apply(None, {"data": {"x": "1"}, "metadata": {"labels": {"l": "m"}}}, "one")
    [entry] = tree["metadata"]["managedFields"]
    assert entry == {
        "manager": "one",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:x": {}}, "f:metadata": {"f:labels": {"f:l": {}}}},
    }


def test_what_a_manager_leaves_out_goes_unless_somebody_else_owns_it_too() -> None:
    tree = apply(None, {"data": {"x": "1", "y": "2"}}, "one")
    tree = apply(tree, {"data": {"y": "2"}}, "two")
    tree = apply(tree, {"data": {}}, "one")
    assert tree["data"] == {"y": "2"}
    assert "two" in managers(tree)


def test_of_the_metadata_only_what_was_applied_goes() -> None:
    tree = apply(None, {"metadata": {"labels": {"x": "y"}}}, "one")
    tree["metadata"]["uid"] = "u"
    tree = apply(tree, {}, "one")
    assert tree["metadata"] == {"name": "a", "uid": "u", "managedFields": []}


def test_a_conflict_names_the_field_and_its_owner_and_force_takes_it_over() -> None:
    tree = apply(None, {"data": {"x": "1"}}, "one")
    with pytest.raises(Conflict) as caught:
        apply(tree, {"data": {"x": "2"}}, "two")
    [cause] = caught.value.causes
    assert cause.field == ".data.x"
    assert '"one"' in cause.message
    taken = apply(tree, {"data": {"x": "2"}}, "two", force=True)
    assert taken["data"] == {"x": "2"}
    assert managers(taken) == {"two": {"f:data": {"f:x": {}}}}


def test_the_same_value_is_shared_without_conflict() -> None:
    tree = apply(apply(None, {"data": {"x": "1"}}, "one"), {"data": {"x": "1"}}, "two")
    assert set(managers(tree)) == {"one", "two"}


def test_items_of_keyed_lists_are_owned_one_by_one() -> None:
    def body(name: str, image: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": name, "image": image}]}}

    tree = apply(None, body("a", "1"), "one", Pod)
    tree = apply(tree, body("b", "2"), "two", Pod)
    assert [c["name"] for c in tree["spec"]["containers"]] == ["a", "b"]
    with pytest.raises(Conflict) as caught:
        apply(tree, body("a", "9"), "two", Pod)
    assert caught.value.causes[0].field == '.spec.containers[name="a"].image'
    gone = apply(tree, {"spec": {"containers": []}}, "one", Pod)
    assert [c["name"] for c in gone["spec"]["containers"]] == ["b"]


def test_atomic_lists_are_owned_as_a_whole() -> None:
    tree = apply(None, {"spec": {"containers": [{"name": "a", "command": ["x"]}]}}, "one", Pod)
    with pytest.raises(Conflict):
        apply(tree, {"spec": {"containers": [{"name": "a", "command": ["x", "y"]}]}}, "two", Pod)


# Managed fields of writes that do not apply


NOW = "2026-02-02T00:00:00Z"


def created(tree: Any, cls: Any = ConfigMap, manager: str = "maker") -> Any:
    entries = track_create(tree, Applier(manager, "v1", time="2026-01-01T00:00:00Z"), shape_of(cls))
    return {**tree, "metadata": {**tree.get("metadata", {}), "managedFields": entries}}


def updated(
    tree: Any, new: Any, manager: str, cls: Any = ConfigMap, *, given: Any = None, subresource: str = ""
) -> Any:
    old = {**tree, "metadata": {k: v for k, v in tree["metadata"].items() if k != "managedFields"}}
    applier = Applier(manager, "v1", subresource, time=NOW)
    entries = track_update(tree["metadata"]["managedFields"], given, old, new, applier, shape_of(cls))
    return {**new, "metadata": {**new.get("metadata", {}), "managedFields": entries}}


def test_a_new_document_belongs_to_its_writer_in_the_form_that_kubectl_prints() -> None:
    pod = {
        "metadata": {
            "name": "p",
            "uid": "1",
            "labels": {"app.kubernetes.io/name": "x"},
            "finalizers": ["a/b"],
        },
        "spec": {
            "restartPolicy": "Always",
            "nodeSelector": {},
            "containers": [
                {"name": "c", "args": ["1"], "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            ],
        },
    }
    [entry] = created(pod, Pod)["metadata"]["managedFields"]
    assert (entry["operation"], entry["manager"], "subresource" in entry) == ("Update", "maker", False)
    port = 'k:{"containerPort":80,"protocol":"TCP"}'
    assert entry["fieldsV1"] == {
        "f:metadata": {
            "f:labels": {".": {}, "f:app.kubernetes.io/name": {}},
            "f:finalizers": {".": {}, 'v:"a/b"': {}},
        },
        "f:spec": {
            "f:restartPolicy": {},
            "f:nodeSelector": {},
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:args": {},
                    "f:ports": {
                        ".": {},
                        port: {".": {}, "f:containerPort": {}, "f:protocol": {}},
                    },
                }
            },
        },
    }


def test_an_update_takes_over_what_it_changes_and_nothing_else() -> None:
    tree = created({"data": {"x": "1", "y": "2"}})
    tree = updated(tree, {"data": {"x": "1", "y": "3", "z": "4"}}, "other")
    assert managers(tree) == {
        "maker": {"f:data": {".": {}, "f:x": {}}},
        "other": {"f:data": {"f:y": {}, "f:z": {}}},
    }


def test_what_an_update_removes_nobody_owns_and_who_owns_nothing_is_not_named() -> None:
    tree = updated(created({"data": {"x": "1"}}), {"data": {"x": "1", "y": "2"}}, "other")
    tree = updated(tree, {"data": {"x": "1"}}, "third")
    assert managers(tree) == {"maker": {"f:data": {".": {}, "f:x": {}}}}


def test_an_update_that_changes_nothing_leaves_the_entries_and_their_times() -> None:
    tree = created({"data": {"x": "1"}})
    same = updated(tree, {"data": {"x": "1"}}, "other")
    assert same["metadata"]["managedFields"] == tree["metadata"]["managedFields"]


def test_the_writers_of_a_subresource_are_told_apart() -> None:
    tree = created({"spec": {"nodeName": "n"}}, Pod)
    tree = updated(
        tree, {"spec": {"nodeName": "n"}, "status": {"phase": "Running"}}, "maker", Pod, subresource="status"
    )
    assert [(e["manager"], e.get("subresource")) for e in tree["metadata"]["managedFields"]] == [
        ("maker", None),
        ("maker", "status"),
    ]


def test_one_empty_entry_ends_the_tracking_until_somebody_applies() -> None:
    tree = updated(created({"data": {"x": "1"}}), {"data": {"x": "1"}}, "other", given=[{}])
    assert tree["metadata"]["managedFields"] == []
    tree = updated(tree, {"data": {"x": "2"}}, "other")
    assert tree["metadata"]["managedFields"] == []
    tree = apply(tree, {"data": {"y": "1"}}, "applier")
    assert list(managers(tree)) == ["applier", "before-first-apply"]


def test_entries_that_make_no_sense_do_not_replace_those_that_were_there() -> None:
    tree = created({"data": {"x": "1"}})
    for nonsense in (
        [{"manager": "m"}],
        "x",
        [{"operation": "Steal", "fieldsType": "FieldsV1", "fieldsV1": {}}],
    ):
        kept = updated(tree, {"data": {"x": "1"}}, "other", given=nonsense)
        assert kept["metadata"]["managedFields"] == tree["metadata"]["managedFields"]


def test_of_many_updaters_the_oldest_are_taken_together() -> None:
    tree = created({"data": {}})
    data: dict[str, str] = {}
    for number in range(14):
        data = {**data, f"k{number}": "1"}
        tree = updated(tree, {"data": data}, f"m{number}")
    names = [e["manager"] for e in tree["metadata"]["managedFields"]]
    assert len(names) == 10
    assert names.count("ancient-changes") == 1
    everything = {field for e in tree["metadata"]["managedFields"] for field in e["fieldsV1"]["f:data"]}
    assert everything >= {f"f:k{number}" for number in range(14)}


def test_an_update_takes_a_field_from_who_applied_it_so_that_the_next_apply_conflicts() -> None:
    tree = apply(None, {"data": {"x": "1"}}, "applier")
    tree = updated(tree, {"data": {"x": "2"}}, "other")
    assert managers(tree) == {"other": {"f:data": {"f:x": {}}}}
    with pytest.raises(Conflict) as caught:
        apply(tree, {"data": {"x": "1"}}, "applier")
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "other" using v1: .data.x'


def test_applied_items_come_in_the_order_applied_and_others_stay_between_them() -> None:
    def body(*names: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": name} for name in names]}}

    tree = apply(apply(None, body("a", "b", "c"), "one", Pod), body("x", "b"), "two", Pod)
    assert [c["name"] for c in tree["spec"]["containers"]] == ["a", "x", "b", "c"]


def test_who_used_kubectls_own_apply_goes_on_with_server_side_apply_without_conflict() -> None:
    last = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    note = {"kubectl.kubernetes.io/last-applied-configuration": encode_json(last).decode()}
    before = {"data": {"x": "1"}, "metadata": {"name": "a", "annotations": note}}
    tree = created(before, manager="kubectl-client-side-apply")
    changed = apply(tree, {"data": {"x": "2"}}, "kubectl")
    assert changed["data"] == {"x": "2"}
    assert '"x":"2"' in changed["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    with pytest.raises(Conflict):
        apply(tree, {"data": {"x": "2"}}, "somebody-else")


def test_an_apply_with_managed_fields_is_refused() -> None:
    with pytest.raises(BadRequest, match="managedFields must be nil"):
        apply(None, {"metadata": {"managedFields": [{"manager": "x"}]}}, "one")


def test_copies_of_copies_do_not_fill_the_memory() -> None:
    double = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(60)]
    with pytest.raises(Invalid, match="accumulated size increase of copy"):
        apply_json_patch({"a": {"b": "x" * 100}}, double)


@pytest.mark.parametrize(
    ("there", "patched", "result"),
    [
        ("abc", "ca", "bca"),
        ("abc", "dc", "dabc"),
        ("abcd", "db", "acdb"),
        ("ab", "c", "cab"),
        ("abc", "c", "abc"),
    ],
)
def test_a_strategic_patch_puts_the_items_that_it_has_into_its_order(
    there: str, patched: str, result: str
) -> None:
    pod = {"spec": {"containers": [{"name": name} for name in there]}}
    patch = {"spec": {"containers": [{"name": name, "image": "i"} for name in patched]}}
    merged = apply_strategic_patch(pod, patch, Pod)
    assert "".join(container["name"] for container in merged["spec"]["containers"]) == result


def test_a_map_cannot_be_told_to_merge() -> None:
    with pytest.raises(BadRequest, match="Unknown patch type"):
        apply_strategic_patch({}, {"spec": {"$patch": "merge"}}, Pod)
