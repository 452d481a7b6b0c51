"""Rules of admission policies and match conditions that look into their expressions.

CEL is loaded by the first object that has an expression.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import duplicate, each, invalid, required

if TYPE_CHECKING:
    from kubelib.cel import Environment
    from kubelib.cel.types import Type

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
_RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "null",
        "package", "namespace", "return", "true", "var", "void", "while",
    )
)  # fmt: skip
_LONGEST_VALUE_EXPRESSION = 5 * 1024


def expression_problems(
    path: str, text: str, scope: "Environment", result: "Type | tuple[Type, ...] | None"
) -> list[Problem]:
    """Check that an expression compiles to a type of value."""
    from kubelib.cel import CelError

    try:
        scope.compile(text, result=result)
    except CelError as error:
        return [invalid(path, text, str(error))]
    return []


def condition_expression_problems(
    path: str, conditions: Sequence[Tree], *, has_params: bool = False
) -> list[Problem]:
    """Check the expressions of match conditions."""
    from kubelib.cel import types
    from kubelib.cel.admission import environment

    scope = environment(params=types.DYN if has_params else None, namespace=False)
    problems: list[Problem] = []
    for at, condition in enumerate(conditions):
        text = str(condition.get("expression") or "").strip()
        if text:
            problems += expression_problems(f"{path}[{at}].expression", text, scope, types.BOOL)
    return problems


def policy_expression_problems(name: str, spec: Tree) -> list[Problem]:
    """Check the expressions of a ValidatingAdmissionPolicy: its conditions, variables, validations and annotations."""
    from kubelib.cel import types
    from kubelib.cel.admission import TEXT_OR_NULL, environment

    has_params = spec.get("paramKind") is not None
    conditions = spec.get("matchConditions") or ()
    problems = (
        condition_expression_problems("spec.matchConditions", conditions, has_params=has_params)
        if conditions
        else []
    )
    found, known = variable_problems(spec.get("variables") or (), has_params=has_params)
    problems += found
    params = types.DYN if has_params else None
    scope = environment(params=params, variables=known)
    plain = environment(params=params, authorizer=False, variables=known)
    for at, validation in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{at}]"
        text = str(validation.get("expression") or "").strip()
        if text:
            problems += expression_problems(f"{path}.expression", text, scope, types.BOOL)
        message = str(validation.get("messageExpression") or "").strip()
        if validation.get("messageExpression") and not message:
            why, given = "must be non-empty if specified", validation["messageExpression"]
            problems.append(invalid(f"{path}.messageExpression", given, why))
        elif message:
            problems += expression_problems(f"{path}.messageExpression", message, plain, types.STRING)
    for at, annotation in enumerate(spec.get("auditAnnotations") or ()):
        path = f"spec.auditAnnotations[{at}]"
        text, key = str(annotation.get("valueExpression") or "").strip(), str(annotation.get("key") or "")
        if name:
            problems += each(f"{path}.key", key, texts.qualified(f"{name}/{key}"))
        else:
            problems.append(invalid(f"{path}.key", key, "requires metadata.name be non-empty"))
        if len(text.encode()) > _LONGEST_VALUE_EXPRESSION:
            problems.append(
                required(
                    f"{path}.valueExpression", f"must not exceed {_LONGEST_VALUE_EXPRESSION} bytes in length"
                )
            )
        elif text:
            problems += expression_problems(f"{path}.valueExpression", text, scope, TEXT_OR_NULL)
    return problems


def mutation_expression_problems(spec: Tree) -> list[Problem]:
    """Check the expressions of a MutatingAdmissionPolicy: its conditions, variables and mutations."""
    from kubelib.cel import types
    from kubelib.cel.admission import environment
    from kubelib.cel.mutation import OBJECT, PATCH, message

    has_params = spec.get("paramKind") is not None
    conditions = spec.get("matchConditions") or ()
    problems = (
        condition_expression_problems("spec.matchConditions", conditions, has_params=has_params)
        if conditions
        else []
    )
    found, known = variable_problems(spec.get("variables") or (), has_params=has_params, messages=message)
    problems += found
    scope = environment(params=types.DYN if has_params else None, variables=known, messages=message)
    for at, mutation in enumerate(spec.get("mutations") or ()):
        for field, wanted in (("applyConfiguration", OBJECT), ("jsonPatch", types.list_of(PATCH))):
            text = str((mutation.get(field) or {}).get("expression") or "").strip()
            if text:
                problems += expression_problems(
                    f"spec.mutations[{at}].{field}.expression", text, scope, wanted
                )
    return problems


def variable_problems(
    variables: Sequence[Tree], *, has_params: bool, messages: "Callable[[str], Type | None] | None" = None
) -> tuple[list[Problem], Mapping[str, Any]]:
    """Check the variables of a policy; return what is wrong, and the types of those that compile."""
    from kubelib.cel import CelError, types
    from kubelib.cel.admission import environment

    problems: list[Problem] = []
    known: dict[str, Any] = {}
    for at, variable in enumerate(variables):
        path = f"spec.variables[{at}]"
        name, text = variable.get("name") or "", str(variable.get("expression") or "").strip()
        if not name:
            problems.append(required(f"{path}.name", "name is not specified"))
        elif _IDENTIFIER.fullmatch(name) is None or name in _RESERVED:
            problems.append(invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
        elif name in known:
            problems.append(duplicate(f"{path}.name", name))
        if not text:
            problems.append(required(f"{path}.expression", "expression is not specified"))
            continue
        scope = environment(params=types.DYN if has_params else None, variables=known, messages=messages)
        try:
            known = {**known, name: scope.compile(text, result=None).result}
        except CelError as error:
            problems.append(invalid(f"{path}.expression", text, str(error)))
            known = {**known, name: types.DYN}
    return problems, known
