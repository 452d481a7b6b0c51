"""Which nodes a DaemonSet is for, and which of its Pods make way for others. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from kubelib.api.apps_sets import DaemonSet, DaemonSetStatus
from kubelib.api.core.affinity import Affinity, NodeAffinity, Toleration
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod, PodSpec, PodTemplateSpec
from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.model import replace
from kubelib.api.tolerations import tolerates
from kubelib.controllers.pods import is_available, is_ready, is_terminal
from kubelib.controllers.revisions import POD_LABEL
from kubelib.controllers.rollout import share
from kubelib.controllers.taints import (
    NO_EXECUTE,
    NO_SCHEDULE,
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
)

GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
NODE_NAME = "metadata.name"


def _exists(key: str, effect: str) -> Toleration:
    return Toleration(key=key, operator="Exists", effect=effect)


_TOLERATED = (
    _exists(NOT_READY, NO_EXECUTE),
    _exists(UNREACHABLE, NO_EXECUTE),
    _exists("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    _exists("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    _exists("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    _exists(UNSCHEDULABLE, NO_SCHEDULE),
)
_TOLERATED_ON_HOST_NETWORK = _exists("node.kubernetes.io/network-unavailable", NO_SCHEDULE)


def tolerations_of(spec: PodSpec) -> tuple[Toleration, ...]:
    """Return what the Pods of a DaemonSet put up with: what the template says, and that the node is not well."""
    added = (*_TOLERATED, *((_TOLERATED_ON_HOST_NETWORK,) if spec.host_network else ()))
    return (*spec.tolerations, *(t for t in added if t not in spec.tolerations))


def _meets(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    value = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                number, bound = int(value or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return number > bound if requirement.operator == "Gt" else number < bound
    return False


def selects(selector: NodeSelector, node: Node) -> bool:
    """Return whether one of the terms of a node selector matches a node."""
    fields = {NODE_NAME: node.metadata.name}
    return any(
        (term.match_expressions or term.match_fields)
        and all(_meets(r, node.metadata.labels) for r in term.match_expressions)
        and all(_meets(r, fields) for r in term.match_fields)
        for term in selector.node_selector_terms
    )


@attrs.frozen
class Eligible:
    """Whether a node is to get a Pod, and whether one that it has may stay."""

    runs: bool
    stays: bool


def eligible(template: PodTemplateSpec, node: Node) -> Eligible:
    """Judge one node."""
    spec = template.spec
    if spec.node_name and spec.node_name != node.metadata.name:
        return Eligible(False, False)
    if not spec.node_selector.items() <= node.metadata.labels.items():
        return Eligible(False, False)
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    if required is not None and not selects(required, node):
        return Eligible(False, False)
    if not node.spec.taints:
        return Eligible(True, True)
    tolerations = tolerations_of(spec)

    def kept_away(effects: Sequence[str]) -> Taint | None:
        for taint in node.spec.taints:
            if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
                return taint
        return None

    if kept_away((NO_SCHEDULE, NO_EXECUTE)) is None:
        return Eligible(True, True)
    return Eligible(False, kept_away((NO_EXECUTE,)) is None)


def template_for_pods(owner: DaemonSet, hash_: str) -> PodTemplateSpec:
    """Return the template as Pods are made from it: of a revision, tolerating nodes that are not well."""
    template = owner.spec.template
    labels = {**template.metadata.labels, POD_LABEL: hash_}
    if generation := owner.metadata.annotations.get(GENERATION_ANNOTATION):
        labels[GENERATION_LABEL] = generation
    return replace(
        template,
        metadata=replace(template.metadata, labels=labels),
        spec=replace(template.spec, tolerations=tolerations_of(template.spec)),
    )


def is_updated(owner: DaemonSet, pod: Pod, hash_: str) -> bool:
    """Return whether a Pod is of the present revision, by its hash or, as before there were hashes, by its generation."""
    labels = pod.metadata.labels
    generation = owner.metadata.annotations.get(GENERATION_ANNOTATION)
    return labels.get(POD_LABEL) == hash_ or (bool(generation) and labels.get(GENERATION_LABEL) == generation)


def bound_to(spec: PodSpec, node: str) -> PodSpec:
    """Return a Pod's spec that no other node fits: the scheduler places it, and nobody else."""
    term = NodeSelectorTerm(
        match_fields=(NodeSelectorRequirement(key=NODE_NAME, operator="In", values=(node,)),)
    )
    affinity = spec.affinity or Affinity()
    wanted = replace(
        affinity.node_affinity or NodeAffinity(),
        required_during_scheduling_ignored_during_execution=NodeSelector(node_selector_terms=(term,)),
    )
    return replace(spec, affinity=replace(affinity, node_affinity=wanted))


