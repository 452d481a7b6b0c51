"""Names of Services in Pods, with networks of their own and without, asked as any program asks: by the C library."""

import json
from collections.abc import Iterator

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

PETS = """
apiVersion: v1
kind: Service
metadata: {name: pets}
spec: {clusterIP: None, selector: {app: pets}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: pets}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: shop.default.svc.cluster.local}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pet}
spec:
  serviceName: pets
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: pets}}
  template:
    metadata: {labels: {app: pets}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: process
        command: [sh, -c, 'cd $(mktemp -d); hostname > index.html; exec python3 -m http.server -b $POD_IP 8080']
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""


@pytest.fixture(scope="module", params=["none", "pod"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = tmp_path_factory.mktemp("names") / "data"
    running = Cluster(data, "--listen", "127.0.0.1:0", "--isolation", request.param)
    running.start()
    yield running
    assert running.stop() == 0
    running.end_pods()


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def addresses(kubectl: Kubectl) -> dict[str, str]:
    """Return the addresses of the Pods, by name, and of the Service."""
    kubectl("apply", "-f", "-", stdin=PETS)
    kubectl("rollout", "status", "statefulset/pet", "--timeout=120s")
    pods = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    found = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
    found["shop"] = kubectl("get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}")
    eventually(lambda: len(resolved(kubectl, "pets")) == 2)
    return found


def resolved(kubectl: Kubectl, name: str) -> list[str]:
    """Return the addresses of a name as a Pod sees them, sorted."""
    done = kubectl.run("exec", "pet-0", "--", "getent", "ahostsv4", name)
    return sorted({line.split()[0] for line in done.stdout.splitlines()})


@pytest.mark.parametrize(
    "name", ["shop", "shop.default", "shop.default.svc", "shop.default.svc.cluster.local", "alias"]
)
def test_a_service_is_found_by_each_of_its_names(
    kubectl: Kubectl, addresses: dict[str, str], name: str
) -> None:
    assert resolved(kubectl, name) == [addresses["shop"]]


def test_a_headless_service_leads_to_its_pods_and_each_has_a_name(
    kubectl: Kubectl, addresses: dict[str, str]
) -> None:
    assert resolved(kubectl, "pets") == sorted([addresses["pet-0"], addresses["pet-1"]])
    assert resolved(kubectl, "pet-1.pets") == [addresses["pet-1"]]


def test_what_is_reached_by_its_name_answers(kubectl: Kubectl, addresses: dict[str, str]) -> None:
    fetch = "import urllib.request; print(urllib.request.urlopen('http://{}').read().decode().strip())"
    said = kubectl("exec", "pet-0", "--", "python3", "-c", fetch.format("pet-1.pets:8080"))
    assert said == "pet-1\n"
    assert kubectl("exec", "pet-0", "--", "python3", "-c", fetch.format("shop")) in ("pet-0\n", "pet-1\n")


def test_a_name_that_is_not_there_is_said_not_to_be(kubectl: Kubectl, addresses: dict[str, str]) -> None:
    assert resolved(kubectl, "nobody.default.svc.cluster.local") == []


def test_pods_that_ask_the_host_do_not_find_services(kubectl: Kubectl) -> None:
    script = "getent ahostsv4 kubernetes.default.svc.cluster.local || echo nobody"
    spec = json.dumps({"spec": {"dnsPolicy": "Default"}})
    pod = (
        "run",
        "other",
        "--image=process",
        "--restart=Never",
        f"--overrides={spec}",
        "--attach",
        "--rm",
        "-q",
    )
    assert "nobody" in kubectl(*pod, "--command", "--", "sh", "-c", script)
