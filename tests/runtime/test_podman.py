"""Containers on a real Podman: the suite's promises, and what Podman adds to them."""

import os
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kubelib.runtime.base import (
    CannotStart,
    RuntimeEvent,
    RuntimeUnavailable,
    SandboxId,
)
from kubelib.runtime.podman import PodmanRuntime, rotation
from kubelib.runtime.podman.engine import check_version
from kubelib.runtime.podman.memory import killed_in
from kubelib.runtime.podman.requests import pod_request
from kubelib.testing.runtime import (
    AttachSuite,
    DeviceSuite,
    DurableSuite,
    ExecSuite,
    ImageNameSuite,
    ImageSuite,
    NamesSuite,
    Open,
    Program,
    ResizeSuite,
    RuntimeSuite,
    SandboxLimitSuite,
    StatsSuite,
    TerminalSuite,
    WorkingDirectorySuite,
    containers,
    ended,
    text_of,
    until_told,
)
from tests.containers import Podman
from tests.enginesuite import EngineSuite


class TestPodmanRuntime(
    EngineSuite,
    RuntimeSuite,
    ExecSuite,
    DeviceSuite,
    NamesSuite,
    AttachSuite,
    TerminalSuite,
    StatsSuite,
    ResizeSuite,
    SandboxLimitSuite,
    DurableSuite,
    ImageSuite,
    ImageNameSuite,
    WorkingDirectorySuite,
):
    refused = r"unauthorized|authentication required"

    @pytest.fixture
    def open_runtime(self, podman_service: Podman, tmp_path: Path) -> Iterator[Open]:
        self.engine, self.owner = podman_service, str(tmp_path)
        yield lambda: self.opened(self.owner)
        assert podman_service.containers() == []

    def opened(self, owner: str) -> AbstractAsyncContextManager[Any]:
        return PodmanRuntime(owner, url=self.engine.url)

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
            await until_told(events, RuntimeEvent("exited", infra.uid))
        assert not (await runtime.list_sandboxes())[0].ready
        await runtime.run_sandbox(self.sandbox())
        [sandbox] = await runtime.list_sandboxes()
        assert sandbox.ready
        assert sandbox.address
        assert [(c.id, c.state) for c in sandbox.containers] == [(identity, "exited")]
        again = await self.start(runtime, Program(), attempt=1)
        assert (await containers(runtime))[again].state == "running"

    async def test_a_pod_that_was_left_without_containers_is_in_nobodys_way_and_goes(
        self, runtime: PodmanRuntime
    ) -> None:
        """As the service leaves one that is killed while it makes or removes it."""

        async def leave() -> None:
            left = pod_request(self.sandbox(), self.owner) | {"no_infra": True, "shared_namespaces": []}
            await runtime.engine.call("POST", "/pods/create", body=left)

        await leave()
        sandbox = await runtime.run_sandbox(self.sandbox())
        [found] = await runtime.list_sandboxes()
        assert found.ready
        await runtime.remove_sandbox(sandbox)
        await leave()
        assert self.engine.containers() != []
        await runtime.remove_sandbox(sandbox)
        assert self.engine.containers() == []
        await leave()
        async with self.opened(self.owner):
            assert self.engine.containers() == []

    async def test_the_only_address_of_a_network_is_there_for_one_sandbox_after_the_other(
        self, tmp_path: Path, podman_service: Podman
    ) -> None:
        assert podman_service.network is not None
        subnet = podman_service.network.pods.replace("172.", "10.") + ".0/30"
        podman_service.run("network", "create", "--subnet", subnet, "tiny")
        try:
            async with PodmanRuntime(str(tmp_path), url=podman_service.url, network="tiny") as runtime:
                for number in range(2):
                    sandbox = await runtime.run_sandbox(self.sandbox(f"{number}{'0' * 7}-uid"))
                    spec = self.container(Program(seconds=0, exit_code=number))
                    identity = await runtime.start_container(sandbox, spec)
                    assert (await ended(runtime, identity)).exit_code == number
                    await runtime.stop_sandbox(sandbox)
                assert len(await containers(runtime)) == 2
                for left in await runtime.list_sandboxes():
                    await runtime.remove_sandbox(left.id)
        finally:
            podman_service.run("network", "rm", "tiny")

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
            with anyio.fail_after(60):
                while Path(f"/proc/{runtime._stock.containers[brief].pid}").exists():
                    await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(podman_service.start)
            await until_told(events, RuntimeEvent("exited", self.sandbox().uid, brief))
        found = await containers(runtime)
        assert (found[brief].exit_code, found[kept].state, found[kept].pid) == (5, "running", pid)
        assert await text_of(log) == b"said\n"
        assert (await runtime.exec(kept, ("echo", "still"))).stdout == b"still\n"


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
    with log.open("ab") as more:  # the limit of a Pod as a whole
        more.write(
            b"6,3,4,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-cc,mems_allowed=0,"
            b"oom_memcg=/libpod_parent/pod,task_memcg=/libpod_parent/pod/libpod-cc,task=tail,pid=1,uid=0\n"
        )
    assert killed_in("aa", log) and killed_in("cc", log)
    assert not killed_in("bb", log) and not killed_in("dd", log)
    assert not killed_in("aa", tmp_path / "none")
