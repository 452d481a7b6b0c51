"""Transactions whose requests or answers get lost between API servers that take over from each other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client import LocalClient, binder
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.registry import ResourceRegistries
from kubelib.server import ApiServer
from kubelib.server.authz import AlwaysAllow
from kubelib.store import open_store
from kubelib.transactions import Claim, Commit, Result, Transaction
from tests.engines import PREFIXES, Etcd, ZooKeeper
from tests.flow.test_room import node_with, pod_of, taken

PODS, NODES = 60, 4


class Failing(httpx.AsyncBaseTransport):
    """Servers behind one address: each request meets one of them, and it or its answer may be lost.

    The answer to the first write that is carried out is always lost: of what follows from that there must be a case in every run.
    """

    def __init__(self, servers: list[ApiServer], random: Random) -> None:
        self._servers = [httpx.ASGITransport(server) for server in servers]
        self._random = random
        self.lost = 0
        self._first = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate, server = self._random.random(), self._random.choice(self._servers)
        if fate < 0.15:
            self.lost += 1
            raise httpx.ConnectError("nobody listens")
        response = await server.handle_async_request(request)
        first = self._first and request.method == "POST"
        if first:
            self._first = False
        if first or fate < 0.3:
            self.lost += 1
            raise httpx.ReadError("the server went away before it had answered")
        return response


@pytest.fixture(params=["memory", "etcd", "zookeeper"])
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[list[ApiServer]]:
    async with AsyncExitStack() as stack:
        urls = ["memory://"]
        if request.param != "memory":
            engine: Etcd | ZooKeeper = request.getfixturevalue(request.param)
            urls = [engine.url(next(PREFIXES))] * 2
        found = []
        for url in urls:
            store = await stack.enter_async_context(open_store(url))
            registries = await stack.enter_async_context(ResourceRegistries(store))
            await registries.bootstrap()
            found.append(ApiServer(registries, authorizer=AlwaysAllow(), fair=False))
        yield found


@pytest.mark.parametrize("seed", range(3))
async def test_transactions_land_once_and_nobody_is_told_wrongly_that_they_lost(
    servers: list[ApiServer], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binder, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(binder, "TRIES", 20)
    local = LocalClient(servers[0].registries)
    for n in range(NODES):
        await local.resource(Node).create(node_with(f"n{n}", "4", "12"))
    for n in range(PODS):
        await local.resource(Pod).create(pod_of(f"p{n}", "300m"))
    said: list[tuple[Transaction, Result]] = []
    transports = []

    async def schedule(worker: int) -> None:
        random = Random(f"{seed} {worker}")
        transport = Failing(servers, random)
        transports.append(transport)
        async with HttpClient(Connection(server="http://servers"), transport=transport) as client:
            for number in range(10):
                chosen = random.sample(range(PODS), 4)
                commit: Commit = random.choice(("incremental", "all-or-nothing"))
                transaction = Transaction(
                    id=f"{worker}-{number}",
                    claims=[
                        Claim(Key("default", f"p{n}"), "", f"n{random.randrange(NODES)}") for n in chosen
                    ],
                    commit=commit,
                )
                with anyio.fail_after(60):
                    said.append((transaction, await client.binder.commit(transaction)))

    async with anyio.create_task_group() as group:
        for worker in range(3):
            group.start_soon(schedule, worker)
    await servers[0].registries.catch_up()
    pods: dict[Key, Any] = {pod.key: pod.spec.node_name for pod in (await local.resource(Pod).list()).items}
    winners: dict[Key, str] = {}
    for transaction, result in said:
        for outcome in result.outcomes:
            if outcome.error is None:
                assert outcome.claim.pod not in winners, "two transactions were told that they bound a pod"
                winners[outcome.claim.pod] = outcome.claim.node
        if transaction.commit == "all-or-nothing":
            assert result.landed in (0, len(transaction.claims))
    # Whoever is on a node is there because somebody was told so.
    assert winners == {pod: node for pod, node in pods.items() if node}
    assert any(result.repeated for _, result in said)
    assert sum(transport.lost for transport in transports) > 5
    for n in range(NODES):
        _, count = await taken(local, f"n{n}")
        assert count <= 12
