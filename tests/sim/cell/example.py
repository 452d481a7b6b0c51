"""The default example of the simulator that came with the paper: its jobs, number for number.

The simulator (google/cluster-scheduler-simulator, 3-clause BSD) draws them from ten made-up data points for each distribution, which are
repeated here, by a generator with two faults that belong to the published figures: it interpolates between quantiles with
the wrong sign, and gives service jobs the shapes of batch jobs.
"""

from functools import cache
from math import ceil, floor

import numpy as np

from kubelib.sim.cell import Job, Workload
from kubelib.sim.cell.rng import JavaRandom
from kubelib.sim.cell.workloads import Day

HORIZON = 86_400.0
SEED = 42
GAPS = {
    "batch": [2.517473, 1.295932, 1.618243, 0.024418, 0.060959, 1.291739, 0.020385, 2.001258, 0.090779, 0.018862],
    "service": [340.360427, 82.592528, 1068.807106, 50.258920, 1205.063186, 76.170744, 884.422104, 237.976148, 107.145817, 1048.466730],
}  # fmt: skip
DURATIONS = {
    "batch": [1.727678, 24.602128, 21.330643, 18.513231, 15.296218, 13.420730, 9.506823, 41.397468, 43.686984, 46.735950],
    "service": [101.121137, 208.691963, 110.178521, 178.837062, 101.111495, 194.864865, 176.516334, 109.439388, 243.861564, 107.897281],
}  # fmt: skip
SIZES = {"batch": [1.0] * 9 + [1600.0], "service": [1.0] * 10}
PREFILL = [
    # tasks, CPUs and bytes of all of them, seconds until they end
    (1, 0.17000000178813934, 524_288_000, HORIZON),
    (1, 0.0010000000474974513, 10_485_760, 6.844149),
    (1000, 0.10000000149011612, 1_074_000_000_000, 8.921186),
]


class Empirical:
    """A distribution of data points, as the original draws from it."""

    def __init__(self, points: list[float]) -> None:
        ordered = sorted(points)
        self._quantiles = [ordered[int((len(ordered) - 1) * part / 1000.0)] for part in range(1001)]

    def draw(self, random: JavaRandom) -> float:
        # a float of 24 bits, of which none is lost
        place = (random.bits().pop() >> 7) / (1 << 24) * 1000
        if place == floor(place):
            return self._quantiles[int(place)]
        below, above = self._quantiles[floor(place)], self._quantiles[ceil(place)]
        return below + place % 1 * (below + above)


def _jobs(name: str) -> Workload:
    random = JavaRandom(SEED)
    gaps, durations, sizes = (Empirical(points[name]) for points in (GAPS, DURATIONS, SIZES))
    cpus = Empirical([cpu / tasks for tasks, cpu, _, _ in PREFILL[1:]])
    memories = Empirical([size / 2**30 / tasks for tasks, _, size, _ in PREFILL[1:]])
    jobs = []
    time = gaps.draw(random)
    while time < HORIZON:
        duration = durations.draw(random)
        tasks = ceil(np.float32(sizes.draw(random)))
        cpu, memory = (0.7 * float(np.float32(shape.draw(random))) for shape in (cpus, memories))
        jobs.append(Job(time, tasks, duration, cpu, memory))
        time += gaps.draw(random)
    return Workload.of(name, jobs)


@cache
def example() -> Day:
    """Return the jobs of the example."""
    held = [Job(0.0, tasks, end, cpu / tasks, size / 2**30 / tasks) for tasks, cpu, size, end in PREFILL]
    return Day(_jobs("batch"), _jobs("service"), Workload.of("prefill", held))
