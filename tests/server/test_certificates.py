"""Certificates for those who ask, from the request to the certificate, and tokens by which strangers may ask."""

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubelib.api.certificates import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
)
from kubelib.api.meta import ObjectMeta
from kubelib.controllers.bootstraptokens import detached_signature
from kubelib.controllers.builtin.csrcleaner import is_due
from kubelib.controllers.certificates import Wanted, lifetime, problem
from kubelib.testing.cluster import Cluster

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
CLIENT = "kubernetes.io/kube-apiserver-client"
CONTROLLERS = pytest.mark.kubelib(controllers=True)


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def pem_request(name: str, groups: Sequence[str] = (), dns: Sequence[str] = ()) -> str:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in dns])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def csr(
    name: str, signer: str, request: str, usages: Sequence[str] = ("client auth",), **spec: Any
) -> dict[str, Any]:
    return {
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"name": name},
        "spec": {"signerName": signer, "request": request, "usages": list(usages), **spec},
    }


def approve(admin: httpx.Client, name: str, decision: str = "Approved", **headers: str) -> httpx.Response:
    tree = admin.get(f"{CSRS}/{name}").json()
    condition = {"type": decision, "status": "True", "reason": "Test", "message": "by a test"}
    tree.setdefault("status", {})["conditions"] = [condition]
    return admin.put(f"{CSRS}/{name}/approval", json=tree, headers=headers)


def certificate(kubelib_cluster: Cluster, admin: httpx.Client, name: str) -> x509.Certificate:
    found = kubelib_cluster.eventually(
        lambda: admin.get(f"{CSRS}/{name}").json()["status"].get("certificate")
    )
    return x509.load_pem_x509_certificate(base64.b64decode(found))


def bind(admin: httpx.Client, role: str, kind: str, name: str) -> None:
    body = {
        "kind": "ClusterRoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": f"{role}-{name}".replace(":", "-")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    assert admin.post(f"{RBAC}/clusterrolebindings", json=body).status_code == 201


def token_secret(identity: str, word: str, **data: str) -> dict[str, Any]:
    data = {
        "token-id": identity, "token-secret": word, "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true", **{name.replace("_", "-"): value for name, value in data.items()},
    }  # fmt: skip
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": f"bootstrap-token-{identity}"},
        "stringData": data,
    }


def who(admin: httpx.Client, token: str) -> httpx.Response:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    headers = {"authorization": f"Bearer {token}"}
    return admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json=body, headers=headers)


