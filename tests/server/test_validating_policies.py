"""ValidatingAdmissionPolicies: which writes they are about, what they refuse, say and note, and how they fail."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.errors import ApiError, Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User, WriteOptions
from kubelib.store import MemoryStore

Tree = dict[str, Any]
JANE = User("jane", ("devs", "system:authenticated"), "42")
DEPLOYMENTS = [
    {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
]
CONFIG_MAPS = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}]


class Api:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries
        self.warnings: list[str] = []
        self.notes: dict[str, str] = {}

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    def options(self, **options: Any) -> WriteOptions:
        return WriteOptions(
            user=JANE,
            warn=self.warnings.append,
            annotate=lambda name, value: self.notes.update({name: value}),
            **options,
        )

    async def create(self, tree: Tree, **options: Any) -> Tree:
        meta = tree["metadata"]
        document = await self.of(tree["kind"], tree["apiVersion"]).create(
            deepcopy(tree), namespace=meta.get("namespace", ""), options=self.options(**options)
        )
        result: Tree = document.tree()
        return result

    async def update(self, tree: Tree) -> None:
        key = Key(tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
        await self.of(tree["kind"], tree["apiVersion"]).update(key, tree, options=self.options())

    async def delete(self, tree: Tree) -> None:
        key = Key(tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
        await self.of(tree["kind"], tree["apiVersion"]).delete(key, options=self.options())

    async def policy(
        self, *validations: Tree | str, name: str = "p", rules: list[Tree] = DEPLOYMENTS, **spec: Any
    ) -> None:
        written = [{"expression": one} if isinstance(one, str) else one for one in validations]
        match = {"resourceRules": rules} | spec.pop("match", {})
        await self.create(
            object_of("ValidatingAdmissionPolicy", name, matchConstraints=match, validations=written, **spec)
        )

    async def bind(self, *actions: str, name: str = "b", policy: str = "p", **spec: Any) -> None:
        await self.create(
            object_of(
                "ValidatingAdmissionPolicyBinding",
                name,
                policyName=policy,
                validationActions=list(actions or ("Deny",)),
                **spec,
            )
        )

    async def refused(self, tree: Tree, **options: Any) -> ApiError:
        with pytest.raises(ApiError) as failure:
            await self.create(tree, **options)
        return failure.value


def object_of(kind: str, name: str, **spec: Any) -> Tree:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def deployment(name: str = "web", replicas: int = 1, namespace: str = "default", **labels: str) -> Tree:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }


def config_map(name: str, namespace: str = "default", data: Tree | None = None, **labels: str) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": data or {},
    }


@asynccontextmanager
async def opened() -> AsyncIterator[Api]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield Api(registries)


async def test_a_policy_in_force_refuses_what_breaks_it_from_the_next_write_on() -> None:
    async with opened() as api:
        await api.policy("object.spec.replicas <= 5")
        await api.create(deployment("free", 9))
        await api.bind()
        await api.create(deployment("small", 5))
        error = await api.refused(deployment("big", 6))
        assert error.status() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": (
                "deployments.apps \"big\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
                "failed expression: object.spec.replicas <= 5"
            ),
            "reason": "Invalid",
            "code": 422,
            "details": {
                "name": "big",
                "group": "apps",
                "kind": "deployments",
                "causes": [
                    {
                        "message": (
                            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: "
                            "object.spec.replicas <= 5"
                        )
                    }
                ],
            },
        }
        assert (await api.refused(deployment("dry", 6), dry_run=True)).code == 422
        await api.delete(object_of("ValidatingAdmissionPolicyBinding", "b"))
        await api.create(deployment("big", 6))


async def test_messages_and_reasons_are_those_of_the_validation() -> None:
    async with opened() as api:
        await api.policy(
            {
                "expression": "object.spec.replicas <= 5",
                "message": "unused",
                "messageExpression": "'at most 5, not ' + string(object.spec.replicas)",
                "reason": "Forbidden",
            }
        )
        await api.bind()
        error = await api.refused(deployment("big", 7))
        assert (error.code, error.reason) == (403, "Forbidden")
        assert str(error).endswith("denied request: at most 5, not 7")
        await api.policy(
            {"expression": "false", "message": " no ", "messageExpression": "object.zz.y + ''"}, name="q"
        )
        await api.delete(object_of("ValidatingAdmissionPolicyBinding", "b"))
        await api.bind(policy="q")
        assert str(await api.refused(deployment("big"))).endswith("denied request: no")


async def test_warnings_and_audit_annotations_do_not_refuse() -> None:
    async with opened() as api:
        await api.policy(
            "object.spec.replicas <= 5",
            auditAnnotations=[
                {"key": "replicas", "valueExpression": "'replicas: ' + string(object.spec.replicas)"}
            ],
        )
        await api.bind("Warn", "Audit")
        await api.create(deployment("big", 6))
        assert api.warnings == [
            "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: object.spec.replicas <= 5"
        ]
        assert api.notes["p/replicas"] == "replicas: 6"
        assert json.loads(api.notes["validation.policy.admission.k8s.io/validation_failure"]) == [
            {
                "message": "failed expression: object.spec.replicas <= 5",
                "policy": "p",
                "binding": "b",
                "expressionIndex": 0,
                "validationActions": ["Warn", "Audit"],
            }
        ]


async def test_variables_are_shared_and_worked_out_when_they_are_read() -> None:
    async with opened() as api:
        await api.policy(
            "(has(variables.small) && variables.small) || variables.name == 'big'",
            {"expression": "!variables.small || variables.never == 1", "message": "never is read"},
            variables=[
                {"name": "replicas", "expression": "object.spec.replicas"},
                {"name": "small", "expression": "variables.replicas <= 5"},
                {"name": "name", "expression": "object.metadata.name"},
                {"name": "never", "expression": "object.spec.zz"},
            ],
        )
        await api.bind()
        await api.create(deployment("big", 6))
        assert (
            "failed expression: (has(variables.small) && variables.small) || variables.name == 'big'"
            in str(await api.refused(deployment("other", 6)))
        )
        assert str(await api.refused(deployment("small", 1))).endswith(
            "expression '!variables.small || variables.never == 1' resulted in error: composited variable \"never\" fails to "
            "evaluate: no such key: zz"
        )


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("request.operation == 'CREATE' && request.resource.resource == 'deployments'", True),
        ("request.userInfo.username == 'jane' && 'devs' in request.userInfo.groups", True),
        (
            "request.kind.kind == 'Deployment' && request.namespace == 'default' && request.name == 'web'",
            True,
        ),
        ("oldObject == null && !request.dryRun", True),
        ("namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'", True),
        ("authorizer.group('').resource('pods').namespace('default').check('create').allowed()", True),
        ("authorizer.requestResource.check('create').allowed()", True),
        ("object.spec.template.spec.containers.all(c, c.image.startsWith('registry/'))", False),
        ("has(object.spec.zz)", False),
    ],
)
async def test_expressions_see_the_request(expression: str, holds: bool) -> None:
    async with opened() as api:
        await api.policy(expression)
        await api.bind()
        if holds:
            await api.create(deployment())
        else:
            await api.refused(deployment())


async def test_updates_and_deletes_see_what_was_before() -> None:
    async with opened() as api:
        created = await api.create(config_map("a", data={"x": "1"}))
        await api.policy(
            "request.operation != 'UPDATE' || oldObject.data.x == object.data.x",
            "request.operation != 'DELETE' || (object == null && oldObject.data.x != '1')",
            rules=CONFIG_MAPS,
        )
        await api.bind()
        with pytest.raises(ApiError, match=r"oldObject\.data\.x == object\.data\.x"):
            await api.update(created | {"data": {"x": "2"}})
        await api.update(created | {"data": {"x": "1", "y": "2"}})
        with pytest.raises(ApiError, match="object == null"):
            await api.delete(created)


async def test_rules_selectors_names_and_exclusions_say_what_a_policy_is_about() -> None:
    async with opened() as api:
        await api.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test", "labels": {"env": "test"}}}
        )
        await api.policy(
            "false",
            rules=CONFIG_MAPS,
            match={
                "excludeResourceRules": [CONFIG_MAPS[0] | {"resourceNames": ["spared"]}],
                "namespaceSelector": {
                    "matchExpressions": [{"key": "env", "operator": "In", "values": ["test"]}]
                },
                "objectSelector": {"matchLabels": {"checked": "yes"}},
            },
        )
        await api.bind()
        await api.create(config_map("a", checked="yes"))
        await api.create(config_map("a", "test"))
        await api.create(config_map("spared", "test", checked="yes"))
        await api.refused(config_map("b", "test", checked="yes"))


async def test_a_binding_may_be_about_less_than_its_policy() -> None:
    async with opened() as api:
        await api.policy("false", rules=CONFIG_MAPS)
        await api.bind(matchResources={"objectSelector": {"matchLabels": {"checked": "yes"}}})
        await api.create(config_map("a"))
        await api.refused(config_map("b", checked="yes"))


async def test_other_forms_of_a_resource_count_unless_the_policy_is_exact() -> None:
    async with opened() as api:
        rules = [
            {
                "apiGroups": ["autoscaling"],
                "apiVersions": ["v2"],
                "operations": ["*"],
                "resources": ["horizontalpodautoscalers"],
            }
        ]
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        scaler = {
            "apiVersion": "autoscaling/v1",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "namespace": "default"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 50},
        }
        await api.policy(
            "!has(object.spec.metrics)",
            "request.kind.version == 'v2' && request.requestKind.version == 'v1'",
            rules=rules,
        )
        await api.bind("Warn")
        await api.create(scaler)
        assert [warning.rpartition(": ")[2] for warning in api.warnings] == ["!has(object.spec.metrics)"]


async def test_match_conditions_decide_whether_a_policy_is_asked() -> None:
    async with opened() as api:
        await api.policy(
            "false",
            rules=CONFIG_MAPS,
            matchConditions=[{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
        )
        await api.bind()
        await api.create(config_map("free"))
        await api.refused(config_map("bound"))
        await api.policy(
            "false",
            name="q",
            rules=CONFIG_MAPS,
            matchConditions=[{"name": "bad", "expression": "object.zz == 1"}],
        )
        await api.bind(name="c", policy="q")
        assert str(await api.refused(config_map("free"))).endswith(
            "denied request: expression 'object.zz == 1' resulted in error: no such key: zz"
        )


PARAMETERS: Tree = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}


async def test_parameters_are_found_by_name_and_by_selector_and_are_those_of_now() -> None:
    async with opened() as api:
        limits = await api.create(config_map("limits", data={"max": "3"}, role="limit"))
        await api.policy("object.spec.replicas <= int(params.data.max)", **PARAMETERS)
        await api.bind(paramRef={"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"})
        await api.create(deployment("a", 3))
        await api.refused(deployment("b", 4))
        await api.update(limits | {"data": {"max": "4"}})
        await api.create(deployment("b", 4))
        await api.delete(object_of("ValidatingAdmissionPolicyBinding", "b"))
        await api.create(config_map("other", data={"max": "2"}, role="limit"))
        await api.bind(
            paramRef={"selector": {"matchLabels": {"role": "limit"}}, "parameterNotFoundAction": "Deny"}
        )
        await api.refused(deployment("c", 3))
        await api.create(deployment("c", 2))


async def test_parameters_of_a_namespace_are_those_of_the_object() -> None:
    async with opened() as api:
        await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}})
        await api.create(config_map("limits", "test", data={"max": "1"}))
        await api.policy("object.spec.replicas <= int(params.data.max)", **PARAMETERS)
        await api.bind(paramRef={"name": "limits", "parameterNotFoundAction": "Allow"})
        await api.create(deployment("a", 9))
        await api.refused(deployment("a", 9, "test"))


async def test_missing_parameters_are_refused_or_allowed_as_the_binding_says() -> None:
    async with opened() as api:
        await api.policy("object.spec.replicas <= int(params.data.max)", **PARAMETERS)
        await api.bind(paramRef={"name": "limits", "parameterNotFoundAction": "Deny"})
        assert str(await api.refused(deployment())).endswith(
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for "
            "policy binding with `Deny` parameterNotFoundAction"
        )
        await api.policy("params == null", name="q", rules=CONFIG_MAPS, **PARAMETERS)
        await api.bind(name="c", policy="q")
        await api.create(config_map("a"))


async def test_a_kind_of_parameters_that_there_is_not_is_an_error_of_the_policy() -> None:
    async with opened() as api:
        await api.policy("params.x == 1", paramKind={"apiVersion": "example.com/v1", "kind": "Limit"})
        await api.bind(paramRef={"name": "limits", "parameterNotFoundAction": "Allow"})
        assert "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'" in str(
            await api.refused(deployment())
        )


async def test_an_error_refuses_unless_the_policy_fails_open() -> None:
    async with opened() as api:
        await api.policy("object.zz == 1")
        await api.bind()
        assert str(await api.refused(deployment())).endswith(
            "denied request: expression 'object.zz == 1' resulted in error: no such key: zz"
        )
        await api.delete(object_of("ValidatingAdmissionPolicy", "p"))
        await api.policy("object.zz == 1", failurePolicy="Ignore")
        await api.create(deployment())


async def test_an_expression_that_runs_away_is_stopped() -> None:
    async with opened() as api:
        numbers = "[1,2,3,4,5,6,7,8,9,10]"
        nested = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, a > 0))))))"
        await api.policy(nested)
        await api.bind()
        assert "operation cancelled: actual cost limit exceeded" in str(await api.refused(deployment()))


async def test_policies_are_not_asked_about_what_configures_admission() -> None:
    async with opened() as api:
        everything = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
        await api.policy("false", rules=everything)
        await api.bind()
        await api.refused(config_map("a"))
        await api.delete(object_of("ValidatingAdmissionPolicyBinding", "b"))
        await api.create(config_map("a"))


async def test_writes_that_no_policy_is_about_meet_none() -> None:
    async with opened() as api:
        resource = api.registries.scheme.kind("v1", "ConfigMap")
        plugin = next(
            one for one in api.registries.admission.plugins if one.name == "ValidatingAdmissionPolicy"
        )
        assert not plugin.handles("create", resource, "")
        await api.policy("false", rules=CONFIG_MAPS)
        assert not plugin.handles("create", resource, "")
        await api.bind()
        assert plugin.handles("create", resource, "")
        assert not plugin.handles("create", api.registries.scheme.kind("v1", "Pod"), "")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"validations": [{"expression": "object.x +"}]},
            (
                'spec.validations[0].expression: Invalid value: "object.x +": compilation failed: ERROR: <input>:1:11: Syntax error: '
                "mismatched input '<EOF>' expecting"
            ),
        ),
        (
            {"validations": [{"expression": "params.x == 1"}]},
            (
                'spec.validations[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared '
                "reference to 'params' (in container '')"
            ),
        ),
        (
            {"validations": [{"expression": "object.spec.paused"}]},
            'spec.validations[0].expression: Invalid value: "object.spec.paused": must evaluate to bool',
        ),
        (
            {"validations": [{"expression": "request.zz == 1"}]},
            "undefined field 'zz'",
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string',
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type]',
        ),
        (
            {"validations": [{"expression": "true"}], "matchConditions": [{"name": "a", "expression": "zz"}]},
            'spec.matchConditions[0].expression: Invalid value: "zz": compilation failed: ERROR: <input>:1:1: undeclared',
        ),
        (
            {
                "validations": [{"expression": "variables.a == 1"}],
                "variables": [{"name": "b", "expression": "1"}],
            },
            "undefined field 'a'",
        ),
        (
            {"validations": [{"expression": "true"}], "variables": [{"name": "1b", "expression": "1"}]},
            'spec.variables[0].name: Invalid value: "1b": must be a valid CEL identifier',
        ),
        (
            {"validations": [{"expression": "true"}], "variables": [{"name": "b", "expression": "1 +"}]},
            'spec.variables[0].expression: Invalid value: "1 +": compilation failed',
        ),
    ],
)
async def test_a_policy_that_does_not_compile_is_refused(spec: Tree, problem: str) -> None:
    async with opened() as api:
        error = await api.refused(
            object_of(
                "ValidatingAdmissionPolicy", "p", matchConstraints={"resourceRules": DEPLOYMENTS}, **spec
            )
        )
        assert isinstance(error, Invalid)
        assert problem in str(error)
