"""What a status may say: addresses that not all programs read alike are told of, generations are not forgotten, ports are checked."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster

NAMESPACE = "/api/v1/namespaces/default"
CONTAINER = {"name": "c", "image": "i"}


@pytest.fixture
def client(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def write_status(client: httpx.Client, path: str, status: dict[str, Any]) -> httpx.Response:
    answer = client.patch(
        f"{NAMESPACE}/{path}/status",
        content=json.dumps({"status": status}),
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text
    return answer


def make(client: httpx.Client, plural: str, spec: dict[str, Any]) -> httpx.Response:
    return client.post(f"{NAMESPACE}/{plural}", json={"metadata": {"name": "a"}, "spec": spec})


def test_who_writes_an_odd_address_is_told(client: httpx.Client) -> None:
    assert make(client, "services", {"type": "LoadBalancer", "ports": [{"port": 80}]}).status_code == 201
    answer = write_status(client, "services/a", {"loadBalancer": {"ingress": [{"ip": "FD00::1"}]}})
    assert answer.headers.get_list("warning") == [
        (
            '299 - "status.loadBalancer.ingress[0]: IPv6 address \\"FD00::1\\" should be in RFC 5952 canonical format'
            ' (\\"fd00::1\\")"'
        )
    ]
    answer = write_status(client, "services/a", {"loadBalancer": {"ingress": [{"ip": "fd00::1"}]}})
    assert "warning" not in answer.headers


def test_generations_stay_where_a_writer_does_not_know_of_them(client: httpx.Client) -> None:
    assert make(client, "pods", {"containers": [CONTAINER]}).status_code == 201
    ready = {"type": "Ready", "status": "False"}
    write_status(
        client, "pods/a", {"observedGeneration": 1, "conditions": [{**ready, "observedGeneration": 1}]}
    )
    scheduled = {"type": "PodScheduled", "status": "True"}
    pod = client.get(f"{NAMESPACE}/pods/a").json()
    pod["status"] = {"phase": "Running", "conditions": [scheduled, {**ready, "status": "True"}]}
    answer = client.put(f"{NAMESPACE}/pods/a/status", json=pod)
    assert answer.status_code == 200, answer.text
    status = answer.json()["status"]
    assert status["observedGeneration"] == 1
    assert [c.get("observedGeneration") for c in status["conditions"]] == [None, 1]


@pytest.mark.parametrize(
    ("port", "field", "message"),
    [
        ({"hostPort": 70000}, "hostPort", "Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ({"hostPort": -1}, "hostPort", "Invalid value: -1: must be between 1 and 65535, inclusive"),
        ({"hostPort": 80, "hostIP": "here"}, "hostIP", 'Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ],
)  # fmt: skip
def test_ports_of_the_host_are_checked(
    client: httpx.Client, port: dict[str, Any], field: str, message: str
) -> None:
    answer = make(client, "pods", {"containers": [{**CONTAINER, "ports": [{"containerPort": 80, **port}]}]})
    assert answer.status_code == 422
    assert answer.json()["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "field": f"spec.containers[0].ports[0].{field}", "message": message}
    ]
