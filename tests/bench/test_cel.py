"""What CEL costs: ``us`` in the extra information is microseconds for one compilation, evaluation, or write."""

import time
from copy import deepcopy
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.cel import Budget, Environment
from kubelib.cel import types as t
from kubelib.cel.schema_rules import compile_rules
from kubelib.cel.schemas import type_of_schema
from kubelib.registry import ResourceRegistries
from kubelib.store import MemoryStore

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "maxReplicas": {"type": "integer"},
        "name": {"type": "string", "maxLength": 63},
        "ports": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "properties": {"port": {"type": "integer"}, "name": {"type": "string"}},
            },
        },
    },
    "x-kubernetes-validations": [{"rule": "self.replicas <= self.maxReplicas"}],
}
OBJECT = {
    "replicas": 3,
    "maxReplicas": 5,
    "name": "web-1",
    "ports": [{"port": number, "name": f"p{number}"} for number in range(1, 101)],
}
RULES = {
    "simple": "self.replicas <= self.maxReplicas",
    "text": "self.replicas <= self.maxReplicas && self.name.startsWith('web')",
    "pattern": "self.name.matches('^[a-z-0-9]+$')",
    "100 entries": "self.ports.all(p, p.port > 0)",
}


def environment(kind: str) -> Environment:
    schema = type_of_schema(SCHEMA)
    assert schema is not None
    return Environment({"self": schema if kind == "typed" else t.DYN})


@pytest.mark.parametrize("rule", RULES)
def test_compiling(benchmark: BenchmarkFixture, rule: str) -> None:
    scope, text = environment("typed"), RULES[rule]
    benchmark(lambda: scope.compile(text))
    benchmark.extra_info["us"] = _timed(lambda: scope.compile(text), 100)


@pytest.mark.parametrize("kind", ["typed", "dyn"])
@pytest.mark.parametrize("rule", RULES)
def test_evaluating(benchmark: BenchmarkFixture, rule: str, kind: str) -> None:
    expression, variables = environment(kind).compile(RULES[rule]), {"self": OBJECT}
    budget = Budget(1 << 60)
    assert benchmark(lambda: expression.evaluate(variables, budget)) is True
    benchmark.extra_info["us"] = _timed(lambda: expression.evaluate(variables, budget), 1000)


def test_validating_an_object_by_a_rule(benchmark: BenchmarkFixture) -> None:
    rules = compile_rules(SCHEMA)
    assert rules is not None
    assert benchmark(lambda: rules.validate(OBJECT, OBJECT)) == []
    benchmark.extra_info["us"] = _timed(lambda: rules.validate(OBJECT, OBJECT), 1000)


def _timed(call: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return round((time.perf_counter() - start) / count * 1e6, 2)


CONFIG_MAP: dict[str, Any] = {
    "kind": "ConfigMap",
    "apiVersion": "v1",
    "metadata": {"generateName": "c-"},
    "data": {"a": "b"},
}


def _policy(resource: str) -> list[dict[str, Any]]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": [resource]}
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "p"}}
    return [
        head
        | {
            "kind": "ValidatingAdmissionPolicy",
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "object.data.a == 'b' && object.metadata.name.size() < 64"}],
            },
        },
        head
        | {
            "kind": "ValidatingAdmissionPolicyBinding",
            "spec": {"policyName": "p", "validationActions": ["Deny"]},
        },
    ]


@pytest.mark.parametrize("what", ["no policy", "a policy about others", "a policy"])
def test_a_write(benchmark: BenchmarkFixture, what: str) -> None:
    async def writes() -> float:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            if what != "no policy":
                for tree in _policy("configmaps" if what == "a policy" else "secrets"):
                    await registries.of(registries.scheme.kind(tree["apiVersion"], tree["kind"])).create(
                        deepcopy(tree)
                    )
            registry = registries.of(registries.scheme.kind("v1", "ConfigMap"))
            start = time.perf_counter()
            for _ in range(200):
                await registry.create(deepcopy(CONFIG_MAP), namespace="default")
            return (time.perf_counter() - start) / 200 * 1e6

    async def main() -> None:
        benchmark.extra_info["us"] = round(min([await writes() for _ in range(3)]), 1)

    benchmark.pedantic(anyio.run, args=(main,), rounds=1)  # type: ignore[no-untyped-call]
