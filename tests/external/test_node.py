"""kubectl and what the node agent does: figures, files, debugging."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

BUSY = ["--image=process", "--restart=Never", "--command", "--", "sh", "-c", "while :; do :; done"]


def test_top_shows_what_nodes_pods_and_containers_use(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "run", "busy", "--labels=app=busy", *BUSY)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/busy", "--timeout=90s")
    top = eventually(
        lambda: kubectl("-n", namespace, "top", "pods", "-l", "app=busy", "--containers"), within=90
    )
    _, row = str(top).splitlines()
    name, container, cpu, memory = row.split()
    assert (name, container) == ("busy", "busy")
    assert int(cpu.removesuffix("m")) > 0 and memory.endswith("Mi")
    assert re.search(r"^node-1 +\d+m +\d+% +\d+Mi +\d+%", kubectl("top", "nodes", "--no-headers"))
    assert kubectl("-n", namespace, "top", "pod", "busy", "--no-headers").startswith("busy ")
    assert "not found" in kubectl.fails("-n", namespace, "top", "pod", "none")
    raw = kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary")
    pods = {
        pod["podRef"]["name"]: pod
        for pod in json.loads(raw)["pods"]
        if pod["podRef"]["namespace"] == namespace
    }
    assert pods["busy"]["containers"][0]["cpu"]["usageCoreNanoSeconds"] > 0
    text = kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/metrics/cadvisor")
    assert re.search(rf'container_cpu_usage_seconds_total\{{container="busy",.*namespace="{namespace}"', text)


def test_a_pod_that_runs_is_looked_into_and_files_are_copied_both_ways(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl("-n", namespace, "run", "web", "--image=process", "--command", "--", "sleep", "1000")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/web", "--timeout=90s")
    debug = [
        "debug",
        "web",
        "--image=process",
        "--target=web",
        "-c",
        "look",
        "--",
        "sh",
        "-c",
        'echo "in $HOSTNAME"; exit 3',
    ]
    assert kubectl.run("-n", namespace, *debug).returncode == 0
    ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}"
    assert eventually(lambda: kubectl("-n", namespace, "get", "pod", "web", "-o", ended)) == "3"
    assert kubectl("-n", namespace, "logs", "web", "-c", "look") == "in web\n"
    (tmp_path / "there").write_text("to and fro\n")
    kubectl("cp", str(tmp_path / "there"), f"{namespace}/web:kept")
    assert kubectl("-n", namespace, "exec", "web", "--", "cat", "kept") == "to and fro\n"
    kubectl("cp", f"{namespace}/web:kept", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "to and fro\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_a_cluster_that_isolates_runs_pods_that_are_reached_and_entered(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = Cluster(tmp_path / "isolated", "--isolation", "pod", "--pod-max-pids", "100")
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))
        said = kubectl(
            "get", "node", "node-1", "-o", r"jsonpath={.metadata.annotations.kubelib\.dev/not-isolated}"
        )
        assert said.startswith("network")
        script = "mkdir -p /srv/www; hostname > /srv/www/index.html; exec python3 -m http.server 8000 -d /srv/www -b $POD_IP"
        kubectl(
            "run", "web", "--image=process", "--expose", "--port=8000", "--command", "--", "sh", "-c", script
        )
        kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=40s")
        reached = "/api/v1/namespaces/default/services/web/proxy/"
        assert eventually(lambda: kubectl("get", "--raw", reached), within=40) == "web\n"
        assert kubectl("exec", "web", "--", "sh", "-c", "echo $$ > /x; cat /proc/1/comm").startswith("python")
        assert not Path("/x").exists() and not Path("/srv/www").exists()
        assert (
            int(
                str(eventually(lambda: kubectl("top", "pod", "web", "--no-headers"), within=40)).split()[2][
                    :-2
                ]
            )
            > 0
        )
        kubectl("delete", "pod", "web", "--grace-period=1")
    finally:
        assert cluster.stop() == 0
