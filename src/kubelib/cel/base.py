"""What the room promises: expressions that are checked when written, cost what was estimated, and cannot run away.

An `Environment` says which variables an expression may use. `Environment.compile` (see `kubelib.cel.environment`) parses and checks
a text once; the `Expression` is then evaluated as often as wanted, on plain JSON trees. All of it is pure and synchronous.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from kubelib.cel.types import Type

PER_CALL_LIMIT = 1_000_000
"""The most that one evaluation may cost: a tenth of a second on kube-apiserver."""
RUNTIME_BUDGET = 10_000_000
"""The most that all expressions together may cost for one object, one policy, or the match conditions of one request."""
ESTIMATED_LIMIT = 10_000_000
"""The most that one validation rule of a CustomResourceDefinition may cost by estimate."""
ESTIMATED_TOTAL_LIMIT = 100_000_000
"""The most that all validation rules of a CustomResourceDefinition may cost by estimate."""
MATCH_CONDITIONS_BUDGET = 2_500_000
"""The most that the match conditions of one webhook may cost: a quarter of `RUNTIME_BUDGET`, as in Kubernetes."""


class CelError(ValueError):
    """The text is not a valid expression here.

    ``str(error)`` is what Kubernetes says: ``compilation failed: ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')``
    with the line and a caret below; a wrong result type is ``must evaluate to bool``.
    """


class EvaluationError(Exception):
    """The expression has no value for these variables: ``no such key: x``, ``division by zero``. The message is cel-go's."""


class CostExceeded(EvaluationError):
    """One evaluation came to cost more than `PER_CALL_LIMIT`."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class BudgetExceeded(EvaluationError):
    """The expressions together came to cost more than the budget; the message says what Kubernetes says."""

    def __init__(self) -> None:
        super().__init__(
            "validation failed due to running out of cost budget, no further validation rules will be run"
        )


@attrs.define
class Budget:
    """What may still be spent on evaluations; shared by the expressions of one run."""

    remaining: int = RUNTIME_BUDGET


@attrs.frozen
class Cost:
    """An estimate: the least and the most that an evaluation may cost."""

    least: int
    most: int


class Expression(Protocol):
    """A checked expression."""

    @property
    def text(self) -> str:
        """The expression as written."""
        ...

    @property
    def result(self) -> Type:
        """The type of the value."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """The variables that it refers to: a rule that reads ``oldSelf`` is a transition rule."""
        ...

    @property
    def cost(self) -> Cost:
        """What an evaluation may cost, by the sizes that the declared types allow."""
        ...

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Return the value as Python has it: bool, int, float, str, list, dict, None, or a value of `kubelib.cel.values`.

        A variable is a JSON tree (shared, never changed), or a function without arguments that returns one and is called at most
        once. Raises EvaluationError; CostExceeded; BudgetExceeded when `budget` is used up.
        """
        ...
