"""What every client promises about watches."""

import anyio
import anyio.lowlevel
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import Expired
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Patch, Query
from kubelib.testing.registry.shared import (
    HERE,
    KEY,
    NAMESPACE,
    Backing,
    OfClients,
    config_map,
    labelled,
    take,
)


class WatchPromises(OfClients):
    """What every client promises about watches."""

    async def test_a_watch_reports_everything_after_a_version_once_and_in_order(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        await maps.create(config_map("before"))
        since = (await maps.list(HERE)).resource_version
        await maps.create(config_map(a="1"))
        async with maps.watch(HERE, since=since) as events:
            await maps.update(config_map(a="2"))
            await maps.create(config_map("b"))
            await maps.delete(KEY)
            assert await take(events, 4) == [
                ("ADDED", "a"),
                ("MODIFIED", "a"),
                ("ADDED", "b"),
                ("DELETED", "a"),
            ]

    async def test_events_carry_the_object_as_it_was_then(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        created = await maps.create(config_map(a="1"))
        updated = await maps.update(replace(created, data={"a": "2"}))
        await maps.delete(KEY)
        async with maps.watch(HERE, since=since) as events:
            with anyio.fail_after(60):
                seen = [await anext(events) for _ in range(3)]
        assert [dict(event.object.data) for event in seen] == [{"a": "1"}, {"a": "2"}, {"a": "2"}]
        versions = [int(event.object.metadata.resource_version) for event in seen]
        assert versions[:2] == [int(o.metadata.resource_version) for o in (created, updated)]
        assert versions == sorted(set(versions))  # a deletion has a version of its own

    async def test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        async with maps.watch(labelled("show=yes"), since=since) as events:
            await maps.create(config_map(a="1"))
            await maps.patch(KEY, Patch("merge", {"metadata": {"labels": {"show": "yes"}}}))
            await maps.patch(KEY, Patch("merge", {"data": {"a": "2"}}))
            await maps.patch(KEY, Patch("merge", {"metadata": {"labels": {"show": "no"}}}))
            await maps.patch(KEY, Patch("merge", {"data": {"a": "3"}}))
            await maps.create(config_map("b", labels={"show": "yes"}))
            expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
            assert await take(events, 4) == expected

    async def test_a_watch_of_one_namespace_or_name_sees_no_other(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        elsewhere = ConfigMap(metadata=ObjectMeta(name="a", namespace="kube-system"))
        one = Query(namespace=NAMESPACE, fields=parse_field_selector("metadata.name=b"))
        async with maps.watch(HERE, since=since) as here, maps.watch(one, since=since) as named:
            await maps.create(elsewhere)
            await maps.create(config_map("b"))
            assert await take(here, 1) == [("ADDED", "b")]
            assert await take(named, 1) == [("ADDED", "b")]

    async def test_a_watch_from_a_version_that_is_forgotten_has_expired(self, backing: Backing) -> None:
        maps = backing.client.resource(ConfigMap)
        created = await maps.create(config_map("a"))
        for number in range(3):
            await maps.create(config_map(f"m{number}"))
        await backing.forget()
        with pytest.raises(Expired):
            async with maps.watch(HERE, since=created.metadata.resource_version) as events:
                await take(events, 1)

    async def test_many_watchers_see_the_same(self, client: Client) -> None:
        maps = client.resource(ConfigMap)
        since = (await maps.list(HERE)).resource_version
        seen: list[list[tuple[str, str]]] = []
        ready = anyio.Event()
        waiting = 10

        async def watch() -> None:
            nonlocal waiting
            async with maps.watch(HERE, since=since) as events:
                waiting -= 1
                if not waiting:
                    ready.set()
                seen.append(await take(events, 5))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(watch)
            await ready.wait()
            for number in range(5):
                await maps.create(config_map(f"m{number}"))
        assert seen == [[("ADDED", f"m{number}") for number in range(5)]] * 10