@CONTROLLERS
def test_an_approved_request_is_signed_for_the_time_asked(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    body = csr(
        "jane",
        CLIENT,
        pem_request("jane", ["dev"]),
        ["client auth", "digital signature"],
        expirationSeconds=3600,
    )
    body["spec"] |= {"username": "somebody-else", "groups": ["system:masters"]}
    made = admin.post(CSRS, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["spec"]["username"] == "admin", "the server says who asks"
    decided = approve(admin, "jane")
    assert decided.status_code == 200, decided.text
    (condition,) = decided.json()["status"]["conditions"]
    assert condition["lastUpdateTime"]
    assert condition["lastTransitionTime"]
    signed = certificate(kubelib_cluster, admin, "jane")
    assert signed.subject.rfc4514_string() == "CN=jane,O=dev"
    left = signed.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    usage = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@CONTROLLERS
def test_what_a_signer_does_not_sign_fails_with_the_reason(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    body = csr("bad", KUBELET, pem_request("system:node:n", ["dev"]), ["client auth", "digital signature"])
    assert admin.post(CSRS, json=body).status_code == 201
    assert approve(admin, "bad").status_code == 200

    def failed() -> Any:
        conditions = admin.get(f"{CSRS}/bad").json()["status"]["conditions"]
        return next((c for c in conditions if c["type"] == "Failed"), None)

    condition = kubelib_cluster.eventually(failed)
    assert condition["reason"] == "SignerValidationFailure"
    assert condition["message"] == "subject organization is not system:nodes"


@CONTROLLERS
def test_kubelets_are_approved_by_what_they_may_and_who_they_are(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    request = pem_request("system:node:new", ["system:nodes"])
    usages = ["digital signature", "client auth"]
    bind(admin, "system:node-bootstrapper", "Group", "system:bootstrappers")
    bind(
        admin,
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "Group",
        "system:bootstrappers:trusted",
    )
    for identity, groups in (("abcdef", ""), ("trusty", "system:bootstrappers:trusted")):
        secret = token_secret(identity, "0123456789abcdef", auth_extra_groups=groups)
        assert admin.post(SECRETS, json=secret).status_code == 201
        headers = {"authorization": f"Bearer {identity}.0123456789abcdef"}
        made = admin.post(CSRS, json=csr(f"of-{identity}", KUBELET, request, usages), headers=headers)
        assert made.status_code == 201, made.text
        assert made.json()["spec"]["username"] == f"system:bootstrap:{identity}"
    signed = certificate(kubelib_cluster, admin, "of-trusty")
    assert signed.subject.rfc4514_string() == "CN=system:node:new,O=system:nodes"
    conditions = admin.get(f"{CSRS}/of-trusty").json()["status"]["conditions"]
    assert conditions[0]["reason"] == "AutoApproved"
    assert not admin.get(f"{CSRS}/of-abcdef").json()["status"].get("conditions")
    # A node renews its own certificate once nodes may, and nobody else's.
    bind(
        admin, "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "Group", "system:nodes"
    )
    node = {"impersonate-user": "system:node:new", "impersonate-group": "system:nodes"}
    other = pem_request("system:node:other", ["system:nodes"])
    assert admin.post(CSRS, json=csr("other", KUBELET, other, usages), headers=node).status_code == 403
    assert admin.post(CSRS, json=csr("own", KUBELET, request, usages), headers=node).status_code == 201
    certificate(kubelib_cluster, admin, "own")


def test_the_request_stays_and_each_door_lets_in_only_its_part(admin: httpx.Client) -> None:
    body = csr("a", CLIENT, pem_request("jane"))
    assert admin.post(CSRS, json=body).status_code == 201
    tree = admin.get(f"{CSRS}/a").json()
    tree["spec"]["usages"] = ["any"]
    tree["metadata"]["labels"] = {"a": "b"}
    tree["status"] = {"certificate": "eA=="}
    changed = admin.put(f"{CSRS}/a", json=tree).json()
    assert changed["spec"]["usages"] == ["client auth"]
    assert changed["metadata"]["labels"] == {"a": "b"}
    assert not changed["status"]
    changed["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
    refused = admin.put(f"{CSRS}/a/status", json=changed)
    assert refused.status_code == 422
    assert refused.json()["details"]["causes"] == [
        {
            "reason": "FieldValueForbidden",
            "message": 'Forbidden: updates may not add a condition of type "Approved"',
            "field": "status.conditions",
        }
    ]
    assert approve(admin, "a", "Denied").status_code == 200
    tree = admin.get(f"{CSRS}/a").json()
    tree["status"]["conditions"] = []
    assert admin.put(f"{CSRS}/a/approval", json=tree).status_code == 422, "a decision is not taken back"
    refused = admin.put(f"{CSRS}/a/status", json=tree)
    assert 'updates may not remove a condition of type "Denied"' in refused.json()["message"]


def test_decisions_do_not_change_with_the_status_and_failures_do_not_go(admin: httpx.Client) -> None:
    assert admin.post(CSRS, json=csr("f", CLIENT, pem_request("jane"))).status_code == 201
    assert approve(admin, "f", "Denied").status_code == 200
    tree = admin.get(f"{CSRS}/f").json()
    [denied] = tree["status"]["conditions"]
    failed = {"type": "Failed", "status": "True", "reason": "Tried"}
    tree["status"]["conditions"] = [{**denied, "reason": "Other", "message": "changed"}, failed]
    written = admin.put(f"{CSRS}/f/status", json=tree)
    assert written.status_code == 200, written.text
    kept, noted = written.json()["status"]["conditions"]
    assert kept == denied
    assert (noted["type"], bool(noted["lastTransitionTime"])) == ("Failed", True)
    tree = written.json()
    tree["status"]["conditions"] = [kept]
    for door in ("status", "approval"):
        refused = admin.put(f"{CSRS}/f/{door}", json=tree)
        assert refused.status_code == 422
        assert 'updates may not remove a condition of type "Failed"' in refused.json()["message"]


def test_only_who_may_approve_for_the_signer_approves(admin: httpx.Client) -> None:
    assert admin.post(CSRS, json=csr("a", CLIENT, pem_request("jane"))).status_code == 201
    rules = [
        {
            "verbs": ["*"],
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests/approval"],
        },
        {
            "verbs": ["approve"],
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"],
            "resourceNames": ["example.com/*"],
        },
    ]
    role = {
        "kind": "ClusterRole",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "clerk"},
        "rules": rules,
    }
    assert admin.post(f"{RBAC}/clusterroles", json=role).status_code == 201
    bind(admin, "clerk", "User", "clerk")
    clerk = {"impersonate-user": "clerk"}
    refused = approve(admin, "a", **clerk)
    assert refused.status_code == 403
    assert f'user not permitted to approve requests with signerName "{CLIENT}"' in refused.json()["message"]
    assert admin.post(CSRS, json=csr("b", "example.com/x", pem_request("jane"))).status_code == 201
    assert approve(admin, "b", **clerk).status_code == 200


@pytest.mark.parametrize(
    ("signer", "wanted", "usages", "why"),
    [
        (CLIENT, Wanted("a", ()), ("client auth",), ""),
        (
            CLIENT,
            Wanted("a", ()),
            ("server auth", "client auth"),
            "invalid usage for client certificate: server auth",
        ),
        (
            CLIENT,
            Wanted("a", ()),
            ("digital signature",),
            "missing required usage for client certificate: client auth",
        ),
        (KUBELET, Wanted("system:node:a", ("system:nodes",)), ("client auth", "digital signature"), ""),
        (
            KUBELET,
            Wanted("system:node:a", ("system:nodes", "x")),
            ("client auth", "digital signature"),
            "organization",
        ),
        (KUBELET, Wanted("a", ("system:nodes",)), ("client auth", "digital signature"), "common name"),
        (
            KUBELET,
            Wanted("system:node:a", ("system:nodes",), ("h",)),
            ("client auth", "digital signature"),
            "DNS",
        ),
        (
            KUBELET,
            Wanted("system:node:a", ("system:nodes",)),
            ("client auth",),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            "kubernetes.io/kubelet-serving",
            Wanted("system:node:a", ("system:nodes",), ("h",)),
            ("server auth", "digital signature"),
            "",
        ),
        (
            "kubernetes.io/kubelet-serving",
            Wanted("system:node:a", ("system:nodes",)),
            ("server auth", "digital signature"),
            "DNS or IP subjectAltName is required",
        ),
    ],
)
def test_signers_sign_what_kubernetes_signs(
    signer: str, wanted: Wanted, usages: Sequence[str], why: str
) -> None:
    found = problem(signer, wanted, usages)
    assert (why in found) if why else not found


def test_lifetimes_are_held_between_ten_minutes_and_a_year() -> None:
    assert lifetime(None) == timedelta(days=365)
    assert lifetime(1) == timedelta(minutes=10)
    assert lifetime(7200) == timedelta(hours=2)
    assert lifetime(10**9) == timedelta(days=365)


@pytest.mark.parametrize(
    ("types", "age", "due"),
    [
        ((), 23, False), ((), 25, True), (("Denied",), 0.5, False), (("Denied",), 2, True), (("Failed",), 2, True),
        (("Approved",), 20, False), (("Approved",), 25, True), (("Approved", "Failed"), 2, True),
    ],
)  # fmt: skip
def test_answered_requests_go_soon_and_others_late(types: Sequence[str], age: float, due: bool) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    then = now - timedelta(hours=age)
    conditions = tuple(
        CertificateSigningRequestCondition(type=kind, status="True", last_update_time=then) for kind in types
    )
    request = CertificateSigningRequest(
        metadata=ObjectMeta(name="a", creation_timestamp=then),
        status=CertificateSigningRequestStatus(conditions=conditions),
    )
    assert is_due(request, now) is due


def test_a_bootstrap_token_stands_for_its_bootstrapper(admin: httpx.Client) -> None:
    secret = token_secret(
        "abcdef", "0123456789abcdef", auth_extra_groups="system:bootstrappers:b,system:bootstrappers:a"
    )
    assert admin.post(SECRETS, json=secret).status_code == 201
    user = who(admin, "abcdef.0123456789abcdef").json()["status"]["userInfo"]
    assert user["username"] == "system:bootstrap:abcdef"
    assert user["groups"] == [
        "system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b", "system:authenticated",
    ]  # fmt: skip
    assert who(admin, "abcdef.0123456789abcdeX").status_code == 401
    assert who(admin, "abcdef.0123456789abcde0").status_code == 401
    assert admin.delete(f"{SECRETS}/bootstrap-token-abcdef").status_code == 200
    assert who(admin, "abcdef.0123456789abcdef").status_code == 401


@pytest.mark.parametrize(
    "data",
    [
        {"expiration": "2020-01-01T00:00:00Z"},
        {"expiration": "soon"},
        {"usage_bootstrap_authentication": "false"},
        {"auth_extra_groups": "system:masters"},
        {"auth_extra_groups": "system:bootstrappers:A"},
        {"token_id": "other0"},
    ],
)
def test_tokens_that_are_not_for_this_open_nothing(admin: httpx.Client, data: dict[str, str]) -> None:
    assert admin.post(SECRETS, json=token_secret("abcdef", "0123456789abcdef", **data)).status_code == 201
    assert who(admin, "abcdef.0123456789abcdef").status_code == 401


def test_only_secrets_of_the_type_are_tokens(admin: httpx.Client) -> None:
    secret = token_secret("abcdef", "0123456789abcdef") | {"type": "Opaque"}
    assert admin.post(SECRETS, json=secret).status_code == 201
    assert who(admin, "abcdef.0123456789abcdef").status_code == 401


@CONTROLLERS
def test_cluster_info_is_signed_with_each_token_and_expired_tokens_go(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    maps = "/api/v1/namespaces/kube-public/configmaps"
    info = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": "apiVersion: v1\n"},
    }
    assert admin.post(maps, json=info).status_code == 201
    assert admin.post(SECRETS, json=token_secret("abcdef", "0123456789abcdef")).status_code == 201
    wanted = detached_signature("apiVersion: v1\n", "abcdef", "0123456789abcdef")

    def signatures() -> dict[str, str]:
        data = admin.get(f"{maps}/cluster-info").json()["data"]
        return {name: value for name, value in data.items() if name.startswith("jws-")}

    kubelib_cluster.eventually(lambda: signatures() == {"jws-kubeconfig-abcdef": wanted})
    expired = token_secret("gggggg", "0123456789abcdef", expiration="2020-01-01T00:00:00Z")
    assert admin.post(SECRETS, json=expired).status_code == 201
    kubelib_cluster.eventually(lambda: admin.get(f"{SECRETS}/bootstrap-token-gggggg").status_code == 404)
    assert admin.delete(f"{SECRETS}/bootstrap-token-abcdef").status_code == 200
    kubelib_cluster.eventually(lambda: signatures() == {})
    # Anonymous clients read it only where a role says so.
    with httpx.Client(base_url=kubelib_cluster.url, timeout=60) as stranger:
        assert stranger.get(f"{maps}/cluster-info").status_code == 403


def test_the_signature_of_cluster_info_is_that_of_kubeadm() -> None:
    # From the published test of k8s.io/cluster-bootstrap/token/jws.
    content = "Hello from the other side. I must have called a thousand times."
    assert detached_signature(content, "joshua", "my voice is my passcode") == (
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
    )
