"""What would be if: where Pods that are not there yet would go, and who would have to move for them. Nothing is changed by it.

The decisions are those of `Cycle` and `Preemption`, one after the other, each with the room that those before it have taken.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from random import Random

import attrs

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.apps_sets import StatefulSet
from kubelib.api.batch import Job
from kubelib.api.core.pod import Pod, PodTemplateSpec
from kubelib.api.core.replication import ReplicationController
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.explaining import outcome
from kubelib.sched.makingway import Way, find_way
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.preemption import Preemption
from kubelib.sched.snapshot import Snapshot
from kubelib.sched.together import Trial, try_together


@attrs.frozen
class Placement:
    """What would become of one of the Pods."""

    pod: Key
    node: str
    """Where it would go; nothing if nowhere."""
    message: str = ""
    """Why it would go nowhere, or why no scheduler is asked."""
    victims: Sequence[Key] = ()
    """Who would have to leave for it, the most important first: its node, or, for the first Pod of a group, any other that nobody else of the group gets."""
    violations: int = 0
    """How many of the victims a disruption budget would have kept."""


@attrs.frozen
class Move:
    """What would become of a Pod that has to leave its node, if its like was made again after all others have been placed."""

    pod: Key
    origin: str
    node: str
    """Where its like would go; nothing if nowhere, or if nobody makes it again."""
    message: str = ""


@attrs.frozen
class Forecast:
    """Where Pods would go, and what would have to move."""

    placements: Sequence[Placement]
    """In the order of the Pods."""
    moves: Sequence[Move]

    @property
    def complete(self) -> bool:
        """Whether each of the Pods would have a node."""
        return all(placement.node for placement in self.placements)


NOBODY = "no controller makes it again"


def what_if(snapshot: Snapshot, pods: Sequence[PodInfo], policy: Policy, random: Random) -> Forecast:
    """Place Pods one after the other, as if each was created, and its victims were gone, before the next is looked at.

    Pods that must be placed with their group are placed with the first of them, all of the group or none. Each must have a uid of its own that no Pod of the snapshot has; raises ValueError otherwise. The snapshot stays as it was.
    """
    uids = [pod.uid for pod in pods]
    if len({*uids, ""}) <= len(uids) or any(map(snapshot.table.has_pod, uids)):
        raise ValueError("Each Pod needs a uid of its own.")
    with ExitStack() as undo:
        trial = _Trial(snapshot, policy, random, undo)
        placements = trial.place_all(pods)
        return Forecast(placements, [trial.move(pod, origin) for pod, origin in trial.displaced])


class _Trial:
    """Places Pods in a table until the stack is unwound, which takes back everything in turn."""

    def __init__(self, snapshot: Snapshot, policy: Policy, random: Random, undo: ExitStack) -> None:
        self.displaced: list[tuple[PodInfo, str]] = []
        self._table: NodeTable = snapshot.table
        self._groups = snapshot.groups
        self._undo = undo
        self._cycle = Cycle(snapshot.table, policy, random)
        self._budgets, self._started = snapshot.budgets, snapshot.started
        self._preemption = Preemption(self._cycle, snapshot.budgets, started=snapshot.started, random=random)

    def place_all(self, pods: Sequence[PodInfo]) -> list[Placement]:
        """Decide about Pods, and take the room."""
        groups: dict[Key, list[PodInfo]] = {}
        for pod in pods:
            key = self._groups.gang(pod)
            if key is not None and not (pod.gated or pod.node):
                groups.setdefault(key, []).append(pod)
        found: dict[str, Placement] = {}
        for pod in pods:
            if pod.uid in found:
                continue
            key = self._groups.gang(pod)
            if key is None or pod.gated or pod.node:
                found[pod.uid] = self.place(pod)
            else:
                found |= self._place_group(key, groups[key])
        return [found[pod.uid] for pod in pods]

    def _place_group(self, key: Key, pods: Sequence[PodInfo]) -> dict[str, Placement]:
        groups = self._groups
        missing = groups.missing(key, len(pods))
        if missing:
            return {pod.uid: Placement(pod.key, "", missing) for pod in pods}
        trial = Trial()
        message = try_together(
            self._cycle,
            pods,
            minimum=groups.minimum(key) or 0,
            bound=groups.bound(key),
            put=self._table.put_pod,
            trial=trial,
        )
        found = {pod.uid: Placement(pod.key, "", why) for pod, _, why in trial.refusals(message)}
        for pod, node in trial.placed:
            if message:
                self._table.remove_pod(pod.uid)
            else:
                self._undo.callback(self._table.remove_pod, pod.uid)
                found[pod.uid] = Placement(pod.key, node)
        if message and self._preemption.wanted and groups.preempts(key, pods):
            way = find_way(
                self._cycle, groups, self._budgets, pods,
                minimum=groups.minimum(key) or 0, bound=groups.bound(key), started=self._started,
            )  # fmt: skip
            if way is not None and way.plans:
                return self._make_way(way, pods)
        return found

    def _make_way(self, way: Way, pods: Sequence[PodInfo]) -> dict[str, Placement]:
        """Take away who has to leave for a group, and place it."""
        leaving: dict[str, list[PodInfo]] = {}
        for plan in way.plans:
            for victim in plan.victims:
                self._remove(victim)
                self.displaced.append((victim, plan.node))
            leaving.setdefault(plan.node, []).extend(plan.victims)
        violating = {victim.uid for victim in self._budgets.split(list(way.victims))[0]}
        nodes = {pod.uid: node for pod, node in way.placed}
        elsewhere = [
            victim
            for node in [node for node in leaving if node not in nodes.values()]
            for victim in leaving.pop(node)
        ]
        found = {}
        for pod, node in way.placed:
            self._put(pod, node)
            victims = [*leaving.pop(node, ()), *elsewhere]
            elsewhere = []
            keys, violations = tuple(v.key for v in victims), sum(v.uid in violating for v in victims)
            found[pod.uid] = Placement(pod.key, node, victims=keys, violations=violations)
        for pod in pods:
            if pod.uid not in nodes:
                found[pod.uid] = Placement(pod.key, "", self._cycle.decide(pod).message)
        return found

    def place(self, pod: PodInfo) -> Placement:
        """Decide about a Pod, and take the room."""
        if pod.gated:
            return Placement(pod.key, "", "it has scheduling gates: no scheduler looks at it")
        if pod.node:
            if pod.node not in self._table.rows:
                return Placement(pod.key, "", f"it names node {pod.node}, which is not there")
            self._put(pod, pod.node)
            return Placement(pod.key, pod.node, "it names its node: no scheduler is asked")
        verdict = self._cycle.decide(pod)
        if verdict.node:
            self._put(pod, verdict.node)
            return Placement(pod.key, verdict.node)
        plan, message = outcome(self._preemption, pod, verdict)
        if plan is None:
            return Placement(pod.key, "", message)
        for victim in plan.victims:
            self._remove(victim)
            self.displaced.append((victim, plan.node))
        self._put(pod, plan.node)
        victims = tuple(victim.key for victim in plan.victims)
        return Placement(pod.key, plan.node, victims=victims, violations=plan.violations)

    def move(self, pod: PodInfo, origin: str) -> Move:
        """Decide about the like of a Pod that had to leave."""
        if not pod.owner:
            return Move(pod.key, origin, "", NOBODY)
        again = attrs.evolve(pod, uid=f"{pod.uid}-again", node="", nominated="")
        verdict = self._cycle.decide(again)
        if verdict.node:
            self._put(again, verdict.node)
        return Move(pod.key, origin, verdict.node, "" if verdict.node else verdict.message)

    def _put(self, pod: PodInfo, node: str) -> None:
        self._table.put_pod(pod, node)
        self._undo.callback(self._table.remove_pod, pod.uid)

    def _remove(self, pod: PodInfo) -> None:
        node = self._table.node_of(pod.uid)
        self._table.remove_pod(pod.uid)
        self._undo.callback(self._table.put_pod, pod, node)


class UnknownMaker(LookupError):
    """The object is neither a Pod nor one of those whose Pods are known beforehand."""


def made_by(obj: Object) -> tuple[Pod, int]:
    """Return a Pod that an object makes, and how many at once: a Pod itself, or what a controller would make of a template.

    The Pods are those of an object that is new: none of its own is there already. Raises UnknownMaker.
    """
    match obj:
        case Pod():
            return obj, 1
        case Job():
            spec = obj.spec
            count = 1 if spec.parallelism is None else spec.parallelism
            if spec.completions is not None:
                count = min(count, spec.completions)
            return _pod(obj, spec.template), 0 if spec.suspend else count
        case ReplicationController() | ReplicaSet() | Deployment() | StatefulSet():
            template = obj.spec.template or PodTemplateSpec()
            return _pod(obj, template), 1 if obj.spec.replicas is None else obj.spec.replicas
    raise UnknownMaker(f"{obj.kind} {obj.metadata.name} makes no Pods whose number is known beforehand")


def _pod(maker: Object, template: PodTemplateSpec) -> Pod:
    name = maker.metadata.name or "pod"
    meta = replace(template.metadata, name="", generate_name=f"{name}-", namespace=maker.metadata.namespace)
    return Pod(metadata=meta, spec=template.spec)
