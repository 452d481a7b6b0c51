"""The rules of a schema, ``x-kubernetes-validations``: compiled once, then asked about each object.

`compile_rules` makes `Rules` of a schema; `Rules.validate` says which of them an object breaks, given what it replaces. Whether the rules
themselves are in order is said by `kubelib.cel.rule_definitions.rule_problems`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from kubelib.cel import types
from kubelib.cel.base import Budget, BudgetExceeded, CelError, CostExceeded, EvaluationError, Expression
from kubelib.cel.types import Type

Schema = Mapping[str, Any]
Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"]

LONGEST_MESSAGE = 5 * 1024
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


@attrs.frozen
class Violation:
    """A rule that an object breaks."""

    reason: Reason
    path: str
    """Where, as in ``spec.ports[0]``; empty for the object itself."""
    value: str
    """What stands there, as Kubernetes shows it: the type of the schema."""
    detail: str
    unchanged: bool = False
    """Whether what breaks the rule is as it was before: Kubernetes then warns instead of refusing."""

    @property
    def message(self) -> str:
        """The sentence that Kubernetes says of the field: ``Invalid value: "object": …``."""
        match self.reason:
            case "FieldValueForbidden":
                return f"Forbidden: {self.detail}"
            case "FieldValueRequired":
                return f"Required value: {self.detail}"
            case "FieldValueDuplicate":
                return f'Duplicate value: "{self.value}"'
        return f'Invalid value: "{self.value}": {self.detail}'


@attrs.frozen
class CompiledRule:
    """A rule of one place in a schema."""

    rule: Schema
    expression: Expression | None
    """None when there is an error."""
    message: Expression | None
    error: str
    optional_old: bool

    @property
    def is_transition(self) -> bool:
        """Whether it compares with what was there before."""
        return self.expression is not None and "oldSelf" in self.expression.reads


def compile_rule(rule: Schema, self_type: Type) -> CompiledRule:
    """Compile a rule of a place where there are values of a type."""
    from kubelib.cel.environment import Environment  # the language is loaded by the first rule

    optional_old = bool(rule.get("optionalOldSelf"))
    old_type = types.optional_of(self_type) if optional_old else self_type
    environment = Environment({"self": self_type, "oldSelf": old_type})
    text, message = str(rule.get("rule") or ""), str(rule.get("messageExpression") or "")
    try:
        expression = environment.compile(text) if text.strip() else None
    except CelError as error:
        why = (
            "cel expression must evaluate to a bool" if str(error) == "must evaluate to bool" else str(error)
        )
        return CompiledRule(rule, None, None, why, optional_old)
    try:
        shown = environment.compile(message, result=types.STRING) if message.strip() else None
    except CelError:
        shown = None
    return CompiledRule(rule, expression, shown, "", optional_old)


class _Exhausted(Exception):
    """No more may be spent: no further rule is asked."""


@attrs.define
class _Run:
    """One object on its way through the rules."""

    budget: Budget
    found: list[Violation] = attrs.field(factory=list)


_UNCORRELATED: Any = object()
"""Stands for what cannot be compared with something before."""
_Pair = tuple[Schema, Any, Any]


@attrs.define(eq=False)
class Rules:
    """The rules of a schema and of all that is within it."""

    schema: Schema
    type: Type
    rules: tuple[CompiledRule, ...]
    properties: "dict[str, Rules]" = attrs.field(factory=dict)
    items: "Rules | None" = None
    additional: "Rules | None" = None
    all_of: "tuple[Rules, ...]" = ()

    def validate(
        self, new: Any, old: Any = None, *, path: str = "", budget: Budget | None = None
    ) -> list[Violation]:
        """Return the rules that an object breaks, with what they cost taken from `budget`.

        `old` is what the object replaces, None for a new one: rules about transitions are asked only where there is something before.
        """
        run = _Run(budget if budget is not None else Budget())
        before = old if old is not None else _UNCORRELATED
        with contextlib.suppress(_Exhausted):
            self._visit(run, path, new, before, None)
        return run.found

    def _visit(self, run: _Run, path: str, new: Any, old: Any, around: _Pair | None) -> None:
        """Ask the rules of a value; `around` is the nearest part around it that was there before, as it is and as it was."""
        if new is None:
            return
        pair = around if old is _UNCORRELATED else (self.schema, new, old)
        if self.rules:
            self._ask(run, path, new, old, lambda: pair is not None and _is_unchanged(*pair))
        for rules in self.all_of:
            rules._visit(run, path, new, old, around)
        if new.__class__ is dict:
            self._visit_map(run, path, new, old, pair)
        elif new.__class__ is list and self.items is not None:
            before = _by_keys(self.schema, old)
            for at, item in enumerate(new):
                self.items._visit(run, f"{path}[{at}]", item, before(item), pair)

    def _visit_map(self, run: _Run, path: str, new: Mapping[str, Any], old: Any, pair: _Pair | None) -> None:
        correlated = old.__class__ is dict and self.schema.get("x-kubernetes-map-type") != "atomic"
        for key, value in new.items():
            rules = self.properties.get(key)
            if rules is not None:
                where = f"{path}.{key}" if path else key
            elif self.additional is not None:
                rules, where = self.additional, f"{path}[{key}]"
            else:
                continue
            was = old.get(key) if correlated else None
            rules._visit(run, where, value, _UNCORRELATED if was is None else was, pair)

    def _ask(self, run: _Run, path: str, new: Any, old: Any, unchanged: Callable[[], bool]) -> None:
        kind = str(self.schema.get("type") or "")
        if run.budget.remaining <= 0:
            run.found.append(Violation("FieldValueInvalid", path, kind, _OUT_OF_BUDGET))
            raise _Exhausted
        from kubelib.cel.values import NONE, Optional

        there = old is not _UNCORRELATED
        for rule in self.rules:
            if rule.error:
                run.found.append(
                    Violation("FieldValueInvalid", path, kind, f"rule compile error: {rule.error}")
                )
                continue
            transition = rule.is_transition
            if rule.expression is None or (transition and not there and not rule.optional_old):
                continue
            before = (Optional(present=True, value=old) if there else NONE) if rule.optional_old else old
            variables = {"self": new, "oldSelf": before}
            text = _shown(rule.rule)
            detail = ""
            try:
                if rule.expression.evaluate(variables, run.budget) is True:
                    continue
            except BudgetExceeded:
                run.found.append(Violation("FieldValueInvalid", path, kind, _OUT_OF_BUDGET))
                raise _Exhausted from None
            except CostExceeded as error:
                detail = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {text}"
                run.found.append(Violation("FieldValueInvalid", path, kind, detail))
                raise _Exhausted from None
            except EvaluationError as error:
                if str(error).startswith("no such overload"):
                    detail = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                else:
                    detail = f"{error} evaluating rule: {text}"
                run.found.append(Violation("FieldValueInvalid", path, kind, detail))
                continue
            run.found.append(self._violation(run, rule, path, kind, variables, unchanged))

    def _violation(
        self,
        run: _Run,
        rule: CompiledRule,
        path: str,
        kind: str,
        variables: Mapping[str, Any],
        unchanged: Callable[[], bool],
    ) -> Violation:
        where = path + normalized_field_path(str(rule.rule.get("fieldPath") or ""))
        detail = None
        same = not rule.is_transition and unchanged()
        if rule.message is not None:
            try:
                detail = usable_message(rule.message.evaluate(variables, run.budget))
            except BudgetExceeded:
                detail = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
                run.found.append(Violation("FieldValueInvalid", where, kind, detail, same))
                raise _Exhausted from None
            except CostExceeded:
                text = rule.rule.get("messageExpression")
                detail = f'no further validation rules will be run due to call cost exceeds limit for messageExpression: "{text}"'
                run.found.append(Violation("FieldValueInvalid", where, kind, detail, same))
                raise _Exhausted from None
            except EvaluationError:
                detail = None
        if detail is None:
            message = str(rule.rule.get("message") or "")
            detail = message.strip() if message else f"failed rule: {_shown(rule.rule)}"
        return Violation(
            rule.rule.get("reason") or "FieldValueInvalid", where.removeprefix("."), kind, detail, same
        )


def usable_message(value: Any) -> str | None:
    """Return the message that an expression made; None when it cannot be used: empty, too long, or of several lines."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text and len(text.encode()) <= LONGEST_MESSAGE and "\n" not in text else None


