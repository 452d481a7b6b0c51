"""The cluster as separate processes: API server, scheduler, controllers, nodes and proxy, each as its own user."""

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.external.conftest import Kubectl, eventually, real_binary

WEB = ["create", "deployment", "web", "--image=process", "--replicas=3", "--"]


class Daemon:
    """One `kubelib` process."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self.name, self.arguments = name, arguments
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "Daemon":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reference_cluster", *self.arguments], stdout=log, stderr=log
            )
        if wait:
            ready = self.log.read_text().count(" is ready ")
            eventually(lambda: self._ready(ready), within=30, every=0.05)
        return self

    def _ready(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count(" is ready ") > before

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        return self.process.wait(20)


def kubelib(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Daemons:
    """All of them, with two nodes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.master = directory / "master"
        self.running: dict[str, Daemon] = {}

    def start(self, name: str, *arguments: str) -> Daemon:
        daemon = self.running[name] = Daemon(self.directory, name, *arguments).start()
        return daemon

    def component(self, name: str, kind: str) -> Daemon:
        return self.start(name, kind, "--kubeconfig", str(self.master / f"{kind}.kubeconfig"))

    def node(self, name: str) -> Daemon:
        out = self.directory / name
        kubelib("credentials", "node", name, "--data-dir", str(self.master), "--out", str(out))
        return self.start(
            name, "kubelet", name, "--kubeconfig", str(out / "kubeconfig"), "--data-dir", str(out / "data"), "--port", "0",
            "--pod-network", "127.245.0.0/16",
        )  # fmt: skip


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path_factory.mktemp("daemons"))
    tokens = daemons.directory / "tokens.csv"
    tokens.write_text('s3cret,jane,1,"dev,ops"\n')
    daemons.start(
        "apiserver", "apiserver", "--data-dir", str(daemons.master), "--listen", "127.0.0.1:0", "--service-network",
        "127.97.0.0/16", "--token-auth-file", str(tokens),
    )  # fmt: skip
    daemons.node("node-1")
    daemons.node("node-2")
    daemons.component("scheduler", "scheduler")
    daemons.component("controller-manager", "controller-manager")
    daemons.component("proxy", "proxy")
    yield daemons
    for name, daemon in reversed(daemons.running.items()):
        if daemon.process is not None and daemon.process.poll() is None:
            assert daemon.end() == 0, name
        text = daemon.log.read_text()
        assert "Traceback" not in text and "forbidden" not in text, f"{name}:\n{text}"


