"""Quotas: what counts for which, and that no interleaving of writers gets more stored than there is room for."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.errors import ApiError, Conflict, Forbidden
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission.quota.usage import counts, in_scopes, usage_of
from kubelib.registry.base import WriteOptions
from kubelib.store import MemoryStore, open_store

Tree = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str = "p", requests: Tree | None = None, limits: Tree | None = None, **spec: Any) -> Tree:
    resources = {**({"requests": requests} if requests else {}), **({"limits": limits} if limits else {})}
    container = {"name": "c", "image": "i", "resources": resources}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


def usage(kind: str, tree: Tree, version: str = "v1") -> dict[str, str]:
    return {name: str(amount) for name, amount in usage_of(SCHEME.kind(version, kind), tree, NOW).items()}


def test_a_pod_uses_what_it_requests_under_all_its_names() -> None:
    tree = pod("p", {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "2"}, {"cpu": "1"})
    assert usage("Pod", tree) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "100m",
        "requests.cpu": "100m",
        "limits.cpu": "1",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "requests.example.com/gpu": "2",
    }


def test_a_pod_that_has_ended_uses_only_its_place() -> None:
    ended = {**pod("p", {"cpu": "1"}), "status": {"phase": "Succeeded"}}
    assert usage("Pod", ended) == {"count/pods": "1"}
    gone = pod("p", {"cpu": "1"})
    gone["metadata"] |= {"deletionTimestamp": "2025-12-31T23:00:00Z", "deletionGracePeriodSeconds": 30}
    assert usage("Pod", gone) == {"count/pods": "1"}


def test_services_use_node_ports_and_load_balancers() -> None:
    ports = [{"port": 80}, {"port": 443, "nodePort": 30443}]
    for spec, node_ports, balancers in (
        ({"type": "ClusterIP"}, "0", "0"),
        ({"type": "NodePort"}, "2", "0"),
        ({"type": "LoadBalancer"}, "2", "1"),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, "1", "1"),
    ):
        used = usage("Service", {"spec": {"ports": ports, **spec}})
        assert (used["services"], used["services.nodeports"], used["services.loadbalancers"]) == (
            "1",
            node_ports,
            balancers,
        )


def test_claims_use_storage_of_their_class() -> None:
    spec = {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}
    assert usage("PersistentVolumeClaim", {"spec": spec}) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "5Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "5Gi",
    }


def test_every_kind_counts_under_its_group() -> None:
    deployments = SCHEME.kind("apps/v1", "Deployment")
    assert counts(deployments, "count/deployments.apps")
    assert not counts(deployments, "count/deployments")
    assert usage("ConfigMap", {}) == {"count/configmaps": "1", "configmaps": "1"}


@pytest.mark.parametrize(
    ("selector", "spec", "holds"),
    [
        ({"scopeName": "Terminating", "operator": "Exists"}, {"activeDeadlineSeconds": 5}, True),
        ({"scopeName": "NotTerminating", "operator": "Exists"}, {"activeDeadlineSeconds": 5}, False),
        ({"scopeName": "BestEffort", "operator": "Exists"}, {}, True),
        ({"scopeName": "NotBestEffort", "operator": "Exists"}, {}, False),
        (
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
            {"priorityClassName": "high"},
            True,
        ),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}, {}, False),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}, {}, True),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, {"priorityClassName": "low"}, True),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {"priorityClassName": "low"}, False),
        (
            {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"},
            {
                "affinity": {
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "zone", "namespaceSelector": {}}
                        ]
                    }
                }
            },
            True,
        ),
    ],
)
def test_scopes(selector: Tree, spec: Tree, holds: bool) -> None:
    assert in_scopes(SCHEME.kind("v1", "Pod"), pod("p", **spec), [selector]) is holds


# Over a store


class Api:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    async def create(self, tree: Tree, **options: Any) -> None:
        registry = self.of(tree["kind"], tree["apiVersion"])
        await registry.create(deepcopy(tree), namespace="default", options=WriteOptions(**options))

    async def refused(self, tree: Tree, **options: Any) -> str:
        with pytest.raises(Forbidden) as raised:
            await self.create(tree, **options)
        return raised.value.message

    async def quota(self, name: str, hard: Tree, used: Tree | None = None, **spec: Any) -> None:
        tree = {
            "kind": "ResourceQuota",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"hard": hard, **spec},
        }
        await self.create(tree)
        if used is not None:
            await self.count(name, used, hard)

    async def count(self, name: str, used: Tree, hard: Tree) -> None:
        key = Key("default", name)
        tree = (await self.of("ResourceQuota").get(key)).tree()
        tree["status"] = {"hard": hard, "used": used}
        await self.of("ResourceQuota").update(key, tree, subresource="status")

    async def used(self, name: str) -> Tree:
        status: Tree = (await self.of("ResourceQuota").get(Key("default", name))).tree()["status"]
        used: Tree = status["used"]
        return used

    def pods(self) -> int:
        return len(self.of("Pod").cache.within("default"))


@asynccontextmanager
async def servers(path: Path | None, count: int = 1) -> AsyncIterator[list[Api]]:
    """Some API servers on one store, which may be durable."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(f"sqlite://{path}/store") if path is not None else MemoryStore()
        )
        found = [await stack.enter_async_context(ResourceRegistries(store)) for _ in range(count)]
        await found[0].bootstrap()
        yield [Api(registries) for registries in found]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with servers(None) as (api,):
        yield api


