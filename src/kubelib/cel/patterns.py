"""Regular expressions of RE2: matched in time that grows with the text alone, whatever the pattern."""

import functools
from typing import Any


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
        raise PatternError(f"error parsing regexp: {why}: `{pattern}`") from None
