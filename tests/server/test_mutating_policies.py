"""MutatingAdmissionPolicies: what they make of writes, how often they are asked, and how they fail."""

from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.errors import ApiError, Invalid
from tests.server.test_validating_policies import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    Api,
    config_map,
    deployment,
    object_of,
    opened,
)

Tree = dict[str, Any]
LABEL = "Object{metadata: Object.metadata{labels: {'checked': 'yes'}}}"


def apply(expression: str) -> Tree:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression: str) -> Tree:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def policy(
    api: Api, *mutations: Tree, name: str = "p", rules: list[Tree] = CONFIG_MAPS, **spec: Any
) -> None:
    await api.create(
        object_of(
            "MutatingAdmissionPolicy",
            name,
            **{
                "matchConstraints": {"resourceRules": rules},
                "mutations": list(mutations),
                "reinvocationPolicy": "Never",
                **spec,
            },
        )
    )


async def bind(api: Api, *, name: str = "b", policy: str = "p", **spec: Any) -> None:
    await api.create(object_of("MutatingAdmissionPolicyBinding", name, policyName=policy, **spec))


async def test_a_configuration_is_merged_into_the_object_as_by_apply() -> None:
    async with opened() as api:
        sidecar = (
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: "
            "[Object.spec.template.spec.containers{name: 'side', image: 'proxy'}]}}}}"
        )
        await policy(api, apply(sidecar), rules=DEPLOYMENTS)
        await bind(api)
        stored = await api.create(deployment())
        containers = stored["spec"]["template"]["spec"]["containers"]
        assert [(one["name"], one["image"]) for one in containers] == [("c", "i"), ("side", "proxy")]
        assert containers[1]["imagePullPolicy"] == "Always", "what was added has its defaults"
        changed = await api.create(
            deployment("again") | {"metadata": {"name": "again", "namespace": "default"}}
        )
        assert len(changed["spec"]["template"]["spec"]["containers"]) == 2


async def test_a_json_patch_is_carried_out() -> None:
    async with opened() as api:
        await policy(
            api,
            patch(
                "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'replace', path: '/data/a', value: 'one'}, "
                "JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/x'), value: 'y'}]"
            ),
        )
        await bind(api)
        stored = await api.create(config_map("a", data={"a": "1"}, b="c"))
        assert stored["data"] == {"a": "one"}
        assert stored["metadata"]["labels"] == {"b": "c", "example.com/x": "y"}
        error = await api.refused(config_map("b", data={"a": "2"}, b="c"))
        assert (error.code, error.reason) == (422, "Invalid")
        assert str(error) == 'configmaps "b" is forbidden: admission request denied by policy'
        causes = error.status()["details"]["causes"]
        assert causes[0]["message"].startswith("policy 'p' with binding 'b' denied request: JSON Patch: ")


async def test_mutations_see_what_those_before_them_have_made() -> None:
    async with opened() as api:
        await policy(
            api,
            apply("Object{data: {'n': string(int(object.data.n) + 1)}}"),
            apply("Object{data: {'m': object.data.n + variables.suffix}}"),
            variables=[{"name": "suffix", "expression": "'!' + request.userInfo.username"}],
        )
        await bind(api)
        stored = await api.create(config_map("a", data={"n": "1"}))
        assert stored["data"] == {"n": "2", "m": "2!jane"}


async def test_conditions_parameters_and_bindings_say_what_is_changed() -> None:
    async with opened() as api:
        await api.create(config_map("labels", data={"team": "blue"}))
        await policy(
            api,
            apply("Object{metadata: Object.metadata{labels: {'team': params.data.team}}}"),
            rules=DEPLOYMENTS,
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            matchConditions=[
                {
                    "name": "no-team",
                    "expression": "!has(object.metadata.labels) || !('team' in object.metadata.labels)",
                }
            ],
        )
        await bind(api, paramRef={"name": "labels", "parameterNotFoundAction": "Deny"})
        assert (await api.create(deployment("a")))["metadata"]["labels"] == {"team": "blue"}
        assert (await api.create(deployment("b", team="red")))["metadata"]["labels"] == {"team": "red"}


