"""The scheduler: a component that decides about Pods, one job or batch after another, and commits what it decided.

It is monolithic as it stands. `kubelib.sched.architectures` makes the others of it: several that share Pods, nodes or both.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.sched.base import Policy
from kubelib.sched.claiming import Claimer, Errand
from kubelib.sched.committing import Committer
from kubelib.sched.cycle import Cycle
from kubelib.sched.devices import ELSEWHERE
from kubelib.sched.displacing import PREEMPTED, Displacement
from kubelib.sched.following import Following
from kubelib.sched.groups import Groups
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.preemption import Plan
from kubelib.sched.queue import FIRST_BACKOFF, LONGEST_BACKOFF, SchedulingQueue
from kubelib.sched.reporting import Recorder, Reporter
from kubelib.sched.settling import Settler
from kubelib.sched.together import Gathered, Together
from kubelib.transactions.base import Commit, DecisionTime, Detection
from kubelib.transactions.figures import Books

__all__ = ["BATCH", "PREEMPTED", "Path", "Recorder", "Scheduler", "Terms"]

log = logging.getLogger("kubelib.sched")

BATCH = 256
"""How many Pods are decided about at once at most."""
LONG, AIR = 1.0, 0.5
"""After so many seconds no further Pod is decided about at once, and everything else that the process does gets some."""
SYNCHRONOUS = DecisionTime(0.0, 0.0)


@attrs.frozen
class Path:
    """How Pods of one workload are decided about: with another policy than others, or more thoroughly."""

    workload: str
    policy: Policy
    time: DecisionTime = SYNCHRONOUS
    """How long decisions take at least, besides what they really take: to study schedulers slower than ours."""


@attrs.frozen(kw_only=True)
class Terms:
    """How a scheduler shares the cluster with others."""

    pods: Callable[[Pod], bool] | None = None
    """Which of the Pods that name the scheduler are its own; None: all."""
    nodes: Callable[[Node], bool] | None = None
    """Which nodes it may use; None: all."""
    paths: tuple[Path, ...] = ()
    """For Pods of these workloads; others are decided about by the scheduler's policy."""
    time: DecisionTime = SYNCHRONOUS
    detection: Detection = "fine"
    commit: Commit = "incremental"
    by_job: bool = False
    """Whether the Pods of each controller are a transaction of their own, and not all that wait."""
    first_backoff: float = FIRST_BACKOFF
    longest_backoff: float = LONGEST_BACKOFF
    """How many seconds a Pod that fitted nowhere waits at least, after the first time and at most."""

    def __attrs_post_init__(self) -> None:
        if self.commit == "all-or-nothing" and not self.by_job:
            raise ValueError("Transactions that land all or nothing must be those of jobs: set by_job.")


@attrs.define
class _Attempt:
    """A decision about some Pods."""

    placed: list[tuple[PodInfo, str]] = attrs.field(factory=list)
    refused: list[tuple[PodInfo, str, str]] = attrs.field(factory=list)
    plans: list[tuple[PodInfo, Plan]] = attrs.field(factory=list)
    errands: list[tuple[PodInfo, Errand]] = attrs.field(factory=list)
    """For Pods that have a node, and wait there for storage."""
    since: dict[str, float] = attrs.field(factory=dict)
    """When the Pods came, by uid."""
    again: bool = False
    together: Together | None = None
    """Of Pods that must be placed with their group: the decision about it."""


@attrs.frozen
class _Line:
    """A path, ready for decisions."""

    cycle: Cycle
    displacement: Displacement
    time: DecisionTime


@attrs.frozen
class _Job:
    """Pods about which is decided at once."""

    line: _Line
    pods: list[PodInfo]
    group: Key | None = None
    """The group which all of them belong to, and with which they must be placed."""


