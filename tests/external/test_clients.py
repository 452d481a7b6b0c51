"""The published Python clients against `kubelib up`: kubernetes, kubernetes-asyncio, kr8s and lightkube, each unmodified."""

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import kr8s
import kubernetes
import kubernetes.stream
import kubernetes_asyncio
import lightkube
import pytest
from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap
from kr8s.objects import ConfigMap, Deployment, Pod
from kubernetes import client as sync
from kubernetes_asyncio import client as aio
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment as LightDeployment
from lightkube.resources.core_v1 import ConfigMap as LightConfigMap
from lightkube.resources.core_v1 import Pod as LightPod
from lightkube.types import PatchType

from tests.external.conftest import Cluster, Kubectl, eventually

# Of each published Kubernetes version, kr8s takes some time to say that it supports it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning"),
    # What the asynchronous ones leave open when their loop ends is found by whatever collects garbage first.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Some of these clients leave pooled connections for the garbage collector to close: it does so here, unreported."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "p"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "c",
                "image": "process",
                "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                "command": ["sh", "-c", "echo started; exec python3 -m http.server 8000 --bind $POD_IP"],
            }
        ],
    },
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": POD["spec"]},
    },
}


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"a": "1", "b": "2"},
    }


@pytest.fixture
def namespace(kubectl: Kubectl, namespace: str) -> str:
    """A namespace in which all is that controllers put there: some tests count."""
    kubectl("-n", namespace, "wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=120s")
    return namespace


@pytest.fixture
def api(cluster: Cluster) -> Iterator[sync.ApiClient]:
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield client


class Seen:
    """Collects, in a thread, what a watch reports."""

    def __init__(self, events: Callable[[], Iterator[tuple[str, str]]], expected: int) -> None:
        self.events: list[tuple[str, str]] = []
        self._expected = expected
        self._source = events
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for event in self._source():
            self.events.append(event)
            if len(self.events) == self._expected:
                return

    def wait(self) -> list[tuple[str, str]]:
        self._thread.join(20)
        assert not self._thread.is_alive(), self.events
        return self.events


