"""Who may what, by unmodified kubectl: certificates, rights, tokens, acting as others; nodes that join by a token."""

import base64
import json
import re
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import anyio
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.controllers.bootstraptokens import detached_signature
from reference_cluster import pki
from reference_cluster.cli import kubelib
from reference_cluster.credentials import write_node_credentials
from reference_cluster.join import ClientCertificate
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary
from tests.external.processes import Daemon
from tests.external.processes import kubelib as kubelib_says


def test_a_user_gets_a_certificate_by_kubectl_and_works_with_it(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dev"),
            x509.NameAttribute(NameOID.COMMON_NAME, "jane"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    manifest = f"""
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: jane}}
spec:
  request: {base64.b64encode(pem).decode()}
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 86400
  usages: [client auth]
"""
    kubectl("apply", "-f", "-", stdin=manifest)
    assert "Pending" in kubectl("get", "csr", "jane")
    assert "approved" in kubectl("certificate", "approve", "jane")
    certificate = eventually(lambda: kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}"))
    assert "Approved,Issued" in kubectl("get", "csr", "jane")
    cert, private = tmp_path / "jane.crt", tmp_path / "jane.key"
    cert.write_bytes(base64.b64decode(str(certificate)))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubectl.kubeconfig.read_text())
    jane = Kubectl(kubectl.binary, kubeconfig, tmp_path / "cache")
    jane("config", "set-credentials", "jane", f"--client-certificate={cert}", f"--client-key={private}")
    jane("config", "set-context", "--current", "--user=jane")
    kubectl("create", "rolebinding", "dev", "--clusterrole=view", "--group=dev", "-n", namespace)
    assert "No resources found" in jane.run("get", "pods", "-n", namespace).stderr
    assert "forbidden" in jane.fails("get", "secrets", "-n", namespace)
    assert "jane" in jane("auth", "whoami")


def test_a_denied_request_stays_denied(kubectl: Kubectl) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bob")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    encoded = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    manifest = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "bob"},
        "spec": {
            "request": encoded,
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    assert "denied" in kubectl("certificate", "deny", "bob")
    assert "Denied" in kubectl("get", "csr", "bob")
    kubectl.fails("certificate", "approve", "bob")


def test_kubectl_asks_what_is_allowed(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log", "-n", namespace)
    kubectl("create", "rolebinding", "reader", "--role=reader", "--user=bob", "-n", namespace)
    assert kubectl("auth", "can-i", "get", "pods", "--as=bob", "-n", namespace).strip() == "yes"
    assert kubectl("auth", "can-i", "get", "pods/log", "--as=bob", "-n", namespace).strip() == "yes"
    assert kubectl.run("auth", "can-i", "delete", "pods", "--as=bob", "-n", namespace).stdout.strip() == "no"
    listed = kubectl("auth", "can-i", "--list", "--as=bob", "-n", namespace)
    assert "pods" in listed
    assert "selfsubjectreviews.authentication.k8s.io" in listed
    assert "/version" in listed
    assert kubectl("auth", "can-i", "*", "*", "--all-namespaces").strip() == "yes"
    who = kubectl(
        "auth", "whoami", "--as=bob", "--as-group=ops", "--as-uid=7", "--as-user-extra=why=test", "-o", "json"
    )
    user = json.loads(who)["status"]["userInfo"]
    assert user == {
        "username": "bob", "uid": "7", "groups": ["ops", "system:authenticated"], "extra": {"why": ["test"]},
    }  # fmt: skip


def test_kubectl_reconciles_roles_and_their_bindings(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    def manifest(verbs: str, user: str) -> str:
        return f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: r, namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [pods], verbs: {verbs}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: b, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
"""

    file = tmp_path / "roles.yaml"
    for verbs, user in (("[get]", "ann"), ("[list]", "joe")):
        file.write_text(manifest(verbs, user))
        kubectl("auth", "reconcile", "-f", str(file))
    for user in ("ann", "joe"):
        for verb in ("get", "list"):
            assert kubectl("auth", "can-i", verb, "pods", f"--as={user}", "-n", namespace).strip() == "yes"


def test_kubectl_creates_tokens_that_stand_for_their_account(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "robot", "-n", namespace)
    token = kubectl("create", "token", "robot", "-n", namespace, "--duration=1h").strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubectl.kubeconfig.read_text())
    robot = Kubectl(kubectl.binary, kubeconfig, tmp_path / "cache")
    robot("config", "set-credentials", "robot", f"--token={token}")
    robot("config", "set-context", "--current", "--user=robot")
    shown = robot("auth", "whoami")
    assert f"system:serviceaccount:{namespace}:robot" in shown
    assert "authentication.kubernetes.io/credential-id" in shown
    kubectl("delete", "serviceaccount", "robot", "-n", namespace)
    assert "Unauthorized" in robot.run("get", "pods").stderr or "logged in" in robot.run("get", "pods").stderr


def test_flow_schemas_are_shown_with_their_levels(kubectl: Kubectl) -> None:
    shown = kubectl("get", "flowschemas")
    assert "exempt" in shown
    assert "global-default" in shown
    line = next(line for line in shown.splitlines() if line.startswith("service-accounts"))
    assert line.split()[1:4] == ["workload-low", "9000", "ByUser"]
    eventually(
        lambda: " True" not in kubectl("get", "flowschemas") and "False" in kubectl("get", "flowschemas")
    )
    assert "workload-high" in kubectl("get", "prioritylevelconfigurations")
    raw = kubectl("get", "--raw", "/debug/api_priority_and_fairness/dump_priority_levels")
    assert raw.startswith("PriorityLevelName")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Cluster, Path]":
    directory = tmp_path_factory.mktemp("audited")
    policy, log = directory / "policy.yaml", directory / "audit.log"
    policy.write_text(
        """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  namespaces: [default]
- level: None
"""
    )
    options = [
        "--listen",
        "127.0.0.1:0",
        "--nodes",
        "0",
        "--audit-policy-file",
        str(policy),
        "--audit-log-path",
        str(log),
    ]
    return Cluster(directory / "data", *options), log


def test_an_audit_log_is_kept_as_its_policy_says(audited: tuple[Cluster, Path], tmp_path: Path) -> None:
    cluster, log = audited
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "cache")
        kubectl("create", "configmap", "seen", "--from-literal=a=b")
        kubectl("create", "secret", "generic", "hidden", "--from-literal=password=tell-nobody")
        kubectl("create", "namespace", "other")
    finally:
        assert cluster.stop() == 0
    assert log.stat().st_mode & 0o777 == 0o600
    text = log.read_text()
    assert "tell-nobody" not in text
    events = [json.loads(line) for line in text.splitlines()]
    created = {event["objectRef"]["name"]: event for event in events if event["verb"] == "create"}
    assert created["seen"]["requestObject"]["data"] == {"a": "b"}
    assert created["seen"]["responseObject"]["metadata"]["uid"]
    assert created["hidden"]["level"] == "Metadata"
    assert "other" not in created


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--authorization-mode", "ABAC"], "is not an authorization mode"),
        (["--audit-log-path", "/tmp/x"], "needs --audit-policy-file"),
        (["--oidc-client-id", "x"], "needs --oidc-issuer-url"),
        (["--oidc-issuer-url", "http://x", "--oidc-client-id", "x"], "must be an https:// address"),
        (["--request-timeout", "soon"], "is no duration"),
        (["--cors-allowed-origins", "example.com"], "does not pin to start/end of host"),
        (["--cors-allowed-origins", "//a(:|$),"], "'': regular expression does not pin"),
        (["--cors-allowed-origins", "^(:"], "invalid regular expression"),
        (["--service-account-key-file", "/none"], "cannot read /none"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_sentence(options: list[str], words: str) -> None:
    done = CliRunner().invoke(kubelib, ["apiserver", "--data-dir", "/none", *options])
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1


class _Ahead:
    """A clock for which what was signed today is nearly over."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=350)


def test_a_node_joins_by_a_token_and_gets_and_renews_certificates_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, node = tmp_path / "master", tmp_path / "node"
    api = Daemon(
        tmp_path, "apiserver", "apiserver", "--data-dir", str(master), "--listen", "127.0.0.1:0"
    ).start()
    running = [api]
    try:
        manager = ("controller-manager", "--kubeconfig", str(master / "controller-manager.kubeconfig"))
        running.append(Daemon(tmp_path, "controller-manager", *manager).start())
        bootstrap = tmp_path / "bootstrap.kubeconfig"
        token = kubelib_says("token", "create", "--data-dir", str(master), "--out", str(bootstrap)).strip()
        assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token)
        assert bootstrap.stat().st_mode & 0o777 == 0o600
        kubeconfig = node / "kubeconfig"
        joining = (
            "kubelet", "new", "--bootstrap-kubeconfig", str(bootstrap), "--kubeconfig", str(kubeconfig), "--data-dir",
            str(node / "data"), "--port", "0", "--pod-network", "127.243.0.0/16",
        )  # fmt: skip
        running.append(Daemon(tmp_path, "kubelet", *joining).start())
        kubectl = Kubectl(real_binary("kubectl"), master / "admin.kubeconfig", tmp_path / "cache")
        eventually(lambda: " Ready " in kubectl("get", "node", "new"))
        for part in ("volumes", "pods", "logs"):  # nobody else on the machine reads what Pods get and say
            assert (node / "data" / "nodes" / "new" / part).stat().st_mode & 0o777 == 0o750
        own = Kubectl(real_binary("kubectl"), kubeconfig, tmp_path / "cache2")
        assert "system:node:new" in own("auth", "whoami")
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        # The certificate of its server waits for an administrator.
        kubectl.fails("get", "--raw", "/api/v1/nodes/new/proxy/pods")
        pending = kubectl(
            "get", "csr", "-o", "json", "--field-selector=spec.signerName=kubernetes.io/kubelet-serving"
        )
        (serving,) = [item["metadata"]["name"] for item in json.loads(pending)["items"]]
        kubectl("certificate", "approve", serving)
        eventually(lambda: "PodList" in kubectl("get", "--raw", "/api/v1/nodes/new/proxy/pods"))
        # Everybody may read how to trust the cluster, as kubeadm has it, and check it with the token.
        server = load_connection([kubeconfig])
        context = ssl.create_default_context(cadata=server.ca_data.decode())
        address = f"{server.server}/api/v1/namespaces/kube-public/configmaps/cluster-info"

        def signature() -> bool:
            with urllib.request.urlopen(address, context=context) as answer:
                data = json.loads(answer.read())["data"]
            identity, _, word = token.partition(".")
            return bool(
                data.get(f"jws-kubeconfig-{identity}")
                == detached_signature(data["kubeconfig"], identity, word)
            )

        eventually(signature)

        async def renew() -> None:
            before = load_connection([kubeconfig]).cert_data
            async with (
                HttpClient(load_connection([kubeconfig])) as client,
                anyio.create_task_group() as group,
            ):
                group.start_soon(ClientCertificate(client, kubeconfig, "new", _Ahead(), Random(1)).run)
                with anyio.fail_after(120):
                    while load_connection([kubeconfig]).cert_data == before:
                        await anyio.sleep(0.1)
                group.cancel_scope.cancel()

        anyio.run(renew)
        assert "system:node:new" in own("auth", "whoami")
        # So does a node that has been given what it needs: this certificate is nearly over, for it was signed as of five minutes ago.
        monkeypatch.setattr(pki, "LEAF_LIFETIME", timedelta(seconds=20))
        admin, given = load_connection([master / "admin.kubeconfig"]), tmp_path / "given"
        write_node_credentials(pki.Authority(master / "pki"), admin, "given", ("127.0.0.1",), given)
        before = (given / "kubeconfig").read_text()
        out = ("--data-dir", str(given / "data"), "--port", "0", "--pod-network", "127.242.0.0/16")
        running.append(
            Daemon(
                tmp_path, "given", "kubelet", "given", "--kubeconfig", str(given / "kubeconfig"), *out
            ).start()
        )
        eventually(lambda: (given / "kubeconfig").read_text() != before)
        late = Kubectl(real_binary("kubectl"), given / "kubeconfig", tmp_path / "cache3")
        assert "system:node:given" in late("auth", "whoami")
    finally:
        codes = [daemon.end() for daemon in reversed(running)]
    assert codes == [0, 0, 0, 0]
