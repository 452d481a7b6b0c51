"""What admission refuses and drains respect, as people see it with kubectl."""

import sys

import pytest

from tests.external.conftest import Kubectl, eventually

GUARDED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  replicas: 2
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: process, command: [sleep, "1000"]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: guarded}}
"""
LIMITED = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec:
  hard: {pods: "1", requests.cpu: "1"}
---
apiVersion: v1
kind: LimitRange
metadata: {name: usual}
spec:
  limits:
  - type: Container
    defaultRequest: {cpu: 100m}
    max: {cpu: 500m}
    default: {cpu: 200m}
"""


def test_a_drain_waits_for_the_disruption_budget(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=GUARDED)
    kubectl("-n", namespace, "rollout", "status", "deployment/guarded", "--timeout=120s")

    def allowed() -> str:
        return kubectl("-n", namespace, "get", "pdb", "guard", "-o", "jsonpath={.status.currentHealthy}")

    eventually(lambda: allowed() == "2")
    where = kubectl("-n", namespace, "get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    drain = ("drain", where, "--pod-selector=app=guarded", "--ignore-daemonsets")
    try:
        refused = kubectl.fails(*drain, "--timeout=2s")
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
        names = kubectl("-n", namespace, "get", "pods", "-o", "name").split()
        assert len(names) == 2
        kubectl("-n", namespace, "patch", "pdb", "guard", "-p", '{"spec":{"minAvailable":1}}')
        drained = kubectl(*drain, "--timeout=120s")
        assert f"node/{where} drained" in drained
        assert where not in kubectl(
            "-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"
        )
    finally:
        kubectl("uncordon", where)


def test_quotas_and_limits_are_shown_and_hold(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=LIMITED)
    eventually(lambda: "pods: 0/1" in kubectl("-n", namespace, "get", "quota", "small"))
    kubectl("-n", namespace, "run", "one", "--image=process", "--", "sleep", "100")
    shown = kubectl("-n", namespace, "get", "quota", "small")
    assert "pods: 1/1, requests.cpu: 100m/1" in shown
    refused = kubectl.fails("-n", namespace, "run", "two", "--image=process", "--", "sleep", "100")
    assert refused.strip() == (
        'Error from server (Forbidden): pods "two" is forbidden: exceeded quota: small, requested: pods=1,'
        " used: pods=1, limited: pods=1"
    )
    kubectl("-n", namespace, "delete", "pod", "one", "--grace-period=0", "--force")
    eventually(lambda: "pods: 0/1" in kubectl("-n", namespace, "get", "quota", "small"))


@pytest.mark.parametrize("name", ["system-node-critical", "system-cluster-critical"])
def test_the_priority_classes_of_the_system_are_there(kubectl: Kubectl, name: str) -> None:
    assert name in kubectl("get", "priorityclasses")


def test_a_pod_talks_to_the_api_as_its_account(kubectl: Kubectl, namespace: str) -> None:
    script = (
        "import json, os, ssl, urllib.request as u\n"
        "home = os.environ['KUBELIB_ROOT'] + '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "token = open(home + 'token').read()\n"
        "server = 'https://' + os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT']\n"
        "path = '/apis/authentication.k8s.io/v1/selfsubjectreviews'\n"
        'body = b\'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}\'\n'
        "headers = {'authorization': 'Bearer ' + token, 'content-type': 'application/json'}\n"
        "context = ssl.create_default_context(cafile=home + 'ca.crt')\n"
        "answer = u.urlopen(u.Request(server + path, body, headers), context=context)\n"
        "print(json.load(answer)['status']['userInfo']['username'], open(home + 'namespace').read())\n"
    )
    kubectl(
        "-n", namespace, "run", "asks", "--image=process", "--restart=Never", "--command", "--",
        sys.executable, "-c", script,
    )  # fmt: skip
    kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asks", "--timeout=120s")
    told = kubectl("-n", namespace, "logs", "asks").split()
    assert told == [f"system:serviceaccount:{namespace}:default", namespace]
