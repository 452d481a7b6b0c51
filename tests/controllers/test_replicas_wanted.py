"""How many replicas metrics call for, held against what Kubernetes' autoscaler reckons."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from kubelib.api.autoscaling_v2 import MetricSpec, MetricTarget, ResourceMetricSource
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.controllers.autoscaling import CannotCompute, Usage
from kubelib.controllers.autoscaling.metrics import compute
from kubelib.testing.objects import CONTAINER, make_pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T, F, H, C = True, False, timedelta(0), timedelta(minutes=6)


def of_cpu(target: int) -> MetricSpec:
    by_use = MetricTarget(type="Utilization", average_utilization=target)
    return MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=by_use))


@attrs.frozen
class Case:
    """Pods of two containers that ask for a core each and use `levels` thousandths; all are ready and old unless said."""

    current: int
    levels: tuple[int, ...]
    target: int
    expected: int
    utilization: int
    ready: tuple[bool, ...] = ()
    age: tuple[timedelta, ...] = ()
    phases: tuple[str, ...] = ()
    deleted: tuple[bool, ...] = ()
    requests: tuple[str, ...] = ()

    def pods(self) -> list[Pod]:
        made = []
        for n in range(len(self.phases) or self.current):
            request = self.requests[n] if self.requests else "1"
            one = replace(CONTAINER, name="a", resources=ResourceRequirements(requests={"cpu": request}))
            began = NOW - (self.age[n] if self.age else C)
            pod = make_pod(
                f"p{n}",
                uid=f"p{n}",
                phase=self.phases[n] if self.phases else "Running",
                ready=self.ready[n] if self.ready else True,
                since=began,
                containers=(one, replace(one, name="b")),
            )
            if self.deleted and self.deleted[n]:
                pod = replace(pod, metadata=replace(pod.metadata, deletion_timestamp=NOW))
            made.append(replace(pod, status=replace(pod.status, start_time=began)))
        return made

    def usage(self) -> dict[str, Usage]:
        since = NOW - timedelta(minutes=1)
        return {
            f"p{n}": Usage({c: {"cpu": level} for c in "ab"}, since) for n, level in enumerate(self.levels)
        }


RUNS = "Running"
CASES = {
    "up": Case(3, (300, 500, 700), 30, 5, 50),
    "up, one unready": Case(3, (300, 500, 700), 30, 4, 60, ready=(F, T, T)),
    "up, one hot": Case(3, (300, 500, 700), 30, 4, 60, age=(H, C, C)),
    "up, two unready": Case(3, (400, 500, 700), 30, 3, 40, ready=(T, F, F)),
    "up, two hot": Case(3, (400, 500, 700), 30, 3, 40, ready=(T, F, F), age=(C, H, H)),
    "up, failed": Case(2, (500, 700), 30, 4, 60, ready=(T, T, F, F), phases=(RUNS, RUNS, "Failed", "Failed")),
    "up, deleted": Case(
        2, (500, 700), 30, 4, 60, ready=(T, T, F, F), phases=(RUNS,) * 4, deleted=(F, F, T, T)
    ),
    "down": Case(5, (100, 300, 500, 250, 250), 50, 3, 28),
    "down, unready": Case(5, (100, 300, 500, 250, 250), 50, 2, 30, ready=(T, T, T, F, F)),
    "down, unscheduled": Case(5, (100,), 50, 1, 10, ready=(T, F, F, F, F), phases=(RUNS, *("Pending",) * 4)),
    "down, hot": Case(5, (100, 300, 500, 250, 250), 50, 2, 30, age=(C, C, C, H, H)),
    "down, failed": Case(
        5,
        (100, 300, 500, 250, 250),
        50,
        3,
        28,
        ready=(*(T,) * 5, F, F),
        phases=(*(RUNS,) * 5, "Failed", "Failed"),
    ),
    "down, deleted": Case(
        5,
        (100, 300, 500, 250, 250),
        50,
        3,
        28,
        ready=(*(T,) * 5, F, F),
        phases=(RUNS,) * 7,
        deleted=(*(F,) * 5, T, T),
    ),
    "tolerance": Case(3, (1010, 1030, 1020), 100, 3, 102, requests=("0.9", "1", "1.1")),
    "superfluous": Case(4, (4000, 9500, 3000, 7000, 3200, 2000), 100, 24, 587),
    "missing": Case(4, (400, 95), 100, 3, 24),
    "missing, on target": Case(2, (1000,), 100, 2, 100),
    "missing, above": Case(2, (1900,), 100, 2, 190),
    "missing, below": Case(2, (600,), 100, 2, 60),
    "missing, unready": Case(3, (100, 450), 50, 3, 45, ready=(F, T, T)),
    "missing, hot": Case(3, (100, 450), 50, 3, 45, age=(H, C, C)),
    "missing, unready, up": Case(3, (100, 2000), 50, 4, 200, ready=(F, T, T)),
    "missing, hot, up": Case(3, (100, 2000), 50, 4, 200, ready=(F, T, T), age=(H, C, C)),
    "missing, unready, down": Case(4, (100, 100, 100), 50, 3, 10, ready=(F, T, T, T)),
    "surge": Case(2, (100, 100), 50, 2, 10, phases=(RUNS,) * 3),
    "little less": Case(
        10,
        (150,) * 10,
        56,
        9,
        50,
        requests=("400m", "200m", "310m", "290m", "302m", "298m", "301m", "299m", "300m", "300m"),
    ),
    "too little less": Case(
        10,
        (150,) * 10,
        55,
        10,
        50,
        requests=("400m", "200m", "310m", "290m", "302m", "298m", "301m", "299m", "300m", "300m"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_as_kubernetes_reckons(name: str) -> None:
    case = CASES[name]
    found = compute(of_cpu(case.target), case.pods(), case.usage(), case.current, NOW)
    current: Any = found.status.resource
    assert (found.replicas, current.current.average_utilization) == (case.expected, case.utilization)


def test_metrics_of_other_pods_only_say_nothing() -> None:
    pods = Case(1, (), 100, 0, 0).pods()
    with pytest.raises(CannotCompute, match="no metrics returned matched known pods"):
        compute(of_cpu(100), pods, {"older": Usage({"a": {"cpu": 100}})}, 1, NOW)
