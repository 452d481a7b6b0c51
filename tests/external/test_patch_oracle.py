"""Patches against the library that Kubernetes carries them out with."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.errors import ApiError
from kubelib.api.patch import apply_json_patch, apply_merge_patch
from tests.external.golang import Oracle, oracle

Tree = dict[str, Any]

NAMES = ("a", "b", "c~d", "e/f", "0", "")
STRANGE = ("-", "-1", "-2", "-5", "00", "01", "+1", "x", "1e0", "7")
VERBS = ("add", "replace", "test", "remove", "move", "copy")


def value(random: Random, depth: int = 1, *, nulls: bool = True) -> Any:
    """Return any JSON value."""
    choice = random.randrange(6 if depth < 3 else 3)
    if choice < 3:
        return random.choice((0, 1, 2, True, False, "x", "", *((None,) if nulls else ())))
    if choice == 3:
        return [value(random, depth + 1, nulls=False) for _ in range(random.randrange(4))]
    return {random.choice(NAMES): value(random, depth + 1, nulls=nulls) for _ in range(random.randrange(4))}


def document(random: Random) -> Tree:
    return {random.choice(NAMES): value(random) for _ in range(random.randrange(1, 5))}


def pointer(random: Random, tree: Any) -> str:
    """Return a pointer, most often to something that is there."""
    path = ""
    while not path or random.random() < 0.6:
        if isinstance(tree, dict):
            name = random.choice(list(tree) if tree and random.random() < 0.8 else NAMES)
            tree = tree.get(name)
        elif isinstance(tree, list):
            index = random.randrange(len(tree) + 1)
            name = str(index) if random.random() < 0.6 else random.choice(STRANGE)
            tree = tree[index] if index < len(tree) else None
        else:
            name = random.choice(NAMES)
        path += "/" + name.replace("~", "~0").replace("/", "~1")
    return path


def operations(random: Random, tree: Tree) -> list[Tree]:
    made = []
    for _ in range(random.randrange(1, 4)):
        verb = random.choice(VERBS) if random.random() < 0.97 else "jump"
        operation = {"op": verb, "path": pointer(random, tree)}
        if verb in ("add", "replace", "test") and random.random() < 0.97:
            operation["value"] = value(random, 2)
        if verb in ("move", "copy"):
            operation["from"] = pointer(random, tree)
        made.append(operation)
    return made


@pytest.fixture(scope="module")
def library() -> Iterator[Oracle]:
    with oracle("patches") as running:
        yield running


def compare(library: Oracle, kind: str, tree: Tree, patch: Any, apply: Callable[[Any, Any], Any]) -> None:
    expected = library.ask({"kind": kind, "document": tree, "patch": patch})
    try:
        found = json.dumps(apply(tree, patch), sort_keys=True)
    except ApiError:
        found = "refused"
    if "panic" not in expected:  # Debian's version does so at negative indices, Kubernetes' does not
        wanted = json.dumps(expected["document"], sort_keys=True) if "document" in expected else "refused"
        assert found == wanted, expected


@settings(max_examples=1500)
@given(seed=st.integers(0, 2**32))
def test_json_patches_are_carried_out_as_by_kubernetes_library(library: Oracle, seed: int) -> None:
    random = Random(seed)
    tree = document(random)
    compare(library, "json", tree, operations(random, tree), apply_json_patch)


@settings(max_examples=500)
@given(seed=st.integers(0, 2**32))
def test_merge_patches_are_carried_out_as_by_kubernetes_library(library: Oracle, seed: int) -> None:
    random = Random(seed)
    compare(library, "merge", document(random), document(random), apply_merge_patch)
