"""Kinds that come and go: on every server of a store, after a restart, and under the hands of clients that hold on to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.errors import AlreadyExists, ApiError, Invalid, NotFound
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.scheme import Tree, UnknownKind
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, WriteOptions
from kubelib.store import ABSENT, MemoryStore, Put, Store
from tests.server.definitions import definition

SIZED: Tree = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}


class Watched:
    """A store that can only be watched, as one that other API servers share."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name == "observe":
            raise AttributeError(name)
        return getattr(self._store, name)


def widget(name: str = "a", **spec: Any) -> Tree:
    return {"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": name}, "spec": spec}


async def define(registries: ResourceRegistries, tree: Tree) -> None:
    await registries.of(registries.scheme.of(CustomResourceDefinition)).create(tree)


def widgets(registries: ResourceRegistries) -> Any:
    return registries.of(registries.scheme.kind("example.com/v1", "Widget"))


async def eventually(check: Any) -> None:
    with anyio.fail_after(60):
        while not check():
            await anyio.sleep(0.01)


def knows(registries: ResourceRegistries) -> bool:
    try:
        registries.scheme.kind("example.com/v1", "Widget")
    except UnknownKind:
        return False
    return True


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[ResourceRegistries, ResourceRegistries]]:
    async with (
        MemoryStore() as store,
        ResourceRegistries(Watched(store)) as one,
        ResourceRegistries(Watched(store)) as two,
    ):
        await one.bootstrap()
        yield one, two


async def test_servers_of_one_store_see_each_others_definitions() -> None:
    async with two_servers() as (one, two):
        await define(one, definition("widgets", "Widget", SIZED))
        await eventually(lambda: knows(two))
        await widgets(two).create(widget(), namespace="default")
        assert (await widgets(one).get(Key("default", "a"))).tree()["spec"] == {"size": 3}
        definitions = two.of(two.scheme.of(CustomResourceDefinition))
        await definitions.delete(Key("", "widgets.example.com"))
        await eventually(lambda: not knows(one) and not knows(two))
        assert not (await one.store.list("/registry/example.com/")).entries


async def test_kinds_are_there_again_after_a_restart_and_what_was_stored_is_made_whole() -> None:
    async with MemoryStore() as store:
        async with ResourceRegistries(store) as registries:
            await registries.bootstrap()
            await define(registries, definition("widgets", "Widget"))
            await widgets(registries).create(widget(other=1), namespace="default")
        async with ResourceRegistries(store) as registries:
            assert (await widgets(registries).get(Key("default", "a"))).tree()["spec"] == {"other": 1}
            definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
            changed = (await definitions.get(Key("", "widgets.example.com"))).tree()
            schema = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            schema["properties"]["spec"] = SIZED
            await definitions.update(Key("", "widgets.example.com"), changed)
        async with ResourceRegistries(store) as registries:
            assert (await widgets(registries).get(Key("default", "a"))).tree()["spec"] == {"size": 3}


async def test_typed_code_uses_the_class_of_a_kind_or_one_of_its_own() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await define(registries, definition("widgets", "Widget", SIZED))
        client = LocalClient(registries)
        cls: type[Object] = client.scheme.kind("example.com/v1", "Widget").cls
        held = client.resource(cls)
        made = await held.create(cls(metadata=ObjectMeta(name="a", namespace="default")))
        assert made.metadata.generation == 1
        definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
        changed = (await definitions.get(Key("", "widgets.example.com"))).tree()
        schema = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["required"] = ["spec"]
        await definitions.update(Key("", "widgets.example.com"), changed)
        with pytest.raises(Invalid):
            await held.create(cls(metadata=ObjectMeta(name="b", namespace="default")))
        await definitions.delete(Key("", "widgets.example.com"))
        await eventually(lambda: not knows(registries))
        with pytest.raises(NotFound):
            await held.get(Key("default", "a"))


async def test_a_dry_run_defines_nothing_and_creates_nothing() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
        dry = WriteOptions(dry_run=True)
        answer = await definitions.create(definition("widgets", "Widget", SIZED), options=dry)
        assert answer.tree()["status"]["acceptedNames"]["kind"] == "Widget"
        assert not knows(registries)
        await define(registries, definition("widgets", "Widget", SIZED))
        made = await widgets(registries).create(widget(), namespace="default", options=dry)
        assert made.tree()["spec"] == {"size": 3}
        assert not (await widgets(registries).list()).documents


