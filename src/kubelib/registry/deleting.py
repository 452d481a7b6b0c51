"""How objects end: at once, or after what has to happen before."""

import attrs

from kubelib.api import codec
from kubelib.api.document import Document, moved_to
from kubelib.api.errors import Conflict, NotFound, conflict
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time, later, parse_time
from kubelib.registry.base import (
    DEFAULT_OPTIONS,
    NO_PRECONDITIONS,
    Deleted,
    DocumentList,
    Preconditions,
    Propagation,
    Query,
    WriteOptions,
)
from kubelib.registry.keys import store_key
from kubelib.registry.writing import RETRIES, WritingRegistry
from kubelib.store import Delete, Put, Revision, RevisionMismatch

LONGEST = 2**63 - 1
"""The most seconds that an object can say that it has: what clients read them into holds no more."""

_PROPAGATING = {"orphan": "Orphan", "foregroundDeletion": "Foreground"}
"""By which finalizers an object says what becomes of those that it owns."""


class DeletingRegistry(WritingRegistry):
    """The verbs delete and deletecollection."""

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Deleted:
        """Delete an object, or mark it for deletion."""
        await self.catch_up()
        for _ in range(RETRIES):
            document = await self.current(key)
            if document is None:
                raise self.not_found(key)
            self._require(preconditions, document)
            deleted = await self._delete_once(key, document, preconditions, grace, propagation, options)
            if deleted is not None:
                return deleted
        raise conflict(self.resource.group_resource, key.name)

    def _require(self, preconditions: Preconditions, document: Document) -> None:
        for name, wanted, found in (
            ("UID", preconditions.uid, document.meta.uid),
            ("ResourceVersion", preconditions.resource_version, document.meta.resource_version),
        ):
            if not wanted or wanted == found:
                continue
            if self.strategy.goes_in_steps:
                named = self.resource.group_resource
                why = f"Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}"
            else:
                named = ".".join(filter(None, (self.resource.kind, self.resource.group)))
                why = f"the {name} in the precondition ({wanted}) does not match the {name} in record ({found}). The object might have been "
                why += "deleted and then recreated" if name == "UID" else "modified"
            raise conflict(named, document.meta.name, why)

    async def _delete_once(
        self,
        key: Key,
        document: Document,
        preconditions: Preconditions,
        grace: float | None,
        propagation: Propagation | None,
        options: WriteOptions,
    ) -> Deleted | None:
        tree = document.tree()
        given: Tree = {}
        wanted = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
        if any(wanted.values()):
            given["preconditions"] = {name: value for name, value in wanted.items() if value}
        if grace is not None:
            given["gracePeriodSeconds"] = min(int(grace), LONGEST)
        if propagation is not None:
            given["propagationPolicy"] = propagation
        await self.admit("delete", key, tree, tree, options, given=given)
        meta = tree["metadata"]
        seconds = self.strategy.grace_period(tree, grace)
        pending = meta.get("deletionGracePeriodSeconds") if self.strategy.graceful else None
        if pending is not None and (grace is None or min(int(grace), LONGEST) >= pending):
            # It is ending: all that can be said is that it has less time for it.
            return Deleted(document, finished=False)
        had = list(meta.get("finalizers") or ())
        finalizers = [f for f in had if f not in _PROPAGATING]
        # What is said now counts, then what the object says itself, then what is usual for its kind.
        if (
            self.strategy.owns
            and propagation is None
            and (finalizers != had or meta.get("deletionTimestamp"))
        ):
            finalizers = had
        else:
            policy = propagation or self.strategy.propagation if self.strategy.owns else "Background"
            finalizers += [f for f, wanted in _PROPAGATING.items() if wanted == policy]
        if not meta.get("deletionTimestamp"):
            finalizers += (f for f in self.strategy.finalizers_on_delete if f not in finalizers)
        changed = finalizers != had
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        path, expect = store_key(self.prefix, key), Revision(int(document.meta.resource_version))
        if seconds or finalizers or self.strategy.holds(tree):
            marked = meta.get("deletionTimestamp")
            now = self.owner.clock.now()
            if not marked:
                meta["deletionTimestamp"] = format_time(later(now, seconds))
                meta["deletionGracePeriodSeconds"] = min(int(seconds), LONGEST)
                if "generation" in meta:
                    meta["generation"] += 1
            elif seconds < (meta.get("deletionGracePeriodSeconds") or 0):
                began = later(parse_time(marked), -meta["deletionGracePeriodSeconds"])
                meta["deletionTimestamp"] = format_time(max(later(began, seconds), now))
                meta["deletionGracePeriodSeconds"] = min(int(seconds), LONGEST)
            elif not changed:
                return Deleted(document, finished=False)
            if not self._finished(tree):
                self.strategy.mark_deleted(tree)
                raw = await self.encoded(tree)
                if options.dry_run:
                    return Deleted(Document(codec.splice_resource_version(raw, expect)), finished=False)
                try:
                    await self._commit(Put(path, raw, expect))
                except RevisionMismatch:
                    return None
                return Deleted(await self.current(key) or document, finished=False)
        if options.dry_run:
            return Deleted(document, finished=True)
        try:
            revision = await self._commit(
                Delete(path, expect), *await self.strategy.release(self.whole, tree)
            )
        except RevisionMismatch:
            return None
        return Deleted(moved_to(document, revision), finished=True)

    async def delete_collection(
        self,
        query: Query,
        *,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> DocumentList:
        """Delete all matching objects; return what they were."""
        await self.catch_up()
        found = await self.shown(self.cache.select(query))
        revision = str(self.cache.revision)
        options = attrs.evolve(options, unnamed=True)
        for document in found:
            try:
                await self.delete(document.key, grace=grace, propagation=propagation, options=options)
            except (NotFound, Conflict):
                continue
        return DocumentList(found, revision)
