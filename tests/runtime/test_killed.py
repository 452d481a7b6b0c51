"""A kubelet that is killed with -9 wherever it is, again and again: in the end every Pod is as it should be, and nothing is left."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.testing.cluster import Cluster
from tests.containers import BUSYBOX, REGISTRY_PORTS, Docker, Podman, mounts_below
from tests.external.conftest import eventually
from tests.kubelets import NODE, Kubelet
from tests.registries import PASSWORD, USER, private_registry

SEED, KILLS = 4, 8
LONGEST = 0.5
"""Seconds that a kubelet lives at most before it is killed."""
CONNECTIONS = 40
"""How many connections to an engine may wait to be used again."""


class Node:
    """A kubelet on one runtime, and what there is on its machine."""

    def __init__(self, kubelet: Kubelet, cluster: Cluster, engine: Docker | Podman | None) -> None:
        self.kubelet, self.cluster, self.engine = kubelet, cluster, engine
        self.notes = kubelet.root.parent / "notes"
        self.notes.mkdir()

    def leftovers(self) -> dict[str, Any]:
        """Return what could leak, in a form that can be compared."""
        found: dict[str, Any] = {
            part: sorted(path.name for path in (self.kubelet.root / part).glob("*"))
            for part in ("pods", "volumes", "logs", "runtime/sandboxes")
        }
        found["mounts"] = mounts_below(self.kubelet.root)
        found["processes"] = processes_with(str(self.notes))
        if self.engine is not None:
            network = self.engine.network
            assert network is not None
            names = network.pids()
            found["containers"] = self.engine.containers()
            found["engine's processes"] = sorted(
                comm for pid in names if (comm := comm_of(pid)) in ENGINE_PROCESSES
            )
            found["engine's mounts"] = mounts_of(names[0])
        return found

    def pods(self) -> dict[str, Pod]:
        """Return what the API server says of the Pods."""
        listed = self.cluster.call(self.cluster.client.resource(Pod).list)
        return {pod.metadata.name: pod for pod in listed.items}

    def delete(self, name: str, grace: int | None = None) -> None:
        key = Key("default", name)
        self.cluster.call(partial(self.cluster.client.resource(Pod).delete, key, grace=grace))

    def said(self, name: str) -> list[str]:
        """Return what the containers of a Pod have noted: one line for each time that one was started."""
        path = self.notes / name
        return path.read_text().split() if path.exists() else []


OF_CONTAINERS = re.compile(r"/merged$|/containers/.*/shm$|-containers/.*/shm$|/netns/")
"""Where engines mount what is a container's. What others mount on this machine is seen there too."""
ENGINE_PROCESSES = ("containerd-shim", "conmon", "runc", "sh", "sleep", "pause", "catatonit")


def comm_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def mounts_of(pid: int) -> list[str]:
    paths = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return sorted(path for path in paths if OF_CONTAINERS.search(path) and "kubelib-" not in Path(path).name)


def processes_with(words: str) -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in line and directory.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    kind: str = request.param
    fixture = {"docker": "docker_engine", "podman": "podman_service"}.get(kind)
    engine = request.getfixturevalue(fixture) if fixture else None
    with (
        Cluster() as cluster,
        Kubelet(
            tmp_path / "kubelet", cluster.kubeconfig, kind, engine.url if engine else "", SEED
        ) as kubelet,
    ):
        node = Node(kubelet, cluster, engine)
        yield node
        kubelet.kill()
        for mounted in mounts_below(kubelet.root):  # of a test that has failed
            subprocess.run(["umount", "-l", mounted], check=False)


