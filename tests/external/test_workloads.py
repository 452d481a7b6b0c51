"""StatefulSets, DaemonSets, Jobs and CronJobs with kubectl, as released, on a running cluster."""

import json

import pytest

from tests.external.conftest import Kubectl, eventually

STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "process:v1", command: [sleep, "1000"]}
"""
DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "process:v1", command: [sleep, "1000"]}
"""


@pytest.mark.parametrize(
    ("manifest", "name"),
    [(STATEFUL_SET, "statefulset/db"), (DAEMON_SET, "daemonset/agent")],
    ids=["statefulset", "daemonset"],
)
def test_sets_are_rolled_out_forward_and_back(
    kubectl: Kubectl, namespace: str, manifest: str, name: str
) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    def images() -> set[str]:
        shown = json.loads(k("get", "pods", "-o", "json"))
        return {pod["spec"]["containers"][0]["image"] for pod in shown["items"]}

    k("apply", "-f", "-", stdin=manifest)
    k("rollout", "status", name, "--timeout=120s")
    assert k("get", name, "--no-headers").split()[:2][1] in ("2/2", "2")
    k("set", "image", name, "main=process:v2")
    assert "roll" in k("rollout", "status", name, "--timeout=120s")
    assert images() == {"process:v2"}
    history = k("rollout", "history", name)
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]
    assert "process:v1" in k("rollout", "history", name, "--revision=1")
    assert "rolled back" in k("rollout", "undo", name)
    k("rollout", "status", name, "--timeout=120s")
    assert images() == {"process:v1"}
    k("rollout", "restart", name)
    k("rollout", "status", name, "--timeout=120s")
    shown = k("describe", name)
    assert "SuccessfulCreate" in shown
    assert "Pods Status:" in shown
    k("delete", name, "--timeout=120s")
    eventually(lambda: "No resources found" in kubectl.run("-n", namespace, "get", "pods").stderr)


def test_a_stateful_set_scales_in_order_and_its_pods_know_who_they_are(
    kubectl: Kubectl, namespace: str
) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=STATEFUL_SET)
    kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=120s")
    assert kubectl("-n", namespace, "exec", "db-1", "--", "sh", "-c", "echo $HOSTNAME").strip() == "db-1"
    kubectl("-n", namespace, "scale", "statefulset/db", "--replicas=1")
    kubectl("-n", namespace, "wait", "--for=delete", "pod/db-1", "--timeout=120s")
    assert kubectl("-n", namespace, "get", "pods", "-o", "name").split() == ["pod/db-0"]


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: sums}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: process, command: [sh, -c, "echo number $JOB_COMPLETION_INDEX on $HOSTNAME"]}
"""
CRON_JOB = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  timeZone: Europe/Berlin
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers:
          - {name: main, image: process, command: [sh, -c, "echo done"]}
"""


