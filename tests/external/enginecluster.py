"""A cluster whose Pods are containers of a real engine, and real kubectl at them: what holds on every engine."""

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers import BUSYBOX, Docker, Podman, mounts_below
from tests.engines import free_ports
from tests.external.conftest import Cluster, Kubectl, eventually, nothing_is_left, real_binary
from tests.external.grouped import volumes_belong_to_the_group
from tests.external.wholepod import a_whole_pod_lives_and_ends

WEB = f"""
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 1
  hostname: front
  hostAliases: [{{ip: 192.0.2.7, hostnames: [foo.example, foo]}}]
  dnsPolicy: None
  dnsConfig: {{nameservers: [192.0.2.53], searches: [a.example], options: [{{name: ndots, value: "3"}}]}}
  shareProcessNamespace: true
  volumes: [{{name: shared, emptyDir: {{}}}}, {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}]
  containers:
  - name: server
    image: {BUSYBOX}
    command: [sh, -c]
    args: ['echo hello > /srv/index.html; echo serving >&2; exec httpd -f -p 127.0.0.1:8080 -h /srv']
    volumeMounts: [{{name: shared, mountPath: /srv}}, {{name: memory, mountPath: /memory}}]
    readinessProbe: {{exec: {{command: [wget, -q, -O-, "http://127.0.0.1:8080/"]}}, periodSeconds: 1}}
    resources: {{limits: {{cpu: 500m, memory: 64Mi}}}}
  - name: shell
    image: {BUSYBOX}
    command: [sh, -c, 'n=0; while read -r line; do n=$((n+1)); echo "$n: $line"; done']
    stdin: true
    volumeMounts: [{{name: shared, mountPath: /data, readOnly: true}}]
    securityContext: {{runAsUser: 1000, runAsGroup: 2000, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: plain}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: sleeper, image: {BUSYBOX}, command: [sleep, "100000"]}}]
"""

TROUBLE = f"""
apiVersion: v1
kind: Pod
metadata: {{name: trouble}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: absent, image: "127.0.0.1:1/absent:1"}}
  - {{name: never, image: "127.0.0.1:1/absent:1", imagePullPolicy: Never}}
  - {{name: misnamed, image: "Not A Name"}}
  - {{name: command, image: "{BUSYBOX}", command: [/no/such/program]}}
  - {{name: root, image: "{BUSYBOX}", securityContext: {{runAsNonRoot: true}}}}
  - {{name: unset, image: "{BUSYBOX}", env: [{{name: A, valueFrom: {{configMapKeyRef: {{name: none, key: a}}}}}}]}}
  - name: hungry
    image: {BUSYBOX}
    command: [sh, -c, 'x=$(head -c 200000000 /dev/zero | tr "\\\\0" x)']
    resources: {{limits: {{memory: 20Mi}}}}
  - {{name: last, image: "{BUSYBOX}", command: [sh, -c, 'echo said; echo why > /dev/termination-log; exit 3']}}
  - name: talker
    image: {BUSYBOX}
    command: [sh, -c, 'echo only in the log; exit 4']
    terminationMessagePolicy: FallbackToLogsOnError
"""


