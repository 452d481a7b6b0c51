"""Server-side apply against the library that Kubernetes does it with: what is merged, who conflicts, who owns which fields."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.builtin import builtin_scheme
from kubelib.api.errors import BadRequest, Conflict
from kubelib.api.openapi import group_versions, openapi_v3
from kubelib.api.patch.apply import server_side_apply
from kubelib.api.patch.comparing import step_of
from kubelib.api.patch.managedfields import Applier, track_update
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in, shape_of
from kubelib.api.schemas import definition_name
from kubelib.api.structural.merging import root_shape
from tests.external.golang import Oracle, oracle
from tests.external.mergeschema import merge_schema

Tree = dict[str, Any]

SCHEME = builtin_scheme()
NAMES = ("a", "b")
SCALARS: dict[str, tuple[Any, ...]] = {
    "string": ("x", "y", "z", ""),
    "numeric": (0, 1, 2, 10),
    "boolean": (True, False),
    "untyped": ("x", 1, 2),
}


def _text(**more: Any) -> Tree:
    return {"type": "string", **more}


def _map_of(**properties: Any) -> Tree:
    return {"type": "object", "properties": properties}


CUSTOM = _map_of(
    spec=_map_of(
        text=_text(),
        count={"type": "integer"},
        either={"x-kubernetes-int-or-string": True},
        nested=_map_of(one=_text(), deeper=_map_of(two=_text(), three=_text())),
        unit={**_map_of(one=_text(), two=_text()), "x-kubernetes-map-type": "atomic"},
        labels={"type": "object", "additionalProperties": _text()},
        objects={"type": "object", "additionalProperties": _map_of(one=_text(), two=_text())},
        list={"type": "array", "items": _text()},
        set={"type": "array", "items": _text(), "x-kubernetes-list-type": "set"},
        numbers={"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"},
        items={
            "type": "array",
            "items": _map_of(
                name=_text(),
                value=_text(),
                more={
                    "type": "array",
                    "items": _map_of(key={"type": "integer"}, value=_text()),
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["key"],
                },
                labels={"type": "object", "additionalProperties": _text()},
            ),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        ports={
            "type": "array",
            "items": _map_of(port={"type": "integer"}, protocol=_text(default="TCP"), name=_text()),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
        },
        free={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        half={**_map_of(one=_text()), "x-kubernetes-preserve-unknown-fields": True},
    )
)
"""A custom kind that has every way of merging."""

BUILTIN = (
    "Pod", "Deployment", "Service", "ConfigMap", "Node", "CSINode", "FlowSchema", "Ingress", "ResourceClaim", "PodGroup",
    "CustomResourceDefinition",
)  # fmt: skip


def _definitions() -> Tree:
    found: Tree = {}
    for path in group_versions(SCHEME):
        found |= json.loads(openapi_v3(SCHEME, path))["components"]["schemas"]
    metadata = {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    identity = {"apiVersion": _text(), "kind": _text(), "metadata": metadata}
    found["Custom"] = {**CUSTOM, "properties": {**CUSTOM["properties"], **identity}}
    return found


SCHEMA = merge_schema(_definitions())
TYPES = {kind["name"]: kind for kind in SCHEMA["types"]}


def _kind_of(name: str) -> tuple[str, str, Shape]:
    """Return of a kind its API version, the name of its definition and how it merges."""
    if name == "Custom":
        return "example.com/v1", "Custom", root_shape(CUSTOM)
    resource = next(r for r in SCHEME if r.kind == name)
    return resource.cls.api_version, definition_name(resource.cls), shape_of(resource.cls)  # type: ignore[arg-type]


class Writer:
    """Makes up documents of a kind: always of the same few fields, so that several managers meet."""

    def __init__(self, random: Random, *, nulls: bool) -> None:
        self._random = random
        self._nulls = nulls
        self._chosen: dict[str, list[Tree]] = {}

    def value(self, kind: Tree, path: str = "", depth: int = 0) -> Any:
        """Return a value of a type."""
        name = kind.get("namedType")
        atom = TYPES[name] if name else kind
        if self._nulls and depth > 1 and self._random.random() < 0.1:
            return None
        if "map" in atom and "scalar" in atom:
            return self._anything(depth)
        if "map" in atom:
            return self._map(atom["map"], path, depth)
        if "list" in atom:
            return self._list(atom["list"], path, depth)
        return self._random.choice(SCALARS[atom["scalar"]])

    def _anything(self, depth: int) -> Any:
        choice = self._random.randrange(5) if depth < 5 else 0
        if choice < 2:
            return self._random.choice(("x", 0, 1, True, False))
        if choice == 2:
            return [self._anything(depth + 2) for _ in range(self._random.randrange(3))]
        return {name: self._anything(depth + 1) for name in NAMES if self._random.random() < 0.6}

    def _fields(self, atom: Tree, path: str) -> list[Tree]:
        if path not in self._chosen:
            fields = [
                f
                for f in atom.get("fields", ())
                if path or f["name"] not in ("apiVersion", "kind", "metadata")
            ]
            self._chosen[path] = self._random.sample(fields, min(len(fields), 4))
        return self._chosen[path]

    def _map(self, atom: Tree, path: str, depth: int) -> Tree:
        made = {}
        for field in self._fields(atom, path):
            if self._random.random() < (0.9 if depth < 1 else 0.6) and depth < 7:
                made[field["name"]] = self.value(field["type"], f"{path}.{field['name']}", depth + 1)
        if "elementType" in atom:
            for name in NAMES:
                if self._random.random() < 0.5 and depth < 7:
                    made[name] = self.value(atom["elementType"], f"{path}[]", depth + 1)
        return made

    def _list(self, atom: Tree, path: str, depth: int) -> list[Any]:
        count = self._random.randrange(4)
        items = [self.value(atom["elementType"], f"{path}[]", depth + 1) for _ in range(count)]
        if atom["elementRelationship"] != "atomic":
            items = [item for item in items if item is not None]
        if atom["elementRelationship"] == "atomic":
            return items
        if "keys" not in atom:
            return [item for at, item in enumerate(items) if item not in items[:at]]
        named = atom["elementType"].get("namedType")
        declared = (TYPES[named] if named else atom["elementType"])["map"]["fields"]
        seen, told_apart = set(), []
        for item in items:
            for key in (field for field in declared if field["name"] in atom["keys"]):
                item.pop(key["name"], None)
                if "default" not in key or self._random.random() < 0.7:
                    item[key["name"]] = self._random.choice(SCALARS[key["type"].get("scalar", "string")][:3])
            known = tuple(
                item.get(key["name"], key.get("default")) for key in declared if key["name"] in atom["keys"]
            )
            if known not in seen:
                seen.add(known)
                told_apart.append(item)
        return told_apart

    def mixed(self, one: Any, other: Any) -> Any:
        """Return a value between two: what somebody makes who changes a part."""
        if isinstance(one, dict) and isinstance(other, dict):
            made = {}
            for name in {**one, **other}:
                if name in one and name in other:
                    made[name] = self.mixed(one[name], other[name])
                elif self._random.random() < 0.6:
                    made[name] = one[name] if name in one else other[name]
            return made
        return one if self._random.random() < 0.5 else other


def _as_asked(entries: list[Tree]) -> list[Tree]:
    return [
        {"manager": e["manager"], "applied": e["operation"] == "Apply", "fields": e["fieldsV1"]}
        for e in entries
    ]


def _ordered(entries: list[Tree]) -> dict[str, str]:
    """Return the fields of each manager as text: their order counts."""
    return {f"{e['manager']}/{e['applied']}": json.dumps(e["fields"]) for e in entries}


def _unordered(value: Any, shape: Shape) -> Any:
    """Return a value with the items of merged lists sorted: in their order later versions of the library are better than Debian's."""
    if isinstance(value, dict) and shape.kind != "atomic":
        return {name: _unordered(member, field_in(shape, name)) for name, member in value.items()}
    if isinstance(value, list) and shape.kind in ("keyed", "set"):
        items = sorted(value, key=lambda item: step_of(item, shape))
        return [_unordered(item, shape.item or ATOMIC) for item in items]
    return value


