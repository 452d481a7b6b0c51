"""Literals that can be judged when they are written: a duration, a timestamp, a pattern."""

from kubelib.cel.base import EvaluationError
from kubelib.cel.patterns import PatternError, compiled
from kubelib.cel.syntax import Call, Constant, Node
from kubelib.cel.values import parse_duration, parse_timestamp


def literal_problem(node: Call) -> tuple[int, str] | None:
    """Return where and what is wrong with the literal that a function gets; None when nothing is."""
    if node.function in ("duration", "timestamp") and node.target is None and len(node.args) == 1:
        argument = node.args[0]
        if isinstance(argument, Constant) and isinstance(argument.value, str):
            try:
                (parse_duration if node.function == "duration" else parse_timestamp)(argument.value)
            except (ValueError, EvaluationError):
                return argument.at, f"invalid {node.function} argument"
    if node.function == "matches" and _pattern_problem(node.args[-1]):
        return node.args[-1].at, "invalid matches argument"
    return None


def instantiation_problem(node: Call) -> str:
    """Return why a call cannot be made ready, which cel-go finds out once all is checked: a pattern to search for is none."""
    if node.function not in ("find", "findAll") or not node.args:
        return ""
    return _pattern_problem(node.args[0])


def _pattern_problem(argument: Node) -> str:
    if not isinstance(argument, Constant) or not isinstance(argument.value, str):
        return ""
    try:
        compiled(argument.value)
    except PatternError as error:
        return str(error)
    return ""
