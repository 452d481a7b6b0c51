"""Services by rules in the kernel: reached from Pods, from the machine and at the nodes' ports, with and without networks of Pods' own."""

import json
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: process
        command: [sh, -c, 'mkdir -p www; echo $HOSTNAME > www/index.html; exec python3 -m http.server -b $POD_IP -d www 8080']
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: kept}
spec: {sessionAffinity: ClientIP, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module", params=["none", "pod"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = tmp_path_factory.mktemp("nftables") / "data"
    before = tables()
    running = Cluster(data, "--listen", "127.0.0.1:0", "--isolation", request.param, "--proxy", "nftables")
    running.start()
    yield running
    assert running.stop() == 0
    running.end_pods()
    assert tables() == before


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> list[str]:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    path = "jsonpath={.items[*].metadata.name}"
    found = sorted(kubectl("get", "pods", "-l", "app=web", "-o", path).split())
    address = service(kubectl, "web")[0]
    eventually(lambda: {fetch(address, 80) for _ in range(20)} == set(found))
    return found


def tables() -> list[str]:
    """Return the tables of nftables that are a cluster's."""
    told = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines() if "kubelib" in line]


def service(kubectl: Kubectl, name: str) -> tuple[str, int]:
    """Return a Service's address, and its port of the nodes."""
    spec = json.loads(kubectl("get", "service", name, "-o", "json"))["spec"]
    return spec["clusterIP"], spec["ports"][0].get("nodePort", 0)


def fetch(address: str, port: int) -> str:
    """Return which Pod answers; nothing if none does."""
    connection = HTTPConnection(address, port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    except OSError:
        return ""
    finally:
        connection.close()


def address_of_this_machine() -> str:
    """Return an address that is no loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def from_pod(kubectl: Kubectl, pod: str, url: str) -> str:
    script = "import ssl, sys, urllib.request as r; c = ssl._create_unverified_context(); print(r.urlopen(sys.argv[1], timeout=10, context=c).read().decode().strip())"
    return kubectl("exec", pod, "--", "python3", "-c", script, url).strip()


def test_the_machine_reaches_all_endpoints_at_the_services_address_and_at_the_nodes_port(
    kubectl: Kubectl, pods: list[str]
) -> None:
    address, port = service(kubectl, "web")
    assert {fetch(address, 80) for _ in range(30)} == set(pods)
    assert {fetch(address_of_this_machine(), port) for _ in range(30)} == set(pods)


def test_pods_reach_all_endpoints_themselves_among_them(kubectl: Kubectl, pods: list[str]) -> None:
    address, _ = service(kubectl, "web")
    assert {from_pod(kubectl, pods[0], f"http://{address}/") for _ in range(20)} == set(pods)


def test_pods_reach_the_api(kubectl: Kubectl, pods: list[str]) -> None:
    spec = json.loads(kubectl("get", "service", "kubernetes", "-o", "json"))["spec"]
    url = f"https://{spec['clusterIP']}:{spec['ports'][0]['port']}/version"
    assert '"major": "1"' in from_pod(kubectl, pods[0], url)


def test_a_client_stays_with_its_endpoint_where_the_service_says_so(
    kubectl: Kubectl, pods: list[str]
) -> None:
    address, _ = service(kubectl, "kept")
    assert len({fetch(address, 80) for _ in range(20)}) == 1


def test_endpoints_that_have_gone_get_no_connections_and_without_any_they_are_refused(
    kubectl: Kubectl, pods: list[str]
) -> None:
    address, _ = service(kubectl, "web")
    kubectl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len({fetch(address, 80) for _ in range(20)} - {""}) == 1)
    kubectl("scale", "deployment/web", "--replicas=0")

    def refused() -> bool:
        try:
            socket.create_connection((address, 80), timeout=10).close()
        except ConnectionRefusedError:
            return True
        return False

    eventually(refused)
