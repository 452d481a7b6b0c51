"""What runtimes promise that can do more: run commands, attach, show what is used, outlive their caller."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.runtime.abilities import SupportsAttach, SupportsExec, SupportsHosts, SupportsStats
from kubelib.runtime.base import (
    CannotStart,
    DeviceNode,
    Dns,
    Mount,
    NoSuchContainer,
    Runtime,
    RuntimeEvent,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.names import parse_resolv_conf
from kubelib.testing.runtime.shared import (
    OfRuntimes,
    Open,
    Program,
    ended,
    output_of,
    text_of,
    until_told,
)


class ExecSuite(OfRuntimes):
    """For runtimes that can run commands in containers: `SupportsExec`."""

    async def test_a_command_returns_its_output_and_exit_code(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = self.words(Program(out=("good",), err=("bad",), seconds=0, exit_code=9))
        result = await runtime.exec(identity, words)
        assert (result.exit_code, result.stdout, result.stderr) == (9, b"good\n", b"bad\n")

    async def test_a_command_has_the_environment_of_the_container(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program(), env={"GREETING": "hello"})
        result = await runtime.exec(identity, self.words(Program(variable="GREETING", seconds=0)))
        assert result.stdout == b"hello\n"

    async def test_a_command_reads_its_input_to_the_end(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        text = b"line\n" * 50_000
        words = self.words(Program(echo=True, exit_code=3))
        async with runtime.exec_stream(identity, words, stdin=True, tty=False) as stream:

            async def give() -> None:
                await stream.send(text)
                await stream.close_stdin()

            async with anyio.create_task_group() as group:
                group.start_soon(give)
                found = await output_of(stream)
            assert await stream.wait() == 3
        assert found["stdout"] == text

    async def test_a_command_without_input_reads_its_end(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = self.words(Program(echo=True))
        async with runtime.exec_stream(identity, words, stdin=False, tty=False) as stream:
            assert await output_of(stream) == {"stdout": b"", "stderr": b""}
            assert await stream.wait() == 0

    async def test_a_command_that_takes_too_long_is_ended(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = self.words(Program(descendants=True, stop_exit_code=None))
        with pytest.raises(TimeoutError):
            await runtime.exec(identity, words, timeout=0.3)
        await runtime.remove_sandbox(SandboxId((await runtime.list_sandboxes())[0].id))
        assert self.leftovers() == []

    async def test_leaving_a_stream_ends_its_command(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = self.words(Program(descendants=True, stop_exit_code=None))
        async with runtime.exec_stream(identity, words, stdin=True, tty=False):
            await anyio.sleep(0.2)
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert self.leftovers() == []

    async def test_a_command_ends_with_its_container(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = self.words(Program(descendants=True))
        async with runtime.exec_stream(identity, words, stdin=False, tty=False) as stream:
            await anyio.sleep(0.1)
            await runtime.stop_container(identity, grace=0)
            with anyio.fail_after(60):
                await output_of(stream)
                assert await stream.wait() == 137

    async def test_a_command_that_does_not_exist_cannot_be_run_and_is_named(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        with pytest.raises(CannotStart, match="/no/such/program"):
            await runtime.exec(identity, ("/no/such/program",))
        with pytest.raises(CannotStart, match="/no/such/program"):
            async with runtime.exec_stream(identity, ("/no/such/program",), stdin=False, tty=False) as stream:
                await output_of(stream)

    async def test_nothing_runs_in_a_container_that_has_ended(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        with pytest.raises(NoSuchContainer):
            await runtime.exec(identity, self.words(Program(seconds=0)))
        with pytest.raises(NoSuchContainer):
            async with runtime.exec_stream(
                identity, self.words(Program(seconds=0)), stdin=False, tty=False
            ) as stream:
                await output_of(stream)


class NamesSuite(OfRuntimes):
    """For runtimes whose containers resolve names as their Pod does: `SupportsHosts`, unless one says that it cannot, `SupportsAddresses`."""

    async def _said(
        self, runtime: Runtime, spec: SandboxSpec, file: str, log: Path, **more: Any
    ) -> list[str]:
        """Return what containers, and a command in one, find in a file."""
        if isinstance(runtime, SupportsHosts) and not runtime.own_hosts:
            pytest.skip("containers see the host's files: others need the right to mount")
        assert isinstance(runtime, SupportsExec)
        sandbox = await runtime.run_sandbox(spec)
        reader = self.container(Program(), name="reader", command=("cat", file), log_path=str(log), **more)
        await ended(runtime, await runtime.start_container(sandbox, reader))
        other = await runtime.start_container(sandbox, self.container(Program(), **more))
        commands = [await runtime.exec(other, ("cat", file)) for _ in range(2)]
        return [said.decode() for said in (await text_of(log), *(command.stdout for command in commands))]

    async def test_containers_and_their_commands_ask_the_servers_of_their_pod(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        dns = Dns(
            servers=("192.0.2.53", "192.0.2.54"), searches=("a.example", "example"), options=("ndots:5",)
        )
        said = await self._said(runtime, self.sandbox(dns=dns), "/etc/resolv.conf", tmp_path / "log")
        assert [parse_resolv_conf(text) for text in said] == [dns] * 3

    async def test_containers_and_their_commands_find_the_hosts_of_their_pod(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        hosts = tmp_path / "hosts"
        hosts.write_text("192.0.2.7\tfar.example\n")
        mounts = (Mount(str(hosts), "/etc/hosts"),)
        said = await self._said(runtime, self.sandbox(), "/etc/hosts", tmp_path / "log", mounts=mounts)
        assert said == ["192.0.2.7\tfar.example\n"] * 3


class DeviceSuite(OfRuntimes):
    """For runtimes whose containers may see devices of the host: `SupportsDevices`."""

    async def test_a_container_sees_a_device_where_it_is_asked_for(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        sandbox, log = await runtime.run_sandbox(self.sandbox()), tmp_path / "log"
        shell = 'device="$KUBELIB_ROOT/dev/lamp"; head -c 3 "$device" | wc -c; echo x 2>/dev/null >"$device" || echo full'
        devices = [DeviceNode("/dev/full", "/dev/lamp")]
        reader = self.container(Program(), command=("sh", "-c", shell), devices=devices, log_path=str(log))
        await ended(runtime, await runtime.start_container(sandbox, reader))
        assert (await text_of(log)).decode().split() == ["3", "full"]


class TerminalSuite(OfRuntimes):
    """For runtimes whose commands can have a terminal; their images have ``stty`` and ``test``."""

    async def test_a_command_has_a_terminal_if_it_is_asked_for(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = ("sh", "-c", "test -t 0 && test -t 1 && test -t 2")
        for tty in (True, False):
            async with runtime.exec_stream(identity, words, stdin=True, tty=tty) as stream:
                await stream.close_stdin()
                await output_of(stream)
                assert (await stream.wait() == 0) is tty

    async def test_a_terminal_has_the_size_that_it_was_given(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsExec)
        identity = await self.start(runtime, Program())
        words = ("sh", "-c", "read -r line; stty size")
        async with runtime.exec_stream(identity, words, stdin=True, tty=True) as stream:
            await stream.resize(132, 43)
            await stream.send(b"go\n")
            assert b"43 132" in (await output_of(stream))["stdout"]


class AttachSuite(OfRuntimes):
    """For runtimes that can open the streams of what a container runs: `SupportsAttach`. Their images have ``stty``."""

    async def test_who_is_attached_sees_the_output_and_writes_the_input(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsAttach)
        identity = await self.start(runtime, Program(echo=True, exit_code=3), stdin=True, stdin_once=True)
        large = b"x" * 3_000_000
        with anyio.fail_after(60):
            async with runtime.attach(identity, stdin=True) as stream:
                async with runtime.attach(identity, stdin=False) as other:
                    await stream.send(b"hello\n")
                    for visitor in (stream, other):
                        assert await visitor.receive() == ("stdout", b"hello\n")
                    await other.send(b"who has not asked for the input has none\n")

                async def write() -> None:
                    await stream.send(large)
                    await stream.close_stdin()

                async with anyio.create_task_group() as group:
                    group.start_soon(write)
                    assert (await output_of(stream))["stdout"] == large
                assert await stream.wait() == 0
        assert (await ended(runtime, identity)).exit_code == 3

    async def test_the_input_ends_when_the_only_visitor_leaves_if_it_is_for_one(
        self, runtime: Runtime
    ) -> None:
        assert isinstance(runtime, SupportsAttach)
        identity = await self.start(runtime, Program(echo=True), stdin=True, stdin_once=True)
        async with runtime.attach(identity, stdin=False):
            pass
        async with runtime.attach(identity, stdin=True) as stream:
            await stream.send(b"a\n")
            assert await stream.receive() == ("stdout", b"a\n")
        await ended(runtime, identity)

    async def test_the_input_stays_open_for_the_next_visitor(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsAttach)
        identity = await self.start(runtime, Program(echo=True), stdin=True)
        for text in (b"one\n", b"two\n"):
            with anyio.fail_after(60):
                async with runtime.attach(identity, stdin=True) as stream:
                    await stream.send(text)
                    assert await stream.receive() == ("stdout", text)
        await runtime.stop_container(identity, grace=0)

    async def test_a_container_without_input_reads_its_end(self, runtime: Runtime) -> None:
        identity = await self.start(runtime, Program(echo=True))
        assert (await ended(runtime, identity)).exit_code == 0

    async def test_a_container_with_a_terminal_has_its_size(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsAttach)
        words = (
            "sh",
            "-c",
            "test -t 0 && test -t 1 && test -t 2 && read -r line && stty size && read -r line",
        )
        identity = await self.start(runtime, Program(), command=words, stdin=True, tty=True)
        with anyio.fail_after(60):
            async with runtime.attach(identity, stdin=True) as stream:
                await stream.resize(132, 43)
                await stream.send(b"go\n")
                seen = b""
                while b"43 132" not in seen:
                    seen += (await stream.receive())[1]
                await stream.send(b"\x03")  # the terminal makes an interrupt of it
                await output_of(stream)
        assert (await ended(runtime, identity)).exit_code == 130

    async def test_nobody_attaches_to_a_container_that_has_ended(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsAttach)
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        with pytest.raises(NoSuchContainer):
            async with runtime.attach(identity, stdin=False):
                pass


class StatsSuite(OfRuntimes):
    """For runtimes that can tell what a container uses: `SupportsStats`."""

    async def test_a_container_uses_memory_and_what_it_starts_counts(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsStats)
        identity = await self.start(runtime, Program(busy=True))
        with anyio.fail_after(60):
            while (first := await runtime.stats(identity)).memory == 0:
                await anyio.sleep(0.02)
            while (await runtime.stats(identity)).cpu_seconds <= first.cpu_seconds:
                await anyio.sleep(0.02)
        assert first.memory < 1 << 30
        await runtime.stop_container(identity, grace=0)

    async def test_a_container_that_has_ended_uses_nothing_that_could_be_told(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsStats)
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        with pytest.raises(NoSuchContainer):
            await runtime.stats(identity)


class DurableSuite(OfRuntimes):
    """For runtimes whose containers outlive them."""

    async def test_what_runs_is_found_again_and_was_not_started_again(self, open_runtime: Open) -> None:
        async with open_runtime() as runtime:
            identity = await self.start(runtime, Program(), annotations={"k": "v"})
            before = await runtime.list_sandboxes()
        async with open_runtime() as runtime:
            assert await runtime.list_sandboxes() == before
            assert await runtime.run_sandbox(self.sandbox()) == before[0].id
            async with runtime.events() as events:
                await runtime.stop_container(identity, grace=5)
                await until_told(events, RuntimeEvent("exited", self.sandbox().uid, identity))
            await runtime.remove_sandbox(before[0].id)
        assert self.leftovers() == []

    async def test_how_a_container_ended_is_known_even_if_nobody_was_there(
        self, open_runtime: Open, tmp_path: Path
    ) -> None:
        log = tmp_path / "0.log"
        async with open_runtime() as runtime:
            program = Program(seconds=0.3, exit_code=5, out=("here",))
            identity = await self.start(runtime, program, log_path=str(log))
        await anyio.sleep(0.8)
        async with open_runtime() as runtime:
            found = await ended(runtime, identity)
            assert (found.exit_code, found.reason) == (5, "Error")
            assert await text_of(log) == b"here\n"
            await runtime.stop_sandbox(SandboxId(self.sandbox().uid))
            stopped = await runtime.list_sandboxes()
        async with open_runtime() as runtime:
            assert await runtime.list_sandboxes() == stopped
            await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert self.leftovers() == []
