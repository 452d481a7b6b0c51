"""Migrations write every object of a resource anew, and say how it went."""

import json
from random import Random
from typing import Any

import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.codec import decode, encode_json
from kubelib.api.core.config import Secret
from kubelib.api.machinery import GroupResource
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.storagemigration import StorageVersionMigration, StorageVersionMigrationSpec
from kubelib.client import LocalClient
from kubelib.clock import LoopClock
from kubelib.controllers.builtin.storageversionmigrator import storage_version_migrator
from kubelib.registry import ResourceRegistries
from kubelib.registry.keys import prefix_of_name
from kubelib.store import MemoryStore
from kubelib.store.encryption import Key as Secrecy
from kubelib.store.encryption import Rule, encrypted
from tests.controllers.conftest import World
from tests.server.definitions import definition

GROUP = "example.com"
OLD, NEW = Secrecy("old", b"0" * 16), Secrecy("new", b"1" * 16)


def migrator(world: World) -> Any:
    scheme = world.registries.scheme
    return storage_version_migrator(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=scheme
    )


def migration(name: str, resource: str, group: str = "") -> StorageVersionMigration:
    spec = StorageVersionMigrationSpec(resource=GroupResource(group=group, resource=resource))
    return StorageVersionMigration(metadata=ObjectMeta(name=name), spec=spec)


async def state(world: World, name: str) -> dict[str, tuple[str, str, str]]:
    found = await world.get(StorageVersionMigration, name, "")
    return {c.type: (c.status, c.reason, c.message) for c in found.status.conditions}


def widgets(stored: str) -> CustomResourceDefinition:
    root = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": v, "served": True, "storage": v == stored, "schema": {"openAPIV3Schema": root}}
        for v in ("v1", "v2")
    ]
    return decode(CustomResourceDefinition, encode_json(definition("widgets", "Widget", versions=versions)))


async def stored_versions(world: World) -> list[str]:
    page = await world.registries.store.list(f"/registry/{GROUP}/widgets/")
    return [json.loads(entry.value)["apiVersion"].rpartition("/")[2] for entry in page.entries]


async def test_objects_of_a_definition_move_to_the_version_that_is_stored_now(world: World) -> None:
    await world.create(widgets("v1"))
    registry = world.registries.of(world.registries.scheme.kind(f"{GROUP}/v1", "Widget"))
    for number in range(3):
        tree = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": f"w{number}"}}
        await registry.create(tree, namespace="default")
    name = f"widgets.{GROUP}"
    await world.change(
        CustomResourceDefinition, name, lambda d: replace(d, spec=widgets("v2").spec), namespace=""
    )
    assert await stored_versions(world) == ["v1"] * 3
    found = await world.get(CustomResourceDefinition, name, "")
    assert found.status.stored_versions == ("v1", "v2")
    async with world.running(migrator(world)):
        await world.create(migration("m", "widgets", GROUP))

        async def succeeded() -> bool:
            return "Succeeded" in await state(world, "m")

        await world.until(succeeded)
    assert await stored_versions(world) == ["v2"] * 3
    assert await state(world, "m") == {
        "Running": ("False", "StorageVersionMigrationInProgress", ""),
        "Succeeded": ("True", "StorageVersionMigrationSucceeded", ""),
    }
    found = await world.get(CustomResourceDefinition, name, "")
    assert found.status.stored_versions == ("v2",)
    [said] = [c for c in found.status.conditions if c.type == "StorageMigrating"]
    assert (said.status, said.reason) == ("False", "MigrationSucceeded")
    assert said.message == "The migration has succeeded and the stored versions have been updated"
    # nobody has become a manager of anything
    widget = await registry.get(Key("default", "w0"))
    assert "storage-version-migrator-controller" not in widget.raw.decode()


async def test_secrets_are_encrypted_with_the_new_key() -> None:
    async with MemoryStore() as below:
        rules = [Rule((prefix_of_name("secrets"),), (OLD,))]
        async with ResourceRegistries(encrypted(below, rules), clock=LoopClock(), random=Random(1)) as old:
            await old.bootstrap()
            for name in ("a", "b"):
                meta = ObjectMeta(name=name, namespace="default")
                await LocalClient(old).resource(Secret).create(Secret(metadata=meta))
        rules = [Rule((prefix_of_name("secrets"),), (NEW, OLD))]
        async with ResourceRegistries(encrypted(below, rules), clock=LoopClock(), random=Random(1)) as new:
            world = World(new, LocalClient(new), 1)
            async with world.running(migrator(world)):
                await world.create(migration("m", "secrets"))

                async def succeeded() -> bool:
                    return "Succeeded" in await state(world, "m")

                await world.until(succeeded)
        entries = (await below.list("/registry/core/secrets/")).entries
        assert len(entries) == 2
        assert all(entry.value.startswith(b"kubelib:enc:aesgcm:v1:new:") for entry in entries)


async def test_of_two_migrations_of_a_resource_one_runs_at_a_time_and_both_succeed(world: World) -> None:
    for name in ("second", "first"):
        await world.create(migration(name, "configmaps"))
        await world.settled(2)
    async with world.running(migrator(world)):

        async def both() -> bool:
            return all(["Succeeded" in await state(world, name) for name in ("first", "second")])

        await world.until(both)
    versions = [
        int((await world.get(StorageVersionMigration, name, "")).status.resource_version)
        for name in ("second", "first")
    ]
    assert versions == sorted(set(versions))


async def test_a_resource_that_does_not_exist_fails_the_migration_after_a_minute(world: World) -> None:
    async with world.running(migrator(world)):
        await world.create(migration("m", "nothings", "nowhere.example.com"))
        await world.settled(50)
        assert await state(world, "m") == {}
        await world.settled(15)
        assert await state(world, "m") == {
            "Failed": ("True", "StorageVersionMigrationFailed", "resource not found")
        }


@pytest.mark.seeds(3)
async def test_what_is_deleted_or_written_meanwhile_is_left_alone(world: World) -> None:
    for number in range(20):
        await world.create(Secret(metadata=ObjectMeta(name=f"s{number}", namespace="default")))
    async with world.running(migrator(world)):
        await world.create(migration("m", "secrets"))
        for number in range(0, 20, 2):
            await world.delete(Secret, f"s{number}")

        async def succeeded() -> bool:
            return "Succeeded" in await state(world, "m")

        await world.until(succeeded)
    assert await world.names(Secret) == sorted(f"s{number}" for number in range(1, 20, 2))
