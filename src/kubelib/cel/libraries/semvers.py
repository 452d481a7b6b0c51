"""Kubernetes' library of semantic versions."""

import functools
import re
from typing import Any, ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque

SEMVER = types.opaque("kubernetes.Semver")
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_WORD = re.compile(r"[0-9A-Za-z-]+", re.ASCII)
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIERS}))?(?:\+({_IDENTIFIERS}))?", re.ASCII
)


@functools.total_ordering
@attrs.frozen(eq=False)
class Semver(Opaque):
    """A semantic version; build metadata does not take part in comparisons."""

    cel_type: ClassVar[Type] = SEMVER
    numbers: tuple[int, int, int]
    pre: tuple[str, ...]
    build: str = ""

    @property
    def _order(self) -> tuple[Any, ...]:
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre)
        return (self.numbers, not self.pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self._order == other._order

    def __hash__(self) -> int:
        return hash(self._order)

    def __lt__(self, other: "Semver") -> bool:
        return bool(self._order < other._order)


def parse(text: str, *, normalize: bool = False) -> Semver | None:
    """Return the version that a text is; None when it is none. Normalizing drops a v and zeros in front, and adds what is missing."""
    if normalize:
        text = text.removeprefix("v")
        head = re.match(r"[0-9.]*", text)
        core, rest = (head.group(), text[head.end() :]) if head is not None else ("", text)
        parts = core.split(".")
        if not all(parts) or len(parts) > 3 or (len(parts) < 3 and rest):
            return None
        text = ".".join([part.lstrip("0") or "0" for part in parts] + ["0"] * (3 - len(parts))) + rest
    found = _VERSION.fullmatch(text) if len(text) < 1000 else None
    if found is None:
        return None
    pre = tuple((found[4] or "").split(".")) if found[4] else ()
    if any(part.isdigit() and len(part) > 1 and part[0] == "0" for part in pre):
        return None
    return Semver((int(found[1]), int(found[2]), int(found[3])), pre, found[5] or "")


def _problem(text: str) -> str:
    """Return what is wrong with a text that is no version, as Kubernetes' library says it."""
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    rest, plus, build = parts[2].partition("+")
    patch, dash, pre = rest.partition("-")
    for name, number in (("major", parts[0]), ("minor", parts[1]), ("patch", patch)):
        if not number or not re.fullmatch(r"[0-9]+", number):
            return f'Invalid character(s) found in {name} number "{number}"'
        if len(number) > 1 and number[0] == "0":
            return f'{name.capitalize()} number must not contain leading zeroes "{number}"'
    for part in pre.split(".") if dash else ():
        if not part:
            return "Prerelease is empty"
        if not _WORD.fullmatch(part):
            return f'Invalid character(s) found in prerelease "{part}"'
        if part.isdigit() and len(part) > 1 and part[0] == "0":
            return f'Numeric PreRelease version must not contain leading zeroes "{part}"'
    for part in build.split(".") if plus else ():
        if not _WORD.fullmatch(part):
            return (
                f'Invalid character(s) found in build meta data "{part}"'
                if part
                else "Build meta data is empty"
            )
    return "invalid semantic version"


SEMVERS = Library()
SEMVERS.types["kubernetes.Semver"] = SEMVER
_add = SEMVERS.add


def _semver(text: str, normalize: bool = False) -> Semver:  # the arguments of the CEL function
    found = parse(text, normalize=normalize)
    if found is None:
        raise EvaluationError(_problem(text))
    return found


_S = "kubernetes.Semver"
for _signature in ("semver(string)", "semver(string, bool)"):
    _add(f"{_signature} {_S}", _semver, cost=costs.traversal, estimate=costs.first_traversed)
for _signature in ("isSemver(string)", "isSemver(string, bool)"):
    _add(
        f"{_signature} bool",
        lambda text, normalize=False: parse(text, normalize=normalize) is not None,
        cost=costs.traversal,
        estimate=costs.first_traversed,
    )
_add(f"{_S}.major() int", lambda a: a.numbers[0])
_add(f"{_S}.minor() int", lambda a: a.numbers[1])
_add(f"{_S}.patch() int", lambda a: a.numbers[2])
_add(f"{_S}.isGreaterThan({_S}) bool", lambda a, b: a > b)
_add(f"{_S}.isLessThan({_S}) bool", lambda a, b: a < b)
_add(f"{_S}.compareTo({_S}) int", lambda a, b: (a > b) - (a < b))
