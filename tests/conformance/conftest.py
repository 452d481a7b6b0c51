"""A server for each file, and a client that says what it expects: paths and JSON, as the published behaviours are told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
Tree = dict[str, Any]


class Api:
    """Plain HTTP with expectations."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """Make a request whose status must be `status`; return the document that is answered."""
        content = None if body is None else body if isinstance(body, str) else json.dumps(body)
        given = {"content-type": kind} if content is not None else {}
        answer = self.http.request(
            method, path, content=content, params=query or None, headers={**given, **(headers or {})}
        )
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def get(self, path: str, **options: Any) -> Any:
        return self.ask("GET", path, **options)

    def create(self, path: str, body: Any, **options: Any) -> Any:
        return self.ask("POST", path, body, **{"status": 201, **options})

    def put(self, path: str, body: Any, **options: Any) -> Any:
        return self.ask("PUT", path, body, **options)

    def replace(self, path: str, change: Callable[[Tree], None]) -> Tree:
        """Read, change and write an object, again if a controller has written meanwhile; return what is answered."""
        for _ in range(20):
            current = self.get(path)
            change(current)
            answer = self.http.put(path, json=current)
            if answer.status_code != 409:
                break
        assert answer.status_code == 200, answer.text
        replaced: Tree = answer.json()
        return replaced

    def patch(self, path: str, body: Any, kind: str = MERGE, **options: Any) -> Any:
        return self.ask("PATCH", path, body, kind=kind, **options)

    def apply(self, path: str, body: Any, manager: str = "applier", **options: Any) -> Any:
        return self.ask("PATCH", path, body, kind=APPLY, **{"fieldManager": manager, **options})

    def delete(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.ask("DELETE", path, body, **options)

    @contextmanager
    def watch(self, path: str, **query: str) -> Iterator["Events"]:
        """Open a watch; it is established when the context begins."""
        query = {"watch": "1", "timeoutSeconds": "30", **query}
        with self.http.stream("GET", path, params=query) as answer:
            assert answer.status_code == 200, answer.read()
            yield Events(answer)

    def eventually(self, check: Callable[[], Any], within: float = 60) -> Any:
        """Wait until `check` returns something true; return that."""
        deadline = time.monotonic() + within
        while not (result := check()):
            assert time.monotonic() < deadline, "it is still not so"
            time.sleep(0.02)
        return result

    def gone(self, path: str) -> None:
        self.eventually(lambda: self.http.get(path).status_code == 404)


class Events:
    """What a watch says."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self._answer = answer

    def next(self) -> tuple[str, Tree]:
        """Return the next event's type and object. Ends the connection if none comes."""
        late = threading.Timer(20, self._answer.close)
        late.start()
        try:
            event = json.loads(next(self._lines))
        finally:
            late.cancel()
        return event["type"], event["object"]

    def take(self, count: int) -> list[tuple[str, Tree]]:
        return [self.next() for _ in range(count)]

    def rest(self) -> list[tuple[str, Tree]]:
        """Return what comes until the server ends the watch."""
        events = [json.loads(line) for line in self._lines]
        return [(event["type"], event["object"]) for event in events]


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = getattr(request.module, "OPTIONS", ClusterOptions())
    with Cluster(tmp_path_factory.mktemp("cluster"), options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as http:
        yield Api(http)


_numbers = iter(range(1, 1_000_000))


@pytest.fixture
def namespace(api: Api) -> str:
    """A namespace of the test's own."""
    name = f"ns-{next(_numbers)}"
    api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


@pytest.fixture
def services(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"
