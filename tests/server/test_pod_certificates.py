"""Certificates for Pods, and whom to trust: what may be asked for, given and said, by whom."""

import base64
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kubelib.api.times import format_time
from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.conformance.kinds import ANCHOR

GROUP = "/apis/certificates.k8s.io/v1"
REQUESTS, BUNDLES = f"{GROUP}/namespaces/default/podcertificaterequests", f"{GROUP}/clustertrustbundles"
KEY = ec.generate_private_key(ec.SECP256R1())
NOBODY = x509.Name([])
NUMBERS = itertools.count()


def stub(key: Any = KEY) -> str:
    made = x509.CertificateSigningRequestBuilder().subject_name(NOBODY).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


def request(name: str, **changes: Any) -> dict[str, Any]:
    spec = {
        "signerName": "example.com/pods", "podName": "p", "podUID": "1", "serviceAccountName": "s",
        "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3", "stubPKCS10Request": stub(),
    }  # fmt: skip
    return {"metadata": {"name": name}, "spec": spec | changes}


def condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": "Because", "message": "because"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        yield client


def causes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [f"{cause['field']}: {cause['message']}" for cause in answer.json()["details"]["causes"]]


def issued(cluster: Cluster, key: Any, hours: float = 2) -> dict[str, Any]:
    start = cluster.clock.now().replace(microsecond=0)
    end, name = start + timedelta(hours=hours), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "p")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )
    return {
        "conditions": [condition("Issued")],
        "certificateChain": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "notBefore": format_time(start),
        "notAfter": format_time(end),
        "beginRefreshAt": format_time(start + timedelta(hours=1)),
    }


def give(api: httpx.Client, name: str, status: dict[str, Any]) -> httpx.Response:
    headers = {"content-type": "application/merge-patch+json"}
    return api.patch(f"{REQUESTS}/{name}/status", json={"status": status}, headers=headers)


