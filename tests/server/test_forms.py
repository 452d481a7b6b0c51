"""Clients get what their Accept header asks for: JSON, JSON for people, YAML, protocol buffers, tables, bare metadata."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from kubelib.api.core.config import ConfigMap
from kubelib.api.machinery import Status
from kubelib.api.meta import ListMeta
from kubelib.api.model import Model
from kubelib.api.partial import PartialObjectMetadata
from kubelib.api.protobuf import _bytes, _parts, decode_protobuf, message_to_tree
from kubelib.testing.cluster import Cluster, ClusterOptions

MAPS = "/api/v1/namespaces/default/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        client.delete(f"{MAPS}/kube-root-ca.crt")
        body = {"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}}
        assert client.post(MAPS, json=body).status_code == 201
        yield client


def read(raw: bytes, cls: type[Model]) -> dict[str, Any]:
    api_version, kind, message = decode_protobuf(raw)
    return {"kind": kind, "apiVersion": api_version, **message_to_tree(message, cls)}


def read_list(raw: bytes, cls: type[Model]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    _, kind, message = decode_protobuf(raw)
    parts = [(number, _bytes(value)) for number, value in _parts(message)]
    metadata = next(message_to_tree(value, ListMeta) for number, value in parts if number == 1)
    return kind, metadata, [message_to_tree(value, cls) for number, value in parts if number == 2]


def test_a_client_that_takes_only_protocol_buffers_gets_them(client: httpx.Client) -> None:
    headers = {"accept": PROTOBUF}
    expected = client.get(f"{MAPS}/a").json()
    got = client.get(f"{MAPS}/a", headers=headers)
    assert got.headers["content-type"] == PROTOBUF
    assert read(got.content, ConfigMap) == expected
    kind, metadata, items = read_list(client.get(f"{MAPS}?limit=1", headers=headers).content, ConfigMap)
    assert (kind, [item["metadata"]["name"] for item in items]) == ("ConfigMapList", ["a"])
    assert metadata["resourceVersion"]
    created = client.post(MAPS, json={"metadata": {"name": "b"}}, headers=headers)
    assert read(created.content, ConfigMap)["metadata"]["name"] == "b"
    missing = client.get(f"{MAPS}/c", headers=headers)
    assert read(missing.content, Status) == client.get(f"{MAPS}/c").json()
    patched = client.patch(
        f"{MAPS}/b",
        content=b'{"data":{"k":"2"}}',
        headers={**headers, "content-type": "application/merge-patch+json"},
    )
    assert read(patched.content, ConfigMap)["data"] == {"k": "2"}
    assert read(client.delete(f"{MAPS}/b", headers=headers).content, Status)["status"] == "Success"


def test_a_watch_in_protocol_buffers_is_made_of_frames(client: httpx.Client) -> None:
    query = "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    got = client.get(f"{MAPS}?{query}", headers={"accept": f"{PROTOBUF};stream=watch"})
    assert got.headers["content-type"] == f"{PROTOBUF};stream=watch"
    events, rest = [], got.content
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        frame, rest = rest[4 : 4 + size], rest[4 + size :]
        fields = {number: _bytes(value) for number, value in _parts(frame)}
        raw = next(_bytes(value) for _, value in _parts(fields[2]))
        events.append((fields[1].decode(), read(raw, ConfigMap)["metadata"]))
    assert [type_ for type_, _ in events] == ["ADDED", "BOOKMARK"]
    assert events[0][1]["name"] == "a"
    assert events[1][1]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def _forget(cluster: Cluster) -> None:
    cluster.client._registries.cache.forget()


def test_an_old_version_is_an_error_event_in_protocol_buffers_too(
    client: httpx.Client, cluster: Cluster
) -> None:
    cluster.call(_forget, cluster)
    got = client.get(f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1", headers={"accept": PROTOBUF})
    fields = {number: _bytes(value) for number, value in _parts(got.content[4:])}
    raw = next(_bytes(value) for _, value in _parts(fields[2]))
    assert fields[1] == b"ERROR"
    assert read(raw, Status)["reason"] == "Expired"


def test_bare_metadata_comes_in_protocol_buffers_too(client: httpx.Client) -> None:
    headers = {"accept": f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    kind, _, items = read_list(client.get(MAPS, headers=headers).content, PartialObjectMetadata)
    assert kind == "PartialObjectMetadataList"
    assert [set(item) for item in items] == [{"metadata"}]
    one = client.get(
        f"{MAPS}/a", headers={"accept": f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    )
    assert read(one.content, PartialObjectMetadata)["metadata"]["labels"] == {"x": "y"}


@pytest.mark.parametrize("include", ["None", "Metadata", "Object"])
def test_a_row_of_a_table_has_as_much_of_its_object_as_is_asked_for(
    client: httpx.Client, include: str
) -> None:
    whole = client.get(f"{MAPS}/a").json()
    assert whole["metadata"]["managedFields"]
    expected = {
        "None": None,
        "Metadata": {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": whole["metadata"],
        },
        "Object": whole,
    }
    for path in (MAPS, f"{MAPS}/a"):
        answer = client.get(
            path,
            params={"includeObject": include},
            headers={"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
        )
        [row] = answer.json()["rows"]
        assert row["cells"][:2] == ["a", 1]
        assert row.get("object") == expected[include]


@pytest.mark.parametrize(
    ("accept", "content_type", "kind"),
    [
        (f"{PROTOBUF},application/json", "application/json", "ConfigMapList"),
        (f"{PROTOBUF}, */*", "application/json", "ConfigMapList"),
        ("application/xml, */*", "application/json", "ConfigMapList"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io, application/json", "application/json", "Table"),
        (
            "application/json;as=Unknown;v=v1;g=meta.k8s.io, application/json",
            "application/json",
            "ConfigMapList",
        ),
        ("application/yaml;q=0.5, application/json;q=0.9", "application/json", "ConfigMapList"),
        ("application/json;q=0.1, application/yaml", "application/yaml", "ConfigMapList"),
    ],
)
def test_the_best_of_what_is_accepted_is_chosen(
    client: httpx.Client, accept: str, content_type: str, kind: str
) -> None:
    got = client.get(MAPS, headers={"accept": accept})
    assert got.headers["content-type"] == content_type
    assert yaml.safe_load(got.content)["kind"] == kind


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1",
        "application/json;as=Table;g=other;v=v1",
        "application/json;q=0",
    ],
)
def test_what_cannot_be_served_is_not_acceptable(client: httpx.Client, accept: str) -> None:
    got = client.get(MAPS, headers={"accept": accept})
    assert (got.status_code, got.json()["reason"]) == (406, "NotAcceptable")
    assert client.post(MAPS, json={"metadata": {"name": "z"}}, headers={"accept": accept}).status_code == 406
    assert client.get(f"{MAPS}/z").status_code == 404, "refused, and yet created"


def test_a_watch_in_yaml_is_not_acceptable(client: httpx.Client) -> None:
    got = client.get(f"{MAPS}?watch=1&timeoutSeconds=1", headers={"accept": "application/yaml"})
    assert got.status_code == 406
    assert "stream=watch" in got.text


@pytest.mark.parametrize(
    ("query", "agent", "indented"),
    [
        ("", "test", False),
        ("?pretty=true", "test", True),
        ("?pretty=1", "test", True),
        ("", "curl/8.0", True),
        ("", "Mozilla/5.0 (X11)", True),
        ("?pretty=false", "curl/8.0", False),
    ],
)
def test_people_get_json_that_they_can_read(
    client: httpx.Client, query: str, agent: str, indented: bool
) -> None:
    for path in (MAPS, f"{MAPS}/a", f"{MAPS}/missing", "/api/v1"):
        got = client.get(path + query, headers={"user-agent": agent})
        assert (b"\n  " in got.content) == indented
        assert got.content.endswith(b"}" if indented else b"}\n")
        assert int(got.headers["content-length"]) == len(got.content)
        json.loads(got.content)


def test_what_is_no_document_of_the_api_is_written_for_people(client: httpx.Client) -> None:
    for path in ("/version", "/"):
        got = client.get(path)
        assert got.content.startswith(b"{\n  ") and got.content.endswith(b"\n}")


def test_errors_come_in_yaml_to_those_who_take_yaml(client: httpx.Client) -> None:
    got = client.get(f"{MAPS}/missing", headers={"accept": "application/yaml"})
    assert got.status_code == 404
    assert yaml.safe_load(got.content)["reason"] == "NotFound"