def test_a_job_is_run_waited_for_and_described(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    k("apply", "-f", "-", stdin=JOB)
    k("wait", "--for=condition=complete", "job/sums", "--timeout=120s")
    shown = k("get", "job", "sums", "--no-headers").split()
    assert shown[:3] == ["sums", "Complete", "3/3"]
    described = k("describe", "job", "sums")
    assert "Completed Indexes:  0-2" in described
    assert "0 Active (0 Ready) / 3 Succeeded / 0 Failed" in described
    assert "Job completed" in described
    logs = k("logs", "-l", "job-name=sums", "--tail=-1").splitlines()
    assert sorted(logs) == [f"number {n} on sums-{n}" for n in range(3)]
    k("delete", "job", "sums", "--timeout=120s")
    eventually(lambda: "No resources found" in kubectl.run("-n", namespace, "get", "pods").stderr)


def test_a_job_that_fails_says_why(kubectl: Kubectl, namespace: str) -> None:
    manifest = JOB.replace("echo number", "exit 7; echo number").replace(
        "completions: 3", "completions: 1\n  backoffLimit: 0"
    )
    kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
    kubectl("-n", namespace, "wait", "--for=condition=failed", "job/sums", "--timeout=120s")
    assert "BackoffLimitExceeded" in kubectl("-n", namespace, "describe", "job", "sums")
    assert kubectl("-n", namespace, "get", "job", "sums", "--no-headers").split()[1] == "Failed"


def test_a_running_job_is_suspended_resumed_and_deleted(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    k("apply", "-f", "-", stdin=JOB.replace('"echo number', '"sleep 1000; echo number'))
    k("wait", "--for=jsonpath={.status.ready}=2", "job/sums", "--timeout=120s")
    k("patch", "job", "sums", "-p", '{"spec":{"suspend":true}}')
    k("wait", "--for=condition=suspended", "job/sums", "--timeout=120s")
    k("wait", "--for=delete", "pod", "-l", "job-name=sums", "--timeout=120s")
    k("patch", "job", "sums", "-p", '{"spec":{"suspend":false}}')
    k("wait", "--for=jsonpath={.status.ready}=2", "job/sums", "--timeout=120s")
    assert "Resumed" in k("describe", "job", "sums")
    k("delete", "job", "sums", "--timeout=120s")
    eventually(lambda: "No resources found" in kubectl.run("-n", namespace, "get", "pods").stderr, within=120)


def test_a_cron_job_is_shown_and_run_by_hand(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    k("apply", "-f", "-", stdin=CRON_JOB)
    shown = k("get", "cronjob", "nightly", "--no-headers")
    assert "0 3 * * *" in shown
    assert "Europe/Berlin" in shown
    k("create", "job", "once", "--from=cronjob/nightly")
    k("wait", "--for=condition=complete", "job/once", "--timeout=120s")
    assert "Concurrency Policy:            Allow" in k("describe", "cronjob", "nightly")
    k("patch", "cronjob", "nightly", "-p", '{"spec":{"schedule":"* * * * *"}}')
    k("delete", "cronjob", "nightly")
    eventually(lambda: "No resources found" in kubectl.run("-n", namespace, "get", "jobs").stderr)


STATEFUL_STORE = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  replicas: 2
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: process
        command: [sh, -c, "echo started >> data/log; sleep 1000"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 10Mi}}
"""


def test_pods_of_a_stateful_set_keep_their_storage(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    def starts(pod: str) -> int:
        return k("exec", pod, "--", "cat", "data/log").count("started")

    assert "standard (default)" in k("get", "storageclass")
    k("apply", "-f", "-", stdin=STATEFUL_STORE)
    k("rollout", "status", "statefulset/store", "--timeout=120s")
    claims = k("get", "pvc", "--no-headers").splitlines()
    assert [line.split()[:2] for line in claims] == [["data-store-0", "Bound"], ["data-store-1", "Bound"]]
    eventually(lambda: starts("store-1") == 1)
    k("delete", "pod", "store-1", "--timeout=120s")
    k("rollout", "status", "statefulset/store", "--timeout=120s")
    eventually(lambda: starts("store-1") == 2)
    assert starts("store-0") == 1
    volume = k("get", "pvc", "data-store-0", "-o", "jsonpath={.spec.volumeName}")
    assert "Used By:       store-0" in k("describe", "pvc", "data-store-0")
    k("delete", "statefulset", "store", "--timeout=120s")
    eventually(
        lambda: (
            "NotFound" in kubectl.run("get", "pv", volume).stderr
            and "No resources" in kubectl.run("-n", namespace, "get", "pvc").stderr
        ),
        within=120,
    )


AUTOSCALED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: process
        command: [sleep, "1000"]
        resources: {requests: {memory: 10Ki}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {name: memory, target: {type: Utilization, averageUtilization: 50}}
"""


def test_a_deployment_is_scaled_by_what_its_pods_use(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    k("apply", "-f", "-", stdin=AUTOSCALED)
    k("wait", "--for=jsonpath={.spec.replicas}=2", "deployment/busy", "--timeout=120s")
    assert "SuccessfulRescale" in k("describe", "hpa", "busy")
    assert "memory: " in k("get", "hpa", "busy", "--no-headers")


def test_a_pod_of_a_job_that_is_deleted_counts_once_it_has_ended(kubectl: Kubectl, namespace: str) -> None:
    def k(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    manifest = JOB.replace('"echo number', '"sleep 1000; echo number').replace(
        "completions: 3", "completions: 3\n  podReplacementPolicy: Failed"
    )
    k("apply", "-f", "-", stdin=manifest)
    k("wait", "--for=jsonpath={.status.ready}=2", "job/sums", "--timeout=120s")
    first = k("get", "pods", "-o", "name").split()[0]
    k("delete", first, "--grace-period=1", "--timeout=120s")
    k("wait", "--for=jsonpath={.status.failed}=1", "job/sums", "--timeout=120s")
    assert k("get", "job", "sums", "-o", "jsonpath={.status.conditions}") == ""
