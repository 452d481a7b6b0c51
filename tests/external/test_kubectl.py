"""kubectl, as released, on a running cluster."""

import base64
import contextlib
import json
import ssl
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path

import anyio
import pytest

from kubelib.client.kubeconfig import load_connection
from kubelib.client.websocket import connect_websocket
from tests.external.conftest import Cluster, Kubectl, eventually

RESTARTS = "jsonpath={.status.containerStatuses[0].restartCount}"
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
      - {name: main, image: process, command: [sleep, "1000"], ports: [{containerPort: 8080}]}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "process:v1", command: [sleep, "1000"]}
"""


def run_pod(kubectl: Kubectl, namespace: str, name: str, script: str) -> None:
    kubectl(
        "-n",
        namespace,
        "run",
        name,
        "--image=process",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    )


def test_it_tells_what_the_cluster_is(kubectl: Kubectl) -> None:
    assert "Server Version: v1.37" in kubectl("version")
    assert "control plane" in kubectl("cluster-info")
    resources = kubectl("api-resources")
    for kind in ("Pod", "ReplicationController", "Service", "Deployment", "EndpointSlice", "Lease"):
        assert f" {kind}\n" in resources
    assert "apps/v1" in kubectl("api-versions").splitlines()
    assert kubectl("auth", "can-i", "delete", "nodes").strip() == "yes"
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    nodes = kubectl("get", "nodes", "-o", "wide")
    assert nodes.count(" Ready ") == 2 and "process://" in nodes


def test_a_pod_runs_and_its_log_is_read(kubectl: Kubectl, namespace: str) -> None:
    run_pod(kubectl, namespace, "talker", "echo one; echo two >&2; sleep 1; echo three")
    kubectl(
        "-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=120s"
    )
    assert kubectl("-n", namespace, "logs", "talker").splitlines() == ["one", "two", "three"]
    assert kubectl("-n", namespace, "logs", "talker", "--tail=1") == "three\n"
    assert kubectl("-n", namespace, "logs", "talker", "--limit-bytes=1") == "o"
    assert kubectl("-n", namespace, "logs", "talker", "--since=24h").splitlines() == ["one", "two", "three"]
    assert "T" in kubectl("-n", namespace, "logs", "talker", "--timestamps").split()[0]
    shown = kubectl("-n", namespace, "get", "pod", "talker", "-o", "wide")
    assert "0/1" in shown and "Completed" in shown and " 127." in shown


def test_logs_are_followed_to_their_end(kubectl: Kubectl, namespace: str) -> None:
    run_pod(kubectl, namespace, "counter", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    kubectl("-n", namespace, "wait", "--for=condition=Initialized", "pod/counter", "--timeout=120s")
    eventually(lambda: "1" in kubectl("-n", namespace, "logs", "counter"))
    assert kubectl("-n", namespace, "logs", "-f", "counter").split() == ["1", "2", "3"]


@pytest.mark.parametrize(
    "protocol", ["", "binary.k8s.io", "base64.binary.k8s.io"], ids=["none", "binary", "base64"]
)
def test_logs_are_followed_over_websockets_to_their_end(
    cluster: Cluster, kubectl: Kubectl, namespace: str, protocol: str
) -> None:
    run_pod(kubectl, namespace, "log", "echo one; sleep 1; echo two")
    eventually(lambda: kubectl.run("-n", namespace, "logs", "log").stdout.startswith("one"))
    path = f"/api/v1/namespaces/{namespace}/pods/log/log"

    async def follow() -> bytes:
        found = b""
        offered = (protocol,) if protocol else ()
        async with connect_websocket(
            load_connection([cluster.kubeconfig]), path, [("follow", "true")], offered
        ) as websocket:
            assert websocket.subprotocol == protocol
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    data = await websocket.receive()
                    found += base64.b64decode(data) if "base64" in protocol else data
        return found

    assert anyio.run(follow) == b"one\ntwo\n"


def test_logs_of_several_containers_and_of_earlier_ones(kubectl: Kubectl, namespace: str) -> None:
    there = ("-n", namespace)
    run_pod(kubectl, namespace, "one", "echo from one")
    kubectl(*there, "label", "pod", "one", "team=red")
    once = "echo life $(ls lives 2>/dev/null | wc -l); mkdir -p lives/x; exit 1"
    kubectl(
        *there, "run", "again", "--image=process", "--labels=team=red", "--restart=OnFailure", "--command", "--", "sh", "-c", once,
    )  # fmt: skip
    eventually(
        lambda: (
            int(kubectl(*there, "get", "pod", "again", "-o", RESTARTS) or "0") >= 1
            and kubectl.run(*there, "logs", "again", "--previous").stdout.startswith("life ")
        )
    )
    eventually(lambda: "from one" in kubectl(*there, "logs", "-l", "team=red", "--all-containers"))
    prefixed = kubectl(*there, "logs", "-l", "team=red", "--prefix")
    assert "[pod/one/one] from one\n" in prefixed
    assert "not found" in kubectl.fails(*there, "logs", "one", "--previous")
    assert "container none is not valid for pod one" in kubectl.fails(*there, "logs", "one", "-c", "none")


def test_files_are_copied_into_containers_and_out_of_them(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    run_pod(kubectl, namespace, "box", "sleep 100")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/box", "--timeout=120s")
    there, back = tmp_path / "there", tmp_path / "back"
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").write_bytes(bytes(range(256)) * 4096)
    kubectl("cp", str(tmp_path / "from"), f"{namespace}/box:{there}")
    assert (there / "file").read_bytes() == (tmp_path / "from" / "file").read_bytes()
    kubectl("cp", f"{namespace}/box:{there}/file", str(back))
    assert back.read_bytes() == (there / "file").read_bytes()


def test_commands_run_in_containers(kubectl: Kubectl, namespace: str) -> None:
    run_pod(kubectl, namespace, "box", "sleep 100")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/box", "--timeout=120s")
    assert kubectl("-n", namespace, "exec", "box", "--", "sh", "-c", "echo $HOSTNAME").strip() == "box"
    assert kubectl("-n", namespace, "exec", "-i", "box", "--", "cat", stdin="through\n") == "through\n"
    done = kubectl.run("-n", namespace, "exec", "box", "--", "sh", "-c", "exit 7")
    assert done.returncode == 7
    assert "no-such-program" in kubectl.fails("-n", namespace, "exec", "box", "--", "no-such-program")


def test_containers_are_attached_to(kubectl: Kubectl, namespace: str) -> None:
    there = ("-n", namespace)
    echo = 'while read -r line; do echo "got $line"; done; exit 4'
    ran = kubectl.run(
        *there, "run", "talk", "-i", "--image=process", "--restart=Never", "--command", "--", "sh", "-c", echo,
        stdin="one\ntwo\n",
    )  # fmt: skip
    assert "got one\ngot two\n" in ran.stdout
    assert ran.returncode == 4, ran.stderr
    run_pod(kubectl, namespace, "loud", "while true; do echo tick; sleep 0.1; done")
    kubectl(*there, "wait", "--for=condition=Ready", "pod/loud", "--timeout=120s")
    attached = kubectl.popen(*there, "attach", "loud")
    assert attached.stdout is not None
    assert "tick\n" in [attached.stdout.readline() for _ in range(4)]
    attached.kill()
    attached.communicate()
    assert "not found" in kubectl.fails(*there, "attach", "missing")


def test_pods_services_and_nodes_are_reached_through_the_proxy(kubectl: Kubectl, namespace: str) -> None:
    there = ("-n", namespace)
    run_pod(
        kubectl, namespace, "web", "echo hello > index.html; exec python3 -m http.server 8000 --bind $POD_IP"
    )
    kubectl(*there, "expose", "pod", "web", "--port=80", "--target-port=8000")
    kubectl(*there, "wait", "--for=condition=Ready", "pod/web", "--timeout=120s")
    pods, services = f"/api/v1/namespaces/{namespace}/pods", f"/api/v1/namespaces/{namespace}/services"
    eventually(lambda: kubectl.run("get", "--raw", f"{pods}/web:8000/proxy/").stdout == "hello\n")
    eventually(lambda: kubectl.run("get", "--raw", f"{services}/web:80/proxy/index.html").stdout == "hello\n")
    assert kubectl("get", "--raw", f"{services}/web/proxy/") == "hello\n"
    assert "could not find the requested resource" in kubectl.fails(
        "get", "--raw", f"{services}/web/proxy/missing"
    )
    node = kubectl(*there, "get", "pod", "web", "-o", "jsonpath={.spec.nodeName}")
    assert kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    names = [
        pod["metadata"]["name"]
        for pod in json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/pods"))["items"]
    ]
    assert "web" in names

    proxy = kubectl.popen("proxy", "--port=0")
    assert proxy.stdout is not None
    try:
        address = proxy.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"http://{address}{services}/web:80/proxy/") as answer:
            assert answer.read() == b"hello\n"
        with urllib.request.urlopen(f"http://{address}/version") as answer:
            assert json.load(answer)["major"] == "1"
    finally:
        proxy.terminate()
        proxy.communicate()


def test_apply_twice_changes_nothing_and_an_edit_is_applied(kubectl: Kubectl, namespace: str) -> None:
    assert "created" in kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    assert "unchanged" in kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    assert "configured" in kubectl(
        "-n", namespace, "apply", "-f", "-", stdin=RC.replace("replicas: 2", "replicas: 3")
    )
    eventually(
        lambda: kubectl("-n", namespace, "get", "rc", "web", "-o", "jsonpath={.status.readyReplicas}") == "3"
    )
    assert kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", "name").count("pod/web-") == 3
    wide = kubectl("-n", namespace, "get", "rc", "-o", "wide")
    assert "DESIRED" in wide and "app=web" in wide


def test_diff_shows_what_apply_would_do(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    done = kubectl.run("-n", namespace, "diff", "-f", "-", stdin=RC.replace("replicas: 2", "replicas: 5"))
    assert done.returncode == 1
    assert "+  replicas: 5" in done.stdout


def test_replicas_are_replaced_when_they_go(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    eventually(
        lambda: kubectl("-n", namespace, "get", "rc", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    )
    first = kubectl("-n", namespace, "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    kubectl("-n", namespace, "delete", "pod", first, "--now")
    eventually(
        lambda: kubectl("-n", namespace, "get", "rc", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    )
    assert first not in kubectl("-n", namespace, "get", "pods", "-o", "name")


def test_scale_and_labels_and_annotations(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    assert "scaled" in kubectl("-n", namespace, "scale", "rc/web", "--replicas=1")
    eventually(lambda: len(kubectl("-n", namespace, "get", "pods", "-o", "name").split()) == 1)
    kubectl("-n", namespace, "label", "rc/web", "tier=front")
    kubectl("-n", namespace, "annotate", "rc/web", "note=kept")
    tree = json.loads(kubectl("-n", namespace, "get", "rc", "-l", "tier=front", "-o", "json"))
    assert tree["items"][0]["metadata"]["annotations"]["note"] == "kept"
    kubectl("-n", namespace, "label", "rc/web", "tier-")
    assert (
        "tier"
        not in json.loads(kubectl("-n", namespace, "get", "rc", "web", "-o", "json"))["metadata"]["labels"]
    )


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("json", '[{"op":"replace","path":"/data/a","value":"new"}]'),
        ("merge", '{"data":{"a":"new"}}'),
        ("strategic", '{"data":{"a":"new"}}'),
    ],
)
def test_patches_of_all_types(kubectl: Kubectl, namespace: str, kind: str, patch: str) -> None:
    kubectl("-n", namespace, "create", "configmap", "c", "--from-literal=a=old", "--from-literal=b=kept")
    kubectl("-n", namespace, "patch", "configmap", "c", f"--type={kind}", "-p", patch)
    assert json.loads(kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.data}")) == {
        "a": "new",
        "b": "kept",
    }


def test_edit_changes_an_object(kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    kubectl("-n", namespace, "create", "configmap", "c", "--from-literal=a=old")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/a: old/a: edited/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    kubectl.environment["KUBE_EDITOR"] = str(editor)
    kubectl("-n", namespace, "edit", "configmap", "c")
    assert kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.data.a}") == "edited"


def test_built_in_kinds_are_created_from_protobuf_bodies(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "secret", "generic", "s", "--from-literal=password=hunter2")
    kubectl("-n", namespace, "create", "serviceaccount", "sa")
    kubectl("-n", namespace, "create", "deployment", "d", "--image=process", "--replicas=0")
    kubectl("-n", namespace, "create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("-n", namespace, "create", "quota", "q", "--hard=pods=3")
    kubectl("-n", namespace, "create", "job", "j", "--image=process", "--", "true")
    assert kubectl("-n", namespace, "get", "secret", "s", "-o", "jsonpath={.data.password}") == "aHVudGVyMg=="
    assert kubectl("-n", namespace, "get", "quota", "q", "-o", "jsonpath={.spec.hard.pods}") == "3"
    assert (
        kubectl(
            "-n",
            namespace,
            "get",
            "job",
            "j",
            "-o",
            "jsonpath={.spec.template.spec.containers[0].command[0]}",
        )
        == "true"
    )


def test_a_deployment_rolls_and_rolls_back(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=DEPLOYMENT)
    assert "successfully rolled out" in kubectl(
        "-n", namespace, "rollout", "status", "deployment/app", "--timeout=120s"
    )
    kubectl("-n", namespace, "set", "image", "deployment/app", "main=process:v2")
    assert "successfully rolled out" in kubectl(
        "-n", namespace, "rollout", "status", "deployment/app", "--timeout=120s"
    )
    history = kubectl("-n", namespace, "rollout", "history", "deployment/app")
    assert history.count("<none>") == 2
    kubectl("-n", namespace, "rollout", "undo", "deployment/app")
    kubectl("-n", namespace, "rollout", "status", "deployment/app", "--timeout=120s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("-n", namespace, "get", "deployment", "app", "-o", image) == "process:v1"
    assert "2/2" in kubectl("-n", namespace, "get", "deployment", "app")


def test_expose_makes_a_service_with_endpoints(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", stdin=RC)
    kubectl("-n", namespace, "expose", "rc", "web", "--port=80", "--target-port=8080")
    address = kubectl("-n", namespace, "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert address.startswith("127.")
    eventually(lambda: kubectl("-n", namespace, "get", "endpoints", "web").count(":8080") == 2)
    slices = json.loads(kubectl("-n", namespace, "get", "endpointslices", "-o", "json"))
    assert len(slices["items"][0]["endpoints"]) == 2


def test_watches_see_changes(kubectl: Kubectl, namespace: str) -> None:
    watching = kubectl.popen("-n", namespace, "get", "secrets", "--watch", "-o", "name")
    try:
        time.sleep(0.5)
        kubectl("-n", namespace, "create", "secret", "generic", "seen")
        assert watching.stdout is not None
        assert watching.stdout.readline().strip() == "secret/seen"
    finally:
        watching.terminate()
        watching.communicate()


def test_describe_and_events_tell_the_story_of_a_pod(kubectl: Kubectl, namespace: str) -> None:
    run_pod(kubectl, namespace, "story", "sleep 100")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/story", "--timeout=120s")
    described = str(
        eventually(lambda: "Started" in (d := kubectl("-n", namespace, "describe", "pod", "story")) and d)
    )
    assert "Successfully assigned" in described and "QoS Class:" in described
    assert "Scheduled" in kubectl("-n", namespace, "get", "events")
    assert "Started" in kubectl("-n", namespace, "events")


def test_explain_knows_the_fields(kubectl: Kubectl) -> None:
    assert "containers" in kubectl("explain", "pod.spec")
    assert "<integer>" in kubectl("explain", "rc.spec.replicas")


def test_deletion_waits_or_does_not(kubectl: Kubectl, namespace: str) -> None:
    run_pod(kubectl, namespace, "one", "sleep 100")
    run_pod(kubectl, namespace, "two", "sleep 100")
    kubectl("-n", namespace, "delete", "pod", "one", "--grace-period=1")
    assert "pod/one" not in kubectl("-n", namespace, "get", "pods", "-o", "name")
    kubectl("-n", namespace, "delete", "pod", "two", "--wait=false", "--grace-period=1")
    eventually(lambda: not kubectl("-n", namespace, "get", "pods", "-o", "name"))


def test_what_is_wrong_is_said_as_kubernetes_says_it(kubectl: Kubectl, namespace: str) -> None:
    assert 'pods "missing" not found' in kubectl.fails("-n", namespace, "get", "pod", "missing")
    negative = kubectl.fails(
        "-n", namespace, "apply", "-f", "-", stdin=RC.replace("replicas: 2", "replicas: -2")
    )
    assert "spec.replicas: Invalid value: -2: must be greater than or equal to 0" in negative
    unknown = kubectl.fails(
        "-n", namespace, "create", "-f", "-", stdin=RC.replace("replicas: 2", "replicaz: 2")
    )
    assert 'unknown field "spec.replicaz"' in unknown
    named = kubectl.fails("-n", namespace, "create", "configmap", "Bad_Name")
    assert "a lowercase RFC 1123 subdomain must consist of" in named
    kubectl("-n", namespace, "create", "configmap", "taken")
    assert 'configmaps "taken" already exists' in kubectl.fails(
        "-n", namespace, "create", "configmap", "taken"
    )
    assert "unable to parse" in kubectl.fails("-n", namespace, "get", "pods", "-l", "a=b=c")


def test_nobody_may_look_without_credentials(cluster: Cluster, kubectl: Kubectl) -> None:
    server = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")

    def get(path: str) -> tuple[int, str]:
        request = urllib.request.Request(server + path)
        try:
            with urllib.request.urlopen(
                request, context=ssl._create_unverified_context(), timeout=120
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    assert get("/healthz") == (200, "ok")
    assert get("/version")[0] == 200
    for path in ("/api/v1/pods", "/api", "/apis", "/metrics", "/openapi/v2"):
        code, body = get(path)
        assert code == 403
        assert "system:anonymous" in body


def test_server_side_apply_knows_who_set_what(kubectl: Kubectl, namespace: str) -> None:
    def config(data: str) -> str:
        return f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}"

    def apply(data: str, *options: str) -> str:
        return kubectl("-n", namespace, "apply", "--server-side", "-f", "-", *options, stdin=config(data))

    assert "serverside-applied" in apply('{a: "1", b: "2"}')
    version = kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.metadata.resourceVersion}")
    apply('{a: "1", b: "2"}')
    assert kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.metadata.resourceVersion}") == version
    apply('{a: "1"}')
    assert json.loads(kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.data}")) == {"a": "1"}
    other = ("--field-manager=other",)
    refused = kubectl.fails(
        "-n", namespace, "apply", "--server-side", "-f", "-", *other, stdin=config('{a: "3"}')
    )
    assert (
        'conflict with "kubectl": .data.a' in refused
        or 'conflict with "kubectl" using v1: .data.a' in refused
    )
    apply('{a: "3"}', *other, "--force-conflicts")
    assert json.loads(kubectl("-n", namespace, "get", "cm", "c", "-o", "jsonpath={.data}")) == {"a": "3"}
