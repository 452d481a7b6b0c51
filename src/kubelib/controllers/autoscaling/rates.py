"""How fast an autoscaler may go: windows in which the most careful recommendation counts, and limits per period. Pure."""

import math
from collections import deque
from collections.abc import Sequence

import attrs

from kubelib.api.autoscaling_v2 import HorizontalPodAutoscaler, HPAScalingPolicy, HPAScalingRules

DEFAULT_DOWN_WINDOW = 300
_PERCENT = HPAScalingPolicy(type="Percent", value=100, period_seconds=15)
_PODS = HPAScalingPolicy(type="Pods", value=4, period_seconds=15)
UP = HPAScalingRules(select_policy="Max", stabilization_window_seconds=0, policies=(_PODS, _PERCENT))
DOWN = HPAScalingRules(select_policy="Max", policies=(_PERCENT,))
REMEMBERED = 3600.0


@attrs.define
class Recommendations:
    """What one autoscaler has recommended and done lately."""

    made: deque[tuple[float, int]] = attrs.field(factory=deque)
    changes: deque[tuple[float, int]] = attrs.field(factory=deque)
    """When replicas were added (positive) or taken away."""

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
    up, down = rules_of(autoscaler)
    memory.forget(now)
    memory.made.append((now, desired))
    up_window = up.stabilization_window_seconds or 0
    seconds = down.stabilization_window_seconds
    down_window = DEFAULT_DOWN_WINDOW if seconds is None else seconds
    lowest = min((n for at, n in memory.made if now - at <= up_window), default=desired)
    highest = max((n for at, n in memory.made if now - at <= down_window), default=desired)
    stable = min(max(current, lowest), highest)
    stabilized = None
    if stable != desired:
        stabilized = (
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
            if desired > stable
            else (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        )
    least, most = autoscaler.spec.min_replicas or 1, autoscaler.spec.max_replicas
    if autoscaler.spec.min_replicas == 0:
        least = 0
    if stable > current:
        limit = max(_up_limit(up, memory, current, now), current)
        top = min(limit, most)
        if stable > top:
            reason = (
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            )
            if most < limit:
                reason = (
                    "TooManyReplicas",
                    "the desired replica count is more than the maximum replica count",
                )
            return Limited(top, *reason, stabilized)
    elif stable < current:
        limit = min(_down_limit(down, memory, current, now), current)
        bottom = max(limit, least)
        if stable < bottom:
            reason = (
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            )
            if least > limit:
                reason = (
                    "TooFewReplicas",
                    "the desired replica count is less than the minimum replica count",
                )
            return Limited(bottom, *reason, stabilized)
    return Limited(stable, stabilized=stabilized)


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
