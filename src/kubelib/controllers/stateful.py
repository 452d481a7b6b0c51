"""What a StatefulSet does next: one Pod after the other, each with a name of its own. Pure.

`plan` looks at the set, its Pods and two revisions, the one from which it comes and the one to which it goes, and returns
what to do now. With ordered management that is one thing at a time, and nothing while a Pod that comes before is not ready.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import attrs

from kubelib.api.apps_sets import ControllerRevision, StatefulSet, StatefulSetStatus
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.pod import Pod, PodTemplateSpec
from kubelib.controllers.identities import (
    claims_of,
    first_ordinal,
    is_stale,
    is_wanted,
    new_pod,
    ordinal_of,
    wanted_replicas,
    with_identity,
    with_owners,
)
from kubelib.controllers.pods import is_available, is_ready, is_terminal
from kubelib.controllers.revisions import POD_LABEL
from kubelib.controllers.rollout import share


@attrs.frozen
class Create:
    """Make a Pod, and before it the claims that it needs and lacks; not while one that is there is `ending`."""

    pod: Pod
    claims: tuple[PersistentVolumeClaim, ...]
    ending: tuple[PersistentVolumeClaim, ...] = ()


@attrs.frozen
class Delete:
    """Delete a Pod."""

    pod: Pod


@attrs.frozen
class Repair:
    """Give a Pod back what makes it who it is."""

    pod: Pod


@attrs.frozen
class CreateClaims:
    """Make claims that a pending Pod waits for."""

    pod: Pod
    claims: tuple[PersistentVolumeClaim, ...]


@attrs.frozen
class UpdateClaim:
    """Change who a claim goes with."""

    claim: PersistentVolumeClaim


Action = Create | Delete | Repair | CreateClaims | UpdateClaim


@attrs.frozen
class Plan:
    """What to do now; `waits_for_claim` if a claim must be gone before more can be done."""

    actions: tuple[Action, ...] = ()
    waits_for_claim: bool = False


@attrs.frozen
class Revision:
    """A revision's name and template."""

    name: str
    template: PodTemplateSpec


def is_running_and_ready(pod: Pod) -> bool:
    """Return whether a Pod has got as far as it can."""
    return pod.status.phase == "Running" and is_ready(pod)


