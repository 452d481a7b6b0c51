"""Rules of admission policies and match conditions that look into their expressions.

CEL is loaded by the first object that has an expression.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    each,
    invalid,
    not_supported,
    one_of,
    required,
    too_many,
)

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
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_MOST_CONDITIONS, _MOST_ANNOTATIONS = 64, 20
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


def match_condition_problems(
    path: str, conditions: Sequence[Tree], *, has_params: bool = False
) -> list[Problem]:
    """Check match conditions, which have a name and an expression each."""
    if not conditions:
        return []
    from kubelib.cel import types
    from kubelib.cel.admission import environment

    scope = environment(params=types.DYN if has_params else None, namespace=False)
    problems: list[Problem] = []
    if len(conditions) > _MOST_CONDITIONS:
        problems.append(too_many(path, len(conditions), _MOST_CONDITIONS))
    seen: set[str] = set()
    for at, condition in enumerate(conditions):
        here, name = f"{path}[{at}]", condition.get("name") or ""
        text = str(condition.get("expression") or "").strip()
        problems += _compiled(f"{here}.expression", text, scope, types.BOOL)
        problems += each(f"{here}.name", name, texts.qualified(name)) if name else [required(f"{here}.name")]
        if name in seen:
            problems.append(duplicate(f"{here}.name", name))
        seen |= {name} - {""}
    return problems


def _compiled(path: str, text: str, scope: "Environment", result: Any, why: str = "") -> list[Problem]:
    """Check that there is an expression, and that it compiles."""
    return expression_problems(path, text, scope, result) if text.strip() else [required(path, why)]


def policy_item_problems(tree: Tree, *, has_params: bool) -> list[Problem]:
    """Check the variables, validations and audit annotations of a ValidatingAdmissionPolicy."""
    from kubelib.cel import types
    from kubelib.cel.admission import environment

    spec, name = tree.get("spec") or {}, (tree.get("metadata") or {}).get("name") or ""
    problems, known = variable_problems(spec.get("variables") or (), has_params=has_params)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        return [*problems, required("spec.validations", why), required("spec.auditAnnotations", why)]
    params = types.DYN if has_params else None
    scope = environment(params=params, variables=known)
    plain = environment(params=params, authorizer=False, variables=known)
    for at, validation in enumerate(validations):
        problems += _validation_problems(validation, f"spec.validations[{at}]", scope, plain)
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        problems.append(invalid("spec.auditAnnotations", annotations, why))
    keys: set[str] = set()
    for at, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{at}]", str(annotation.get("key") or "")
        problems += _annotation_problems(annotation, name, path, scope)
        if key in keys:
            problems.append(duplicate(f"{path}.key", key))
        keys.add(key)
    return problems


def _validation_problems(
    validation: Tree, path: str, scope: "Environment", plain: "Environment"
) -> list[Problem]:
    from kubelib.cel import types

    text = str(validation.get("expression") or "")
    problems = _compiled(f"{path}.expression", text, scope, types.BOOL, "expression is not specified")
    told = str(validation.get("messageExpression") or "")
    if told and not told.strip():
        problems.append(invalid(f"{path}.messageExpression", told, "must be non-empty if specified"))
    elif told:
        problems += expression_problems(f"{path}.messageExpression", told, plain, types.STRING)
    message = validation.get("message") or ""
    if message and not message.strip():
        problems.append(invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        problems.append(invalid(f"{path}.message", message, "must not contain line breaks"))
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        problems.append(not_supported(f"{path}.reason", reason, _REASONS))
    return problems


def _annotation_problems(annotation: Tree, name: str, path: str, scope: "Environment") -> list[Problem]:
    from kubelib.cel.admission import TEXT_OR_NULL

    key, text = str(annotation.get("key") or ""), str(annotation.get("valueExpression") or "").strip()
    if name:
        whole = f"{name}/{key}"
        problems = each(f"{path}.key", whole, texts.qualified(whole))
    else:
        problems = [invalid(f"{path}.key", key, "requires metadata.name be non-empty")]
    where = f"{path}.valueExpression"
    if len(text.encode()) > _LONGEST_VALUE_EXPRESSION:
        return [*problems, required(where, f"must not exceed {_LONGEST_VALUE_EXPRESSION} bytes in length")]
    return problems + _compiled(where, text, scope, TEXT_OR_NULL, "valueExpression is not specified")


def mutation_problems(spec: Tree, *, has_params: bool) -> list[Problem]:
    """Check the variables and mutations of a MutatingAdmissionPolicy."""
    from kubelib.cel import types
    from kubelib.cel.admission import environment
    from kubelib.cel.mutation import OBJECT, PATCH, message

    problems, known = variable_problems(spec.get("variables") or (), has_params=has_params, messages=message)
    scope = environment(params=types.DYN if has_params else None, variables=known, messages=message)
    results = {"applyConfiguration": OBJECT, "jsonPatch": types.list_of(PATCH)}
    mutations = spec.get("mutations") or ()
    if not mutations:
        problems.append(required("spec.mutations", "mutations must contain at least one item"))
    for at, mutation in enumerate(mutations):
        path, kind = f"spec.mutations[{at}]", mutation.get("patchType") or ""
        if kind not in _PATCHES:
            problems += one_of(f"{path}.patchType", kind, sorted(_PATCHES))
            continue
        field = _PATCHES[kind]
        if (change := mutation.get(field)) is None:
            problems.append(required(f"{path}.{field}", f"must be specified when patchType is {kind}"))
        else:
            text = str(change.get("expression") or "").strip()
            problems += _compiled(f"{path}.{field}.expression", text, scope, results[field])
        problems += [
            invalid(f"{path}.{other}", f"{{{other}}}", f"must not be specified when patchType is {kind}")
            for other in results
            if other != field and mutation.get(other) is not None
        ]
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
        name, text = variable.get("name") or "", str(variable.get("expression") or "")
        if not name.strip():
            problems.append(required(f"{path}.name", "name is not specified"))
        elif _IDENTIFIER.fullmatch(name) is None or name in _RESERVED:
            problems.append(invalid(f"{path}.name", name, "must be a valid CEL identifier"))
        elif name in known:
            problems.append(duplicate(f"{path}.name", name))
        if not text.strip():
            problems.append(required(f"{path}.expression", "expression is not specified"))
            continue
        scope = environment(params=types.DYN if has_params else None, variables=known, messages=messages)
        try:
            known = {**known, name: scope.compile(text, result=None).result}
        except CelError as error:
            problems.append(invalid(f"{path}.expression", text, str(error)))
            known = {**known, name: types.DYN}
    return problems, known
