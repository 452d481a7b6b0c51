"""Two-level scheduling, as in Mesos: a resource manager makes offers, frameworks decide which of their Pods go where in them.

What is offered is locked until the framework has answered; the next offer goes to the framework with the smallest dominant share of those
that wait for one. Nothing can conflict within; what others bind on the same nodes, the commit point finds out as ever.
"""

import logging
from collections.abc import Mapping, Sequence
from random import Random

import anyio
import attrs
import numpy as np
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from numpy.typing import NDArray

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.sched.base import ANYTHING, BoolColumn, Policy, Rows
from kubelib.sched.committing import Committer
from kubelib.sched.cycle import Cycle
from kubelib.sched.fairness import Offer, Offers, neediest
from kubelib.sched.following import Following
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo, workload_of
from kubelib.sched.queue import SchedulingQueue
from kubelib.sched.reporting import Recorder, Reporter
from kubelib.sched.settling import Settler
from kubelib.sched.together import Gathered, Together
from kubelib.transactions.base import DecisionTime
from kubelib.transactions.figures import Books

log = logging.getLogger("kubelib.sched")

BATCH = 256


class Offered:
    """A filter: the node is in the offer, with enough of everything. Depends on the offer, hence asked anew for every Pod."""

    name = "Offered"
    retry_on = ANYTHING

    def __init__(self) -> None:
        self._left: NDArray[np.float64] | None = None

    def open(self, offer: Offer) -> None:
        """Judge by this offer from now on."""
        self._left = np.array(offer.amounts)

    def take(self, pod: PodInfo, row: int, nodes: NodeTable) -> None:
        """Take what a Pod needs from the offer."""
        assert self._left is not None
        wanted = nodes.wanted(pod)[: len(self._left)]
        self._left[:, row] -= wanted

    def give(self, pod: PodInfo, row: int, nodes: NodeTable) -> None:
        """Give back what was taken for a Pod."""
        assert self._left is not None
        wanted = nodes.wanted(pod)[: len(self._left)]
        self._left[:, row] += wanted

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Every Pod is concerned."""
        return True

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Return where the offer has enough."""
        left = self._left
        if left is None:
            return False
        fits = np.zeros(nodes.size, bool)
        wanted = nodes.wanted(pod)
        if not wanted[len(left) :].any():
            known = left.shape[1]
            fits[:known] = (left >= wanted[: len(left), None]).all(axis=0)
        found: BoolColumn = fits[rows]
        return found

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Return what the user reads of a node that is not offered, or not enough of it."""
        return ("node(s) had too little in the resource manager's offer",)


@attrs.define
class Answer:
    """What a framework makes of an offer."""

    placed: list[tuple[PodInfo, str]] = attrs.field(factory=list)
    refused: list[tuple[PodInfo, str, str]] = attrs.field(factory=list)
    since: dict[str, float] = attrs.field(factory=dict)
    """When the Pods came, by uid."""
    again: bool = False
    """Whether any of them had been tried before."""
    together: Together | None = None
    """Of Pods that must be placed with their group: the decision about it."""


class Framework:
    """Decides about the Pods of one workload, by a policy of its own, on what it is offered."""

    def __init__(self, name: str, workload: str, policy: Policy, time: DecisionTime) -> None:
        self.name = name
        self.workload = workload
        self.books = Books(name)
        self.queue = SchedulingQueue()
        self.time = time
        self._offered = Offered()
        self.by_services = policy.by_services
        self._policy = attrs.evolve(policy, filters=(*policy.filters, self._offered))
        self._cycle: Cycle | None = None
        self._gathered: Gathered

    def join(self, following: Following, random: Random) -> None:
        """Learn of the cluster whose nodes are offered."""
        self._cycle = Cycle(following.table, self._policy, random)
        self.queue.groups = following.groups
        self._gathered = Gathered(following, self.queue)

    def decide(self, pods: Sequence[PodInfo], offer: Offer, whole: bool, group: Key | None = None) -> Answer:
        """Return where Pods shall go within an offer, and what to say of those that shall not.

        All Pods are of one `group` with which they must be placed, or of none. The offer is `whole` if it has all that is free: then Pods that find too little wait until something happens, otherwise for another.
        """
        cycle = self._cycle
        assert cycle is not None, "a framework decides for a resource manager"
        self._offered.open(offer)
        answer = Answer()
        now = anyio.current_time()
        for pod in pods:
            answer.since[pod.uid], tried = self.queue.history(pod)
            if tried == 1:
                self.books.first_wait.add(now - answer.since[pod.uid])
            else:
                answer.again = True
        if group is not None:
            found = answer.together = self._gathered.decide(
                cycle, group, pods, put=self._put, take=self._take_back, patient=whole
            )
            answer.placed, answer.refused = list(found.placed), list(found.refused)
            return answer
        for pod in pods:
            self._decide_one(cycle, pod, whole, answer)
        return answer

    def _put(self, pod: PodInfo, node: str) -> None:
        assert self._cycle is not None
        table = self._cycle.table
        table.put_pod(pod, node)
        self._offered.take(pod, table.rows[node], table)

    def _take_back(self, pod: PodInfo, node: str) -> None:
        assert self._cycle is not None
        table = self._cycle.table
        table.remove_pod(pod.uid)
        self._offered.give(pod, table.rows[node], table)

    def _decide_one(self, cycle: Cycle, pod: PodInfo, whole: bool, answer: Answer) -> None:
        try:
            verdict = cycle.decide(pod)
        except Exception as error:
            # A plug-in's mistake is this Pod's trouble, not that of those behind it.
            log.exception("judging pod %s", pod.key)
            self.queue.retry(pod)
            answer.refused.append((pod, "SchedulerError", f"{type(error).__name__}: {error}"))
            return
        if verdict.node:
            self._put(pod, verdict.node)
            answer.placed.append((pod, verdict.node))
            return
        if cycle.table.doubted(pod):
            cycle.table.forget_doubts()
            self.queue.retry(pod)
        elif whole:
            self.queue.failed(pod, verdict.retry_on)
        else:
            self.queue.retry(pod)
        answer.refused.append((pod, "Unschedulable", verdict.message))


def service_framework(name: str, policy: Policy, time: DecisionTime) -> Framework:
    """Return a framework for Pods that go on: placed with care, by a policy that spreads and balances."""
    return Framework(f"{name}-service", "service", policy, time)


def batch_framework(name: str, policy: Policy, time: DecisionTime) -> Framework:
    """Return a framework for Pods that end: placed quickly, by a policy that does not look for the best."""
    return Framework(f"{name}-batch", "batch", policy, time)


@attrs.define(eq=False)
class _Request:
    framework: Framework
    offer: Offer | None = None
    made: anyio.Event = attrs.field(factory=anyio.Event)


class ResourceManager:
    """Makes offers to frameworks, and commits what they answer. A `Component`.

    Pods go to the framework of their workload; those of a workload that no framework has, to the first.
    """

    def __init__(
        self,
        client: Client,
        frameworks: Sequence[Framework],
        *,
        random: Random,
        name: str = "default-scheduler",
        clock: Clock,
        recorder: Recorder | None = None,
        interval: float = 0.05,
        offer_nodes: int = 0,
    ) -> None:
        self.name = name
        self.frameworks = tuple(frameworks)
        self._interval = interval
        self._offer_nodes = offer_nodes
        self._random = random
        self._by_workload = {framework.workload: framework for framework in frameworks}
        self._following = following = Following(
            client,
            queues=[f.queue for f in frameworks],
            route=self._route,
            random=random,
            services=any(framework.by_services for framework in frameworks),
        )
        limit = anyio.CapacityLimiter(32)
        self._reporter = Reporter(client, following, clock=clock, recorder=recorder, limit=limit)
        self._committer = Committer(name, client, following, random=random, limit=limit, clock=clock)
        self._used: Mapping[str, Mapping[str, int]] = self.table.tally(self._holder)
        self._offers = Offers(())
        self._requests: list[_Request] = []
        self._news = anyio.Event()
        for framework in frameworks:
            framework.join(following, random)

    @property
    def table(self) -> NodeTable:
        """The cluster as the resource manager knows it."""
        return self._following.table

    def _framework(self, workload: str) -> Framework:
        return self._by_workload.get(workload, self.frameworks[0])

    def _route(self, pod: Pod) -> SchedulingQueue | None:
        if pod.spec.scheduler_name != self.name:
            return None
        return self._framework(workload_of(pod)).queue

    def _holder(self, pod: PodInfo) -> str:
        return self._framework(pod.workload).name if pod.scheduler == self.name else ""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once nodes and Pods are known."""
        async with anyio.create_task_group() as group:
            await group.start(self._following.run)
            for framework in self.frameworks:
                framework.books.began = anyio.current_time()
                group.start_soon(self._serve, framework)
            group.start_soon(self._make_offers)
            task_status.started()

    # A framework's round

    async def _serve(self, framework: Framework) -> None:
        settler = Settler(self._following, framework.queue, self._reporter, framework.books)
        while True:
            for group, pods in self._following.groups.runs(await framework.queue.take(BATCH)):
                await self._round(framework, settler, pods, group)

    async def _round(
        self, framework: Framework, settler: Settler, pods: Sequence[PodInfo], group: Key | None
    ) -> None:
        offer = await self._ask(framework)
        try:
            pods = settler.waiting(pods)
            began = anyio.current_time()
            seen = self._committer.look()
            whole = not self._offer_nodes and len(self._offers) == 1
            answer = framework.decide(pods, offer, whole, group)
            together = answer.together
            if answer.placed:
                self._following.wake("pod placed")
            thought = framework.time.of(len(pods))
            if thought:
                await anyio.sleep(thought)
            landed = 0
            if answer.placed:
                as_one = together is not None and together.as_one
                fates = await self._committer.commit(answer.placed, seen=seen, together=as_one)
                landed = sum(settler.settle(fate, answer.since[fate.pod.uid]) for fate in fates)
        finally:
            self._settle(offer)
        spent = anyio.current_time() - began
        framework.books.note(spent, len(answer.placed), landed, again=answer.again)
        async with anyio.create_task_group() as tasks:
            for pod, reason, message in answer.refused:
                remind = framework.queue.is_to_be_told(pod)
                tasks.start_soon(self._reporter.refused, pod, reason, message, remind)
            if together is not None and (together.message or landed):
                tasks.start_soon(self._reporter.grouped, together.group, together.message)

    async def _ask(self, framework: Framework) -> Offer:
        request = _Request(framework)
        self._requests.append(request)
        self._news.set()
        await request.made.wait()
        assert request.offer is not None
        return request.offer

    # The resource manager's

    async def _make_offers(self) -> None:
        while True:
            self._news = anyio.Event()
            if not self._offer_one():
                await self._news.wait()
                if self._interval:
                    await anyio.sleep(self._interval)

    def _offer_one(self) -> bool:
        """Make one offer, to the neediest framework that waits for one; return whether that was possible."""
        if not self._requests:
            return False
        table = self.table
        resources = tuple(table.allocatable)
        shape = (len(resources), table.size)
        locked = self._offers.locked
        if not len(self._offers):
            # Nobody has anything: the book is begun anew, as nodes come, go and change.
            self._offers = Offers(tuple(column.astype(float) for column in table.allocatable.values()))
        elif (len(locked), len(locked[0])) != shape:
            return False  # nodes have come that the book has no rows for: once the open offers are answered
        total = [float(column.sum()) for column in table.allocatable.values()]
        used = [
            [float(self._used.get(r.framework.name, {}).get(name, 0)) for name in resources]
            for r in self._requests
        ]
        request = self._requests[neediest(used, total)]
        offer = self._offers.make(
            request.framework.name,
            tuple(column.astype(float) for column in table.used.values()),
            self._some(),
        )
        if len(self._offers) > 1 and not any(amount.any() for amount in offer.amounts):
            self._offers.settle(offer)
            return False  # others have it all: once they answer
        self._requests.remove(request)
        request.offer = offer
        request.made.set()
        return True

    def _some(self) -> NDArray[np.bool_] | None:
        """Return the nodes of an offer that is not to have all of them: drawn among those with anything free."""
        table = self.table
        if not self._offer_nodes:
            return None
        free = np.flatnonzero(table.present & (table.left["pods"] > 0))
        if len(self._offers):
            free = free[np.array([not any(c[row] for c in self._offers.locked) for row in free], bool)]
        machines = np.zeros(table.size, bool)
        chosen = self._random.sample(range(len(free)), min(self._offer_nodes, len(free)))
        machines[free[chosen]] = True
        return machines

    def _settle(self, offer: Offer) -> None:
        self._offers.settle(offer)
        self._news.set()
