"""What lightkube, kr8s and the asynchronous official client document beyond the basics, each against the fixture's server."""

import asyncio
import contextlib
import gc
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kr8s
import kubernetes_asyncio
import lightkube
import pytest
import yaml
from kr8s.objects import (
    ConfigMap,
    Namespace,
    Node,
    Pod,
    Service,
    Table,
    get_class,
    object_from_spec,
    objects_from_files,
)
from kubernetes_asyncio import client as aio
from kubernetes_asyncio import dynamic as aio_dynamic
from kubernetes_asyncio import utils as aio_utils
from lightkube import codecs, operators
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import load_in_cluster_generic_resources
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment as LightDeployment
from lightkube.resources.core_v1 import ConfigMap as LightConfigMap
from lightkube.resources.core_v1 import Namespace as LightNamespace
from lightkube.resources.core_v1 import Pod as LightPod
from lightkube.types import CascadeType, PatchType

from kubelib.testing import Cluster
from tests.server.definitions import definition

pytestmark = [
    # Of each published Kubernetes version, kr8s takes some time to say that it supports it.
    pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning"),
    # What the asynchronous ones leave open when their loop ends is found by whatever collects garbage first.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WORKING = pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=2)
NAMESPACE = "default"
GADGETS = definition(
    "gadgets",
    "Gadget",
    {"type": "object", "properties": {"size": {"type": "integer"}}},
    names={"singular": "gadget", "shortNames": ["gd"]},
    subresources={
        "status": {},
        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
    },
)
GADGET: dict[str, Any] = {
    "apiVersion": "example.com/v1",
    "kind": "Gadget",
    "metadata": {"name": "g", "namespace": NAMESPACE},
    "spec": {"size": 1},
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "namespace": NAMESPACE},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example/c:1"}]},
        },
    },
}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Some of these clients leave pooled connections for the garbage collector to close: it does so here, unreported."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def config_map(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}


# lightkube


@pytest.fixture
def light(kubelib_cluster: Cluster) -> Iterator[Any]:
    config = lightkube.KubeConfig.from_file(str(kubelib_cluster.kubeconfig))
    client: Any = lightkube.Client(config=config, namespace=NAMESPACE, field_manager="light")
    yield client
    client.close()


def test_lightkube_knows_custom_resources(kubelib_cluster: Cluster, light: Any) -> None:
    kubelib_cluster.apply(GADGETS)
    load_in_cluster_generic_resources(light)
    [gadget] = codecs.load_all_yaml(yaml.safe_dump(GADGET))
    light.create(gadget)
    gadgets = type(gadget)
    assert light.get(gadgets, "g").spec["size"] == 1
    assert light.patch(gadgets, "g", {"spec": {"size": 2}}, patch_type=PatchType.MERGE).spec["size"] == 2
    light.patch(gadgets.Status, "g", {"status": {"size": 2}}, patch_type=PatchType.MERGE)
    assert light.get(gadgets.Scale, "g").status.replicas == 2
    light.patch(gadgets.Scale, "g", {"spec": {"replicas": 5}}, patch_type=PatchType.MERGE)
    applied = light.apply(gadgets(metadata=ObjectMeta(name="g"), spec={"size": 7}), force=True)
    assert applied.spec["size"] == 7
    light.delete(gadgets, "g")