async def test_a_write_beyond_the_quota_is_refused_with_all_that_is_exceeded(api: Api) -> None:
    await api.quota("q", {"pods": "2", "requests.cpu": "1"}, {"pods": "0", "requests.cpu": "0"})
    await api.create(pod("a", {"cpu": "600m"}))
    assert await api.used("q") == {"pods": "1", "requests.cpu": "600m"}
    assert await api.refused(pod("b", {"cpu": "500m"})) == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m,'
        " limited: requests.cpu=1"
    )
    await api.create(pod("b", {"cpu": "400m"}))
    assert await api.refused(pod("c", {"cpu": "1m"})) == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=1,'
        " limited: pods=2,requests.cpu=1"
    )
    assert await api.used("q") == {"pods": "2", "requests.cpu": "1"}


async def test_what_is_limited_must_be_said_by_every_container(api: Api) -> None:
    hard = {"requests.cpu": "1", "limits.memory": "1Gi"}
    await api.quota("q", hard, {"requests.cpu": "0", "limits.memory": "0"})
    assert await api.refused(pod()) == (
        'pods "p" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
    )


async def test_a_quota_that_nobody_has_counted_for_says_so(api: Api) -> None:
    await api.quota("q", {"pods": "1"})
    await api.create(pod("a"))  # there are no limits yet
    await api.count("q", {}, {"pods": "1"})
    assert (
        await api.refused(pod("b")) == 'pods "b" is forbidden: status unknown for quota: q, resources: pods'
    )


async def test_who_counts_for_new_limits_counts_again_when_something_was_stored_meanwhile(api: Api) -> None:
    await api.quota("q", {"pods": "1"})
    key = Key("default", "q")
    counted = (await api.of("ResourceQuota").get(key)).tree()
    await api.create(pod("a"))
    counted["status"] = {"hard": {"pods": "1"}, "used": {"pods": "0"}}
    with pytest.raises(Conflict):
        await api.of("ResourceQuota").update(key, counted, subresource="status")


async def test_a_dry_run_is_held_to_the_quota_and_charges_nothing(api: Api) -> None:
    await api.quota("q", {"pods": "1"}, {"pods": "0"})
    await api.create(pod("a"), dry_run=True)
    await api.create(pod("a"), dry_run=True)
    assert await api.used("q") == {"pods": "0"}
    await api.create(pod("a"))
    assert "exceeded quota: q" in await api.refused(pod("b"), dry_run=True)


async def test_what_is_not_stored_is_not_charged(api: Api) -> None:
    await api.quota("q", {"pods": "5"}, {"pods": "0"})
    await api.create(pod("a"))
    with pytest.raises(ApiError, match='pods "a" already exists'):
        await api.create(pod("a"))
    assert await api.used("q") == {"pods": "1"}


