"""Decisions that explain themselves: what every filter and score of a policy says of every node for one Pod.

The filters, scores and rules are those that decide; nothing is decided here that `Cycle` and `Preemption` would not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.sched.base import Filter, Policy, SupportsOtherRows
from kubelib.sched.cycle import TAKEN, Cycle, Verdict
from kubelib.sched.pods import PodInfo
from kubelib.sched.preemption import NEVER, NO_HELP, NO_VICTIMS, NoPlan, Plan, Preemption
from kubelib.sched.snapshot import Snapshot
from kubelib.sched.together import Trial, try_together

State = Literal["waiting", "gated", "bound", "leaving", "ended"]
"""What a Pod is to schedulers: only those that wait are decided about."""

STILL_NO_ROOM = "It would not fit either with all pods of lower priority gone"


@attrs.frozen
class Points:
    """What a score gives a node, 0 to 100, and how much that counts."""

    points: float
    weight: float


@attrs.frozen
class NodeVerdict:
    """What is said of one node."""

    node: str
    filters: Mapping[str, Sequence[str]]
    """By filter, in the policy's order: why the node fails it; nothing if it passes."""
    promised: Sequence[str] = ()
    """Why it fails although all filters pass: the room is promised to others, or somebody is about to fill it."""
    scores: Mapping[str, Points] = attrs.field(factory=dict)
    """By score; only of nodes that pass all filters, as others are not scored."""
    preemption: str = ""
    """Why it would not help that others leave; only asked if the Pod fits nowhere."""
    victims: Sequence[Key] = ()
    """Who would have to leave this node."""

    @property
    def fits(self) -> bool:
        """Whether the Pod could go there."""
        return not self.promised and not any(self.filters.values())

    @property
    def total(self) -> float:
        """The sum of the scores by weight, by which nodes are compared."""
        return sum(score.points * score.weight for score in self.scores.values())


@attrs.frozen
class GroupVerdict:
    """How it stands with a Pod's group."""

    group: Key
    minimum: int | None
    """How many of it must be placed at once; None if there is no such group."""
    bound: int
    """How many have a node."""
    waiting: int
    """How many wait for one."""
    message: str
    """Why too few of it can be placed now; nothing if enough can."""
    node: str = ""
    """Where this Pod would go, with the others; nothing if nowhere."""
    refusal: str = ""
    """The sentence of this Pod's condition if it would go nowhere."""


@attrs.frozen(kw_only=True)
class Explanation:
    """How a Pod is judged, and where that leads."""

    pod: Key
    scheduler: str
    """Whose Pod it is."""
    policy: str
    """By which policy it was judged; that of a running scheduler may be another."""
    state: State
    gates: Sequence[str] = ()
    """The scheduling gates that keep all schedulers from it."""
    bound: str = ""
    """The node that it is on. It was judged as if it were not there, and had left its room."""
    nominated: str = ""
    """The node that is promised to it."""
    node: str
    """Where it would go now; nothing if it fits nowhere."""
    equals: int
    """How many nodes are as good as that one: chance decides among them."""
    message: str
    """If it fits nowhere: the sentence of the Pod's condition, with what preemption would do."""
    plan: Plan | None = None
    """The preemption that would be carried out."""
    group: GroupVerdict | None = None
    """Of a Pod that is placed only with its group."""
    nodes: Sequence[NodeVerdict]
    """In the order of their names."""


def explain(snapshot: Snapshot, pod: Pod, policy: Policy, random: Random) -> Explanation:
    """Judge a Pod anew, whatever has become of it. The snapshot stays as it was. Raises ValueError for a Pod that is malformed."""
    original = PodInfo.of(pod)
    # The node is a condition of Pods that wait. This one is judged as if it waited.
    info = attrs.evolve(original, node="")
    with _lifted(snapshot, original):
        cycle = Cycle(snapshot.table, policy, random)
        preemption = Preemption(cycle, snapshot.budgets, started=snapshot.started, random=random)
        verdict = cycle.decide(info)
        nodes = _judge(cycle, info)
        plan, message = None, ""
        group = _judge_group(snapshot, cycle, info)
        node = verdict.node if group is None else group.node
        if group is not None:
            message = group.refusal
        elif not verdict.node:
            plan, message = outcome(preemption, info, verdict)
            if preemption.wanted:
                nodes = _with_preemption(cycle, preemption, info, nodes)
        nominated = snapshot.table.nominated_node(info.uid)
    totals = {node.node: node.total for node in nodes if node.fits}
    best = totals.get(node)
    return Explanation(
        pod=info.key,
        scheduler=info.scheduler,
        policy=policy.name,
        state=_state(pod),
        gates=tuple(gate.name for gate in pod.spec.scheduling_gates),
        bound=pod.spec.node_name,
        nominated=nominated,
        node=node,
        equals=sum(bool(np.isclose(total, best)) for total in totals.values()) if best is not None else 0,
        message=message,
        plan=plan,
        group=group,
        nodes=nodes,
    )