def test_lightkube_selects_by_its_operators(light: Any) -> None:
    for name, labels in (("x", {"tier": "front"}), ("y", {"tier": "back"}), ("z", {})):
        light.create(LightConfigMap.from_dict(config_map(name, **labels)))

    def found(**selector: Any) -> list[str]:
        return [m.metadata.name for m in light.list(LightConfigMap, **selector) if m.metadata.name in "xyz"]

    assert found(labels={"tier": operators.exists()}) == ["x", "y"]
    assert found(labels={"tier": operators.not_exists()}) == ["z"]
    assert found(labels={"tier": operators.not_in(["front"])}) == ["y", "z"]
    assert found(labels={"tier": operators.in_(["front", "other"])}) == ["x"]
    assert found(labels={"tier": operators.not_equal("front")}) == ["y", "z"]
    assert found(fields={"metadata.name": operators.not_equal("x")}) == ["y", "z"]
    assert found(namespace="*", labels={"tier": "back"}) == ["y"]
    light.set(LightConfigMap, "x", labels={"tier": None, "more": "yes"}, annotations={"note": "hello"})
    changed = light.get(LightConfigMap, "x").metadata
    assert (changed.labels, changed.annotations) == ({"more": "yes"}, {"note": "hello"})
    with pytest.raises(ApiError):
        light.create(LightConfigMap(metadata=ObjectMeta(name="Not A Name")))
    light.create(LightConfigMap(metadata=ObjectMeta(name="tried")), dry_run=True)
    with pytest.raises(ApiError):
        light.get(LightConfigMap, "tried")
    light.deletecollection(LightConfigMap)
    assert found() == []


@WORKING
def test_lightkube_waits_and_deletes_in_cascades(kubelib_cluster: Cluster, light: Any) -> None:
    light.create(LightDeployment.from_dict(DEPLOYMENT))
    ready = light.wait(LightDeployment, "d", for_conditions=["Available"])
    assert ready.metadata.name == "d"
    light.delete(LightDeployment, "d", cascade=CascadeType.FOREGROUND, grace_period=0)
    kubelib_cluster.eventually(lambda: not list(light.list(LightPod, labels={"app": "d"})))
    light.create(LightNamespace(metadata=ObjectMeta(name="team")))
    light.create(LightConfigMap(metadata=ObjectMeta(name="m", namespace="team")))
    light.delete(LightNamespace, "team")
    kubelib_cluster.eventually(lambda: "team" not in [n.metadata.name for n in light.list(LightNamespace)])


def test_lightkube_does_the_same_asynchronously(kubelib_cluster: Cluster) -> None:
    config = lightkube.KubeConfig.from_file(str(kubelib_cluster.kubeconfig))

    async def main() -> None:
        client: Any = lightkube.AsyncClient(config=config, namespace=NAMESPACE)
        for number in range(3):
            await client.create(LightConfigMap.from_dict(config_map(f"m{number}", l="1")))
        names = [m.metadata.name async for m in client.list(LightConfigMap, labels={"l": "1"}, chunk_size=1)]
        assert names == ["m0", "m1", "m2"]
        seen: list[tuple[str, str]] = []

        async def look() -> None:
            async for kind, found in client.watch(LightConfigMap, labels={"l": "1"}):
                seen.append((kind, found.metadata.name))
                if kind == "DELETED":
                    return

        looking = asyncio.create_task(look())
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        applied = await client.apply(
            LightConfigMap(metadata=ObjectMeta(name="m3", labels={"l": "1"}), data={"b": "2"}),
            field_manager="me",
        )
        assert applied.metadata.managedFields[0].manager == "me"
        await client.patch(
            LightConfigMap, "m3", [{"op": "remove", "path": "/data/b"}], patch_type=PatchType.JSON
        )
        await client.delete(LightConfigMap, "m3")
        await asyncio.wait_for(looking, 20)
        assert seen[3:] == [("ADDED", "m3"), ("MODIFIED", "m3"), ("DELETED", "m3")]
        await client.close()

    asyncio.run(main())


# kr8s


@pytest.fixture
def kr8s_api(kubelib_cluster: Cluster) -> Any:
    return kr8s.api(kubeconfig=str(kubelib_cluster.kubeconfig), namespace=NAMESPACE)


@WORKING
def test_kr8s_finds_its_way_around(kr8s_api: Any) -> None:
    assert kr8s_api.version()["major"] == "1"
    assert kr8s_api.whoami() == "admin"
    assert kr8s_api.lookup_kind("deploy") == ("deployment.apps/v1", "deployments", True)
    kinds = {(resource["kind"], resource["version"]) for resource in kr8s_api.api_resources()}
    assert {("Pod", "v1"), ("Ingress", "networking.k8s.io/v1")} <= kinds
    assert "apps/v1" in list(kr8s_api.api_versions())
    [table] = kr8s_api.get("nodes", as_object=Table)
    assert table.column_definitions[0]["name"] == "Name"
    assert len(table.rows) == 2
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("missing", api=kr8s_api, timeout=1)
    with pytest.raises(kr8s.ServerError, match="is invalid"):
        ConfigMap({"metadata": {"name": "Not A Name"}}, api=kr8s_api).create()