LIFE = [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


# kubernetes


def test_kubernetes_creates_lists_patches_and_deletes(api: sync.ApiClient, namespace: str) -> None:
    core = sync.CoreV1Api(api)
    for name, labels in (("x", {"tier": "front"}), ("y", {"tier": "back"}), ("z", {})):
        core.create_namespaced_config_map(namespace, config_map(name, **labels))
    found = core.list_namespaced_config_map(namespace, label_selector="tier in (front, back),tier!=back")
    assert [item.metadata.name for item in found.items] == ["x"]
    found = core.list_namespaced_config_map(namespace, field_selector="metadata.name=y")
    assert [item.metadata.name for item in found.items] == ["y"]
    page = core.list_namespaced_config_map(namespace, limit=2)
    assert page.metadata.remaining_item_count == 2  # kube-root-ca.crt is there too
    rest = core.list_namespaced_config_map(namespace, limit=10, _continue=page.metadata._continue)
    assert len(page.items) + len(rest.items) == 4
    core.patch_namespaced_config_map("x", namespace, {"data": {"a": "9", "b": None}})
    assert core.read_namespaced_config_map("x", namespace).data == {"a": "9"}
    operations = [
        {"op": "test", "path": "/data/a", "value": "9"},
        {"op": "add", "path": "/data/c", "value": "3"},
    ]
    core.patch_namespaced_config_map("x", namespace, operations)
    read = core.read_namespaced_config_map("x", namespace)
    assert read.data == {"a": "9", "c": "3"}
    stale = core.read_namespaced_config_map("x", namespace)
    read.data["d"] = "4"
    core.replace_namespaced_config_map("x", namespace, read)
    with pytest.raises(sync.ApiException) as caught:
        core.replace_namespaced_config_map("x", namespace, stale)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    core.delete_collection_namespaced_config_map(namespace, label_selector="tier")
    assert [m.metadata.name for m in core.list_namespaced_config_map(namespace).items][-1] == "z"


def test_kubernetes_watches(api: sync.ApiClient, namespace: str) -> None:
    core = sync.CoreV1Api(api)
    since = core.list_namespaced_config_map(namespace).metadata.resource_version

    def events() -> Iterator[tuple[str, str]]:
        watch = kubernetes.watch.Watch()
        for event in watch.stream(
            core.list_namespaced_config_map, namespace, resource_version=since, label_selector="w"
        ):
            yield event["type"], event["object"].metadata.name

    seen = Seen(events, 3)
    core.create_namespaced_config_map(namespace, config_map("other"))
    core.create_namespaced_config_map(namespace, config_map("w", w="1"))
    core.patch_namespaced_config_map("w", namespace, {"data": {"a": "9"}})
    core.delete_namespaced_config_map("w", namespace)
    assert seen.wait() == LIFE


def test_kubernetes_applies_with_the_dynamic_client(api: sync.ApiClient, namespace: str) -> None:
    resource = kubernetes.dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {**config_map("x", owned="both"), "data": {"a": "1"}}
    resource.server_side_apply(body=body, name="x", namespace=namespace, field_manager="one")
    with pytest.raises(kubernetes.dynamic.exceptions.ConflictError):
        resource.server_side_apply(
            body={**body, "data": {"a": "2"}}, name="x", namespace=namespace, field_manager="two"
        )
    forced = resource.server_side_apply(
        body={**body, "data": {"a": "2"}},
        name="x",
        namespace=namespace,
        field_manager="two",
        force_conflicts=True,
    )
    assert forced.data.a == "2"
    managers = {entry.manager: entry.operation for entry in forced.metadata.managedFields}
    assert managers == {"one": "Apply", "two": "Apply"}


def test_kubernetes_reaches_into_a_pod(api: sync.ApiClient, namespace: str) -> None:
    core = sync.CoreV1Api(api)
    core.create_namespaced_pod(namespace, POD)
    eventually(
        lambda: any(c.ready for c in core.read_namespaced_pod("p", namespace).status.container_statuses or ())
    )
    eventually(lambda: core.read_namespaced_pod_log("p", namespace) == "started\n")
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    run = kubernetes.stream.stream(
        core.connect_get_namespaced_pod_exec, "p", namespace, command=command, stdout=True, stderr=True, _preload_content=False,
    )  # fmt: skip
    run.run_forever(timeout=120)
    assert (run.read_stdout(), run.read_stderr(), run.returncode) == ("out\n", "err\n", 3)
    forward = kubernetes.stream.portforward(
        core.connect_get_namespaced_pod_portforward, "p", namespace, ports="8000"
    )
    socket = forward.socket(8000)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    socket.settimeout(10)
    assert b"200 OK" in socket.recv(4096)
    socket.close()
    core.delete_namespaced_pod("p", namespace)


def test_kubernetes_scales_and_reads_status(api: sync.ApiClient, namespace: str) -> None:
    apps = sync.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, DEPLOYMENT)
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 2}})
    eventually(lambda: apps.read_namespaced_deployment_status("d", namespace).status.available_replicas == 2)
    assert apps.read_namespaced_deployment_scale("d", namespace).status.selector == "app=d"
    apps.delete_namespaced_deployment("d", namespace, propagation_policy="Foreground")
    eventually(lambda: apps.list_namespaced_deployment(namespace).items == [])


# kubernetes-asyncio


def test_kubernetes_asyncio_does_the_same(cluster: Cluster, namespace: str) -> None:
    async def main() -> None:
        await kubernetes_asyncio.config.load_kube_config(str(cluster.kubeconfig))
        async with aio.ApiClient() as api:
            core: Any = aio.CoreV1Api(api)  # its annotations name fewer arguments than it takes
            await core.create_namespaced_config_map(namespace, config_map("x", tier="front"))
            found = await core.list_namespaced_config_map(namespace, label_selector="tier=front")
            assert [item.metadata.name for item in found.items] == ["x"]
            await core.patch_namespaced_config_map("x", namespace, {"data": {"a": "9"}})
            merged = await core.patch_namespaced_config_map(
                "x", namespace, {"data": {"b": None}}, _content_type="application/merge-patch+json"
            )
            assert merged.data == {"a": "9"}
            applied = await core.patch_namespaced_config_map(
                "x", namespace, {**config_map("x"), "data": {"c": "3"}}, field_manager="t", force=True,
                _content_type="application/apply-patch+yaml",
            )  # fmt: skip
            assert applied.data == {"a": "9", "c": "3"}
            seen: list[tuple[str, str]] = []
            since = (await core.list_namespaced_config_map(namespace)).metadata.resource_version

            async def change() -> None:
                await core.create_namespaced_config_map(namespace, config_map("w"))
                await core.patch_namespaced_config_map("w", namespace, {"data": {"a": "9"}})
                await core.delete_namespaced_config_map("w", namespace)

            changing = asyncio.create_task(change())
            async with kubernetes_asyncio.watch.Watch() as watch:
                stream = watch.stream(
                    core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=20
                )
                async for event in stream:
                    seen.append((event["type"], event["object"].metadata.name))
                    if len(seen) == 3:
                        break
            await changing
            assert seen == LIFE
            with pytest.raises(aio.ApiException) as caught:
                await core.read_namespaced_config_map("w", namespace)
            assert caught.value.status == 404
            await core.delete_namespaced_config_map("x", namespace)

    asyncio.run(main())


