"""A compiled ValidatingAdmissionPolicy, and what it decides about a write. This module loads CEL: it is imported on demand."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from kubelib.api.admissionregistration import ValidatingAdmissionPolicy, Variable
from kubelib.cel import types
from kubelib.cel.admission import TEXT_OR_NULL, Variables, compile_variables, environment
from kubelib.cel.base import RUNTIME_BUDGET, Budget, BudgetExceeded, CelError, EvaluationError, Expression
from kubelib.cel.environment import Environment
from kubelib.cel.schema_rules import usable_message
from kubelib.cel.types import DYN, Type
from kubelib.registry.admission.conditions import CompiledConditions, compile_conditions
from kubelib.registry.admission.webhooks.base import ConditionFailed

_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


@attrs.frozen
class Decision:
    """What one expression says of a write."""

    denied: bool
    message: str = ""
    reason: str = ""
    expression: int = 0
    """Its place among the validations."""


@attrs.frozen
class Note:
    """What goes to the audit log, or why it cannot."""

    key: str
    value: str = ""
    error: str = ""


@attrs.frozen
class Verdict:
    """What a policy says of a write, with one set of parameters."""

    decisions: tuple[Decision, ...] = ()
    notes: tuple[Note, ...] = ()


Compiled = Expression | CelError | None


def compiled(scope: Environment, text: str, result: Type | tuple[Type, ...] | None) -> Compiled:
    """Return an expression, None for an empty one, or what is wrong with it."""
    if not text.strip():
        return None
    try:
        return scope.compile(text, result=result)
    except CelError as error:
        return error


@attrs.frozen(eq=False)
class Composition:
    """The variables of a policy, and the conditions under which it is asked."""

    variables: Mapping[str, Expression]
    types: Mapping[str, Type]
    conditions: CompiledConditions | None
    has_params: bool

    @classmethod
    def of(
        cls,
        variables: tuple[Variable, ...],
        conditions: list[str],
        *,
        has_params: bool,
        messages: Callable[[str], Type | None] | None = None,
    ) -> "Composition":
        """Compile what policies of both kinds have."""
        params = DYN if has_params else None
        named, known, _ = compile_variables(
            [(variable.name, variable.expression) for variable in variables],
            lambda before: environment(params=params, variables=before, messages=messages),
        )
        asked = compile_conditions(
            conditions, environment(params=params, namespace=False), budget=RUNTIME_BUDGET // 4
        )
        return cls(named, known, asked if conditions else None, has_params)

    def scope(self, *, authorizer: bool = True, messages: Any = None) -> Environment:
        """Return what an expression of the policy may refer to."""
        params = DYN if self.has_params else None
        return environment(params=params, authorizer=authorizer, variables=self.types, messages=messages)

    def bind(self, variables: Mapping[str, Any], params: Any, budget: Budget) -> dict[str, Any]:
        """Return the variables of one evaluation, those of the policy included."""
        bound = dict(variables)
        bound["params"] = params

        def evaluate(name: str) -> Any:
            expression = self.variables.get(name)
            if expression is None:
                raise EvaluationError(f'composited variable "{name}" fails to compile')
            try:
                return expression.evaluate(bound, budget)
            except BudgetExceeded:
                raise
            except EvaluationError as error:
                raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}') from None

        bound["variables"] = Variables(evaluate, self.types)
        return bound


@attrs.frozen(eq=False)
class PolicyEvaluator:
    """A policy, compiled."""

    composition: Composition
    validations: tuple[tuple[str, str, str, Compiled, Compiled], ...]
    """Text, message, reason, and the compiled expression and message."""
    annotations: tuple[tuple[str, str, Compiled], ...]

    @classmethod
    def of(cls, policy: ValidatingAdmissionPolicy) -> "PolicyEvaluator":
        """Compile a policy. What does not compile is an error each time it is asked."""
        spec = policy.spec
        conditions = [one.expression for one in spec.match_conditions]
        composition = Composition.of(spec.variables, conditions, has_params=spec.param_kind is not None)
        scope, plain = composition.scope(), composition.scope(authorizer=False)
        validations = tuple(
            (
                one.expression,
                one.message,
                one.reason or "Invalid",
                compiled(scope, one.expression, types.BOOL),
                compiled(plain, one.message_expression, types.STRING),
            )
            for one in spec.validations
        )
        annotations = tuple(
            (one.key, one.value_expression, compiled(scope, one.value_expression, TEXT_OR_NULL))
            for one in spec.audit_annotations
        )
        return cls(composition, validations, annotations)

    def judge(self, variables: Mapping[str, Any], params: Any) -> Verdict:
        """Say what the policy thinks of a write. Raises ConditionFailed when nobody can say whether it is meant."""
        conditions = self.composition.conditions
        if conditions is not None and not conditions.hold({**variables, "params": params}):
            return Verdict()
        budget = Budget()
        bound = self.composition.bind(variables, params, budget)
        decisions = []
        for at, (text, message, reason, expression, message_expression) in enumerate(self.validations):
            try:
                value = _evaluate(text, expression, bound, budget)
            except BudgetExceeded:
                decisions.append(Decision(denied=True, message=_OUT_OF_BUDGET, expression=at, reason="error"))
                break
            except EvaluationError as error:
                decisions.append(Decision(denied=True, message=str(error), expression=at, reason="error"))
                continue
            if value is True:
                continue
            shown = self._message(message_expression, bound, budget)
            shown = shown or message.strip() or f"failed expression: {text.strip()}"
            decisions.append(Decision(denied=True, message=shown, reason=reason, expression=at))
        return Verdict(tuple(decisions), tuple(self._notes(bound)))

    @staticmethod
    def _message(expression: Compiled, bound: Mapping[str, Any], budget: Budget) -> str | None:
        if expression is None or isinstance(expression, CelError):
            return None
        try:
            return usable_message(expression.evaluate(bound, budget))
        except EvaluationError:
            return None

    def _notes(self, bound: Mapping[str, Any]) -> list[Note]:
        notes, budget = [], Budget()
        for key, text, expression in self.annotations:
            try:
                value = _evaluate(text, expression, bound, budget)
            except EvaluationError as error:
                notes.append(Note(key, error=str(error)))
                continue
            if value is not None and value.strip():
                notes.append(Note(key, value.strip()))
        return notes


def _evaluate(text: str, expression: Compiled, bound: Mapping[str, Any], budget: Budget) -> Any:
    """Return a value. Raises EvaluationError with Kubernetes' words for what goes wrong."""
    if expression is None:
        return True
    if isinstance(expression, CelError):
        raise EvaluationError(f"compilation error: {expression}")
    try:
        return expression.evaluate(bound, budget)
    except BudgetExceeded:
        raise
    except EvaluationError as error:
        raise EvaluationError(f"expression '{text}' resulted in error: {error}") from None


__all__ = ["ConditionFailed", "Decision", "Note", "PolicyEvaluator", "Verdict"]
