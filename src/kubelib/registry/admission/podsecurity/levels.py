"""Levels and their versions, and how the labels of a namespace choose them. Pure."""

import re
from collections.abc import Mapping

import attrs

from kubelib.api.errors import Problem

LABEL = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
"""From the most to the least permissive."""
LATEST = 1 << 31
"""The version that is newer than all others."""
CURRENT = 37
"""The minor version of Kubernetes whose rules these are."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


@attrs.frozen
class LevelVersion:
    """A level as it was in a version of Kubernetes."""

    level: str = "privileged"
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    @property
    def strictness(self) -> int:
        """How strict the level is, from 0."""
        return LEVELS.index(self.level)


@attrs.frozen
class Policy:
    """What is refused, what is noted in the audit log, and what the client is warned of."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()


PRIVILEGED = Policy()


def is_labelled(labels: Mapping[str, str]) -> bool:
    """Return whether labels say anything about Pod security."""
    for label in labels:  # noqa: SIM110 - asked for every Pod, and a generator costs as much as the rest of the question
        if label.startswith(LABEL):
            return True
    return False


def policy_of(labels: Mapping[str, str], defaults: Policy = PRIVILEGED) -> tuple[Policy, list[Problem]]:
    """Return the policy that labels choose, and what is wrong with them.

    What cannot be understood is enforced as strictly as can be, and neither audited nor warned of.
    """
    problems: list[Problem] = []
    chosen: dict[str, LevelVersion] = {}
    for mode, default in (("enforce", defaults.enforce), ("audit", defaults.audit), ("warn", defaults.warn)):
        level, minor = default.level, default.minor
        if (text := labels.get(LABEL + mode)) is not None:
            level = text
            if text not in LEVELS:
                level = "restricted" if mode == "enforce" else "privileged"
                problems.append(_wrong(mode, text, f"must be one of {', '.join(LEVELS)}"))
        if (text := labels.get(f"{LABEL}{mode}-version")) is not None:
            match = _VERSION.fullmatch(text)
            minor = int(match[1]) if match is not None else LATEST
            if match is None and text != "latest":
                problems.append(_wrong(f"{mode}-version", text, 'must be "latest" or "v1.x"'))
        chosen[mode] = LevelVersion(level, minor)
    enforce, warn = chosen["enforce"], chosen["warn"]
    named = labels.get(f"{LABEL}enforce") in LEVELS and f"{LABEL}warn" not in labels
    if named and enforce.strictness > warn.strictness:
        # Who makes a Deployment should hear that its Pods will be refused.
        minor = warn.minor if f"{LABEL}warn-version" in labels else enforce.minor
        chosen["warn"] = LevelVersion(enforce.level, minor)
    return Policy(**chosen), problems


def _wrong(name: str, text: str, why: str) -> Problem:
    return Problem("FieldValueInvalid", f"metadata.labels[{LABEL}{name}]", f'Invalid value: "{text}": {why}')
