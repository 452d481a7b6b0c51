"""What is asked of a Pod's containers and cannot be: commands without an upgrade or without a channel, parts of logs."""

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from kubelib.api.errors import BadRequest, NotFound
from kubelib.client.kubeconfig import load_connection
from kubelib.client.websocket import open_command
from kubelib.testing.cluster import Cluster, ClusterOptions

PODS = "/api/v1/namespaces/default/pods"
POD = {
    "metadata": {"name": "web"},
    "spec": {"nodeName": "node-0", "containers": [{"name": name, "image": "i"} for name in ("c", "d")]},
}
Send = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, ClusterOptions(fake_nodes=1)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def send(cluster: Cluster) -> Send:
    def request(method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(urlsplit(cluster.url).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/json"}
        connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data)

    status, pod = request("POST", PODS, POD)
    assert status == 201, pod
    return request


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
class TestWithoutAnUpgrade:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_one_is_asked_for(self, send: Send, method: str, subresource: str) -> None:
        query = "container=c&command=ls&stdout=true&ports=80"
        status, answer = send(method, f"{PODS}/web/{subresource}?{query}")
        assert (status, answer["reason"]) == (400, "BadRequest")
        assert answer["message"] == "Upgrade request required"

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_what_is_wrong_with_the_pod_is_said_first(
        self, send: Send, method: str, subresource: str
    ) -> None:
        status, answer = send(method, f"{PODS}/nobody/{subresource}")
        assert (status, answer["message"]) == (404, 'pods "nobody" not found')
        status, answer = send(method, f"{PODS}/web/{subresource}?container=other")
        expected = "container other is not valid for pod web"
        assert status == 400
        assert answer["message"] == ("Upgrade request required" if subresource == "portforward" else expected)

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    def test_other_methods_are_not_allowed(self, send: Send, method: str, subresource: str) -> None:
        assert send(method, f"{PODS}/web/{subresource}")[0] == 405


@pytest.mark.parametrize(
    "query", [[], [("tty", "true"), ("stderr", "true")]], ids=["none", "only-a-terminal"]
)
@pytest.mark.parametrize("subresource", ["exec", "attach"])
async def test_a_command_without_a_channel_is_refused(
    cluster: Cluster, send: Send, subresource: str, query: list[tuple[str, str]]
) -> None:
    where = load_connection([cluster.kubeconfig])
    asked = [("container", "c"), ("command", "ls"), *query]
    with pytest.raises(BadRequest, match="you must specify at least 1 of stdin, stdout, stderr"):
        async with open_command(where, f"{PODS}/web/{subresource}", asked):
            pytest.fail("it was opened")


async def test_a_kubelet_is_reached_through_the_proxy_of_its_node(cluster: Cluster, send: Send) -> None:
    where, proxy = load_connection([cluster.kubeconfig]), "/api/v1/nodes/node-0/proxy"
    asked = [("command", "ls"), ("output", "1"), ("error", "1")]
    cluster.eventually(lambda: send("GET", f"{PODS}/web")[1]["status"]["phase"] == "Running")
    async with open_command(where, f"{proxy}/exec/default/web/c", asked) as stream:
        with pytest.raises(anyio.EndOfStream):
            while True:
                await stream.receive()
        assert await stream.wait() == 0
    for path, error in (("exec/default/nobody/c", NotFound), ("dance", NotFound)):
        with pytest.raises(error):
            async with open_command(where, f"{proxy}/{path}", asked):
                pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("query", "causes"),
    [
        ("tailLines=-1", [("tailLines", "Invalid value: -1: must be greater than or equal to 0")]),
        ("limitBytes=0", [("limitBytes", "Invalid value: 0: must be greater than 0")]),
        ("sinceSeconds=0", [("sinceSeconds", "Invalid value: 0: must be greater than 0")]),
        (
            "sinceSeconds=0&sinceTime=2026-01-01T00:00:00Z",
            [("[]", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified")],
        ),
        ("stream=Stdout", [("stream", "Forbidden: may not be specified")]),
        (
            "tailLines=-2&limitBytes=-3",
            [
                ("tailLines", "Invalid value: -2: must be greater than or equal to 0"),
                ("limitBytes", "Invalid value: -3: must be greater than 0"),
            ],
        ),
    ],
)
def test_parts_of_a_log_that_make_no_sense_are_invalid(
    send: Send, query: str, causes: list[tuple[str, str]]
) -> None:
    # The options are looked at before the Pod is.
    for name in ("web", "nobody"):
        status, answer = send("GET", f"{PODS}/{name}/log?{query}")
        assert (status, answer["reason"]) == (422, "Invalid")
        assert answer["message"].startswith(f'PodLogOptions "{name}" is invalid: ')
        assert [(cause["field"], cause["message"]) for cause in answer["details"]["causes"]] == causes


@pytest.mark.parametrize("query", ["tailLines=x", "sinceTime=yesterday", "limitBytes=1.5"])
def test_parts_of_a_log_that_cannot_be_read_are_bad_requests(send: Send, query: str) -> None:
    assert send("GET", f"{PODS}/web/log?{query}")[0] == 400