def _judge_group(snapshot: Snapshot, cycle: Cycle, pod: PodInfo) -> GroupVerdict | None:
    """Decide about a Pod's group as if the Pod waited; None for one that is placed alone."""
    key = snapshot.groups.gang(pod)
    if key is None:
        return None
    table, minimum = snapshot.table, snapshot.groups.minimum(key)
    pods = [pod, *(other for other in snapshot.waiting(key, pod.scheduler) if other.uid != pod.uid)]
    pods.sort(key=lambda member: -member.priority)
    bound = snapshot.groups.bound(key) - (key == snapshot.groups.group_of(pod.uid))
    missing = snapshot.groups.missing(key, len(pods))
    if missing:
        return GroupVerdict(key, minimum, bound, len(pods), missing, refusal=missing)
    trial = Trial()
    try:
        message = try_together(cycle, pods, minimum=minimum or 0, bound=bound, put=table.put_pod, trial=trial)
    finally:
        for other, _ in trial.placed:
            table.remove_pod(other.uid)
    refusal = next((why for other, _, why in trial.refusals(message) if other.uid == pod.uid), "")
    node = "" if refusal else next(node for other, node in trial.placed if other.uid == pod.uid)
    return GroupVerdict(key, minimum, bound, len(pods), message, node, refusal)


def outcome(preemption: Preemption, pod: PodInfo, verdict: Verdict) -> tuple[Plan | None, str]:
    """Return what preemption would do for a Pod that was refused, and the whole sentence that its condition would say."""
    if not verdict.nodes or not preemption.wanted:
        return None, verdict.message
    plan = preemption.plan(pod)
    if isinstance(plan, NoPlan):
        devices = preemption.table.devices.afterword(pod, verdict.reasons, verdict.outright)
        return None, f"{verdict.message} {devices}preemption: {plan.message}"
    return plan, verdict.message


def _state(pod: Pod) -> State:
    if pod.status.phase in ("Succeeded", "Failed"):
        return "ended"
    if pod.metadata.deletion_timestamp is not None:
        return "leaving"
    if pod.spec.node_name:
        return "bound"
    return "gated" if pod.spec.scheduling_gates else "waiting"


@contextmanager
def _lifted(snapshot: Snapshot, pod: PodInfo) -> Iterator[None]:
    """Take a Pod from its node in the block."""
    node = snapshot.table.node_of(pod.uid)
    snapshot.table.remove_pod(pod.uid)
    try:
        yield
    finally:
        if node:
            snapshot.table.put_pod(pod, node)


def _judge(cycle: Cycle, pod: PodInfo) -> list[NodeVerdict]:
    table = cycle.table
    everywhere = slice(0, table.size)
    judged: list[tuple[str, Filter, NDArray[np.bool_]]] = []
    fits = table.present.copy()
    filters = cycle.policy.filters
    for name, condition in zip(_names([f.name for f in filters]), filters, strict=True):
        concerned = not isinstance(condition, SupportsOtherRows) or condition.concerns(pod, table)
        verdict = np.broadcast_to(condition.fits(pod, table, everywhere) if concerned else True, table.size)
        judged.append((name, condition, verdict))
        fits &= verdict
    rows = np.flatnonzero(fits)
    scores = _scores(cycle, pod, rows)
    places = {int(row): place for place, row in enumerate(rows)}
    found = []
    for name, row in sorted(table.rows.items()):
        place = places.get(row)
        fitting = place is not None
        found.append(
            NodeVerdict(
                name,
                {n: () if v[row] else tuple(f.reasons(pod, table, row)) or (n,) for n, f, v in judged},
                _promised(cycle, pod, row) if fitting else (),
                {n: Points(float(column[place]), w) for n, (column, w) in scores.items()} if fitting else {},
            )
        )
    return found


def _scores(
    cycle: Cycle, pod: PodInfo, rows: NDArray[np.int64]
) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Return the points of the rows that pass all filters, and the weight, by score."""
    found = {}
    scores = cycle.policy.scores
    for name, (score, weight) in zip(_names([s.name for s, _ in scores]), scores, strict=True):
        concerned = not isinstance(score, SupportsOtherRows) or score.concerns(pod, cycle.table)
        points = score.score(pod, cycle.table, rows) if concerned and len(rows) else 0.0
        found[name] = (np.broadcast_to(np.asarray(points, np.float64), len(rows)), weight)
    return found


def _promised(cycle: Cycle, pod: PodInfo, row: int) -> Sequence[str]:
    if cycle.fits_on(pod, row):
        return ()
    return tuple(cycle.reasons_on(pod, row)) or (TAKEN,)


def _names(names: Sequence[str]) -> list[str]:
    """Return names that are all different: a policy may have two parts of one name."""
    return [
        name if name not in names[:number] else f"{name}-{names[:number].count(name) + 1}"
        for number, name in enumerate(names)
    ]


def _with_preemption(
    cycle: Cycle, preemption: Preemption, pod: PodInfo, nodes: Sequence[NodeVerdict]
) -> list[NodeVerdict]:
    """Say of each node whether it would help that others leave it."""
    if not pod.preempts:
        return [attrs.evolve(node, preemption=NEVER) for node in nodes]
    helpful = preemption.helpful(pod)
    found = []
    for node in nodes:
        row = cycle.table.rows[node.node]
        plan = preemption.plan_on(pod, row) if helpful[row] else None
        if plan is not None:
            found.append(attrs.evolve(node, victims=tuple(victim.key for victim in plan.victims)))
            continue
        lower = any(other.priority < pod.priority for other in cycle.table.pods_on(row))
        why = NO_HELP if not helpful[row] else STILL_NO_ROOM if lower else NO_VICTIMS
        found.append(attrs.evolve(node, preemption=why))
    return found