def manifest(node: Node, name: str, containers: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """Return a Pod on the node. Its containers note that they have begun by a line ``$1`` in a file of the machine's."""
    notes = {"name": "notes", "hostPath": {"path": str(node.notes)}}
    for container in (*containers, *spec.get("initContainers", ())):
        container.setdefault("image", BUSYBOX)
        where = str(node.notes)
        container["volumeMounts"] = [
            {"name": "notes", "mountPath": where},
            *container.get("volumeMounts", ()),
        ]
        script = f"echo {container['name']} >> {where}/{name}; {container.pop('script')}"
        container["command"] = ["sh", "-c", script, where]
    spec = {
        "nodeName": NODE,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        **spec,
        "volumes": [notes, *spec.get("volumes", ())],
        "containers": containers,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


STAY = "trap 'exit 0' TERM; sleep 100000 & wait"
STUBBORN = "trap '' TERM; while :; do sleep 1; done"


def workload(node: Node, image: str) -> list[dict[str, Any]]:
    """Return Pods that between them have every step that a kubelet takes."""
    volumes = [
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    mounts = [{"name": "config", "mountPath": "/config"}, {"name": "memory", "mountPath": "/memory"}]
    pull = {"image": image, "imagePullPolicy": "Always"}
    sidecar = {"name": "sidecar", "restartPolicy": "Always", "script": STAY}
    return [
        manifest(node, "stays", [{"name": "main", "script": STAY, "volumeMounts": mounts}], volumes=volumes),
        manifest(
            node,
            "prepared",
            [{"name": "main", "script": STAY, **pull}, {"name": "other", "script": STAY}],
            initContainers=[
                {"name": "one", "script": "sleep 0.2"},
                {"name": "two", "script": "sleep 0.2", **pull},
            ],
            imagePullSecrets=[{"name": "registry"}],
        ),
        manifest(
            node,
            "done",
            [{"name": "main", "script": "sleep 0.3"}],
            initContainers=[sidecar],
            restartPolicy="Never",
        ),
        manifest(node, "failed", [{"name": "main", "script": "sleep 0.1; exit 3"}], restartPolicy="Never"),
        manifest(node, "stubborn", [{"name": "main", "script": STUBBORN}]),
        manifest(
            node, "vanishes", [{"name": "main", "script": STUBBORN, "volumeMounts": mounts}], volumes=volumes
        ),
    ]


@pytest.mark.parametrize("node", ["process", "docker", "podman"], indirect=True)
def test_a_kubelet_killed_at_any_step_ends_what_it_has_begun_and_leaves_nothing(
    node: Node, images: Path, request: pytest.FixtureRequest
) -> None:
    random, kubelet = Random(SEED), node.kubelet
    with ExitStack() as stack:
        image = BUSYBOX
        if node.engine is not None:
            assert node.engine.network is not None
            address, port = node.engine.network.host, REGISTRY_PORTS[node.engine.kind]
            registry = stack.enter_context(private_registry(address, images / "busybox.tar", port))
            image = f"{registry}/private:1"
            node.cluster.apply(pull_secret(registry))
        node.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
        )
        kubelet.start()
        eventually(kubelet.is_ready)
        before, descriptors = node.leftovers(), kubelet.descriptors()
        todo = workload(node, image)
        kills = 0
        while kills < KILLS:
            # What there is to be done comes while the kubelet is there, and while it is not.
            if kills == KILLS // 2:
                node.delete("stubborn")
                node.delete("vanishes", grace=0)
            else:
                for tree in todo[:3]:
                    node.cluster.apply(tree)
                del todo[:3]
            if kills % 2:
                eventually(kubelet.is_ready)  # it has taken over, and goes on
            time.sleep(random.uniform(0, LONGEST))
            kubelet.kill()
            kills += 1
            kubelet.start()
        eventually(kubelet.is_ready)

        def as_it_should_be() -> bool:
            pods = node.pods()
            phases = {name: pod.status.phase for name, pod in pods.items()}
            assert phases == {
                "stays": "Running",
                "prepared": "Running",
                "done": "Succeeded",
                "failed": "Failed",
            }, [pod.status for pod in pods.values()]
            return all(
                status.ready
                for name in ("stays", "prepared")
                for status in node.pods()[name].status.container_statuses
            )

        eventually(as_it_should_be, within=120)
        [ended] = node.pods()["failed"].status.container_statuses
        assert ended.state.terminated is not None
        assert (ended.state.terminated.exit_code, ended.restart_count) == (3, 0)
        for name, said in EXPECTED.items():
            assert node.said(name) == said, "in this order, and once each"
        assert {s.restart_count for pod in node.pods().values() for s in pod.status.container_statuses} == {0}
        for name in node.pods():
            node.delete(name)
        eventually(lambda: node.pods() == {})

        def nothing_is_left() -> bool:
            assert node.leftovers() == before
            assert kubelet.descriptors() <= descriptors + CONNECTIONS
            return True

        eventually(nothing_is_left)


EXPECTED = {
    "stays": ["main"],
    "prepared": ["one", "two", "main", "other"],
    "done": ["sidecar", "main"],
    "failed": ["main"],
}


def pull_secret(registry: str) -> dict[str, Any]:
    """Return a secret with which images are fetched."""
    auths = {"auths": {registry: {"username": USER, "password": PASSWORD}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "registry"},
        "stringData": {".dockerconfigjson": json.dumps(auths)},
    }
