"""All Pods of a transaction change at one revision: a watch that breaks off between them misses none."""

from collections.abc import AsyncIterator

import pytest

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_node, make_pod
from kubelib.transactions import Claim, Transaction


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    async with ResourceRegistries(MemoryStore()) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        await client.resource(Node).create(make_node("n"))
        for name in "abc":
            await client.resource(Pod).create(make_pod(name))
        yield client


async def test_a_watch_that_breaks_off_within_a_transaction_goes_on_with_all_of_it(
    client: LocalClient,
) -> None:
    pods = client.resource(Pod)
    since = (await pods.list()).resource_version
    claims = [Claim(Key("default", name), "", "n") for name in "abc"]
    assert (await client.binder.commit(Transaction.of(claims))).landed == 3
    async with pods.watch(since=since) as events:
        first = await anext(aiter(events))
    since = first.document.meta.resource_version
    seen = {first.document.key.name}
    async with pods.watch(since=since) as events:
        async for event in events:
            assert event.type == "MODIFIED"
            seen.add(event.document.key.name)
            if seen == set("abc"):
                break


async def test_a_watch_from_the_revision_of_a_single_change_does_not_get_it_again(
    client: LocalClient,
) -> None:
    pods = client.resource(Pod)
    since = (await pods.create(make_pod("d"))).metadata.resource_version
    await pods.create(make_pod("e"))
    async with pods.watch(since=since) as events:
        assert (await anext(aiter(events))).document.key.name == "e"
