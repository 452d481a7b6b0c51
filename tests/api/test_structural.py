"""Structural schemas: what normalizing, matching and validating promise each other, for any schema and any document."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.errors import Problem
from kubelib.api.structural import Structure
from kubelib.api.structural.fieldpaths import parse_path, plain_steps
from kubelib.api.structural.matching import matcher
from kubelib.api.structural.normalizing import normalizer
from kubelib.api.structural.validating import Validator, go_float
from kubelib.api.validation.schemas import schema_problems

Tree = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**33),
    st.floats(-5, 5, allow_nan=False),
    st.sampled_from(["", "x", "yy", "zzz é"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
_LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(1, 3),
            "nullable": st.just(True),
            "default": st.just("x"),
        },
    ),
    st.fixed_dictionaries({"type": st.just("string"), "enum": st.just(["x", "yy"])}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": st.integers(-3, 1),
            "maximum": st.integers(0, 4),
            "exclusiveMaximum": st.just(True),
            "nullable": st.just(True),
            "default": st.just(0),
        },
    ),
    st.just({"type": "integer", "format": "int32"}),
    st.just({"type": "boolean"}),
    st.just({"x-kubernetes-int-or-string": True}),
    st.just({"x-kubernetes-preserve-unknown-fields": True}),
)


def _containers(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 1), "maxItems": st.integers(1, 2)},
        ),
        st.fixed_dictionaries(
            {"type": st.just("object"), "additionalProperties": inner},
            optional={"minProperties": st.integers(0, 1), "maxProperties": st.integers(1, 2)},
        ),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
            optional={
                "required": st.just(["a"]),
                "nullable": st.just(True),
                "x-kubernetes-preserve-unknown-fields": st.just(True),
            },
        ),
    )


SCHEMAS = st.recursive(_LEAVES, _containers, max_leaves=6)


def rooted(schema: Tree) -> Tree:
    return {"type": "object", "properties": {"spec": schema}}


@settings(max_examples=80)
@given(SCHEMAS, VALUES)
def test_normalizing_twice_is_normalizing_once(schema: Tree, value: Any) -> None:
    normalize = normalizer(rooted(schema))
    tree = {"kind": "K", "apiVersion": "g/v1", "metadata": {"name": "a"}, "spec": value, "unknown": 1}
    dropped: list[str] = []
    normalize(tree, dropped)
    assert "unknown" in dropped
    assert tree["metadata"] == {"name": "a"}
    once = copy.deepcopy(tree)
    again: list[str] = []
    normalize(tree, again)
    assert (tree, again) == (once, [])


@settings(max_examples=80)
@given(SCHEMAS, VALUES)
def test_what_is_recognised_at_one_look_is_whole_and_valid(schema: Tree, value: Any) -> None:
    root = rooted(schema)
    matches = matcher(root)
    tree = {"kind": "K", "apiVersion": "g/v1", "metadata": {"name": "a"}, "spec": value}
    dropped: list[str] = []
    normalizer(root)(tree, dropped)
    problems: list[Problem] = []
    Validator(root)(tree, "", problems)
    if matches is not None and matches(tree):
        assert problems == []


@settings(max_examples=60)
@given(SCHEMAS, VALUES, VALUES)
def test_what_has_not_changed_is_tolerated_and_what_is_new_is_not(schema: Tree, old: Any, new: Any) -> None:
    structure = Structure(rooted(schema))
    before, after = ({"kind": "K", "apiVersion": "g/v1", "spec": value} for value in (old, new))
    assert structure.update_problems(before, copy.deepcopy(before)) == []
    told = {str(problem) for problem in structure.update_problems(after, before)}
    assert told <= {str(problem) for problem in structure.problems(after)}


@settings(max_examples=60)
@given(VALUES)
def test_any_json_as_a_schema_gives_problems_and_no_failure(value: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"x": {"enum": [value]}}}},
    }
    assert schema_problems(schema, "spec", has_status=False)
    default = {
        "type": "object",
        "properties": {"spec": {"type": "object", "default": value, "properties": {}}},
    }
    found = schema_problems(default, "spec", has_status=False)
    assert bool(found) == (value is not None and value != {})


def test_defaults_within_defaults_are_filled_in() -> None:
    inner = {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 7}}}
    tree: Tree = {}
    normalizer({"type": "object", "properties": {"spec": inner}})(tree, [])
    assert tree == {"spec": {"deep": 7}}
    other: Tree = {}
    normalizer({"type": "object", "properties": {"spec": inner}})(other, [])
    assert other["spec"] is not tree["spec"]


_METADATA = (
    "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly"
    " specified"
)


@pytest.mark.parametrize(
    ("property", "told"),
    [
        ({"metadata": {"type": "object", "minimum": 0}}, [_METADATA]),
        ({"metadata": {"type": "object", "maxProperties": 3}}, [_METADATA]),
        ({"metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}}}, []),
        # What cannot be read as a structural schema is not judged as one.
        (
            {"list": {"type": "array", "items": [{"type": "string"}]}, "b": {}},
            ["s.properties[list].items: Forbidden: items must be a schema object and not an array"],
        ),
        (
            {"a": {"patternProperties": {"x": {"type": "string"}}}, "b": {"type": "array"}},
            ["s.properties[a].patternProperties: Forbidden: patternProperties is not supported"],
        ),
    ],
)
def test_schemas_are_refused_as_kubernetes_refuses_them(property: Tree, told: list[str]) -> None:
    schema = {"type": "object", "properties": property}
    assert [str(problem) for problem in schema_problems(schema, "s", has_status=False)] == told


@pytest.mark.parametrize("preserve", [False, True])
def test_metadata_of_embedded_objects_have_defaults_too(preserve: bool) -> None:
    text = {"type": "string"}
    whole = {"apiVersion": "foos/v1", "kind": "Foo", "metadata": {"name": "Bar", "unknown": "unknown"}}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"foo": text}}
    identity = {"apiVersion": {**text, "default": "foos/v1"}, "kind": {**text, "default": "Foo"}}
    metadata = {"name": {**text, "default": "Bar"}, "unknown": {**text, "default": "unknown"}}
    if preserve:
        embedded |= {"x-kubernetes-preserve-unknown-fields": True}
    schema = {
        "type": "object",
        "properties": {
            "fields": embedded
            | {"properties": identity | {"metadata": {"type": "object", "properties": metadata}}},
            "metadatas": embedded
            | {"properties": identity | {"metadata": {"type": "object", "default": whole["metadata"]}}},
            "object": embedded | {"default": whole},
            "around": {
                "type": "object",
                "properties": {"embedded": embedded},
                "default": {"embedded": whole},
            },
        },
    }
    assert not schema_problems(schema, "spec", has_status=False)
    tree: Tree = {"fields": {"metadata": {}}, "metadatas": {}}
    normalizer(schema)(tree, [])
    known = whole | {"metadata": {"name": "Bar"}}
    assert tree == {"fields": known, "metadatas": known, "object": known, "around": {"embedded": known}}


def test_paths_find_what_kubernetes_finds() -> None:
    tree = {"a": {"b.c": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}, "d": False}
    for path, found in {
        ".a['b.c']": [1],
        r".a.b\.c": [1],
        ".a.list[*].v": [1, 2],
        ".a.list[-1].n": ["y"],
        ".a.list[0:1].n": ["x"],
        '.a.list[?(@.n=="y")].v': [2],
        ".a.list[?(@.v>1)].n": ["y"],
        "..v": [1, 2],
        ".d": [False],
        ".nothing.at.all": [],
    }.items():
        assert parse_path(path)(tree) == found, path
    assert plain_steps(".spec.replicas") == ("spec", "replicas")


def test_numbers_are_shown_as_go_shows_them() -> None:
    shown = {1.0: "1", 1.5: "1.5", 1e21: "1e+21", 0.00001: "1e-05", 123456789.0: "123456789", 0.0: "0"}
    assert {number: go_float(number) for number in shown} == shown
    assert json.loads(go_float(-2.5)) == -2.5
