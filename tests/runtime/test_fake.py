"""The fake runtime: the suite's promises, and proof that the suite catches a runtime that breaks them."""

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from kubelib.clock import LoopClock
from kubelib.runtime.abilities import ExecResult
from kubelib.runtime.base import (
    CannotStart,
    Container,
    ContainerId,
    ContainerSpec,
    NoSuchContainer,
    Resources,
    Runtime,
    RuntimeEvent,
    Sandbox,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.fake import FakeRuntime, Life, by_image
from kubelib.runtime.news import News
from kubelib.testing.runtime import (
    ExecSuite,
    ImageSuite,
    Open,
    Program,
    ResizeSuite,
    RuntimeSuite,
    StatsSuite,
    WorkingDirectorySuite,
)
from reference_cluster.runtimes import open_runtime


class FakeSuite(RuntimeSuite, ExecSuite, StatsSuite, ResizeSuite, ImageSuite, WorkingDirectorySuite):
    """What the suites need to know to describe containers to a fake runtime."""

    kind: type[FakeRuntime] = FakeRuntime

    opened: FakeRuntime

    @pytest.fixture
    def open_runtime(self) -> Open:
        return self.open

    @cached_property
    def programs(self) -> dict[str, Program]:
        """What the commands mean, by their last words."""
        return {}

    def open(self) -> AbstractAsyncContextManager[FakeRuntime]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[FakeRuntime]:
        missing = (self.missing_image,)
        async with self.kind(
            self.rule, random=Random(1), clock=LoopClock(), missing_images=missing
        ) as opened:
            self.opened = opened
            await opened.pull(self.image)
            yield opened

    def leftovers(self) -> list[str]:
        return [
            identity
            for identity, running in self.opened._containers.items()
            if running.sandbox not in self.opened._sandboxes
        ]

    def limits(self, runtime: Runtime, container: Container) -> Resources:
        return self.opened.limits(container.id)

    def words(self, program: Program) -> tuple[str, ...]:
        words = super().words(program)
        self.programs[words[-1]] = program
        return words

    def rule(self, sandbox: SandboxSpec, spec: ContainerSpec, random: Random) -> Life:
        if spec.working_dir == "/no/such/directory":
            return Life(refusal="/no/such/directory: no such file or directory")
        program = self.programs.get(spec.command[-1])
        if program is None:
            return Life(refusal=f"{spec.command[0]}: no such file or directory")
        printed = [("stdout", line) for line in (*program.out, *self._variable(program, spec))]

        async def command(words: Sequence[str], given: bytes, age: float) -> ExecResult:
            other = self.programs.get(words[-1])
            if other is None:
                raise CannotStart(f"{words[0]}: no such file or directory")
            out = "".join(f"{line}\n" for line in (*other.out, *self._variable(other, spec))).encode()
            err = "".join(f"{line}\n" for line in other.err).encode()
            await anyio.sleep(0 if other.echo else other.seconds)
            return ExecResult(other.exit_code, out + (given if other.echo else b""), err)

        return Life(
            run_for=program.seconds,
            exit_code=program.exit_code,
            stop_delay=inf if program.stop_exit_code is None else 0.0,
            stop_exit_code=program.stop_exit_code or 0,
            output=[*printed, *(("stderr", line) for line in program.err)],  # type: ignore[list-item]
            command=command,
            cpu=1.0 if program.busy else 0.0,
            memory=1 << 20,
        )

    @staticmethod
    def _variable(program: Program, spec: ContainerSpec) -> list[str]:
        return [spec.env.get(program.variable, "")] if program.variable else []


class TestFakeRuntime(FakeSuite):
    async def test_a_life_goes_by_its_rule_in_the_time_of_the_loop(self, runtime: FakeRuntime) -> None:
        runtime.rule = by_image({"job": [Life(start_delay=5, run_for=3600, exit_code=1), Life()]})
        sandbox = await runtime.run_sandbox(self.sandbox())
        spec = ContainerSpec(name="main", image="job")
        began = anyio.current_time()
        identity = await runtime.start_container(sandbox, spec)
        assert anyio.current_time() - began == pytest.approx(5)
        await anyio.sleep(3599)
        [one] = (await runtime.list_sandboxes())[0].containers
        assert one.state == "running"
        await anyio.sleep(1.1)
        [one] = (await runtime.list_sandboxes())[0].containers
        assert (one.id, one.state, one.exit_code) == (identity, "exited", 1)
        await runtime.start_container(sandbox, attrs.evolve(spec, attempt=1))
        await anyio.sleep(1e6)
        assert (await runtime.list_sandboxes())[0].containers[1].state == "running"

    async def test_chance_comes_from_the_given_random_alone(self) -> None:
        def rule(sandbox: SandboxSpec, spec: ContainerSpec, random: Random) -> Life:
            return Life(start_delay=random.expovariate(1))

        async def delays(seed: int) -> list[float]:
            found = []
            async with FakeRuntime(rule, random=Random(seed)) as runtime:
                sandbox = await runtime.run_sandbox(self.sandbox())
                for number in range(5):
                    began = anyio.current_time()
                    await runtime.start_container(sandbox, ContainerSpec(name=f"c{number}", image="x"))
                    found.append(round(anyio.current_time() - began, 6))
            return found

        assert await delays(1) == await delays(1) != await delays(2)


async def test_a_cluster_knows_the_fake_runtime_by_name(tmp_path: Path) -> None:
    async with open_runtime("fake", tmp_path) as runtime:
        assert runtime.name == "fake"
    with pytest.raises(
        ValueError, match="there is no runtime 'nope': choose one of docker, fake, podman, process"
    ):
        open_runtime("nope", tmp_path)


# Runtimes that are broken in one way each, and the promise that the suite finds broken


class MakesASandboxEachTime(FakeRuntime):
    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        return await super().run_sandbox(attrs.evolve(spec, uid=f"{spec.uid}-{len(self._sandboxes)}"))


class KnowsPodsByName(FakeRuntime):
    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        return await super().run_sandbox(attrs.evolve(spec, uid=spec.name))


class ForgetsAnnotations(FakeRuntime):
    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        return await super().start_container(sandbox, attrs.evolve(container, annotations={}))


class LeavesContainersBehind(FakeRuntime):
    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        if self._sandboxes.pop(sandbox, None) is not None:
            self._news.tell(RuntimeEvent("removed", sandbox))


class RemovesEverything(FakeRuntime):
    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        for other in list(self._sandboxes):
            await super().remove_sandbox(SandboxId(other))


class RemovesOnce(FakeRuntime):
    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        if sandbox not in self._sandboxes:
            raise NoSuchContainer(sandbox)
        await super().remove_sandbox(sandbox)


class KeepsAddresses(FakeRuntime):
    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        known = self._sandboxes.get(sandbox)
        await super().stop_sandbox(sandbox)
        if known is not None:
            self._sandboxes[sandbox] = attrs.evolve(known, ready=False)


class RemovesWhatItStops(FakeRuntime):
    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        await self.remove_sandbox(sandbox)


class StopsForGood(FakeRuntime):
    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        return SandboxId(spec.uid) if spec.uid in self._sandboxes else await super().run_sandbox(spec)


class AlwaysSucceeds(FakeRuntime):
    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        def good(container: Container) -> Container:
            return attrs.evolve(container, exit_code=0, reason="Completed" if container.finished else "")

        found = await super().list_sandboxes()
        return tuple(attrs.evolve(s, containers=tuple(good(c) for c in s.containers)) for s in found)


class KillsAtOnce(FakeRuntime):
    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        await super().stop_container(container, grace=0)


class NeverKills(FakeRuntime):
    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        await super().stop_container(container, grace=1e6)


class ReturnsBeforeTheEnd(FakeRuntime):
    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        assert self._group is not None
        self._group.start_soon(lambda: FakeRuntime.stop_container(self, container, grace=grace))


class StartsAnything(FakeRuntime):
    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        try:
            return await super().start_container(sandbox, container)
        except CannotStart:
            return ContainerId("nothing")


class MakesSandboxesForContainers(FakeRuntime):
    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        spec = SandboxSpec(uid=sandbox, namespace="", name="", hostname="", address="127.0.0.1")
        await self.run_sandbox(spec)
        return await super().start_container(sandbox, container)


class MixesItsStreams(FakeRuntime):
    def _write_log(self, running: Any) -> None:
        out = [("stdout", text) for _, text in running.life.output]
        running.life = attrs.evolve(running.life, output=out)
        super()._write_log(running)


class KeepsNoLogs(FakeRuntime):
    async def remove_container(self, container: ContainerId) -> None:
        running = self._containers.get(container)
        if running is not None:
            Path(running.spec.log_path).unlink()
        await super().remove_container(container)


class LossyNews(News):
    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def tell(self, event: RuntimeEvent) -> None:
        if event.type != "exited" or self._random.random() < 0.7:
            super().tell(event)


class LosesEvents(FakeRuntime):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._news = LossyNews(self._random)


class NewsForOne(News):
    def tell(self, event: RuntimeEvent) -> None:
        everybody, self._listeners = self._listeners, self._listeners[:1]
        super().tell(event)
        self._listeners = everybody


class TellsOneListener(FakeRuntime):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._news = NewsForOne()


class LeaksOurEnvironment(FakeRuntime):
    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        import os

        return await super().start_container(
            sandbox, attrs.evolve(container, env={**os.environ, **container.env})
        )


class IgnoresTimeouts(FakeRuntime):
    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        with anyio.move_on_after(1000):
            return await super().exec(container, command)
        return ExecResult(137, b"", b"")


class RunsInTheDead(FakeRuntime):
    def _running(self, container: ContainerId) -> Any:
        return self._containers[container]


class ForgetsWhatIsNotSaid(FakeRuntime):
    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        self._running(container).spec = attrs.evolve(self._running(container).spec, resources=resources)


class HasEveryImage(FakeRuntime):
    async def has_image(self, image: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (MakesASandboxEachTime, "test_running_a_sandbox_again_returns_the_one_that_the_pod_has"),
        (KnowsPodsByName, "test_pods_of_the_same_name_have_sandboxes_of_their_own"),
        (ForgetsAnnotations, "test_a_container_joins_its_sandbox_and_is_listed_as_it_was_asked_for"),
        (LeavesContainersBehind, "test_removing_a_sandbox_ends_all_that_is_in_it_and_may_be_repeated"),
        (RemovesEverything, "test_removing_one_sandbox_leaves_the_others_alone"),
        (RemovesOnce, "test_removing_a_sandbox_ends_all_that_is_in_it_and_may_be_repeated"),
        *(
            (broken, "test_a_stopped_sandbox_gives_back_its_address_and_what_has_ended_in_it_is_still_known")
            for broken in (KeepsAddresses, RemovesWhatItStops)
        ),
        (StopsForGood, "test_a_sandbox_that_was_stopped_can_be_run_anew"),
        (AlwaysSucceeds, "test_stopping_what_has_ended_does_nothing"),
        (KillsAtOnce, "test_a_container_that_obeys_ends_at_once_in_its_own_way"),
        (KillsAtOnce, "test_one_that_does_not_obey_is_killed_after_the_grace"),
        (NeverKills, "test_without_grace_it_is_killed_at_once"),
        (ReturnsBeforeTheEnd, "test_one_that_does_not_obey_is_killed_after_the_grace"),
        (StartsAnything, "test_a_command_that_does_not_exist_cannot_be_started_and_is_named"),
        (StartsAnything, "test_a_working_directory_that_does_not_exist_is_an_error"),
        (MakesSandboxesForContainers, "test_nothing_starts_in_a_sandbox_that_is_not_there"),
        (MixesItsStreams, "test_a_log_has_the_lines_of_both_streams_with_their_times"),
        (KeepsNoLogs, "test_a_log_outlives_its_container"),
        (LosesEvents, "test_no_event_is_lost_on_a_reader_that_comes_late"),
        (TellsOneListener, "test_no_event_is_lost_on_a_reader_that_comes_late"),
        (LeaksOurEnvironment, "test_a_container_has_the_environment_that_it_was_given_and_nothing_of_ours"),
        (IgnoresTimeouts, "test_a_command_that_takes_too_long_is_ended"),
        (RunsInTheDead, "test_nothing_runs_in_a_container_that_has_ended"),
        (RunsInTheDead, "test_a_container_that_has_ended_uses_nothing_that_could_be_told"),
        (RunsInTheDead, "test_what_has_ended_cannot_be_resized"),
        (ForgetsWhatIsNotSaid, "test_limits_change_while_a_container_runs"),
        (HasEveryImage, "test_an_image_that_is_not_to_be_had_is_an_error"),
    ],
)
async def test_the_suite_catches_a_runtime_that_breaks_a_promise(
    broken: type[FakeRuntime], promise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}

    async def holds(kind: type[FakeRuntime]) -> None:
        suite = FakeSuite()
        suite.kind = kind
        test = getattr(suite, promise)
        wanted = inspect.signature(test).parameters
        async with suite.open() as runtime:
            await test(runtime, **{name: value for name, value in given.items() if name in wanted})

    await holds(FakeRuntime)
    with pytest.raises((AssertionError, TimeoutError, NoSuchContainer, pytest.fail.Exception)):
        await holds(broken)
