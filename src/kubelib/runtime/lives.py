"""Rules for `kubelib.runtime.fake.FakeRuntime`, made of cases: how Pods of a name, image or label start, end and fail.

    rule = lives(
        case(pod="job-*", run_for=1),
        case(image="broken:*", refusal="no such file or directory"),
        case(pod="flaky-*", run_for=0.5, exit_code=1),
        otherwise=ready_after(2),
    )

The first case that fits decides. A `kubelib.runtime.fake.Life` says what can be said of one.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from random import Random
from typing import Any

import attrs

from kubelib.runtime.base import ContainerSpec, SandboxSpec
from kubelib.runtime.fake import Life, Rule


@attrs.frozen(kw_only=True)
class Case:
    """Which containers live how. Names are patterns with ``*`` and ``?``; what is not said fits everything."""

    life: Life
    pod: str = "*"
    namespace: str = "*"
    container: str = "*"
    image: str = "*"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    """Labels that the Pod has, among others."""
    attempts: int | None = None
    """Only for so many attempts of a container: those that follow meet the cases below. None: for all."""

    def fits(self, sandbox: SandboxSpec, container: ContainerSpec) -> bool:
        """Return whether this case is about a container."""
        return (
            fnmatchcase(sandbox.name, self.pod)
            and fnmatchcase(sandbox.namespace, self.namespace)
            and fnmatchcase(container.name, self.container)
            and fnmatchcase(container.image, self.image)
            and self.labels.items() <= sandbox.labels.items()
            and (self.attempts is None or container.attempt < self.attempts)
        )


_WHICH = frozenset(field.name for field in attrs.fields(Case)) - {"life"}


def case(life: Life | None = None, **which: Any) -> Case:
    """Return a case: ``case(pod="job-*", run_for=1)``, or ``case(ends(1, after=2), image="bad:*")``.

    Words of `Case` say which containers, words of `kubelib.runtime.fake.Life` how they live. Raises TypeError for others.
    """
    chosen = {name: which.pop(name) for name in tuple(which) if name in _WHICH}
    if life is not None and which:
        raise TypeError(f"say how containers live once: a Life was given, and {', '.join(sorted(which))}")
    return Case(life=Life(**which) if life is None else life, **chosen)


def lives(*cases: Case, otherwise: Life | None = None) -> Rule:
    """Return a rule: the first case that fits decides; containers that none fits run until they are stopped."""
    fallback = otherwise or Life()

    def rule(sandbox: SandboxSpec, container: ContainerSpec, random: Random) -> Life:
        return next((c.life for c in cases if c.fits(sandbox, container)), fallback)

    return rule


def ready_after(seconds: float) -> Life:
    """Start, and so become ready, after so many seconds; readiness probes, if there are any, succeed from then on."""
    return Life(start_delay=seconds)


def ends(exit_code: int = 0, *, after: float = 0.0, reason: str = "") -> Life:
    """Run for a time and end by itself."""
    return Life(run_for=after, exit_code=exit_code, reason=reason)


def never_starts(why: str) -> Life:
    """Be refused by the runtime."""
    return Life(refusal=why)