def test_a_pod_gets_a_certificate_for_its_key_once(cluster: Cluster, api: httpx.Client) -> None:
    name = f"issued-{next(NUMBERS)}"
    made = api.post(REQUESTS, json=request(name)).raise_for_status().json()
    assert made["spec"]["maxExpirationSeconds"] == 86400
    other = ec.generate_private_key(ec.SECP256R1())
    assert "not issued to the requested public key" in causes(give(api, name, issued(cluster, other)))[0]
    assert "lifetime must be >= 1 hour" in causes(give(api, name, issued(cluster, KEY, hours=0.5)))[0]
    assert (
        "must be <= spec.maxExpirationSeconds (86400)" in causes(give(api, name, issued(cluster, KEY, 25)))[0]
    )
    late = issued(cluster, KEY) | {"beginRefreshAt": issued(cluster, KEY)["notAfter"]}
    assert "at least 10 minutes before status.notAfter" in causes(give(api, name, late))[0]
    given = give(api, name, issued(cluster, KEY)).raise_for_status().json()["status"]
    assert given["conditions"][0]["lastTransitionTime"] and given["certificateChain"]
    assert "immutable after" in causes(give(api, name, {"conditions": [condition("Denied")]}))[0]
    made["spec"]["podName"] = "q"
    made["metadata"]["resourceVersion"] = api.get(f"{REQUESTS}/{name}").json()["metadata"]["resourceVersion"]
    assert "field is immutable" in causes(api.put(f"{REQUESTS}/{name}", json=made))[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signerName": "nonsense"}, "spec.signerName: Invalid value"),
        ({"podUID": ""}, "spec.podUID: Invalid value: \"\": must not be empty"),
        ({"maxExpirationSeconds": 60}, "must be in the range [3600, 7862400]"),
        ({"signerName": "kubernetes.io/pods", "maxExpirationSeconds": 90000}, "must be in the range [3600, 86400]"),
        ({"unverifiedUserAnnotations": {"a": "b"}}, "spec.unverifiedUserAnnotations"),
        ({"stubPKCS10Request": "AAAA"}, "spec.stubPKCS10Request: Invalid value"),
        ({"stubPKCS10Request": stub(rsa.generate_private_key(65537, 2048))}, "RSA keys must have modulus size"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(
    api: httpx.Client, changes: dict[str, Any], expected: str
) -> None:
    assert any(expected in cause for cause in causes(api.post(REQUESTS, json=request("bad", **changes))))


def test_a_bundle_has_anchors_and_the_name_of_its_signer(api: httpx.Client) -> None:
    def make(name: str, anchors: str = ANCHOR, **spec: str) -> httpx.Response:
        return api.post(BUNDLES, json={"metadata": {"name": name}, "spec": {"trustBundle": anchors, **spec}})

    assert "must not have" in causes(make("a:b"))[0]
    signer = {"signerName": "example.com/pods"}
    assert "must be named with prefix example.com:pods:" in causes(make("a", **signer))[0]
    make("example.com:pods:a", **signer).raise_for_status()
    assert "at least one trust anchor" in causes(make("empty", "nothing"))[0]
    assert "duplicate trust anchor (indices [0 1])" in causes(make("twice", ANCHOR + ANCHOR))[0]
    assert "bad block type: KEY" in causes(make("key", ANCHOR.replace("CERTIFICATE", "KEY")))[0]
    assert "does not parse as X.509" in causes(make("odd", ANCHOR.replace("MIIB", "MIIC")))[0]
    found = api.get(BUNDLES, params={"fieldSelector": "spec.signerName=example.com/pods"}).json()["items"]
    assert [item["metadata"]["name"] for item in found] == ["example.com:pods:a"]


@pytest.fixture
def limited(cluster: Cluster) -> Iterator[Callable[..., httpx.Response]]:
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": ["*"], "verbs": ["create", "patch", "get"]}
    user = cluster.user("limited", rules=[rule])
    with httpx.Client(base_url=cluster.url, headers={"authorization": f"Bearer {user.token}"}) as client:
        yield client.request


def test_only_those_attest_and_sign_who_may(
    cluster: Cluster, api: httpx.Client, limited: Callable[..., httpx.Response]
) -> None:
    spec = {"trustBundle": ANCHOR, "signerName": "example.com/pods"}
    answer = limited("POST", BUNDLES, json={"metadata": {"name": "example.com:pods:b"}, "spec": spec})
    assert answer.status_code == 403
    assert 'user not permitted to attest for signerName "example.com/pods"' in answer.json()["message"]
    api.post(BUNDLES, json={"metadata": {"name": "example.com:pods:b"}, "spec": spec}).raise_for_status()
    headers = {"content-type": "application/merge-patch+json"}
    for meta, code in (
        ({"finalizers": ["a.example/b"]}, 200),  # so that it can be collected
        ({"finalizers": None}, 200),
        ({"annotations": {"a": "b"}}, 403),
    ):
        answer = limited("PATCH", f"{BUNDLES}/example.com:pods:b", json={"metadata": meta}, headers=headers)
        assert answer.status_code == code, answer.text
    api.post(REQUESTS, json=request("signed")).raise_for_status()
    answer = limited(
        "PATCH", f"{REQUESTS}/signed/status", json={"status": issued(cluster, KEY)}, headers=headers
    )
    assert 'is not permitted to "sign" for signer "example.com/pods"' in causes(answer)[0]


def test_the_server_dates_the_taints_of_devices(cluster: Cluster, api: httpx.Client) -> None:
    rules = "/apis/resource.k8s.io/v1/devicetaintrules"
    spec = {"deviceSelector": {"device": "gpu-0"}, "taint": {"key": "broken", "effect": "NoSchedule"}}
    made = api.post(rules, json={"metadata": {"name": "broken"}, "spec": spec}).raise_for_status().json()
    since = made["spec"]["taint"]["timeAdded"]
    cluster.clock.advance(hours=1)
    made["spec"]["taint"]["effect"] = "NoExecute"
    changed = api.put(f"{rules}/broken", json=made).raise_for_status().json()
    assert changed["spec"]["taint"]["timeAdded"] > since
    assert changed["metadata"]["generation"] == 2
    odd = {
        "metadata": {"name": "odd"},
        "spec": {"deviceSelector": {"pool": ""}, "taint": {"key": "a", "effect": "x"}},
    }
    assert [cause.partition(":")[0] for cause in causes(api.post(rules, json=odd))] == [
        "spec.deviceSelector.pool",
        "spec.taint.effect",
    ]


def test_a_migration_succeeds_or_fails(api: httpx.Client) -> None:
    migrations = "/apis/storagemigration.k8s.io/v1/storageversionmigrations"
    assert causes(
        api.post(migrations, json={"metadata": {"name": "m"}, "spec": {"resource": {"group": "apps"}}})
    )
    made = api.post(migrations, json={"metadata": {"name": "m"}, "spec": {"resource": {"resource": "pods"}}})
    made.raise_for_status()
    both = [
        condition(kind) | {"lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in ("Succeeded", "Failed")
    ]
    headers = {"content-type": "application/merge-patch+json"}
    answer = api.patch(f"{migrations}/m/status", json={"status": {"conditions": both}}, headers=headers)
    assert "Both success and failed" in causes(answer)[0]
    # An object may be replaced only by those who know which version of it.
    body = made.json()
    del body["metadata"]["resourceVersion"]
    assert "metadata.resourceVersion" in causes(api.put(f"{migrations}/m", json=body))[0]
