"""Gang scheduling with kubectl, as released, on a running cluster: the Pods of a Job run together or not at all."""

import json
from typing import Any

from tests.external.conftest import Kubectl, eventually

GROUP = """
apiVersion: scheduling.k8s.io/v1beta1
kind: PodGroup
metadata: {name: train}
spec: {schedulingPolicy: {gang: {minCount: 3}}}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  parallelism: 2
  completions: 3
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      schedulingGroup: {podGroupName: train}
      containers: [{name: main, image: process, command: [sleep, "1000"]}]
"""


def test_the_pods_of_a_job_are_bound_together(kubectl: Kubectl, namespace: str) -> None:
    def items(kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(kubectl("get", kind, "-n", namespace, "-o", "json"))["items"]
        return found

    def nodes() -> list[str]:
        return [str(pod["spec"].get("nodeName", "")) for pod in items("pods")]

    def says(status: str, text: str) -> bool:
        (group,) = items("podgroups")
        conditions = group.get("status", {}).get("conditions", [])
        return [(c["type"], c["status"]) for c in conditions if text in c["message"]] == [
            ("PodGroupInitiallyScheduled", status)
        ]

    kubectl("apply", "-n", namespace, "-f", "-", stdin=GROUP + "---" + JOB)
    eventually(lambda: says("False", "2 of 3"))
    assert nodes() == ["", ""]
    kubectl("patch", "job", "train", "-n", namespace, "-p", '{"spec":{"parallelism":3}}')
    eventually(lambda: says("True", ""))
    eventually(lambda: all(nodes()) and len(nodes()) == 3)
    kubectl("delete", "job", "train", "-n", namespace)
