"""How containers without isolation resolve names: as their Pod does, where this process may mount, and without a trace on the host."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.runtime import processnames
from kubelib.runtime.base import ContainerId, ContainerSpec, Dns, Mount, NoSuchContainer, SandboxSpec
from kubelib.runtime.isolation.plan import shared_with_host
from kubelib.runtime.process import ProcessRuntime
from kubelib.runtime.processstate import state_of
from kubelib.testing.cluster import Cluster
from kubelib.testing.runtime import ended, text_of
from tests.containers import mounts_below
from tests.external.conftest import eventually
from tests.kubelets import NODE, Kubelet

pytestmark = pytest.mark.skipif(
    not processnames.can_show(), reason="files of a container's own need the right to mount"
)
DNS = Dns(servers=("192.0.2.53",))
WHERE = ("readlink", "/proc/self/ns/mnt")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProcessRuntime]:
    async with ProcessRuntime(tmp_path / "runtime") as runtime:
        yield runtime
        for sandbox in await runtime.list_sandboxes():
            await runtime.remove_sandbox(sandbox.id)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of the host that stands for its ``/etc/hosts``, which tests had better not replace."""
    found = tmp_path / "place"
    found.write_text("of the host\n")
    monkeypatch.setattr(processnames, "PLACES", (str(found),))
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a Pod's file."""
    found = tmp_path / "own"
    found.write_text("of the pod\n")
    return found


async def start(
    runtime: ProcessRuntime, *mounts: Mount, dns: Dns = DNS, host_network: bool = False, **more: Any
) -> ContainerId:
    sandbox = await runtime.run_sandbox(
        SandboxSpec(
            uid="0a1b2c3d",
            namespace="default",
            name="one",
            hostname="one",
            address="127.244.77.1",
            dns=dns,
            host_network=host_network,
        )
    )
    given = {"name": "main", "image": "process", "command": ("sleep", "100000"), "env": {}, **more}
    return await runtime.start_container(sandbox, ContainerSpec(mounts=mounts, **given))


async def said(runtime: ProcessRuntime, container: ContainerId, *command: str) -> str:
    result = await runtime.exec(container, command)
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()


def mine(kind: str = "mnt") -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