def normalized_field_path(path: str) -> str:
    """Return a ``fieldPath`` as it is appended to a path: ``.spec['a.b']`` is ``.spec.a.b`` to Kubernetes' messages."""
    return path.replace("['", "[").replace("']", "]") if path else ""


def _shown(rule: Schema) -> str:
    return str(rule.get("message") or rule.get("rule") or "").strip()


def _by_keys(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Return what finds the element of an old list that a new one replaces: only lists that are maps have such."""
    keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
    if old.__class__ is not list or schema.get("x-kubernetes-list-type") != "map":
        return lambda item: _UNCORRELATED
    defaults = {
        key: value.get("default")
        for key, value in ((schema.get("items") or {}).get("properties") or {}).items()
        if key in keys
    }

    def key_of(item: Any) -> Any:
        return (
            tuple(repr(item.get(key, defaults.get(key))) for key in keys) if item.__class__ is dict else None
        )

    known = {key_of(item): item for item in old}
    return lambda item: known.get(key_of(item), _UNCORRELATED)


def _is_unchanged(schema: Schema, new: Any, old: Any) -> bool:
    """Return whether a value is as it was. Elements that are known by their keys may have changed their order."""
    if new.__class__ is dict and old.__class__ is dict:
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        others = extra if isinstance(extra, dict) else {}
        return new.keys() == old.keys() and all(
            _is_unchanged(properties.get(name) or others, value, old[name]) for name, value in new.items()
        )
    if new.__class__ is not list or schema.get("x-kubernetes-list-type") != "map":
        return bool(new == old)
    items, before = schema.get("items") or {}, _by_keys(schema, old)
    return (
        old.__class__ is list
        and len(new) == len(old)
        and all(
            (was := before(item)) is not _UNCORRELATED and _is_unchanged(items, item, was) for item in new
        )
    )


def compile_rules(schema: Schema, *, root: bool = True) -> Rules | None:
    """Return the rules of a schema; None when there are none, so that objects without rules cost nothing.

    With `root` it is the schema of a whole resource, whose kind and name its rules may see.
    """
    if not has_rules(schema):
        return None
    from kubelib.cel.schemas import type_of_schema

    type_ = type_of_schema(schema, root=root)
    return _compile(schema, schema, type_, root=root) if type_ is not None else None


def has_rules(schema: Any) -> bool:
    """Return whether a schema has rules anywhere."""
    if not isinstance(schema, Mapping):
        return False
    return bool(schema.get("x-kubernetes-validations")) or any(map(has_rules, _parts(schema)))


def _parts(schema: Schema) -> Iterator[Any]:
    yield schema.get("items")
    yield schema.get("additionalProperties")
    yield from (schema.get("properties") or {}).values()
    yield from schema.get("allOf") or ()


def _embedded(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _compile(ruled: Schema, schema: Schema, type_: Type, *, root: bool) -> Rules | None:
    """Compile the rules that `ruled` has for what `schema` describes; they differ within allOf."""
    if not has_rules(ruled):
        return None
    rules = Rules(
        schema,
        type_,
        tuple(compile_rule(rule, type_) for rule in ruled.get("x-kubernetes-validations") or ()),
    )

    from kubelib.cel.schemas import type_of_schema

    def inner(name: str, element: Type | None) -> Rules | None:
        part, own = ruled.get(name), schema.get(name)
        if not isinstance(part, Mapping) or not isinstance(own, Mapping) or element is None:
            return None
        return _compile(part, own, element, root=_embedded(own))

    if type_.kind in ("list", "map"):
        rules.items = inner("items", type_.parameters[-1])
        rules.additional = inner("additionalProperties", type_.parameters[-1])
    known = schema.get("properties") or {}
    for name, part in (ruled.get("properties") or {}).items():
        own = known.get(name)
        if own is None or not has_rules(part):
            continue
        # A part is compiled by its own type: names that cannot be written in expressions have rules too.
        part_type = type_of_schema(own, root=_embedded(own), name=f"{type_.name}.{name}")
        found = _compile(part, own, part_type, root=_embedded(own)) if part_type is not None else None
        if found is not None:
            rules.properties[name] = found
    rules.all_of = tuple(
        found
        for part in ruled.get("allOf") or ()
        if (found := _compile(part, schema, type_, root=root)) is not None
    )
    return rules