def node_of(pod: Pod) -> str:
    """Return the node that a Pod is on or is meant for, empty if it is meant for none in particular."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    for term in required.node_selector_terms if required is not None else ():
        for field in term.match_fields:
            if field.key == NODE_NAME and field.operator == "In" and len(field.values) == 1:
                return field.values[0]
    return ""


@attrs.frozen(kw_only=True)
class Plan:
    """What to do now."""

    create: tuple[str, ...] = ()
    """The nodes that get a Pod."""
    delete: tuple[Pod, ...] = ()
    ended: tuple[Pod, ...] = ()
    """Pods that have ended and are deleted, so that others take their places."""


def _is_terminating(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def _age(pod: Pod) -> tuple[bool, str, str]:
    """Return in which order the Pods of a node come: those that are there first, then the old ones."""
    return not pod.spec.node_name, str(pod.metadata.creation_timestamp or "now"), pod.metadata.name


def by_node(pods: Sequence[Pod]) -> dict[str, list[Pod]]:
    """Return Pods by the node that they are on or meant for, without those that have ended and are being deleted."""
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        if _is_terminating(pod) and is_terminal(pod):
            continue  # it only waits for its finalizers, and is in nobody's way
        if name := node_of(pod):
            found.setdefault(name, []).append(pod)
    return found


def budgets(owner: DaemonSet, desired: int) -> tuple[int, int]:
    """Return how many nodes may have a Pod too many, and how many may have none, during a rolling update."""
    rolling = owner.spec.update_strategy.rolling_update
    if owner.spec.update_strategy.type == "OnDelete" or rolling is None:
        return 0, 0
    surge = share(rolling.max_surge, desired, up=True)
    unavailable = share(1 if rolling.max_unavailable is None else rolling.max_unavailable, desired, up=True)
    # With neither, nothing could ever move.
    return surge, 1 if surge == unavailable == 0 else unavailable


class _Planner:
    def __init__(
        self,
        owner: DaemonSet,
        nodes: Mapping[str, Eligible],
        pods: Mapping[str, Sequence[Pod]],
        hash_: str,
        now: datetime,
    ) -> None:
        self.owner, self.nodes, self.pods, self.hash, self.now = owner, nodes, pods, hash_, now
        self.desired = sum(node.runs for node in nodes.values())
        self.surge, self.unavailable = budgets(owner, self.desired)
        self.create: list[str] = []
        self.delete: list[Pod] = []
        self.ended: list[Pod] = []

    def is_new(self, pod: Pod) -> bool:
        return is_updated(self.owner, pod, self.hash)

    def available(self, pod: Pod) -> bool:
        return is_available(pod, self.owner.spec.min_ready_seconds, self.now)

    def result(self) -> Plan:
        return Plan(
            create=tuple(dict.fromkeys(self.create)), delete=tuple(self.delete), ended=tuple(self.ended)
        )

    def settle(self) -> None:
        """One Pod on each node that is to have one, none on the others."""
        for name, node in self.nodes.items():
            pods = self.pods.get(name, ())
            if node.runs and not pods:
                self.create.append(name)
            elif node.stays:
                alive = [pod for pod in pods if not _is_terminating(pod)]
                ended = [pod for pod in alive if is_terminal(pod)]
                self.ended += ended
                self._single_out(name, node, [pod for pod in alive if pod not in ended], waits=bool(ended))
            else:
                self.delete += [pod for pod in pods if not _is_terminating(pod)]
        for name, pods in self.pods.items():
            if name not in self.nodes:
                # Meant for a node that is gone. Those that were there are the garbage collector's.
                self.delete += [p for p in pods if not p.spec.node_name and not _is_terminating(p)]

    def _single_out(self, name: str, node: Eligible, alive: list[Pod], *, waits: bool) -> None:
        """Leave one Pod, two during a surge; `waits` while one that has ended is in its place."""
        if len(alive) > 1:
            alive.sort(key=_age)
        if not self.surge:
            self.delete += alive[1:]
            return
        new = [pod for pod in alive if self.is_new(pod)]
        old = [pod for pod in alive if not self.is_new(pod)]
        self.delete += [*new[1:], *old[1:]]
        if new and old and (self.available(new[0]) or not is_ready(old[0])):
            self.delete.append(old[0])
        if node.runs and not alive and not waits:
            # What is there is ending: who may have one too many need not wait for its end.
            self.create.append(name)

    def _pair(self, name: str) -> tuple[Pod | None, Pod | None] | None:
        """Return the new and the old Pod of a node; None while there are too many of one."""
        new: list[Pod] = []
        old: list[Pod] = []
        for pod in self.pods.get(name, ()):
            if not _is_terminating(pod):
                (new if self.is_new(pod) else old).append(pod)
        if len(new) > 1 or len(old) > 1:
            return None
        return new[0] if new else None, old[0] if old else None

    def _rolling(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.runs or self.pods.get(name)]

    def replace(self) -> None:
        """Delete Pods of earlier revisions, as many as may be missing; those that serve nobody at once."""
        missing, useless, candidates = 0, [], []
        for name in self._rolling():
            pair = self._pair(name)
            if pair is None:
                missing += 1
                continue
            new, old = pair
            if (new is None) == (old is None):
                missing += 1
            elif new is not None:
                missing += not self.available(new)
            elif old is not None and not self.available(old):
                missing += 1
                useless.append(old)
            elif old is not None:
                candidates.append(old)
        self.delete += [*useless, *candidates[: max(0, self.unavailable - missing)]]

    def overlap(self) -> None:
        """Make Pods of the present revision beside those of earlier ones, as many as the surge allows."""
        surging = serving = 0
        urgent: list[str] = []
        candidates: list[str] = []
        leaving: list[Pod] = []
        for name in self._rolling():
            pair = self._pair(name)
            if pair is None:
                surging += 1
                continue
            new, old = pair
            if old is None:
                serving += new is not None and self.available(new)
                continue
            serves = self.available(old)
            serving += serves
            if new is not None:
                if self.available(new):
                    self.delete.append(old)
                else:
                    surging += 1
            elif self.nodes[name].runs:
                (candidates if serves else urgent).append(name)
            else:
                (leaving if serves else self.delete).append(old)
        # Where none is to run any more, one may go only as others serve in its place.
        self.delete += leaving[: max(0, serving - self.desired)]
        self.create += [*urgent, *candidates[: max(0, self.surge - surging)]]


def plan(
    owner: DaemonSet,
    nodes: Mapping[str, Eligible],
    pods: Mapping[str, Sequence[Pod]],
    hash_: str,
    now: datetime,
) -> Plan:
    """Return what to create and delete so that the right nodes have a Pod.

    `pods` are those of the set by node, `hash_` is that of the present revision.
    """
    planner = _Planner(owner, nodes, pods, hash_, now)
    planner.settle()
    return planner.result()


def plan_update(
    owner: DaemonSet,
    nodes: Mapping[str, Eligible],
    pods: Mapping[str, Sequence[Pod]],
    hash_: str,
    now: datetime,
) -> Plan:
    """Return what to create and delete for a rolling update; it goes on only where `plan` finds nothing to do."""
    planner = _Planner(owner, nodes, pods, hash_, now)
    if owner.spec.update_strategy.type != "OnDelete":
        if planner.surge:
            planner.overlap()
        else:
            planner.replace()
    return planner.result()


def status_of(
    owner: DaemonSet,
    nodes: Mapping[str, Eligible],
    pods: Mapping[str, Sequence[Pod]],
    hash_: str,
    collisions: int,
    now: datetime,
    *,
    acted: bool = True,
) -> DaemonSetStatus:
    """Return what is to be seen of a set. Without having `acted` on its present generation, that is not said to be observed."""
    desired = current = misscheduled = ready = updated = available = 0
    for name, node in nodes.items():
        there = pods.get(name, ())
        if not node.runs:
            misscheduled += bool(there)
            continue
        desired += 1
        if not there:
            continue
        current += 1
        pod = there[0] if len(there) == 1 else min(there, key=_age)
        if is_ready(pod):
            ready += 1
            available += is_available(pod, owner.spec.min_ready_seconds, now)
        updated += is_updated(owner, pod, hash_)
    return DaemonSetStatus(
        current_number_scheduled=current,
        number_misscheduled=misscheduled,
        desired_number_scheduled=desired,
        number_ready=ready,
        observed_generation=owner.metadata.generation if acted else owner.status.observed_generation,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=desired - available,
        collision_count=collisions or owner.status.collision_count,
        conditions=owner.status.conditions,
    )
