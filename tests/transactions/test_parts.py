"""Transactions that are larger than a commit of the store may be."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import Invalid, Unexplained
from kubelib.api.meta import Key
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.binding import Binder
from kubelib.store import (
    CommitTooLarge,
    MemoryStore,
    Operation,
    Put,
    Revision,
    StoreUnavailable,
    ValueTooLarge,
    open_store,
)
from kubelib.store.metering import MeteredStore
from kubelib.testing.objects import make_config_map
from kubelib.transactions import Claim, Detection, Transaction
from kubelib.transactions.parts import parts_of
from tests.engines import PREFIXES, Etcd, ZooKeeper
from tests.flow.test_room import node_with, pod_of, taken

PODS = 300


def claims_on(nodes: list[int]) -> list[Claim]:
    return [Claim(Key("default", f"p{n}"), "", f"n{node}") for n, node in enumerate(nodes)]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=150),
    st.integers(3, 130),
    st.sampled_from(["fine", "coarse"]),
)
def test_every_claim_is_in_one_part_and_each_part_fits(
    nodes: list[int], most: int, detection: Detection
) -> None:
    transaction = Transaction(claims=claims_on(nodes), id="t", detection=detection)
    parts = parts_of(transaction, most)
    assert sorted(c.pod.name for part in parts for c in part.claims) == sorted(
        c.pod.name for c in transaction.claims
    )
    assert all(len(part.claims) + len({c.node for c in part.claims}) + 1 <= most for part in parts)
    assert len({part.id for part in parts}) == len(parts)
    assert parts_of(transaction, most) == parts
    if detection == "fine":
        assert [c for part in parts for c in part.claims] == list(transaction.claims)
    else:
        for node in range(13):
            holders = [part for part in parts if any(c.node == f"n{node}" for c in part.claims)]
            assert len(holders) <= 1 or nodes.count(node) + 2 > most


def test_what_lands_as_a_whole_is_not_divided() -> None:
    transaction = Transaction(claims=claims_on([*range(100)]), commit="all-or-nothing")
    assert parts_of(transaction, 10) == (transaction,)


class Forgetful(MeteredStore):
    """A store whose servers carry out a commit, once, and go away before they say so."""

    fails_at = 0
    commits = 0

    async def commit(self, *operations: Operation) -> Revision:
        done = await super().commit(*operations)
        self.commits += 1
        if self.commits == self.fails_at:
            raise StoreUnavailable("gone")
        return done


@pytest.fixture(params=["memory", "sqlite", "etcd", "zookeeper"])
async def stores(request: pytest.FixtureRequest, tmp_path: object) -> AsyncIterator[list[Forgetful]]:
    """A store, or what two API servers share."""
    urls = {"memory": ["memory://"], "sqlite": [f"sqlite://{tmp_path}/store"]}.get(request.param)
    if urls is None:
        engine: Etcd | ZooKeeper = request.getfixturevalue(request.param)
        urls = [engine.url(next(PREFIXES))] * 2
    async with AsyncExitStack() as stack:
        yield [Forgetful(await stack.enter_async_context(open_store(url))) for url in urls]


@pytest.fixture
async def servers(stores: list[Forgetful]) -> AsyncIterator[list[ResourceRegistries]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ResourceRegistries(store)) for store in stores]


async def add(client: LocalClient, nodes: int) -> None:
    for n in range(nodes):
        await client.resource(Node).create(node_with(f"n{n}", "30", str(PODS)))
    async with anyio.create_task_group() as group:
        for worker in range(8):
            group.start_soon(add_pods, client, range(worker, PODS, 8))


async def add_pods(client: LocalClient, numbers: range) -> None:
    for n in numbers:
        await client.resource(Pod).create(pod_of(f"p{n}", "100m"))


@pytest.mark.parametrize("nodes", [1, 100])
@pytest.mark.parametrize("detection", ["fine", "coarse"])
async def test_a_large_transaction_lands_on_every_store(
    servers: list[ResourceRegistries], nodes: int, detection: Detection
) -> None:
    await servers[0].bootstrap()
    client = LocalClient(servers[0])
    await add(client, nodes)
    seen = int((await client.resource(Pod).list()).resource_version)
    claims = [
        Claim(Key("default", f"p{n}"), "", f"n{n % nodes}", seen if detection == "coarse" else 0)
        for n in range(PODS)
    ]
    result = await Binder(servers[-1]).commit(Transaction(claims=claims, id="large", detection=detection))
    assert [outcome.claim for outcome in result.outcomes] == claims
    if detection == "fine" or nodes > 1:
        assert result.landed == PODS
    assert sum([(await taken(client, f"n{n}"))[1] for n in range(nodes)]) == result.landed > 0


async def test_a_large_transaction_that_broke_off_is_carried_out_once_when_it_is_sent_again(
    servers: list[ResourceRegistries], stores: list[Forgetful]
) -> None:
    await servers[0].bootstrap()
    client = LocalClient(servers[0])
    await add(client, 100)
    claims = [Claim(Key("default", f"p{n}"), "", f"n{n % 100}") for n in range(PODS)]
    transaction = Transaction(claims=claims, id="large")
    stores[0].fails_at = stores[0].commits + (3 if stores[0].most_operations else 1)
    with pytest.raises(Exception, match="gone"):
        await Binder(servers[0]).commit(transaction)
    result = await Binder(servers[-1]).commit(transaction)
    assert result.landed == PODS
    assert (await Binder(servers[0]).commit(transaction)).repeated


async def test_what_must_land_as_a_whole_and_is_too_large_is_refused_with_the_way_out(etcd: Etcd) -> None:
    prefix = next(PREFIXES)
    async with open_store(etcd.url(prefix)) as store, ResourceRegistries(store) as registries:
        client = LocalClient(registries)
        await registries.bootstrap()
        await add(client, 1)
        claims = [Claim(Key("default", f"p{n}"), "", "n0") for n in range(PODS)]
        with pytest.raises(Invalid, match="--max-txn-ops"):
            await client.binder.commit(Transaction.of(claims, "all-or-nothing"))
        assert (await taken(client, "n0"))[1] == 0


class Small(MeteredStore):
    """A store that takes little at once."""

    async def commit(self, *operations: Operation) -> Revision:
        if len(operations) > 10:
            raise CommitTooLarge("no more than ten")
        if any(isinstance(operation, Put) and len(operation.value) > 10_000 for operation in operations):
            raise ValueTooLarge("etcdserver: request is too large")
        return await super().commit(*operations)


async def test_a_transaction_that_is_too_large_as_a_whole_is_refused_and_an_object_fails_as_in_kubernetes() -> (
    None
):
    async with MemoryStore() as store, ResourceRegistries(Small(store)) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        for n in range(11):
            await client.resource(Node).create(node_with(f"n{n}", "30", "10"))
            await client.resource(Pod).create(pod_of(f"p{n}", "100m"))
        whole = Transaction(claims=claims_on([*range(11)]), commit="all-or-nothing")
        with pytest.raises(Invalid, match="the transaction is too large for the store: no more than ten"):
            await Binder(registries).commit(whole)
        with pytest.raises(Unexplained, match="etcdserver: request is too large"):
            await client.resource(ConfigMap).create(make_config_map("large", text="x" * 10_001))
