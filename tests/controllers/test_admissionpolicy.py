from typing import Any

import msgspec
import pytest

from kubelib.api.admissionregistration import ValidatingAdmissionPolicy
from kubelib.api.builtin import SCHEME
from kubelib.api.meta import Object
from kubelib.api.model import replace
from kubelib.api.scheme import Resource, Scheme
from kubelib.api.structural.structure import Structure
from kubelib.controllers.builtin.admissionpolicy import admission_policy_status_controller
from kubelib.registry.admission.policies.typechecking import kinds_of, warnings_of

Tree = dict[str, Any]


def policy_of(
    *expressions: str, groups: str = "apps", resources: str = "deployments", **spec: Any
) -> ValidatingAdmissionPolicy:
    rule = {
        "apiGroups": groups.split(","),
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": resources.split(","),
    }
    tree = {
        "metadata": {"name": "p", "generation": 1},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression} for expression in expressions],
            **spec,
        },
    }
    return msgspec.convert(tree, ValidatingAdmissionPolicy)


def told(policy: ValidatingAdmissionPolicy) -> list[tuple[str, str]]:
    return [(one.field_ref, one.warning) for one in warnings_of(policy, SCHEME)]


def test_an_expression_that_does_not_fit_the_kind_is_shown_with_its_place() -> None:
    assert told(policy_of("object.spec.replicas > 1", "object.replicas > 1")) == [
        (
            "spec.validations[1].expression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^",
        )
    ]


def test_each_kind_that_does_not_fit_has_its_lines() -> None:
    [(_, warning)] = told(
        policy_of("object.spec.replicas > 1", resources="deployments,daemonsets,statefulsets")
    )
    assert warning.startswith("apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'")
    assert "Deployment" not in warning


@pytest.mark.parametrize(
    "expression",
    [
        "object.metadata.labels['a'] == 'b' && object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('x') && has(c.resources.limits))",
        "object.spec.template.spec.containers[0].ports[0].containerPort > 1024",
        "quantity(object.spec.template.spec.containers[0].resources.limits['cpu']).isGreaterThan(quantity('1'))",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '25%'",
        "object.kind == 'Deployment' && object.metadata.__namespace__ == 'x' && request.namespace == 'x'",
    ],
)
def test_expressions_that_fit_are_not_warned_of(expression: str) -> None:
    assert told(policy_of(expression)) == []


def test_types_are_followed_through_variables_and_parameters() -> None:
    policy = policy_of(
        "variables.replicas == 'x'",
        "params.data.max == 'x' && params.zz == 1",
        variables=[{"name": "replicas", "expression": "object.spec.replicas"}],
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    )
    warnings = dict(told(policy))
    assert (
        "found no matching overload for '_==_' applied to '(int, string)'"
        in warnings["spec.validations[0].expression"]
    )
    assert "undefined field 'zz'" in warnings["spec.validations[1].expression"]


def test_wildcards_and_subresources_are_not_looked_at() -> None:
    assert kinds_of(policy_of("object.zz == 1", groups="*"), SCHEME) == []
    assert kinds_of(policy_of("object.zz == 1", resources="deployments/status,*"), SCHEME) == []


def test_custom_kinds_are_checked_by_their_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
    }
    scheme = Scheme()
    scheme.add(
        Resource(
            group="example.com",
            version="v1",
            kind="CronTab",
            plural="crontabs",
            cls=Object,
            structure=Structure(schema),
        )
    )
    policy = policy_of(
        "object.spec.replicas > '1'",
        "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'",
        groups="example.com",
        resources="crontabs",
    )
    [warning] = warnings_of(policy, scheme)
    assert warning.field_ref == "spec.validations[0].expression"
    assert warning.warning.startswith(
        "example.com/v1, Kind=CronTab: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
    )


async def test_the_status_says_what_was_found_for_each_generation(world: Any) -> None:
    controller = admission_policy_status_controller(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=SCHEME
    )
    async with world.running(controller):
        await world.create(policy_of("object.replicas > 1"))
        await world.settled(2)
        policy = await world.get(ValidatingAdmissionPolicy, "p", "")
        assert policy.status.observed_generation == policy.metadata.generation == 1
        assert policy.status.type_checking is not None
        assert len(policy.status.type_checking.expression_warnings) == 1
        fixed = policy_of("object.spec.replicas > 1").spec
        registry = world.client.resource(ValidatingAdmissionPolicy)
        await registry.update(replace(policy, spec=fixed))
        await world.settled(2)
        policy = await world.get(ValidatingAdmissionPolicy, "p", "")
        assert policy.status.observed_generation == 2
        assert policy.status.type_checking is not None
        assert policy.status.type_checking.expression_warnings == ()