def _is_terminating(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def _revision_of(pod: Pod) -> str:
    return pod.metadata.labels.get(POD_LABEL, "")


def max_unavailable(owner: StatefulSet) -> int:
    """Return how many Pods a rolling update may take away at once."""
    rolling = owner.spec.update_strategy.rolling_update
    wanted = rolling.max_unavailable if rolling is not None else None
    return 1 if wanted is None else max(1, share(wanted, wanted_replicas(owner), up=True))


class _Planner:
    def __init__(
        self,
        owner: StatefulSet,
        pods: Sequence[Pod],
        current: Revision,
        update: Revision,
        claim: Callable[[str], PersistentVolumeClaim | None],
        now: datetime,
    ) -> None:
        self.owner = owner
        self.current, self.update = current, update
        self.claim = claim
        self.now = now
        self.ordered = owner.spec.pod_management_policy != "Parallel"
        self.start, self.wanted = first_ordinal(owner), wanted_replicas(owner)
        self.there: dict[int, Pod] = {}
        for pod in pods:
            ordinal = ordinal_of(pod.metadata.name, owner.metadata.name)
            if ordinal >= 0:
                self.there[ordinal] = pod
        self.condemned = sorted((o for o in self.there if not is_wanted(owner, o)), reverse=True)
        self.actions: list[Action] = []
        self.waits_for_claim = False

    def available(self, pod: Pod | None) -> bool:
        return (
            pod is not None
            and is_running_and_ready(pod)
            and not _is_terminating(pod)
            and is_available(pod, self.owner.spec.min_ready_seconds, self.now)
        )

    def plan(self) -> Plan:
        self._act()
        return Plan(tuple(self.actions), self.waits_for_claim)

    def _act(self) -> None:
        for ordinal in range(self.start, self.start + self.wanted):
            if self._replica(ordinal) and self.ordered:
                return
        for ordinal in self.condemned:
            self._claim_owners(self.there[ordinal], ordinal)
        if self._condemn() and self.ordered:
            return
        if self.owner.spec.update_strategy.type != "OnDelete":
            self._roll()

    def _replica(self, ordinal: int) -> bool:
        """Do what one of the wanted Pods needs; return whether those after it have to wait."""
        owner, pod = self.owner, self.there.get(ordinal)
        if pod is None:
            return self._create(ordinal)
        if is_terminal(pod):
            if not _is_terminating(pod):
                self.actions.append(Delete(pod))
            return True
        if pod.status.phase in ("", "Pending") and not _is_terminating(pod):
            missing = tuple(c for c in claims_of(owner, ordinal) if self.claim(c.metadata.name) is None)
            if missing:
                self.actions.append(CreateClaims(pod, missing))
        # At once, lest claims outlive a set that is deleted before the Pod is ready.
        self._claim_owners(pod, ordinal)
        if self.ordered and not self.available(pod):
            return True
        if _is_terminating(pod):
            return False
        repaired = with_identity(owner, pod, ordinal)
        if repaired != pod:
            self.actions.append(Repair(repaired))
        return False

    def _create(self, ordinal: int) -> bool:
        owner = self.owner
        name = f"{owner.metadata.name}-{ordinal}"
        claims = tuple(claims_of(owner, ordinal))
        there = [claim for c in claims if (claim := self.claim(c.metadata.name)) is not None]
        if any(is_stale(owner, claim, name) for claim in there):
            self.waits_for_claim = True
            return True
        missing = tuple(c for c in claims if self.claim(c.metadata.name) is None)
        ending = tuple(claim for claim in there if claim.metadata.deletion_timestamp is not None)
        revision = self.current if self._stays_current(ordinal) else self.update
        pod = new_pod(owner, revision.template, revision.name, ordinal)
        self.actions.append(Create(pod, missing, ending))
        return True

    def _stays_current(self, ordinal: int) -> bool:
        strategy = self.owner.spec.update_strategy
        if strategy.type == "OnDelete":
            return False
        if strategy.rolling_update is None:
            return ordinal < self.start + self.owner.status.current_replicas
        return ordinal < self.start + (strategy.rolling_update.partition or 0)

    def _claim_owners(self, pod: Pod, ordinal: int) -> None:
        if self.owner.spec.persistent_volume_claim_retention_policy is None:
            return
        for wanted in claims_of(self.owner, ordinal):
            claim = self.claim(wanted.metadata.name)
            if claim is not None and (owned := with_owners(self.owner, claim, pod, ordinal)) != claim:
                self.actions.append(UpdateClaim(owned))

    def _condemn(self) -> bool:
        """Take away Pods that are too many, from the last one down; return whether there was something to do."""
        first = next(
            (
                self.there.get(ordinal)
                for ordinal in (*range(self.start, self.start + self.wanted), *reversed(self.condemned))
                if not self.available(self.there.get(ordinal))
            ),
            None,
        )
        for ordinal in self.condemned:
            pod = self.there[ordinal]
            if _is_terminating(pod):
                if self.ordered:
                    return True
                continue
            if self.ordered and not self.available(pod) and pod is not first:
                return True
            self.actions.append(Delete(pod))
            if self.ordered:
                return True
        return False

    def _roll(self) -> None:
        """Take away Pods of another revision, from the last one down, as many as may be missing."""
        rolling = self.owner.spec.update_strategy.rolling_update
        lowest = self.start + (rolling.partition or 0 if rolling is not None else 0)
        ordinals = range(self.start, self.start + self.wanted)
        allowed = max_unavailable(self.owner)
        missing = sum(not self.available(self.there.get(ordinal)) for ordinal in ordinals)
        outdated = [
            pod
            for ordinal in reversed(ordinals)
            if ordinal >= lowest
            and (pod := self.there.get(ordinal)) is not None
            and not is_terminal(pod)
            and not _is_terminating(pod)
            and _revision_of(pod) != self.update.name
        ]
        # Those that serve nobody are replaced whatever the others do: else a bad revision could not be left again.
        idle = [pod for pod in outdated if not self.available(pod)]
        serving = [pod for pod in outdated if self.available(pod)]
        self.actions += map(Delete, (*idle, *serving[: max(0, allowed - missing)]))


def plan(
    owner: StatefulSet,
    pods: Sequence[Pod],
    current: Revision,
    update: Revision,
    claim: Callable[[str], PersistentVolumeClaim | None],
    now: datetime,
) -> Plan:
    """Return the next steps. `claim` looks up a claim of the set's namespace by name."""
    if owner.metadata.deletion_timestamp is not None:
        return Plan()
    return _Planner(owner, pods, current, update, claim, now).plan()


def status_of(
    owner: StatefulSet, pods: Sequence[Pod], current: str, update: str, collisions: int, now: datetime
) -> StatefulSetStatus:
    """Return what is to be seen of a set, the update finished if all its Pods are of the new revision."""
    alive = [pod for pod in pods if not _is_terminating(pod)]
    ready = [pod for pod in pods if is_running_and_ready(pod)]
    replicas = len(pods)
    updated = sum(_revision_of(pod) == update for pod in alive)
    on_current = sum(_revision_of(pod) == current for pod in alive)
    strategy, wanted = owner.spec.update_strategy.type, wanted_replicas(owner)
    if strategy != "OnDelete" and updated == len(ready) == replicas == wanted:
        current, on_current = update, updated
    return StatefulSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=replicas,
        ready_replicas=len(ready),
        available_replicas=sum(is_available(pod, owner.spec.min_ready_seconds, now) for pod in ready),
        current_replicas=on_current,
        updated_replicas=updated,
        current_revision=current,
        update_revision=update,
        collision_count=collisions,
        conditions=owner.status.conditions,
    )


def revisions_in_use(pods: Sequence[Pod], *named: ControllerRevision) -> frozenset[str]:
    """Return the names of the revisions that Pods, or the set itself, are of."""
    return frozenset([_revision_of(pod) for pod in pods] + [revision.metadata.name for revision in named])
