"""How names of JSON fields are written in expressions: ``foo-bar`` is ``foo__dash__bar``."""

import re

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
"""Words that no variable may be called by."""
_NO_FIELDS = RESERVED | {"true", "false", "null", "in"}
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_PARTS = re.compile(r"__|[./-]")
_UNESCAPE = re.compile(r"__(?:underscores|dot|dash|slash)__")


def escape(name: str) -> str | None:
    """Return how a field is written in an expression; None when it cannot be.

    >>> escape("app.kubernetes.io/name"), escape("namespace"), escape("a__b"), escape("1st")
    ('app__dot__kubernetes__dot__io__slash__name', '__namespace__', 'a__underscores__b', None)
    """
    if _FIELD.fullmatch(name) is None:
        return None
    if name in _NO_FIELDS:
        return f"__{name}__"
    replacements = dict(_ESCAPES)
    return _PARTS.sub(lambda found: replacements[found.group()], name)


def unescape(name: str) -> str:
    """Return the field that a name in an expression means.

    >>> unescape("app__dot__kubernetes__dot__io__slash__name"), unescape("__namespace__"), unescape("a__underscores__b")
    ('app.kubernetes.io/name', 'namespace', 'a__b')
    """
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _NO_FIELDS:
        return name[2:-2]
    originals = {escaped: original for original, escaped in _ESCAPES}
    return _UNESCAPE.sub(lambda found: originals[found.group()], name)
