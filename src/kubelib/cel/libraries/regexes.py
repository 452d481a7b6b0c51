"""Kubernetes' library of patterns: what of a text matches."""

from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.patterns import PatternError, compiled

REGEXES = Library()


@REGEXES.declare("string.find(string) string", cost=costs.pattern, estimate=costs.pattern_found)
def _find(text: str, pattern: str) -> str:
    found = _all(text, pattern, 1)
    return found[0] if found else ""


@REGEXES.declare("string.findAll(string) list(string)", cost=costs.pattern, estimate=costs.pattern_found)
def _find_all(text: str, pattern: str) -> list[str]:
    return _all(text, pattern, -1)


@REGEXES.declare("string.findAll(string, int) list(string)", cost=costs.pattern, estimate=costs.pattern_found)
def _find_some(text: str, pattern: str, most: int) -> list[str]:
    return _all(text, pattern, most)


def _all(text: str, pattern: str, most: int) -> list[str]:
    try:
        expression = compiled(pattern)
    except PatternError as error:
        raise EvaluationError(f"Illegal regex: {error}") from None
    out: list[str] = []
    if most == 0:
        return out
    for found in expression.finditer(text):
        out.append(found.group())
        if len(out) == most:
            break
    return out
