"""The process runtime: the suite's promises, and what it adds to them."""

import contextlib
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from kubelib.runtime import processstate
from kubelib.runtime.base import (
    BadContainerConfig,
    CannotCreate,
    Container,
    Dns,
    Mount,
    Resources,
    Runtime,
    SandboxSpec,
    Security,
)
from kubelib.runtime.process import ProcessRuntime
from kubelib.runtime.processstate import state_of
from kubelib.runtime.processusage import processes_of
from kubelib.testing.runtime import (
    MARK,
    AttachSuite,
    DeviceSuite,
    DurableSuite,
    ExecSuite,
    NamesSuite,
    Open,
    Program,
    ResizeSuite,
    RuntimeSuite,
    StatsSuite,
    TerminalSuite,
    WorkingDirectorySuite,
    containers,
    ended,
    output_of,
    text_of,
)


def processes(mark: str) -> list[str]:
    """Return the command lines of the processes that have a text in their environment or command line."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            words = (directory / "cmdline").read_bytes()
            if mark.encode() in words or mark.encode() in (directory / "environ").read_bytes():
                found.append(words.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


class TestProcessRuntime(
    RuntimeSuite,
    ExecSuite,
    DeviceSuite,
    NamesSuite,
    AttachSuite,
    TerminalSuite,
    StatsSuite,
    ResizeSuite,
    DurableSuite,
    WorkingDirectorySuite,
):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def root(self, tmp_path: Path) -> Iterator[Path]:
        self.directory = tmp_path / "runtime"
        yield self.directory
        assert processes(str(self.directory)) == []

    @pytest.fixture
    def open_runtime(self, root: Path) -> Open:
        def opened() -> AbstractAsyncContextManager[Any]:
            return ProcessRuntime(root)

        return opened

    def sandbox(self, *args: Any, **more: Any) -> SandboxSpec:
        """Return what asks a server of its own for names, so that containers see files of their own wherever they can."""
        return super().sandbox(*args, **{"dns": Dns(servers=("192.0.2.53",)), **more})

    def container(self, program: Program | None = None, **more: Any) -> Any:
        more["env"] = {MARK: str(self.directory), **more.get("env", {})}
        return super().container(program, **more)

    def leftovers(self) -> list[str]:
        files = [str(path) for path in (self.directory / "sandboxes").glob("*/**")]
        return files + processes(str(self.directory))

    limited = ("memory",)

    def limits(self, runtime: Runtime, container: Container) -> Resources:
        """Return the limits of each process, which are the same for all."""
        state = state_of(Path(container.id))
        assert state is not None
        [memory] = {resource.prlimit(pid, resource.RLIMIT_AS)[0] for pid in processes_of(state)}
        return Resources(memory=memory)

    async def test_a_visitor_that_does_not_read_loses_its_own_place_and_nothing_of_the_others(
        self, runtime: ProcessRuntime
    ) -> None:
        identity = await self.start(runtime, Program(echo=True), stdin=True)
        large = b"x" * 3_000_000
        async with runtime.attach(identity, stdin=False) as idle:
            async with runtime.attach(identity, stdin=True) as reader, anyio.create_task_group() as group:
                group.start_soon(reader.send, large)
                seen = 0
                with anyio.fail_after(60):
                    while seen < len(large):
                        seen += len((await reader.receive())[1])
                await reader.close_stdin()
            await ended(runtime, identity)
            assert len((await output_of(idle))["stdout"]) < len(large)

    async def test_arguments_alone_are_a_command_and_nothing_at_all_is_none(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        log = tmp_path / "0.log"
        container = self.container(Program(out=("hello",), seconds=0), log_path=str(log))
        sandbox = await runtime.run_sandbox(self.sandbox())
        alone = attrs.evolve(container, command=(), args=container.command)
        await ended(runtime, await runtime.start_container(sandbox, alone))
        assert await text_of(log) == b"hello\n"
        with pytest.raises(CannotCreate, match="no command specified"):
            await runtime.start_container(sandbox, attrs.evolve(alone, args=(), name="nothing"))

    async def test_only_the_first_process_is_asked_to_end(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        """As on engines: servers with workers let these finish what they do."""
        worker = "trap 'echo worker asked' TERM; while :; do sleep 0.05; done"
        script = f"trap 'sleep 0.5; echo asked; exit 0' TERM; ({worker}) & echo up; wait $!"
        log = tmp_path / "0.log"
        sandbox = await runtime.run_sandbox(self.sandbox())
        container = attrs.evolve(self.container(Program(), log_path=str(log)), command=("sh", "-c", script))
        identity = await runtime.start_container(sandbox, container)
        with anyio.fail_after(60):
            while not log.exists() or await text_of(log) != b"up\n":
                await anyio.sleep(0.02)
        await runtime.stop_container(identity, grace=60)
        assert await text_of(log) == b"up\nasked\n"

    async def test_a_mount_is_found_below_the_root_of_the_container(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        volume, log = tmp_path / "volume", tmp_path / "log"
        volume.mkdir()
        (volume / "file").write_text("inside")
        spec = self.container(Program(), mounts=[Mount(str(volume), "/etc/config")], log_path=str(log))
        spec = attrs.evolve(spec, command=("sh", "-c", "cat $KUBELIB_ROOT/etc/config/file"))
        sandbox = await runtime.run_sandbox(self.sandbox())
        await ended(runtime, await runtime.start_container(sandbox, spec))
        assert await text_of(log) == b"inside", "and a line that nobody has ended does not look ended"

    async def test_a_memory_limit_is_kept(self, runtime: ProcessRuntime) -> None:
        spec = self.container(Program(), resources=Resources(memory=64 << 20))
        spec = attrs.evolve(
            spec, command=("sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}")
        )
        sandbox = await runtime.run_sandbox(self.sandbox())
        assert (await ended(runtime, await runtime.start_container(sandbox, spec))).exit_code != 0

    async def test_a_large_log_is_moved_away_once_and_still_read_whole(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        log = tmp_path / "0.log"
        line = "head -c 15000000 /dev/zero | tr '\\0' x | fold -w 10000"
        spec = attrs.evolve(self.container(Program(), log_path=str(log)), command=("sh", "-c", line))
        sandbox = await runtime.run_sandbox(self.sandbox())
        await ended(runtime, await runtime.start_container(sandbox, spec))
        assert sorted(path.name for path in tmp_path.glob("0.log*")) == ["0.log", "0.log.1"]
        assert max(path.stat().st_size for path in tmp_path.glob("0.log*")) <= 10 << 20
        text = await text_of(log)
        assert text.count(b"x") == 15_000_000
        assert len(text.splitlines()) == 1500

    @pytest.mark.parametrize("line", [1000, 1], ids=["long lines", "short lines"])
    async def test_output_without_end_fills_neither_the_disk_nor_memory_and_the_node_lives(
        self, runtime: ProcessRuntime, tmp_path: Path, line: int
    ) -> None:
        # As fast as it is read: more than 100 MB/s on a machine that has nothing else to do.
        size, log = (200 if line > 1 else 4) << 20, tmp_path / "0.log"
        flood = f"yes $(head -c {line} /dev/zero | tr '\\0' x) | head -c {size}"
        identity = await self.start(
            runtime, Program(), command=("sh", "-c", flood), log_path=str(log), name="flood"
        )
        note = json.loads((Path(identity) / "state.json").read_text())
        other = await runtime.run_sandbox(self.sandbox("99999999-uid", name="other"))
        calm = await runtime.start_container(other, self.container(Program()))
        most = 0
        while (await containers(runtime))[identity].state != "exited":
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{note['shim']}/status").read_text()
                most = max(most, *(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line))
            assert (await runtime.exec(calm, ("echo", "well"))).stdout == b"well\n"
            with contextlib.suppress(FileNotFoundError):  # it is being moved away
                assert sum(path.stat().st_size for path in tmp_path.glob("0.log*")) <= 2 * (10 << 20)
            await anyio.sleep(0.02)
        assert (await containers(runtime))[identity].exit_code == 0
        assert 0 < most < 64 << 10, "in KiB: the shim"
        assert sorted(path.name for path in tmp_path.glob("0.log*")) == ["0.log", "0.log.1"]
        assert (await text_of(log)).splitlines()[0] == b"x" * line

    async def test_what_must_not_run_as_root_does_not(self, runtime: ProcessRuntime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        spec = self.container(Program(seconds=0), security=Security(non_root=True))
        if os.geteuid() == 0:
            with pytest.raises(BadContainerConfig, match="runAsNonRoot and image will run as root"):
                await runtime.start_container(sandbox, spec)
            spec = attrs.evolve(spec, user=65534, attempt=1, working_dir="/")
        found = await ended(runtime, await runtime.start_container(sandbox, spec))
        assert found.exit_code == 0

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
    @pytest.mark.parametrize("tty", [False, True])
    @pytest.mark.parametrize(
        ("user", "group", "more", "said"),
        [
            (1234, 1235, (1236, 1237), "1234 1235 1235 1236 1237"),
            (1234, 1235, (), "1234 1235 1235"),
            (None, None, (1236,), "0 0 0 1236"),
        ],
    )
    async def test_commands_are_run_as_who_the_container_runs_as(
        self,
        runtime: ProcessRuntime,
        user: int | None,
        group: int | None,
        more: tuple[int, ...],
        said: str,
        tty: bool,
    ) -> None:
        identity = await self.start(
            runtime,
            Program(),
            user=user,
            group=group,
            security=Security(supplemental_groups=more),
            working_dir="/",
        )
        words = ("sh", "-c", "echo $(id -u) $(id -g) $(id -G)")
        async with runtime.exec_stream(identity, words, stdin=False, tty=tty) as stream:
            assert (await output_of(stream))["stdout"].decode().strip() == said
            assert await stream.wait() == 0

    async def test_what_starts_itself_again_and_again_in_sessions_of_its_own_ends_with_its_container(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        script = tmp_path / "again"
        script.write_text('#!/bin/sh\nsetsid "$0" &\n')
        script.chmod(0o755)
        container = await self.start(
            runtime, Program(), command=("sh", "-c", f"{script} & {script} & sleep 1000")
        )
        await anyio.sleep(0.2)
        await runtime.stop_container(container, grace=0)
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert processes(str(self.directory)) == []

    async def test_containers_end_when_their_directory_is_deleted(
        self, runtime: ProcessRuntime, root: Path
    ) -> None:
        await self.start(runtime, Program(descendants=True, stop_exit_code=None))
        with anyio.fail_after(60):
            while len(processes(str(root))) <= 2:
                await anyio.sleep(0.02)
        shutil.rmtree(root)
        with anyio.fail_after(60):
            while processes(str(root)):
                await anyio.sleep(0.1)

    async def test_a_container_whose_shim_was_killed_has_ended_once_its_process_has(
        self, runtime: ProcessRuntime, root: Path
    ) -> None:
        identity = await self.start(runtime, Program())
        state = json.loads((Path(identity) / "state.json").read_text())
        os.kill(state["shim"], 9)
        await anyio.sleep(0.1)
        await runtime.stop_container(identity, grace=0)
        found = await ended(runtime, identity)
        assert (found.exit_code, found.reason) == (137, "Error")

    async def test_a_container_that_ends_while_one_looks_has_not_been_killed(
        self, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        noted = Path(identity) / "exit.json"
        with anyio.fail_after(60):
            while processstate.has_shim(Path(identity)):
                await anyio.sleep(0.01)
        later = noted.rename(noted.with_name("not-yet"))

        def end_now(pid: int, ticks: int) -> bool:
            if later.exists():  # as its shim does it, and the processes are gone when they are looked for
                later.rename(noted)
            return False

        monkeypatch.setattr(processstate, "is_process", end_now)
        found = (await containers(runtime))[identity]
        assert (found.state, found.exit_code, found.reason) == ("exited", 0, "Completed")

    async def test_no_descriptor_is_left_open(self, runtime: ProcessRuntime) -> None:
        identity = await self.start(runtime, Program())
        before = len(os.listdir("/proc/self/fd"))
        for tty in (True, False):
            async with runtime.exec_stream(identity, ("true",), stdin=True, tty=tty) as stream:
                await stream.wait()
            await runtime.exec(identity, ("true",))
            async with runtime.events():
                await anyio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before
