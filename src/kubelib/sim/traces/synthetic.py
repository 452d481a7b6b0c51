"""Synthetic traces with constraints: the paper-like day on machines of several kinds, some jobs of which are choosy.

What share of jobs is constrained, and that a constraint of Google's cells tends to name the kind of machine or a property that a part
of the machines has, follows Sharma et al., "Modeling and synthesizing task placement constraints in Google compute
clusters" (SoCC 2011). The numbers are ours.
"""

from random import Random

import attrs

from kubelib.sim.cell.base import Cell, Machines, Workload
from kubelib.sim.cell.workloads import Day, paper_like

_KINDS = (
    # share of the machines, size relative to the largest, labels
    (0.53, 0.50, 0.50, {"platform": "b", "cores": "4"}),
    (0.31, 0.50, 0.25, {"platform": "b", "cores": "4", "small": ""}),
    (0.08, 0.50, 0.75, {"platform": "b", "cores": "4", "ssd": ""}),
    (0.06, 1.00, 1.00, {"platform": "c", "cores": "8", "ssd": ""}),
    (0.02, 0.25, 0.25, {"platform": "a", "cores": "2"}),
)
_CONSTRAINTS = (
    "platform=b",
    "platform!=a",
    "cores>2",
    "ssd",
    "!small",
    "platform in (b,c),!small",
    "platform=c",
)


def mixed_cell(count: int = 10_000, cpu: float = 8.0, memory: float = 32.0) -> Cell:
    """Return a cell of machines of five kinds, the largest of which has so many CPUs and GB."""
    if count < 50:
        raise ValueError(f"A mixed cell of {count} machines has no room for all kinds: give at least 50.")
    groups = [
        Machines(round(share * count), part_cpu * cpu, part_memory * memory, labels)
        for share, part_cpu, part_memory, labels in _KINDS[1:]
    ]
    rest = count - sum(group.count for group in groups)
    _, part_cpu, part_memory, labels = _KINDS[0]
    return Cell((Machines(rest, part_cpu * cpu, part_memory * memory, labels), *groups))


def constrained_day(
    cell: Cell,
    *,
    seed: int = 1,
    load: float = 1.0,
    horizon: float = 86_400.0,
    prefill: float = 0.6,
    share: float = 0.3,
) -> Day:
    """Return a paper-like day for a mixed cell, a share of whose jobs have constraints that can be met.

    Service jobs are as choosy as batch jobs; the prefill has no constraints.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A share of {share} of jobs with constraints is none: give a number from 0 to 1.")
    day = paper_like(seed=seed, load=load, cell=cell, horizon=horizon, prefill=prefill)
    return Day(
        _choosy(day.batch, cell, Random(10 * seed + 4), share),
        _choosy(day.service, cell, Random(10 * seed + 5), share),
        day.prefill,
    )


def _choosy(workload: Workload, cell: Cell, random: Random, share: float) -> Workload:
    eligible = {text: cell.eligible(text) for text in _CONSTRAINTS}
    constraints = []
    for job in workload:
        text = _CONSTRAINTS[int(random.random() * len(_CONSTRAINTS))] if random.random() < share else ""
        fits = any(
            matches and job.cpu <= group.cpu and job.memory <= group.memory
            for matches, group in zip(eligible.get(text, ()), cell.machines, strict=False)
        )
        constraints.append(text if fits else "")
    return attrs.evolve(workload, constraint=constraints)
