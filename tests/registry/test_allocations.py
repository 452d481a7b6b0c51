"""Services get addresses and ports of their own, also when many are made at once and all would choose the same."""

from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.service import Service
from kubelib.api.errors import Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.generic import GenericRegistry
from kubelib.store import MemoryStore, Operation, Revision

pytestmark = pytest.mark.anyio


class FromTheStart(Random):
    """Chooses the same for everybody."""

    def randrange(self, *args: Any, **kwargs: Any) -> int:
        return 0


class SlowStore(MemoryStore):
    """Decides on a commit a while after it was asked for, as a store does to which others write as well."""

    async def commit(self, *operations: Operation) -> Revision:
        await anyio.sleep(0.01)
        return await super().commit(*operations)


async def _make(services: GenericRegistry, name: str, kind: str = "NodePort") -> dict[str, Any]:
    spec = {"type": kind, "ports": [{"port": 80}, {"port": 81, "name": "b"}]}
    spec["ports"][0]["name"] = "a"  # type: ignore[index]
    made = await services.create({"metadata": {"name": name}, "spec": spec}, namespace="default")
    found: dict[str, Any] = made.tree()["spec"]
    return found


async def test_services_that_are_made_at_once_do_not_get_the_same() -> None:
    async with (
        SlowStore() as store,
        ResourceRegistries(store, random=FromTheStart(1)) as registries,
    ):
        await registries.bootstrap()
        services = registries.of(registries.scheme.of(Service))
        made: list[dict[str, Any]] = []

        async def make(number: int) -> None:
            made.append(await _make(services, f"s{number}"))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(make, number)
        assert len({spec["clusterIP"] for spec in made}) == 20
        assert len({port["nodePort"] for spec in made for port in spec["ports"]}) == 40


async def test_two_api_servers_that_choose_the_same_do_not_refuse_what_nobody_asked_for() -> None:
    async with (
        SlowStore() as store,
        ResourceRegistries(store, random=FromTheStart(1)) as first,
        ResourceRegistries(store, random=FromTheStart(1)) as second,
    ):
        await first.bootstrap()
        await second.bootstrap()
        made: list[dict[str, Any]] = []

        async def make(registries: ResourceRegistries, name: str) -> None:
            made.append(await _make(registries.of(registries.scheme.of(Service)), name))

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(make, first, f"a{number}")
                group.start_soon(make, second, f"b{number}")
        assert len({spec["clusterIP"] for spec in made}) == 10
        assert len({port["nodePort"] for spec in made for port in spec["ports"]}) == 20


async def test_what_is_given_back_is_free_again_and_a_full_range_says_so() -> None:
    async with (
        MemoryStore() as store,
        ResourceRegistries(store, service_cidr="127.96.0.0/29") as registries,
    ):
        await registries.bootstrap()
        services = registries.of(registries.scheme.of(Service))
        addresses = [(await _make(services, f"s{n}", "ClusterIP"))["clusterIP"] for n in range(5)]
        assert sorted(addresses) == [f"127.96.0.{n}" for n in range(2, 7)]
        with pytest.raises(Invalid, match="failed to allocate a serviceIP: range is full"):
            await _make(services, "one-more", "ClusterIP")
        await services.delete(Key("default", "s3"))
        assert (await _make(services, "another", "ClusterIP"))["clusterIP"] == addresses[3]
        ranges = registries.of(registries.scheme.kind("networking.k8s.io/v1", "ServiceCIDR"))
        await ranges.create({"metadata": {"name": "more"}, "spec": {"cidrs": ["127.97.0.0/29"]}})
        more = (await ranges.get(Key("", "more"))).tree()
        more["status"] = {"conditions": [_READY]}
        await ranges.update(Key("", "more"), more, subresource="status")
        assert (await _make(services, "in-more", "ClusterIP"))["clusterIP"].startswith("127.97.0.")


_READY = {
    "type": "Ready",
    "status": "True",
    "reason": "",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