def test_kr8s_knows_custom_resources(kubelib_cluster: Cluster, kr8s_api: Any) -> None:
    kubelib_cluster.apply(GADGETS)
    gadget = object_from_spec(GADGET, api=kr8s_api, allow_unknown_type=True)
    gadget.create()
    gadget.patch({"spec": {"size": 3}})
    assert gadget.spec.size == 3
    gadget.patch({"status": {"size": 3}}, subresource="status")
    gadget.wait("jsonpath='{.status.size}'=3", timeout=10)
    assert [g.name for g in kr8s_api.get("gadgets.example.com")] == ["g"]
    assert get_class("gadget", "example.com/v1") is type(gadget)
    assert [g.name for g in kr8s_api.get("gd")] == ["g"]
    gadget.delete()
    gadget.wait("delete", timeout=10)


@WORKING
def test_kr8s_makes_and_owns_what_files_say(kubelib_cluster: Cluster, kr8s_api: Any, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([config_map("parent"), config_map("child")]))
    parent, child = objects_from_files(tmp_path, api=kr8s_api)
    kr8s_api.create([parent, child])
    assert ConfigMap.get("child", api=kr8s_api).data.a == "1"
    parent.adopt(child)
    assert child.metadata.ownerReferences[0]["uid"] == parent.metadata.uid
    child.label(tier="front", plain="x")
    child.remove_label("plain")
    child.annotate(note="hello")
    assert dict(child.labels) == {"tier": "front"}
    assert [m.name for m in kr8s_api.get("configmaps", label_selector="tier")] == ["child"]
    parent.delete(propagation_policy="Background")
    # The collector takes what the parent owned.
    kubelib_cluster.eventually(lambda: not child.exists())
    with pytest.raises(kr8s.NotFoundError):
        parent.refresh()


@WORKING
def test_kr8s_works_with_nodes_pods_and_services(kubelib_cluster: Cluster, kr8s_api: Any) -> None:
    node = next(iter(kr8s_api.get("nodes")))
    node.cordon()
    assert Node.get(node.name, api=kr8s_api).unschedulable
    node.uncordon()
    node.taint("team", "red", effect="NoSchedule")
    assert {taint["key"] for taint in node.taints} >= {"team"}
    generate: Any = Pod.gen  # its annotations are missing
    pod = generate(name="p", image="registry.example/p:1", ports=80, labels={"app": "p"})
    pod.api = kr8s_api
    pod.create()
    pod.wait(["condition=Ready", "condition=PodScheduled"], mode="all", timeout=20)
    assert pod.ready()
    pod.tolerate("team", operator="Exists", effect="NoSchedule")
    assert any(t.get("key") == "team" for t in Pod.get("p", api=kr8s_api).tolerations)
    ports = [{"port": 80, "targetPort": 80}]
    service = Service(
        {"metadata": {"name": "s"}, "spec": {"selector": {"app": "p"}, "ports": ports}}, api=kr8s_api
    )
    service.create()
    assert [p.name for p in service.ready_pods()] == ["p"]
    kubelib_cluster.eventually(service.ready)
    pod.delete(grace_period=0, force=True)
    pod.wait("delete", timeout=20)
    Namespace({"metadata": {"name": "team"}}, api=kr8s_api).create()
    assert "team" in [n.name for n in kr8s_api.get("namespaces")]