async def test_a_change_is_charged_by_the_difference(api: Api) -> None:
    await api.quota("q", {"services.nodeports": "2"}, {"services.nodeports": "0"})
    service: Tree = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}]},
    }
    await api.create(service)
    key = Key("default", "s")
    services = api.of("Service")
    for count in (2, 3):
        tree = (await services.get(key)).tree()
        tree["spec"]["ports"] = [{"name": f"n{n}", "port": 80 + n} for n in range(count)]
        if count == 3:
            with pytest.raises(Forbidden) as raised:
                await services.update(key, tree)
            assert raised.value.message == (
                'services "s" is forbidden: exceeded quota: q, requested: services.nodeports=1,'
                " used: services.nodeports=2, limited: services.nodeports=2"
            )
        else:
            await services.update(key, tree)
    assert await api.used("q") == {"services.nodeports": "2"}


async def test_a_quota_with_a_scope_counts_only_what_is_in_it(api: Api) -> None:
    await api.quota("best", {"pods": "1"}, {"pods": "0"}, scopes=["BestEffort"])
    await api.create(pod("a"))
    await api.create(pod("b", {"cpu": "1"}))
    assert "exceeded quota: best" in await api.refused(pod("c"))
    assert await api.used("best") == {"pods": "1"}


async def test_any_kind_can_be_counted(api: Api) -> None:
    name = "count/roles.rbac.authorization.k8s.io"
    await api.quota("q", {name: "1"}, {name: "0"})
    role: Tree = {
        "kind": "Role",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "r", "namespace": "default"},
        "rules": [],
    }
    await api.create(role)
    role["metadata"]["name"] = "s"
    assert await api.refused(role) == (
        f'roles.rbac.authorization.k8s.io "s" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1,'
        f" limited: {name}=1"
    )


def on_the_real_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test of a durable store, whose threads virtual time does not see."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        anyio.run(functools.partial(test, **fixtures))

    return run


@pytest.mark.parametrize("durable", [False, True])
@on_the_real_loop
async def test_hundreds_who_write_at_once_get_exactly_what_there_is_room_for(
    tmp_path: Path, durable: bool
) -> None:
    async with servers(tmp_path if durable else None) as (api,):
        await api.quota("q", {"pods": "100", "requests.cpu": "15"}, {"pods": "0", "requests.cpu": "0"})
        await api.quota("wide", {"count/pods": "250"}, {"count/pods": "0"})
        refused: list[str] = []

        async def one(number: int) -> None:
            try:
                await api.create(pod(f"p{number}", {"cpu": "100m"}))
            except Forbidden as error:
                refused.append(error.message)

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(one, number)
        assert api.pods() == 100
        assert len(refused) == 200
        assert all("exceeded quota: q, requested: pods=1, used: pods=100" in text for text in refused)
        assert await api.used("q") == {"pods": "100", "requests.cpu": "10"}
        assert await api.used("wide") == {"count/pods": "100"}


@on_the_real_loop
async def test_several_api_servers_and_one_who_recounts_do_not_outrun_a_quota(tmp_path: Path) -> None:
    async with servers(tmp_path, 3) as apis:
        first = apis[0]
        await first.quota("q", {"pods": "60"}, {"pods": "0"})
        outcomes: list[bool] = []
        done = anyio.Event()

        async def one(api: Api, number: int) -> None:
            try:
                await api.create(pod(f"p{number}"))
                outcomes.append(True)
            except Forbidden:
                outcomes.append(False)

        async def recount() -> None:
            while not done.is_set():
                document = await first.of("ResourceQuota").get(Key("default", "q"))
                tree = document.tree()
                found = await first.of("Pod").list(limit=1000)
                await anyio.sleep(0)
                tree["status"]["used"] = {"pods": str(len(found.documents))}
                try:
                    await first.of("ResourceQuota").update(Key("default", "q"), tree, subresource="status")
                except Conflict:
                    continue

        async with anyio.create_task_group() as group:
            group.start_soon(recount)
            async with anyio.create_task_group() as writers:
                for number in range(150):
                    writers.start_soon(one, apis[number % 3], number)
            done.set()
        assert outcomes.count(True) == 60
        assert first.pods() == 60
        assert await first.used("q") == {"pods": "60"}
