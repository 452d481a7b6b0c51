"""Definitions that are broken somewhere, in any way, are refused or served, and never fail the server."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.definitions import CRDS, Tree

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**70, 1.5, "", "x", ".a", ".spec.", "[", "a" * 300, "é\x00", [], [None], [{}], ["x", "x"], {}, {"x": {}},
    {"type": "object"}, {"type": ["string"]}, "object", "array", "integer", "map", "set", "Webhook",
)  # fmt: skip
WHOLE: Tree = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "odds.odd.example.com", "annotations": {"a": "b"}},
    "spec": {
        "group": "odd.example.com",
        "scope": "Namespaced",
        "names": {"plural": "odds", "kind": "Odd", "singular": "odd", "listKind": "OddList", "shortNames": ["od"], "categories": ["all"]},
        "conversion": {"strategy": "None"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "deprecated": True,
                "deprecationWarning": "old",
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.s"},
                },
                "additionalPrinterColumns": [
                    {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1, "format": "int32", "description": "n"}
                ],
                "selectableFields": [{"jsonPath": ".spec.s"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "Odd.",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-validations": [{"rule": "self.n >= 0", "message": "no", "reason": "FieldValueInvalid"}],
                                "properties": {
                                    "n": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 9, "default": 1, "multipleOf": 1},
                                    "s": {"type": "string", "pattern": "^a", "minLength": 0, "maxLength": 9, "nullable": True},
                                    "e": {"type": "string", "enum": ["a", "b"]},
                                    "i": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                                    "l": {
                                        "type": "array", "minItems": 0, "maxItems": 3,
                                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                                        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}},
                                    },
                                    "m": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 3},
                                    "t": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
                                    "o": {"type": "integer", "oneOf": [{"minimum": 1}], "not": {"minimum": 7}, "allOf": [{"maximum": 9}]},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"n": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield client


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a document."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for step, value in items:
        yield (*path, step)
        yield from places(value, (*path, step))


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value somewhere."""
    result = copy.deepcopy(tree)
    inner = result
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = copy.deepcopy(value)
    return result


def test_the_definition_is_sound_before_it_is_broken(client: httpx.Client) -> None:
    answer = client.post(f"{CRDS}?dryRun=All", json=WHOLE)
    assert answer.status_code == 201, answer.text


def test_a_definition_that_is_odd_somewhere_fails_nothing(client: httpx.Client) -> None:
    random = Random(7)
    everywhere = [path for path in places(WHOLE) if path[0] == "spec"]
    cases = [(path, random.choice(ODD)) for path in everywhere for _ in range(2)]
    for path, value in cases:
        answer = client.post(CRDS, json=changed(WHOLE, path, value))
        assert answer.status_code < 500, (path, value, answer.text)
        if answer.status_code == 201:
            name = answer.json()["metadata"]["name"]
            for where in ("/apis/odd.example.com/v1/odds", "/openapi/v2", "/openapi/v3"):
                assert client.get(where).status_code < 500, (path, value, where)
            odd = {
                "apiVersion": "odd.example.com/v1",
                "kind": "Odd",
                "metadata": {"name": "a"},
                "spec": {"n": 3, "s": "ab"},
            }
            made = client.post("/apis/odd.example.com/v1/namespaces/default/odds?dryRun=All", json=odd)
            assert made.status_code < 500, (path, value, made.text)
            client.delete(f"{CRDS}/{name}")
            for _ in range(500):
                if client.get(f"{CRDS}/{name}").status_code == 404:
                    break


def test_objects_that_are_odd_somewhere_fail_nothing(client: httpx.Client) -> None:
    assert client.post(CRDS, json=WHOLE).status_code == 201
    path = "/apis/odd.example.com/v1/namespaces/default/odds"
    spec = {
        "n": 1, "s": "ab", "e": "a", "i": "50%", "l": [{"k": "x"}, {"k": "y"}], "m": {"a": "b"},
        "t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"any": [1]}}, "o": 3,
    }  # fmt: skip
    whole = {
        "apiVersion": "odd.example.com/v1", "kind": "Odd", "spec": spec, "status": {"n": 1},
        "metadata": {"name": "a", "labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a.b/c"]},
    }  # fmt: skip
    assert client.post(path, json=whole).status_code == 201
    random = Random(8)
    for where in places(whole):
        for value in random.sample(ODD, 4):
            odd = changed(whole, where, value)
            for way in ("?dryRun=All", "?dryRun=All&fieldValidation=Strict"):
                answer = client.put(f"{path}/a{way}", json=odd)
                assert answer.status_code < 500, (where, value, answer.text)
            headers = {"content-type": "application/apply-patch+yaml"}
            answer = client.patch(f"{path}/a?dryRun=All&fieldManager=m&force=1", json=odd, headers=headers)
            assert answer.status_code < 500, (where, value, answer.text)
            merge = {"content-type": "application/merge-patch+json"}
            answer = client.patch(f"{path}/a/status?dryRun=All", json=odd, headers=merge)
            assert answer.status_code < 500, (where, value, answer.text)
            answer = client.patch(f"{path}/a/scale?dryRun=All", json=odd, headers=merge)
            assert answer.status_code < 500, (where, value, answer.text)
