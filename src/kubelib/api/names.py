"""Names that the server makes up, and what names each kind of object may have."""

from collections.abc import Callable
from random import Random

from kubelib.labels.validation import is_dns1123_label, is_dns1123_subdomain

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that make neither words nor mistakes."""

MAX_BASE = 58


def random_suffix(random: Random, length: int = 5) -> str:
    """Return a random suffix for a name."""
    number = random.randrange(len(ALPHABET) ** length)  # one draw: each may be a call to the operating system
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)


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


def is_cron_job_name(name: str) -> list[str]:
    """Check the name of a CronJob: short enough for the Jobs and Pods that are named after it."""
    return [*is_dns1123_subdomain(name), *([] if len(name) <= 52 else ["must be no more than 52 characters"])]


def is_any_name(name: str) -> list[str]:
    """Accept every name."""
    return []


_RULES: dict[str, Callable[[str], list[str]]] = {
    "Namespace": is_dns1123_label,
    "Service": is_dns1123_label,
    "StatefulSet": is_dns1123_label,
    "Role": is_path_segment,
    "ClusterRole": is_path_segment,
    "RoleBinding": is_path_segment,
    "ClusterRoleBinding": is_path_segment,
    "APIService": is_path_segment,
    "CronJob": is_cron_job_name,
    "CertificateSigningRequest": is_any_name,
    "ClusterTrustBundle": is_any_name,  # the rules of the kind say more
    "IPAddress": is_any_name,  # the rules of the kind say more
}


def name_problems(kind: str, name: str, *, prefix: bool = False) -> list[str]:
    """Return what is wrong with the name of an object of a kind; a `prefix` is the base of a generated name."""
    rule = _RULES.get(kind, is_dns1123_subdomain)
    if prefix and rule is not is_path_segment and name[-1:] == "-" and len(name) > 1:
        # What will be appended follows the dash, so that it does not end the name.
        name = name[:-1] + "a"
    return rule(name)
