"""Watches over HTTP: bookmarks on quiet and on busy watches."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from kubelib.server import watching
from kubelib.testing.cluster import TestCluster

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def client(kubelib_cluster: TestCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(watching, "BOOKMARK_EVERY", 0.2)
    monkeypatch.setattr(watching, "BOOKMARK_RETRY", 0.001)
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers) as client:
        yield client


def events(client: httpx.Client, query: str, seconds: float) -> list[tuple[str, int]]:
    """Return the types and versions of what a watch reports within a time."""
    found = []
    with client.stream("GET", f"{MAPS}?watch=1&allowWatchBookmarks=true&{query}") as answer:
        end = time.monotonic() + seconds
        for line in answer.iter_lines():
            event = json.loads(line)
            found.append((event["type"], int(event["object"]["metadata"]["resourceVersion"])))
            if time.monotonic() > end:
                break
    return found


def create(client: httpx.Client, name: str) -> int:
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}
    return int(client.post(MAPS, json=body).json()["metadata"]["resourceVersion"])


def test_a_quiet_watch_is_told_how_far_it_has_got(client: httpx.Client) -> None:
    version = create(client, "a")
    found = events(client, f"resourceVersion={version}", 0.5)
    assert {kind for kind, _ in found} == {"BOOKMARK"}
    assert all(at >= version for _, at in found)


def test_a_busy_watch_gets_bookmarks_too_and_none_says_more_than_was_sent(client: httpx.Client) -> None:
    since = create(client, "a")
    writing = True

    def write() -> None:
        number = 0
        with httpx.Client(base_url=client.base_url, headers=client.headers) as writer:
            while writing:
                create(writer, f"b{number}")
                number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = events(client, f"resourceVersion={since}", 1.5)
    finally:
        writing = False
        thread.join()
    assert any(kind == "BOOKMARK" for kind, _ in found)
    assert [version for _, version in found] == sorted(version for _, version in found)


def test_a_watch_that_asks_for_no_bookmarks_gets_none(client: httpx.Client) -> None:
    version = create(client, "a")
    query = f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    assert client.get(query).text == ""
