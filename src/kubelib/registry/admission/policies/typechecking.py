"""Whether the expressions of a policy fit the kinds that it is about: warnings for its status. This module loads CEL.

The rules are those of ``k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking``: kinds that rules name without
wildcards are looked at, ten at most; what does not fit is no error, since the policy may be right for other kinds.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from kubelib.api.admissionregistration import ExpressionWarning, ValidatingAdmissionPolicy
from kubelib.api.fields import FieldType, field_types
from kubelib.api.merging import merge_facts
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.model import Model
from kubelib.api.scheme import Resource, Scheme, UnknownKind
from kubelib.cel import types
from kubelib.cel.admission import compile_variables, environment
from kubelib.cel.base import CelError
from kubelib.cel.environment import Environment
from kubelib.cel.names import escape
from kubelib.cel.schemas import type_of_schema
from kubelib.cel.types import DYN, STRING, Field, Type, list_of, map_of, object_of

MOST_KINDS = 10

_SCALARS: Mapping[str, Type] = {
    "string": STRING,
    "int32": types.INT,
    "int64": types.INT,
    "bool": types.BOOL,
    "double": types.DOUBLE,
    "time": types.TIMESTAMP,
    "microtime": types.TIMESTAMP,
    "bytes": types.BYTES,
    "strings": list_of(STRING),
}
"""What is not named is only known when an expression is evaluated: quantities, numbers or texts, anything."""


def warnings_of(policy: ValidatingAdmissionPolicy, scheme: Scheme) -> tuple[ExpressionWarning, ...]:
    """Return what is doubtful about the expressions of a policy, one warning for each expression."""
    resources = kinds_of(policy, scheme)
    scopes = [(shown(resource), _scope(policy, resource, scheme)) for resource in resources]
    warnings: list[ExpressionWarning] = []
    for at, validation in enumerate(policy.spec.validations):
        for field, text in (
            ("expression", validation.expression),
            ("messageExpression", validation.message_expression),
        ):
            lines = [f"{name}: {problem}" for name, scope in scopes if (problem := _problem(text, scope))]
            if lines:
                warnings.append(
                    ExpressionWarning(field_ref=f"spec.validations[{at}].{field}", warning="\n".join(lines))
                )
    return tuple(warnings)


def shown(resource: Resource) -> str:
    """Return a kind as Kubernetes writes it: ``apps/v1, Kind=Deployment``."""
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _problem(text: str, scope: Environment) -> str:
    if not text.strip():
        return ""
    try:
        scope.compile(text, result=None)
    except CelError as error:
        return str(error).removeprefix("compilation failed: ")
    return ""


def kinds_of(policy: ValidatingAdmissionPolicy, scheme: Scheme) -> list[Resource]:
    """Return the kinds that a policy names, in the order of their names."""
    found: dict[str, Resource] = {}
    match = policy.spec.match_constraints
    for rule in match.resource_rules if match is not None else ():
        names = [name for name in rule.resources if "*" not in name and "/" not in name]
        if "*" in rule.api_groups or "*" in rule.api_versions:
            continue
        for group in rule.api_groups:
            for version in rule.api_versions:
                for name in names:
                    try:
                        resource = scheme.path(group, version, name)
                    except UnknownKind:
                        continue
                    found[shown(resource)] = resource
    return [found[name] for name in sorted(found)][:MOST_KINDS]


def _scope(policy: ValidatingAdmissionPolicy, resource: Resource, scheme: Scheme) -> Environment:
    kind = policy.spec.param_kind
    params: Type | None = None
    if kind is not None:
        try:
            params = type_of_resource(scheme.kind(kind.api_version, kind.kind))
        except UnknownKind:
            params = DYN
    object_type = type_of_resource(resource)

    def make(known: Mapping[str, Type]) -> Environment:
        return environment(params=params, object_type=object_type, variables=known)

    variables = [(variable.name, variable.expression) for variable in policy.spec.variables]
    _, known, _ = compile_variables(variables, make)
    return make(known)


def type_of_resource(resource: Resource) -> Type:
    """Return the type of a kind's objects: from its schema if it has one, from its class otherwise."""
    structure = resource.structure
    if structure is None:
        return type_of_model(resource.cls)  # type: ignore[arg-type]  # classes are hashable
    whole = type_of_schema(structure.schema, root=True, name=resource.kind)
    if whole is None or whole.fields is None:
        return DYN
    fields = {**whole.fields(), "metadata": Field("metadata", type_of_model(ObjectMeta))}
    return object_of(whole.name, lambda: fields)


@functools.cache
def type_of_model(cls: type[Model]) -> Type:
    """Return the type of a class's documents."""

    @functools.cache
    def fields() -> Mapping[str, Field]:
        return dict(_fields(cls))

    return object_of(f"{cls.__module__}.{cls.__name__}", fields)


def _fields(cls: type[Model]) -> Iterator[tuple[str, Field]]:
    if issubclass(cls, Object):
        yield "apiVersion", Field("apiVersion", STRING)
        yield "kind", Field("kind", STRING)
    facts: Mapping[str, Any] = merge_facts(cls)  # type: ignore[arg-type]  # models are hashable classes
    for name, kind in field_types(cls).items():  # type: ignore[arg-type]  # the same
        written = escape(name)
        if written is not None:
            yield written, Field(name, _type(kind, facts.get(name)))


def _type(kind: FieldType, fact: Any) -> Type:
    one = _SCALARS.get(kind.scalar, DYN)
    if kind.model is not None:
        one = type_of_model(kind.model)  # type: ignore[arg-type]  # classes are hashable
    match kind.shape:
        case "list":
            match fact.list_type if fact is not None else "":
                case "set":
                    return list_of(one, list_type="set")
                case "map":
                    return list_of(one, list_type="map", list_keys=tuple(fact.map_keys))
            return list_of(one)
        case "map":
            return map_of(STRING, one)
    return one
