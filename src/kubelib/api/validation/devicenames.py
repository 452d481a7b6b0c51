"""Names and parts that device classes, claims and slices have in common."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    each,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

_LONGEST_DRIVER, _LONGEST_POOL, _LONGEST_IDENTIFIER = 63, 253, 32
_MOST_BINDING_CONDITIONS = 4
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_ANY_UUID = re.compile(
    r"(?:urn:uuid:|\{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?"
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_NO_IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'"
    " (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)


def items_problems(
    path: str,
    items: Sequence[Any],
    most: int,
    check: Callable[[Any, str], list[Problem]],
    key: Callable[[Any], Hashable] | None = None,
) -> list[Problem]:
    """Check a list: no longer than `most`, each item, and none twice by `key`."""
    if len(items) > most:
        return [too_many(path, len(items), most)]
    problems = [problem for at, item in enumerate(items) for problem in check(item, f"{path}[{at}]")]
    if key is None:
        return problems
    seen: set[Hashable] = set()
    for at, item in enumerate(items):
        if (name := key(item)) in seen:
            problems.append(duplicate(f"{path}[{at}]", name))
        seen.add(name)
    return problems


def name_of(item: Tree) -> str:
    """Return the name of an item."""
    return item.get("name") or ""


def label_problems(path: str, name: str) -> list[Problem]:
    """Check a name that must be there and is a DNS label."""
    return each(path, name, texts.label(name)) if name else [required(path)]


def driver_problems(path: str, name: str) -> list[Problem]:
    """Check the name of a driver."""
    if not name:
        return [required(path)]
    problems = [too_long(path, _LONGEST_DRIVER)] if len(name) > _LONGEST_DRIVER else []
    return problems + each(path, name, texts.subdomain(name.lower()))


def pool_problems(path: str, name: str) -> list[Problem]:
    """Check the name of a pool: DNS subdomains with slashes between them."""
    if not name:
        return [required(path)]
    problems = [too_long(path, _LONGEST_POOL)] if len(name) > _LONGEST_POOL else []
    for part in name.split("/"):
        problems += each(path, part, texts.subdomain(part))
    return problems


def identifier_problems(path: str, name: str) -> list[Problem]:
    """Check a C identifier."""
    problems = [too_long(path, _LONGEST_IDENTIFIER)] if len(name) > _LONGEST_IDENTIFIER else []
    return problems if _IDENTIFIER(name) else [*problems, invalid(path, name, _NO_IDENTIFIER)]


def qualified_problems(path: str, name: str, *, fully: bool = False) -> list[Problem]:
    """Check the name of an attribute or capacity, before which a domain may stand, and must if it is `fully` qualified."""
    domain, slash, rest = name.partition("/")
    if "/" in rest:  # which Kubernetes does not look into
        return []
    if not slash:
        problems = identifier_problems(path, name)
        if fully:
            why = "a fully qualified name must be a domain and a name separated by a slash"
            problems.append(invalid(path, name, why))
        return problems
    problems = (
        driver_problems(path, domain) if domain else [invalid(path, "", "the domain must not be empty")]
    )
    if not rest:
        return [*problems, invalid(path, "", "the name must not be empty")]
    return problems + identifier_problems(path, rest)


def effect_problems(path: str, effect: str) -> list[Problem]:
    """Check the effect of a taint, or of what tolerates it."""
    return [] if effect in _EFFECTS else [not_supported(path, effect, _EFFECTS)]


def object_problems(path: str, value: Any, longest: int) -> list[Problem]:
    """Check a JSON object that is for somebody else to read."""
    if value is None:
        return [required(path)]
    if len(encode_json(value)) > longest:
        return [too_long(path, longest)]
    return (
        [] if isinstance(value, dict) else [invalid(path, "<value omitted>", "must be a valid JSON object")]
    )


def binding_problems(device: Tree, path: str) -> list[Problem]:
    """Check the conditions for which Pods are not bound yet, or not at all."""
    awaited, failed = device.get("bindingConditions") or (), device.get("bindingFailureConditions") or ()

    def check(name: str, here: str) -> list[Problem]:
        return each(here, name, texts.qualified(name))

    awaiting, failing = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    problems = items_problems(awaiting, awaited, _MOST_BINDING_CONDITIONS, check)
    problems += items_problems(failing, failed, _MOST_BINDING_CONDITIONS, check)
    for where, names in ((awaiting, awaited), (failing, failed)):
        for at, name in enumerate(names):
            if name in names[:at]:
                problems.append(duplicate(f"{where}[{at}]", name))
            if where is failing and name in awaited:
                why = "bindingFailureConditions must not overlap with bindingConditions"
                problems.append(invalid(f"{where}[{at}]", name, why))
    if failed and not awaited:
        why = "bindingConditions are required to use bindingFailureConditions"
        problems.append(invalid(awaiting, device.get("bindingConditions"), why))
    if awaited and not failed:
        why = "bindingFailureConditions are required to use bindingConditions"
        problems.append(invalid(failing, device.get("bindingFailureConditions"), why))
    return problems


def share_problems(device: Tree, path: str) -> list[Problem]:
    """Check by which UID a share of a device is known, if it is one."""
    share, path = device.get("shareID"), f"{path}.shareID"
    if share is None or _UUID(share):
        return []
    if _UUID(_ANY_UUID.sub(r"\1-\2-\3-\4-\5", share.lower())):
        why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
        return [invalid(path, share, why)]
    length = len(share.encode())
    why = "invalid UUID format" if length in (32, 36) else f"invalid UUID length: {length}"
    return [invalid(path, share, f"error validating uid: {why}")]


_STATUSES = ("False", "True", "Unknown")
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?").fullmatch
_NO_REASON = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:',"
    " and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or"
    " 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
)
_LONGEST_REASON, _LONGEST_MESSAGE = 1024, 32 * 1024


def condition_problems(path: str, conditions: Iterable[Tree]) -> list[Problem]:
    """Check conditions as the API's conventions have them."""
    problems: list[Problem] = []
    seen: set[str] = set()
    for at, condition in enumerate(conditions):
        here, kind, status = f"{path}[{at}]", condition.get("type") or "", condition.get("status") or ""
        if kind in seen:
            problems.append(duplicate(f"{here}.type", kind))
        seen.add(kind)
        problems += each(f"{here}.type", kind, texts.qualified(kind))
        if status not in _STATUSES:
            problems.append(not_supported(f"{here}.status", status, _STATUSES))
        if (generation := condition.get("observedGeneration") or 0) < 0:
            why = "must be greater than or equal to zero"
            problems.append(invalid(f"{here}.observedGeneration", generation, why))
        if not condition.get("lastTransitionTime"):
            problems.append(required(f"{here}.lastTransitionTime", "must be set"))
        reason = condition.get("reason") or ""
        if not reason:
            problems.append(required(f"{here}.reason", "must be set"))
        elif not _REASON(reason):
            problems.append(invalid(f"{here}.reason", reason, _NO_REASON))
        if len(reason) > _LONGEST_REASON:
            problems.append(too_long(f"{here}.reason", _LONGEST_REASON))
        if len((condition.get("message") or "").encode()) > _LONGEST_MESSAGE:
            problems.append(too_long(f"{here}.message", _LONGEST_MESSAGE))
    return problems
