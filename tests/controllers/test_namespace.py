from datetime import UTC, datetime
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.core.config import ConfigMap, ServiceAccount
from kubelib.api.core.namespace import Namespace, NamespaceCondition
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import Forbidden
from kubelib.api.model import replace
from kubelib.controllers.builtin.namespace import Remains, conditions, namespace_controller
from kubelib.controllers.builtin.podgc import garbage, pod_garbage_collector
from kubelib.controllers.builtin.replicationcontroller import replication_controller
from kubelib.controllers.builtin.rootca import root_certificate_publisher
from kubelib.controllers.builtin.serviceaccount import service_account_controller
from kubelib.informers import SharedInformers
from kubelib.sim import Conflicting, Lossy
from kubelib.sim.hardship import Wrapper
from kubelib.testing.objects import (
    make_config_map,
    make_namespace,
    make_node,
    make_pod,
    make_replication_controller,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def of(world: Any, make: Any, **more: Any) -> Any:
    return make(world.informers, clock=world.clock, recorder=world.recorder, **more)


def namespaces(world: Any) -> Any:
    return of(world, namespace_controller, scheme=SCHEME)


async def test_a_namespace_goes_with_all_its_content(world: Any, running_pods: Any) -> None:
    parts = [
        namespaces(world),
        of(world, replication_controller),
        of(world, service_account_controller),
        of(world, root_certificate_publisher, certificate="PEM"),
    ]
    async with world.running(running_pods(world), *parts):
        await world.create(make_namespace("team"))
        await world.create(make_replication_controller("rc", "team", replicas=5))
        await world.create(make_config_map("c", "team"))
        await world.settled(5)
        await world.delete(Namespace, "team", "")
        await world.settled(60)
        assert "team" not in await world.names(Namespace, "")
        for kind in (Pod, ReplicationController, ConfigMap, ServiceAccount):
            assert await world.names(kind, "team") == []
        assert "default" in await world.names(Namespace, "")


async def test_a_namespace_says_what_holds_it(world: Any) -> None:
    async with world.running(namespaces(world)):
        await world.create(make_namespace("team"))
        held = make_config_map("c", "team")
        await world.create(replace(held, metadata=replace(held.metadata, finalizers=("example.com/hold",))))
        await world.delete(Namespace, "team", "")
        await world.settled(5)
        namespace = await world.get(Namespace, "team", "")
        assert namespace.status.phase == "Terminating"
        told = {c.type: (c.status, c.reason, c.message) for c in namespace.status.conditions}
        assert told["NamespaceContentRemaining"] == (
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: configmaps. has 1 resource instances",
        )
        assert told["NamespaceFinalizersRemaining"] == (
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        )
        await world.change(
            ConfigMap,
            "c",
            lambda c: replace(c, metadata=replace(c.metadata, finalizers=())),
            namespace="team",
        )
        await world.settled(10)
        assert "team" not in await world.names(Namespace, "")


def test_all_that_cannot_be_deleted_is_told() -> None:
    told = conditions(Remains(errors=["b is held", "a is held"]), (), NOW)
    (failure,) = [condition for condition in told if condition.reason == "ContentDeletionFailed"]
    assert failure.message == "Failed to delete all resource types, 2 remaining: a is held, b is held"


def test_what_a_namespace_has_said_stays_where_it_is() -> None:
    said = conditions(Remains(), (), NOW)
    shuffled = (NamespaceCondition(type="Mine", status="True"), *reversed(said))
    assert conditions(Remains(), shuffled, NOW) == shuffled
    failed = conditions(Remains(undiscovered={"b/v1": "away", "a/v1": "gone"}), shuffled, NOW)
    assert [c.type for c in failed] == [c.type for c in shuffled]
    (failure,) = [c for c in failed if c.type == "NamespaceDeletionDiscoveryFailure"]
    assert failure.message == (
        "Discovery failed for some groups, 2 failing: "
        "unable to retrieve the complete list of server APIs: a/v1: gone, b/v1: away"
    )


async def test_a_namespace_says_which_pods_have_had_their_time_and_are_still_there(world: Any) -> None:
    async with world.running(namespaces(world)):
        await world.create(make_namespace("team"))
        await world.create(make_node("n"))
        await world.create(make_pod("p", "team", node="n", termination_grace_period_seconds=20))
        await world.delete(Namespace, "team", "")

        async def failure() -> tuple[str, str]:
            found = (await world.get(Namespace, "team", "")).status.conditions
            (told,) = [c for c in found if c.type == "NamespaceDeletionContentFailure"]
            return told.status, told.message

        await world.settled(10)
        assert (await failure())[0] == "False"
        await world.settled(15)
        what = "unexpected items still remain in namespace: team for gvr: /v1, Resource=pods"
        assert await failure() == ("True", f"Failed to delete all resource types, 1 remaining: {what}")


async def test_every_namespace_gets_its_account_and_certificate_and_gets_them_back(world: Any) -> None:
    parts = [
        of(world, service_account_controller),
        of(world, root_certificate_publisher, certificate="PEM"),
    ]
    async with world.running(*parts):
        await world.create(make_namespace("team"))
        await world.settled(5)
        for namespace in ("default", "kube-system", "team"):
            assert await world.names(ServiceAccount, namespace) == ["default"]
            assert (await world.get(ConfigMap, "kube-root-ca.crt", namespace)).data == {"ca.crt": "PEM"}
        await world.delete(ServiceAccount, "default", "team")
        await world.delete(ConfigMap, "kube-root-ca.crt", "team")
        await world.change(
            ConfigMap,
            "kube-root-ca.crt",
            lambda c: replace(c, data={"ca.crt": "forged"}),
            namespace="default",
        )
        await world.settled(5)
        assert await world.names(ServiceAccount, "team") == ["default"]
        for namespace in ("team", "default"):
            assert (await world.get(ConfigMap, "kube-root-ca.crt", namespace)).data == {"ca.crt": "PEM"}
        await world.change(
            ConfigMap,
            "kube-root-ca.crt",
            lambda c: replace(c, metadata=replace(c.metadata, annotations={"mine": "stays"})),
            namespace="team",
        )
        await world.settled(5)
        annotations = (await world.get(ConfigMap, "kube-root-ca.crt", "team")).metadata.annotations
        assert set(annotations) == {"mine", "kubernetes.io/description"}


async def test_accounts_and_certificates_that_were_refused_are_tried_again(make_world: Any) -> None:
    until = anyio.current_time() + 20

    class Refused(Wrapper[Any]):
        async def create(self, obj: Any) -> Any:
            if anyio.current_time() < until:
                raise Forbidden("exceeded quota")
            return await super().create(obj)

    class Line:
        def __init__(self, client: Any) -> None:
            self._client = client

        def resource(self, kind: Any) -> Any:
            registry = self._client.resource(kind)
            return Refused(registry) if kind in (ServiceAccount, ConfigMap) else registry

    async with make_world(Line) as world:
        parts = [
            of(world, service_account_controller),
            of(world, root_certificate_publisher, certificate="PEM"),
        ]
        async with world.running(*parts):
            await world.create(make_namespace("team"))
            await world.settled(15)
            assert not await world.names(ServiceAccount, "team")
            await world.settled(60)
            assert await world.names(ServiceAccount, "team") == ["default"]
            assert await world.names(ConfigMap, "team") == ["kube-root-ca.crt"]


def test_pods_of_lost_nodes_and_the_oldest_of_too_many_that_ended_are_garbage() -> None:
    evicted = make_pod("evicted", node="here", phase="Failed", uid="4")
    pods = [
        make_pod("lost", node="gone", uid="0"),
        make_pod("runs", node="here", phase="Running", uid="1"),
        make_pod("ended1", node="here", phase="Succeeded", uid="2"),
        make_pod("ended2", node="here", phase="Failed", uid="3"),
        replace(evicted, status=replace(evicted.status, reason="Evicted")),
    ]
    found = garbage(pods, frozenset({"gone"}), threshold=1)
    assert [(one.pod.metadata.name, one.orphaned) for one in found] == [
        ("evicted", False),
        ("ended1", False),
        ("lost", True),
    ]


async def test_pods_of_a_node_that_is_gone_have_failed_and_go_after_a_while(world: Any) -> None:
    held = {"finalizers": ("example.com/held",)}
    async with world.running(of(world, pod_garbage_collector)):
        await world.create(make_node("here"))
        await world.create(make_pod("stays", node="here"))
        await world.create(make_pod("lost", node="gone"))
        await world.create(make_pod("counted", node="gone", metadata=held))
        await world.settled(30)
        assert await world.names(Pod) == ["counted", "lost", "stays"]
        await world.settled(60)
        assert await world.names(Pod) == ["counted", "stays"]
        pod = await world.get(Pod, "counted")
        (condition,) = pod.status.conditions
        assert (pod.status.phase, condition.type, condition.reason, condition.message) == (
            "Failed",
            "DisruptionTarget",
            "DeletionByPodGC",
            "PodGC: node no longer exists",
        )
        assert condition.observed_generation == 1


async def test_pods_of_a_node_that_only_the_cache_does_not_know_stay(world: Any) -> None:
    class Behind(Wrapper[Any]):
        async def list(self, *args: Any, **how: Any) -> Any:
            return attrs.evolve(await super().list(*args, **how), items=())

    class Line:
        def resource(self, kind: Any) -> Any:
            registry = world.direct.resource(kind)
            return Behind(registry) if kind is Node else registry

    await world.create(make_node("here"))
    await world.create(make_pod("stays", node="here"))
    await world.create(make_pod("goes", node="gone"))
    informers = SharedInformers(Line(), random=Random(1))
    collector = pod_garbage_collector(informers, clock=world.clock, recorder=world.recorder)
    async with world.running(informers, collector):
        await world.settled(120)
        assert await world.names(Pod) == ["stays"]


async def test_pods_that_end_and_whom_no_node_ends_have_failed(world: Any) -> None:
    held = {"finalizers": ("example.com/held",)}
    out = Taint(key="node.kubernetes.io/out-of-service", value="nodeshutdown", effect="NoExecute")
    async with world.running(of(world, pod_garbage_collector)):
        for name, ready in (("dead", False), ("well", True)):
            node = make_node(name, ready=ready)
            await world.create(replace(node, spec=replace(node.spec, taints=(out,))))
        for name, node_name in (("nowhere", ""), ("stuck", "dead"), ("fine", "well")):
            await world.create(make_pod(name, node=node_name, metadata=held))
            await world.delete(Pod, name)
        await world.settled(30)
        phases = {
            pod.metadata.name: (pod.status.phase, pod.status.conditions) for pod in await world.all(Pod)
        }
        assert phases == {"nowhere": ("Failed", ()), "stuck": ("Failed", ()), "fine": ("Pending", ())}


@pytest.mark.seeds(6)
async def test_on_a_bad_line_a_namespace_still_goes(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.05, latency=0.02, until=200.0), every=3)

    async with make_world(line, seed) as world:
        parts = [namespaces(world), of(world, replication_controller), of(world, service_account_controller)]
        async with world.running(running_pods(world), *parts):
            await world.create(make_namespace("team"))
            await world.create(make_replication_controller("rc", "team", replicas=5))
            await anyio.sleep(30)
            await world.delete(Namespace, "team", "")
            await anyio.sleep(1500)
            assert "team" not in await world.names(Namespace, "")
            assert await world.names(Pod, "team") == []
