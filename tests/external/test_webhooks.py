"""Webhooks and aggregated API servers, as people see them with kubectl."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from kubelib.client.kubeconfig import load_connection
from kubelib.testing.certificates import Authority
from kubelib.testing.cluster import Cluster as HookServer
from kubelib.testing.webhooks import Webhook, allowed, configuration, denied, mutated, on
from reference_cluster.cli import kubelib
from tests.external.conftest import Cluster, Kubectl, eventually

Tree = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
Configure = Callable[..., Webhook]


@pytest.fixture(scope="module")
def server() -> Iterator[HookServer]:
    """What serves the webhooks: the cluster that asks them is another."""
    with HookServer() as running:
        yield running


@pytest.fixture
def configure(server: HookServer, kubectl: Kubectl, namespace: str) -> Iterator[Configure]:
    """Configure a webhook for the namespace of the test, for as long as the test runs."""
    made: list[tuple[str, str]] = []

    def configure(review: Callable[[Tree], Tree], *, mutating: bool = False, **fields: Any) -> Webhook:
        name = f"{'m' if mutating else 'v'}.{namespace}.example.com"[-60:].lstrip(".-")
        served = server.serve_webhook(review, path=f"/{name}")
        here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        rules = fields.pop("rules", [on("configmaps")])
        tree = configuration(
            served, name=name, mutating=mutating, rules=rules, namespaceSelector=here, **fields
        )
        made.append((tree["kind"], name))
        kubectl("apply", "-f", "-", stdin=json.dumps(tree))
        return served

    yield configure
    for kind, name in made:
        kubectl("delete", kind, name)


def test_a_mutating_webhook_labels_what_is_created(
    configure: Configure, kubectl: Kubectl, namespace: str
) -> None:
    def label(review: Tree) -> Tree:
        return mutated(review, lambda tree: tree["metadata"].setdefault("labels", {}).update(by="webhook"))

    asked = configure(label, mutating=True).asked
    kubectl("create", "configmap", "a", "-n", namespace)
    labels = kubectl("get", "configmap", "a", "-n", namespace, "-o", "jsonpath={.metadata.labels}")
    assert json.loads(labels) == {"by": "webhook"}
    request = asked[-1]["request"]
    assert request["userInfo"]["username"] == "kubernetes-admin"
    assert request["options"]["fieldManager"] == "kubectl-create"


def test_a_validating_webhook_denies_in_its_own_words(
    configure: Configure, kubectl: Kubectl, namespace: str
) -> None:
    def judge(review: Tree) -> Tree:
        data = (review["request"]["object"] or {}).get("data", {})
        return denied("secrets belong into Secrets") if "password" in data else allowed("look twice")

    configure(judge, rules=[on("configmaps", "CREATE", "UPDATE")])
    refused = kubectl.fails("create", "configmap", "a", "-n", namespace, "--from-literal", "password=x")
    name = refused.split('"')[1]
    assert refused == (
        f'error: failed to create configmap: admission webhook "{name}" denied the request:'
        " secrets belong into Secrets\n"
    )
    warned = kubectl.run("create", "configmap", "a", "-n", namespace, "--from-literal", "user=x")
    assert warned.returncode == 0
    assert "Warning: look twice" in warned.stderr
    edited = kubectl.fails("patch", "configmap", "a", "-n", namespace, "-p", '{"data":{"password":"x"}}')
    assert "secrets belong into Secrets" in edited


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_a_webhook_that_hangs_counts_by_its_policy(
    configure: Configure, kubectl: Kubectl, namespace: str, policy: str
) -> None:
    async def hang(review: Tree) -> Tree:
        import anyio

        await anyio.sleep(3)
        return allowed()

    configure(hang, timeoutSeconds=1, failurePolicy=policy)
    if policy == "Ignore":
        kubectl("create", "configmap", "a", "-n", namespace)
    else:
        refused = kubectl.fails("create", "configmap", "a", "-n", namespace)
        assert "Internal error occurred: failed calling webhook" in refused
        assert "context deadline exceeded" in refused


def test_a_dry_run_asks_and_stores_nothing(configure: Configure, kubectl: Kubectl, namespace: str) -> None:
    asked = configure(lambda review: allowed()).asked
    kubectl("create", "configmap", "a", "-n", namespace, "--dry-run=server")
    assert asked[-1]["request"]["dryRun"] is True
    assert "not found" in kubectl.fails("get", "configmap", "a", "-n", namespace)


def test_deleting_scaling_and_commands_can_be_refused(
    configure: Configure, kubectl: Kubectl, namespace: str
) -> None:
    rules = [
        on("deployments/scale", "UPDATE", group="apps"),
        on("configmaps", "DELETE"),
        on("pods/exec pods/attach", "CONNECT"),
    ]

    def refuse(review: Tree) -> Tree:
        request = review["request"]
        return denied(f"no {request['operation']} of {request['kind']['kind']}")

    kubectl("create", "configmap", "a", "-n", namespace)
    kubectl("create", "deployment", "d", "-n", namespace, "--image", "process", "--", "sleep", "1000")
    kubectl("rollout", "status", "deployment/d", "-n", namespace, "--timeout", "60s")
    configure(refuse, rules=rules)
    assert "no DELETE of ConfigMap" in kubectl.fails("delete", "configmap", "a", "-n", namespace)
    assert "no UPDATE of Scale" in kubectl.fails("scale", "deployment/d", "-n", namespace, "--replicas=2")
    assert "no CONNECT of PodExecOptions" in kubectl.fails(
        "exec", "deployment/d", "-n", namespace, "--", "true"
    )


@pytest.fixture
def flights(cluster: Cluster, kubectl: Kubectl) -> Iterator[None]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [sys.executable, "-m", "examples.aggregated"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"flights are served: kubectl get flights\n"
            kubectl("wait", "apiservice/v1.travel.example.com", "--for=condition=Available", "--timeout=120s")
            yield
        finally:
            process.terminate()
            process.wait(120)
            kubectl("delete", "apiservice/v1.travel.example.com")


FLIGHT = """
apiVersion: travel.example.com/v1
kind: Flight
metadata: {name: lh400}
spec: {origin: FRA, destination: JFK}
"""


def test_a_kind_of_another_server_is_like_any_other(flights: None, kubectl: Kubectl) -> None:
    assert "lh400 created" in kubectl("create", "-f", "-", stdin=FLIGHT)
    assert "lh400 configured" in kubectl("apply", "-f", "-", stdin=FLIGHT.replace("JFK", "EWR"))
    header, line = kubectl("get", "flights").splitlines()
    assert header.split() == ["NAME", "FROM", "TO", "AGE"]
    assert line.split()[:3] == ["lh400", "FRA", "EWR"]
    assert kubectl("get", "fl", "-o", "name") == "flight.travel.example.com/lh400\n"
    eventually(lambda: "destination" in kubectl("explain", "flights.spec"))
    resources = kubectl("api-resources", "--api-group=travel.example.com", "--no-headers")
    assert resources.split() == ["flights", "fl", "travel.example.com/v1", "true", "Flight"]
    services = kubectl("get", "apiservices", "--no-headers").splitlines()
    shown = {line.split()[0]: line.split()[1:3] for line in services}
    assert shown["v1."] == shown["v1.apps"] == ["Local", "True"]
    assert shown["v1.travel.example.com"] == ["default/flights", "True"]
    assert "deleted" in kubectl("delete", "flight", "lh400")


def test_a_server_that_is_gone_leaves_the_rest_alone(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    tree = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.gone.example.com"},
        "spec": {
            "group": "gone.example.com",
            "version": "v1",
            "service": {"namespace": namespace, "name": "gone"},
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(tree))
    try:
        eventually(lambda: "False (ServiceNotFound)" in kubectl("get", "apiservice", "v1.gone.example.com"))
        kubectl("create", "configmap", "a", "-n", namespace)
        raw = kubectl.fails("get", "--raw", "/apis/gone.example.com/v1/things")
        assert "the server is currently unable to handle the request" in raw
    finally:
        kubectl("delete", "apiservice", "v1.gone.example.com")


def test_proxies_of_an_authority_of_their_own_are_believed(tmp_path: Path) -> None:
    """The options of kube-apiserver: whose certificate makes a proxy, and in which header it says who asks."""
    proxies = Authority()
    (tmp_path / "proxies.crt").write_bytes(proxies.certificate)
    options = [
        "--requestheader-client-ca-file", str(tmp_path / "proxies.crt"),
        "--requestheader-allowed-names", "portal,other",
        "--requestheader-username-headers", "X-Portal-User",
        "--nodes", "0",
    ]  # fmt: skip
    running = Cluster(tmp_path / "data", "--listen", "127.0.0.1:0", *options)
    running.start()
    try:
        admin = load_connection([running.kubeconfig])

        def who(name: str) -> Any:
            context = ssl.create_default_context(cadata=admin.ca_data.decode())
            proxies.client(name).load_into(context)
            with httpx.Client(base_url=admin.server, verify=context, trust_env=False, timeout=120) as http:
                answer = http.post(
                    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                    json={"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"},
                    headers={"x-portal-user": "jane", "x-remote-user": "joe", "x-remote-group": "devs"},
                )
            return answer.json()["status"]["userInfo"] if answer.status_code == 201 else answer.status_code

        assert who("portal") == {"username": "jane", "groups": ["devs", "system:authenticated"]}
        assert who("stranger") == 403
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--requestheader-allowed-names", "a"], "needs --requestheader-client-ca-file"),
        (["--requestheader-client-ca-file", "/none"], "cannot read /none"),
        (["--proxy-client-cert-file", "/none"], "use --proxy-client-cert-file and --proxy-client-key-file"),
    ],
)
def test_options_of_proxies_that_cannot_be_are_refused(options: list[str], words: str) -> None:
    done = CliRunner().invoke(kubelib, ["apiserver", "--data-dir", "/none", *options])
    assert done.exit_code == 1
    assert words in done.output
