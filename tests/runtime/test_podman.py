"""Containers on a real Podman: the suite's promises, and what Podman adds to them."""

import contextlib
import os
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kubelib.runtime.base import (
    BadContainerConfig,
    CannotCreate,
    CannotStart,
    Dns,
    Mount,
    PortMapping,
    Resources,
    RuntimeEvent,
    RuntimeUnavailable,
    SandboxId,
    Security,
)
from kubelib.runtime.podman import PodmanRuntime, rotation
from kubelib.runtime.podman.engine import check_version
from kubelib.runtime.podman.memory import killed_in
from kubelib.testing.runtime import (
    AttachSuite,
    DurableSuite,
    ExecSuite,
    ImageNameSuite,
    ImageSuite,
    Open,
    Program,
    RuntimeSuite,
    StatsSuite,
    TerminalSuite,
    WorkingDirectorySuite,
    _see,
    _Suite,
    containers,
    ended,
    text_of,
)
from tests.containers import BUSYBOX, Podman


class TestPodmanRuntime(
    RuntimeSuite,
    ExecSuite,
    AttachSuite,
    TerminalSuite,
    StatsSuite,
    DurableSuite,
    ImageSuite,
    ImageNameSuite,
    WorkingDirectorySuite,
):
    image = BUSYBOX
    missing_image = "127.0.0.1:1/no/such/image:1"

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def open_runtime(self, podman_service: Podman, tmp_path: Path) -> Iterator[Open]:
        self.engine, self.owner = podman_service, str(tmp_path)

        def opened() -> AbstractAsyncContextManager[Any]:
            return PodmanRuntime(self.owner, url=podman_service.url)

        yield opened
        assert podman_service.containers() == []

    def leftovers(self) -> list[str]:
        return self.engine.containers()