@pytest.fixture(scope="module")
def kubectl(daemons: Daemons, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    cache = tmp_path_factory.mktemp("kubectl")
    return Kubectl(real_binary("kubectl"), daemons.master / "admin.kubeconfig", cache)


@pytest.fixture(scope="module", autouse=True)
def web(kubectl: Kubectl) -> Iterator[None]:
    script = "python3 -m http.server 8000 --bind $POD_IP & while true; do echo hello; sleep 0.2; done"
    kubectl(*WEB, "sh", "-c", script)
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    yield
    kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    eventually(lambda: kubectl("get", "pods", "-o", "name") == "")


def leader(kubectl: Kubectl, lease: str) -> str:
    return kubectl("-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}")


def processes(kubectl: Kubectl) -> dict[str, str]:
    path = '{range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID}{"\\n"}{end}'
    lines = kubectl("get", "pods", "-o", f"jsonpath={path}").splitlines()
    return dict(line.split() for line in lines)


def test_pods_run_on_both_nodes(kubectl: Kubectl) -> None:
    nodes = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert set(nodes) == {"node-1", "node-2"}


def test_logs_and_commands_reach_the_node_that_has_the_pod(kubectl: Kubectl) -> None:
    for name in kubectl("get", "pods", "-l", "app=web", "-o", "name").split():
        assert kubectl("logs", name, "--tail=1") == "hello\n"
        assert kubectl("exec", name, "--", "sh", "-c", "echo in") == "in\n"
    done = kubectl.run("exec", "-i", "deploy/web", "--", "sh", "-c", "cat; exit 7", stdin="to the pod")
    assert (done.returncode, done.stdout) == (7, "to the pod")
    follow = kubectl.popen("logs", "-f", "deploy/web", "--tail=0")
    assert follow.stdout is not None
    assert "hello" in [follow.stdout.readline().strip() for _ in range(2)]
    follow.kill()
    follow.communicate()


def test_a_command_that_is_not_there_is_said_so(kubectl: Kubectl) -> None:
    assert "no-such-program" in kubectl.fails("exec", "deploy/web", "--", "no-such-program")


def test_a_port_is_forwarded_for_several_connections(kubectl: Kubectl) -> None:
    forwarding = kubectl.popen("port-forward", "deploy/web", ":8000")
    try:
        assert forwarding.stdout is not None
        url = "http://" + forwarding.stdout.readline().split()[2]
        for _ in range(3):
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert b"Directory listing" in answer.read()
    finally:
        forwarding.kill()
        forwarding.communicate()


def test_a_service_is_reached_through_the_proxy(kubectl: Kubectl) -> None:
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8000")
    address = kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert address.startswith("127.97.")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    eventually(answers)


def test_a_bearer_token_is_a_user_with_groups(kubectl: Kubectl) -> None:
    who = kubectl.run("--kubeconfig=/dev/null", "--server", _server(kubectl), "--insecure-skip-tls-verify", "--token=s3cret",
                      "auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}")  # fmt: skip
    assert who.stdout == 'jane ["dev","ops","system:authenticated"]', who.stderr
    refused = kubectl.run("--kubeconfig=/dev/null", "--server", _server(kubectl), "--insecure-skip-tls-verify", "--token=wrong",
                          "get", "pods")  # fmt: skip
    assert refused.returncode == 1
    assert "logged in" in refused.stderr


def _server(kubectl: Kubectl) -> str:
    return kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")


def test_a_made_user_may_do_what_a_binding_says(daemons: Daemons, kubectl: Kubectl) -> None:
    out = daemons.directory / "joe.kubeconfig"
    kubelib(
        "credentials", "user", "joe", "--group", "dev", "--data-dir", str(daemons.master), "--out", str(out)
    )
    assert out.stat().st_mode & 0o777 == 0o600
    joe = Kubectl(kubectl.binary, out, daemons.directory / "joe")
    assert 'User "joe" cannot list resource "pods"' in joe.fails("get", "pods")
    kubectl("create", "rolebinding", "devs", "--clusterrole=view", "--group=dev")
    assert "web-" in eventually(lambda: joe("get", "pods"))  # type: ignore[operator]
    assert joe.run("auth", "can-i", "delete", "pods").stdout == "no\n"


def _node_url(kubectl: Kubectl, node: str) -> str:
    port = kubectl("get", "node", node, "-o", "jsonpath={.status.daemonEndpoints.kubeletEndpoint.Port}")
    return f"https://127.0.0.1:{port}"


def _context(daemons: Daemons, *credential: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(daemons.master / "pki" / "ca.crt"))
    if credential:
        context.load_cert_chain(*map(str, credential))
    return context


def _code(url: str, context: ssl.SSLContext) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_node_answers_strangers_with_its_health_and_nothing_else(
    daemons: Daemons, kubectl: Kubectl
) -> None:
    url, stranger = _node_url(kubectl, "node-1"), _context(daemons)
    assert _code(f"{url}/healthz", stranger) == 200
    for path in ("/pods", "/containerLogs/default/web/web", "/metrics"):
        assert _code(url + path, stranger) == 401
    pki = daemons.master / "pki"
    assert _code(f"{url}/pods", _context(daemons, pki / "proxy.crt", pki / "proxy.key")) == 403
    server = _context(daemons, pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
    assert _code(f"{url}/pods", server) == 200


@pytest.mark.parametrize(
    ("kind", "lease"), [("scheduler", "kube-scheduler"), ("controller-manager", "kube-controller-manager")]
)
def test_a_second_one_follows_at_once_when_the_leader_stops(
    daemons: Daemons, kubectl: Kubectl, kind: str, lease: str
) -> None:
    first = eventually(lambda: leader(kubectl, lease))
    daemons.component(f"{kind}-2", kind)
    assert leader(kubectl, lease) == first
    assert daemons.running.pop(kind).end() == 0
    daemons.running[kind] = daemons.running.pop(f"{kind}-2")
    # A leader that stops gives its lease back: nobody waits for the fifteen seconds in which it would run out.
    eventually(lambda: leader(kubectl, lease) not in ("", first), within=8)
    kubectl("scale", "deployment", "web", "--replicas=4")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("scale", "deployment", "web", "--replicas=3")
    eventually(lambda: len(processes(kubectl)) == 3)


def test_a_node_killed_and_started_again_finds_its_pods(daemons: Daemons, kubectl: Kubectl) -> None:
    before = processes(kubectl)
    daemon = daemons.running["node-1"]
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    daemon.start()
    assert kubectl("logs", "deploy/web", "--tail=1") == "hello\n"
    kubectl("wait", "--for=condition=Ready", "pods", "-l", "app=web", "--timeout=20s")
    assert processes(kubectl) == before


def test_nothing_is_lost_while_the_api_server_is_away(daemons: Daemons, kubectl: Kubectl) -> None:
    before, server = processes(kubectl), daemons.running["apiserver"]
    listen = _server(kubectl).removeprefix("https://")
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    time.sleep(1)
    arguments = list(server.arguments)
    arguments[arguments.index("--listen") + 1] = listen
    server.arguments = tuple(arguments)
    server.start()
    assert processes(kubectl) == before
    kubectl("scale", "deployment", "web", "--replicas=4")
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (lambda d: ["scheduler", "--kubeconfig", "/nowhere"], "there is no kubeconfig at /nowhere"),
        (
            lambda d: [
                "scheduler",
                "--kubeconfig",
                str(d.master / "scheduler.kubeconfig"),
                "--policy",
                "best",
            ],
            "there is no policy 'best': choose one of ",
        ),
        (lambda d: ["apiserver", "--data-dir", str(d.master)], "is in use by process"),
        (
            lambda d: ["apiserver", "--data-dir", str(d.directory / "x"), "--token-auth-file", "/nowhere"],
            "cannot read the tokens in /nowhere",
        ),
        (
            lambda d: ["apiserver", "--data-dir", str(d.directory / "x"), "--service-network", "many"],
            "write, for example, 127.244.0.0/16",
        ),
        (
            lambda d: ["kubelet", "n", "--kubeconfig", str(d.master / "proxy.kubeconfig"), "--data-dir", "x"],
            "use --tls-cert-file, or `kubelib credentials node n` to make it",
        ),
        (
            lambda d: ["credentials", "user", "u", "--data-dir", str(d.directory), "--out", "x"],
            "has no certificate authority",
        ),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(
    daemons: Daemons, arguments: Callable[[Daemons], list[str]], said: str
) -> None:
    text = ""
    for code in (1, 2):
        try:
            text = kubelib(*arguments(daemons), code=code)
            break
        except AssertionError:
            if code == 2:
                raise
    assert said in text
    assert "Traceback" not in text


def test_a_daemon_waits_for_its_api_server_and_can_be_stopped_meanwhile(
    tmp_path: Path, daemons: Daemons
) -> None:
    kubeconfig = tmp_path / "scheduler.kubeconfig"
    text = (daemons.master / "scheduler.kubeconfig").read_text()
    lines = ["    server: https://127.0.0.1:1" if "server:" in line else line for line in text.splitlines()]
    kubeconfig.write_text("\n".join(lines))
    daemon = Daemon(tmp_path, "waiting", "scheduler", "--kubeconfig", str(kubeconfig)).start(wait=False)
    eventually(lambda: "waits for the API server" in daemon.log.read_text())
    assert daemon.end() == 0
    assert os.path.getsize(daemon.log) < 1000
