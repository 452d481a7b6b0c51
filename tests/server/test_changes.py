"""What is kept or filled in of an object that a write does not name, and what it may not name."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster

CORE = "/api/v1/namespaces/default"


@pytest.fixture
def client(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def test_another_uid_is_a_conflict_for_who_replaces_and_invalid_for_who_patches(client: httpx.Client) -> None:
    made = client.post(f"{CORE}/configmaps", json={"metadata": {"name": "one"}})
    path, uid = f"{CORE}/configmaps/one", made.json()["metadata"]["uid"]
    other: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "uid": "abc"},
    }
    replaced = client.put(path, json=other)
    assert replaced.status_code == 409
    assert replaced.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "one": Precondition failed: UID in precondition: abc,'
        f" UID in object meta: {uid}"
    )
    for kind in ("merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml?fieldManager=m"):
        kind, _, query = kind.partition("?")
        headers = {"content-type": f"application/{kind}"}
        patched = client.patch(f"{path}?{query}", json=other, headers=headers)
        assert (patched.status_code, patched.json()["message"]) == (
            422,
            'ConfigMap "one" is invalid: metadata.uid: Invalid value: "abc": field is immutable',
        )
    same = client.patch(
        path, json={"metadata": {"uid": uid}}, headers={"content-type": "application/merge-patch+json"}
    )
    assert same.status_code == 200


def test_network_policies_and_ingresses_show_what_is_empty_as_those_of_kubernetes_do(
    client: httpx.Client,
) -> None:
    networking = "/apis/networking.k8s.io/v1/namespaces/default"
    cases: list[dict[str, Any]] = [{}, {"podSelector": {}}, {"podSelector": None}]
    for given in cases:
        policy = {"metadata": {"name": "all"}, "spec": given}
        made = client.post(f"{networking}/networkpolicies", json=policy)
        assert made.json()["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
        client.delete(f"{networking}/networkpolicies/all")
    backend = {"service": {"name": "s", "port": {"number": 1}}}
    ingress = {"metadata": {"name": "one"}, "spec": {"defaultBackend": backend}}
    assert client.post(f"{networking}/ingresses", json=ingress).json()["status"] == {"loadBalancer": {}}


def ports(client: httpx.Client, name: str, kind: str, *ports: dict[str, Any]) -> dict[str, Any]:
    spec = {"type": kind, "ports": list(ports)}
    made = client.post(f"{CORE}/services", json={"metadata": {"name": name}, "spec": spec})
    assert made.status_code == 201, made.text
    service: dict[str, Any] = made.json()
    return service


def put(client: httpx.Client, service: dict[str, Any]) -> list[int]:
    answer = client.put(f"{CORE}/services/{service['metadata']['name']}", json=service)
    assert answer.status_code == 200, answer.text
    service.update(answer.json())
    return [port.get("nodePort", 0) for port in service["spec"]["ports"]]


def test_a_node_port_stays_that_of_the_port_of_its_name_whatever_else_of_it_changes(
    client: httpx.Client,
) -> None:
    service = ports(client, "np", "NodePort", {"name": "a", "port": 80}, {"name": "b", "port": 81})
    a, b = (port["nodePort"] for port in service["spec"]["ports"])
    service["spec"]["ports"] = [{"name": "a", "port": 8080, "protocol": "UDP"}, {"name": "b", "port": 81}]
    assert put(client, service) == [a, b]
    service["spec"]["ports"] = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": a}]
    first, second = put(client, service)
    assert second == a and first not in (0, a)


def test_a_load_balancer_that_is_to_have_no_node_ports_gives_up_those_that_are_taken_away(
    client: httpx.Client,
) -> None:
    service = ports(client, "lb", "LoadBalancer", {"name": "a", "port": 80}, {"name": "b", "port": 81})
    a, b = (port["nodePort"] for port in service["spec"]["ports"])
    service["spec"]["allocateLoadBalancerNodePorts"] = False
    assert put(client, service) == [a, b], "they are not taken away by themselves"
    del service["spec"]["ports"][0]["nodePort"]
    assert put(client, service) == [0, b]
    service["spec"]["allocateLoadBalancerNodePorts"] = True
    assert all(put(client, service))
