"""Making way for groups: which Pods of lower priority would have to go so that enough of a group get nodes at once.

Kubernetes' workload-aware preemption. The cluster is one domain: all that may have to go is taken away, and if enough of the group can be
placed then, what need not go is put back, the most important first. A group that may be disrupted only as a whole (``disruptionMode: all``)
goes or stays as a whole.
"""

from collections.abc import Callable, Iterator, Sequence

import attrs

from kubelib.api.meta import Key
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.groups import Groups
from kubelib.sched.pods import PodInfo
from kubelib.sched.preemption import Plan, Started
from kubelib.sched.together import Trial, try_together


@attrs.frozen(eq=False)
class Unit:
    """What goes or stays as a whole: a Pod, or all Pods of a group; each with its node."""

    pods: tuple[tuple[PodInfo, str], ...]
    priority: int
    grouped: bool


@attrs.frozen
class Way:
    """Where the Pods of a group would go, and who would have to leave which node."""

    placed: tuple[tuple[PodInfo, str], ...]
    plans: tuple[Plan, ...]

    @property
    def victims(self) -> Iterator[PodInfo]:
        """All Pods that would have to leave."""
        return (victim for plan in self.plans for victim in plan.victims)


def units(cycle: Cycle, groups: Groups, priority: int) -> list[Unit]:
    """Return what may have to go for a group of a priority."""
    whole: dict[Key, list[tuple[PodInfo, str]]] = {}
    found: list[Unit] = []
    for row, pods in cycle.table.pods_by_row():
        node = cycle.table.names[row]
        for pod in pods:
            rank = groups.precedence(pod)
            if rank >= priority or pod.going:
                continue
            if pod.group is not None and groups.is_whole(pod.group):
                whole.setdefault(pod.group, []).append((pod, node))
            else:
                found.append(Unit(((pod, node),), rank, pod.group is not None))
    found += [Unit(tuple(pods), groups.precedence(pods[0][0]), True) for pods in whole.values()]
    return found


def find_way(
    cycle: Cycle,
    groups: Groups,
    budgets: Budgets,
    pods: Sequence[PodInfo],
    *,
    minimum: int,
    bound: int,
    started: Started,
) -> Way | None:
    """Return who would have to go for a group, and leave the table as it is; None if that would not help."""
    table, priority = cycle.table, groups.precedence(pods[0])
    candidates = units(cycle, groups, priority)
    violating, _ = budgets.split([pod for unit in candidates for pod, _ in unit.pods])
    kept = {pod.uid for pod in violating}

    def importance(unit: Unit) -> tuple[object, ...]:
        # Those whose loss would break a budget are spared first.
        spared = not any(pod.uid in kept for pod, _ in unit.pods)
        first = min(started(pod) for pod, _ in unit.pods)
        return spared, -unit.priority, not unit.grouped, -len(unit.pods), first, unit.pods[0][0].key

    def attempt() -> list[tuple[PodInfo, str]] | None:
        trial = Trial()
        try:
            message = try_together(cycle, pods, minimum=minimum, bound=bound, put=table.put_pod, trial=trial)
        finally:
            for pod, _ in trial.placed:
                table.remove_pod(pod.uid)
        return None if message else trial.placed

    def move(unit: Unit, put: Callable[[PodInfo, str], object] | None) -> None:
        for pod, node in unit.pods:
            if put is None:
                table.remove_pod(pod.uid)
            else:
                put(pod, node)

    gone: list[Unit] = []
    for unit in candidates:
        move(unit, None)
        gone.append(unit)
    try:
        best = attempt() if gone else None
        if best is None:
            return None

        def spare(some: Sequence[Unit]) -> None:
            """Put back what need not go: all of it if that works, else each half, the more important one first."""
            nonlocal best
            for unit in some:
                move(unit, table.put_pod)
            spared = attempt()
            if spared is not None:
                best = spared
                gone[:] = [unit for unit in gone if unit not in some]
                return
            for unit in some:
                move(unit, None)
            if len(some) > 1:
                half = len(some) // 2
                spare(some[:half])
                spare(some[half:])

        spare(sorted(gone, key=importance))
    finally:
        victims = [pair for unit in gone for pair in unit.pods]
        for unit in gone:
            move(unit, table.put_pod)
    return Way(tuple(best), tuple(_plans(victims)))


def _plans(victims: Sequence[tuple[PodInfo, str]]) -> Iterator[Plan]:
    for node in dict.fromkeys(node for _, node in victims):
        yield Plan(node, tuple(pod for pod, there in victims if there == node), 0, ())
