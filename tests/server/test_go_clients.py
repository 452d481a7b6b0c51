"""What client-go, controller-runtime and kube-rs send and expect, as they put it on the wire."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.coordination import Lease
from kubelib.api.core.event import Event
from kubelib.api.machinery import Status
from kubelib.api.model import Model
from kubelib.api.protobuf import decode_protobuf, encode_protobuf, message_to_tree
from kubelib.testing import Cluster

PROTOBUF = "application/vnd.kubernetes.protobuf"
TYPED = f"{PROTOBUF},application/json"
"""What typed Go clients accept that prefer protocol buffers."""
METADATA = ",".join(f"{media};as={{}};g=meta.k8s.io;v=v1" for media in (PROTOBUF, "application/json"))
INFORMER = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
"""How informers of client-go begin: the present as events, then a bookmark that says that this was all."""
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def go(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}", "accept": "application/json"}
    with httpx.Client(base_url=cluster.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def read(answer: httpx.Response, cls: type[Model]) -> dict[str, Any]:
    """Decode an answer by what it says that it is, as Go clients do."""
    if answer.headers["content-type"].startswith(PROTOBUF):
        api_version, kind, message = decode_protobuf(answer.content)
        return {"kind": kind, "apiVersion": api_version, **message_to_tree(message, cls)}
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("accept", [PROTOBUF, TYPED, "application/json", "application/json, */*"])
def test_leader_election_works_in_the_client_s_form(go: httpx.Client, accept: str) -> None:
    name = f"leader-{len(accept)}"
    lease: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.000001Z",
            "renewTime": "2026-01-01T00:00:00.000001Z",
            "leaseTransitions": 0,
        },
    }
    in_protobuf = PROTOBUF in accept
    headers = {"accept": accept, "content-type": PROTOBUF if in_protobuf else "application/json"}

    def body(tree: dict[str, Any]) -> bytes:
        return encode_protobuf(tree, Lease) if in_protobuf else json.dumps(tree).encode()

    missing = read(go.get(f"{LEASES}/{name}", headers=headers), Status)
    assert (missing["reason"], missing["code"]) == ("NotFound", 404)
    made = go.post(LEASES, content=body(lease), headers=headers)
    assert made.status_code == 201, made.text
    first = read(made, Lease)
    assert first["spec"]["renewTime"] == "2026-01-01T00:00:00.000001Z"
    renewed = {**first, "spec": {**first["spec"], "renewTime": "2026-01-01T00:00:02.000000Z"}}
    second = read(go.put(f"{LEASES}/{name}", content=body(renewed), headers=headers), Lease)
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    # A rival who read before the renewal.
    stolen = {**first, "spec": {**first["spec"], "holderIdentity": "two"}}
    refused = go.put(f"{LEASES}/{name}", content=body(stolen), headers=headers)
    assert (refused.status_code, read(refused, Status)["reason"]) == (409, "Conflict")


def test_events_of_typed_clients_are_created_and_counted(go: httpx.Client) -> None:
    event: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "leader.1", "namespace": "default"},
        "involvedObject": {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "leader", "namespace": "default"},
        "reason": "LeaderElection",
        "message": "one became leader",
        "type": "Normal",
        "count": 1,
        "source": {"component": "one"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    path, headers = "/api/v1/namespaces/default/events", {"accept": TYPED, "content-type": PROTOBUF}
    made = go.post(path, content=encode_protobuf(event, Event), headers=headers)
    assert made.status_code == 201, made.text
    patch = {"content-type": "application/strategic-merge-patch+json", "accept": TYPED}
    counted = go.patch(f"{path}/leader.1", content=b'{"count":2}', headers=patch)
    assert read(counted, Event)["count"] == 2
    newer = go.get("/apis/events.k8s.io/v1/namespaces/default/events/leader.1").json()
    assert (newer["note"], newer["deprecatedCount"]) == ("one became leader", 2)


WATCHED = sorted({(r.group, r.version, r.plural, r.kind) for r in SCHEME if "watch" in r.verbs})


def informed(go: httpx.Client, path: str, accept: str = "application/json") -> list[dict[str, Any]]:
    """Return the events with which an informer begins, up to and with the bookmark."""
    events: list[dict[str, Any]] = []
    with go.stream("GET", f"{path}?{INFORMER}", headers={"accept": accept}) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            events.append(json.loads(line))
            if events[-1]["type"] == "BOOKMARK":
                break
    return events


def test_informers_of_every_kind_begin_with_a_stream(go: httpx.Client) -> None:
    assert len(WATCHED) > 50

    def begin(kind: tuple[str, str, str, str]) -> str:
        group, version, plural, name = kind
        path = f"/apis/{group}/{version}/{plural}" if group else f"/api/{version}/{plural}"
        *added, last = informed(go, path)
        listed = go.get(path).json()
        assert {event["type"] for event in added} <= {"ADDED"}, path
        assert [e["object"]["metadata"]["uid"] for e in added] == [
            item["metadata"]["uid"] for item in listed["items"]
        ], path
        bookmark = last["object"]
        assert (bookmark["kind"], bookmark["apiVersion"]) == (
            name,
            f"{group}/{version}" if group else version,
        )
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}, path
        assert int(bookmark["metadata"]["resourceVersion"]) > 0
        return path

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(begin, WATCHED))) == len(WATCHED)


def test_informers_of_metadata_and_of_tables_begin_with_a_stream_too(go: httpx.Client) -> None:
    form = "application/json;as={};g=meta.k8s.io;v=v1"
    *added, last = informed(go, "/api/v1/namespaces", form.format("PartialObjectMetadata"))
    assert {event["object"]["kind"] for event in [*added, last]} == {"PartialObjectMetadata"}
    assert "default" in [event["object"]["metadata"]["name"] for event in added]
    assert last["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    *added, last = informed(go, "/api/v1/namespaces", form.format("Table"))
    assert {event["object"]["kind"] for event in [*added, last]} == {"Table"}
    # Where kubectl looks for it.
    row = last["object"]["rows"][0]["object"]["metadata"]
    assert row["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_informer_hears_of_what_comes_after_its_beginning(go: httpx.Client) -> None:
    seen: list[tuple[str, str]] = []
    with go.stream("GET", f"{MAPS}?{INFORMER}&timeoutSeconds=20") as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            seen.append((event["type"], event["object"]["metadata"].get("name", "")))
            if event["type"] == "BOOKMARK":
                go.post(MAPS, json={"metadata": {"name": "later"}})
            if seen[-1] == ("ADDED", "later"):
                break
    assert seen[-2:] == [("BOOKMARK", ""), ("ADDED", "later")]


def test_reflectors_of_older_clients_list_and_then_watch(go: httpx.Client) -> None:
    go.post(MAPS, json={"metadata": {"name": "old"}})
    listed = go.get(f"{MAPS}?limit=500&resourceVersion=0").json()
    assert "old" in [item["metadata"]["name"] for item in listed["items"]]
    since = listed["metadata"]["resourceVersion"]
    go.post(MAPS, json={"metadata": {"name": "new"}})
    query = f"allowWatchBookmarks=true&resourceVersion={since}&timeoutSeconds=5&watch=true"
    with go.stream("GET", f"{MAPS}?{query}") as answer:
        event = json.loads(next(answer.iter_lines()))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "new")


def test_a_stream_of_initial_events_has_to_be_asked_for_rightly(go: httpx.Client) -> None:
    for query in ("watch=true&sendInitialEvents=true", "sendInitialEvents=true"):
        refused = go.get(f"{MAPS}?{query}")
        assert refused.status_code == 422, query
        assert "sendInitialEvents" in refused.text


def test_the_metadata_client_gets_metadata(go: httpx.Client) -> None:
    go.post(MAPS, json={"metadata": {"name": "m"}, "data": {"secret": "x"}})
    one = go.get(
        f"{MAPS}/m", headers={"accept": f"{METADATA.format(*['PartialObjectMetadata'] * 2)},application/json"}
    )
    assert one.json()["kind"] == "PartialObjectMetadata"
    assert "data" not in one.json()
    accept = METADATA.format(*["PartialObjectMetadataList"] * 2)
    many = go.get(MAPS, headers={"accept": f"{accept},application/json"}).json()
    assert many["kind"] == "PartialObjectMetadataList"
    assert all("data" not in item for item in many["items"])


@pytest.mark.parametrize("api_version", ["v1", "meta.k8s.io/v1", "apps/v1"])
def test_options_of_a_delete_have_the_version_of_the_group_or_of_the_machinery(
    go: httpx.Client, api_version: str
) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    assert go.post(path, json=body).status_code == 201
    options = {"kind": "DeleteOptions", "apiVersion": api_version, "propagationPolicy": "Background"}
    gone = go.request("DELETE", f"{path}/d", json=options)
    assert gone.status_code == 200, gone.text
    assert go.get(f"{path}/d").status_code == 404


def test_base64_may_have_line_breaks_and_is_written_without(go: httpx.Client) -> None:
    path = "/api/v1/namespaces/default/secrets"
    made = go.post(path, json={"metadata": {"name": "s"}, "data": {"a": "aGVs\nbG8=\n"}})
    assert made.status_code == 201, made.text
    assert made.json()["data"] == {"a": "aGVsbG8="}


def test_numbers_that_clients_wait_for_are_there_while_they_are_zero(go: httpx.Client) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "serviceName": "s"}
    made = go.post(
        "/apis/apps/v1/namespaces/default/statefulsets", json={"metadata": {"name": "s"}, "spec": spec}
    )
    assert made.json()["status"] == {"replicas": 0, "availableReplicas": 0}
