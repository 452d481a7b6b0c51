"""Rolling from one ReplicaSet to the next: the arithmetic of Deployments, pure.

`plan` looks at a Deployment and the ReplicaSets that it owns, as they are, and returns what to write now. It is asked
again whenever one of them changes, so a rollout is a chain of small steps, and each is right whatever happened before.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import attrs

from kubelib.api import codec
from kubelib.api.apps import Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec
from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.names import safe_encode
from kubelib.controllers.ownership import controller_reference

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
ROLLBACK = "deprecated.deployment.rollback.to"
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM,
    ROLLBACK,
}  # fmt: skip
HISTORY_LENGTH = 2000
NO_LIMIT = 2**31 - 1


@attrs.frozen
class CreateSet:
    """Make a ReplicaSet."""

    new: ReplicaSet


@attrs.frozen
class UpdateSet:
    """Write a ReplicaSet; `messages` say how its size changes."""

    before: ReplicaSet
    after: ReplicaSet
    messages: tuple[str, ...] = ()


@attrs.frozen
class DeleteSet:
    """Delete a ReplicaSet that nobody will roll back to."""

    old: ReplicaSet


Action = CreateSet | UpdateSet | DeleteSet


@attrs.frozen
class Plan:
    """What to do now, and what the ReplicaSets are once it is done."""

    actions: tuple[Action, ...]
    new: ReplicaSet | None
    """The ReplicaSet of the present template, if there is one."""
    old: tuple[ReplicaSet, ...]
    rolling: bool = True
    """Whether progress is being made or waited for; False while paused or merely scaled."""

    @property
    def sets(self) -> tuple[ReplicaSet, ...]:
        """All ReplicaSets."""
        return self.old if self.new is None else (*self.old, self.new)


# Numbers of a deployment


def wanted_replicas(deployment: Deployment) -> int:
    """Return how many pods are wanted."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def share(value: int | str | None, total: int, *, up: bool) -> int:
    """Return a number, or a percentage of `total` rounded up or down.

    >>> share("25%", 10, up=True), share("25%", 10, up=False), share(3, 10, up=True), share(None, 10, up=True)
    (3, 2, 3, 0)
    """
    if isinstance(value, str):
        percent = int(value.rstrip("%") or 0)
        return -(-percent * total // 100) if up else percent * total // 100
    return value or 0


def _fenceposts(deployment: Deployment) -> tuple[int, int]:
    rolling, total = deployment.spec.strategy.rolling_update, wanted_replicas(deployment)
    surge = share(rolling.max_surge if rolling else None, total, up=True)
    unavailable = share(rolling.max_unavailable if rolling else None, total, up=False)
    # With neither, nothing could ever move.
    return surge, 1 if surge == unavailable == 0 else unavailable


def _is_rolling(deployment: Deployment) -> bool:
    return deployment.spec.strategy.type != "Recreate"


def max_surge(deployment: Deployment) -> int:
    """Return how many pods more than wanted there may be."""
    return _fenceposts(deployment)[0] if _is_rolling(deployment) else 0


def max_unavailable(deployment: Deployment) -> int:
    """Return how many of the wanted pods may be missing."""
    total = wanted_replicas(deployment)
    if not _is_rolling(deployment) or total == 0:
        return 0
    return min(_fenceposts(deployment)[1], total)


def size_of(replica_set: ReplicaSet) -> int:
    """Return how many pods a ReplicaSet is to have."""
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def is_complete(deployment: Deployment, status: DeploymentStatus | None = None) -> bool:
    """Return whether all pods are of the present template, and available."""
    now, total = status if status is not None else deployment.status, wanted_replicas(deployment)
    return (
        now.updated_replicas == now.replicas == now.available_replicas == total
        and now.observed_generation >= deployment.metadata.generation
    )


# Templates and revisions


def template_hash(template: PodTemplateSpec, collisions: int | None) -> str:
    """Return a short name for a template: FNV-1a of its content, in letters that cannot spell anything."""
    value = 2166136261
    salt = b"" if collisions is None else str(collisions).encode()
    for byte in codec.encode_json(template) + salt:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return safe_encode(value)


def without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    """Return a template as a deployment holds it."""
    labels = {key: value for key, value in template.metadata.labels.items() if key != HASH}
    return replace(template, metadata=replace(template.metadata, labels=labels))


def same_template(a: PodTemplateSpec, b: PodTemplateSpec) -> bool:
    """Return whether two templates differ in nothing but the hash."""
    return without_hash(a) == without_hash(b)


def revision_of(replica_set: ReplicaSet) -> int:
    """Return a ReplicaSet's revision, 0 if it has none."""
    text = replica_set.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _by_age(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    return sorted(sets, key=lambda s: (str(s.metadata.creation_timestamp or "now"), s.metadata.name))


def find_new(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """Return the oldest ReplicaSet that has the deployment's present template, or None."""
    template = without_hash(deployment.spec.template)
    for candidate in _by_age(sets):
        if without_hash(candidate.spec.template) == template:
            return candidate
    return None


def new_set(deployment: Deployment) -> ReplicaSet:
    """Return the ReplicaSet of the present template, with no pods yet."""
    spec = deployment.spec
    hash_ = template_hash(spec.template, deployment.status.collision_count)
    labels = {**spec.template.metadata.labels, HASH: hash_}
    selector = replace(spec.selector, match_labels={**spec.selector.match_labels, HASH: hash_})
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name[: 252 - len(hash_)]}-{hash_}",
            namespace=deployment.metadata.namespace,
            labels=labels,
            owner_references=(controller_reference(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=0,
            min_ready_seconds=spec.min_ready_seconds,
            selector=selector,
            template=replace(spec.template, metadata=replace(spec.template.metadata, labels=labels)),
        ),
    )


class _Rollout:
    """The ReplicaSets while a plan is made: each change replaces one and is remembered."""

    def __init__(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> None:
        self.deployment = deployment
        self.wanted = wanted_replicas(deployment)
        found = find_new(deployment, sets)
        self.new_name = found.metadata.name if found is not None else ""
        self.sets = {s.metadata.name: s for s in _by_age(sets)}
        self.before = dict(self.sets)
        self.messages: dict[str, list[str]] = {}
        self.created: ReplicaSet | None = None
        self.deleted: list[ReplicaSet] = []
        self.touched: dict[str, None] = {}

    @property
    def new(self) -> ReplicaSet | None:
        return self.sets.get(self.new_name)

    @property
    def old(self) -> list[ReplicaSet]:
        return [s for name, s in self.sets.items() if name != self.new_name]

    @property
    def total(self) -> int:
        return sum(map(size_of, self.sets.values()))

    def put(self, replica_set: ReplicaSet) -> None:
        name = replica_set.metadata.name
        if self.sets.get(name) != replica_set:
            self.sets[name] = replica_set
            self.touched[name] = None

    def scale(self, replica_set: ReplicaSet, size: int) -> bool:
        """Give a ReplicaSet its size, and note in it how large the whole was meant to be."""
        before = size_of(replica_set)
        meta = replica_set.metadata
        annotations = {**meta.annotations, **_sizes(self.deployment)}
        self.put(
            replace(
                replica_set,
                metadata=replace(meta, annotations=annotations),
                spec=replace(replica_set.spec, replicas=size),
            )
        )
        if before == size:
            return False
        direction = "up" if before < size else "down"
        self.messages.setdefault(meta.name, []).append(
            f"Scaled {direction} replica set {meta.name} from {before} to {size}"
        )
        return True

    def sync_revision(self, *, create: bool) -> None:
        """Give the present template a ReplicaSet and the highest revision."""
        revision = max(map(revision_of, self.old), default=0) + 1
        new = self.new
        if new is not None:
            annotated = _annotated(self.deployment, new, revision, exists=True)
            spec = replace(annotated.spec, min_ready_seconds=self.deployment.spec.min_ready_seconds)
            self.put(replace(annotated, spec=spec))
        elif create:
            made = new_set(self.deployment)
            self.new_name = made.metadata.name
            size = self.grown(0) if _is_rolling(self.deployment) else self.wanted
            made = replace(made, spec=replace(made.spec, replicas=size))
            self.created = _annotated(self.deployment, made, revision, exists=False)
            self.sets[self.new_name] = self.created
            if size:
                self.messages[self.new_name] = [f"Scaled up replica set {self.new_name} from 0 to {size}"]

    def grown(self, size: int) -> int:
        """Return how large the new ReplicaSet may be now without more pods than the surge allows."""
        room = self.wanted + max_surge(self.deployment) - self.total
        return size if room <= 0 else size + min(room, self.wanted - size)

    def clean_up(self) -> None:
        """Delete the oldest revisions beyond the limit, if they are empty."""
        limit = self.deployment.spec.revision_history_limit
        if limit is None or limit == NO_LIMIT:
            return
        alive = [s for s in self.old if s.metadata.deletion_timestamp is None]
        for old in sorted(alive, key=revision_of)[: max(0, len(alive) - limit)]:
            status = old.status
            if status.replicas or size_of(old) or old.metadata.generation > status.observed_generation:
                continue
            self.deleted.append(old)

    def finish(self, *, rolling: bool) -> Plan:
        """Return the plan."""
        actions: list[Action] = []
        if self.created is not None:
            actions.append(CreateSet(self.sets[self.new_name]))
        for name in self.touched:
            if name in self.before and self.before[name] != self.sets[name]:
                messages = tuple(self.messages.get(name, ()))
                actions.append(UpdateSet(self.before[name], self.sets[name], messages))
        actions += map(DeleteSet, self.deleted)
        return Plan(tuple(actions), self.new, tuple(self.old), rolling)


def _sizes(deployment: Deployment) -> Mapping[str, str]:
    wanted = wanted_replicas(deployment)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + max_surge(deployment))}


def _annotated(deployment: Deployment, replica_set: ReplicaSet, revision: int, *, exists: bool) -> ReplicaSet:
    annotations = dict(replica_set.metadata.annotations)
    annotations.update((k, v) for k, v in deployment.metadata.annotations.items() if k not in NOT_COPIED)
    before = revision_of(replica_set)
    if before < revision:
        if before:
            history = [part for part in annotations.get(REVISION_HISTORY, "").split(",") if part]
            history.append(str(before))
            while len(",".join(history)) > HISTORY_LENGTH:
                history.pop(0)
            annotations[REVISION_HISTORY] = ",".join(history)
        annotations[REVISION] = str(revision)
    if not exists:
        annotations.update(_sizes(deployment))
    return replace(replica_set, metadata=replace(replica_set.metadata, annotations=annotations))


# Plans


def plan(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    *,
    old_pods_exist: Callable[[ReplicaSet | None], bool] = lambda new: False,
) -> Plan:
    """Return the next step towards what the deployment wants.

    `old_pods_exist` tells whether pods of other ReplicaSets than the given one still are there, even if ending: a
    Recreate waits for them.
    """
    rollout = _Rollout(deployment, sets)
    if deployment.metadata.deletion_timestamp is not None:
        return rollout.finish(rolling=False)
    if deployment.spec.paused or _was_scaled(rollout):
        rollout.sync_revision(create=False)
        _scale(rollout)
        if deployment.spec.paused and ROLLBACK not in deployment.metadata.annotations:
            rollout.clean_up()
        return rollout.finish(rolling=False)
    if _is_rolling(deployment):
        _roll(rollout)
    else:
        _recreate(rollout, old_pods_exist)
    return rollout.finish(rolling=True)


def _active(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    return [s for s in sets if size_of(s) > 0]


def _was_scaled(rollout: _Rollout) -> bool:
    """Whether the wanted number has changed since the ReplicaSets were given their sizes."""
    for replica_set in _active(list(rollout.sets.values())):
        desired = replica_set.metadata.annotations.get(DESIRED, "")
        if desired.isdecimal() and int(desired) != rollout.wanted:
            return True
    return False


def _scale(rollout: _Rollout) -> None:
    """Bring the ReplicaSets to a new total, in the middle of a rollout in proportion to their sizes."""
    new, wanted = rollout.new, rollout.wanted
    active = _active([*rollout.old, *([new] if new is not None else [])])
    if len(active) <= 1:
        # One carries all; if none has pods, the newest does.
        latest = active[0] if active else new or (_by_age(rollout.old)[-1] if rollout.old else None)
        if latest is not None:
            rollout.scale(latest, wanted)
        return
    if new is not None and _is_saturated(new, wanted):
        for old in _active(rollout.old):
            rollout.scale(old, 0)
        return
    if not _is_rolling(rollout.deployment):
        return
    allowed = wanted + max_surge(rollout.deployment) if wanted > 0 else 0
    to_add = allowed - sum(map(size_of, active))
    # The largest get the change and the leftover; among equals growth favours the young, shrinking takes from the old.
    ordered = _by_age(active)
    if to_add > 0:
        ordered.reverse()
    ordered.sort(key=size_of, reverse=True)
    added = 0
    sizes = []
    for replica_set in ordered:
        part = _proportion(rollout.deployment, replica_set, to_add, added)
        sizes.append(size_of(replica_set) + part)
        added += part
    if to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)
    for replica_set, size in zip(ordered, sizes, strict=True):
        rollout.scale(replica_set, size)


def _is_saturated(new: ReplicaSet, wanted: int) -> bool:
    return (
        size_of(new) == wanted
        and new.metadata.annotations.get(DESIRED) == str(wanted)
        and new.status.available_replicas == wanted
    )


def _proportion(deployment: Deployment, replica_set: ReplicaSet, to_add: int, added: int) -> int:
    size = size_of(replica_set)
    if size == 0 or to_add == 0 or to_add == added:
        return 0
    wanted = wanted_replicas(deployment)
    if wanted == 0:
        fraction = -size
    else:
        text = replica_set.metadata.annotations.get(MAXIMUM, "")
        was = int(text) if text.isdecimal() and int(text) else deployment.status.replicas or size
        exact = size * (wanted + max_surge(deployment)) / was
        fraction = math.floor(exact + 0.5) - size
    allowed = to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _roll(rollout: _Rollout) -> None:
    """Grow the new ReplicaSet if that is allowed, otherwise shrink the old ones if that is."""
    rollout.sync_revision(create=True)
    new = rollout.new
    assert new is not None
    size = size_of(new)
    if size > rollout.wanted:
        rollout.scale(new, rollout.wanted)
        return
    if size < rollout.wanted and rollout.scale(new, rollout.grown(size)):
        return
    if _shrink_old(rollout, new):
        return
    if is_complete(rollout.deployment):
        rollout.clean_up()


def _shrink_old(rollout: _Rollout, new: ReplicaSet) -> bool:
    if not _active(rollout.old):
        return False
    least = rollout.wanted - max_unavailable(rollout.deployment)
    # New pods that are not available yet may never be: they must not be counted on.
    waiting = size_of(new) - new.status.available_replicas
    may_go = rollout.total - least - waiting
    if may_go <= 0:
        return False
    shrunk = False
    for old in _active(rollout.old):
        sick = size_of(old) - old.status.available_replicas
        if sick > 0 and may_go > 0:
            gone = min(may_go, sick)
            shrunk |= rollout.scale(old, size_of(old) - gone)
            may_go -= gone
    spare = sum(s.status.available_replicas for s in rollout.sets.values()) - least
    for old in _active(rollout.old):
        if spare <= 0:
            break
        gone = min(size_of(old), spare)
        shrunk |= rollout.scale(old, size_of(old) - gone)
        spare -= gone
    return shrunk


def _recreate(rollout: _Rollout, old_pods_exist: Callable[[ReplicaSet | None], bool]) -> None:
    """Take all old pods away, wait until they are gone, then make the new ones."""
    rollout.sync_revision(create=False)
    shrinking = [rollout.scale(old, 0) for old in _active(rollout.old)]
    if any(shrinking) or old_pods_exist(rollout.new):
        return
    if rollout.new is None:
        rollout.sync_revision(create=True)
    new = rollout.new
    assert new is not None
    if rollout.created is None:
        rollout.scale(new, rollout.wanted)
    if is_complete(rollout.deployment):
        rollout.clean_up()


def empty_selector(selector: LabelSelector) -> bool:
    """Return whether a selector selects everything."""
    return not selector.match_labels and not selector.match_expressions
