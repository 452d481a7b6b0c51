"""Migrations of stored objects to another version."""

from typing import ClassVar

from kubelib.api.machinery import Condition, GroupResource
from kubelib.api.merging import Merging, keyed_by
from kubelib.api.meta import Object
from kubelib.api.model import Model


class StorageVersionMigrationSpec(Model):
    """What is to be migrated."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "resource"

    resource: GroupResource = GroupResource()


class StorageVersionMigrationStatus(Model):
    """How far a migration is."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    conditions: tuple[Condition, ...] = ()
    resource_version: str = ""


class StorageVersionMigration(Object):
    """Asks for all objects of a resource to be stored anew, in the version that is stored today."""

    api_version: ClassVar[str] = "storagemigration.k8s.io/v1"
    kind: ClassVar[str] = "StorageVersionMigration"
    __proto__: ClassVar[str] = "2-3"

    spec: StorageVersionMigrationSpec = StorageVersionMigrationSpec()
    status: StorageVersionMigrationStatus = StorageVersionMigrationStatus()
