"""A cluster that is killed in the middle of its work, and started again."""

import json
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

PODS = 200


def manifest(number: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number:03}"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "process", "command": ["sleep", "100000"]}],
        },
    }


def listed(numbers: Iterable[int]) -> str:
    """Return Pods as one List."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest(n) for n in numbers]})


def test_a_cluster_killed_while_200_pods_are_created_loses_none_and_restarts_none(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--listen", "127.0.0.1:0", "--nodes", "2")
    cluster.start()
    kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path)
    creating = subprocess.Popen(
        [kubectl.binary, "create", "-f", "-", "-o", "name"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=kubectl.environment,
    )
    assert creating.stdin is not None and creating.stdout is not None
    documents = listed(range(PODS))
    feeding = threading.Thread(target=lambda: (creating.stdin.write(documents), creating.stdin.close()))  # type: ignore[union-attr]
    feeding.start()
    acknowledged = [creating.stdout.readline().strip() for _ in range(60)]
    cluster.kill()
    acknowledged += [line.strip() for line in creating.stdout]
    creating.wait()
    feeding.join()
    creating.stdout.close()
    acknowledged = [name for name in acknowledged if name]
    running = _processes(cluster)
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path)
        there = set(kubectl("get", "pods", "-o", "name").split())
        assert set(acknowledged) <= there
        assert len(acknowledged) >= 60
        missing = [n for n in range(PODS) if f"pod/pod-{n:03}" not in there]
        if missing:
            kubectl("create", "-f", "-", stdin=listed(missing))
        phases = "jsonpath={range .items[*]}{.status.phase} {.status.containerStatuses[0].restartCount}{'\\n'}{end}"
        eventually(
            lambda: kubectl("get", "pods", "-o", phases).count("Running 0") == PODS, within=240, every=0.5
        )
        assert running <= _processes(cluster), "a process that ran was started again"
    finally:
        kubectl("delete", "pods", "--all", "--now", "--wait=true", timeout=240)
        assert cluster.stop() == 0
    assert not _processes(cluster)


def _processes(cluster: Cluster) -> set[int]:
    """Return the processes of containers, by the state that their shims have noted."""
    found = set()
    for state in cluster.directory.glob("nodes/*/runtime/sandboxes/*/containers/*/state.json"):
        if not state.with_name("exit.json").exists():
            found.add(json.loads(state.read_text())["pid"])
    return found
