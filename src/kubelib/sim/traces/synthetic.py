"""Synthetic traces with constraints: the paper-like day on machines of several kinds, some jobs of which are choosy.

What share of jobs is constrained, and that a constraint of Google's cells tends to name the kind of machine or a property that a part
of the machines has, follows Sharma et al., "Modeling and synthesizing task placement constraints in Google compute
clusters" (SoCC 2011). The numbers are ours.
"""

from collections.abc import Sequence
from math import expm1, log1p
from random import Random

import attrs

from kubelib.sim.cell.base import Cell, Machines, Workload
from kubelib.sim.cell.workloads import PRIORITIES, Day, paper_like

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


@attrs.frozen
class Demand:
    """How much synthetic jobs ask for of a resource beside CPUs and memory.

    A `share` of the jobs asks for some, each for as much for each of its tasks as an exponential distribution with this `mean` gives; what
    no machine has is drawn again.
    """

    resource: str
    share: float
    mean: float

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share of {self.resource} is {self.share}: give a number from 0 to 1.")
        if not 0 < self.mean < float("inf"):
            raise ValueError(f"mean of {self.resource} is {self.mean}: give a number above 0.")


def demanding(day: Day, cell: Cell, demands: Sequence[Demand], seed: int) -> Day:
    """Return a day whose batch and service jobs ask for further resources of a cell; the prefill asks for none.

    Where no machine has all that a job asks for it asks for none of that. Raises ValueError for what no machine has.
    """
    for number, demand in enumerate(demands):
        largest = max(group.more.get(demand.resource, 0.0) for group in cell.machines)
        if not largest:
            raise ValueError(f"No machine has any {demand.resource}: say how much under resources.")
        random = Random(f"{seed} {number}")
        day = attrs.evolve(
            day,
            batch=_asking(day.batch, cell, demand, largest, random),
            service=_asking(day.service, cell, demand, largest, random),
        )
    return day


def _asking(workload: Workload, cell: Cell, demand: Demand, largest: float, random: Random) -> Workload:
    eligible = {text: cell.eligible(text) for text in set(workload.constraint)}
    column = []
    for job in workload:
        amount = 0.0
        if random.random() < demand.share:
            # below the largest, by the inverse of the distribution there
            part = random.random() * -expm1(-largest / demand.mean)
            amount = round(-demand.mean * log1p(-part), 6)
        more = attrs.evolve(job, more={**job.more, demand.resource: amount})
        fits = any(
            chosen and group.fits(more)
            for chosen, group in zip(eligible[job.constraint], cell.machines, strict=True)
        )
        column.append(amount if fits else 0.0)
    return attrs.evolve(workload, more={**workload.more, demand.resource: column})


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
    priorities: tuple[int, int] = PRIORITIES,
) -> Day:
    """Return a paper-like day for a mixed cell, a share of whose jobs have constraints that can be met.

    Service jobs are as choosy as batch jobs; the prefill has no constraints.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A share of {share} of jobs with constraints is none: give a number from 0 to 1.")
    day = paper_like(seed=seed, load=load, cell=cell, horizon=horizon, prefill=prefill, priorities=priorities)
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
            matches and group.fits(job)
            for matches, group in zip(eligible.get(text, ()), cell.machines, strict=False)
        )
        constraints.append(text if fits else "")
    return attrs.evolve(workload, constraint=constraints)
