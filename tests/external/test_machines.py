"""A cluster on two machines: each is a network namespace, and a wire connects them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.external.conftest import Kubectl, eventually, real_binary
from tests.external.processes import Daemon, kubelib
from tests.ownnetwork import Machine, wired

SERVICES, NAMES = "10.96.0.0/16", "10.96.0.10"
ADDRESSES = {"node-1": "192.0.2.1", "node-2": "192.0.2.2"}
WEB = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: process
        command: [sh, -c, 'mkdir -p www; echo $NODE > www/index.html; exec python3 -m http.server -d www 8080']
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: inside}
spec: {internalTrafficPolicy: Local, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
NEAR = """
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {trafficDistribution: PreferSameZone, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Machine]]:
    with wired(ADDRESSES) as found:
        yield found


@pytest.fixture(scope="module", params=["userspace", "nftables"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(
    machines: dict[str, Machine], mode: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The API server, the scheduler and the controllers on the first machine, a node and a proxy on both."""
    directory = tmp_path_factory.mktemp("machines")
    master = directory / "master"
    running: list[Daemon] = []

    def start(node: str, name: str, *arguments: str) -> None:
        with machines[node].entered():
            running.append(Daemon(directory, name, *arguments).start())

    before = {node: left_on(machine) for node, machine in machines.items()}
    try:
        listen = f"{ADDRESSES['node-1']}:6443"
        start(
            "node-1", "apiserver", "apiserver", "--data-dir", str(master), "--listen", listen, "--service-network", SERVICES
        )  # fmt: skip
        for kind in ("scheduler", "controller-manager"):
            start("node-1", kind, kind, "--kubeconfig", str(master / f"{kind}.kubeconfig"))
        for node, address in ADDRESSES.items():
            out = directory / node
            kubelib(
                "credentials", "node", node, "--data-dir", str(master), "--out", str(out), "--address", address
            )  # fmt: skip
            start(
                node, f"kubelet-{node}", "kubelet", node, "--kubeconfig", str(out / "kubeconfig"), "--data-dir", str(out / "data"),
                "--address", address, "--isolation", "pod", "--cluster-dns", NAMES,
            )  # fmt: skip
            start(
                node, f"proxy-{node}", "proxy", "--kubeconfig", str(master / "proxy.kubeconfig"), "--address", address,
                "--service-network", SERVICES, "--cluster-dns", NAMES, "--proxy-mode", mode, "--pod-routes",
            )  # fmt: skip
        yield directory
    finally:
        for daemon in reversed(running):
            assert daemon.end() == 0, daemon.log.read_text()
            assert "Traceback" not in daemon.log.read_text()
    for node, machine in machines.items():
        with machine.entered():
            kubelib("down", "--data-dir", str(directory / node / "data"), "--grace", "0")
    assert {node: left_on(machine) for node, machine in machines.items()} == before


def left_on(machine: Machine) -> tuple[str, str]:
    """Return the routes of a machine, and the tables of nftables that are a cluster's."""
    tables = machine.run("nft", "list", "tables").splitlines()
    return machine.run("ip", "route"), "\n".join(line for line in tables if "kubelib" in line)


@pytest.fixture(scope="module")
def kubectl(
    cluster: Path, machines: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    with machines["node-1"].entered():
        config = cluster / "master" / "admin.kubeconfig"
        yield Kubectl(real_binary("kubectl"), config, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def pods(kubectl: Kubectl) -> dict[str, tuple[str, str]]:
    """Return the name and the address of the Pod of each node."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "daemonset/web", "--timeout=120s")
    found = json.loads(kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {p["spec"]["nodeName"]: (p["metadata"]["name"], p["status"]["podIP"]) for p in found}


def fetch(kubectl: Kubectl, pod: str, url: str) -> str:
    """Return what a Pod gets there; nothing if it gets no answer."""
    script = (
        "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode().strip())"
    )
    return kubectl.run("exec", pod, "--", "python3", "-c", script, url).stdout.strip()


def test_pods_reach_those_of_the_other_machine_and_are_seen_as_who_they_are(
    kubectl: Kubectl, pods: dict[str, tuple[str, str]]
) -> None:
    assert set(pods) == {"node-1", "node-2"}
    (first, address), (second, other) = pods["node-1"], pods["node-2"]
    assert eventually(lambda: fetch(kubectl, first, f"http://{other}:8080/")) == "node-2"
    assert fetch(kubectl, second, f"http://{address}:8080/") == "node-1"
    assert f"{address} - -" in kubectl("logs", second)


def test_services_lead_to_both_machines_by_name_from_both(
    kubectl: Kubectl, pods: dict[str, tuple[str, str]]
) -> None:
    for pod, _ in pods.values():
        eventually(lambda pod=pod: {fetch(kubectl, pod, "http://web/") for _ in range(8)} == set(ADDRESSES))


def test_the_nodes_port_leads_to_both_machines_from_each(
    kubectl: Kubectl, machines: dict[str, Machine], pods: dict[str, tuple[str, str]]
) -> None:
    port = kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    for node, machine in machines.items():
        for address in ADDRESSES.values():
            fetched = {
                machine.run("curl", "-s", "-m", "10", f"http://{address}:{port}/").strip() for _ in range(12)
            }
            assert fetched == set(ADDRESSES), (node, address)


def test_who_comes_from_another_machine_stays_on_the_one_it_has_asked_where_the_policy_is_local(
    kubectl: Kubectl, machines: dict[str, Machine], pods: dict[str, tuple[str, str]], mode: str
) -> None:
    port = kubectl("get", "service", "outside", "-o", "jsonpath={.spec.ports[0].nodePort}")

    for node, other in (("node-1", "node-2"), ("node-2", "node-1")):
        log = kubectl("logs", pods[node][0])
        ask = ("curl", "-s", "-m", "10", f"http://{ADDRESSES[node]}:{port}/")
        assert {machines[other].run(*ask).strip() for _ in range(12)} == {node}
        assert {machines[node].run(*ask).strip() for _ in range(12)} == set(ADDRESSES)
        if mode == "nftables":  # who asks is seen
            new = kubectl("logs", pods[node][0]).removeprefix(log)
            assert new.count(f"{ADDRESSES[other]} - -") == 12


def test_who_asks_from_inside_stays_on_its_machine_where_the_policy_is_local(
    kubectl: Kubectl, pods: dict[str, tuple[str, str]]
) -> None:
    for node, (pod, _) in pods.items():
        assert {fetch(kubectl, pod, "http://inside/") for _ in range(8)} == {node}


def test_endpoints_of_the_zone_are_preferred_for_as_long_as_the_node_is_in_one(
    kubectl: Kubectl, pods: dict[str, tuple[str, str]]
) -> None:
    def fetched(node: str) -> set[str]:
        return {fetch(kubectl, pods[node][0], "http://near/") for _ in range(8)}

    zone = "topology.kubernetes.io/zone"
    for node in ADDRESSES:
        kubectl("label", "--overwrite", "node", node, f"{zone}=of-{node}")
    kubectl("apply", "-f", "-", stdin=NEAR)
    for node in ADDRESSES:
        eventually(lambda node=node: fetched(node) == {node})
    kubectl("label", "node", "node-1", f"{zone}-")
    eventually(lambda: fetched("node-1") == set(ADDRESSES))


def test_logs_and_commands_reach_the_pods_of_both(kubectl: Kubectl, pods: dict[str, tuple[str, str]]) -> None:
    for node, (pod, _) in pods.items():
        assert kubectl("exec", pod, "--", "sh", "-c", "echo $NODE").strip() == node
