"""The cluster as separate processes: API server, scheduler, controllers, nodes and proxy, each as its own user."""

import base64
import contextlib
import json
import os
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from dnslib import DNSRecord

from kubelib.client.kubeconfig import load_connection
from kubelib.client.websocket import open_command
from tests.engines import free_ports
from tests.external.conftest import Kubectl, eventually, real_binary
from tests.external.processes import Daemon, Daemons, kubelib
from tests.external.test_workloads import AUTOSCALED

NAMES = "127.97.0.10"
"""Where the proxy answers for the names of Services."""
WEB = ["create", "deployment", "web", "--image=process", "--replicas=3", "--"]


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path_factory.mktemp("daemons"))
    tokens = daemons.directory / "tokens.csv"
    tokens.write_text('s3cret,jane,1,"dev,ops"\n')
    daemons.start(
        "apiserver", "apiserver", "--data-dir", str(daemons.master), "--listen", f"127.0.0.1:{free_ports(1)[0]}",
        "--service-network", "127.97.0.0/16", "--token-auth-file", str(tokens),
    )  # fmt: skip
    daemons.node("node-1")
    daemons.node("node-2")
    daemons.component("scheduler", "scheduler")
    daemons.component("controller-manager", "controller-manager")
    daemons.component("proxy", "proxy", "--cluster-dns", NAMES)
    yield daemons
    daemons.end()


