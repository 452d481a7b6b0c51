"""The page docs/supported.md is what the scheme says, and the server does what the page says."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
import yaml

from kubelib.testing.cluster import ClusterOptions, TestCluster
from tests.server.supported import FEATURES, LETTERS, MAPS, PAGE, features, page

METHODS = {
    "create": "POST", "get": "GET", "list": "GET", "watch": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETE",
}  # fmt: skip
ON_COLLECTION = ("create", "list", "watch", "deletecollection")
STREAMS = ("log", "exec", "attach", "portforward", "proxy")

IN_WORK = ("approval",)


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
    with TestCluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}", "content-type": "application/json"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            assert client.post(MAPS, json={"metadata": {"name": "there"}}).status_code == 201
            pod = {"metadata": {"name": "there"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
            assert client.post("/api/v1/namespaces/default/pods", json=pod).status_code == 201
            yield client


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
        if name in STREAMS or name in IN_WORK:
            continue
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
    line = f"| {what} | {'supported' if code < 300 else f'refused: {code}'} |"
    assert line in list(features()) and line in PAGE.read_text().splitlines()
