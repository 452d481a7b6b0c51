"""What the credentials of a node are good for where its Pods want certificates: asking for those of its own Pods, and reading the answers."""

import copy
from typing import Any

import httpx
import pytest

from tests.server.test_nodes import CORE, MERGE, admin, as_node, make, named, pod, refusal
from tests.server.test_pod_certificates import request

__all__ = ["admin"]
REQUESTS = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests"
BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"


@pytest.fixture
def asked(admin: httpx.Client) -> dict[str, Any]:
    """A request for a Pod of the node's."""
    make(admin, "serviceaccounts", named("ServiceAccount", "runner"))
    made = make(admin, "pods", pod("p", "mine", serviceAccountName="runner"))
    make(admin, "pods", pod("q", "yours", serviceAccountName="runner"))
    facts = {
        "podName": "p",
        "podUID": made["metadata"]["uid"],
        "nodeName": "mine",
        "serviceAccountName": "runner",
    }
    return {
        "kind": "PodCertificateRequest",
        "apiVersion": "certificates.k8s.io/v1",
        **request("r", **facts),
    }


def test_a_node_asks_for_certificates_of_its_own_pods(admin: httpx.Client, asked: dict[str, Any]) -> None:
    assert as_node(admin, "POST", REQUESTS, asked) == 201
    theirs = copy.deepcopy(asked)
    theirs["metadata"]["name"] = "other"
    theirs["spec"]["nodeName"] = "yours"
    make(admin, "podcertificaterequests", theirs, REQUESTS.removesuffix("/podcertificaterequests"))
    assert as_node(admin, "GET", f"{REQUESTS}/r") == 200
    assert refusal(admin, "GET", f"{REQUESTS}/other").endswith(
        "no relationship found between node 'mine' and this object"
    )
    assert as_node(admin, "GET", f"{REQUESTS}?fieldSelector=spec.nodeName%3Dmine") == 200
    assert refusal(admin, "GET", REQUESTS).endswith(
        "can only list/watch podcertificaterequests with nodeName field selector"
    )
    assert as_node(admin, "DELETE", f"{REQUESTS}/r") == 403
    assert as_node(admin, "PATCH", f"{REQUESTS}/r/status", {"status": {}}, MERGE) == 403


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nodeName": "yours"}, 'PodCertificateRequest.Spec.NodeName="yours", which is not the requesting node "mine"'),
        ({"podName": "q"}, 'spec.podUID is not that of pod "q"'),
        ({"podUID": "1"}, 'spec.podUID is not that of pod "p"'),
        ({"serviceAccountName": "other"}, 'spec.serviceAccountName is not that of pod "p": "runner"'),
    ],
)  # fmt: skip
def test_a_node_tells_the_truth_about_whom_a_certificate_is_for(
    admin: httpx.Client, asked: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    asked["spec"] |= changes
    assert why in refusal(admin, "POST", REQUESTS, asked)


def test_every_service_account_reads_whom_pods_trust(admin: httpx.Client) -> None:
    account = [
        ("impersonate-user", "system:serviceaccount:default:any"),
        ("impersonate-group", "system:serviceaccounts"),
    ]
    assert admin.get(BUNDLES, headers=account).status_code == 200
    assert admin.post(BUNDLES, headers=account, json=named("ClusterTrustBundle", "a")).status_code == 403


def test_a_node_reads_what_its_pods_trust(admin: httpx.Client) -> None:
    assert as_node(admin, "GET", BUNDLES) == 200
    assert as_node(admin, "POST", BUNDLES, named("ClusterTrustBundle", "a")) == 403
    assert as_node(admin, "GET", f"{CORE}/podcertificaterequests") == 403
