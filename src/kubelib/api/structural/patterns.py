"""Regular expressions as Go has them: matched in time that grows with the text alone, whatever the expression.

RE2 does that, where it is installed (it comes with the extra ``cluster``). Without it Python's own expressions serve, which are nearly
the same, but can take very long for some: a server that is open to others has RE2.
"""

import functools
from collections.abc import Callable


class PatternError(ValueError):
    """The text is no regular expression."""


@functools.lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Callable[[str], object]:
    """Return what searches for a pattern in a text. Raises PatternError."""
    try:
        import re2
    except ImportError:
        return _python(pattern)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options=options).search  # type: ignore[no-any-return]
    except re2.error as error:
        from kubelib.cel.patterns import as_go_says  # only now: what starts a cluster needs no CEL

        raise PatternError(f"error parsing regexp: {as_go_says(_text(error))}") from None


def _python(pattern: str) -> Callable[[str], object]:
    import re

    try:
        return re.compile(pattern.replace(r"\z", r"\Z")).search
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(str(error)) from None


def _text(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