def test_kr8s_watches_one_object(kubelib_cluster: Cluster) -> None:
    async def main() -> None:
        api = await kr8s.asyncio.api(kubeconfig=str(kubelib_cluster.kubeconfig), namespace=NAMESPACE)
        one = await kr8s.asyncio.objects.ConfigMap(config_map("one"), api=api)
        await one.create()
        seen: list[str] = []

        async def look() -> None:
            async for kind, found in one.watch():
                seen.append(f"{kind} {found.data.get('a')}")
                if kind == "DELETED":
                    return

        looking = asyncio.create_task(look())
        other = await kr8s.asyncio.objects.ConfigMap.get("one", api=api)
        await other.patch({"data": {"a": "2"}})
        await other.delete()
        await asyncio.wait_for(looking, 20)
        assert seen == ["MODIFIED 2", "DELETED 2"]  # from the version on that the object has

    asyncio.run(main())


# kubernetes-asyncio


def test_kubernetes_asyncio_uses_its_dynamic_client_and_files(
    kubelib_cluster: Cluster, tmp_path: Path
) -> None:
    kubelib_cluster.apply(GADGETS)
    tree = yaml.safe_load(kubelib_cluster.kubeconfig.read_text())
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([config_map("one"), DEPLOYMENT]))

    async def main() -> None:
        await kubernetes_asyncio.config.load_kube_config_from_dict(tree)
        async with aio.ApiClient() as api:
            await aio_utils.create_from_yaml(api, str(tmp_path / "all.yaml"))
            with pytest.raises(aio_utils.FailToCreateError):
                await aio_utils.create_from_yaml(api, str(tmp_path / "all.yaml"))
            client = await aio_dynamic.DynamicClient(api)
            gadgets = await client.resources.get(api_version="example.com/v1", kind="Gadget")
            made = await gadgets.create(body=GADGET, namespace=NAMESPACE)
            assert made.spec.size == 1
            applied = await gadgets.server_side_apply(
                body={**GADGET, "spec": {"size": 2}},
                namespace=NAMESPACE,
                field_manager="me",
                force_conflicts=True,
            )
            assert applied.spec.size == 2
            wrong = {**GADGET, "apiVersion": "apps/v1", "kind": "Deployment"}
            with contextlib.suppress(aio_dynamic.exceptions.BadRequestError):
                answer = await gadgets.server_side_apply(body=wrong, namespace=NAMESPACE, field_manager="me")
                assert answer.message == "invalid object type: apps/v1, Kind=Deployment"
            deployments = await client.resources.get(api_version="apps/v1", kind="Deployment")
            scaled = await deployments.scale.patch(
                body={"spec": {"replicas": 3}}, name="d", namespace=NAMESPACE,
                content_type="application/merge-patch+json",
            )  # fmt: skip
            assert scaled.spec.replicas == 3
            await gadgets.delete(name="g", namespace=NAMESPACE)

    asyncio.run(main())


def test_kubernetes_asyncio_watches_many_things_at_once(kubelib_cluster: Cluster) -> None:
    async def main() -> None:
        await kubernetes_asyncio.config.load_kube_config(str(kubelib_cluster.kubeconfig))
        async with aio.ApiClient() as api:
            core: Any = aio.CoreV1Api(api)

            async def first(list_them: Any, wanted: str) -> str:
                async with kubernetes_asyncio.watch.Watch() as watch:
                    async for event in watch.stream(list_them, NAMESPACE, timeout_seconds=20):
                        if event["object"].metadata.name == wanted:
                            return str(event["type"])
                return ""

            looking = [
                asyncio.create_task(first(core.list_namespaced_config_map, "m")),
                asyncio.create_task(first(core.list_namespaced_secret, "s")),
            ]
            await core.create_namespaced_config_map(NAMESPACE, config_map("m"))
            secret = await core.create_namespaced_secret(
                NAMESPACE, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
            )
            assert secret.data == {"a": "Yg=="}
            assert await asyncio.wait_for(asyncio.gather(*looking), 20) == ["ADDED", "ADDED"]
            with pytest.raises(aio.ApiException) as caught:
                await core.create_namespaced_config_map(NAMESPACE, config_map("m"))
            assert json.loads(caught.value.body or "")["reason"] == "AlreadyExists"

    asyncio.run(main())
