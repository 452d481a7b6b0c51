"""Migrations: every object of a resource is written anew, in the version that is stored today and with today's key.

As kube-controller-manager does it, each object gets a server-side apply that says nothing but which object is meant, in which state: it
changes nothing, so what is stored as it should be stays. What was written or deleted meanwhile need not be migrated. Of several
migrations of one resource the oldest goes first. A definition whose objects have been migrated has one stored version left.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import datetime

from kubelib.api.apiextensions import (
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionStatus,
)
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    Conflict,
    Expired,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from kubelib.api.machinery import Condition, GroupResource
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.scheme import Resource, Scheme
from kubelib.api.storagemigration import StorageVersionMigration, StorageVersionMigrationStatus
from kubelib.client.update import update_with
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.informers.reflector import documents_of
from kubelib.registry.base import Patch

NAME = "storage-version-migrator-controller"
PAGE = 500
PATIENCE = 60.0
"""Seconds for which a resource may be unknown: a definition that has just been made is not served everywhere yet."""
PASSING = (Expired, ServiceUnavailable, Timeout, TooManyRequests)
"""Errors that say nothing about the object: the migration begins again later."""

_MIGRATING = "StorageMigrating"
_RUNNING, _SUCCEEDED, _FAILED = "Running", "Succeeded", "Failed"
_REASONS = {
    _RUNNING: "StorageVersionMigrationInProgress",
    _SUCCEEDED: "StorageVersionMigrationSucceeded",
    _FAILED: "StorageVersionMigrationFailed",
}


def is_over(migration: StorageVersionMigration) -> bool:
    """Return whether a migration has come to its end, good or bad."""
    return any(c.status == "True" and c.type in (_SUCCEEDED, _FAILED) for c in migration.status.conditions)


def in_turn(migrations: Iterable[StorageVersionMigration]) -> StorageVersionMigration | None:
    """Return which migration of one resource goes first; None if all are over."""
    waiting = [migration for migration in migrations if not is_over(migration)]
    return min(waiting, key=lambda m: (str(m.metadata.creation_timestamp), m.metadata.name), default=None)


def plan(
    status: StorageVersionMigrationStatus, now: datetime, state: str, message: str = "", version: str = ""
) -> StorageVersionMigrationStatus:
    """Return the status of a migration that has come to a state; whatever is over does not run."""
    kept = {condition.type: condition for condition in status.conditions}
    if state != _RUNNING and _RUNNING in kept:
        kept[_RUNNING] = replace(kept[_RUNNING], status="False", last_transition_time=now)
    if state not in kept or kept[state].status != "True":
        kept[state] = Condition(
            type=state, status="True", last_transition_time=now, reason=_REASONS[state], message=message
        )
    return replace(
        status, conditions=tuple(kept.values()), resource_version=status.resource_version or version
    )


class Migrator:
    """A `Reconciler` of migrations."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, scheme: Scheme) -> None:
        self._client = informers.client
        self._migrations = informers.of(StorageVersionMigration).cache
        self._registry = informers.client.resource(StorageVersionMigration)
        self._clock = clock
        self._scheme = scheme

    async def reconcile(self, key: Key) -> After | None:
        """Carry out the migration at `key` if it is its turn."""
        migration = self._migrations.view(key)
        if migration is None or is_over(migration):
            return None
        wanted = migration.spec.resource
        if in_turn(self._all_of(wanted)) != migration:
            return None
        resource = self._resource(wanted)
        if resource is None:
            made = migration.metadata.creation_timestamp
            if made is not None and (self._clock.now() - made).total_seconds() < PATIENCE:
                return After(1.0)
            await self._become(migration, _FAILED, "resource not found")
            return None
        await self._migrate(migration, resource)
        return None

    async def _migrate(self, migration: StorageVersionMigration, resource: Resource) -> None:
        cls: type[Object] = resource.cls
        first = await self._client.resource(cls).list(limit=1)
        await self._note_running(migration)
        migration = await self._become(migration, _RUNNING, version=first.resource_version)
        until = int(migration.status.resource_version)
        try:
            async for document in self._objects(cls):
                if int(document.meta.resource_version) <= until:
                    await self._renew(resource, document)
        except PASSING:
            raise
        except ApiError:
            await self._note_end(migration, succeeded=False)
            await self._become(migration, _FAILED, "migration encountered unhandled error")
            return
        await self._note_end(migration, succeeded=True)
        await self._become(migration, _SUCCEEDED)

    async def _objects(self, cls: type[Object]) -> AsyncIterator[Document]:
        page = ""
        while True:
            part = await self._client.resource(cls).list(limit=PAGE, page=page)
            for document in documents_of(part.items):
                yield document
            if not (page := part.page):
                return

    async def _renew(self, resource: Resource, document: Document) -> None:
        meta = document.meta
        # The uid, so that what was deleted is not made anew; the version, so that what came in its place is left alone.
        which = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": which}
        cls: type[Object] = resource.cls
        try:
            await self._client.resource(cls).patch(document.key, Patch("apply", body, manager=NAME))
        except (Conflict, NotFound):
            return

    async def _become(
        self, migration: StorageVersionMigration, state: str, message: str = "", version: str = ""
    ) -> StorageVersionMigration:
        status = plan(migration.status, self._clock.now(), state, message, version)
        if status == migration.status:
            return migration
        return await self._registry.update(replace(migration, status=status), subresource="status")

    # Definitions say that their objects are migrated

    async def _note_running(self, migration: StorageVersionMigration) -> None:
        message = f"Migration {migration.metadata.name} is running"

        def noted(definition: CustomResourceDefinition) -> CustomResourceDefinition:
            return self._noted(definition, "True", "MigrationRunning", message)

        await self._change_definition(migration.spec.resource, noted)

    async def _note_end(self, migration: StorageVersionMigration, *, succeeded: bool) -> None:
        def noted(definition: CustomResourceDefinition) -> CustomResourceDefinition:
            if not succeeded:
                return self._noted(definition, "False", "MigrationFailed", "The migration has failed")
            unchanged = any(
                c.type == _MIGRATING and c.observed_generation == definition.metadata.generation
                for c in definition.status.conditions
            )
            outcome = (
                "and the stored versions have been updated"
                if unchanged
                else "but the stored versions have not been updated due to a generation mismatch"
            )
            message = f"The migration has succeeded {outcome}"
            done = self._noted(definition, "False", "MigrationSucceeded", message)
            if not unchanged:
                return done
            stored = tuple(version.name for version in definition.spec.versions if version.storage)
            return replace(done, status=replace(done.status, stored_versions=stored))

        await self._change_definition(migration.spec.resource, noted)

    def _noted(
        self, definition: CustomResourceDefinition, status: str, reason: str, message: str
    ) -> CustomResourceDefinition:
        said = CustomResourceDefinitionCondition(
            type=_MIGRATING,
            status=status,
            last_transition_time=self._clock.now(),
            reason=reason,
            message=message,
            observed_generation=definition.metadata.generation,
        )
        before: CustomResourceDefinitionStatus = definition.status
        others = tuple(condition for condition in before.conditions if condition.type != _MIGRATING)
        return replace(definition, status=replace(before, conditions=(*others, said)))

    async def _change_definition(
        self, wanted: GroupResource, change: Callable[[CustomResourceDefinition], CustomResourceDefinition]
    ) -> None:
        key = Key("", f"{wanted.resource}.{wanted.group}")
        with suppress(NotFound):  # most kinds are built in
            await update_with(self._client, CustomResourceDefinition, key, change, subresource="status")

    # Which

    def _all_of(self, wanted: GroupResource) -> list[StorageVersionMigration]:
        views = (document.view(StorageVersionMigration) for document in self._migrations)
        return [migration for migration in views if migration.spec.resource == wanted]

    def _resource(self, wanted: GroupResource) -> Resource | None:
        served = [
            resource
            for resource in self._scheme
            if (resource.group, resource.plural) == (wanted.group, wanted.resource)
            and {"list", "patch"} <= {*resource.verbs}
        ]
        # any version will do: what is written is stored in the one that is stored
        return next((r for r in served if r.version == r.storage_version), served[0] if served else None)

    def same_resource(self, document: Document) -> tuple[Key, ...]:
        """Map a migration to all of its resource: it may be another's turn now."""
        wanted = document.view(StorageVersionMigration).spec.resource
        return (document.key, *(m.key for m in self._all_of(wanted) if m.key != document.key))


def storage_version_migrator(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the controller."""
    reconciler = Migrator(informers, clock=clock, scheme=scheme)
    return Controller(
        NAME,
        reconciler,
        [(informers.of(StorageVersionMigration), reconciler.same_resource)],
        recorder=recorder.source(NAME),
    )
