"""The definition of a runtime: inherit `RuntimeSuite`, give a fixture `open_runtime`, and every test must pass.

What a runtime need not be able to do has a suite of its own: `ExecSuite`, `TerminalSuite`, `StatsSuite`, `ImageSuite` and `ImageNameSuite` for one that
has images, `WorkingDirectorySuite` for one that does not make a missing working directory, `DurableSuite` for one whose
containers outlive it. Containers are described by a `Program`, which is a line of shell unless a suite says otherwise.
"""

import math
import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.times import parse_time
from kubelib.runtime.base import (
    CannotStart,
    Container,
    ContainerId,
    ContainerSpec,
    ExecStream,
    ImageNotFound,
    InvalidImageName,
    NoSuchContainer,
    Runtime,
    RuntimeEvent,
    SandboxId,
    SandboxSpec,
    SupportsAttach,
    SupportsExec,
    SupportsStats,
)
from kubelib.runtime.logs import read_log

Open = Callable[[], AbstractAsyncContextManager[Runtime]]

MARK = "KUBELIB_RUNTIME_SUITE"
"""A variable that all containers of a suite have: `RuntimeSuite.leftovers` can look for it."""


@attrs.frozen(kw_only=True)
class Program:
    """What a container, or a command in it, does: print, then wait or work, then end."""

    out: Sequence[str] = ()
    """Lines for its standard output."""
    err: Sequence[str] = ()
    """Lines for its standard error."""
    variable: str = ""
    """The variable whose value it prints as well."""
    seconds: float = math.inf
    """How long it stays unless it is stopped."""
    exit_code: int = 0
    stop_exit_code: int | None = 0
    """How it ends when it is asked to; None: it does not."""
    descendants: bool = False
    """Whether it starts others, which start others, and leaves them alone."""
    busy: bool = False
    """Whether it computes all the time."""
    echo: bool = False
    """Whether it copies its input to its output, until that ends, and stays no longer."""

    def shell(self) -> str:
        """Return the program as a line for any POSIX shell."""
        ignoring = self.stop_exit_code is None
        parts = ["trap '' TERM" if ignoring else f"trap 'kill $!; exit {self.stop_exit_code}' TERM"]
        if self.descendants:
            parts.append("sh -c 'sleep 1000 & sleep 1000 & wait' & (sleep 1000 & sleep 1000) & true")
        if self.busy:
            parts.append("(while :; do :; done) & true")
        parts += [f"echo {shlex.quote(line)}" for line in self.out]
        parts += [f"echo {shlex.quote(line)} >&2" for line in self.err]
        if self.variable:
            parts.append(f'echo "${self.variable}"')
        if self.echo:
            parts.append("cat")
        elif self.seconds:
            parts.append(f"sleep {'100000' if self.seconds == math.inf else self.seconds} & wait $!")
        parts.append(f"exit {self.exit_code}")
        return "; ".join(parts)


