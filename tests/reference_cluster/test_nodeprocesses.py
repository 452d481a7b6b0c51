"""Nodes that are processes: real ones, whose API server never answers."""

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from kubelib.client.kubeconfig import Connection
from kubelib.sched.elastic.base import NodeProvider, NodeTemplate
from kubelib.testing.provider import ProviderSuite
from reference_cluster.credentials import write_node_credentials
from reference_cluster.nodeprocesses import KubeletOptions, NodeProcesses
from reference_cluster.pki import Authority
from tests.engines import free_ports

SMALL = NodeTemplate(
    name="small", capacity={"cpu": "1", "memory": "1Gi", "pods": "9"}, labels={"disk": "fast"}, maximum=2
)
OPTIONS = KubeletOptions(runtime="fake")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def provider_in(directory: Path) -> NodeProcesses:
    (port,) = free_ports(1)

    def write(name: str, home: Path) -> None:
        connection = Connection(server=f"https://127.0.0.1:{port}")
        write_node_credentials(
            Authority(directory / "pki", issued=home), connection, name, ("127.0.0.1",), home
        )

    return NodeProcesses([SMALL], directory / "nodes", write, OPTIONS)


async def end(provider: NodeProvider) -> None:
    for node in await provider.nodes():
        await provider.remove(node.name)


class TestNodeProcesses(ProviderSuite):
    """What every provider must do, done by processes."""

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[NodeProvider]:
        async with provider_in(tmp_path).opened() as opened:
            yield opened
            await end(opened)
        assert list((tmp_path / "nodes").iterdir()) == []


def owner(directory: Path, name: str) -> int:
    """Return the process that a node's directory says it is, 0 before it says one."""
    lock = directory / "nodes" / name / "data" / "lock"
    text = lock.read_text().strip() if lock.exists() else ""
    return int(text) if text else 0


async def until_it_runs(directory: Path, name: str, other_than: int = 0) -> int:
    with anyio.fail_after(60):
        while (pid := owner(directory, name)) in (0, other_than):
            await anyio.sleep(0.05)
    return pid


async def test_nodes_outlive_who_asked_for_them_and_are_found_and_ended_by_the_next(tmp_path: Path) -> None:
    async with provider_in(tmp_path).opened() as first:
        await first.add("small", ["one"])
        pid = await until_it_runs(tmp_path, "one")
    os.kill(pid, 0)  # it is there
    async with provider_in(tmp_path).opened() as second:
        assert [(node.name, node.template) for node in await second.nodes()] == [("one", "small")]
        assert await second.add("small", ["one"]) == ["one"]
        await second.remove("one")
        assert await second.nodes() == ()
    # It has let go of its directory and is about to end; its parent, this process, has yet to learn of that.
    with anyio.fail_after(60):
        while (status := _status(pid)) and not re.search(r"State:\s+[ZX]", status):
            await anyio.sleep(0.05)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return ""


async def test_a_node_that_is_killed_is_started_again_as_it_was(tmp_path: Path) -> None:
    async with provider_in(tmp_path).opened() as provider:
        await provider.add("small", ["one"])
        pid = await until_it_runs(tmp_path, "one")
        os.kill(pid, signal.SIGKILL)
        again = await until_it_runs(tmp_path, "one", other_than=pid)
        words = Path(f"/proc/{again}/cmdline").read_bytes().decode().split("\0")
        assert words[words.index("--capacity") + 1] == "cpu=1,memory=1Gi,pods=9"
        assert "disk=fast" in words[words.index("--node-labels") + 1].split(",")
        await end(provider)


async def test_keys_of_nodes_are_their_owners_alone_and_go_with_them(tmp_path: Path) -> None:
    async with provider_in(tmp_path).opened() as provider:
        await provider.add("small", ["one"])
        home = tmp_path / "nodes" / "one"
        assert json.loads((home / "node.json").read_text())["template"] == "small"
        keys = [*home.glob("*.key"), home / "kubeconfig"]
        assert len(keys) == 4
        assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
        await end(provider)
        assert not home.exists()
        assert sorted(path.name for path in (tmp_path / "pki").iterdir()) == ["ca.crt", "ca.key"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtim": "fake"}, "has no option 'runtim': there are runtime,"),
        ({"runtime": 1}, "The option runtime of the provider local is 1, and no text."),
        ({"isolation": "full"}, "write none or pod"),
        ({"runtime": "rkt"}, "no runtime 'rkt'"),
        ({"runtime": "fake", "isolation": "pod"}, "--isolation is for the runtime process"),
    ],
)
def test_options_that_no_kubelet_would_understand_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        KubeletOptions.of(options)
    assert "\n" not in str(refused.value)