def on_a_terminal(kubectl: Kubectl, *arguments: str, typed: str, until: str, rows: int, columns: int) -> str:
    """Run kubectl on a terminal, type something once it has written something, and return what it shows."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [kubectl.binary, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=kubectl.environment,
        start_new_session=True,
    )
    os.close(terminal)
    seen, deadline = b"", time.monotonic() + 120
    try:
        while until.encode() not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(controller, 65536)
        os.write(controller, typed.encode())
        while True:
            try:
                data = os.read(controller, 65536)
            except OSError:  # the terminal has been left
                break
            seen += data
        assert process.wait(120) == 0, seen
    finally:
        process.kill()
        process.wait()
        os.close(controller)
    return seen.decode(errors="replace")


def note_in_memory(kubectl: Kubectl) -> str:
    """Leave a note in the volume in memory that the Pod web has, if there is none; return what it says."""
    note = "[ -e /memory/note ] || cat /proc/sys/kernel/random/uuid > /memory/note; grep ' /memory ' /proc/mounts; cat /memory/note"
    mounted, said = kubectl("exec", "web", "-c", "server", "--", "sh", "-c", note).splitlines()
    assert mounted.split()[2] == "tmpfs"
    return said


def restarts(kubectl: Kubectl, pod: str) -> list[int]:
    """Return how often each container was started again; nothing as long as the Pod is not ready."""
    status = json.loads(kubectl("get", "pod", pod, "-o", "json"))["status"]
    statuses = status["containerStatuses"]
    return [s["restartCount"] for s in statuses] if all(s["ready"] for s in statuses) else []


class EngineClusterSuite:
    """What a cluster promises whose Pods are on an engine: heirs give the engine, and say what is its own."""

    kind: str
    variable: str
    """The variable of the environment that says where the engine is."""
    addresses: str
    """How the addresses of Pods begin."""
    version: str
    """How a node says what runs its containers."""
    absent: str
    """What is said when the engine at URL is not there."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Docker | Podman:
        raise NotImplementedError

    def end_sandbox(self, engine: Any, name: str) -> None:
        """Kill the process that holds a sandbox."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls, tmp_path_factory: pytest.TempPathFactory, engine: Docker | Podman) -> Iterator[Cluster]:
        data = tmp_path_factory.mktemp(cls.kind) / "data"
        options = ("--listen", "127.0.0.1:0", "--runtime", cls.kind)
        running = Cluster(data, *options, **{cls.variable: engine.url})
        running.start()
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.log.read_text()

    @pytest.fixture(scope="class")
    @classmethod
    def kubectl(cls, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
        return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))

    @pytest.fixture(scope="class")
    @classmethod
    def web(cls, kubectl: Kubectl, engine: Docker | Podman, cluster: Cluster) -> Iterator[str]:
        kubectl("apply", "-f", "-", stdin=WEB)
        kubectl("wait", "--for=condition=Ready", "pod/web", "pod/plain", "--timeout=120s")
        yield "web"
        kubectl("delete", "pod", "web", "plain", "--timeout=120s")
        nothing_is_left(engine, kubectl, cluster)

    def test_a_pod_has_an_address_of_the_engine_and_says_what_runs_it(
        self, kubectl: Kubectl, web: str
    ) -> None:
        pod = json.loads(kubectl("get", "pod", web, "-o", "json"))
        assert pod["status"]["podIP"].startswith(self.addresses)
        server = pod["status"]["containerStatuses"][0]
        assert server["containerID"].startswith(f"{self.kind}://")
        assert server["imageID"].startswith(f"{self.kind}://sha256:")
        assert self.version in kubectl("get", "nodes", "-o", "wide")

    def test_describe_tells_of_the_containers_and_their_start(self, kubectl: Kubectl, web: str) -> None:
        page = kubectl("describe", "pod", web)
        for words in (f"Container ID:  {self.kind}://", BUSYBOX, "Container started: server", "Started"):
            assert words in page

    def test_names_are_resolved_as_the_pod_says(self, kubectl: Kubectl, web: str) -> None:
        told = kubectl(
            "exec", web, "-c", "shell", "--", "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"
        )
        assert "192.0.2.7\tfoo.example\tfoo\n" in told
        assert "search a.example\n" in told
        assert "nameserver 192.0.2.53\n" in told
        assert "options ndots:3\n" in told
        assert told.split()[-1] == "front"

    def test_names_of_services_lead_to_their_addresses(self, kubectl: Kubectl, web: str) -> None:
        asked = ("exec", "plain", "--", "nslookup", "kubernetes.default.svc.cluster.local")
        address = kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        assert f"Address: {address}\n" in kubectl(*asked)
        server = kubectl(
            "get", "service", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}"
        )
        assert kubectl("exec", "plain", "--", "cat", "/etc/resolv.conf").splitlines()[:2] == [
            "search default.svc.cluster.local svc.cluster.local cluster.local",
            f"nameserver {server}",
        ]

    def test_containers_share_what_the_pod_says_and_have_the_rights_that_they_say(
        self, kubectl: Kubectl, web: str
    ) -> None:
        shell = ("exec", web, "-c", "shell", "--")
        assert kubectl(*shell, "cat", "/data/index.html") == "hello\n"
        assert "httpd" in kubectl(*shell, "ps")
        assert kubectl(*shell, "id").startswith("uid=1000 gid=2000")
        assert "Read-only file system" in kubectl.fails(*shell, "touch", "/data/file")
        assert "Read-only file system" in kubectl.fails(*shell, "touch", "/tmp/file")
        effective = kubectl(*shell, "grep", "CapBnd", "/proc/self/status").split()[1]
        assert int(effective, 16) == 0

    def test_exec_returns_the_exit_code_and_names_what_is_not_there(self, kubectl: Kubectl, web: str) -> None:
        assert kubectl.run("exec", web, "-c", "server", "--", "sh", "-c", "exit 7").returncode == 7
        assert kubectl("exec", "-i", web, "-c", "server", "--", "wc", "-c", stdin="x" * 100_000) == "100000\n"
        assert '"/no/such": stat /no/such: no such file' in kubectl.fails("exec", web, "--", "/no/such")

    def test_exec_on_a_terminal_has_its_size(self, kubectl: Kubectl, web: str) -> None:
        command = "echo ready; read -r line; echo you said $line; stty size"
        shown = on_a_terminal(
            kubectl,
            *("exec", "-it", web, "-c", "server", "--", "sh", "-c", command),
            typed="well\n",
            until="ready",
            rows=33,
            columns=111,
        )
        assert "you said well" in shown
        assert "33 111" in shown

    def test_attach_reaches_the_input_and_the_log_has_what_was_answered(
        self, kubectl: Kubectl, web: str
    ) -> None:
        with subprocess.Popen(
            [kubectl.binary, "attach", "-i", web, "-c", "shell"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kubectl.environment,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"first\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"1: first\n"
            process.kill()
        eventually(lambda: kubectl("logs", web, "-c", "shell") == "1: first\n")

    def test_logs_have_times_and_are_followed(self, kubectl: Kubectl, web: str) -> None:
        [line] = kubectl("logs", web, "-c", "server", "--timestamps").splitlines()
        when, text = line.split(" ", 1)
        assert when.endswith("Z")
        assert text == "serving"
        follower = kubectl.popen("logs", "-f", web, "-c", "shell", "--tail=1")
        try:
            assert follower.stdout is not None
            kubectl("attach", "-i", web, "-c", "shell", stdin="more\n")
            deadline = time.monotonic() + 120
            while "more" not in follower.stdout.readline():
                assert time.monotonic() < deadline
        finally:
            follower.kill()
            follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()

    def test_files_are_copied_both_ways(self, kubectl: Kubectl, web: str, tmp_path: Path) -> None:
        here, back = tmp_path / "here", tmp_path / "back"
        here.write_bytes(os.urandom(300_000))
        kubectl("cp", str(here), f"{web}:/tmp/there", "-c", "server")
        kubectl("cp", f"{web}:/tmp/there", str(back), "-c", "server")
        assert back.read_bytes() == here.read_bytes()

    def test_a_port_that_only_the_pod_can_reach_is_forwarded(self, kubectl: Kubectl, web: str) -> None:
        [port] = free_ports(1)
        forward = kubectl.popen("port-forward", f"pod/{web}", f"{port}:8080")
        try:

            def fetched() -> bool:
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as connection:
                        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        answer = b""
                        while part := connection.recv(4096):
                            answer += part
                except OSError:
                    return False
                return answer.endswith(b"\r\n\r\nhello\n")

            eventually(fetched)
        finally:
            forward.send_signal(signal.SIGINT)
            forward.wait(120)
            assert forward.stdout is not None
            forward.stdout.close()

    def test_debug_looks_into_a_container(self, kubectl: Kubectl, web: str) -> None:
        kubectl("debug", "plain", f"--image={BUSYBOX}", "--target=sleeper", "-c", "look", "--", "ps")
        eventually(lambda: "sleep 100000" in kubectl("logs", "plain", "-c", "look"))

    def test_top_shows_what_containers_use(self, kubectl: Kubectl, web: str) -> None:
        def shown() -> bool:
            lines = kubectl.run("top", "pod", web, "--containers", "--no-headers").stdout.splitlines()
            used = {line.split()[1]: line.split()[3] for line in lines}
            return used.keys() == {"server", "shell"} and all(
                amount.endswith("Mi") for amount in used.values()
            )

        eventually(shown)

        def network(pod: str) -> dict[str, Any]:
            found = json.loads(kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"))["pods"]
            told: dict[str, Any] = next(one for one in found if one["podRef"]["name"] == pod)["network"]
            return told

        before = network(web)
        address = kubectl("get", "pod", web, "-o", "jsonpath={.status.podIP}")
        assert before["name"] == "eth0"

        def grows() -> bool:
            with socket.socket() as one:
                one.settimeout(5)
                assert one.connect_ex((address, 9)) != 0
            return bool(network(web)["rxBytes"] > before["rxBytes"])

        eventually(grows)
        eventually(lambda: kubectl.run("top", "node", "--no-headers").stdout.startswith("node-1"))

    def test_nodes_are_cordoned_and_drained(self, kubectl: Kubectl, web: str) -> None:
        def bound(pod: str) -> str:
            return kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")

        def run(pod: str) -> None:
            shell = ("--restart=Never", "--image-pull-policy=IfNotPresent", "--labels=drained=yes")
            kubectl("run", pod, f"--image={BUSYBOX}", *shell, "--", "sleep", "100000")

        run("early")
        kubectl("wait", "--for=condition=Ready", "pod/early", "--timeout=120s")
        kubectl("cordon", "node-1")
        try:
            run("late")
            why = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
            eventually(lambda: "unschedulable" in kubectl("get", "pod", "late", "-o", why))
            drain = ("drain", "node-1", "--pod-selector=drained=yes", "--grace-period=0", "--timeout=120s")
            assert "--force" in kubectl.fails(*drain), "nobody would make it again"
            assert "pod/early evicted" in kubectl(*drain, "--force")
            assert kubectl("get", "pods", "-l", "drained=yes", "-o", "name") == "pod/late\n"
            assert bound("late") == ""
            assert bound(web) == "node-1", "whom nobody has drained stays"
        finally:
            kubectl("uncordon", "node-1")
        kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=120s")
        kubectl("delete", "pod", "late", "--grace-period=0", "--force", "--timeout=120s")

    def test_a_whole_pod_lives_and_ends(
        self, kubectl: Kubectl, cluster: Cluster, engine: Docker | Podman
    ) -> None:
        def mounted() -> dict[str, list[str]]:
            return {who: mounts_below(cluster.directory, who) for who in ("self", str(engine.pid))}

        before = mounted()
        a_whole_pod_lives_and_ends(kubectl, BUSYBOX)
        assert mounted() == before

    def test_volumes_belong_to_the_pods_group(self, kubectl: Kubectl) -> None:
        volumes_belong_to_the_group(kubectl, BUSYBOX)

    def test_what_keeps_a_container_from_running_is_said_in_kubernetes_words(
        self, kubectl: Kubectl, engine: Docker | Podman, cluster: Cluster
    ) -> None:
        kubectl("apply", "-f", "-", stdin=TROUBLE)
        expected = {
            "absent": ("ImagePullBackOff", 'Back-off pulling image "127.0.0.1:1/absent:1"'),
            "never": ("ErrImageNeverPull", "is not present with pull policy of Never"),
            "misnamed": ("InvalidImageName", "couldn't parse image name"),
            "command": ("CrashLoopBackOff", "back-off"),
            "root": ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            "unset": ("CreateContainerConfigError", 'configmap "none" not found'),
            "hungry": ("CrashLoopBackOff", "back-off"),
            "last": ("CrashLoopBackOff", "back-off"),
            "talker": ("CrashLoopBackOff", "back-off"),
        }
        found: dict[str, Any] = {}

        def as_expected() -> bool:
            pod = json.loads(kubectl("get", "pod", "trouble", "-o", "json"))
            found.update({s["name"]: s for s in pod["status"].get("containerStatuses", ())})
            waiting = {name: status["state"].get("waiting", {}) for name, status in found.items()}
            for name, (reason, words) in expected.items():
                assert waiting.get(name, {}).get("reason") == reason, (name, found.get(name))
                assert words in waiting[name]["message"]
            return True

        eventually(as_expected, within=120)
        last = {name: status["lastState"].get("terminated", {}) for name, status in found.items()}
        assert last["command"]["reason"] == "StartError"
        assert "/no/such/program" in last["command"]["message"]
        assert (last["hungry"]["reason"], last["hungry"]["exitCode"]) == ("OOMKilled", 137)
        assert (last["last"]["exitCode"], last["last"]["message"]) == (3, "why\n")
        assert (last["talker"]["exitCode"], last["talker"]["message"]) == (4, "only in the log\n")
        kubectl("delete", "pod", "trouble", "--timeout=120s")
        nothing_is_left(engine, kubectl, cluster, "_trouble_")

    def test_a_pod_whose_sandbox_has_ended_is_started_anew(
        self, kubectl: Kubectl, web: str, engine: Docker | Podman
    ) -> None:
        for name in (web, "plain"):
            uid = kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}")
            self.end_sandbox(engine, f"k8s_POD_{name}_default_{uid}")
        # In the one Pod all end with the process that holds their namespace; in the other the container must be ended.
        eventually(lambda: restarts(kubectl, web) == [1, 1])
        eventually(lambda: restarts(kubectl, "plain") == [1])
        eventually(lambda: "SandboxChanged" in kubectl("events", "--for", "pod/plain"))
        fetch = ("exec", web, "-c", "server", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/")
        assert kubectl(*fetch) == "hello\n"
        assert kubectl("logs", web, "-c", "server", "--previous") == "serving\n"

    def test_an_engine_that_is_not_there_is_said_in_one_sentence(self, tmp_path: Path) -> None:
        url = f"unix://{tmp_path}/none.sock"
        options = ("--listen", "127.0.0.1:0", "--runtime", self.kind)
        running = Cluster(tmp_path / "data", *options, **{self.variable: url})
        with pytest.raises(AssertionError, match="ended"):
            running.start()
        assert running.process is not None
        assert running.process.stdout is not None
        running.process.stdout.close()
        assert running.log.read_text().strip() == self.absent.replace("URL", url)
