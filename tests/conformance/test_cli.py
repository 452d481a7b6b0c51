"""sig-cli: what kubectl does that needs no node, and that no test of a whole cluster shows."""

import json
import socket
import subprocess
from pathlib import Path

from kubelib.testing.cluster import Cluster


def test_a_dry_run_on_the_server_changes_no_pod(cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    kubectl("run", "web", "--image=registry.example/httpd:1", "--labels=run=web")
    patch = {"spec": {"containers": [{"name": "web", "image": "registry.example/busybox:1"}]}}
    answer = kubectl("patch", "pod", "web", "-p", json.dumps(patch), "--dry-run=server")
    assert answer == "pod/web patched\n"
    image = "jsonpath={.spec.containers[0].image}"
    assert kubectl("get", "pod", "web", "-o", image) == "registry.example/httpd:1"
    shown = kubectl("patch", "pod", "web", "-p", json.dumps(patch), "--dry-run=server", "-o", image)
    assert shown == "registry.example/busybox:1"


def test_the_proxy_listens_on_a_socket_of_a_file_too(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    kubectl = cluster.kubectl
    command = [str(kubectl.path), "proxy", f"--unix-socket={path}"]
    proxy = subprocess.Popen(command, env=kubectl.environment, stdout=subprocess.PIPE, text=True)
    assert proxy.stdout is not None
    try:
        assert str(path) in proxy.stdout.readline()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            connection.sendall(b"GET /api/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["versions"] == ["v1"]
    finally:
        proxy.terminate()
        proxy.communicate()
