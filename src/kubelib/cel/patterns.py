"""Regular expressions of RE2: matched in time that grows with the text alone, whatever the pattern."""

import functools
from typing import Any

_CODES = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}
"""What RE2 calls an error, and Go's name for the same."""
_TRAILING = "trailing \\"


class PatternError(ValueError):
    """The pattern is none; the message is Go's."""


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Return a compiled pattern of the re2 package. Raises PatternError."""
    try:
        import re2
    except ImportError:
        raise PatternError(
            "patterns need the package google-re2: pip install 'kubelib-cluster[cluster]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0]
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise PatternError(f"error parsing regexp: {as_go_says(why)}") from None


def as_go_says(why: str) -> str:
    """Return what Go says of a pattern that is none, given what RE2 says of it."""
    if why == _TRAILING:
        return "trailing backslash at end of expression: ``"
    code, _, part = why.partition(": ")
    return f"{_CODES.get(code, code)}: `{part}`"
