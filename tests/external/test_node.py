"""kubectl and what the node agent does: figures, files, debugging."""

import json
import os
import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary
from tests.external.grouped import volumes_belong_to_the_group
from tests.external.wholepod import a_whole_pod_lives_and_ends
from tests.ownnetwork import networks_left, own_network, run

BUSY = ["--image=process", "--restart=Never", "--command", "--", "sh", "-c", "while :; do :; done"]


def test_top_shows_what_nodes_pods_and_containers_use(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "run", "busy", "--labels=app=busy", *BUSY)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/busy", "--timeout=90s")
    node = kubectl("-n", namespace, "get", "pod", "busy", "-o", "jsonpath={.spec.nodeName}")
    top = eventually(
        lambda: kubectl("-n", namespace, "top", "pods", "-l", "app=busy", "--containers"), within=90
    )
    _, row = str(top).splitlines()
    name, container, cpu, memory = row.split()
    assert (name, container) == ("busy", "busy")
    assert int(cpu.removesuffix("m")) > 0 and memory.endswith("Mi")
    assert re.search(rf"(?m)^{node} +\d+m +\d+% +\d+Mi +\d+%", kubectl("top", "nodes", "--no-headers"))
    assert kubectl("-n", namespace, "top", "pod", "busy", "--no-headers").startswith("busy ")
    assert "not found" in kubectl.fails("-n", namespace, "top", "pod", "none")
    raw = kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
    pods = {
        pod["podRef"]["name"]: pod
        for pod in json.loads(raw)["pods"]
        if pod["podRef"]["namespace"] == namespace
    }
    assert pods["busy"]["containers"][0]["cpu"]["usageCoreNanoSeconds"] > 0
    text = kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics/cadvisor")
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


WEB = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  terminationGracePeriodSeconds: 1
  hostAliases: [{ip: 192.0.2.7, hostnames: [far.example]}]
  containers:
  - name: web
    image: process
    command: [sh, -c, "mkdir -p /srv/www; hostname > /srv/www/index.html; exec python3 -m http.server 80 -d /srv/www"]
    ports: [{name: http, containerPort: 80}]
    readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
"""
GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end='')"


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_a_load_balancer_leads_to_a_service_and_goes_with_it(kubectl: Kubectl, namespace: str) -> None:
    script = "mkdir www; echo balanced > www/index.html; exec python3 -m http.server -b $POD_IP -d www 8080"
    kubectl(
        "-n", namespace, "run", "web", "--image=process", "--port=8080", "--command", "--", "sh", "-c", script
    )
    kubectl(
        "-n", namespace, "expose", "pod", "web", "--type=LoadBalancer", "--port=8081", "--target-port=8080"
    )
    address = "{.status.loadBalancer.ingress[0].ip}"
    ready = ("wait", f"--for=jsonpath={address}", "service/web", "--timeout=60s")
    kubectl("-n", namespace, *ready)
    ip = kubectl("-n", namespace, "get", "service", "web", "-o", f"jsonpath={address}")
    assert (
        f" {ip} "
        in kubectl("-n", namespace, "get", "service", "web", "--no-headers").split("LoadBalancer", 1)[1]
    )

    def said() -> str:
        try:
            with urlopen(f"http://{ip}:8081/", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:  # nobody listens yet
            return ""

    assert eventually(said) == "balanced\n"
    assert "Ensured load balancer" in kubectl("-n", namespace, "describe", "service", "web")
    kubectl("-n", namespace, "delete", "service", "web", "--timeout=60s")


def test_pods_of_a_cluster_that_isolates_have_networks_of_their_own(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with own_network():
        cluster = Cluster(tmp_path / "isolated", "--isolation", "pod", "--pod-max-pids", "100")
        cluster.start()
        try:
            kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))
            _are_reached_and_entered(kubectl, cluster)
            a_whole_pod_lives_and_ends(kubectl, "process")
        finally:
            assert cluster.stop() == 0
        assert networks_left() == []
        assert "10.96." not in run("ip", "route", "show", "table", "local")


def _are_reached_and_entered(kubectl: Kubectl, cluster: Cluster) -> None:
    said = r"jsonpath={.metadata.annotations.kubelib\.dev/not-isolated}"
    assert kubectl("get", "node", "node-1", "-o", said) == "users"
    for name in ("one", "two"):
        text = WEB.replace("NAME", name)
        kubectl(
            "apply",
            "-f",
            "-",
            stdin=text.replace("containerPort: 80", "containerPort: 80, hostPort: 8088")
            if name == "one"
            else text,
        )

    def field(pod: str, path: str) -> str:
        return kubectl("get", "pod", pod, "-o", f"jsonpath={{{path}}}")

    def get(pod: str, host: str) -> str:
        return kubectl("exec", pod, "--", "python3", "-c", GET, f"http://{host}/")

    kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s")
    service = kubectl("get", "service", "one", "-o", "jsonpath={.spec.clusterIP}")
    assert service.startswith("10.96.") and field("one", ".status.podIP").startswith("10.244.")
    assert (get("one", "127.0.0.1"), get("two", "127.0.0.1")) == ("one\n", "two\n")
    assert get("two", field("one", ".status.podIP")) == "one\n"
    assert eventually(lambda: get("one", service)) == "one\n", "a Pod reaches itself by its Service too"
    assert kubectl("get", "--raw", "/api/v1/namespaces/default/services/two/proxy/") == "two\n"
    devices = len(run("ip", "-brief", "link").splitlines())
    cluster.kill()
    cluster.start()  # it finds what is there
    kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s")
    assert len(run("ip", "-brief", "link").splitlines()) == devices == 3
    assert field("one", ".status.containerStatuses[0].restartCount") == "0"
    assert eventually(lambda: get("two", service)) == "one\n"
    assert urlopen("http://127.0.0.1:8088/", timeout=20).read() == b"one\n"
    hosts = kubectl("exec", "one", "--", "cat", "/etc/hosts")
    assert "192.0.2.7\tfar.example" in hosts and f"{field('one', '.status.podIP')}\tone" in hosts
    assert kubectl("exec", "one", "--", "sh", "-c", "echo $$ > /x; cat /proc/1/comm").startswith("python")
    assert not Path("/x").exists() and not Path("/srv/www").exists()
    assert "GET / HTTP" in kubectl("logs", "one")
    top = eventually(lambda: kubectl("top", "pod", "one", "--no-headers"), within=60)
    assert int(str(top).split()[2].removesuffix("Mi")) > 0
    sandbox = cluster.directory / "nodes/node-1/runtime/sandboxes" / field("two", ".metadata.uid")
    holder = json.loads((sandbox / "holder.json").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    assert eventually(lambda: field("two", ".status.containerStatuses[0].restartCount") == "1")
    kubectl("wait", "--for=condition=Ready", "pod/two", "--timeout=60s")
    assert "Pod sandbox changed" in kubectl("get", "events")
    assert get("one", field("two", ".status.podIP")) == "two\n"
    kubectl("delete", "pod", "one", "two", "--grace-period=1")
    volumes_belong_to_the_group(kubectl, "process")
    assert len(run("ip", "-brief", "link").splitlines()) == 1