class _Suite:
    """What the suites share."""

    image = "process"
    """An image that is there, with a shell."""
    address = "127.244.77.1"
    """The address given to sandboxes."""

    @pytest.fixture
    def open_runtime(self) -> Open:
        """Return a function that opens the runtime under test; a second call opens the same one again."""
        raise NotImplementedError("override the fixture open_runtime")

    @pytest.fixture
    async def runtime(self, open_runtime: Open) -> AsyncIterator[Runtime]:
        """An opened runtime, which has nothing left when the test is over."""
        async with open_runtime() as runtime:
            yield runtime
            for sandbox in await runtime.list_sandboxes():
                await runtime.remove_sandbox(sandbox.id)
            assert self.leftovers() == []

    def leftovers(self) -> list[str]:
        """Return what removed sandboxes have left on the host, processes and files: override it."""
        raise NotImplementedError("override leftovers")

    def sandbox(self, uid: str = "0a1b2c3d-1111-4222-8333-444455556666", **more: Any) -> SandboxSpec:
        """Return what a Pod's containers share."""
        given = {"namespace": "default", "name": f"pod-{uid[:8]}", "hostname": f"pod-{uid[:8]}"}
        return SandboxSpec(uid=uid, address=self.address, **{**given, **more})

    def container(self, program: Program | None = None, **more: Any) -> ContainerSpec:
        """Return a container that does what `program` says; None: a command that does not exist."""
        words = ("/no/such/program",) if program is None else self.words(program)
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", MARK: "1", **more.pop("env", {})}
        return ContainerSpec(**{"name": "main", "image": self.image, "command": words, "env": env, **more})

    def words(self, program: Program) -> tuple[str, ...]:
        """Return the command that does what `program` says."""
        return ("sh", "-c", program.shell())

    async def start(self, runtime: Runtime, program: Program, **more: Any) -> ContainerId:
        """Start a container in the sandbox of `sandbox()`."""
        return await runtime.start_container(
            await runtime.run_sandbox(self.sandbox()), self.container(program, **more)
        )

    async def start_and_hear(self, runtime: Runtime, program: Program, log: Path) -> ContainerId:
        """Start a container and wait for its first word: what it does with signals is settled then."""
        identity = await self.start(runtime, attrs.evolve(program, out=("up",)), log_path=str(log))
        with anyio.fail_after(60):
            while not await anyio.Path(log).exists() or await text_of(log) != b"up\n":
                await anyio.sleep(0.02)
        return identity


async def containers(runtime: Runtime) -> dict[ContainerId, Container]:
    """Return all containers of all sandboxes."""
    return {c.id: c for sandbox in await runtime.list_sandboxes() for c in sandbox.containers}


async def ended(runtime: Runtime, container: ContainerId, *, within: float = 60) -> Container:
    """Wait until a container has ended; return how."""
    with anyio.fail_after(within):
        while (found := (await containers(runtime))[container]).state != "exited":
            await anyio.sleep(0.02)
    return found


async def text_of(path: Path, *, timestamps: bool = False) -> bytes:
    """Return a whole log."""
    return b"".join([chunk async for chunk in read_log(path, timestamps=timestamps)])


async def output_of(stream: ExecStream) -> dict[str, bytes]:
    """Return all that a command writes."""
    found = {"stdout": b"", "stderr": b""}
    with anyio.fail_after(60):
        while True:
            try:
                name, data = await stream.receive()
            except anyio.EndOfStream:
                return found
            found[name] += data