async def test_a_name_of_the_pod_is_found_and_the_host_keeps_its_files_mounts_and_name(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    before = Path("/etc/hosts").read_text(), mounts_below(Path("/etc")), os.uname().nodename
    hosts, log = tmp_path / "hosts", tmp_path / "log"
    hosts.write_text("192.0.2.7\tfar.example\n127.244.77.1\tone\n")
    script = "getent ahostsv4 far.example; hostname; getent ahostsv4 $(hostname)"
    container = await start(
        runtime,
        Mount(str(hosts), "/etc/hosts"),
        command=("sh", "-c", f"{script}; exec sleep 1000"),
        log_path=str(log),
        user=65534,
        group=65534,
        working_dir="/",
    )
    with anyio.fail_after(60):
        while (await text_of(log)).count(b"\n") < 7:
            await anyio.sleep(0.02)
    assert (await text_of(log)).decode() == await said(runtime, container, "sh", "-c", script)
    words = (await text_of(log)).decode().split()
    assert words[:3] == ["192.0.2.7", "STREAM", "far.example"] and "one" in words
    assert "127.244.77.1" in words
    assert before == (Path("/etc/hosts").read_text(), mounts_below(Path("/etc")), os.uname().nodename)


async def test_where_nothing_differs_a_container_has_the_mounts_of_the_host(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# Kubernetes-managed hosts file.\n" + Path("/etc/hosts").read_text())
    mount = Mount(str(hosts), "/etc/hosts")
    same = await start(runtime, mount, dns=Dns(), host_network=True)
    assert await said(runtime, same, *WHERE) == f"{mine()}\n"
    with hosts.open("a") as file:
        file.write("192.0.2.7\tfar.example\n")
    other = await start(runtime, mount, name="other")
    assert await said(runtime, other, *WHERE) != f"{mine()}\n"
    assert await said(runtime, other, "readlink", "/proc/self/ns/uts") == f"{mine('uts')}\n"


async def test_a_container_that_mounts_for_the_host_has_its_mounts(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    container = await start(runtime, Mount(str(tmp_path), "/data", propagation="Bidirectional"))
    assert await said(runtime, container, *WHERE) == f"{mine()}\n"


async def test_a_file_that_the_host_replaces_or_removes_is_the_pods_again(
    runtime: ProcessRuntime, tmp_path: Path, place: Path, own: Path
) -> None:
    container = await start(runtime, Mount(str(own), str(place)))
    assert await said(runtime, container, "cat", str(place)) == "of the pod\n"

    async def is_back() -> None:
        with anyio.fail_after(60):
            while (await runtime.exec(container, ("cat", str(place)))).stdout != b"of the pod\n":
                await anyio.sleep(0.1)

    for number in range(3):
        (tmp_path / "new").write_text(f"of the host {number}\n")
        (tmp_path / "new").rename(place)
        await is_back()
        assert place.read_text() == f"of the host {number}\n"
    place.unlink()
    assert (await runtime.exec(container, ("cat", str(place)))).exit_code == 1
    place.write_text("of the host\n")
    await is_back()


async def test_a_file_that_the_host_has_not_yet_and_one_that_is_a_link_are_seen_too(
    runtime: ProcessRuntime, tmp_path: Path, place: Path, own: Path
) -> None:
    place.unlink()
    container = await start(runtime, Mount(str(own), str(place)))
    assert (await runtime.exec(container, ("cat", str(place)))).exit_code == 1
    (tmp_path / "aim").write_text("of the host\n")
    place.symlink_to("aim")
    with anyio.fail_after(60):
        while (await runtime.exec(container, ("cat", str(place)))).stdout != b"of the pod\n":
            await anyio.sleep(0.1)
    linked = await start(runtime, Mount(str(own), str(place)), name="linked")
    assert await said(runtime, linked, "cat", str(place)) == "of the pod\n"
    assert await said(runtime, linked, "readlink", str(place)) == "aim\n"
    assert place.read_text() == "of the host\n"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Return a directory whose mounts the host shares, as systemd has it everywhere."""
    directory = tmp_path / "shared"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "shared", directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    yield directory
    subprocess.run(["umount", "-R", directory], check=True)
    assert mounts_below(directory) == []


async def test_what_the_host_mounts_later_is_seen_and_what_is_mounted_inside_stays_there(
    runtime: ProcessRuntime, shared: Path
) -> None:
    container = await start(runtime)
    later, inner = shared / "later", shared / "inner"
    later.mkdir()
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "later", later], check=True)
    (later / "file").touch()
    assert await said(runtime, container, "ls", str(later)) == "file\n"
    await said(runtime, container, "mount", "-t", "tmpfs", "inner", str(inner))
    assert mounts_below(shared) == [str(shared), str(later)]
    subprocess.run(["umount", later], check=True)
    assert await said(runtime, container, "ls", str(later)) == ""
    await said(runtime, container, "umount", str(inner))


async def test_a_volume_in_memory_of_another_pod_goes_with_it(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "volume", volume], check=True)
    try:
        container = await start(runtime, Mount(str(volume), "/data"))
        await said(runtime, container, "sh", "-c", "echo x > $KUBELIB_ROOT/data/file")
        assert (volume / "file").read_text() == "x\n"
    finally:
        subprocess.run(["umount", volume], check=True)
    volume.rmdir()
    state = state_of(Path(container))
    assert state is not None
    assert mounts_below(volume, str(state["pid"])) == []


async def test_without_the_right_to_mount_all_is_as_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processnames, "can_show", lambda: False)
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7\tfar.example\n")
    async with ProcessRuntime(tmp_path / "runtime") as runtime:
        assert not runtime.own_hosts
        assert runtime.not_isolated == shared_with_host("none")
        container = await start(runtime, Mount(str(hosts), "/etc/hosts"))
        assert await said(runtime, container, *WHERE) == f"{mine()}\n"
        assert await said(runtime, container, "sh", "-c", "cat $KUBELIB_ROOT/etc/hosts") == hosts.read_text()
    monkeypatch.undo()
    async with ProcessRuntime(tmp_path / "runtime") as runtime:  # which finds a container from before
        assert "own /etc/hosts" in runtime.not_isolated
        assert await said(runtime, container, *WHERE) == f"{mine()}\n"
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)


def test_root_that_may_not_mount_as_in_a_container_is_found_out() -> None:
    program = "from kubelib.runtime.processnames import can_show; print(can_show())"
    for without, can in ((), True), (("setpriv", "--bounding-set=-sys_admin"), False):
        words = [*without, sys.executable, "-c", program]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == f"{can}\n"


async def test_a_process_with_the_number_of_one_that_has_ended_is_left_alone(runtime: ProcessRuntime) -> None:
    with pytest.raises(ProcessLookupError):
        processnames.among({"pid": os.getpid(), "ticks": 0}, lambda: pytest.fail("it is another one"))
    over = await start(runtime, command=("true",))
    await ended(runtime, over)
    with pytest.raises(NoSuchContainer):
        await runtime.exec(over, ("true",))


def test_a_node_gives_its_pods_their_hosts_and_servers_and_finds_them_again(tmp_path: Path) -> None:
    def pod(name: str, script: str, main: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": "process",
            "command": ["sh", "-c", f"{script}; exec sleep 100000"],
        }
        spec |= {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
        spec["containers"] = [{**container, **main}]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    find = "getent ahostsv4 far.example && grep -q 192.0.2.53 /etc/resolv.conf && getent ahostsv4 $(hostname)"
    again = tmp_path / "again"
    probe = {"exec": {"command": ["sh", "-c", f"{find} && test -e {again}"]}, "periodSeconds": 1}
    pods = [
        pod(
            "own",
            f"({find}) > {tmp_path}/own",
            {
                "readinessProbe": probe,
                "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", find]}}},
            },
            hostAliases=[{"ip": "192.0.2.7", "hostnames": ["far.example"]}],
            dnsConfig={"nameservers": ["192.0.2.53"], "options": [{"name": "attempts", "value": "1"}]},
        ),
        pod("host", f"readlink /proc/self/ns/mnt > {tmp_path}/host", {}, hostNetwork=True),
    ]
    with (
        Cluster() as cluster,
        Kubelet(tmp_path / "kubelet", cluster.kubeconfig, "process", "", 1) as kubelet,
    ):
        listed = cluster.client.resource(Pod).list

        def ready() -> list[str]:
            found = cluster.call(listed).items
            return sorted(
                p.metadata.name
                for p in found
                if any((c.type, c.status) == ("Ready", "True") for c in p.status.conditions)
            )

        kubelet.start()
        assert eventually(kubelet.is_ready)
        cluster.apply(pods)
        assert eventually(lambda: ready() == ["host"])
        assert eventually(lambda: (tmp_path / "own").exists() and "own" in (tmp_path / "own").read_text())
        assert (tmp_path / "host").read_text() == f"{mine()}\n"
        kubelet.kill()
        again.touch()
        kubelet.start()
        assert eventually(lambda: ready() == ["host", "own"])
        [restarts] = {
            s.restart_count for p in cluster.call(listed).items for s in p.status.container_statuses
        }
        assert restarts == 0
        for name in ("own", "host"):
            cluster.call(cluster.client.resource(Pod).delete, Key("default", name))
        assert eventually(lambda: not list((kubelet.root / "runtime/sandboxes").iterdir()))