async def test_generated_names_conflicts_and_applies_work_as_for_built_in_kinds() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await define(registries, definition("widgets", "Widget", SIZED))
        registry = widgets(registries)
        tree = widget()
        tree["metadata"] = {"generateName": "w-"}
        made = await registry.create(tree, namespace="default")
        assert made.meta.name.startswith("w-")
        await registry.create(widget(), namespace="default")
        with pytest.raises(AlreadyExists):
            await registry.create(widget(), namespace="default")
        with pytest.raises(ApiError, match="namespaces"):
            await registry.create(widget(), namespace="nowhere")
        body = {**widget("applied", size=4)}
        document, created = await registry.patch(Key("default", "applied"), Patch("apply", body, "me"))
        assert created
        assert document.tree()["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:size": {}}}
        document, created = await registry.patch(Key("default", "applied"), Patch("json", [
            {"op": "replace", "path": "/spec/size", "value": 5}, {"op": "add", "path": "/spec/other", "value": 1},
        ]))  # fmt: skip
        assert (document.tree()["spec"], created) == ({"size": 5}, False)


async def test_a_definition_that_cannot_be_served_stops_no_other() -> None:
    async with MemoryStore() as store:
        async with ResourceRegistries(store) as registries:
            await registries.bootstrap()
            await define(registries, definition("widgets", "Widget", SIZED))
        broken = (
            b'{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"x.y.z","uid":"1"},'
            b'"spec":{},"status":{"conditions":[{"type":"Established","status":"True"}]}}'
        )
        await store.commit(
            Put("/registry/apiextensions.k8s.io/customresourcedefinitions/x.y.z", broken, ABSENT)
        )
        async with ResourceRegistries(store) as registries:
            assert knows(registries)


async def redefine(registries: ResourceRegistries, spec_schema: Tree) -> None:
    definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
    schema = definition("widgets", "Widget", spec_schema)["spec"]["versions"][0]["schema"]
    operation = {"op": "replace", "path": "/spec/versions/0/schema", "value": schema}
    await definitions.patch(Key("", "widgets.example.com"), Patch("json", [operation]))


PLAIN: Tree = {"type": "object", "properties": {"size": {"type": "integer"}}}


async def test_objects_look_as_their_schema_says_now() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await define(registries, definition("widgets", "Widget", PLAIN))
        await widgets(registries).create(widget(), namespace="default")
        await widgets(registries).create(widget("own", size=9), namespace="default")

        async def sizes() -> list[int | None]:
            found = await widgets(registries).list()
            return [document.tree()["spec"].get("size") for document in found.documents]

        assert await sizes() == [None, 9]
        await redefine(registries, SIZED)
        assert await sizes() == [3, 9]
        await redefine(registries, PLAIN)
        assert await sizes() == [None, 9], "a default that has gone is seen no more"
        await redefine(registries, {"type": "object"})
        assert await sizes() == [None, None], "nor a field that has gone"
        await redefine(registries, SIZED)
        assert await sizes() == [3, 9], "but what is stored is still there"


async def test_many_objects_are_read_again_a_few_at_a_time() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await define(registries, definition("widgets", "Widget", PLAIN))
        for number in range(120):
            await widgets(registries).create(widget(f"w{number}"), namespace="default")
        read: list[bytes] = []

        def reader(stored: bytes) -> bytes:
            read.append(stored)
            return stored.replace(b'"spec":{}', b'"spec":{"size":7}')

        cache = registries.cache.redefined(widgets(registries).resource, reader)
        assert read == [], "nobody waits for it"
        one = cache.get(Key("default", "w1"))
        assert one is not None
        assert one.tree()["spec"] == {"size": 7}
        assert one.view(Object).metadata.name == "w1"
        assert len(read) == 1
        turns = 0

        async def others() -> None:
            nonlocal turns
            while len(read) < 120:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            await cache.look_through()
        assert len(read) == 120, "each once"
        assert turns >= 2
