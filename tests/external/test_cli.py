"""Our own client commands beside real kubectl on the same cluster."""

import base64
import os
import pty
import re
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

RC = """
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: process, command: [sh, -c, "echo hello; sleep 1000"]}
"""


def kubelib(cluster: Cluster, *arguments: str, stdin: str = "", code: int = 0) -> str:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def without_ages(text: str) -> list[list[str]]:
    return [
        [cell for cell in line.split() if not cell[0].isdigit() or cell[-1] not in "smh"]
        for line in text.splitlines()
    ]


def test_get_prints_what_kubectl_prints(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubelib(cluster, "apply", "-n", namespace, "-f", "-", stdin=RC)
    eventually(
        lambda: kubectl("-n", namespace, "get", "rc", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    )
    for options in (
        ["pods"],
        ["pods", "-o", "wide"],
        ["rc", "-o", "wide"],
        ["ns"],
        ["pods", "-l", "app=web", "--no-headers"],
    ):
        ours = kubelib(cluster, "get", "-n", namespace, *options)
        assert without_ages(ours) == without_ages(kubectl("-n", namespace, "get", *options))


def test_scale_wait_logs_and_delete_work(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubelib(cluster, "apply", "-n", namespace, "-f", "-", stdin=RC)
    kubelib(cluster, "scale", "-n", namespace, "rc/web", "--replicas", "1")
    eventually(lambda: len(kubelib(cluster, "get", "-n", namespace, "pods", "-o", "name").split()) == 1)
    (pod,) = kubelib(cluster, "get", "-n", namespace, "pods", "-o", "name").split()
    kubelib(cluster, "wait", "-n", namespace, pod, "--for", "condition=Ready")
    assert eventually(lambda: kubelib(cluster, "logs", "-n", namespace, pod) == "hello\n")
    kubelib(cluster, "delete", "-n", namespace, "rc/web")
    assert "web" not in kubelib(cluster, "get", "-n", namespace, "rc", "-o", "name")


def test_errors_are_one_sentence_and_an_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    assert "doesn't have a resource type" in kubelib(cluster, "get", "nonsense", code=2)
    assert 'Error from server (NotFound): configmaps "missing" not found' in kubelib(
        cluster, "get", "cm", "missing", code=1
    )
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", "--kubeconfig", str(tmp_path / "none"), "get", "pods"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no kubeconfig" in done.stderr


def test_the_cluster_is_named_before_the_command_or_after_it(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "reference_cluster", "get", "ns", "default", "-o", "name"]
    for options in (["--kubeconfig", str(cluster.kubeconfig)], [f"--kubeconfig={cluster.kubeconfig}"]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout == "namespace/default\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "cannot read the kubeconfig"),
        (b"\xff\xfe\x00", "cannot read the kubeconfig"),
        (b"- a\n", "is not a kubeconfig"),
    ],
)
def test_a_kubeconfig_that_is_none_is_said_in_a_sentence(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", "get", "pods", "--kubeconfig", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert message in line
    assert str(file) in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "nope"], "no policy 'nope'; there are: default"),
        (["--runtime", "nope"], "there is no runtime 'nope': choose one of docker, fake, podman, process"),
        (["--store", "nope://x"], "'nope://x' is not the URL of a store"),
        (["--listen", "nope"], "'nope' is not HOST:PORT"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_in_a_sentence(
    tmp_path: Path, options: list[str], message: str
) -> None:
    command = [sys.executable, "-m", "reference_cluster", "up", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--listen", "127.0.0.1:0", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize("content", [b"\0" * 8192, b"SQLite format 3\0" + b"x" * 8192])
def test_a_damaged_store_is_refused_in_a_sentence_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "kubelib.json").write_text('{"format": 1}')
    (data / "store.sqlite").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", "up", "--data-dir", str(data), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "restore it from a backup" in line
    assert (data / "store.sqlite").read_bytes() == content


def test_a_port_in_use_and_a_directory_of_somebody_else_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    address = kubelib(cluster, "get", "ns", "default", "-o", "name") and cluster.kubeconfig.read_text()
    port = address.partition("server: https://127.0.0.1:")[2].split()[0]
    taken = kubelib(cluster, "up", "--data-dir", str(tmp_path / "a"), "--listen", f"127.0.0.1:{port}", code=1)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in taken
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("not ours")
    assert "is not a kubelib data directory" in kubelib(cluster, "up", "--data-dir", str(theirs), code=1)
    assert "is in use by process" in kubelib(cluster, "up", "--data-dir", str(cluster.directory), code=1)


DESCRIBED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, annotations: {note: hello}}
data: {greeting: "hello\\nthere"}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {user: jane}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 1
  selector: {app: web}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{key: a, operator: Exists}, {key: b, value: c, effect: NoSchedule}]
      volumes:
      - {name: settings, configMap: {name: settings}}
      - {name: secret, secret: {secretName: secret}}
      - {name: scratch, emptyDir: {}}
      - {name: both, projected: {sources: [{configMap: {name: settings}}, {secret: {name: secret}}]}}
      initContainers:
      - {name: first, image: process, command: ["true"]}
      containers:
      - name: main
        image: process
        command: [sh, -c, "sleep 1000"]
        ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]
        env:
        - {name: PLAIN, value: x}
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: KEY, valueFrom: {secretKeyRef: {name: secret, key: user}}}
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        envFrom: [{configMapRef: {name: settings}, prefix: S_}]
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: "1"}}
        readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
        livenessProbe: {httpGet: {path: /x, port: http}, initialDelaySeconds: 900}
        volumeMounts: [{name: settings, mountPath: /settings, readOnly: true}, {name: scratch, mountPath: /tmp/x, subPath: sub}]
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec: {containers: [{name: c, image: process, command: [sh, -c, exit 3]}], terminationGracePeriodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere}
spec: {nodeSelector: {there: isnone}, containers: [{name: c, image: process}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: none}, ports: [{port: 80}], sessionAffinity: ClientIP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: dep}
spec:
  replicas: 2
  selector: {matchLabels: {app: dep}}
  template:
    metadata: {labels: {app: dep}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: process, command: [sleep, "1000"]}]}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, max: {cpu: "2"}, defaultRequest: {cpu: 5m}}]}