async def test_the_changed_object_is_what_validating_policies_see() -> None:
    async with opened() as api:
        await policy(api, apply(LABEL))
        await bind(api)
        await api.policy("object.metadata.labels.checked == 'yes'", name="v", rules=CONFIG_MAPS)
        await api.bind(name="vb", policy="v")
        await api.create(config_map("a"))


async def test_a_policy_is_asked_again_when_later_ones_have_changed_the_object() -> None:
    async with opened() as api:
        grow = "Object{data: {'n': object.data.n + 'x'}}"
        await policy(api, apply(grow), name="a", reinvocationPolicy="IfNeeded")
        await policy(api, apply(grow), name="b")
        await bind(api, name="a", policy="a")
        await bind(api, name="b", policy="b")
        assert (await api.create(config_map("a", data={"n": ""})))["data"] == {"n": "xxx"}


async def test_updates_are_changed_and_deletes_are_not_asked_about() -> None:
    async with opened() as api:
        created = await api.create(config_map("a", data={"n": "1"}))
        await policy(api, apply("Object{data: {'old': oldObject == null ? 'none' : oldObject.data.n}}"))
        await bind(api)
        await api.update(created | {"data": {"n": "2"}})
        from kubelib.api.meta import Key

        stored = api.of("ConfigMap").cache.get(Key("default", "a")).tree()
        assert stored["data"] == {"n": "2", "old": "1"}
        await api.delete(created)


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (apply("Object{data: {'x': object.data.zz}}"), "resulted in error: no such key: zz"),
        (
            apply("Object{metadata: Object.spec{labels: {}}}"),
            'type mismatch: unexpected type name "Object.spec", expected "Object.metadata"',
        ),
        (
            apply("Object{spec: Object.spec{x: 1}}"),
            "error applying patch: failed to convert patch object to typed object: .spec: field not declared in schema",
        ),
        (
            apply("Object{x: 1, metadata: Object.metadata{y: 2}}"),
            "typed object: errors:\n  .x: field not declared in schema\n  .metadata.y: field not declared in schema",
        ),
        (
            patch("[JSONPatch{op: 'replace', path: '/zz/y', value: 1}]"),
            "JSON Patch: replace operation does not apply: doc is missing path: /zz/y: missing value",
        ),
    ],
)
async def test_what_cannot_be_done_refuses_unless_the_policy_fails_open(mutation: Tree, why: str) -> None:
    async with opened() as api:
        await policy(api, mutation)
        await bind(api)
        causes = (await api.refused(config_map("a", data={"a": "b"}))).status()["details"]["causes"]
        assert why in causes[0]["message"]
        await policy(api, mutation, name="q", failurePolicy="Ignore")
        await api.delete(object_of("MutatingAdmissionPolicyBinding", "b"))
        await bind(api, policy="q")
        assert (await api.create(config_map("a", data={"a": "b"})))["data"] == {"a": "b"}


async def test_lists_that_are_owned_as_a_whole_are_not_merged() -> None:
    async with opened() as api:
        args = (
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: "
            "[Object.spec.template.spec.containers{name: 'c', args: ['x']}]}}}}"
        )
        await policy(api, apply(args), rules=DEPLOYMENTS)
        await bind(api)
        causes = (await api.refused(deployment())).status()["details"]["causes"]
        assert (
            "may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args"
            in causes[0]["message"]
        )


async def test_what_a_policy_makes_must_be_an_object_of_its_kind() -> None:
    async with opened() as api:
        await policy(api, apply("Object{spec: Object.spec{replicas: 'many'}}"), rules=DEPLOYMENTS)
        await bind(api)
        with pytest.raises(ApiError):
            await api.create(deployment())


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("Object{", "mismatched input"),
        ("Thing{}", "undeclared reference to 'Thing'"),
        ("[JSONPatch{op: 1}]", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("'x'", "must evaluate to list(JSONPatch)"),
    ],
)
async def test_a_mutation_that_does_not_compile_is_refused(expression: str, problem: str) -> None:
    async with opened() as api:
        spec = {
            "matchConstraints": {"resourceRules": CONFIG_MAPS},
            "mutations": [patch(expression)],
            "reinvocationPolicy": "Never",
        }
        error = await api.refused(object_of("MutatingAdmissionPolicy", "p", **deepcopy(spec)))
        assert isinstance(error, Invalid)
        assert problem in str(error)
