"""The page docs/supported.md is what the scheme says, and the server does what the page says."""

import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.supported import (
    DEFINITIONS,
    DEPLOYMENTS,
    FEATURES,
    LETTERS,
    MAPS,
    PAGE,
    RULED,
    RULED_OBJECTS,
    STRICT,
    features,
    page,
)

METHODS = {
    "create": "POST", "get": "GET", "list": "GET", "watch": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETE",
}  # fmt: skip
ON_COLLECTION = ("create", "list", "watch", "deletecollection")


META = {"metadata": {"name": "there"}}
POD: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
LABELS = {"app": "there"}
THERE: tuple[tuple[str, dict[str, Any]], ...] = (
    (MAPS, {**META, "data": {"owned": "by who made it"}}),
    ("/api/v1/namespaces/default/pods", {**META, "spec": POD}),
    ("/api/v1/namespaces/default/serviceaccounts", META),
    (
        DEPLOYMENTS,
        {
            **META,
            "spec": {
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": POD},
            },
        },
    ),
    (
        "/api/v1/namespaces",
        {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    ),
    (f"{STRICT}/limitranges", {**META, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
    (f"{STRICT}/resourcequotas", {**META, "spec": {"hard": {"configmaps": "0"}}}),
)
"""What the calls find, each with the path that it is created at."""


class Row(NamedTuple):
    """A row of the page."""

    api_version: str
    plural: str
    namespaced: bool
    letters: str
    subresources: dict[str, str]


def rows() -> list[Row]:
    found, version = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            version = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 6 and cells[1].startswith("`"):
            subresources = dict(re.findall(r"(\w+) \((\w*)\)", cells[4]))
            plural = cells[1].split("`")[1]
            found.append(Row(version, plural, cells[2] == "namespace", cells[3], subresources))
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}", "content-type": "application/json"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            for where, tree in THERE:
                answer = client.post(where, json=tree)
                assert answer.status_code == 201, answer.text
            figures = {"status": {"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}}
            answer = client.patch(
                f"{STRICT}/resourcequotas/there/status",
                json=figures,
                headers={"content-type": "application/merge-patch+json"},
            )
            assert answer.status_code == 200, answer.text
            ruled = client.post(DEFINITIONS, content=RULED)
            assert ruled.status_code == 201, ruled.text
            until_served(client)
            yield client


def until_served(client: httpx.Client) -> None:
    """Wait for the kind with rules."""
    end = time.monotonic() + 60
    while client.get(RULED_OBJECTS).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_page_is_what_the_scheme_says() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.server.supported"
    assert len(ROWS) > 50


def refused(client: httpx.Client, method: str, url: str) -> bool:
    """Return whether the server does not know what is asked: no such verb here, or no such place."""
    content = "[]" if method == "PATCH" else "{}" if method in ("POST", "PUT") else None
    kind = "application/json-patch+json" if method == "PATCH" else "application/json"
    answer = client.request(method, url, content=content, headers={"content-type": kind})
    status = answer.json() if answer.status_code >= 400 else {}
    nowhere = status.get("message") == "the server could not find the requested resource"
    assert not (answer.status_code == 404 and nowhere) or "there/" in url, (method, url)
    return answer.status_code == 405 or nowhere


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.plural}.{row.api_version}")
def test_every_verb_of_a_kind_is_there_or_not_allowed_as_the_page_says(
    client: httpx.Client, row: Row
) -> None:
    root = f"/apis/{row.api_version}" if "/" in row.api_version else f"/api/{row.api_version}"
    collection = f"{root}/namespaces/default/{row.plural}" if row.namespaced else f"{root}/{row.plural}"
    for verb, letter in LETTERS:
        query = {"watch": "?watch=1&resourceVersion=none"}.get(verb, "?dryRun=All")
        url = (collection if verb in ON_COLLECTION else f"{collection}/missing") + query
        assert refused(client, METHODS[verb], url) is (letter not in row.letters), verb
    for name, letters in row.subresources.items():
        for verb, letter in LETTERS:
            if verb in ("list", "watch", "deletecollection"):
                continue
            url = f"{collection}/there/{name}?dryRun=All"
            assert refused(client, METHODS[verb], url) is (letter not in letters), f"{name}: {verb}"
    assert client.get(f"{collection}/there/nothing").status_code == 404


@pytest.mark.parametrize(
    ("what", "code", "request_line", "headers", "body"), FEATURES, ids=[f[0] for f in FEATURES]
)
def test_every_feature_is_answered_as_the_page_says(
    client: httpx.Client, what: str, code: int, request_line: str, headers: dict[str, str], body: str
) -> None:
    method, _, url = request_line.partition(" ")
    if headers.get("authorization") == "":
        answer = httpx.request(method, str(client.base_url.join(url)))
    else:
        answer = client.request(method, url, headers=headers, content=body or None)
    assert answer.status_code == code, (what, answer.text)
    if code >= 400:
        assert yaml.safe_load(answer.text)["code"] == code
    line = f"| {what} | {code} |"
    assert line in list(features()) and line in PAGE.read_text().splitlines()
