"""Policies of the commit point, in virtual time: who goes first, who is refused, and that nobody starves."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.scheduling import PriorityClass
from kubelib.client import LocalClient
from kubelib.clock import LoopClock
from kubelib.registry import ResourceRegistries
from kubelib.sim import sim_backend
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_node, make_pod
from kubelib.transactions import Claim, Commit, Result, Transaction
from kubelib.transactions.policies import (
    Ageing,
    ByPriority,
    FairShares,
    Precedence,
    load_commit_policy,
)


class SlowStore(MemoryStore):
    """A store whose commits take a second: others arrive meanwhile."""

    async def commit(self, *operations: Any) -> Any:
        if any("/pods/" in operation.key and operation.expect for operation in operations):
            await anyio.sleep(1)
        return await super().commit(*operations)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return sim_backend(None)


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    registries = ResourceRegistries(SlowStore(), clock=LoopClock(), random=Random(1))
    async with registries:
        await registries.bootstrap()
        yield LocalClient(registries)


async def add_node(client: LocalClient, name: str, cpu: str = "4") -> None:
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    await client.resource(Node).create(make_node(name, capacity=amounts, allocatable=amounts))


async def add_pod(client: LocalClient, name: str, cpu: str = "1", **spec: Any) -> None:
    resources = ResourceRequirements(requests={"cpu": cpu})
    container = Container(name="main", image="x", resources=resources)
    await client.resource(Pod).create(make_pod(name, containers=(container,), **spec))


async def commit(client: LocalClient, *pods: str, node: str = "n", how: Commit = "incremental") -> Result:
    claims = [Claim(Key("default", pod), "", node) for pod in pods]
    return await client.binder.commit(Transaction.of(claims, how))


async def order_of(client: LocalClient, *pods: str) -> list[str]:
    """Return in which order transactions are done that arrive while another is carried out."""
    order: list[str] = []

    async def one(pod: str) -> None:
        await commit(client, pod)
        order.append(pod)

    await add_pod(client, "first")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "first")
        await anyio.sleep(0.1)
        for pod in pods:
            tasks.start_soon(one, pod)
            await anyio.sleep(0.01)
    assert order.pop(0) == "first"
    return order


async def test_without_policies_nobody_waits_for_anybody(client: LocalClient) -> None:
    await add_node(client, "n")
    for pod in "ab":
        await add_pod(client, pod)
    began = anyio.current_time()
    await order_of(client, "a", "b")
    assert anyio.current_time() - began < 2


async def test_what_has_higher_priority_goes_first(client: LocalClient) -> None:
    client_registries(client).set_commit_policies([ByPriority()])
    await add_node(client, "n")
    for name, value in (("low", 1), ("middle", 5), ("high", 9)):
        level = PriorityClass(metadata=ObjectMeta(name=name), value=value)
        await client.resource(PriorityClass).create(level)
        await add_pod(client, name, priority_class_name=name)
    assert await order_of(client, "low", "middle", "high") == ["high", "middle", "low"]


async def test_schedulers_have_precedence_and_among_equals_who_came_first(client: LocalClient) -> None:
    client_registries(client).set_commit_policies([Precedence(["service", "batch"])])
    await add_node(client, "n", "8")
    for pod in ("other", "batch-1", "batch-2", "service"):
        await add_pod(client, pod, scheduler_name=pod.partition("-")[0])
    expected = ["service", "batch-1", "batch-2", "other"]
    assert await order_of(client, "other", "batch-1", "batch-2", "service") == expected


async def test_who_has_less_goes_first_by_weight(client: LocalClient) -> None:
    client_registries(client).set_commit_policies([FairShares("scheduler", weights={"heavy": 4.0})])
    await add_node(client, "n", "16")
    for pod in ("rich-0", "rich-1", "heavy-0", "heavy-1", "poor-1"):
        await add_pod(client, pod, "2", scheduler_name=pod.partition("-")[0])
    await commit(client, "rich-0")
    await commit(client, "heavy-0")
    expected = ["poor-1", "heavy-1", "rich-1"]
    assert await order_of(client, "rich-1", "heavy-1", "poor-1") == expected


async def test_nobody_gets_more_than_its_limit(client: LocalClient) -> None:
    client_registries(client).set_commit_policies([FairShares("namespace", limits={"default": 0.5})])
    await add_node(client, "n", "4")
    for pod in "abc":
        await add_pod(client, pod)
    result = await commit(client, "a", "b")
    assert result.landed == 2
    (outcome,) = (await commit(client, "c")).outcomes
    assert outcome.cause == "Refused"
    assert "namespace default has its share of 50% of the cluster" in str(outcome.error)
    # What is given back may be had again.
    await client.resource(Pod).delete(Key("default", "a"), grace=0)
    assert (await commit(client, "c")).landed == 1


@pytest.mark.parametrize("policies", [[], [Ageing(losses=3, hold=5.0)]], ids=["none", "ageing"])
async def test_a_large_job_among_many_small_ones_starves_unless_it_ages(
    client: LocalClient, policies: list[Ageing]
) -> None:
    """The gang needs the whole node, of which a quarter is free now and then, and always somebody is quicker."""
    client_registries(client).set_commit_policies(policies)
    await add_node(client, "n", "1")
    gang = [f"gang-{number}" for number in range(4)]
    for pod in gang:
        await add_pod(client, pod, "250m")
    landed_at: list[float] = []
    began = anyio.current_time()

    async def small(worker: int) -> None:
        """Bind a small Pod, let it end, and so on: there is room for a moment only."""
        for number in range(60):
            name = f"small-{worker}-{number}"
            await add_pod(client, name, "250m")
            while not (await commit(client, name)).landed:
                await anyio.sleep(0.5)
            await client.resource(Pod).delete(Key("default", name), grace=0)

    async def large() -> None:
        while not landed_at:
            if (await commit(client, *gang, how="all-or-nothing")).landed:
                landed_at.append(anyio.current_time() - began)
            else:
                await anyio.sleep(0.5)

    with anyio.move_on_after(40):
        async with anyio.create_task_group() as tasks:
            for worker in range(4):
                tasks.start_soon(small, worker)
            await anyio.sleep(0.1)
            tasks.start_soon(large)
            while not landed_at:
                await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
    assert bool(landed_at) is bool(policies)


async def test_the_commit_point_is_not_kept_for_somebody_who_does_not_come(client: LocalClient) -> None:
    ageing = Ageing(losses=1, hold=3.0)
    client_registries(client).set_commit_policies([ageing])
    await add_node(client, "n", "1")
    await add_pod(client, "large", "2")
    await add_pod(client, "small", "500m")
    assert (await commit(client, "large")).landed == 0
    assert ageing.age(Key("default", "large")) == 1
    began = anyio.current_time()
    assert (await commit(client, "small")).landed == 1
    assert 3.0 <= anyio.current_time() - began < 5.0


async def test_who_waits_already_when_the_commit_point_is_kept_gets_its_turn_afterwards(
    client: LocalClient,
) -> None:
    client_registries(client).set_commit_policies([Ageing(losses=1, hold=3.0)])
    await add_node(client, "n", "2")
    for pod, cpu in (("first", "1"), ("large", "4"), ("small", "1")):
        await add_pod(client, pod, cpu)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit, client, "first")
        await anyio.sleep(0.1)
        tasks.start_soon(commit, client, "large")
        await anyio.sleep(0.1)
        with anyio.fail_after(60):
            assert (await commit(client, "small")).landed == 1
    assert anyio.current_time() - began > 3


async def test_a_transaction_that_is_given_up_while_it_waits_leaves_the_turn_to_others(
    client: LocalClient,
) -> None:
    client_registries(client).set_commit_policies([ByPriority()])
    await add_node(client, "n")
    for pod in "abc":
        await add_pod(client, pod)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit, client, "a")
        await anyio.sleep(0.1)
        with anyio.move_on_after(0.2) as scope:
            await commit(client, "b")
        assert scope.cancelled_caught
        assert (await commit(client, "c")).landed == 1
    assert not (await client.resource(Pod).get(Key("default", "b"))).spec.node_name


@pytest.mark.parametrize(
    "text",
    ["nobody", "precedence", "fair-shares=colour", "fair-shares=namespace:a=x", "fair-shares=namespace:a=0", "ageing=0", "ageing=old", "ageing=3:old", "ageing=3:0", "priority=1"],
)  # fmt: skip
def test_policies_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_commit_policy(text)


def test_policies_are_loaded_by_name() -> None:
    texts = (
        "priority",
        "precedence=a,b",
        "fair-shares=namespace:a=2:b=50%",
        "ageing=7",
        "ageing=7:30",
        "ageing",
    )
    assert [load_commit_policy(text).name for text in texts] == [
        "priority",
        "precedence",
        "fair-shares",
        "ageing",
        "ageing",
        "ageing",
    ]


def client_registries(client: LocalClient) -> ResourceRegistries:
    registries: ResourceRegistries = client._registries
    return registries