class RuntimeSuite(_Suite):
    """What every runtime promises."""

    # Sandboxes

    async def test_running_a_sandbox_again_returns_the_one_that_the_pod_has(self, runtime: Runtime) -> None:
        first = await runtime.run_sandbox(self.sandbox())
        assert await runtime.run_sandbox(self.sandbox()) == first
        assert len(await runtime.list_sandboxes()) == 1

    async def test_pods_of_the_same_name_have_sandboxes_of_their_own(self, runtime: Runtime) -> None:
        ids = {await runtime.run_sandbox(self.sandbox(f"{n}{'0' * 7}-uid", name="same")) for n in range(3)}
        assert len(ids) == 3
        assert {s.id for s in await runtime.list_sandboxes()} == ids

    async def test_a_sandbox_is_listed_as_it_was_asked_for(self, runtime: Runtime) -> None:
        spec = self.sandbox(namespace="shop", name="web-1", annotations={"a": "1"})
        identity = await runtime.run_sandbox(spec)
        [sandbox] = await runtime.list_sandboxes()
        assert (sandbox.id, sandbox.uid, sandbox.namespace, sandbox.name) == (
            identity,
            spec.uid,
            "shop",
            "web-1",
        )
        assert sandbox.ready
        assert sandbox.address
        assert sandbox.annotations == {"a": "1"}
        assert sandbox.containers == ()

    async def test_removing_a_sandbox_ends_all_that_is_in_it_and_may_be_repeated(
        self, runtime: Runtime
    ) -> None:
        for number in range(3):
            program = Program(descendants=True, stop_exit_code=None)
            await self.start(runtime, program, name=f"c{number}")
        identity = (await runtime.list_sandboxes())[0].id
        await runtime.remove_sandbox(identity)
        assert await runtime.list_sandboxes() == ()
        assert self.leftovers() == []
        await runtime.remove_sandbox(identity)

    async def test_a_sandbox_can_be_run_anew_after_it_was_removed(self, runtime: Runtime) -> None:
        await self.start(runtime, Program())
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        await runtime.run_sandbox(self.sandbox())
        [sandbox] = await runtime.list_sandboxes()
        assert sandbox.containers == ()

    async def test_removing_one_sandbox_leaves_the_others_alone(self, runtime: Runtime) -> None:
        first = await runtime.run_sandbox(self.sandbox("11111111-uid"))
        second = await runtime.run_sandbox(self.sandbox("22222222-uid"))
        await runtime.start_container(first, self.container(Program()))
        kept = await runtime.start_container(second, self.container(Program()))
        await runtime.remove_sandbox(first)
        assert {c.id: c.state for c in (await containers(runtime)).values()} == {kept: "running"}

    # Containers

    async def test_a_container_joins_its_sandbox_and_is_listed_as_it_was_asked_for(
        self, runtime: Runtime
    ) -> None:
        identity = await self.start(runtime, Program(), name="web", attempt=2, annotations={"k": "v"})
        [sandbox] = await runtime.list_sandboxes()
        [found] = sandbox.containers
        assert (found.id, found.name, found.attempt, found.state) == (identity, "web", 2, "running")
        assert found.image == self.image
        assert found.annotations == {"k": "v"}
        assert found.started is not None and found.started.tzinfo is not None
        assert found.finished is None

    @pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (3, "Error"), (255, "Error")])
    async def test_a_container_that_has_ended_tells_how_and_when(
        self, runtime: Runtime, code: int, reason: str
    ) -> None:
        found = await ended(runtime, await self.start(runtime, Program(seconds=0.05, exit_code=code)))
        assert (found.exit_code, found.reason) == (code, reason)
        assert found.started is not None and found.finished is not None
        assert found.started <= found.finished

    async def test_attempts_stand_beside_each_other_until_they_are_removed(self, runtime: Runtime) -> None:
        first = await self.start(runtime, Program(seconds=0, exit_code=4))
        await ended(runtime, first)
        second = await self.start(runtime, Program(), attempt=1)
        found = await containers(runtime)
        assert {(c.attempt, c.state) for c in found.values()} == {(0, "exited"), (1, "running")}
        await runtime.remove_container(first)
        await runtime.remove_container(first)
        assert set(await containers(runtime)) == {second}

    async def test_containers_of_one_pod_start_side_by_side(self, runtime: Runtime) -> None:
        async def start(name: str) -> None:
            await self.start(runtime, Program(), name=name)

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(start, f"c{number}")
        found = (await containers(runtime)).values()
        assert sorted(c.name for c in found if c.state == "running") == ["c0", "c1", "c2", "c3"]

    async def test_a_command_that_does_not_exist_cannot_be_started_and_is_named(
        self, runtime: Runtime
    ) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        with pytest.raises(CannotStart, match="/no/such/program"):
            await runtime.start_container(sandbox, self.container(None))
        assert [c.state for c in (await containers(runtime)).values() if c.state == "running"] == []

    async def test_nothing_starts_in_a_sandbox_that_is_not_there(self, runtime: Runtime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        await runtime.remove_sandbox(sandbox)
        with pytest.raises(NoSuchContainer):
            await runtime.start_container(sandbox, self.container(Program()))
        assert await runtime.list_sandboxes() == ()

    async def test_an_image_is_there_once_it_was_pulled(self, runtime: Runtime) -> None:
        assert await runtime.pull(self.image)
        assert await runtime.has_image(self.image)

    async def test_a_container_has_the_environment_that_it_was_given_and_nothing_of_ours(
        self, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OURS", "ours")
        for variable in ("GREETING", "OURS"):
            log, program = str(tmp_path / variable), Program(variable=variable, seconds=0)
            env = {"GREETING": "hello $HOME 'world'"}
            await ended(
                runtime, await self.start(runtime, program, name=variable.lower(), log_path=log, env=env)
            )
        assert await text_of(tmp_path / "GREETING") == b"hello $HOME 'world'\n"
        assert await text_of(tmp_path / "OURS") == b"\n"

    # Stopping

    async def test_a_container_that_obeys_ends_at_once_in_its_own_way(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        identity = await self.start_and_hear(runtime, Program(stop_exit_code=6), tmp_path / "0.log")
        with anyio.fail_after(60):
            await runtime.stop_container(identity, grace=1000)
        found = (await containers(runtime))[identity]
        assert (found.state, found.exit_code) == ("exited", 6)

    async def test_one_that_does_not_obey_is_killed_after_the_grace(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        identity = await self.start_and_hear(runtime, Program(stop_exit_code=None), tmp_path / "0.log")
        began = anyio.current_time()
        await runtime.stop_container(identity, grace=0.5)
        assert anyio.current_time() - began >= 0.49
        found = (await containers(runtime))[identity]
        assert (found.state, found.exit_code, found.reason) == ("exited", 137, "Error")

    async def test_without_grace_it_is_killed_at_once(self, runtime: Runtime) -> None:
        identity = await self.start(runtime, Program(stop_exit_code=None))
        with anyio.fail_after(60):
            await runtime.stop_container(identity, grace=0)
        assert (await containers(runtime))[identity].exit_code == 137

    async def test_a_second_stop_with_less_grace_hurries_the_first(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        identity = await self.start_and_hear(runtime, Program(stop_exit_code=None), tmp_path / "0.log")
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: runtime.stop_container(identity, grace=1000))
                await anyio.sleep(0.1)
                await runtime.stop_container(identity, grace=0)

    async def test_stopping_what_has_ended_does_nothing(self, runtime: Runtime) -> None:
        identity = await self.start(runtime, Program(seconds=0, exit_code=2))
        await ended(runtime, identity)
        await runtime.stop_container(identity, grace=10)
        assert (await containers(runtime))[identity].exit_code == 2

    async def test_all_that_a_container_has_started_ends_with_it(self, runtime: Runtime) -> None:
        stopped = await self.start(runtime, Program(descendants=True), name="stopped")
        over = await self.start(runtime, Program(descendants=True, seconds=0.1), name="over")
        await ended(runtime, over)
        await runtime.stop_container(stopped, grace=5)
        for identity in (stopped, over):
            await runtime.remove_container(identity)
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert self.leftovers() == []

    # Logs

    async def test_a_log_has_the_lines_of_both_streams_with_their_times(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        log = tmp_path / "of" / "pod" / "0.log"
        program = Program(out=("one", "two  two", "", "§ three"), err=("bad",), seconds=0)
        found = await ended(runtime, await self.start(runtime, program, log_path=str(log)))
        records = [line.split(" ", 3) for line in log.read_text().splitlines()]
        assert [text for _, stream, _, text in records if stream == "stdout"] == [
            "one",
            "two  two",
            "",
            "§ three",
        ]
        assert [text for _, stream, _, text in records if stream == "stderr"] == ["bad"]
        assert {tag for _, _, tag, _ in records} == {"F"}
        assert found.started is not None and found.finished is not None
        for name in ("stdout", "stderr"):  # each is read for itself
            times = [parse_time(when[:26] + "Z") for when, stream, _, _ in records if stream == name]
            assert times == sorted(times)
            assert all(abs((when - found.started).total_seconds()) < 60 for when in times)

    async def test_a_long_line_is_one_line_when_it_is_read(self, runtime: Runtime, tmp_path: Path) -> None:
        log, line = tmp_path / "0.log", "0123456789" * 5000
        await ended(runtime, await self.start(runtime, Program(out=(line,), seconds=0), log_path=str(log)))
        assert await text_of(log) == line.encode() + b"\n"

    async def test_a_log_outlives_its_container(self, runtime: Runtime, tmp_path: Path) -> None:
        log = tmp_path / "0.log"
        identity = await self.start(runtime, Program(out=("last words",), seconds=0), log_path=str(log))
        await ended(runtime, identity)
        await runtime.remove_container(identity)
        assert await text_of(log) == b"last words\n"

    # Events

    async def test_events_tell_of_starts_ends_and_removals(self, runtime: Runtime) -> None:
        async with runtime.events() as events:
            identity = await self.start(runtime, Program(seconds=0.3, exit_code=1))
            uid = self.sandbox().uid
            await _see(events, RuntimeEvent("started", uid, identity))
            await _see(events, RuntimeEvent("exited", uid, identity))
            assert (await containers(runtime))[identity].state == "exited"
            await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
            await _see(events, RuntimeEvent("removed", uid))

    async def test_no_event_is_lost_on_a_reader_that_comes_late(self, runtime: Runtime) -> None:
        count = 6
        async with runtime.events() as first, runtime.events() as second:
            wanted = set()
            for number in range(count):
                program = Program(seconds=0.05)
                wanted.add(await self.start(runtime, program, name=f"c{number}"))
            for identity in wanted:
                await ended(runtime, identity)
            for events in (first, second):
                seen: set[ContainerId | None] = set()
                with anyio.fail_after(60):
                    async for event in events:
                        seen |= {event.container} if event.type == "exited" else set()
                        if seen == wanted:
                            break


async def _see(events: AsyncIterator[RuntimeEvent], wanted: RuntimeEvent) -> None:
    """Read on until an event comes."""
    with anyio.fail_after(60):
        async for event in events:
            if event == wanted:
                return


class WorkingDirectorySuite(_Suite):
    """For runtimes that do not make a working directory that is missing."""

    async def test_a_working_directory_that_does_not_exist_is_an_error(self, runtime: Runtime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        with pytest.raises(CannotStart, match="/no/such/directory"):
            await runtime.start_container(
                sandbox, self.container(Program(), working_dir="/no/such/directory")
            )


class ImageSuite(_Suite):
    """For runtimes that have images."""

    missing_image = "registry.invalid/no/such/image:1"

    async def test_an_image_that_is_not_to_be_had_is_an_error(self, runtime: Runtime) -> None:
        with pytest.raises(ImageNotFound):
            await runtime.pull(self.missing_image)
        assert not await runtime.has_image(self.missing_image)
        sandbox = await runtime.run_sandbox(self.sandbox())
        with pytest.raises(ImageNotFound):
            await runtime.start_container(sandbox, self.container(Program(), image=self.missing_image))


class ImageNameSuite(_Suite):
    """For runtimes whose images have names of a certain form."""

    async def test_what_is_no_name_of_an_image_is_refused(self, runtime: Runtime) -> None:
        for name in ("Not A Name", "app/Upper:1", "", "a:b:c", "-a"):
            with pytest.raises(InvalidImageName, match="couldn't parse image name"):
                await runtime.pull(name)
            with pytest.raises(InvalidImageName):
                await runtime.has_image(name)


class ExecSuite(_Suite):
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


class TerminalSuite(_Suite):
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


class AttachSuite(_Suite):
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


class StatsSuite(_Suite):
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


class DurableSuite(_Suite):
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
                await _see(events, RuntimeEvent("exited", self.sandbox().uid, identity))
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
            await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert self.leftovers() == []
