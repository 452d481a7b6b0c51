"""Quotas are counted when they are new, when their limits change, and when what they count goes."""

from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.core.quota import ResourceQuota, ResourceQuotaSpec
from kubelib.api.errors import ApiError, Forbidden
from kubelib.api.model import replace
from kubelib.controllers.builtin.resourcequota import resource_quota_controller
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import CONTAINER, make_config_map, make_meta, make_pod, make_pod_status


def controller(world: Any) -> Any:
    return resource_quota_controller(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )


def quota(**hard: str) -> ResourceQuota:
    named = {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}
    return ResourceQuota(metadata=make_meta("q"), spec=ResourceQuotaSpec(hard=named))


async def used(world: Any) -> dict[str, str]:
    return dict((await world.get(ResourceQuota, "q")).status.used)


def asking(name: str, cpu: str) -> Pod:
    container = replace(CONTAINER, resources=ResourceRequirements(requests={"cpu": cpu}))
    return make_pod(name, containers=(container,))


async def test_a_new_quota_is_counted_and_its_limits_hold(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(asking("a", "600m"))
        await world.create(quota(pods="2", requests_cpu="1.5", count__configmaps="1"))
        await world.settled(5)
        found = await world.get(ResourceQuota, "q")
        assert dict(found.status.hard) == {"pods": "2", "requests.cpu": "1500m", "count/configmaps": "1"}
        assert await used(world) == {"pods": "1", "requests.cpu": "600m", "count/configmaps": "0"}
        await world.create(make_config_map("c"))
        with pytest.raises(Forbidden, match="exceeded quota: q, requested: count/configmaps=1"):
            await world.create(make_config_map("d"))
        with pytest.raises(Forbidden, match=r"requested: requests.cpu=1, used: requests.cpu=600m"):
            await world.create(asking("b", "1"))


async def test_what_goes_or_ends_makes_room(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(quota(pods="2", count__configmaps="1"))
        await world.settled(5)
        await world.create(make_config_map("c"))
        for name in ("a", "b"):
            await world.create(make_pod(name))
        await world.delete(ConfigMap, "c")
        await world.delete(Pod, "a")
        await world.change(
            Pod, "b", lambda p: replace(p, status=make_pod_status("Succeeded")), subresource="status"
        )
        await world.settled(5)
        assert await used(world) == {"pods": "0", "count/configmaps": "0"}
        await world.create(make_config_map("d"))


async def test_new_limits_are_counted_for(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(quota(pods="1"))
        await world.create(make_config_map("c"))
        await world.settled(5)
        await world.change(ResourceQuota, "q", lambda q: replace(q, spec=quota(configmaps="3").spec))
        await world.settled(5)
        assert await used(world) == {"configmaps": "1"}


async def test_who_writes_without_a_pause_does_not_keep_new_limits_from_being_counted_for(
    make_world: Any,
) -> None:
    def line(client: Any) -> Any:
        return Lossy(client, Random(1), rate=0.0, latency=0.2)

    async with make_world(line) as world, world.running(controller(world)):
        await world.create(quota(configmaps="5"))
        await world.settled(10)
        made, refused = 0, 0

        async def write() -> None:
            nonlocal made, refused
            while True:
                await anyio.sleep(0.01)
                try:
                    await world.create(make_pod(f"p{made}"))
                    made += 1
                except Forbidden:
                    refused += 1

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            await anyio.sleep(1)
            await world.change(ResourceQuota, "q", lambda q: replace(q, spec=quota(pods="1000").spec))
            await anyio.sleep(15)
            assert made == 1000
            assert refused > 0
            group.cancel_scope.cancel()
        assert await used(world) == {"pods": "1k"}


@pytest.mark.seeds(10)
async def test_on_a_bad_line_no_more_is_stored_than_there_is_room_for(
    make_world: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]
    random = Random(seed)

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.1, latency=0.05, until=100.0), every=3)

    async with make_world(line, seed) as world, world.running(controller(world)):
        await world.create(quota(pods="10"))
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            await anyio.sleep(20 + random.random() * 60)
            try:
                await world.create(make_pod(f"p{number}"))
            except Forbidden:
                return
            most = max(most, len(await world.names(Pod)))
            if random.random() < 0.5:
                await anyio.sleep(random.random() * 5)
                await world.delete(Pod, f"p{number}", grace=0)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(one, number)
        assert most == 10
        await anyio.sleep(300)
        assert await used(world) == {"pods": str(len(await world.names(Pod)))}
        with pytest.raises(ApiError):
            for number in range(20):
                await world.create(make_pod(f"more{number}"))
