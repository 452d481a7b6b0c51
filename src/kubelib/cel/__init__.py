"""CEL as Kubernetes has it: the language, its libraries, checking, costs, and rules of schemas; see `kubelib.cel.base`."""

from typing import TYPE_CHECKING, Any

from kubelib.cel.base import (
    ESTIMATED_LIMIT,
    ESTIMATED_TOTAL_LIMIT,
    MATCH_CONDITIONS_BUDGET,
    PER_CALL_LIMIT,
    RUNTIME_BUDGET,
    Budget,
    BudgetExceeded,
    CelError,
    Cost,
    CostExceeded,
    EvaluationError,
    Expression,
)

if TYPE_CHECKING:
    from kubelib.cel.environment import Environment

__all__ = [
    "ESTIMATED_LIMIT",
    "ESTIMATED_TOTAL_LIMIT",
    "MATCH_CONDITIONS_BUDGET",
    "PER_CALL_LIMIT",
    "RUNTIME_BUDGET",
    "Budget",
    "BudgetExceeded",
    "CelError",
    "Cost",
    "CostExceeded",
    "Environment",
    "EvaluationError",
    "Expression",
]


def __getattr__(name: str) -> Any:
    # The language is loaded by the first expression: most servers never see one.
    if name == "Environment":
        from kubelib.cel.environment import Environment

        return Environment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
