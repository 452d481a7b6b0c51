"""Snapshots of templates: what DaemonSets and StatefulSets roll forward to and go back to.

Each template that a set has had is a ControllerRevision, named after a hash of it and numbered in the order in which the
templates came into use. One that comes into use again gets the highest number; it is not written twice.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec

from kubelib.api import codec
from kubelib.api.apps_sets import ControllerRevision, DaemonSet, StatefulSet
from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.errors import AlreadyExists, NotFound
from kubelib.api.meta import ObjectMeta, controller_of
from kubelib.api.model import replace
from kubelib.controllers.base import Terminal
from kubelib.controllers.ownership import Claims, controller_reference
from kubelib.controllers.rollout import template_hash
from kubelib.informers import SharedInformers
from kubelib.labels import selector_from_label_selector

POD_LABEL = "controller-revision-hash"
"""The label of a Pod that says which revision it was made from."""

W = TypeVar("W", DaemonSet, StatefulSet)
"""What has a history."""

_tree = msgspec.json.Decoder().decode
_sorted = msgspec.json.Encoder(order="sorted").encode
_template = msgspec.json.Decoder(PodTemplateSpec).decode


def snapshot(template: PodTemplateSpec) -> dict[str, Any]:
    """Return what a revision holds: a strategic merge patch that puts the template back in its place as a whole.

    Fields are in the order of their names: who goes back to a revision compares bytes to see whether there is anything to do.
    """
    return {"spec": {"template": _tree(_sorted({**_tree(codec.encode_json(template)), "$patch": "replace"}))}}


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    """Return the template that a revision holds. Raises `Terminal` if somebody has made it something else."""
    try:
        return _template(codec.encode_json(revision.data["spec"]["template"]))
    except (KeyError, TypeError, msgspec.DecodeError) as error:
        raise Terminal(f"revision {revision.key} does not hold a template: {error}") from None


def in_order(revisions: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """Return revisions from the oldest to the newest."""
    return sorted(
        revisions, key=lambda r: (r.revision, str(r.metadata.creation_timestamp or "now"), r.metadata.name)
    )


def next_number(revisions: Sequence[ControllerRevision]) -> int:
    """Return the number of the revision that comes into use next."""
    return max((revision.revision for revision in revisions), default=0) + 1


def superfluous(
    revisions: Sequence[ControllerRevision],
    live: frozenset[str],
    limit: int | None,
    *,
    counted: frozenset[str] = frozenset(),
) -> list[ControllerRevision]:
    """Return the revisions to forget: the oldest beyond the limit of those that nothing is of any more.

    `counted` are those in use that take up the limit nevertheless. A negative limit keeps all.
    """
    if limit is not None and limit < 0:
        return []
    idle = [r for r in in_order(revisions) if r.metadata.name not in live]
    return idle[: max(0, len(idle) + len(counted) - (10 if limit is None else limit))]


class Revisions(Generic[W]):
    """The revisions of the sets of one kind."""

    def __init__(self, informers: SharedInformers, kind: type[W], *, hash_label: str) -> None:
        cache = informers.of(ControllerRevision).cache
        self._registry = informers.client.resource(ControllerRevision)
        self._claims: Claims[W, ControllerRevision] = Claims(informers.client, kind, cache)
        self._hash_label = hash_label

    async def of(self, owner: W) -> list[ControllerRevision]:
        """Return the revisions of a set in order, orphans that match adopted."""
        found = await self._claims.claim(owner, selector_from_label_selector(owner.spec.selector))
        return in_order([document.view(ControllerRevision) for document in found])

    async def ensure(
        self, owner: W, known: Sequence[ControllerRevision], collisions: int
    ) -> tuple[ControllerRevision, int]:
        """Return the revision of the present template, the newest from now on, and the count of hash collisions."""
        data, number = snapshot(owner.spec.template), next_number(known)
        equal = [revision for revision in known if revision.data == data]
        if equal:
            latest = equal[-1]
            if latest.revision == number - 1:
                return latest, collisions
            return await self._registry.update(replace(latest, revision=number)), collisions
        while True:
            wanted = self._made(owner, data, number, collisions)
            try:
                return await self._registry.create(wanted), collisions
            except AlreadyExists:
                try:
                    there = await self._registry.get(wanted.key)
                except NotFound:
                    continue  # gone meanwhile: the name is free
                holder = controller_of(there)
                if there.data == data and holder is not None and holder.uid == owner.metadata.uid:
                    return there, collisions  # made a moment ago; our cache does not know it yet
                # Another template has the same hash, or somebody else the name: salt the hash.
                collisions += 1

    def _made(self, owner: W, data: Any, number: int, collisions: int) -> ControllerRevision:
        hash_ = template_hash(owner.spec.template, collisions or None)
        labels: Mapping[str, str] = owner.spec.template.metadata.labels
        return ControllerRevision(
            metadata=ObjectMeta(
                name=f"{owner.metadata.name[: 252 - len(hash_)]}-{hash_}",
                namespace=owner.metadata.namespace,
                labels={**labels, self._hash_label: hash_},
                annotations=owner.metadata.annotations,
                owner_references=(controller_reference(owner),),
            ),
            data=data,
            revision=number,
        )

    async def trim(
        self,
        owner: W,
        known: Sequence[ControllerRevision],
        live: frozenset[str],
        *,
        counted: frozenset[str] = frozenset(),
    ) -> None:
        """Delete what is beyond the history limit.

        `live` are the names of revisions that are in use, `counted` of those of them that count for the limit.
        """
        for revision in superfluous(known, live, owner.spec.revision_history_limit, counted=counted):
            await self.delete(revision)

    async def delete(self, revision: ControllerRevision) -> None:
        """Delete a revision that may have gone meanwhile."""
        with suppress(NotFound):
            await self._registry.delete(revision.key)
