from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.builtin import SCHEME
from kubelib.api.codec import decode, encode_json
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import Conflict, NotFound
from kubelib.api.meta import Key, Object, OwnerReference
from kubelib.api.model import replace
from kubelib.controllers.builtin.deployment import deployment_controller
from kubelib.controllers.builtin.garbagecollector import GarbageCollector, garbage_collector
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.informers import SharedInformers
from kubelib.sim import Conflicting, Lossy
from kubelib.sim.hardship import Wrapper
from kubelib.testing.objects import make_config_map, make_deployment, make_namespace
from tests.server.definitions import definition


def collector(world: Any) -> Any:
    return garbage_collector(world.informers, clock=world.clock, recorder=world.recorder, scheme=SCHEME)


@asynccontextmanager
async def collecting(world: Any, wrapper: type[Wrapper[ConfigMap]]) -> AsyncIterator[None]:
    """Run a collector that reaches ConfigMaps through a wrapper."""

    class Client:
        def resource(self, kind: Any) -> Any:
            registry = world.direct.resource(kind)
            return wrapper(registry) if kind is ConfigMap else registry

    informers = SharedInformers(Client(), random=Random(1))
    how = {"clock": world.clock, "recorder": world.recorder}
    async with world.running(informers, garbage_collector(informers, scheme=SCHEME, **how)):
        yield


def owned(name: str, *owners: Object, block: bool = True) -> ConfigMap:
    references = tuple(
        OwnerReference(
            api_version=owner.api_version,
            kind=owner.kind,
            name=owner.metadata.name,
            uid=owner.metadata.uid,
            block_owner_deletion=block,
        )
        for owner in owners
    )
    obj = make_config_map(name)
    return replace(obj, metadata=replace(obj.metadata, owner_references=references))


async def names(world: Any) -> list[str]:
    return [name for name in await world.names(ConfigMap) if name != "kube-root-ca.crt"]


