"""Match conditions: expressions in CEL that say of which requests a webhook, or a policy, is asked."""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from kubelib.api.scheme import Resource, Tree
from kubelib.cel import MATCH_CONDITIONS_BUDGET, Budget, BudgetExceeded, CelError, EvaluationError, Expression
from kubelib.cel.admission import environment
from kubelib.cel.environment import Environment
from kubelib.registry.admission.base import Attributes
from kubelib.registry.admission.expressions import variables_of
from kubelib.registry.admission.webhooks.base import ConditionFailed

log = logging.getLogger("kubelib.registry")


@attrs.frozen(eq=False)
class CompiledConditions:
    """Conditions that must all be true."""

    conditions: tuple[tuple[str, Expression | CelError], ...]
    """The text of each, and what it was compiled to."""
    budget: int = MATCH_CONDITIONS_BUDGET

    def match(self, attributes: Attributes, form: Resource, tree: Tree | None, old: Tree | None) -> bool:
        """Return whether all hold of a write, whose documents are in `form`. Raises ConditionFailed."""
        return self.hold(variables_of(attributes, form, tree, old))

    def hold(self, variables: Mapping[str, Any]) -> bool:
        """Return whether all are true; one that is false decides, whatever happens to the others. Raises ConditionFailed."""
        budget, errors = Budget(self.budget), []
        for text, expression in self.conditions:
            if isinstance(expression, CelError):
                errors.append(f"compilation error: {expression}")
                continue
            try:
                if expression.evaluate(variables, budget) is not True:
                    return False
            except BudgetExceeded as error:
                raise ConditionFailed(str(error)) from None
            except EvaluationError as error:
                errors.append(f"expression '{text}' resulted in error: {error}")
        if errors:
            raise ConditionFailed(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
        return True


def compile_conditions(
    texts: Sequence[str], scope: Environment, *, budget: int = MATCH_CONDITIONS_BUDGET
) -> CompiledConditions:
    """Return conditions, ready to be evaluated; one that does not compile fails when it is asked."""
    compiled: list[tuple[str, Expression | CelError]] = []
    for text in texts:
        try:
            compiled.append((text, scope.compile(text)))
        except CelError as error:
            log.warning("a match condition does not compile: %s", error)
            compiled.append((text, error))
    return CompiledConditions(tuple(compiled), budget)


@functools.lru_cache(maxsize=1)
def webhook_scope() -> Environment:
    """Return what the match conditions of webhooks may refer to."""
    return environment(namespace=False)
