"""Every endpoint of our own OpenAPI, called with what its schema allows and what it does not: no 5xx, no hang, no growth.

``KUBELIB_FUZZ_EXAMPLES`` says how many calls are made to each operation; what is called is the same in every run.
"""

import os
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from examples.aggregated.flights import aggregated
from kubelib.api.builtin import SCHEME
from kubelib.api.openapi import document_paths
from kubelib.api.protobuf import encode_protobuf
from kubelib.api.scheme import Resource
from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.api.documents import Generator
from tests.server.definitions import definition

EXAMPLES = int(os.environ.get("KUBELIB_FUZZ_EXAMPLES", "2"))
DOCUMENTS = document_paths(SCHEME)
SECONDS = 20.0
NOBODY: tuple[dict[str, str], ...] = (
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Basic YTpi"},
    {"authorization": "Bearer"},
)
OPEN = ("version",)
"""What may be read without credentials."""
NODES = ("proxy", "log", "exec", "attach", "portforward")
"""Subresources that need a node: there is none here, and they say so with 503."""


WIDGETS = definition(
    "widgets",
    "Widget",
    {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 100, "default": 2},
            "ratio": {"type": "number"},
            "port": {"x-kubernetes-int-or-string": True},
            "names": {
                "type": "array",
                "maxItems": 5,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string"},
            },
            "parts": {
                "type": "array",
                "maxItems": 5,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string", "maxLength": 9}},
                },
            },
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "when": {"type": "string", "format": "date-time", "nullable": True},
        },
        "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size != 13", "message": "bad luck"}],
    },
    subresources={
        "status": {},
        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
    },
    selectableFields=[{"jsonPath": ".spec.size"}],
)
OTHERS = ("apis/example.com/v1", "apis/travel.example.com/v1")
"""What a definition defines, and what another API server answers for."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with (
        Cluster(tmp_path_factory.mktemp("data"), ClusterOptions()) as cluster,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            aggregated([cluster.user("root", groups=["system:masters"]).kubeconfig], directory / "flights")
        ),
    ):
        cluster.apply(WIDGETS)
        headers = {"authorization": f"Bearer {cluster.token}"}
        cluster.eventually(
            lambda: (
                set(OTHERS) <= httpx.get(f"{cluster.url}/openapi/v3", headers=headers).json()["paths"].keys()
            )
        )
        yield cluster


async def _tasks() -> list[anyio.TaskInfo]:
    return anyio.get_running_tasks()


def _resources(cluster: Cluster) -> tuple[int, int]:
    """Return how many tasks the server has, and how many files this process has open."""
    return len(cluster.call(_tasks)), len(os.listdir("/proc/self/fd"))


def _tamed(case: Any) -> None:
    """Make a call that ends by itself, and often enough finds something."""
    query = dict(case.query or {})
    if "watch" in query or "/watch/" in case.path:
        query["timeoutSeconds"] = 1
    query.pop("resourceVersion", None)  # one in the future is waited for
    query.pop("follow", None)
    case.query = query
    parameters = dict(case.path_parameters or {})
    if "namespace" in parameters:
        parameters["namespace"] = "default"
    if "name" in parameters:
        parameters["name"] = "fuzzed"
    case.path_parameters = parameters
    if isinstance(case.body, dict) and isinstance(case.body.get("metadata"), dict):
        case.body["metadata"].update(name="fuzzed", namespace="default")


@pytest.mark.parametrize("name", [*OTHERS, *DOCUMENTS])  # those of all kinds delete what defines the others
def test_no_call_makes_the_server_fail_or_hang(cluster: Cluster, name: str) -> None:
    headers = {"authorization": f"Bearer {cluster.token}"}
    document = httpx.get(f"{cluster.url}/openapi/v3/{name}", headers=headers).json()
    before = _resources(cluster)
    seen = 0
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal seen
            _tamed(case)
            answer = case.call(base_url=cluster.url, headers=headers, timeout=SECONDS)
            seen += 1
            if (
                seen % EXAMPLES == 0 and name not in OPEN
            ):  # what they send does not matter: one such call to each operation is enough
                stranger = case.call(
                    base_url=cluster.url, headers=NOBODY[seen // EXAMPLES % 4], timeout=SECONDS
                )
                assert stranger.status_code in (401, 403), (
                    case.method,
                    stranger.request.url,
                    stranger.content,
                )
            unreachable = answer.status_code == 503 and case.path.partition("{name}/")[2].startswith(NODES)
            assert answer.status_code < 500 or unreachable, (
                case.method,
                answer.request.url,
                case.body,
                answer.content,
            )
            if answer.status_code >= 400 and case.method != "HEAD":
                status = answer.json()
                assert (status["kind"], status["code"]) == ("Status", answer.status_code)
                assert status["message"]

        call()
    assert seen >= len(document["paths"])
    after = _resources(cluster)
    assert after[0] <= before[0] + 1, "tasks are left"
    assert after[1] <= before[1] + 4, "files are left"


@pytest.mark.parametrize(
    "resource", [r for r in SCHEME if "create" in r.verbs], ids=lambda r: f"{r.kind}.{r.api_version}"
)
def test_generated_documents_are_answered_alike_in_json_and_protocol_buffers(
    cluster: Cluster, resource: Resource
) -> None:
    prefix = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
    place = "namespaces/default/" if resource.namespaced else ""
    admin = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=f"{cluster.url}/{prefix}/{place}", headers=admin, timeout=60) as client:
        for seed in range(4):
            tree = Generator(Random(seed)).document(resource)
            tree["metadata"].pop("namespace", None)
            for way in ("?dryRun=All", "?dryRun=All&fieldValidation=Strict"):
                as_json = client.post(resource.plural + way, json=tree)
                as_protobuf = client.post(
                    resource.plural + way,
                    content=encode_protobuf(tree, resource.cls),
                    headers={"content-type": "application/vnd.kubernetes.protobuf"},
                )
                assert as_json.status_code < 500, as_json.text
                assert as_protobuf.status_code == as_json.status_code, (as_json.text, as_protobuf.text)
                if as_json.status_code >= 400:
                    assert as_protobuf.json()["message"] == as_json.json()["message"]


ODD = (
    "", "x", "-1", "0", "1e9", "99999999999999999999", "true", "\x00", "..", "%2e%2e%2f", "a" * 2000, "\u00e9", "verbose", "etcd",
)  # fmt: skip
"""Values for what no document describes."""
UNDESCRIBED = (
    "/healthz", "/livez", "/readyz", "/livez/{odd}", "/readyz/{odd}", "/metrics", "/metrics/{odd}", "/openapi/v2", "/openapi/v3",
    "/openapi/v3/{odd}", "/openapi/{odd}", "/debug/api_priority_and_fairness/{odd}", "/", "/{odd}", "/api/{odd}", "/apis/{odd}/{odd}",
    "/version/{odd}", "/openid/{odd}",
)  # fmt: skip


@pytest.mark.parametrize("path", UNDESCRIBED)
def test_what_no_document_describes_neither_fails_nor_hangs(cluster: Cluster, path: str) -> None:
    before = _resources(cluster)
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=SECONDS) as client:
        for odd in ODD:
            where = path.replace("{odd}", quote(odd, safe=""))
            for method in ("GET", "POST", "DELETE"):
                answer = client.request(method, where, params={"verbose": odd, "exclude": odd, "hash": odd})
                assert answer.status_code < 500, (method, where, answer.text)
    after = _resources(cluster)
    assert after[0] <= before[0] + 1, "tasks are left"
    assert after[1] <= before[1] + 4, "files are left"


def test_every_endpoint_is_refused_without_credentials_and_with_wrong_ones(cluster: Cluster) -> None:
    admin = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        documents = client.get("/openapi/v3", headers=admin).json()["paths"]
        tried = 0
        for name in documents:
            for path, item in client.get(f"/openapi/v3/{name}", headers=admin).json()["paths"].items():
                where = (
                    path.replace("{namespace}", "default")
                    .replace("{name}", "kubernetes")
                    .replace("{path}", "x")
                )
                for method in ("get", "put", "post", "delete", "patch"):
                    if method not in item or path.strip("/") in OPEN:
                        continue
                    tried += 1
                    answer = client.request(method, where, headers=NOBODY[tried % len(NOBODY)], json={})
                    assert answer.status_code in (401, 403), (method, where, answer.status_code, answer.text)
                    assert answer.json()["kind"] == "Status"
        assert tried > 500
