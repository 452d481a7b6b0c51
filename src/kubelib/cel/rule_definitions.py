"""Whether the rules of a CustomResourceDefinition are in order: they compile, may compare with the past, and cannot cost too much."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from kubelib.cel import types
from kubelib.cel.base import ESTIMATED_LIMIT, ESTIMATED_TOTAL_LIMIT, CelError
from kubelib.cel.environment import Environment
from kubelib.cel.estimate import UNBOUNDED, clamp
from kubelib.cel.schema_rules import CompiledRule, compile_rule
from kubelib.cel.schemas import REQUEST_BYTES, Schema, type_of_schema
from kubelib.cel.types import Type

REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
LONGEST_MESSAGE = 2048


@attrs.frozen
class RuleProblem:
    """What is wrong with a rule, or with all of them together."""

    reason: str
    """``FieldValueInvalid``, ``FieldValueRequired``, ``FieldValueForbidden``, ``FieldValueNotSupported`` or ``InternalError``."""
    path: str
    message: str
    """As Kubernetes says it, ``Invalid value: …`` included."""


@attrs.define
class _Costs:
    total: int = 0
    dear: list[tuple[int, str]] = attrs.field(factory=list)

    def add(self, path: str, cost: int) -> None:
        self.total = clamp(self.total + cost)
        self.dear = sorted([*self.dear, (cost, path)], reverse=True)[:4]


def rule_problems(schema: Schema, path: str = "", *, old: Schema | None = None) -> list[RuleProblem]:
    """Return what is wrong with the rules of the schema of a custom resource; `path` is where the schema stands.

    Rules that stand in `old`, the schema that is replaced, are not checked again for what newer versions have made stricter:
    Kubernetes compiles them all the same, and so do we.
    """
    found: list[RuleProblem] = []
    costs = _Costs()
    _visit(
        found,
        costs,
        schema,
        path,
        type_of_schema(schema, root=True),
        cardinality=1,
        fixed_order=None,
        root=True,
    )
    if costs.total > ESTIMATED_TOTAL_LIMIT:
        for cost, where in costs.dear:
            if cost:
                text = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
                found.append(RuleProblem("FieldValueForbidden", where, f"Forbidden: {text}"))
        name = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema"
        text = too_dear(name, costs.total, ESTIMATED_TOTAL_LIMIT)
        found.append(RuleProblem("FieldValueForbidden", path, f"Forbidden: {text}"))
    return found


def too_dear(name: str, cost: int, limit: int) -> str:
    """Return what Kubernetes says of an estimate that is above a limit."""
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    elif factor < 1.5:
        shown = f"{factor:f}x"
    else:
        shown = f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


def _times(cardinality: int | None, most: Any) -> int | None:
    return None if cardinality is None or most is None else clamp(cardinality * max(int(most), 0))


def _visit(
    found: list[RuleProblem],
    costs: _Costs,
    schema: Schema,
    path: str,
    type_: Type | None,
    *,
    cardinality: int | None,
    fixed_order: str | None,
    root: bool = False,
) -> None:
    """Check the rules of a part of a schema.

    `cardinality` is how often the part may be in an object, None when nothing bounds it; `fixed_order` names the list or map around
    it whose elements cannot be recognised from one version of the object to the next.
    """
    rules = schema.get("x-kubernetes-validations") or ()
    if rules and type_ is not None:
        for at, rule in enumerate(rules):
            where = f"{path}.x-kubernetes-validations[{at}]"
            _rule(found, costs, rule, where, schema, type_, cardinality, fixed_order)
    elif rules:
        text = (
            "Internal error: internal error: failed to retrieve type information for x-kubernetes-validations"
        )
        found.append(RuleProblem("InternalError", f"{path}.x-kubernetes-validations", text))

    def inside(name: str, part: Any, around: int | None, order: str | None) -> None:
        if isinstance(part, Mapping):
            embedded = bool(part.get("x-kubernetes-embedded-resource"))
            part_type = type_of_schema(part, root=embedded)
            _visit(found, costs, part, f"{path}.{name}", part_type, cardinality=around, fixed_order=order)

    list_order = fixed_order
    if list_order is None and schema.get("x-kubernetes-list-type") != "map":
        list_order = f"{path}.items"
    inside("items", schema.get("items"), _times(cardinality, schema.get("maxItems")), list_order)
    map_order = fixed_order
    if map_order is None and schema.get("x-kubernetes-map-type") == "atomic":
        map_order = path
    inside(
        "additionalProperties",
        schema.get("additionalProperties"),
        _times(cardinality, schema.get("maxProperties")),
        map_order,
    )
    for name, part in (schema.get("properties") or {}).items():
        inside(f"properties[{name}]", part, cardinality, map_order)
    for at, part in enumerate(schema.get("allOf") or ()):
        if isinstance(part, Mapping) and part.get("x-kubernetes-validations"):
            for number, rule in enumerate(part["x-kubernetes-validations"]):
                where = f"{path}.allOf[{at}].x-kubernetes-validations[{number}]"
                if type_ is not None:
                    _rule(found, costs, rule, where, schema, type_, cardinality, fixed_order)


def _rule(
    found: list[RuleProblem],
    costs: _Costs,
    rule: Schema,
    path: str,
    schema: Schema,
    type_: Type,
    cardinality: int | None,
    fixed_order: str | None,
) -> None:
    def invalid(where: str, value: Any, text: str) -> None:
        found.append(RuleProblem("FieldValueInvalid", where, f"Invalid value: {value}: {text}"))

    def required(where: str, text: str) -> None:
        found.append(RuleProblem("FieldValueRequired", where, f"Required value: {text}"))

    text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
    if not text.strip():
        required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        invalid(f"{path}.message", quoted(message), "must be non-empty if specified")
    elif _has_breaks(message.strip()):
        invalid(f"{path}.message", quoted(message), "must not contain line breaks")
    elif _has_breaks(text.strip()) and not message.strip():
        required(f"{path}.message", "message must be specified if rule contains line breaks")
    elif len(message) > LONGEST_MESSAGE:
        shown = f"{message[:10]}..."
        invalid(
            f"{path}.message",
            quoted(shown),
            f"message must have a maximum length of {LONGEST_MESSAGE} characters",
        )
    message_text = rule.get("messageExpression")
    if message_text and not str(message_text).strip():
        required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        choices = ", ".join(f'"{choice}"' for choice in REASONS)
        found.append(
            RuleProblem(
                "FieldValueNotSupported",
                f"{path}.reason",
                f"Unsupported value: {quoted(reason)}: supported values: {choices}",
            )
        )
    _field_path(rule, path, schema, invalid)
    if not text.strip():
        return
    compiled = compile_rule(rule, type_)
    if compiled.error or compiled.expression is None:
        invalid(f"{path}.rule", shown_rule(rule), compiled.error)
        return
    if compiled.is_transition and fixed_order is not None:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed_order}"
        invalid(f"{path}.rule", quoted(text), why)
    if rule.get("optionalOldSelf") is not None and not compiled.is_transition:
        value = str(bool(rule["optionalOldSelf"])).lower()
        invalid(f"{path}.optionalOldSelf", value, "may not be set if oldSelf is not used in rule")
    _message_expression(rule, path, compiled, type_, invalid)
    _charge(
        found, costs, f"{path}.rule", "estimated rule cost", compiled.expression.cost.most, type_, cardinality
    )
    if compiled.message is not None:
        _charge(
            found,
            costs,
            f"{path}.messageExpression",
            "estimated messageExpression cost",
            compiled.message.cost.most,
            type_,
            cardinality,
        )


def _charge(
    found: list[RuleProblem],
    costs: _Costs,
    path: str,
    name: str,
    cost: int,
    type_: Type,
    cardinality: int | None,
) -> None:
    if cardinality is None:
        cardinality = REQUEST_BYTES // (type_.least_bytes + 1)
    cost = clamp(cost * cardinality) if cost != UNBOUNDED else cost
    costs.add(path, cost)
    if cost > ESTIMATED_LIMIT:
        found.append(
            RuleProblem("FieldValueForbidden", path, f"Forbidden: {too_dear(name, cost, ESTIMATED_LIMIT)}")
        )


def _message_expression(rule: Schema, path: str, compiled: CompiledRule, type_: Type, invalid: Any) -> None:
    text = str(rule.get("messageExpression") or "")
    if not text.strip() or compiled.message is not None:
        return
    old = types.optional_of(type_) if compiled.optional_old else type_
    try:
        Environment({"self": type_, "oldSelf": old}).compile(text, result=types.STRING)
    except CelError as error:
        why = (
            "messageExpression must evaluate to a string"
            if str(error) == "must evaluate to string"
            else f"messageExpression compilation failed: {str(error).removeprefix('compilation failed: ')}"
        )
        invalid(f"{path}.messageExpression", shown_rule(rule), why)


def _field_path(rule: Schema, path: str, schema: Schema, invalid: Any) -> None:
    field_path = rule.get("fieldPath")
    if not field_path:
        return
    where, shown = f"{path}.fieldPath", quoted(field_path)
    if not str(field_path).strip():
        invalid(where, shown, "must be non-empty if specified")
    if _has_breaks(str(field_path)):
        invalid(where, shown, "must not contain line breaks")
    if not _is_reachable(str(field_path), schema):
        invalid(where, shown, "must be a valid path")


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _is_reachable(path: str, schema: Schema) -> bool:
    """Return whether a path leads to a field."""
    rest = path
    while rest:
        if rest[0] == ".":
            end = min((at for mark in ".[" if (at := rest.find(mark, 1)) > 0), default=len(rest))
            name, rest = rest[1:end], rest[end:]
        elif rest.startswith("['"):
            end = rest.find("']", 2)
            if end < 0:
                return False
            name, rest = rest[2:end], rest[end + 2 :]
        else:
            return False
        if not name:
            return False
        inside = (schema.get("properties") or {}).get(name)
        if inside is None:
            inside = schema.get("additionalProperties") if not schema.get("properties") else None
        if not isinstance(inside, Mapping):
            return False
        schema = inside
    return True


def quoted(value: Any) -> str:
    """Return a text as Go's ``%q`` shows it."""
    text = str(value)
    for letter, shown in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(letter, shown)
    return f'"{text}"'


def shown_rule(rule: Schema) -> str:
    """Return a rule as Kubernetes shows it in messages: as Go prints the struct."""

    def pointer(name: str, kind: str) -> str:
        return (
            f"{name}:(*{kind})(nil)"
            if rule.get(name[:1].lower() + name[1:]) is None
            else f"{name}:(*{kind})(0x0)"
        )

    parts: Sequence[str] = (
        f"Rule:{quoted(rule.get('rule') or '')}",
        f"Message:{quoted(rule.get('message') or '')}",
        f"MessageExpression:{quoted(rule.get('messageExpression') or '')}",
        pointer("Reason", "apiextensions.FieldValueErrorReason"),
        f"FieldPath:{quoted(rule.get('fieldPath') or '')}",
        pointer("OptionalOldSelf", "bool"),
    )
    return f"apiextensions.ValidationRule{{{', '.join(parts)}}}"