class TestPodman(_Suite):
    """What is Podman's own, or shows only in real containers."""

    image = BUSYBOX
    address = ""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def runtime(self, podman_service: Podman, tmp_path: Path) -> AsyncIterator[PodmanRuntime]:
        async with PodmanRuntime(str(tmp_path), url=podman_service.url) as runtime:
            yield runtime
            for sandbox in await runtime.list_sandboxes():
                await runtime.remove_sandbox(sandbox.id)
        assert podman_service.containers() == []

    async def say(self, runtime: PodmanRuntime, shell: str, tmp_path: Path, **more: Any) -> str:
        """Run a line of shell in a container; return what it writes, but for errors: their place among the rest is anybody's guess."""
        log = tmp_path / f"{more.get('name', 'main')}.log"
        sandbox = await runtime.run_sandbox(more.pop("sandbox", self.sandbox()))
        words = ("sh", "-c", f"exec 2>/dev/null; {shell}")
        spec = self.container(Program(), command=words, log_path=str(log), **more)
        await ended(runtime, await runtime.start_container(sandbox, spec))
        return (await text_of(log)).decode()

    async def test_limits_are_kept_and_who_breaks_them_is_known(
        self, runtime: PodmanRuntime, tmp_path: Path
    ) -> None:
        limits = Resources(memory=32 << 20, cpu=0.5, cpu_request=0.25, pids=50)
        identity = await self.start(runtime, Program(), name="calm", resources=limits)
        cgroup = runtime._running(identity).cgroup
        figures = {
            name: (Path("/sys/fs/cgroup") / name.split(".")[0] / cgroup.strip("/") / name).read_text().strip()
            for name in ("cpu.cfs_quota_us", "cpu.shares", "memory.limit_in_bytes", "pids.max")
        }
        assert figures == {
            "cpu.cfs_quota_us": "50000",
            "cpu.shares": "256",
            "memory.limit_in_bytes": str(32 << 20),
            "pids.max": "50",
        }
        hungry = ("sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x)")
        found = await ended(
            runtime, await self.start(runtime, Program(), name="hungry", resources=limits, command=hungry)
        )
        assert (found.exit_code, found.reason) == (137, "OOMKilled")
        await runtime.stop_container(identity, grace=0)
        assert (await containers(runtime))[identity].reason == "Error"

    async def test_a_container_is_who_it_is_to_be_and_may_what_it_may(
        self, runtime: PodmanRuntime, tmp_path: Path
    ) -> None:
        look = "id; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /x || echo read-only; pwd"
        security = Security(
            read_only_root=True,
            drop_capabilities=["ALL"],
            no_new_privileges=True,
            supplemental_groups=[3000],
            seccomp="Unconfined",
        )
        said = await self.say(
            runtime, look, tmp_path, user=1000, group=2000, security=security, working_dir="/tmp"
        )
        who = re.sub(r"\(\w+\)", "", said.splitlines()[0])
        assert who == "uid=1000 gid=2000 groups=2000,3000"
        assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t0", "/tmp"} <= set(
            said.splitlines()
        )
        assert "read-only" in said
        plain = await self.say(runtime, look, tmp_path, name="plain")
        assert {"NoNewPrivs:\t0", "Seccomp:\t2"} <= set(plain.splitlines())
        assert "read-only" not in plain

    async def test_a_container_that_must_not_be_root_is_refused_if_its_image_is(
        self, runtime: PodmanRuntime
    ) -> None:
        with pytest.raises(BadContainerConfig, match="image will run as root"):
            await self.start(runtime, Program(), security=Security(non_root=True))
        identity = await self.start(runtime, Program(seconds=0), user=1, security=Security(non_root=True))
        assert (await ended(runtime, identity)).exit_code == 0

    async def test_the_containers_of_a_sandbox_share_its_name_network_and_processes(
        self, runtime: PodmanRuntime, tmp_path: Path
    ) -> None:
        dns = Dns(servers=("192.0.2.53",), searches=("a.example",), options=("ndots:3",))
        sandbox = self.sandbox(hostname="front", dns=dns, share_processes=True)
        server = ("sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp")
        await runtime.run_sandbox(sandbox)
        await self.start(runtime, Program(), name="server", command=server)
        ask = (
            "until wget -q -O- http://127.0.0.1:8080/; do sleep 0.1; done; hostname; cat /etc/resolv.conf; ps"
        )
        said = await self.say(runtime, ask, tmp_path, sandbox=sandbox)
        assert said.startswith("hello\nfront\n")
        assert {"nameserver 192.0.2.53", "search a.example", "options ndots:3"} <= set(said.splitlines())
        assert "httpd -f" in said
        stream = await runtime.connect(SandboxId(sandbox.uid), 8080)
        async with stream:
            await stream.send(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            with pytest.raises(anyio.EndOfStream):
                while True:
                    answer += await stream.receive()
        assert answer.endswith(b"hello\n")

    async def test_ports_of_the_host_lead_to_the_sandbox_and_are_not_given_twice(
        self, runtime: PodmanRuntime, podman_service: Podman
    ) -> None:
        sandbox = self.sandbox(ports=[PortMapping(8088, 80)])
        await runtime.run_sandbox(sandbox)
        await self.start(runtime, Program(), command=("httpd", "-f", "-p", "80", "-h", "/etc"))
        assert podman_service.network is not None
        url = f"http://{podman_service.network.inside}:8088/passwd"

        def ask() -> bytes:
            with urllib.request.urlopen(url, timeout=5) as answer:
                body: bytes = answer.read()
                return body

        with anyio.fail_after(30):
            while True:
                with contextlib.suppress(OSError):
                    assert b"root" in await anyio.to_thread.run_sync(ask)
                    break
                await anyio.sleep(0.1)
        other = self.sandbox("99999999-other", name="other", ports=[PortMapping(8088, 80)])
        with pytest.raises(CannotCreate):
            await runtime.run_sandbox(other)
        assert [s.uid for s in await runtime.list_sandboxes()] == [sandbox.uid]

    async def test_a_sandbox_may_be_on_the_hosts_network_and_see_its_processes(
        self, runtime: PodmanRuntime, podman_service: Podman, tmp_path: Path
    ) -> None:
        sandbox = self.sandbox(host_network=True, host_pid=True, host_ipc=True)
        said = await self.say(
            runtime, "ip -o -4 addr; ps; readlink /proc/self/ns/ipc", tmp_path, sandbox=sandbox
        )
        assert podman_service.network is not None
        assert podman_service.network.inside in said
        assert "system service" in said
        assert os.readlink("/proc/self/ns/ipc") in said

    async def test_a_container_looks_into_another(self, runtime: PodmanRuntime, tmp_path: Path) -> None:
        target = await self.start(runtime, Program(), name="target", command=("sleep", "4242"))
        said = await self.say(runtime, "ps", tmp_path, name="debugger", target=target)
        assert "sleep 4242" in said
        assert "sleep 4242" not in await self.say(runtime, "ps", tmp_path, name="stranger")

    async def test_mounts_are_made_where_they_are_missing_and_may_be_read_only(
        self, runtime: PodmanRuntime, tmp_path: Path
    ) -> None:
        mounts = [Mount(str(tmp_path / "new"), "/data"), Mount(str(tmp_path / "ro"), "/ro", True)]
        said = await self.say(
            runtime, "echo x > /data/file; touch /ro/x || echo refused", tmp_path, mounts=mounts
        )
        assert (tmp_path / "new" / "file").read_text() == "x\n"
        assert said.endswith("refused\n")

    async def test_a_user_that_the_image_does_not_have_or_a_mount_that_is_bad_is_an_error(
        self, runtime: PodmanRuntime, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        bad = Mount(str(tmp_path / "file"), "/bin")  # a file where there is a directory
        with pytest.raises((CannotCreate, CannotStart)):
            await self.start(runtime, Program(), mounts=[bad])

    async def test_one_that_could_not_be_started_says_why_and_may_be_tried_again(
        self, runtime: PodmanRuntime, tmp_path: Path, podman_service: Podman
    ) -> None:
        with pytest.raises(CannotStart):
            await self.start(runtime, Program(), command=("/no/such/program",))
        [found] = (await containers(runtime)).values()
        assert (found.state, found.exit_code, found.reason) == ("exited", 128, "ContainerCannotRun")
        assert "/no/such/program" in found.message
        # An agent that was interrupted knows nothing of it: the name is not taken for that.
        async with PodmanRuntime(str(tmp_path), url=podman_service.url) as other:
            identity = await self.start(other, Program())
            assert (await containers(other))[identity].state == "running"

    async def test_a_large_log_is_moved_away_and_still_read_whole(
        self, runtime: PodmanRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "0.log"
        lines = "n=0; while [ $n -lt 100000 ]; do echo $n; n=$((n+1)); done; sleep 100000"
        monkeypatch.setattr(rotation, "LARGEST", 3 << 20)
        identity = await self.start(runtime, Program(), command=("sh", "-c", lines), log_path=str(log))
        known = runtime._running(identity)
        with anyio.fail_after(60):
            while not log.exists() or log.stat().st_size <= rotation.LARGEST:
                await anyio.sleep(0.05)
            rotation.rotate([known])
            while b"99999" not in await text_of(log):
                await anyio.sleep(0.1)
        assert log.with_name("0.log.1").stat().st_size > rotation.LARGEST
        assert (await text_of(log)).split() == [b"%d" % n for n in range(100_000)]

    async def test_a_lost_infra_container_is_made_anew_and_what_was_in_its_network_ends(
        self, runtime: PodmanRuntime
    ) -> None:
        identity = await self.start(runtime, Program(stop_exit_code=None))
        async with runtime.events() as events:
            infra = runtime._of(SandboxId(self.sandbox().uid))
            os.kill(infra.pid, 9)
            await _see(events, RuntimeEvent("exited", infra.uid))
        assert not (await runtime.list_sandboxes())[0].ready
        await runtime.run_sandbox(self.sandbox())
        [sandbox] = await runtime.list_sandboxes()
        assert sandbox.ready
        assert sandbox.address
        assert [(c.id, c.state) for c in sandbox.containers] == [(identity, "exited")]
        again = await self.start(runtime, Program(), attempt=1)
        assert (await containers(runtime))[again].state == "running"

    async def test_containers_go_on_without_the_service_and_what_happened_meanwhile_is_told(
        self, runtime: PodmanRuntime, podman_service: Podman, tmp_path: Path
    ) -> None:
        log = tmp_path / "0.log"
        kept = await self.start(runtime, Program(), name="kept")
        brief = await self.start(
            runtime, Program(out=("said",), seconds=2, exit_code=5), name="brief", log_path=str(log)
        )
        pid = (await containers(runtime))[kept].pid
        assert podman_service.server is not None
        async with runtime.events() as events:
            podman_service.server.kill()
            with pytest.raises(RuntimeUnavailable):
                await runtime.has_image(self.image)
            with anyio.fail_after(30):
                while Path(f"/proc/{runtime._stock.containers[brief].pid}").exists():
                    await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(podman_service.start)
            await _see(events, RuntimeEvent("exited", self.sandbox().uid, brief))
        found = await containers(runtime)
        assert (found[brief].exit_code, found[kept].state, found[kept].pid) == (5, "running", pid)
        assert await text_of(log) == b"said\n"
        assert (await runtime.exec(kept, ("echo", "still"))).stdout == b"still\n"

    async def test_nothing_is_left_open(
        self, runtime: PodmanRuntime, podman_service: Podman, tmp_path: Path
    ) -> None:
        identity = await self.start(runtime, Program(echo=True), stdin=True)
        terminal = await self.start(runtime, Program(echo=True), name="terminal", stdin=True, tty=True)
        open_before: list[int] = []
        for _ in range(3):
            async with PodmanRuntime(str(tmp_path), url=podman_service.url) as other, other.events():
                for one in (identity, terminal):
                    async with other.attach(one, stdin=True) as stream:
                        await stream.send(b"x\n")
                        await stream.receive()
                await other.exec(identity, ("true",))
            open_before.append(len(os.listdir("/proc/self/fd")))
        assert len(set(open_before[1:])) == 1


async def test_a_service_that_is_not_there_or_cannot_be_one_is_told_in_a_sentence(tmp_path: Path) -> None:
    for url, why in (
        (
            f"unix://{tmp_path}/podman.sock",
            f"cannot reach Podman at unix://{tmp_path}/podman.sock: No such file",
        ),
        ("tcp://127.0.0.1:1", "kubelib reaches Podman at a unix:///"),
    ):
        with pytest.raises(RuntimeUnavailable, match=re.escape(why)):
            async with PodmanRuntime("test", url=url):
                pass


def test_a_service_that_is_too_old_is_refused() -> None:
    def told(version: str) -> dict[str, Any]:
        return {"Components": [{"Name": "Podman Engine", "Details": {"APIVersion": version}}]}

    check_version(told("4.3.1"), "unix:///x")
    check_version(told("5.4.2-dev"), "unix:///x")
    with pytest.raises(
        RuntimeUnavailable, match=r"too old: it speaks version 4\.2\.0 of the API, and 4\.3\.1 is needed"
    ):
        check_version(told("4.2.0"), "unix:///x")


def test_the_kernels_log_tells_whom_it_has_killed_for_want_of_memory(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(
        b"6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-aa,mems_allowed=0,"
        b"oom_memcg=/libpod_parent/pod/libpod-aa,task_memcg=/libpod_parent/pod/libpod-aa/x,task=tail,pid=1,uid=0\n"
        b"6,2,3,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/libpod_parent/pod/libpod-bb,task=a\n"
    )
    assert killed_in("aa", log)
    assert not killed_in("bb", log)
    assert not killed_in("aa", tmp_path / "none")
