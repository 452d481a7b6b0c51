"""No interleaving of any schedulers puts more on a node than it has."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import Conflict
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.store import open_store
from kubelib.testing.objects import make_node, make_pod
from kubelib.transactions import Claim, Transaction
from tests.engines import PREFIXES, Etcd


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def servers(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[list[LocalClient]]:
    """What schedulers speak to: one API server on an embedded store, or three that share one."""
    async with AsyncExitStack() as stack:
        clients = []
        if request.param == "etcd":
            engine: Etcd = request.getfixturevalue("etcd")
            urls = [engine.url(next(PREFIXES))] * 3
        else:
            urls = ["memory://" if request.param == "memory" else f"sqlite://{tmp_path}/store"]
        for url in urls:
            store = await stack.enter_async_context(open_store(url))
            registries = await stack.enter_async_context(ResourceRegistries(store))
            await registries.bootstrap()
            clients.append(LocalClient(registries))
        yield clients


def node_with(name: str, cpu: str, pods: str = "110") -> Node:
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": pods}
    return make_node(name, capacity=amounts, allocatable=amounts)


def pod_of(name: str, cpu: str, **more: str) -> Pod:
    resources = ResourceRequirements(requests={"cpu": cpu, **more}, limits=more)
    return make_pod(name, containers=(Container(name="main", image="x", resources=resources),))


def wanted(pod: Pod) -> Quantity:
    assert pod.spec.containers[0].resources is not None
    return parse_quantity(str(pod.spec.containers[0].resources.requests["cpu"]))


async def bind(client: LocalClient, pod: str, node: str) -> None:
    """Bind as a scheduler of another process does."""
    await client.resource(Binding).create(
        Binding(
            metadata=ObjectMeta(name=pod, namespace="default"),
            target=ObjectReference(api_version="v1", kind="Node", name=node),
        )
    )


async def taken(client: LocalClient, node: str) -> tuple[Quantity, int]:
    """Return the CPU that the Pods of a node request, added up plainly, and how many they are."""
    pods = [pod for pod in (await client.resource(Pod).list()).items if pod.spec.node_name == node]
    pods = [pod for pod in pods if pod.status.phase != "Succeeded"]
    return sum(map(wanted, pods), parse_quantity("0")), len(pods)


async def test_of_pods_that_all_fit_alone_only_as_many_are_bound_as_fit_together(
    servers: list[LocalClient],
) -> None:
    client = servers[0]
    await client.resource(Node).create(node_with("n", "1"))
    for n in range(20):
        await client.resource(Pod).create(pod_of(f"p{n}", "300m"))
    refused = []

    async def try_to_bind(n: int) -> None:
        try:
            await bind(servers[n % len(servers)], f"p{n}", "n")
        except Conflict as error:
            refused.append(str(error))

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(try_to_bind, n)
    cpu, count = await taken(client, "n")
    assert (count, cpu) == (3, parse_quantity("900m"))
    assert len(refused) == 17
    assert any('node "n" no longer has room' in text and "too little cpu" in text for text in refused)


async def test_schedulers_that_know_nothing_of_each_other_never_overcommit(
    servers: list[LocalClient],
) -> None:
    """Transactions and single bindings, retried with other nodes, with Pods that end and go meanwhile."""
    nodes = [f"n{n}" for n in range(4)]
    for name in nodes:
        await servers[0].resource(Node).create(node_with(name, "2", "5"))
    sizes = itertools.cycle(["100m", "700m", "1", "300m"])
    names = [f"p{n}" for n in range(60)]
    for name in names:
        await servers[0].resource(Pod).create(pod_of(name, next(sizes)))

    async def schedule(worker: int) -> None:
        random, client = Random(worker), servers[worker % len(servers)]
        mine = names[worker::3]
        for _ in range(4):
            if worker % 2:
                for name in mine:
                    try:
                        await bind(client, name, random.choice(nodes))
                    except Conflict:
                        continue
            else:
                await client.binder.commit(
                    Transaction.of(Claim(Key("default", name), "", random.choice(nodes)) for name in mine)
                )
            done = random.choice(mine)
            await client.resource(Pod).patch(
                Key("default", done), Patch("merge", {"status": {"phase": "Succeeded"}}), subresource="status"
            )

    async with anyio.create_task_group() as group:
        for worker in range(3):
            group.start_soon(schedule, worker)
    pods = (await servers[0].resource(Pod).list()).items
    assert sum(bool(pod.spec.node_name) for pod in pods) > 10
    for name in nodes:
        cpu, count = await taken(servers[0], name)
        assert count <= 5
        assert cpu <= parse_quantity("2")


async def test_all_or_nothing_takes_nothing_when_one_does_not_fit(servers: list[LocalClient]) -> None:
    client = servers[0]
    await client.resource(Node).create(node_with("n", "1"))
    for n in range(3):
        await client.resource(Pod).create(pod_of(f"p{n}", "400m"))
    claims = [Claim(Key("default", f"p{n}"), "", "n") for n in range(3)]
    result = await client.binder.commit(Transaction.of(claims, "all-or-nothing"))
    outcomes = result.outcomes
    assert all(isinstance(outcome.error, Conflict) for outcome in outcomes)
    assert await taken(client, "n") == (parse_quantity("0"), 0)
    # What was held for it is free again.
    result = await client.binder.commit(Transaction.of(claims[:2], "all-or-nothing"))
    assert [outcome.error for outcome in result.outcomes] == [None, None]


async def test_room_that_is_given_back_can_be_taken_again(servers: list[LocalClient]) -> None:
    client = servers[0]
    await client.resource(Node).create(node_with("n", "1"))
    for name in ("a", "b", "c"):
        await client.resource(Pod).create(pod_of(name, "800m"))
    await bind(client, "a", "n")
    with pytest.raises(Conflict):
        await bind(client, "b", "n")
    await client.resource(Pod).delete(Key("default", "a"), grace=0)
    await bind(servers[-1], "b", "n")
    node = await client.resource(Node).get(Key("", "n"))
    patch = Patch("merge", {"status": {"allocatable": {**node.status.allocatable, "cpu": "4"}}})
    await client.resource(Node).patch(node.key, patch, subresource="status")
    await bind(client, "c", "n")


async def test_extended_resources_count_where_the_node_says_how_much_it_has(
    servers: list[LocalClient],
) -> None:
    client, gpu = servers[0], "example.com/gpu"
    node = await client.resource(Node).create(node_with("n", "1"))
    for name in ("a", "b", "c"):
        await client.resource(Pod).create(pod_of(name, "100m", **{gpu: "1"}))
    await bind(client, "a", "n")  # somebody else minds it: a scheduler that ignores it placed the Pod

    async def has(count: str) -> None:
        patch = Patch("merge", {"status": {"allocatable": {**node.status.allocatable, gpu: count}}})
        await client.resource(Node).patch(node.key, patch, subresource="status")

    await has("2")
    await bind(client, "b", "n")
    with pytest.raises(Conflict, match=f"no longer has room.*{gpu}"):
        await bind(client, "c", "n")
    await has("0")
    with pytest.raises(Conflict, match=gpu):
        await bind(client, "c", "n")


async def test_a_node_that_nobody_knows_takes_what_it_is_given(servers: list[LocalClient]) -> None:
    await servers[0].resource(Pod).create(pod_of("p", "64"))
    await bind(servers[0], "p", "unknown")


@pytest.mark.parametrize(
    ("status", "fits"),
    [
        ({"phase": "Pending"}, "400m"),
        (
            {"containerStatuses": [{"name": "main", "image": "x", "allocatedResources": {"cpu": "800m"}}]},
            "200m",
        ),
        ({"phase": "Failed"}, "1"),
    ],
    ids=["nothing", "more", "that it has ended"],
)
async def test_a_pod_counts_as_its_status_says_already_when_it_is_bound(
    servers: list[LocalClient], status: dict[str, Any], fits: str
) -> None:
    client = servers[0]
    await client.resource(Node).create(node_with("n", "1"))
    await client.resource(Pod).create(pod_of("a", "600m"))
    await client.resource(Pod).patch(
        Key("default", "a"), Patch("merge", {"status": status}), subresource="status"
    )
    await bind(client, "a", "n")
    most = parse_quantity(fits).milli()
    await client.resource(Pod).create(pod_of("too-large", f"{most + 1}m"))
    await client.resource(Pod).create(pod_of("fitting", f"{most}m"))
    with pytest.raises(Conflict):
        await bind(client, "too-large", "n")
    await bind(client, "fitting", "n")
