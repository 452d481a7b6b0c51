"""Priority and preemption with kubectl, as released, on a running cluster."""

import json
from collections.abc import Iterator

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

CLASSES = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: low}
value: 100
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 100000
"""


def pod(name: str, priority: str, cpu: int) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  priorityClassName: {priority}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: "process:v1"
    command: [sleep, "1000"]
    resources: {{requests: {{cpu: {cpu}m}}}}
"""


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    options = ("--listen", "127.0.0.1:0", "--nodes", "1", "--runtime", "fake")
    running = Cluster(tmp_path_factory.mktemp("priorities") / "data", *options)
    running.start()
    yield Kubectl(real_binary("kubectl"), running.kubeconfig, tmp_path_factory.mktemp("kubectl"))
    assert running.stop() == 0


def test_a_pod_of_a_high_class_takes_the_place_of_one_of_a_low_class(kubectl: Kubectl) -> None:
    offered = kubectl("get", "node", "node-1", "-o", "jsonpath={.status.allocatable.cpu}")
    whole = int(offered[:-1]) if offered.endswith("m") else int(offered) * 1000
    cpus = {"small": whole * 7 // 10, "peer": whole // 5, "large": whole * 6 // 10}
    kubectl("apply", "-f", "-", stdin=CLASSES)
    kubectl(
        "apply",
        "-f",
        "-",
        stdin=pod("small", "low", cpus["small"]) + "---" + pod("peer", "high", cpus["peer"]),
    )
    kubectl("wait", "--for=condition=Ready", "pod/small", "pod/peer", "--timeout=120s")
    kubectl("apply", "-f", "-", stdin=pod("large", "high", cpus["large"]))
    kubectl("wait", "--for=condition=Ready", "pod/large", "--timeout=120s")
    left = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    assert {p["metadata"]["name"] for p in left} == {"peer", "large"}
    large = next(p for p in left if p["metadata"]["name"] == "large")

    def told() -> bool:
        shown = json.loads(kubectl("get", "events", "--field-selector=reason=Preempted", "-o", "json"))
        said = f"Preempted by pod {large['metadata']['uid']} on node node-1"
        return [(e["involvedObject"]["name"], e["message"]) for e in shown["items"]] == [("small", said)]

    eventually(told)
    assert "FailedScheduling" in kubectl("describe", "pod", "large")
