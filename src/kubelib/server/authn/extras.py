"""Keys of what is known of a user beside name and groups, as headers carry them: a part of their name, escaped as in a path."""

import re
from urllib.parse import unquote

_IS_ESCAPED = re.compile(r"(?:[^%]|%[0-9a-fA-F]{2})*").fullmatch


def extra_key(escaped: str) -> str:
    """Return the key that the rest of a header's name stands for: itself, unless it is escaped rightly from end to end.

    >>> extra_key("acme.com%2fproject"), extra_key("acme.com%2fa%zz")
    ('acme.com/project', 'acme.com%2fa%zz')
    """
    return unquote(escaped) if _IS_ESCAPED(escaped) else escaped
