"""What deletes answer: the object as it ended or will end, or that it is gone, and at which version."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster

CORE = "/api/v1/namespaces/default"
HOLD = ["example.com/hold"]


@pytest.fixture
def client(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def create(client: httpx.Client, resource: str, finalizers: list[str], **spec: Any) -> str:
    tree = {"metadata": {"name": "x", "finalizers": finalizers}, **({"spec": spec} if spec else {})}
    answer = client.post(f"{CORE}/{resource}", json=tree)
    assert answer.status_code == 201, answer.text
    return f"{CORE}/{resource}/x"


def pod(client: httpx.Client, finalizers: list[str]) -> str:
    return create(client, "pods", finalizers, nodeName="n", containers=[{"name": "c", "image": "i"}])


def delete(client: httpx.Client, path: str, code: int = 200, **options: Any) -> dict[str, Any]:
    answer = client.request("DELETE", path, json=options)
    assert answer.status_code == code, answer.text
    tree: dict[str, Any] = answer.json()
    return tree


def version(tree: dict[str, Any]) -> int:
    return int(tree["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("resource", "kind"), [("configmaps", "Status"), ("serviceaccounts", "ServiceAccount")]
)
def test_what_is_gone_went_at_the_version_at_which_watches_saw_it_go(
    client: httpx.Client, resource: str, kind: str
) -> None:
    path = create(client, resource, [])
    before = version(client.get(path).json())
    gone = delete(client, path)
    assert gone["kind"] == kind
    query = {"watch": "1", "timeoutSeconds": "1", "resourceVersion": str(before)}
    lines = client.get(f"{CORE}/{resource}", params=query).text.splitlines()
    assert len(lines) == 1
    assert f'"resourceVersion":"{version(gone)}"' in lines[0]
    assert version(gone) > before


def test_a_pod_that_is_ending_can_only_be_given_less_time(client: httpx.Client) -> None:
    path = pod(client, HOLD)
    ending = delete(client, path, gracePeriodSeconds=30)
    for options in (
        {}, {"gracePeriodSeconds": 30}, {"gracePeriodSeconds": 60}, {"propagationPolicy": "Orphan"},
        {"propagationPolicy": "Foreground"},
    ):  # fmt: skip
        assert delete(client, path, **options) == ending
    sooner = delete(client, path, gracePeriodSeconds=15, propagationPolicy="Foreground")
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 15
    assert sooner["metadata"]["finalizers"] == [*HOLD, "foregroundDeletion"]
    assert version(sooner) > version(ending)


def test_a_pod_that_goes_at_once_is_answered_as_of_its_end(client: httpx.Client) -> None:
    path = pod(client, [])
    ending = delete(client, path, gracePeriodSeconds=30)
    gone = delete(client, path, gracePeriodSeconds=0)
    assert (gone["kind"], client.get(path).status_code) == ("Pod", 404)
    assert version(gone) > version(ending)


def test_only_who_asks_in_the_old_way_for_dependents_to_go_is_told_to_wait(client: httpx.Client) -> None:
    path = create(client, "configmaps", HOLD)
    for options, code in (
        ({}, 200),
        ({"propagationPolicy": "Background"}, 200),
        ({"propagationPolicy": "Foreground"}, 200),
        ({"orphanDependents": True}, 200),
        ({"orphanDependents": False}, 202),
    ):
        assert delete(client, path, code, **options)["kind"] == "ConfigMap"