async def test_what_is_owned_goes_after_its_owner(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        child = await world.create(owned("child", owner))
        await world.create(owned("grandchild", child))
        await world.create(make_config_map("bystander"))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Background")
        await world.settled(5)
        assert await names(world) == ["bystander"]


async def test_one_owner_that_is_left_is_enough(world: Any) -> None:
    async with world.running(collector(world)):
        first, second = [await world.create(make_config_map(name)) for name in ("first", "second")]
        await world.create(owned("child", first, second))
        await world.settled(2)
        await world.delete(ConfigMap, "first", propagation="Background")
        await world.settled(5)
        child = await world.get(ConfigMap, "child")
        assert [o.name for o in child.metadata.owner_references] == ["second"]
        await world.delete(ConfigMap, "second", propagation="Background")
        await world.settled(5)
        assert await names(world) == []


async def test_an_owner_that_never_was_is_no_owner(world: Any) -> None:
    ghost = replace(
        make_config_map("ghost"), metadata=replace(make_config_map("ghost").metadata, uid="no-such-uid")
    )
    async with world.running(collector(world)):
        await world.create(owned("child", ghost))
        await world.settled(5)
        assert await names(world) == []


async def test_another_object_with_the_owners_name_is_not_the_owner(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        await world.create(owned("child", owner))
        await world.delete(ConfigMap, "owner", propagation="Background")
        await world.create(make_config_map("owner"))
        await world.settled(5)
        assert await names(world) == ["owner"]


async def test_an_owner_deleted_in_the_foreground_waits_for_what_blocks_it(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        child = owned("child", owner)
        await world.create(replace(child, metadata=replace(child.metadata, finalizers=("example.com/hold",))))
        await world.create(owned("quick", owner))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Foreground")
        await world.settled(5)
        assert await names(world) == ["child", "owner"]
        assert (await world.get(ConfigMap, "child")).metadata.deletion_timestamp is not None
        await world.change(
            ConfigMap, "child", lambda c: replace(c, metadata=replace(c.metadata, finalizers=()))
        )
        await world.settled(5)
        assert await names(world) == []


async def test_what_does_not_block_is_not_waited_for(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        child = owned("child", owner, block=False)
        await world.create(replace(child, metadata=replace(child.metadata, finalizers=("example.com/hold",))))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Foreground")
        await world.settled(5)
        assert await names(world) == ["child"]


async def test_a_foreground_deletion_spares_what_somebody_else_owns_too(world: Any) -> None:
    async with world.running(collector(world)):
        going, staying = [await world.create(make_config_map(name)) for name in ("going", "staying")]
        await world.create(owned("child", going, staying))
        await world.settled(2)
        await world.delete(ConfigMap, "going", propagation="Foreground")
        await world.settled(5)
        assert await names(world) == ["child", "staying"]
        child = await world.get(ConfigMap, "child")
        assert [o.name for o in child.metadata.owner_references] == ["staying"]


async def test_orphans_are_let_go(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        await world.create(owned("child", owner))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Orphan")
        await world.settled(5)
        assert await names(world) == ["child"]
        assert (await world.get(ConfigMap, "child")).metadata.owner_references == ()


async def test_what_cannot_be_let_go_of_its_owner_keeps_it(world: Any) -> None:
    class Busy(Wrapper[ConfigMap]):
        stuck = True

        async def update(self, obj: ConfigMap, *, subresource: str = "") -> ConfigMap:
            if obj.metadata.name == "child" and Busy.stuck:
                raise Conflict("somebody was quicker")
            return await super().update(obj, subresource=subresource)

    async with collecting(world, Busy):
        owner = await world.create(make_config_map("owner"))
        await world.create(owned("child", owner))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Orphan")
        await world.settled(5)
        assert await names(world) == ["child", "owner"]
        Busy.stuck = False
        await world.settled(60)
        assert await names(world) == ["child"]


async def test_an_owner_in_another_namespace_is_none_and_that_is_told(world: Any) -> None:
    await world.create(make_namespace("other"))
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner", namespace="other"))
        await world.settled(2)
        await world.create(owned("child", owner))
        await world.settled(5)
        assert await names(world) == []
        uid = owner.metadata.uid
        who = f"v1/ConfigMap, namespace: default, name: owner, uid: {uid}"
        message = f'ownerRef [{who}] does not exist in namespace "default"'
        assert ("OwnerRefInvalidNamespace", message) in await world.events()


async def test_what_is_in_no_namespace_does_not_go_with_what_is_in_one(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        references = owned("child", owner).metadata.owner_references
        gone = replace(references[0], uid="no-such-uid")
        for name, reference in (("known", references[0]), ("unknown", gone)):
            made = make_namespace(name)
            await world.create(replace(made, metadata=replace(made.metadata, owner_references=(reference,))))
        await world.settled(5)
        assert {"known", "unknown"} <= set(await world.names(Namespace, ""))
        told = [message for reason, message in await world.events() if reason == "OwnerRefInvalidNamespace"]
        (message,) = told
        assert message.endswith('does not exist in namespace ""')


async def test_an_object_of_the_same_kind_in_another_group_is_not_the_owner(world: Any) -> None:
    await world.create(decode(CustomResourceDefinition, encode_json(definition("configmaps", "ConfigMap"))))
    scheme = world.registries.scheme
    how = {"clock": world.clock, "recorder": world.recorder}
    async with world.running(garbage_collector(world.informers, scheme=scheme, **how)):
        owner = await world.create(make_config_map("owner"))
        child = owned("child", owner)
        (true,) = child.metadata.owner_references
        references = (replace(true, api_version="example.com/v1"),)
        await world.create(replace(child, metadata=replace(child.metadata, owner_references=references)))
        await world.create(owned("other", owner))
        await world.settled(5)
        assert await names(world) == ["other", "owner"]


async def test_a_mistaken_reference_is_told_of_also_if_the_owner_is_seen_last(world: Any) -> None:
    owner = make_config_map("owner")
    owner = replace(owner, metadata=replace(owner.metadata, uid="known-before"))
    scheme = world.registries.scheme
    collecting = GarbageCollector(world.direct, scheme, world.recorder.source("gc"))
    child = make_namespace("child")
    child = replace(
        child,
        metadata=replace(
            child.metadata, uid="c", owner_references=owned("x", owner).metadata.owner_references
        ),
    )
    first = [Document(encode_json(obj)) for obj in (child, owner)]
    assert list(collecting.on_change(scheme.of(Namespace), None, first[0])) == ["c"]
    assert list(collecting.on_change(scheme.of(ConfigMap), None, first[1])) == ["c"]


async def test_what_says_how_it_is_to_be_deleted_is_deleted_so(world: Any) -> None:
    async with world.running(collector(world)):
        owner = await world.create(make_config_map("owner"))
        child = owned("child", owner)
        child = await world.create(replace(child, metadata=replace(child.metadata, finalizers=("orphan",))))
        await world.create(owned("grandchild", child))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Background")
        await world.settled(5)
        assert await names(world) == ["grandchild"]


async def test_what_gets_another_owner_just_before_it_goes_stays(world: Any) -> None:
    other = await world.create(make_config_map("other"))

    class Adopting(Wrapper[ConfigMap]):
        async def delete(self, key: Key, **how: Any) -> ConfigMap:
            if key.name == "child":
                owners = owned("child", other).metadata.owner_references
                with suppress(NotFound):
                    await world.change(
                        ConfigMap,
                        "child",
                        lambda c: replace(c, metadata=replace(c.metadata, owner_references=owners)),
                    )
            return await super().delete(key, **how)

    async with collecting(world, Adopting):
        owner = await world.create(make_config_map("owner"))
        await world.create(owned("child", owner))
        await world.settled(2)
        await world.delete(ConfigMap, "owner", propagation="Background")
        await world.settled(5)
        assert await names(world) == ["child", "other"]


async def test_a_collector_that_starts_late_finds_what_was_left_behind(world: Any) -> None:
    owner = await world.create(make_config_map("owner"))
    await world.create(owned("child", owner))
    await world.delete(ConfigMap, "owner", propagation="Background")
    async with world.running(collector(world)):
        await world.settled(5)
        assert await names(world) == []


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_deployment_goes_with_all_that_it_made(
    world: Any, running_pods: Any, propagation: str
) -> None:
    controllers = [
        make(world.informers, clock=world.clock, recorder=world.recorder)
        for make in (deployment_controller, replica_set_controller)
    ]
    async with world.running(running_pods(world), collector(world), *controllers):
        await world.create(make_deployment("web", replicas=3))
        await world.settled(10)
        assert len(await world.all(Pod)) == 3
        await world.delete(Deployment, "web", propagation=propagation)
        await world.settled(30)
        for kind in (Deployment, ReplicaSet, Pod):
            assert await world.names(kind) == []


@pytest.mark.seeds(8)
async def test_under_conflicts_and_losses_nothing_is_left_and_nothing_else_is_lost(
    make_world: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.1, latency=0.05, until=100.0), every=4)

    async with make_world(line, seed) as world, world.running(collector(world)):
        for tree in ("a", "b"):
            root = await world.create(make_config_map(tree))
            for n in range(4):
                child = await world.create(owned(f"{tree}{n}", root))
                for m in range(3):
                    await world.create(owned(f"{tree}{n}{m}", child))
        await anyio.sleep(10)
        await world.delete(ConfigMap, "a", propagation="Foreground")
        await anyio.sleep(1500)
        left = await names(world)
        assert len(left) == 17
        assert all(name.startswith("b") for name in left)