@pytest.fixture(scope="module")
def library() -> Iterator[Oracle]:
    with oracle("apply") as running:
        running.tell(SCHEMA)
        yield running


def outcome(
    live: Tree | None, entries: list[Tree], new: Tree, applier: Applier, shape: Shape
) -> Tree | str | list[str]:
    """Return what applying makes of an object, or with whom it conflicts, or why it makes no sense."""
    before = {**live, "metadata": {**live["metadata"], "managedFields": entries}} if live else None
    try:
        return server_side_apply(before, new, applier, shape)
    except Conflict as error:
        return sorted(cause.message.split('"')[1] + f": {cause.field}" for cause in error.causes)
    except BadRequest as error:
        return str(error)


def write(library: Oracle, kind: str, random: Random) -> None:
    """Let managers write an object, one after the other; each result must be that of the library."""
    api_version, definition, shape = _kind_of(kind)
    identity = {"apiVersion": api_version, "kind": kind}
    writer = Writer(random, nulls=kind == "Custom")

    def document() -> Tree:
        made = writer.value({"namedType": definition})
        labels = {name: random.choice("xyz") for name in NAMES if random.random() < 0.3}
        return {**identity, "metadata": {"name": "n", **({"labels": labels} if labels else {})}, **made}

    live: Tree | None = None
    entries: list[Tree] = []
    for step in range(random.randrange(2, 6)):
        if live and not entries:
            return  # then applying would first make up an owner, which is not the library's part
        manager, apply, force = random.choice("abc"), random.random() < 0.6 or not step, random.random() < 0.5
        old = live or identity
        new = document() if apply else writer.mixed(copy.deepcopy(old), document())
        expected = library.ask(
            {
                "type": definition, "live": old, "object": new, "entries": _as_asked(entries), "manager": manager,
                "apply": apply, "force": force,
            }
        )  # fmt: skip
        applier = Applier(manager, api_version, force=force)
        if apply:
            result = outcome(live, entries, new, applier, shape)
        else:
            tracked = track_update(entries, None, old, new, applier, shape)
            result = {**new, "metadata": {**new["metadata"], "managedFields": tracked}}
        if isinstance(result, str):
            assert expected.get("error"), result
        elif isinstance(result, list):
            assert result == expected.get("conflicts")
        else:
            assert not expected.get("error") and not expected.get("conflicts"), expected
            live = copy.deepcopy(result)
            entries = live["metadata"].pop("managedFields")
            assert _unordered(live, shape) == _unordered(expected["object"], shape)
            assert _ordered(_as_asked(entries)) == _ordered(expected["entries"])


SEEDS = st.integers(0, 2**32)


@settings(max_examples=600)
@given(seed=SEEDS)
def test_custom_objects_are_applied_as_by_kubernetes_library(library: Oracle, seed: int) -> None:
    write(library, "Custom", Random(seed))


@pytest.mark.parametrize("kind", BUILTIN)
@settings(max_examples=100)
@given(seed=SEEDS)
def test_objects_are_applied_as_by_kubernetes_library(library: Oracle, kind: str, seed: int) -> None:
    write(library, kind, Random(seed))
