"""Commands in containers over every protocol of channels, and the channels that a client may ask for."""

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.client.kubeconfig import load_connection
from kubelib.client.websocket import WebSocket, connect_websocket
from tests.external.conftest import Cluster, Kubectl, eventually

V5, V4, V1 = "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"
V4_BASE64, V1_BASE64 = "v4.base64.channel.k8s.io", "base64.channel.k8s.io"
SCRIPT = "read line; echo out $line; echo err $line >&2; exit 3"


async def all_said(websocket: WebSocket, protocol: str) -> dict[int, bytes]:
    """Return what comes until the end, by channel."""
    said: dict[int, bytes] = {}
    while True:
        try:
            message = await websocket.receive()
        except anyio.EndOfStream:
            return said
        if "base64" in protocol:
            channel, data = int(message[:1]), base64.b64decode(message[1:])
        else:
            channel, data = message[0], message[1:]
        said[channel] = said.get(channel, b"") + data


@pytest.fixture(scope="module")
def pod(cluster: Cluster, kubectl: Kubectl) -> str:
    name = "protocols"
    kubectl(
        "run",
        name,
        "--image=process",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "echo on; sleep 1000",
    )
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
    return name


async def run(
    cluster: Cluster, pod: str, protocol: str, channels: str, tty: bool = False
) -> dict[int, bytes]:
    asked = [("command", part) for part in ("sh", "-c", SCRIPT)]
    asked += [(channel, "true") for channel in channels.split()] + [("tty", "true")] * tty
    path, where = f"/api/v1/namespaces/default/pods/{pod}/exec", load_connection([cluster.kubeconfig])
    offered = (protocol,) if protocol else ()
    with anyio.fail_after(120):
        async with connect_websocket(where, path, asked, offered) as websocket:
            assert websocket.subprotocol == protocol
            line = b"a line\n"
            await websocket.send(b"0" + base64.b64encode(line) if "base64" in protocol else b"\x00" + line)
            return await all_said(websocket, protocol)


def said_of_the_end(protocol: str, said: bytes) -> Any:
    return json.loads(said)["message"] if protocol.startswith("v") else said.decode()


@pytest.mark.parametrize("protocol", [V5, V4, V4_BASE64, V1_BASE64, V1, ""])
def test_a_command_is_run_over_each_protocol(cluster: Cluster, pod: str, protocol: str) -> None:
    said = anyio.run(run, cluster, pod, protocol, "stdin stdout stderr")
    assert (said[1], said[2]) == (b"out a line\n", b"err a line\n")
    assert said_of_the_end(protocol, said[3]) == "command terminated with non-zero exit code: exit status 3"


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ("stdin stdout", {1: b"out a line\n"}),
        ("stdin stderr", {2: b"err a line\n"}),
        ("stdin", {}),
        ("stdout stderr", {1: b"out\n", 2: b"err\n"}),
    ],
)
def test_only_the_channels_that_are_asked_for_are_sent(
    cluster: Cluster, pod: str, channels: str, expected: dict[int, bytes]
) -> None:
    said = anyio.run(run, cluster, pod, V5, channels)
    assert said.pop(3)
    assert said == expected


@pytest.mark.parametrize("protocol", [V5, V4])
def test_a_client_that_goes_ends_the_input_and_not_the_command(
    cluster: Cluster, pod: str, tmp_path: Path, protocol: str
) -> None:
    arrived = tmp_path / "arrived"
    asked = [
        ("command", part)
        for part in ("sh", "-c", f"sleep 1; cat > {arrived}.part; mv {arrived}.part {arrived}")
    ]
    asked += [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    path, where = f"/api/v1/namespaces/default/pods/{pod}/exec", load_connection([cluster.kubeconfig])

    async def send_and_go() -> None:
        async with connect_websocket(where, path, asked, (protocol,)) as websocket:
            await websocket.send(b"\x00some ")
            await websocket.send(b"\x00bytes")

    anyio.run(send_and_go)
    eventually(lambda: arrived.exists() and arrived.read_text() == "some bytes")


def test_a_terminal_has_one_output(cluster: Cluster, pod: str) -> None:
    said = anyio.run(run, cluster, pod, V5, "stdin stdout stderr", True)
    assert 2 not in said
    assert b"out a line" in said[1] and b"err a line" in said[1]


def test_parts_of_a_log_are_read(cluster: Cluster, kubectl: Kubectl, pod: str) -> None:
    kubectl(
        "run",
        "lines",
        "--image=process",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "echo 1; echo 2; echo 3",
    )
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/lines", "--timeout=120s")
    path = "/api/v1/namespaces/default/pods/lines/log"

    def read(query: str) -> list[str]:
        return kubectl("get", "--raw", f"{path}?{query}").split()

    eventually(lambda: read("") == ["1", "2", "3"])
    assert read("tailLines=0") == []
    assert read("tailLines=2") == ["2", "3"]
    assert read("limitBytes=3") == ["1", "2"]
    dates = [line.split()[0] for line in kubectl("get", "--raw", f"{path}?timestamps=true").splitlines()]
    assert read(f"sinceTime={dates[0]}") == ["1", "2", "3"]
    assert read("sinceTime=2100-01-01T00:00:00Z") == []
    assert read("sinceSeconds=86400") == ["1", "2", "3"]
