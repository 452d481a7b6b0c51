"""Environments: which variables an expression may use. `Environment.compile` is how expressions come to be."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from kubelib.cel import types
from kubelib.cel.base import (
    PER_CALL_LIMIT,
    Budget,
    BudgetExceeded,
    CelError,
    Cost,
    CostExceeded,
    EvaluationError,
    Expression,
)
from kubelib.cel.checker import Checker
from kubelib.cel.compiler import Compiler
from kubelib.cel.estimate import estimate
from kubelib.cel.frame import FIRST, Frame
from kubelib.cel.libraries import FUNCTIONS, TYPE_NAMES
from kubelib.cel.library import Overload
from kubelib.cel.parser import parse
from kubelib.cel.reading import reader
from kubelib.cel.source import Problems
from kubelib.cel.syntax import Node
from kubelib.cel.types import Type


@attrs.frozen(eq=False)
class CompiledExpression:
    """An expression of an environment; see `kubelib.cel.base.Expression`."""

    text: str
    result: Type
    reads: frozenset[str]
    _root: Node
    _run: Callable[[Frame], Any]
    _cost: int
    _places: tuple[tuple[str, int, Callable[[Any], Any] | None], ...]
    _blank: tuple[Any, ...]
    limit: int = PER_CALL_LIMIT
    """The most that one evaluation may cost."""

    @functools.cached_property
    def cost(self) -> Cost:
        """What an evaluation may cost by estimate."""
        return estimate(self._root)

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Return the value; see `kubelib.cel.base.Expression.evaluate`."""
        frame = list(self._blank)
        for name, place, read in self._places:
            try:
                value = variables[name]
            except KeyError:
                raise EvaluationError(f"no such attribute(s): {name}") from None
            if callable(value):
                value = value()
            frame[place] = value if read is None else read(value)
        limit = frame[1]
        try:
            result = self._run(frame)
        except RecursionError:
            raise EvaluationError("the expression is nested too deeply") from None
        finally:
            if budget is not None:
                budget.remaining -= frame[0]
                if budget.remaining < 0:
                    raise BudgetExceeded
        if frame[0] > limit:
            raise CostExceeded
        return result


@attrs.frozen(eq=False)
class Environment:
    """The variables that expressions may use, by name and type; `messages` has what may be written ``Name{…}``.

    >>> environment = Environment({"self": types.list_of(types.INT)})
    >>> environment.compile("self.all(x, x > 0) && size(self) < 4").evaluate({"self": [1, 2, 3]})
    True
    """

    variables: Mapping[str, Type]
    messages: Callable[[str], Type | None] | None = None
    functions: Mapping[str, Sequence[Overload]] = FUNCTIONS
    type_names: Mapping[str, Type] = TYPE_NAMES

    def message(self, name: str) -> Type | None:
        """Return the type of objects that are written ``name{…}``."""
        return self.messages(name) if self.messages is not None else None

    def compile(
        self, text: str, *, result: Type | tuple[Type, ...] | None = types.BOOL, limit: int = PER_CALL_LIMIT
    ) -> Expression:
        """Parse and check a text, whose value must be of the type `result`, or of one of several.

        Raises CelError. As in Kubernetes, what may be anything (dyn) is not accepted for a type. An evaluation may cost no more than
        `limit`.
        """
        root = parse(text)
        problems = Problems(text)
        try:
            checker = Checker(self, problems)
            found = checker.check(root)
            problems.raise_any()
            _must_be(found, result)
            if checker.unusable:
                raise CelError(f"program instantiation failed: {checker.unusable}")
            compiler = Compiler()
            run, cost = compiler.compile(root)
        except RecursionError:
            problems.add(0, "expression recursion limit exceeded: 250")
            problems.raise_any()
            raise
        places = tuple(
            (name, place, reader(self.variables[name])) for name, place in compiler.variables.items()
        )
        blank = (cost, limit, *[None] * (compiler.size - FIRST))
        return CompiledExpression(
            text, found, frozenset(compiler.variables), root, run, cost, places, blank, limit
        )


def _must_be(found: Type, wanted: Type | tuple[Type, ...] | None) -> None:
    if wanted is None:
        return
    allowed = wanted if isinstance(wanted, tuple) else (wanted,)
    if any(one.kind == "dyn" or found == one for one in allowed):
        return
    if len(allowed) == 1:
        raise CelError(f"must evaluate to {allowed[0]}")
    raise CelError(f"must evaluate to one of [{' '.join(one.runtime_name for one in allowed)}]")
