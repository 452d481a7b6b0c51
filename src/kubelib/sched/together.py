"""The decision about a group of Pods: nodes for enough of them at once, or for none."""

import logging
from collections.abc import Callable, Iterator, Sequence

import attrs

from kubelib.api.meta import Key
from kubelib.sched.base import Happening
from kubelib.sched.cycle import Cycle, Verdict
from kubelib.sched.following import Following
from kubelib.sched.pods import PodInfo
from kubelib.sched.queue import SchedulingQueue

log = logging.getLogger("kubelib.sched")

NOTHING: frozenset[Happening] = frozenset()
Put = Callable[[PodInfo, str], object]
"""Called with a Pod and a node."""


@attrs.frozen
class Together:
    """A decision about a group."""

    group: Key
    placed: Sequence[tuple[PodInfo, str]] = ()
    """Pods with their nodes, counted there already."""
    refused: Sequence[tuple[PodInfo, str, str]] = ()
    """What to say of the others: reason and message."""
    message: str = ""
    """Why too few of the group can be placed; nothing if enough can. Then nothing is placed."""
    short: bool = False
    """Whether that is for want of nodes, which others might leave."""
    as_one: bool = False
    """Whether what is placed must land as a whole: the group has too few Pods with nodes yet."""


@attrs.define
class Trial:
    """What is being tried."""

    placed: list[tuple[PodInfo, str]] = attrs.field(factory=list)
    unfit: list[tuple[PodInfo, Verdict]] = attrs.field(factory=list)
    """Those for which there is no node."""
    untried: Sequence[PodInfo] = ()
    """Those about which nothing was decided, as it was clear already that too few can be placed."""

    def refusals(self, message: str) -> Iterator[tuple[PodInfo, str, str]]:
        """Return what to say of each Pod that gets no node; `message` says why the group as a whole gets none."""
        for pod, verdict in self.unfit:
            yield pod, "Unschedulable", f"{verdict.message} {message}".strip()
        if message:
            for pod in (*(pod for pod, _ in self.placed), *self.untried):
                yield pod, "Unschedulable", message


def try_together(
    cycle: Cycle, pods: Sequence[PodInfo], *, minimum: int, bound: int, put: Put, trial: Trial
) -> str:
    """Decide about Pods of a group in order, each with the room that those before it have taken; return why too few can be placed.

    `put` counts a Pod on its node, and is called for each that is placed: it is the caller's to take that back.
    """
    for number, pod in enumerate(pods):
        if bound + len(trial.placed) + len(pods) - number < minimum:
            trial.untried = pods[number:]
            break
        verdict = cycle.decide(pod)
        if verdict.node:
            put(pod, verdict.node)
            trial.placed.append((pod, verdict.node))
        else:
            trial.unfit.append((pod, verdict))
    scheduled, remaining = bound + len(trial.placed), len(trial.untried)
    if scheduled >= minimum:
        return ""
    group = pods[0].group
    name = group.name if group is not None else ""
    return f'pod group "{name}": minCount ({minimum}) cannot be satisfied: {scheduled} scheduled, {remaining} remaining'


class Gathered:
    """Decides about the groups of one queue."""

    def __init__(self, following: Following, queue: SchedulingQueue) -> None:
        self._following = following
        self._groups = following.groups
        self._queue = queue

    def decide(
        self, cycle: Cycle, group: Key, pods: Sequence[PodInfo], *, put: Put, take: Put, patient: bool = True
    ) -> Together:
        """Decide about the Pods of a group that wait. Those that get no node are put away, until something may help if that is `patient`.

        `put` counts a Pod on its node, `take` takes that back.
        """
        minimum, bound = self._groups.minimum(group) or 0, self._groups.bound(group)
        if missing := self._groups.missing(group, len(pods)):
            for pod in pods:
                self._queue.failed(pod, NOTHING)
            return Together(group, refused=[(pod, "Unschedulable", missing) for pod in pods], message=missing)
        names = sorted({pod.scheduler for pod in pods})
        if len(names) > 1:
            why = (
                "all pods in a single pod group should have the same .spec.schedulerName set,"
                f' got: "{names[0]}" and "{names[1]}"'
            )
            for pod in pods:
                self._queue.failed(pod, NOTHING)
            return Together(group, refused=[(pod, "SchedulerError", why) for pod in pods], message=why)
        trial = Trial()
        try:
            message = try_together(cycle, pods, minimum=minimum, bound=bound, put=put, trial=trial)
        except Exception as error:
            # A plug-in's mistake is this group's trouble, not that of those behind it.
            log.exception("judging pod group %s", group)
            self._take_back(trial, pods, take)
            for pod in pods:
                self._queue.retry(pod)
            why = f"{type(error).__name__}: {error}"
            return Together(group, refused=[(pod, "SchedulerError", why) for pod in pods], message=why)
        if message:
            self._take_back(trial, pods, take)
            self._put_away(trial, pods, patient)
            return Together(group, refused=list(trial.refusals(message)), message=message, short=True)
        self._put_away(trial, [pod for pod, _ in trial.unfit], patient)
        return Together(group, trial.placed, list(trial.refusals("")), as_one=bound < minimum)

    def _take_back(self, trial: Trial, pods: Sequence[PodInfo], take: Put) -> None:
        """Take back what was placed, and what was promised to the group before: others may have the room."""
        for pod, node in trial.placed:
            take(pod, node)
        for pod in pods:
            self._following.withdraw(pod.uid)

    def _put_away(self, trial: Trial, pods: Sequence[PodInfo], patient: bool) -> None:
        table = self._following.table
        if any(table.doubted(pod) for pod, _ in trial.unfit):
            # Somebody else is about to fill the nodes where these would fit, or was: soon we shall have heard.
            table.forget_doubts()
            patient = False
        retry_on = NOTHING.union(*(verdict.retry_on for _, verdict in trial.unfit))
        for pod in pods:
            if patient:
                self._queue.failed(pod, retry_on)
            else:
                self._queue.retry(pod)
