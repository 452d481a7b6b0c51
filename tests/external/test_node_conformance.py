"""What Kubernetes' conformance suite asks of nodes and volumes, of a node that isolates child processes.

The programs in the suite's images are scripts here; all Pods of the table run at once.
"""

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary
from tests.external.podcases import CASES, SAID, SETTINGS, Case, env, field, projected, resource
from tests.ownnetwork import own_network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
Tree = dict[str, Any]


class Node:
    """The cluster of this file, and what its Pods say."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def create(self, *objects: Tree) -> None:
        self.kubectl(
            "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def pod(self, name: str) -> Tree:
        found: Tree = json.loads(self.kubectl("get", "pod", name, "-o", "json"))
        return found

    def run(self, name: str, container: Tree, **spec: Any) -> None:
        """Create a Pod of one container, and others that `spec` has."""
        containers = [{"name": "c", "image": "process", **container}, *spec.pop("others", ())]
        metadata = spec.pop("metadata", {})
        self.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, **metadata},
                "spec": {"terminationGracePeriodSeconds": 1, **spec, "containers": containers},
            }
        )

    def ready(self, *names: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", *(f"pod/{name}" for name in names), "--timeout=90s")

    def sh(self, name: str, script: str, container: str = "c") -> str:
        return self.kubectl("exec", name, "-c", container, "--", "sh", "-c", script)

    def patch(self, kind: str, name: str, change: Tree) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(change))

    def ended(self, name: str) -> Tree:
        """Wait for the end of a Pod."""

        def look() -> Tree | None:
            pod = self.pod(name)
            return pod if pod["status"].get("phase") in ("Succeeded", "Failed") else None

        found = eventually(look, within=120)
        assert isinstance(found, dict)
        return found

    def log(self, name: str, *more: str) -> str:
        return self.kubectl("logs", name, *more)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory: Path = tmp_path_factory.mktemp("conformance")
    with own_network():
        (directory / "images" / "files" / "etc").mkdir(parents=True)
        (directory / "images" / "files" / "etc" / "data.json").write_text("kitten.jpg\n")
        images = ("--image-dir", str(directory / "images"))
        cluster = Cluster(directory / "cluster", "--isolation", "pod", *images)
        cluster.start()
        try:
            node = Node(Kubectl(real_binary("kubectl"), cluster.kubeconfig, directory / "kubectl"))
            node.create(*SETTINGS["items"])
            node.create(*(case.pod() for case in CASES))
            yield node
        finally:
            code = cluster.stop()
            cluster.end_pods()
        assert code == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_pod_finds_what_it_says(node: Node, case: Case) -> None:
    name = case.name.replace("_", "-")
    pod = node.ended(name)
    assert (pod["status"]["phase"], node.log(name)) == (case.phase, case.says)


@pytest.mark.parametrize("name", SAID)
def test_a_container_leaves_a_message(node: Node, name: str) -> None:
    [status] = node.ended(name.replace("_", "-"))["status"]["containerStatuses"]
    assert status["state"]["terminated"].get("message") == SAID[name]


SLEEP = {"command": ["sleep", "1000"]}


def test_volumes_follow_what_they_show_and_what_is_optional_may_come_and_go(node: Node) -> None:
    def of(kind: str, name: str, **data: str) -> Tree:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}

    node.create(
        of("ConfigMap", "changes", key="one"),
        of("ConfigMap", "goes", key="one"),
        of("Secret", "changes", key="b25l"),
        of("Secret", "goes", key="b25l"),
    )
    volumes: list[Tree] = [
        {"name": "labels", "downwardAPI": {"items": [{"path": "labels", **field("metadata.labels")}]}},
        {
            "name": "notes",
            **projected({"downwardAPI": {"items": [{"path": "notes", **field("metadata.annotations")}]}}),
        },
    ]
    for name in ("changes", "goes", "comes"):
        config, secret = {"name": name, "optional": True}, {"secretName": name, "optional": True}
        volumes += [
            {"name": f"c-{name}", "configMap": config},
            {"name": f"s-{name}", "secret": secret},
            {"name": f"pc-{name}", **projected({"configMap": config})},
            {"name": f"ps-{name}", **projected({"secret": {"name": name, "optional": True}})},
        ]
    mounts = [{"name": volume["name"], "mountPath": f"/v/{volume['name']}"} for volume in volumes]
    facts = {"labels": {"a": "1"}, "annotations": {"note": "one"}}
    node.run("watcher", {**SLEEP, "volumeMounts": mounts}, volumes=volumes, metadata=facts)
    node.ready("watcher")
    look = "cd /v; for f in */*; do case $f in labels/*|notes/*) ;; *) [ -f $f ] && echo $f $(cat $f);; esac; done"
    four = ("c", "pc", "ps", "s")
    assert node.sh("watcher", look).split("\n")[:-1] == sorted(
        f"{k}-{n}/key one" for k in four for n in ("changes", "goes")
    )
    assert node.sh("watcher", "cat /v/labels/labels").strip() == 'a="1"'
    node.patch("configmap", "changes", {"data": {"key": "two"}})
    node.patch("secret", "changes", {"stringData": {"key": "two"}})
    node.kubectl("delete", "configmap/goes", "secret/goes")
    node.create(of("ConfigMap", "comes", key="new"), of("Secret", "comes", key="bmV3"))
    node.patch("pod", "watcher", {"metadata": {"labels": {"b": "2"}, "annotations": {"note": "two"}}})
    wanted = sorted([*(f"{k}-changes/key two" for k in four), *(f"{k}-comes/key new" for k in four)])
    assert eventually(lambda: node.sh("watcher", look).split("\n")[:-1] == wanted, within=90)
    assert eventually(lambda: node.sh("watcher", "cat /v/labels/labels").split() == ['a="1"', 'b="2"'])
    assert eventually(lambda: 'note="two"' in node.sh("watcher", "cat /v/notes/notes"))


@pytest.mark.parametrize(("value", "why"), [("/tmp", "absolute"), ("..", "backsteps")])
def test_a_path_with_variables_that_leads_out_keeps_a_container_from_starting_until_it_does_not(
    node: Node, value: str, why: str
) -> None:
    name = f"leads-out-{why}"
    mount = {"name": "v", "mountPath": "/v", "subPathExpr": "$(PLACE)"}
    container = {**SLEEP, "env": env(PLACE=field("metadata.annotations['place']")), "volumeMounts": [mount]}
    notes = {"annotations": {"place": value}}
    node.run(name, container, volumes=[{"name": "v", "emptyDir": {}}], metadata=notes)
    status = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    assert eventually(lambda: node.kubectl("get", "pod", name, "-o", status)) == "CreateContainerConfigError"
    node.patch("pod", name, {"metadata": {"annotations": {"place": "inside"}}})
    node.ready(name)
    assert node.sh(name, "stat -c %F /v") == "directory\n"


def test_containers_know_the_services_that_were_there_before_them(node: Node) -> None:
    service = {"selector": {"name": "foo"}, "ports": [{"port": 8765, "targetPort": 8080}]}
    node.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fooservice"}, "spec": service})
    address = node.kubectl("get", "service", "fooservice", "-o", "jsonpath={.spec.clusterIP}")
    node.run("client", {"command": ["sh", "-c", "env | grep FOOSERVICE | sort"]}, restartPolicy="Never")
    node.ended("client")
    assert node.log("client").splitlines() == [
        f"FOOSERVICE_PORT=tcp://{address}:8765",
        f"FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765",
        f"FOOSERVICE_PORT_8765_TCP_ADDR={address}",
        "FOOSERVICE_PORT_8765_TCP_PORT=8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
        f"FOOSERVICE_SERVICE_HOST={address}",
        "FOOSERVICE_SERVICE_PORT=8765",
    ]


def test_a_container_knows_its_pod_its_node_and_what_that_has_where_it_has_no_limits(node: Node) -> None:
    variables = env(
        A=field("metadata.name"), B=field("metadata.namespace"), C=field("metadata.uid"),
        D=field("status.podIP"), E=field("status.hostIP"), F=resource("limits.cpu"), G=resource("limits.memory", "1Ki"),
    )  # fmt: skip
    items = [
        {"path": n, "resourceFieldRef": {"containerName": "c", "resource": n, "divisor": d}}
        for n, d in (("limits.cpu", "1"), ("limits.memory", "1Ki"))
    ]
    script = "echo $A $B $C $D $E $F $G; cd /v; echo $(cat limits.cpu) $(cat limits.memory)"
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "downwardAPI": {"items": items}}]
    container = {"command": ["sh", "-c", script], "env": variables, "volumeMounts": mounts}
    node.run("knows", container, volumes=volumes, restartPolicy="Never")
    pod = node.ended("knows")
    first, second = node.log("knows").splitlines()
    has = json.loads(node.kubectl("get", "node", "node-1", "-o", "json"))["status"]["allocatable"]
    amounts = [has["cpu"], has["memory"].removesuffix("Ki")]
    assert second.split() == amounts
    name, namespace, uid, address, host, *rest = first.split()
    assert [name, namespace, uid] == ["knows", "default", pod["metadata"]["uid"]]
    assert host == pod["status"]["hostIP"] and address.startswith("10.244.") and rest == amounts


def test_a_pod_of_which_it_is_said_later_how_long_it_may_run_ends_then(node: Node) -> None:
    node.run("limited", SLEEP)
    node.ready("limited")
    node.patch("pod", "limited", {"spec": {"activeDeadlineSeconds": 2}})
    status = node.ended("limited")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_the_node_keeps_the_hosts_of_pods_that_have_their_own_network_and_bring_none(node: Node) -> None:
    mount = {"volumeMounts": [{"name": "host", "mountPath": "/etc/hosts"}]}
    others = [{"name": "own", "image": "process", **SLEEP, **mount}]
    volumes = [{"name": "host", "hostPath": {"path": "/etc/hosts", "type": "File"}}]
    node.run("kept", SLEEP, others=others, volumes=volumes)
    node.run("on-host", SLEEP, hostNetwork=True)
    node.ready("kept", "on-host")
    assert node.sh("kept", "head -1 /etc/hosts") == "# Kubernetes-managed hosts file.\n"
    assert node.sh("kept", "cat /etc/hosts", "own") == Path("/etc/hosts").read_text()
    assert Path("/etc/hosts").read_text() in node.sh("on-host", "cat /etc/hosts")


def test_a_pod_with_names_of_sysctls_that_cannot_be_is_refused(node: Node) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sysctls"},
        "spec": {
            "securityContext": {
                "sysctls": [
                    {"name": "foo-", "value": "bar"},
                    {"name": "kernel.shmmax", "value": "100000000"},
                    {"name": "bar..", "value": "42"},
                ]
            },
            "containers": [{"name": "c", "image": "process"}],
        },
    }
    said = node.kubectl.fails("create", "-f", "-", stdin=json.dumps(pod))
    assert (
        'sysctls[0].name: Invalid value: "foo-"' in said and 'sysctls[2].name: Invalid value: "bar.."' in said
    )
    assert "kernel.shmmax" not in said


HOOKS = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""


def test_hooks_are_called_after_the_start_and_before_the_end(node: Node) -> None:
    node.run(
        "hooked",
        {
            "command": ["python3", "-c", HOOKS],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        },
    )
    node.ready("hooked")
    host = node.pod("hooked")["status"]["podIP"]
    ask = f"import urllib.request; urllib.request.urlopen('http://{host}:8080/exec-"

    def hook(way: str, when: str) -> Tree:
        if way == "http":
            return {"httpGet": {"host": host, "port": 8080, "path": f"/http-{when}"}}
        return {"exec": {"command": ["python3", "-c", f"{ask}{when}')"]}}

    for way in ("exec", "http"):
        hooks = {"postStart": hook(way, "start"), "preStop": hook(way, "stop")}
        node.run(f"calls-{way}", {**SLEEP, "lifecycle": hooks}, terminationGracePeriodSeconds=4)
    node.ready("calls-exec", "calls-http")
    assert set(node.log("hooked").split()) == {"/exec-start", "/http-start"}
    node.kubectl("delete", "pod", "calls-exec", "calls-http", "--timeout=100s")
    assert set(node.log("hooked").split()) == {"/exec-start", "/http-start", "/exec-stop", "/http-stop"}


def test_containers_share_their_volumes(node: Node) -> None:
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    command = ["sh", "-c", "until cat /v/said 2> /dev/null; do sleep 0.1; done"]
    writer = {"name": "w", "image": "process", "command": ["sh", "-c", "echo hello > /v/said"], **mounts}
    node.run(
        "shares",
        {"command": command, **mounts},
        others=[writer],
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )
    assert node.ended("shares")["status"]["phase"] == "Succeeded"
    assert node.log("shares", "-c", "c") == "hello\n"


def test_pods_with_many_volumes_start_side_by_side(node: Node) -> None:
    names = [f"racy-{number}" for number in range(50)]
    node.create(
        *(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n}, "data": {"data-1": "value-1"}}
            for n in names
        )
    )
    volumes = [
        {"name": n, "configMap": {"name": n, "items": [{"key": "data-1", "path": "data-1"}]}} for n in names
    ]
    mounts = [{"name": n, "mountPath": f"/etc/config-{n}"} for n in names]
    template = {
        "metadata": {"labels": {"name": "race"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "process", **SLEEP, "volumeMounts": mounts}],
            "volumes": volumes,
        },
    }
    spec = {"replicas": 5, "selector": {"name": "race"}, "template": template}
    node.create(
        {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "race"}, "spec": spec}
    )
    node.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=5", "rc/race", "--timeout=120s")
    assert "FailedMount" not in node.kubectl("get", "events")
    node.kubectl("delete", "rc", "race")


def test_the_server_is_called_as_those_in_the_cluster_find_it(node: Node) -> None:
    url = httpx.URL(node.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"))
    pem = ssl.get_server_certificate((url.host, url.port or 443))
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    found = names.value.get_values_for_type(x509.DNSName)
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    assert {*service, "kubernetes.default.svc.cluster.local"} <= set(found)


def test_an_image_is_a_volume_that_nobody_writes_to(node: Node) -> None:
    volumes = [{"name": "v", "image": {"reference": "files:1", "pullPolicy": "Always"}}]
    mounts = [
        {"name": "v", "mountPath": "/whole"},
        {"name": "v", "mountPath": "/part", "subPath": "etc"},
    ]
    script = "cat /whole/etc/data.json /part/data.json; (echo no > /whole/file) 2> /dev/null || echo refused"
    node.run(
        "pictures",
        {"command": ["sh", "-c", script], "volumeMounts": mounts},
        volumes=volumes,
        restartPolicy="Never",
    )
    node.ended("pictures")
    assert node.log("pictures") == "kitten.jpg\nkitten.jpg\nrefused\n"
    volumes = [{"name": "v", "image": {"reference": "none:1"}}]
    node.run("blank", {**SLEEP, "volumeMounts": mounts[:1]}, volumes=volumes)
    failed = ("get", "events", "--field-selector=involvedObject.name=blank,reason=FailedMount", "-o", "name")
    assert eventually(lambda: node.kubectl(*failed))


def test_what_is_mounted_may_be_kept_from_being_run(node: Node) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    mounts = [{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec"]}]
    script = "echo 'echo ran' > /v/program; chmod +x /v/program; /v/program 2> /dev/null || echo $?"
    node.run(
        "data",
        {"command": ["sh", "-c", script], "volumeMounts": mounts},
        volumes=volumes,
        restartPolicy="Never",
    )
    node.ended("data")
    assert node.log("data") == "126\n"
