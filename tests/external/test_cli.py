"""Our own client commands beside real kubectl on the same cluster."""

import os
import subprocess
import sys
from pathlib import Path

from tests.external.conftest import Cluster, Kubectl, eventually

RC = """
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: process, command: [sh, -c, "echo hello; sleep 1000"]}
"""


def kubelib(cluster: Cluster, *arguments: str, stdin: str = "", code: int = 0) -> str:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def without_ages(text: str) -> list[list[str]]:
    return [
        [cell for cell in line.split() if not cell[0].isdigit() or cell[-1] not in "smh"]
        for line in text.splitlines()
    ]


def test_get_prints_what_kubectl_prints(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubelib(cluster, "apply", "-n", namespace, "-f", "-", stdin=RC)
    eventually(
        lambda: kubectl("-n", namespace, "get", "rc", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    )
    for options in (
        ["pods"],
        ["pods", "-o", "wide"],
        ["rc", "-o", "wide"],
        ["ns"],
        ["pods", "-l", "app=web", "--no-headers"],
    ):
        ours = kubelib(cluster, "get", "-n", namespace, *options)
        assert without_ages(ours) == without_ages(kubectl("-n", namespace, "get", *options))


def test_scale_wait_logs_and_delete_work(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubelib(cluster, "apply", "-n", namespace, "-f", "-", stdin=RC)
    kubelib(cluster, "scale", "-n", namespace, "rc/web", "--replicas", "1")
    eventually(lambda: len(kubelib(cluster, "get", "-n", namespace, "pods", "-o", "name").split()) == 1)
    (pod,) = kubelib(cluster, "get", "-n", namespace, "pods", "-o", "name").split()
    kubelib(cluster, "wait", "-n", namespace, pod, "--for", "condition=Ready")
    assert eventually(lambda: kubelib(cluster, "logs", "-n", namespace, pod) == "hello\n")
    kubelib(cluster, "delete", "-n", namespace, "rc/web")
    assert "web" not in kubelib(cluster, "get", "-n", namespace, "rc", "-o", "name")


def test_errors_are_one_sentence_and_an_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    assert "doesn't have a resource type" in kubelib(cluster, "get", "nonsense", code=2)
    assert 'Error from server (NotFound): configmaps "missing" not found' in kubelib(
        cluster, "get", "cm", "missing", code=1
    )
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", "--kubeconfig", str(tmp_path / "none"), "get", "pods"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no kubeconfig" in done.stderr


def test_a_port_in_use_and_a_directory_of_somebody_else_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    address = kubelib(cluster, "get", "ns", "default", "-o", "name") and cluster.kubeconfig.read_text()
    port = address.partition("server: https://127.0.0.1:")[2].split()[0]
    taken = kubelib(cluster, "up", "--data-dir", str(tmp_path / "a"), "--listen", f"127.0.0.1:{port}", code=1)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in taken
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("not ours")
    assert "is not a kubelib data directory" in kubelib(cluster, "up", "--data-dir", str(theirs), code=1)
    assert "is in use by process" in kubelib(cluster, "up", "--data-dir", str(cluster.directory), code=1)
