"""Watches over HTTP: bookmarks on quiet and on busy watches."""

import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from kubelib.server import watching
from kubelib.testing.cluster import Cluster

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def client(kubelib_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 0.2)
    monkeypatch.setattr(watching, "BOOKMARK_RETRY", 0.001)
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def events_up_to(client: httpx.Client, query: str, bookmarks: int) -> list[tuple[str, int]]:
    """Return the types and versions of what a watch reports until so many bookmarks have come."""
    found: list[tuple[str, int]] = []
    query = f"{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=120&{query}"
    with client.stream("GET", query, timeout=120) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            found.append((event["type"], int(event["object"]["metadata"]["resourceVersion"])))
            if [kind for kind, _ in found].count("BOOKMARK") == bookmarks:
                return found
    raise AssertionError("the watch ended too soon")


def create(client: httpx.Client, name: str) -> int:
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}
    return int(client.post(MAPS, json=body).json()["metadata"]["resourceVersion"])


def test_a_quiet_watch_is_told_how_far_it_has_got(client: httpx.Client) -> None:
    version = create(client, "a")
    found = events_up_to(client, f"resourceVersion={version}", 2)
    assert {kind for kind, _ in found} == {"BOOKMARK"}
    assert all(at >= version for _, at in found)


def test_a_busy_watch_gets_bookmarks_too_and_none_says_more_than_was_sent(client: httpx.Client) -> None:
    since = create(client, "a")
    writing = True

    def write() -> None:
        number = 0
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=60) as writer:
            while writing:
                create(writer, f"b{number}")
                number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = events_up_to(client, f"resourceVersion={since}", 3)
    finally:
        writing = False
        thread.join()
    assert any(kind == "ADDED" for kind, _ in found)
    assert [version for _, version in found] == sorted(version for _, version in found)


def test_a_watch_that_asks_for_no_bookmarks_gets_none(client: httpx.Client) -> None:
    version = create(client, "a")
    query = f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    assert client.get(query).text == ""


def watched(client: httpx.Client, query: str) -> list[tuple[str, str]]:
    """Return the types of what a watch of one second reports, and the names or messages."""
    lines = client.get(f"{MAPS}?watch=1&timeoutSeconds=1&{query}").text.splitlines()
    events = [json.loads(line) for line in lines]
    return [
        (event["type"], event["object"].get("message") or event["object"]["metadata"].get("name", ""))
        for event in events
    ]


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_that_wants_no_initial_events_begins_with_what_happens_next(
    client: httpx.Client, version: str
) -> None:
    create(client, "a")
    query = f"resourceVersion={version}&resourceVersionMatch=NotOlderThan"
    assert watched(client, f"{query}&sendInitialEvents=false") == []
    assert ("ADDED", "a") in watched(client, f"{query}&sendInitialEvents=true")


def test_a_watch_of_initial_events_of_a_version_that_does_not_come_says_so(client: httpx.Client) -> None:
    current = create(client, "a")
    query = f"resourceVersion={current + 100}&resourceVersionMatch=NotOlderThan&sendInitialEvents=true"
    ((kind, message),) = watched(client, query)
    assert kind == "ERROR"
    assert message.startswith(f"Timeout: Too large resource version: {current + 100}, current: {current}")


def test_a_watch_says_before_its_end_how_far_it_has_got(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 60)
    version = create(client, "a")
    query = f"{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion={version}"
    with client.stream("GET", query) as answer:
        events = [json.loads(line) for line in answer.iter_lines()]
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert int(events[0]["object"]["metadata"]["resourceVersion"]) >= version