# kr8s


@pytest.fixture
def kr8s_api(cluster: Cluster, namespace: str) -> Any:
    return kr8s.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)


def test_kr8s_works_with_objects(kr8s_api: Any, namespace: str) -> None:
    one = ConfigMap(config_map("x", tier="front"), api=kr8s_api)
    one.create()
    assert one.exists()
    ConfigMap(config_map("y"), api=kr8s_api).create()
    assert [m.name for m in kr8s_api.get("configmaps", label_selector={"tier": "front"})] == ["x"]
    assert [m.name for m in kr8s_api.get("cm", field_selector={"metadata.name": "y"})] == ["y"]
    one.patch({"data": {"a": "9"}})
    assert one.data.a == "9"
    one.patch([{"op": "remove", "path": "/data/b"}], type="json")
    assert dict(one.data) == {"a": "9"}
    one.label({"more": "yes"})
    one.annotate({"note": "hello"})
    one.refresh()
    assert (one.labels.more, one.annotations.note) == ("yes", "hello")
    one.delete()
    one.wait("delete", timeout=120)
    assert not one.exists()


def test_kr8s_runs_a_pod(kr8s_api: Any) -> None:
    pod = Pod(POD, api=kr8s_api)
    pod.create()
    pod.wait("condition=Ready", timeout=120)
    eventually(lambda: "started" in list(pod.logs()))
    done = pod.exec(["sh", "-c", "echo out"])
    assert (done.returncode, done.stdout) == (0, b"out\n")
    with pod.portforward(remote_port=8000) as port:
        assert httpx.get(f"http://localhost:{port}/", timeout=120).status_code == 200
    pod.delete()


def test_kr8s_scales_a_deployment(kr8s_api: Any) -> None:
    deployment = Deployment(DEPLOYMENT, api=kr8s_api)
    deployment.create()
    deployment.scale(2)
    deadline = time.monotonic() + 120
    while not deployment.ready() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(deployment.pods()) == 2
    deployment.delete()


def test_kr8s_watches(cluster: Cluster, namespace: str) -> None:
    async def main() -> None:
        api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
        seen: list[tuple[str, str]] = []
        started = asyncio.Event()

        async def look() -> None:
            async for kind, found in api.watch("configmaps", namespace=namespace):
                started.set()
                if found.name == "w":
                    seen.append((kind, found.name))
                if len(seen) == 3:
                    return

        looking = asyncio.create_task(look())
        await asyncio.wait_for(started.wait(), 10)  # kube-root-ca.crt is there from the beginning
        one = await AsyncConfigMap(config_map("w"), api=api)
        await one.create()
        await one.patch({"data": {"a": "9"}})
        await one.delete()
        await asyncio.wait_for(looking, 20)
        assert seen == LIFE

    asyncio.run(main())


# lightkube


@pytest.fixture
def light(cluster: Cluster, namespace: str) -> Iterator[Any]:
    config = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
    client: Any = lightkube.Client(config=config, namespace=namespace, field_manager="light")
    yield client
    client.close()


def test_lightkube_creates_lists_patches_and_deletes(light: Any) -> None:
    light.create(
        LightConfigMap(metadata=ObjectMeta(name="x", labels={"tier": "front"}), data={"a": "1", "b": "2"})
    )
    light.create(LightConfigMap(metadata=ObjectMeta(name="y")))
    assert [m.metadata.name for m in light.list(LightConfigMap, labels={"tier": ["front", "back"]})] == ["x"]
    assert [m.metadata.name for m in light.list(LightConfigMap, fields={"metadata.name": "y"})] == ["y"]
    assert len(list(light.list(LightConfigMap, chunk_size=1))) == 3
    light.patch(LightConfigMap, "x", {"data": {"a": "9"}})
    merged = light.patch(LightConfigMap, "x", {"data": {"b": None}}, patch_type=PatchType.MERGE)
    assert merged.data == {"a": "9"}
    operations = [{"op": "add", "path": "/data/c", "value": "3"}]
    assert light.patch(LightConfigMap, "x", operations, patch_type=PatchType.JSON).data == {
        "a": "9",
        "c": "3",
    }
    with pytest.raises(ApiError) as caught:
        light.apply(LightConfigMap(metadata=ObjectMeta(name="x"), data={"a": "8"}), field_manager="other")
    assert caught.value.status.code == 409
    applied = light.apply(LightConfigMap(metadata=ObjectMeta(name="x"), data={"a": "8"}), force=True)
    assert applied.data["a"] == "8"
    stale = light.get(LightConfigMap, "x")
    light.patch(LightConfigMap, "x", {"data": {"d": "4"}})
    with pytest.raises(ApiError):
        light.replace(stale)
    light.delete(LightConfigMap, "x")
    with pytest.raises(ApiError) as caught:
        light.get(LightConfigMap, "x")
    assert caught.value.status.reason == "NotFound"


