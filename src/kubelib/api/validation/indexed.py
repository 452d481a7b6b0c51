"""Rules of indexed Jobs: how many indexes there are, how many of them may fail, and when enough have succeeded."""

import contextlib
import re

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import invalid, non_negative, quote, required, too_long, too_many

_LARGEST = 100_000
_MANY = 100_000
"""Of a Job with more indexes than this, each with failures of its own, less may run and fail at once."""
_LARGEST_OF_MANY = 10_000
_MOST_RULES = 20
_LONGEST_INDEXES = 64 * 1024
_integer = re.compile(r"[+-]?[0-9]+").fullmatch


def indexed_problems(spec: Tree, path: str) -> list[Problem]:
    """Check what only an indexed Job may say."""
    indexed = spec.get("completionMode") == "Indexed"
    problems: list[Problem] = []
    if indexed:
        problems += _size_problems(spec, path)
    elif spec.get("completionMode") in (None, "NonIndexed"):
        problems += [
            invalid(f"{path}.{field}", spec[field], _REQUIRES)
            for field in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(field) is not None
        ]
    return problems


_REQUIRES = "requires indexed completion mode"


def success_problems(spec: Tree, path: str) -> list[Problem]:
    """Check when enough of a Job has succeeded."""
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(path, policy, _REQUIRES)]
    return _success_problems(policy, spec.get("completions") or 0, path)


def _size_problems(spec: Tree, path: str) -> list[Problem]:
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    failed = spec.get("maxFailedIndexes")
    problems: list[Problem] = []
    if completions is None:
        problems.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism > _LARGEST:
        why = f"must be less than or equal to {_LARGEST} when completion mode is Indexed"
        problems.append(invalid(f"{path}.parallelism", parallelism, why))
    if failed is not None and completions is not None and failed > completions:
        why = "must be less than or equal to completions"
        problems.append(invalid(f"{path}.maxFailedIndexes", failed, why))
    if failed is not None and failed > _LARGEST:
        problems.append(
            invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_LARGEST}")
        )
    if completions is not None and completions > _MANY and spec.get("backoffLimitPerIndex") is not None:
        why = (
            f"must be less than or equal to {_LARGEST_OF_MANY} when completions are above {_MANY} and used with backoff"
            " limit per index"
        )
        if failed is None:
            problems.append(
                required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MANY}")
            )
        if parallelism > _LARGEST_OF_MANY:
            problems.append(invalid(f"{path}.parallelism", parallelism, why))
        if failed is not None and failed > _LARGEST_OF_MANY:
            problems.append(invalid(f"{path}.maxFailedIndexes", failed, why))
    return problems


def _success_problems(policy: Tree, completions: int, path: str) -> list[Problem]:
    rules, where = policy.get("rules") or [], f"{path}.rules"
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        return [required(where, why)]
    problems = [too_many(where, len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    for at, rule in enumerate(rules):
        problems += _rule_problems(rule, completions, f"{where}[{at}]")
    return problems


def _rule_problems(rule: Tree, completions: int, path: str) -> list[Problem]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        return [required(path, "at least one of succeededCount or succeededIndexes must be specified")]
    problems: list[Problem] = []
    named = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > _LONGEST_INDEXES:
            problems.append(too_long(where, _LONGEST_INDEXES))
        try:
            named = count_indexes(indexes, completions)
        except ValueError as error:
            problems.append(invalid(where, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        where = f"{path}.succeededCount"
        problems += non_negative(where, count)
        if count > completions:
            why = f"must be less than or equal to {completions} (the number of specified completions)"
            problems.append(invalid(where, count, why))
        if indexes is not None and count > named:
            why = f"must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
            problems.append(invalid(where, count, why))
    return problems


def count_indexes(text: str, completions: int) -> int:
    """Return how many indexes a text such as ``1,3-5`` names. Raises ValueError."""
    total, last = 0, -1
    for interval in text.split(",") if text else ():
        first, final = _interval(interval, completions)
        if total and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total, last = total + final - first + 1, final
    return total


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        raise ValueError(
            f"the fragment {quote(text)} violates the requirement that an index interval can have at most two parts"
            " separated by '-'"
        )
    first, final = _index(parts[0], completions), _index(parts[-1], completions)
    if len(parts) == 2 and first >= final:
        raise ValueError(f"non-increasing order, previous: {first}, current: {final}")
    return first, final


def overlap(one: str, other: str, completions: int) -> int | None:
    """Return an index that both texts name, None if there is none; what is no interval is passed over."""
    spans = [_intervals(text, completions) for text in (one, other)]
    common = [
        max(first, start)
        for first, last in spans[0]
        for start, end in spans[1]
        if first <= end and start <= last
    ]
    return min(common, default=None)


def _intervals(text: str, completions: int) -> list[tuple[int, int]]:
    found = []
    for part in text.split(",") if text else ():
        with contextlib.suppress(ValueError):
            found.append(_interval(part, completions))
    return found


def _index(text: str, completions: int) -> int:
    if not _integer(text):
        raise ValueError(f"cannot convert string to integer for index: {quote(text)}")
    if int(text) >= completions:
        raise ValueError(f"too large index: {quote(text)}")
    return int(text)