@pytest.fixture(scope="module")
def kubectl(daemons: Daemons, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    cache = tmp_path_factory.mktemp("kubectl")
    return Kubectl(real_binary("kubectl"), daemons.master / "admin.kubeconfig", cache)


@pytest.fixture(scope="module", autouse=True)
def web(kubectl: Kubectl) -> Iterator[None]:
    script = "python3 -m http.server 8000 --bind $POD_IP & while true; do echo hello; sleep 0.2; done"
    kubectl(*WEB, "sh", "-c", script)
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    yield
    kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=120s")
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


async def said_through_the_node(daemons: Daemons, kubectl: Kubectl) -> bytes:
    """Run a command in a container by the kubelet's own endpoint, which the API server passes the WebSocket on to."""
    (pod, *_) = json.loads(kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    container, node = pod["spec"]["containers"][0]["name"], pod["spec"]["nodeName"]
    path = f"/api/v1/nodes/{node}/proxy/exec/default/{pod['metadata']['name']}/{container}"
    query = [*(("command", part) for part in ("echo", "through the node")), ("output", "1")]
    said = b""
    async with open_command(load_connection([daemons.master / "admin.kubeconfig"]), path, query) as stream:
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                said += (await stream.receive())[1]
        assert await stream.wait() == 0
    return said


def test_logs_and_commands_reach_the_node_that_has_the_pod(daemons: Daemons, kubectl: Kubectl) -> None:
    for name in kubectl("get", "pods", "-l", "app=web", "-o", "name").split():
        assert kubectl("logs", name, "--tail=1") == "hello\n"
        assert kubectl("exec", name, "--", "sh", "-c", "echo in") == "in\n"
    done = kubectl.run("exec", "-i", "deploy/web", "--", "sh", "-c", "cat; exit 7", stdin="to the pod")
    assert (done.returncode, done.stdout) == (7, "to the pod")
    attached = kubectl.popen("attach", "deploy/web")
    assert attached.stdout is not None
    assert "hello\n" in [attached.stdout.readline() for _ in range(4)]
    attached.kill()
    attached.communicate()
    for node in ("node-1", "node-2"):
        assert kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
        pods = kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/pods")
        assert '"kind":"PodList"' in pods
    assert anyio.run(said_through_the_node, daemons, kubectl) == b"through the node\n"
    follow = kubectl.popen("logs", "-f", "deploy/web", "--tail=0")
    assert follow.stdout is not None
    assert "hello" in [follow.stdout.readline().strip() for _ in range(2)]
    follow.kill()
    follow.communicate()


def test_the_proxy_answers_for_names_of_services(kubectl: Kubectl) -> None:
    kubectl("expose", "deployment", "web", "--port=8000")
    address = kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")

    def said() -> str:
        question = DNSRecord.question("web.default.svc.cluster.local")
        return str(DNSRecord.parse(question.send(NAMES, timeout=10)).short())

    eventually(lambda: said() == address)
    kubectl("delete", "service", "web")
    eventually(lambda: said() == "")


CONFIGURED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: words}
stringData: {word: open}
---
apiVersion: v1
kind: Pod
metadata: {name: configured}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: words, secret: {secretName: words}}
  containers:
  - name: main
    image: process
    command: [sh, -c, "cd $KUBELIB_ROOT/etc; while true; do echo $(cat settings/colour) $(cat words/word); sleep 0.2; done"]
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: words, mountPath: /etc/words}
"""


def test_a_node_shows_what_has_changed_in_a_config_map_and_a_secret_at_once(kubectl: Kubectl) -> None:
    def says(words: str) -> bool:
        return kubectl("logs", "configured", "--tail=1") == f"{words}\n"

    kubectl("apply", "-f", "-", stdin=CONFIGURED)
    try:
        kubectl("wait", "pod/configured", "--for=condition=Ready", "--timeout=60s")
        eventually(lambda: says("blue open"))
        kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"red"}}')
        # And not only when all Pods are looked at again, once a minute.
        eventually(lambda: says("red open"), within=15)
        kubectl("patch", "secret", "words", "-p", '{"stringData":{"word":"sesame"}}')
        eventually(lambda: says("red sesame"), within=15)
    finally:
        kubectl("delete", "-f", "-", stdin=CONFIGURED)


def test_a_command_that_is_not_there_is_said_so(kubectl: Kubectl) -> None:
    assert "no-such-program" in kubectl.fails("exec", "deploy/web", "--", "no-such-program")


def test_a_port_is_forwarded_for_several_connections(kubectl: Kubectl) -> None:
    forwarding = kubectl.popen("port-forward", "deploy/web", ":8000")
    try:
        assert forwarding.stdout is not None
        url = "http://" + forwarding.stdout.readline().split()[2]
        for _ in range(3):
            with urllib.request.urlopen(url, timeout=120) as answer:
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


WORKLOADS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: process
        command: [sleep, "1000"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: ""
      resources: {requests: {storage: 1Mi}}
---
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
      - {name: main, image: process, command: [sleep, "1000"]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  startingDeadlineSeconds: 3600
  suspend: true
  jobTemplate:
    spec:
      ttlSecondsAfterFinished: 1
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: main, image: process, command: ["true"]}
"""
VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: PATH, type: DirectoryOrCreate}
"""


def test_the_rights_of_controllers_and_nodes_are_enough_for_every_workload(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        manifest = VOLUME.replace("NAME", name).replace("PATH", str(tmp_path / name))
        kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("apply", "-f", "-", stdin=WORKLOADS)
    kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    kubectl("rollout", "status", "daemonset/agent", "--timeout=120s")
    kubectl("create", "job", "once", "--from=cronjob/tick")
    kubectl("wait", "--for=delete", "job/once", "--timeout=120s")
    kubectl("set", "image", "statefulset/db", "main=process:v2")
    kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    assert {line.split()[1] for line in kubectl("get", "pvc", "--no-headers").splitlines()} == {"Bound"}
    kubectl("delete", "-f", "-", "--timeout=120s", stdin=WORKLOADS)
    kubectl("delete", "pvc", "--all", "--timeout=120s")
    kubectl("delete", "pv", "--all", "--timeout=120s")
    refused = [
        line
        for line in kubectl("get", "events").splitlines()
        if "forbidden" in line and "process" not in line
    ]
    assert not refused


def test_an_autoscaler_is_fed_through_the_api_in_another_process(kubectl: Kubectl) -> None:
    loop = '[sh, -c, "while :; do sleep 0.02; done"]'
    manifest = (
        AUTOSCALED.replace('[sleep, "1000"]', loop)
        .replace("memory: 10Ki", "cpu: 1m")
        .replace("memory", "cpu")
    )
    kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("wait", "--for=jsonpath={.spec.replicas}=2", "deployment/busy", "--timeout=120s")
    assert "cpu resource utilization (percentage of request) above target" in kubectl(
        "describe", "hpa", "busy"
    )
    kubectl("delete", "-f", "-", "--timeout=120s", stdin=manifest)


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
        with urllib.request.urlopen(url, timeout=120, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_node_answers_strangers_with_its_health_and_nothing_else(
    daemons: Daemons, kubectl: Kubectl
) -> None:
    url, stranger = _node_url(kubectl, "node-1"), _context(daemons)
    assert _code(f"{url}/healthz", stranger) == 200
    figures = ("/metrics", "/metrics/resource", "/metrics/cadvisor", "/stats/summary", "/configz")
    for path in ("/pods", "/containerLogs/default/web/web", *figures):
        assert _code(url + path, stranger) == 401
    pki = daemons.master / "pki"
    proxy = _context(daemons, pki / "proxy.crt", pki / "proxy.key")
    server = _context(daemons, pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
    for path in ("/pods", *figures):
        assert _code(url + path, proxy) == 403
        assert _code(url + path, server) == 200, path


def test_figures_of_nodes_are_for_those_who_may_see_them(daemons: Daemons, kubectl: Kubectl) -> None:
    out = daemons.directory / "prometheus.kubeconfig"
    kubelib("credentials", "user", "prometheus", "--data-dir", str(daemons.master), "--out", str(out))
    kubectl("create", "clusterrole", "figures", "--verb=get", "--resource=nodes/metrics,nodes/pods")
    kubectl("create", "clusterrolebinding", "figures", "--clusterrole=figures", "--user=prometheus")
    user = Kubectl(kubectl.binary, out, daemons.directory / "prometheus")
    view = json.loads(user("config", "view", "--raw", "--flatten", "-o", "json"))["users"][0]["user"]
    files = []
    for name in ("client-certificate-data", "client-key-data"):
        files.append(daemons.directory / f"prometheus.{name}")
        files[-1].write_bytes(base64.b64decode(view[name]))
    context, url = _context(daemons, *files), _node_url(kubectl, "node-2")
    # What the user may do is asked of the API server, which follows its own watch.
    eventually(lambda: _code(f"{url}/metrics/cadvisor", context) == 200)
    assert _code(f"{url}/pods", context) == 200
    assert _code(f"{url}/stats/summary", context) == 403
    assert _code(f"{url}/configz", context) == 403
    assert eventually(lambda: "node-2" in kubectl("top", "nodes"), within=120)


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
    eventually(lambda: leader(kubectl, lease) not in ("", first), within=14)
    kubectl("scale", "deployment", "web", "--replicas=4")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    kubectl("scale", "deployment", "web", "--replicas=3")
    eventually(lambda: len(processes(kubectl)) == 3)


def test_a_node_killed_and_started_again_finds_its_pods(daemons: Daemons, kubectl: Kubectl) -> None:
    before = processes(kubectl)
    daemon = daemons.running["node-1"]
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    daemon.start()
    assert kubectl("logs", "deploy/web", "--tail=1") == "hello\n"
    kubectl("wait", "--for=condition=Ready", "pods", "-l", "app=web", "--timeout=120s")
    assert processes(kubectl) == before


def test_nothing_is_lost_while_the_api_server_is_away(daemons: Daemons, kubectl: Kubectl) -> None:
    before, server = processes(kubectl), daemons.running["apiserver"]
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    time.sleep(1)
    server.start()
    assert processes(kubectl) == before
    kubectl("scale", "deployment", "web", "--replicas=4")
    kubectl("rollout", "status", "deployment/web", "--timeout=120s")


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
            "no policy 'best'; there are: ",
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


def _static(name: str, sign: Path) -> str:
    container = {
        "name": "main",
        "image": "process",
        "command": [
            "sh",
            "-c",
            'echo "I am $POD_IP"; echo up > "$SIGN"; exec sleep 1000',
        ],
        "env": [{"name": "SIGN", "value": str(sign)}],
    }
    metadata = {"name": name, "namespace": "kube-system"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_static_pods_run_while_the_api_server_is_away_and_are_seen_when_it_is_back(
    daemons: Daemons, kubectl: Kubectl
) -> None:
    sign, manifests = daemons.directory / "sign", daemons.manifests("node-1")
    daemons.running["apiserver"].end()
    (manifests / "db.yaml").write_text(_static("db", sign))
    eventually(lambda: sign.exists() and sign.read_text() == "up\n", within=180)
    daemons.running["apiserver"].start()
    name = "db-node-1"
    eventually(
        lambda: (
            kubectl("-n", "kube-system", "get", "pod", name, "-o", "jsonpath={.status.phase}") == "Running"
        ),
        within=180,
    )
    annotations = json.loads(kubectl("-n", "kube-system", "get", "pod", name, "-o", "json"))["metadata"][
        "annotations"
    ]
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert kubectl("-n", "kube-system", "logs", name).startswith("I am 127.245.")
    assert kubectl("-n", "kube-system", "exec", name, "--", "echo", "hello") == "hello\n"
    # Whoever deletes it sees it again, and it has run all the while.
    # A watch that was cut off is tried again after up to a minute.
    kubectl("-n", "kube-system", "delete", "pod", name, "--wait=false")
    eventually(lambda: "Running" in kubectl("-n", "kube-system", "get", "pod", name), within=180)
    (manifests / "db.yaml").unlink()
    eventually(lambda: "not found" in kubectl.run("-n", "kube-system", "get", "pod", name).stderr, within=180)