"""


def without_durations(text: str) -> list[str]:
    """Return lines with ages and the spaces around them taken out: both programs look at the clock themselves."""
    age = re.compile(r"\b(\d+[smhd])+\b( \(x\d+ over (\d+[smhd])+\))?|(?<=RenewTime:).*")
    return [re.sub(r" +", " ", age.sub("AGE", line)) for line in text.splitlines()]


def test_describe_prints_what_kubectl_prints(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=DESCRIBED)
    kubectl("-n", namespace, "rollout", "status", "deployment/dep", "--timeout=120s")
    kubectl(
        "-n", namespace, "wait", "--for=condition=Ready", "pods", "-l", "app in (web, dep)", "--timeout=120s"
    )
    eventually(lambda: "BackOff" in kubectl("-n", namespace, "get", "events"))
    for options in (
        ["pods", "-l", "app=web"], ["pod", "crash"], ["pod", "nowhere"], ["pods"], ["rc", "web"], ["rs"], ["deployment", "dep"],
        ["service", "web"], ["svc/headless"], ["endpoints", "web"], ["endpoints", "headless"], ["endpointslices"],
        ["configmap", "settings"], ["secret", "secret"], ["sa", "default"], ["limits", "limits"], ["ns", namespace],
        ["node", "node-1"], ["events"], ["lease", "node-1", "-n", "kube-node-lease"], ["clusterrole", "view"],
        ["clusterrole", "cluster-admin"], ["role", "-n", "kube-system"], ["clusterrolebinding", "cluster-admin"],
    ):  # fmt: skip

        def same(options: list[str] = options) -> bool:
            where = [] if "-n" in options else ["-n", namespace]
            theirs = kubectl("describe", *where, *options)
            ours = kubelib(cluster, "describe", *where, *options)
            assert without_durations(ours) == without_durations(theirs), options
            return True

        eventually(same, within=120)  # a Pod that crashes may do so between the two looks


def test_exec_carries_streams_and_the_exit_code(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubelib(cluster, "apply", "-n", namespace, "-f", "-", stdin=RC)
    kubectl("-n", namespace, "wait", "--for=jsonpath={.status.readyReplicas}=2", "rc/web", "--timeout=120s")
    pod = kubectl("-n", namespace, "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    in_pod = ["exec", "-n", namespace, pod]
    assert kubelib(cluster, *in_pod, "--", "sh", "-c", "echo out") == "out\n"
    assert kubelib(cluster, *in_pod, "-i", "--", "cat", stdin="to the pod") == "to the pod"
    refused = kubelib(cluster, *in_pod, "--", "sh", "-c", "echo wrong >&2; exit 4", code=4)
    assert refused == "wrong\ncommand terminated with exit code 4\n"
    assert "not found" in kubelib(cluster, "exec", "-n", namespace, "no-such-pod", "--", "ls", code=1)


def test_exec_gives_a_terminal(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "run", "shell", "--image=process", "--command", "--", "sleep", "1000")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/shell", "--timeout=120s")
    command = [sys.executable, "-m", "reference_cluster", "exec", "-it", "-n", namespace, "shell", "--", "sh"]
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 100))
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PS1": "$ "}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    seen = b""

    def says_its_size() -> bool:
        # Its size reaches the terminal when the command runs already, which may be quicker than that.
        nonlocal seen
        os.write(master, b"stty size\r")
        while select.select([master], [], [], 1)[0]:
            seen += os.read(master, 4096)
        assert b"40 100" in seen, seen[-300:]
        return True

    with process:
        try:
            eventually(says_its_size)
            os.write(master, b"exit 5\r")
            assert process.wait(120) == 5
        finally:
            process.kill()
            os.close(master)


def test_label_does_what_kubectl_does(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "configmap", "a")
    kubectl("-n", namespace, "create", "configmap", "b")

    def label(*arguments: str, code: int = 0) -> str:
        return kubelib(cluster, "label", "-n", namespace, *arguments, code=code)

    assert label("cm", "a", "tier=front", "new=1") == "configmap/a labeled\n"
    assert label("cm/a", "tier=front") == "configmap/a not labeled\n"
    refused = label("cm", "a", "tier=back", code=1)
    assert refused == "error: 'tier' already has a value (front), and --overwrite is false\n"
    assert label("cm", "a", "tier=back", "--overwrite") == "configmap/a labeled\n"
    assert label("cm", "a", "new-") == "configmap/a unlabeled\n"
    assert label("cm", "b", "x=y", "--dry-run=server") == "configmap/b labeled (server dry run)\n"
    assert kubectl("-n", namespace, "get", "cm", "b", "-o", "jsonpath={.metadata.labels}") == ""
    assert (
        label("cm", "-l", "tier=back", "seen=yes", "--list") == "configmap/a labeled\nseen=yes\ntier=back\n"
    )
    assert "must be specified as" in label("cm", "x=y", code=2)
    assert "invalid label value" in label("cm", "a", "x=_", code=2)
    assert "the object has been modified" in label("cm", "a", "x=y", "--resource-version=1", code=1)


def test_secrets_are_encrypted_in_the_store_where_a_key_is_given(tmp_path: Path) -> None:
    config = tmp_path / "encryption.yaml"
    config.write_text(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
        "- resources: [secrets]\n  providers:\n  - aesgcm: {keys: [{name: k1, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n  - identity: {}\n"
    )
    data = tmp_path / "data"
    options = ("--listen", "127.0.0.1:0", "--runtime", "fake", "--encryption-provider-config", str(config))
    for _ in range(2):
        cluster = Cluster(data, *options)
        cluster.start()
        try:
            kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "cache")
            kubectl.run("create", "secret", "generic", "s", "--from-literal=password=correct-horse")
            shown = kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}")
            assert base64.b64decode(shown) == b"correct-horse"
        finally:
            assert cluster.stop() == 0
    stored = b"".join(path.read_bytes() for path in data.glob("store.sqlite*"))
    assert b"kubelib:enc:aesgcm:v1:k1:" in stored
    assert base64.b64encode(b"correct-horse") not in stored
