"""Making way: plans of `preemption` carried out, so that Pods of lower priority leave for one that fits nowhere."""

import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key
from kubelib.api.times import format_time
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.registry.base import Patch, Preconditions
from kubelib.sched.cycle import Cycle, Verdict
from kubelib.sched.following import Following
from kubelib.sched.makingway import Way, find_way
from kubelib.sched.pods import PodInfo
from kubelib.sched.preemption import NoPlan, Plan, Preemption
from kubelib.sched.reporting import Reporter

log = logging.getLogger("kubelib.sched")

PREEMPTED = "PreemptionByScheduler"


class Displacement:
    """Looks for Pods that have to leave, and makes them."""

    def __init__(
        self,
        name: str,
        client: Client,
        cycle: Cycle,
        following: Following,
        reporter: Reporter,
        *,
        clock: Clock,
        random: Random,
        limit: anyio.CapacityLimiter,
    ) -> None:
        self._name = name
        self._cycle = cycle
        self._ways: dict[Key, tuple[Mapping[str, str], frozenset[str]]] = {}
        """For groups: the nodes of their Pods, and the Pods that were made to go, by uid."""
        self._pods = client.resource(Pod)
        self._following = following
        self._table = following.table
        self._reporter = reporter
        self._clock = clock
        self._limit = limit
        self._preemption = Preemption(cycle, following.budgets, started=self._started, random=random)

    def plan(self, pod: PodInfo, verdict: Verdict) -> tuple[str, Plan | None]:
        """Look for Pods that would have to go for a Pod that fits nowhere; return what to say, and the plan if there is one."""
        if not verdict.nodes or not self._preemption.wanted:
            self._following.withdraw(pod.uid)
            return verdict.message, None
        devices = self._table.devices.afterword(pod, verdict.reasons, verdict.outright)
        if self._is_way_being_made(pod):
            waiting = "not eligible due to a terminating pod on the nominated node."
            return f"{verdict.message} {devices}preemption: {waiting}", None
        try:
            plan = self._preemption.plan(pod)
        except Exception as error:
            log.exception("looking for pods that could go for %s", pod.key)
            plan = NoPlan(f"{type(error).__name__}: {error}")
        if isinstance(plan, NoPlan):
            if pod.preempts:
                self._following.withdraw(pod.uid)
            return f"{verdict.message} {devices}preemption: {plan.message}", None
        self._table.nominate(pod, plan.node)
        return verdict.message, plan

    def plan_together(self, group: Key, pods: Sequence[PodInfo], *, minimum: int, bound: int) -> Way | None:
        """Look for Pods that would have to go so that enough of a group can be placed; then the group is promised its nodes.

        None if that does not help, or if those that were made to go for it are still on their way out.
        """
        going = self._ways.get(group)
        if going is not None:
            promised, victims = going
            if any(self._table.has_pod(uid) for uid in victims):
                self._promise(pods, promised)
                return None
            del self._ways[group]
        following = self._following
        if not self._preemption.wanted or not following.groups.preempts(group, pods):
            return None
        try:
            way = find_way(
                self._cycle, following.groups, following.budgets, pods,
                minimum=minimum, bound=bound, started=self._started,
            )  # fmt: skip
        except Exception:
            log.exception("looking for pods that could go for group %s", group)
            return None
        if way is None or not way.plans:
            return None
        promised = {pod.uid: node for pod, node in way.placed}
        self._ways[group] = promised, frozenset(victim.uid for victim in way.victims)
        self._promise(pods, promised)
        return way

    def forget_way(self, group: Key) -> None:
        """Forget who was made to go for a group: it has its nodes, or they did not go."""
        self._ways.pop(group, None)

    def _promise(self, pods: Sequence[PodInfo], promised: Mapping[str, str]) -> None:
        for pod in pods:
            if pod.uid in promised:
                self._table.nominate(pod, promised[pod.uid])

    def _is_way_being_made(self, pod: PodInfo) -> bool:
        """Return whether Pods that were made to leave for this one are still on their way out."""
        node = self._table.nominated_node(pod.uid)
        if not node or not pod.preempts or not self._preemption.hopeful(pod, node):
            return False
        for other in self._table.pods_on(self._table.rows[node]):
            document = self._following.document(other) if other.priority < pod.priority else None
            if document is not None and document.meta.deletion_timestamp:
                conditions = document.view(Pod).status.conditions
                known = next((c for c in conditions if c.type == "DisruptionTarget"), None)
                if known is not None and (known.status, known.reason) == ("True", PREEMPTED):
                    return True
        return False

    def _started(self, pod: PodInfo) -> float:
        document = self._following.document(pod)
        start = document.view(Pod).status.start_time if document is not None else None
        return (start or self._clock.now()).timestamp()

    async def carry_out(self, pod: PodInfo, plan: Plan, failed: Callable[[PodInfo], None]) -> None:
        """Make the victims of a plan leave, and let those who were promised what they leave look elsewhere.

        Calls `failed` if that did not work: nothing may happen then that would wake the Pod.
        """
        failures: list[Exception] = []
        async with anyio.create_task_group() as group:
            for other in self._table.nominated_below(plan.node, pod.priority):
                self._following.withdraw(other.uid)
                nobody: dict[str, object] = {"nominatedNodeName": None}
                group.start_soon(self._reporter.patch_status, other, nobody)
            for victim in plan.victims:
                group.start_soon(self._dismiss, victim, pod, plan.node, failures)
        if failures:
            log.warning("preempting pods on %s for %s: %s", plan.node, pod.key, failures[0])
            failed(pod)

    async def _dismiss(self, victim: PodInfo, pod: PodInfo, node: str, failures: list[Exception]) -> None:
        document = self._following.document(victim)
        if document is not None and document.meta.deletion_timestamp:
            return
        condition: dict[str, object] = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": PREEMPTED,
            "message": f"{self._name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": format_time(self._clock.now()),
        }
        if document is not None and document.meta.generation:
            condition["observedGeneration"] = document.meta.generation
        patch = Patch("strategic", {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}})
        try:
            async with self._limit:
                await self._pods.patch(victim.key, patch, subresource="status")
                await self._pods.delete(victim.key, preconditions=Preconditions(uid=victim.uid))
        except NotFound:
            return
        except (ApiError, OSError) as error:
            failures.append(error)
            return
        self._reporter.normal(victim, "Preempted", f"Preempted by pod {pod.uid} on node {node}")