class Scheduler:
    """Binds the Pods that name it, until it is cancelled; and those of other profiles, each by a policy of its own."""

    def __init__(
        self,
        client: Client,
        *,
        random: Random,
        policy: Policy | None = None,
        name: str = "default-scheduler",
        clock: Clock = SYSTEM_CLOCK,
        recorder: Recorder | None = None,
        terms: Terms | None = None,
        title: str = "",
        profiles: Mapping[str, Policy] | None = None,
        recorders: Mapping[str, Recorder] | None = None,
    ) -> None:
        """Make a scheduler for Pods whose ``spec.schedulerName`` is `name`; `title` tells it from others of that name.

        `profiles` has the policies for Pods of further names, which wait in the same queue, and `recorders` take their Events.
        """
        self.name = name
        self.books = Books(title or name)
        self._groups = Groups()
        self.queue = SchedulingQueue(self._groups)
        self._terms = terms = terms or Terms()
        self.queue.first_backoff, self.queue.longest_backoff = terms.first_backoff, terms.longest_backoff
        policies = {name: policy or default_policy(), **(profiles or {})}
        paths = [path.policy for path in terms.paths]
        self._following = Following(
            client,
            queues=[self.queue],
            route=self._route,
            random=random,
            nodes=terms.nodes,
            groups=self._groups,
            services=any(policy.by_services for policy in (*policies.values(), *paths)),
        )
        self._limit = anyio.CapacityLimiter(32)
        self._reporter = Reporter(
            client, self._following, clock=clock, recorder=recorder, limit=self._limit, recorders=recorders
        )
        self._committer = Committer(
            title or name,
            client,
            self._following,
            random=random,
            limit=self._limit,
            detection=terms.detection,
            commit=terms.commit,
            clock=clock,
        )
        self._settler = Settler(self._following, self.queue, self._reporter, self.books)
        self._gathered = Gathered(self._following, self.queue)
        self._claimer = Claimer(client, self.table, limit=self._limit)
        self._lines: dict[tuple[str, str], _Line] = {}
        """By the name in the Pods, and their workload if that has a path of its own."""
        for profile, usual in policies.items():
            for path in (Path("", usual, terms.time), *terms.paths):
                cycle = Cycle(self.table, path.policy, random)
                displacement = Displacement(
                    profile, client, cycle, self._following, self._reporter, clock=clock, random=random, limit=self._limit
                )  # fmt: skip
                self._lines[profile, path.workload] = _Line(cycle, displacement, path.time)

    @property
    def table(self) -> NodeTable:
        """The cluster as this scheduler knows it."""
        return self._following.table

    def _route(self, pod: Pod) -> SchedulingQueue | None:
        if (pod.spec.scheduler_name, "") not in self._lines:
            return None
        return self.queue if self._terms.pods is None or self._terms.pods(pod) else None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once nodes and Pods are known."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._following.run)
            self.books.began = anyio.current_time()
            task_status.started()
            while True:
                for group, pods in self._groups.runs(await self.queue.take(BATCH)):
                    if group is not None:
                        await self._attempt(_Job(self._line(pods[0]), pods, group))
                        continue
                    for job in self._jobs(pods):
                        await self._attempt(job)

    def _line(self, pod: PodInfo) -> _Line:
        line = self._lines.get((pod.scheduler, pod.workload))
        return line if line is not None else self._lines[pod.scheduler, ""]

    def _jobs(self, pods: list[PodInfo]) -> Iterator[_Job]:
        """Yield what is decided about at once: the Pods of one path and, if so wanted, of one controller."""
        if len(self._lines) == 1 and not self._terms.by_job:
            yield _Job(self._lines[self.name, ""], pods)
            return
        jobs: dict[tuple[int, str], _Job] = {}
        for pod in pods:
            line = self._line(pod)
            key = id(line), (pod.owner or pod.uid) if self._terms.by_job else ""
            jobs.setdefault(key, _Job(line, [])).pods.append(pod)
        yield from jobs.values()

    # An attempt

    async def _attempt(self, job: _Job) -> None:
        line = job.line
        began = anyio.current_time()
        seen = self._committer.look()
        attempt = self._decide(job, began)
        if anyio.current_time() - began > LONG:
            # Nothing else was done meanwhile: not even the lease by which this one leads was renewed.
            await anyio.sleep(AIR)
        thought = line.time.of(len(job.pods))
        if thought:
            await anyio.sleep(thought)
        landed = 0
        together = attempt.together
        if attempt.placed:
            as_one = together is not None and together.as_one
            fates = await self._committer.commit(attempt.placed, seen=seen, together=as_one)
            landed = sum(self._settler.settle(fate, attempt.since[fate.pod.uid]) for fate in fates)
            attempt.refused += [
                (fate.pod, "SchedulerError", f'running Bind plugin "DefaultBinder": {fate.error}')
                for fate in fates
                if fate.is_refused
            ]
        ended = anyio.current_time()
        self.books.note(ended - began, len(attempt.placed), landed, again=attempt.again)
        async with anyio.create_task_group() as group:
            for pod, reason, message in attempt.refused:
                remind = self.queue.is_to_be_told(pod)
                group.start_soon(self._reporter.refused, pod, reason, message, remind)
                if pod.devices and ELSEWHERE in message:
                    group.start_soon(self._committer.give_back, pod)
            for pod, plan in attempt.plans:
                group.start_soon(line.displacement.carry_out, pod, plan, self._disappointed)
            for pod, errand in attempt.errands:
                group.start_soon(self._see_to_storage, pod, errand)
            if together is not None and (together.message or landed):
                group.start_soon(self._reporter.grouped, together.group, together.message)

    def _decide(self, job: _Job, now: float) -> _Attempt:
        attempt = _Attempt()
        pods = self._settler.waiting(job.pods)
        if job.group is not None:
            for pod in pods:
                self._note_wait(pod, attempt, now)
            self._decide_group(job.line, job.group, pods, attempt)
            return attempt
        whole = self._terms.commit == "all-or-nothing"
        for number, pod in enumerate(pods):
            if anyio.current_time() - now > LONG and not whole:
                for other in pods[number:]:
                    self.queue.back(other)
                break
            self._note_wait(pod, attempt, now)
            self._decide_one(job.line, pod, attempt)
        if self._terms.commit == "all-or-nothing" and (attempt.refused or attempt.errands):
            self._give_up_together(attempt)
        return attempt

    def _note_wait(self, pod: PodInfo, attempt: _Attempt, now: float) -> None:
        since, tried = self.queue.history(pod)
        attempt.since[pod.uid] = since
        if tried == 1:
            self.books.first_wait.add(now - since)
        else:
            attempt.again = True

    def _decide_group(self, line: _Line, group: Key, pods: Sequence[PodInfo], attempt: _Attempt) -> None:
        found = attempt.together = self._gathered.decide(
            line.cycle, group, pods, put=self.table.put_pod, take=self._take_back
        )
        attempt.refused += found.refused
        if found.short:
            self._make_way(line, group, pods, attempt)
        elif not found.message:
            line.displacement.forget_way(group)
        attempt.errands += [
            (pod, errand)
            for pod, node in found.placed
            if pod.claims and (errand := self._claimer.errand(pod, node)) is not None
        ]
        if not attempt.errands:
            attempt.placed += found.placed
            self.queue.wake("pod placed")
            return
        # All wait until there is storage; room is kept for those who will have it there.
        waiting = {pod.uid for pod, _ in attempt.errands}
        for pod, node in found.placed:
            self._take_back(pod, node)
            if pod.uid in waiting:
                self.table.nominate(pod, node)
            self.queue.park(pod)

    def _make_way(self, line: _Line, group: Key, pods: Sequence[PodInfo], attempt: _Attempt) -> None:
        """Look for Pods that would have to leave for a group of which too few can be placed."""
        minimum, bound = self._groups.minimum(group) or 0, self._groups.bound(group)
        way = line.displacement.plan_together(group, pods, minimum=minimum, bound=bound)
        if way is not None:
            attempt.plans += [(pods[0], plan) for plan in way.plans]
            for pod in pods:
                self.queue.failed(pod, frozenset({"node", "pod gone"}))

    def _take_back(self, pod: PodInfo, node: str) -> None:
        self.table.remove_pod(pod.uid)

    def _decide_one(self, line: _Line, pod: PodInfo, attempt: _Attempt) -> None:
        try:
            verdict = line.cycle.decide(pod)
        except Exception as error:
            # A plug-in's mistake is this Pod's trouble, not that of those behind it.
            log.exception("judging pod %s", pod.key)
            self.queue.retry(pod)
            self._following.withdraw(pod.uid)
            attempt.refused.append((pod, "SchedulerError", f"{type(error).__name__}: {error}"))
            return
        if verdict.node and pod.claims and (errand := self._claimer.errand(pod, verdict.node)) is not None:
            self.table.nominate(pod, verdict.node)
            self.queue.park(pod)
            attempt.errands.append((pod, errand))
        elif verdict.node:
            # Count it at once: the next decision must not see the room that this one takes.
            self.table.put_pod(pod, verdict.node)
            self.queue.wake("pod placed", pod)
            attempt.placed.append((pod, verdict.node))
        elif pod.claims and self._claimer.is_waiting(pod):
            # News of volumes come apart from those of claims: what is promised stays promised.
            self.queue.park(pod)
        elif self.table.doubted(pod):
            # Somebody else is about to fill the nodes where this one would fit, or was: soon we shall have heard.
            self.table.forget_doubts()
            self.queue.retry(pod)
            attempt.refused.append((pod, "Unschedulable", verdict.message))
        else:
            message, plan = line.displacement.plan(pod, verdict)
            if plan is not None:
                attempt.plans.append((pod, plan))
            self.queue.failed(pod, verdict.retry_on | {"pod gone"} if plan is not None else verdict.retry_on)
            attempt.refused.append((pod, "Unschedulable", message))

    def _give_up_together(self, attempt: _Attempt) -> None:
        """Take back what was placed of a job of which not everything can be."""
        count = len(attempt.placed) + len(attempt.refused) + len(attempt.errands)
        why = f"{len(attempt.placed)} of {count} pods of the job have a node, and all must have one."
        for pod, _ in attempt.placed:
            self.table.remove_pod(pod.uid)
            self.queue.failed(pod)
            attempt.refused.append((pod, "Unschedulable", why))
        attempt.placed.clear()

    async def _see_to_storage(self, pod: PodInfo, errand: Errand) -> None:
        """Say where a Pod will go, and see to its claims."""
        await self._reporter.promised(pod)
        await self._claimer.carry_out(pod, errand, self._disappointed)
        if not self.table.nominated_node(pod.uid):
            await self._reporter.patch_status(pod, {"nominatedNodeName": None})

    def _disappointed(self, pod: PodInfo) -> None:
        if pod.group is not None:
            self._line(pod).displacement.forget_way(pod.group)
        if pod.key in self.queue:
            self._following.withdraw(pod.uid)
            self.queue.retry(pod)
