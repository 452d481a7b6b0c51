"""What every runtime promises, and what those do that have images or make no directories."""

import os
from pathlib import Path

import anyio
import pytest

from kubelib.api.times import parse_time
from kubelib.runtime.base import (
    CannotStart,
    ContainerId,
    ImageNotFound,
    InvalidImageName,
    NoSuchContainer,
    Runtime,
    RuntimeEvent,
)
from kubelib.testing.runtime.shared import (
    OfRuntimes,
    Program,
    containers,
    ended,
    text_of,
    until_told,
)


class RuntimeSuite(OfRuntimes):
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

    async def test_sandboxes_that_come_and_go_leave_nothing_open(self, runtime: Runtime) -> None:
        open_after: list[dict[str, int]] = []
        for number in range(13):  # each with a name of its own, so that what one leaves is not the next one's
            sandbox = await runtime.run_sandbox(self.sandbox(f"{number:08}-uid", name=f"pod-{number}"))
            await runtime.start_container(sandbox, self.container(Program()))
            await runtime.remove_sandbox(sandbox)
            own = {kind: len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")}
            open_after.append({**own, **self.held()})
        # Some connections and threads are kept to be used again; what each sandbox leaves grows on and on.
        for kind in open_after[0]:
            early, late = ([found[kind] for found in part] for part in (open_after[:7], open_after[-3:]))
            assert min(late) - max(early) < 3, (kind, open_after)
        assert self.leftovers() == []

    async def test_a_sandbox_can_be_run_anew_after_it_was_removed(self, runtime: Runtime) -> None:
        await self.start(runtime, Program())
        await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
        await runtime.run_sandbox(self.sandbox())
        [sandbox] = await runtime.list_sandboxes()
        assert sandbox.containers == ()

    async def test_a_stopped_sandbox_gives_back_its_address_and_what_has_ended_in_it_is_still_known(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        log = tmp_path / "0.log"
        program = Program(out=("last words",), seconds=0, exit_code=3)
        over = await self.start(runtime, program, name="over", log_path=str(log))
        await ended(runtime, over)
        killed = await self.start(runtime, Program(stop_exit_code=None), name="killed")
        other = await runtime.run_sandbox(self.sandbox("22222222-uid"))
        kept = await runtime.start_container(other, self.container(Program()))
        stopped = (await self.in_sandbox(runtime)).id
        for _ in range(2):
            await runtime.stop_sandbox(stopped)
            sandbox = await self.in_sandbox(runtime)
            assert (sandbox.ready, sandbox.address) == (False, "")
        found = await containers(runtime)
        assert {i: (c.state, c.exit_code) for i, c in found.items() if i != kept} == {
            over: ("exited", 3),
            killed: ("exited", 137),
        }
        assert found[kept].state == "running"
        assert await text_of(log) == b"last words\n"
        with pytest.raises(NoSuchContainer):
            await runtime.start_container(stopped, self.container(Program(), name="late"))
        await runtime.remove_sandbox(stopped)
        await runtime.stop_sandbox(stopped)
        assert [s.id for s in await runtime.list_sandboxes()] == [other]

    async def test_a_sandbox_that_was_stopped_can_be_run_anew(self, runtime: Runtime) -> None:
        await ended(runtime, await self.start(runtime, Program(seconds=0)))
        first = await self.in_sandbox(runtime)
        await runtime.stop_sandbox(first.id)
        again = await self.start(runtime, Program(), attempt=1)
        sandbox = await self.in_sandbox(runtime)
        assert (sandbox.id, sandbox.ready, bool(sandbox.address)) == (first.id, True, True)
        assert {c.attempt: c.state for c in sandbox.containers} == {0: "exited", 1: "running"}
        await runtime.stop_container(again, grace=5)

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
            await until_told(events, RuntimeEvent("started", uid, identity))
            await until_told(events, RuntimeEvent("exited", uid, identity))
            assert (await containers(runtime))[identity].state == "exited"
            await runtime.remove_sandbox((await runtime.list_sandboxes())[0].id)
            await until_told(events, RuntimeEvent("removed", uid))

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


class WorkingDirectorySuite(OfRuntimes):
    """For runtimes that do not make a working directory that is missing."""

    async def test_a_working_directory_that_does_not_exist_is_an_error(self, runtime: Runtime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        with pytest.raises(CannotStart, match="/no/such/directory"):
            await runtime.start_container(
                sandbox, self.container(Program(), working_dir="/no/such/directory")
            )


class ImageSuite(OfRuntimes):
    """For runtimes that have images."""

    missing_image = "registry.invalid/no/such/image:1"

    async def test_an_image_that_is_not_to_be_had_is_an_error(self, runtime: Runtime) -> None:
        with pytest.raises(ImageNotFound):
            await runtime.pull(self.missing_image)
        assert not await runtime.has_image(self.missing_image)
        sandbox = await runtime.run_sandbox(self.sandbox())
        with pytest.raises(ImageNotFound):
            await runtime.start_container(sandbox, self.container(Program(), image=self.missing_image))


class ImageNameSuite(OfRuntimes):
    """For runtimes whose images have names of a certain form."""

    async def test_what_is_no_name_of_an_image_is_refused(self, runtime: Runtime) -> None:
        for name in ("Not A Name", "app/Upper:1", "", "a:b:c", "-a"):
            with pytest.raises(InvalidImageName, match="couldn't parse image name"):
                await runtime.pull(name)
            with pytest.raises(InvalidImageName):
                await runtime.has_image(name)
