"""Names that the server makes up, and what names each kind of object may have."""

from collections.abc import Callable
from random import Random

from kubelib.labels.validation import is_dns1035_label, is_dns1123_label, is_dns1123_subdomain

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that make neither words nor mistakes."""

MAX_BASE = 58


def random_suffix(random: Random, length: int = 5) -> str:
    """Return a random suffix for a name."""
    return "".join(random.choice(ALPHABET) for _ in range(length))


def generate_name(base: str, random: Random) -> str:
    """Return `base`, cut to length, with a random suffix."""
    return base[:MAX_BASE] + random_suffix(random)


def safe_encode(number: int) -> str:
    """Return a number's decimal digits as letters of the alphabet: how template hashes become parts of names."""
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))


def is_path_segment(name: str) -> list[str]:
    """Check a name that need only fit into a URL: roles and the like."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in "/%" if part in name]


_RULES: dict[str, Callable[[str], list[str]]] = {
    "Namespace": is_dns1123_label,
    "Service": is_dns1035_label,
    "Role": is_path_segment,
    "ClusterRole": is_path_segment,
    "RoleBinding": is_path_segment,
    "ClusterRoleBinding": is_path_segment,
}


def name_problems(kind: str, name: str) -> list[str]:
    """Return what is wrong with the name of an object of a kind."""
    return _RULES.get(kind, is_dns1123_subdomain)(name)