def test_lightkube_watches(light: Any) -> None:
    found = light.list(LightConfigMap)
    assert len(list(found)) == 1  # kube-root-ca.crt; only now is the version known
    since = found.resourceVersion

    def events() -> Iterator[tuple[str, str]]:
        for kind, found in light.watch(LightConfigMap, labels={"w": "1"}, resource_version=since):
            yield kind, found.metadata.name

    seen = Seen(events, 3)
    light.create(LightConfigMap(metadata=ObjectMeta(name="w", labels={"w": "1"})))
    light.patch(LightConfigMap, "w", {"data": {"a": "9"}})
    light.delete(LightConfigMap, "w")
    assert seen.wait() == LIFE


def test_lightkube_waits_scales_and_reads_logs(light: Any, kubectl: Kubectl) -> None:
    light.create(LightPod.from_dict(POD))
    ready = light.wait(LightPod, "p", for_conditions=["Ready"])
    assert ready.status.phase == "Running"
    eventually(lambda: list(light.log("p")) == ["started\n"])
    light.delete(LightPod, "p")
    light.create(LightDeployment.from_dict(DEPLOYMENT))
    assert light.get(LightDeployment.Scale, "d").spec.replicas == 1
    light.patch(LightDeployment.Scale, "d", {"spec": {"replicas": 2}}, patch_type=PatchType.MERGE)
    eventually(lambda: light.get(LightDeployment.Status, "d").status.availableReplicas == 2)
    light.delete(LightDeployment, "d", cascade=lightkube.types.CascadeType.FOREGROUND)


def test_all_of_them_reach_into_a_pod(
    cluster: Cluster, api: sync.ApiClient, light: Any, namespace: str
) -> None:
    core = sync.CoreV1Api(api)
    script = "echo one; sleep 1; echo two; exec sleep 100"
    core.create_namespaced_pod(
        namespace,
        {
            "metadata": {"name": "p"},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "process", "command": ["sh", "-c", script]}],
            },
        },
    )
    eventually(lambda: core.read_namespaced_pod("p", namespace).status.phase == "Running")
    # The log, line by line, as it comes.
    watch = kubernetes.watch.Watch()
    lines = []
    for line in watch.stream(core.read_namespaced_pod_log, "p", namespace, follow=True):
        lines.append(line)
        if line == "two":
            watch.stop()
    assert lines == ["one", "two"]
    followed = light.log("p", follow=True)
    assert [next(followed), next(followed)] == ["one\n", "two\n"]
    done = light.exec(
        "p", command=["sh", "-c", "cat; echo err >&2; exit 5"], stdin="in", stdout=True, stderr=True
    )
    assert (done.stdout, done.stderr, done.exit_code) == ("in", "err\n", 5)
    # An interactive command: what is written to it, and read from it, in turns.
    talk = kubernetes.stream.stream(
        core.connect_get_namespaced_pod_exec, "p", namespace, command=["sh"], stdin=True, stdout=True, stderr=True,
        tty=False, _preload_content=False,
    )  # fmt: skip
    for number in range(3):
        talk.write_stdin(f"echo answer {number}\n")
        assert talk.readline_stdout(timeout=20) == f"answer {number}"
    talk.write_stdin("exit 6\n")
    talk.run_forever(timeout=20)
    assert talk.returncode == 6
    talk.close()

    async def main() -> None:
        await kubernetes_asyncio.config.load_kube_config(str(cluster.kubeconfig))
        async with kubernetes_asyncio.stream.WsApiClient() as ws:
            there: Any = aio.CoreV1Api(ws)
            command = ["sh", "-c", "echo out; exit 0"]
            said = await there.connect_get_namespaced_pod_exec(
                "p", namespace, command=command, stdout=True, stderr=True
            )
            assert said == "out\n"
        async with aio.ApiClient() as client:
            asynchronous: Any = aio.CoreV1Api(client)
            async with kubernetes_asyncio.watch.Watch() as following:
                heard = []
                async for line in following.stream(
                    asynchronous.read_namespaced_pod_log, "p", namespace, follow=True
                ):
                    heard.append(line.strip())
                    if heard[-1] == "two":
                        break
            assert heard == ["one", "two"]

    asyncio.run(main())
    core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
