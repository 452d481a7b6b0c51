"""What holds for documents of every kind: they survive encodings, are judged without surprises, and patches compose."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api import codec
from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.document import Document
from kubelib.api.patch import (
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_patch,
    diff_merge_patch,
)
from kubelib.api.patch.apply import server_side_apply
from kubelib.api.patch.managedfields import Applier
from kubelib.api.patch.shapes import shape_of
from kubelib.api.protobuf import decode_protobuf, encode_protobuf, message_to_tree
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation import validate_create, validate_update
from kubelib.server.responses import to_yaml
from tests.api.documents import Generator

SEEDS = st.integers(0, 2**32)
every_kind = pytest.mark.parametrize("resource", list(SCHEME), ids=lambda r: f"{r.kind}.{r.api_version}")
some = settings(max_examples=8)
fewer = settings(max_examples=4)


def generated(resource: Resource, seed: int) -> Tree:
    return Generator(Random(seed)).document(resource)


def bare(tree: Tree) -> Tree:
    return {name: value for name, value in tree.items() if name not in ("kind", "apiVersion")}


@every_kind
@some
@given(seed=SEEDS)
def test_a_document_is_the_same_after_protocol_buffers(resource: Resource, seed: int) -> None:
    tree = generated(resource, seed)
    api_version, kind, message = decode_protobuf(encode_protobuf(tree, resource.cls))
    assert (api_version, kind) == (resource.api_version, resource.kind)
    assert message_to_tree(message, resource.cls) == bare(tree)


@every_kind
@some
@given(seed=SEEDS)
def test_a_document_is_the_same_after_json_and_yaml_and_its_typed_view(resource: Resource, seed: int) -> None:
    tree = generated(resource, seed)
    raw = codec.encode_json(tree)
    assert codec.parse_json(raw) == tree
    assert codec.parse_yaml(to_yaml(raw)) == tree
    codec.check_types(tree, resource)
    assert codec.unknown_fields(tree, resource.cls) == []
    view = Document(raw).view(resource.cls)
    once = codec.to_tree(view)
    assert codec.to_tree(codec.decode(resource.cls, codec.encode(view))) == once
    assert codec.overlay(tree, once, once) == tree


@every_kind
@some
@given(seed=SEEDS)
def test_any_document_is_given_defaults_and_judged(resource: Resource, seed: int) -> None:
    tree = generated(resource, seed)
    apply_defaults(resource.kind, tree)
    once = codec.encode_json(tree)
    apply_defaults(resource.kind, tree)
    assert codec.encode_json(tree) == once, "defaults are not the same the second time"
    problems = validate_create(resource, tree)
    other = generated(resource, seed + 1)
    apply_defaults(resource.kind, other)
    problems += validate_update(resource, tree, other)
    for problem in problems:
        assert problem.type.startswith("FieldValue"), problem
        assert problem.message, problem


# Patches


@every_kind
@some
@given(seed=SEEDS)
def test_merge_patches_compose(resource: Resource, seed: int) -> None:
    one, two, three = (generated(resource, seed + step) for step in range(3))
    patch = diff_merge_patch(one, two)
    assert apply_merge_patch(one, patch) == two
    assert apply_merge_patch(two, patch) == two, "the second time changes something"
    then = diff_merge_patch(two, three)
    assert apply_merge_patch(apply_merge_patch(one, patch), then) == three


@every_kind
@some
@given(seed=SEEDS)
def test_strategic_patches_add_only_once(resource: Resource, seed: int) -> None:
    tree, patch = generated(resource, seed), generated(resource, seed + 1)
    cls = resource.cls
    assert apply_strategic_patch(tree, {}, cls) == tree
    assert apply_strategic_patch(tree, tree, cls) == tree
    once = apply_strategic_patch(tree, patch, cls)
    assert apply_strategic_patch(once, patch, cls) == once
    for name, value in patch.items():
        assert name not in apply_strategic_patch(tree, {name: None}, cls)
        if isinstance(value, dict):
            replaced = apply_strategic_patch(tree, {name: {"$patch": "replace", **value}}, cls)
            assert replaced[name] == value


@every_kind
@some
@given(seed=SEEDS)
def test_json_patches_do_in_one_what_they_do_in_two(resource: Resource, seed: int) -> None:
    tree, other = generated(resource, seed), generated(resource, seed + 1)
    names = sorted({*tree, *other} - {"kind", "apiVersion", "metadata"})
    operations: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/name", "value": "generated"}]
    for name in names:
        if name in other:
            operations.append({"op": "add", "path": f"/{name}", "value": other[name]})
            operations.append({"op": "copy", "from": f"/{name}", "path": f"/copy-{name}"})
            operations.append({"op": "move", "from": f"/copy-{name}", "path": f"/{name}"})
        else:
            operations.append({"op": "remove", "path": f"/{name}"})
    whole = apply_json_patch(tree, operations)
    cut = len(operations) // 2
    assert apply_json_patch(apply_json_patch(tree, operations[:cut]), operations[cut:]) == whole
    assert {name: whole.get(name) for name in names} == {name: other.get(name) for name in names}
    assert generated(resource, seed) == tree, "the patch has changed what it was applied to"


@every_kind
@fewer
@given(seed=SEEDS)
def test_applying_twice_is_applying_once(resource: Resource, seed: int) -> None:
    shape = shape_of(resource.cls)  # type: ignore[arg-type]
    body, other = generated(resource, seed), generated(resource, seed + 1)

    def applied(live: Tree | None, tree: Tree, manager: str, *, force: bool = False) -> Tree:
        applier = Applier(manager, resource.api_version, force=force, time="2026-01-01T00:00:00Z")
        return server_side_apply(live, tree, applier, shape)

    once = applied(None, body, "one")
    assert applied(once, body, "one") == once
    both = applied(once, other, "two", force=True)
    assert applied(both, other, "two") == both, "who has just forced meets a conflict"
    kept = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {"name": "generated"}}
    left = applied(applied(both, kept, "one"), kept, "two")
    assert bare(left).keys() - {"metadata"} <= {
        name for name, field in shape.fields.items() if field.always
    } | {"status", "spec"}, "what nobody wants any more is still there"
