"""How fast an autoscaler may go: windows in which the most careful recommendation counts, and limits per period. Pure."""

import math
from collections import deque
from collections.abc import Iterator, Sequence

import attrs

from kubelib.api.autoscaling_v2 import HorizontalPodAutoscaler, HPAScalingPolicy, HPAScalingRules

DEFAULT_DOWN_WINDOW = 300
_PERCENT = HPAScalingPolicy(type="Percent", value=100, period_seconds=15)
_PODS = HPAScalingPolicy(type="Pods", value=4, period_seconds=15)
UP = HPAScalingRules(select_policy="Max", stabilization_window_seconds=0, policies=(_PODS, _PERCENT))
DOWN = HPAScalingRules(select_policy="Max", policies=(_PERCENT,))
REMEMBERED = 3600.0

# Reasons and messages of conditions
HELD_DOWN = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
HELD_UP = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_FAST_DOWN = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")


@attrs.define
class Recommendations:
    """What one autoscaler has recommended and done lately."""

    made: deque[tuple[float, int]] = attrs.field(factory=deque)
    changes: deque[tuple[float, int]] = attrs.field(factory=deque)
    """When replicas were added (positive) or taken away."""
    begun: bool = False

    def begin(self, current: int, now: float) -> None:
        """Take the replicas that there are at first as recommended: who has just come does not shrink things at once."""
        if not self.begun:
            self.begun = True
            self.made.append((now, current))

    def made_within(self, seconds: float, now: float) -> Iterator[int]:
        """Yield what was recommended in a time."""
        return (replicas for at, replicas in self.made if now - at < seconds)

    def forget(self, now: float) -> None:
        """Forget what is too long ago to matter."""
        for memory in (self.made, self.changes):
            while memory and now - memory[0][0] > REMEMBERED:
                memory.popleft()

    def changed_within(self, seconds: float, now: float, sign: int) -> int:
        """Return how many replicas were added or taken away in a time."""
        return sum(abs(n) for at, n in self.changes if n * sign > 0 and now - at < seconds)


@attrs.frozen
class Limited:
    """A number of replicas within all limits; which one has told, and how, if any."""

    replicas: int
    reason: str = "DesiredWithinRange"
    message: str = "the desired count is within the acceptable range"
    stabilized: tuple[str, str] | None = None
    """The reason and message of the condition AbleToScale, if an earlier recommendation was the more careful one."""

    @property
    def is_limited(self) -> bool:
        """Whether the metrics call for another number."""
        return self.reason != "DesiredWithinRange"


def rules_of(autoscaler: HorizontalPodAutoscaler) -> tuple[HPAScalingRules, HPAScalingRules]:
    """Return the rules for scaling up and down."""
    behavior = autoscaler.spec.behavior
    if behavior is None:
        return UP, DOWN
    return behavior.scale_up or UP, behavior.scale_down or DOWN


def limited(
    autoscaler: HorizontalPodAutoscaler, memory: Recommendations, current: int, desired: int, now: float
) -> Limited:
    """Return how many replicas there may be now, when metrics call for `desired`. Remembers what was called for."""
    memory.forget(now)
    memory.made.append((now, desired))
    if autoscaler.spec.behavior is None:
        return _limited_simply(autoscaler, memory, current, desired, now)
    up, down = rules_of(autoscaler)
    lowest = min(memory.made_within(up.stabilization_window_seconds or 0, now), default=desired)
    seconds = down.stabilization_window_seconds
    window = DEFAULT_DOWN_WINDOW if seconds is None else seconds
    highest = max(memory.made_within(window, now), default=desired)
    stable = min(max(current, min(lowest, desired)), max(highest, desired))
    stabilized = None
    if stable != desired:
        stabilized = HELD_DOWN if desired >= current else HELD_UP
    least, most = least_of(autoscaler), autoscaler.spec.max_replicas
    if stable > current:
        limit = max(_up_limit(up, memory, current, now), current)
        if stable > min(limit, most):
            return Limited(min(limit, most), *(TOO_MANY if most <= limit else TOO_FAST_UP), stabilized)
    elif stable < current:
        limit = min(_down_limit(down, memory, current, now), current)
        if stable < max(limit, least):
            return Limited(max(limit, least), *(TOO_FEW if least >= limit else TOO_FAST_DOWN), stabilized)
    return Limited(stable, stabilized=stabilized)


def _limited_simply(
    autoscaler: HorizontalPodAutoscaler, memory: Recommendations, current: int, desired: int, now: float
) -> Limited:
    """Do so without rules: at most twice as many at once, and less only as the last five minutes agree."""
    stable = max(desired, *memory.made_within(DEFAULT_DOWN_WINDOW, now))
    stabilized = HELD_UP if stable != desired else None
    least, most = least_of(autoscaler), autoscaler.spec.max_replicas
    limit = max(2 * current, 4)
    if stable < least:
        return Limited(least, *TOO_FEW, stabilized)
    if stable > min(limit, most):
        return Limited(min(limit, most), *(TOO_MANY if most <= limit else TOO_FAST_UP), stabilized)
    return Limited(stable, stabilized=stabilized)


def least_of(autoscaler: HorizontalPodAutoscaler) -> int:
    """Return how many replicas there are to be at least."""
    return 1 if autoscaler.spec.min_replicas is None else autoscaler.spec.min_replicas


def _chosen(rules: HPAScalingRules, proposals: Sequence[int], *, up: bool) -> int:
    widest = max if up else min
    narrowest = min if up else max
    return (narrowest if rules.select_policy == "Min" else widest)(proposals)


def _up_limit(rules: HPAScalingRules, memory: Recommendations, current: int, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    proposals = []
    for policy in rules.policies or UP.policies:
        began = (
            current
            - memory.changed_within(policy.period_seconds, now, 1)
            + memory.changed_within(policy.period_seconds, now, -1)
        )
        if policy.type == "Pods":
            proposals.append(began + policy.value)
        else:
            proposals.append(math.ceil(began * (1 + policy.value / 100)))
    return _chosen(rules, proposals, up=True)


def _down_limit(rules: HPAScalingRules, memory: Recommendations, current: int, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    proposals = []
    for policy in rules.policies or DOWN.policies:
        began = (
            current
            - memory.changed_within(policy.period_seconds, now, 1)
            + memory.changed_within(policy.period_seconds, now, -1)
        )
        if policy.type == "Pods":
            proposals.append(began - policy.value)
        else:
            proposals.append(int(began * (1 - policy.value / 100)))
    return _chosen(rules, proposals, up=False)
