"""What a cluster that has ended has left running is ended when somebody says so, and not before."""

import json
import os
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from kubelib.network.nftables import NftablesSettings, Ruleset, run_nft
from kubelib.runtime.base import ContainerSpec, Mount, SandboxSpec
from kubelib.runtime.volumes import in_memory
from kubelib.testing.runtime import containers
from reference_cluster.cli.down import down
from reference_cluster.datadir import open_data_directory
from reference_cluster.runtimes import NO_ISOLATION, IsolationSettings, open_runtime
from tests.containers import BUSYBOX, Docker
from tests.ownnetwork import networks_left, own_network, run
from tests.runtime.test_isolation import groups_left
from tests.runtime.test_process import processes


async def leave_a_pod(node: Path, isolation: IsolationSettings = NO_ISOLATION) -> None:
    """Run a container that says when it is asked to end, as a node that has ended has left it."""
    async with open_runtime("process", node, isolation) as runtime:
        address = "10.244.7.2" if isolation.network else "127.0.0.1"
        spec = SandboxSpec(uid="uid", namespace="default", name="a", hostname="a", address=address)
        words = ("sh", "-c", f"trap 'touch {node}/asked; exit 0' TERM; touch {node}/up; sleep 1000 & wait $!")
        container = ContainerSpec(
            name="main",
            image="x",
            command=words,
            env={"PATH": os.environ["PATH"]},
            mounts=(Mount(str(node), str(node)),),
        )
        await runtime.start_container(await runtime.run_sandbox(spec), container)
        while not (node / "up").exists():
            [found] = (await containers(runtime)).values()
            assert found.state == "running"
            await anyio.sleep(0.01)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    with open_data_directory(tmp_path / "data") as data:
        node = data.node("node-1")
        node.mkdir(parents=True)
        anyio.run(leave_a_pod, node)
    return data.path


def test_what_a_cluster_has_left_running_is_asked_to_end_and_its_files_stay(left: Path) -> None:
    assert processes(str(left)) != []
    done = CliRunner().invoke(down, ["--data-dir", str(left)])
    assert (done.exit_code, done.output) == (0, "1 Pod ended\n")
    assert processes(str(left)) == []
    assert (left / "nodes/node-1/asked").exists()
    assert CliRunner().invoke(down, ["--data-dir", str(left)]).output == "0 Pods ended\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@pytest.mark.parametrize("network", ["", "10.244.0.0/16"])
def test_nothing_is_left_of_isolated_pods_also_if_nobody_says_that_they_were(
    tmp_path: Path, network: str
) -> None:
    isolation = IsolationSettings(level="pod", network=network)
    with own_network():
        with open_data_directory(tmp_path / "data") as data:
            node = data.node("node-1")
            node.mkdir(parents=True)
            anyio.run(leave_a_pod, node, isolation)
        assert (networks_left() != []) is bool(network)
        assert groups_left(node / "runtime") != []
        done = CliRunner().invoke(down, ["--data-dir", str(data.path)])
        assert (done.exit_code, done.output) == (0, "1 Pod ended\n")
        assert (node / "asked").exists()
        assert processes(str(data.path)) == []
        assert networks_left() == []
    assert groups_left(node / "runtime") == []


@pytest.mark.external
def test_the_containers_of_an_engine_are_asked_to_end_and_removed(
    tmp_path: Path, docker_engine: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    said = tmp_path / "asked"

    async def leave(node: Path) -> None:
        async with open_runtime("docker", node) as runtime:
            spec = SandboxSpec(uid="uid", namespace="default", name="a", hostname="a", address="")
            line = "trap 'touch /said/asked; exit 0' TERM; touch /said/up; sleep 1000 & wait $!"
            container = ContainerSpec(
                name="main",
                image=BUSYBOX,
                command=("sh", "-c", line),
                mounts=(Mount(str(tmp_path), "/said"),),
            )
            await runtime.start_container(await runtime.run_sandbox(spec), container)
            with anyio.fail_after(60):
                while not (tmp_path / "up").exists():
                    await anyio.sleep(0.02)

    with open_data_directory(tmp_path / "data") as data:
        node = data.node("node-1")
        node.mkdir(parents=True)
        anyio.run(leave, node)
    # Others may have left some of theirs in the engine.
    left = [name for name in docker_engine.containers() if name.endswith(("_default_uid", "_default_uid_0"))]
    assert len(left) == 2
    assert groups_left(node) != []
    done = CliRunner().invoke(down, ["--data-dir", str(data.path), "--runtime", "docker"])
    assert (done.exit_code, done.output) == (0, "1 Pod ended\n")
    assert said.exists()
    assert not {*left} & {*docker_engine.containers()}
    assert groups_left(node) == []


def test_the_pods_of_a_cluster_that_runs_are_left_alone(left: Path) -> None:
    with open_data_directory(left):
        done = CliRunner().invoke(down, ["--data-dir", str(left)])
    assert done.exit_code == 1
    assert "is in use by process" in done.output
    assert processes(str(left)) != []
    assert CliRunner().invoke(down, ["--data-dir", str(left), "--grace", "0"]).exit_code == 0
    assert processes(str(left)) == []


def test_volumes_in_memory_end_with_what_used_them_and_those_on_disk_stay(left: Path) -> None:
    before = Path("/proc/mounts").read_text()
    place = left / "nodes/node-1/volumes/uid"
    memory = in_memory(place / "memory", 0)
    (memory / "file").touch()
    (place / "disk").mkdir()
    (place / "disk/file").touch()
    there = memory.resolve()
    assert CliRunner().invoke(down, ["--data-dir", str(left)]).exit_code == 0
    assert Path("/proc/mounts").read_text() == before
    assert not there.exists() and not memory.exists()
    assert (place / "disk/file").exists()


def test_there_is_nothing_to_end_where_there_is_no_cluster(tmp_path: Path) -> None:
    done = CliRunner().invoke(down, ["--data-dir", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "there is no cluster in" in done.output
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="rules and routes need root")
def test_what_led_to_services_goes_with_a_cluster_that_was_killed(tmp_path: Path) -> None:
    networks = {"pods": "10.244.0.0/16", "services": "10.96.0.0/16"}
    with own_network():
        before = networks_left(), run("nft", "list", "tables"), run("ip", "route", "show", "table", "local")
        with open_data_directory(tmp_path / "data") as data:
            (data.path / "networks.json").write_text(json.dumps(networks))
        run("ip", "route", "replace", "local", "10.96.0.0/16", "dev", "lo")
        settings = NftablesSettings(table="kubelib-10.96.0.0", service_network="10.96.0.0/16")
        run_nft(Ruleset(settings).begin())
        assert CliRunner().invoke(down, ["--data-dir", str(data.path)]).exit_code == 0
        after = networks_left(), run("nft", "list", "tables"), run("ip", "route", "show", "table", "local")
        assert after == before
