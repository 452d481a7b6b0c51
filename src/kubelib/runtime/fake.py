"""Containers that live by a rule instead of running: a simulated node is the real agent on this runtime.

A rule says of each container how long it takes to start, how long it runs and how it ends. All of it happens in the time of
the event loop, so that on a virtual-time loop a week of crashes takes a moment; all chance comes from the given `Random`.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal

import anyio
import anyio.abc
import attrs

from kubelib.api.core.probes import LifecycleHandler, ProbeHandler
from kubelib.clock import Clock, LoopClock
from kubelib.runtime.abilities import ContainerStats, ExecResult
from kubelib.runtime.background import Background
from kubelib.runtime.base import (
    CannotResize,
    CannotStart,
    Container,
    ContainerId,
    ContainerSpec,
    Credentials,
    ImageId,
    ImageNotFound,
    NoSuchContainer,
    Resources,
    RuntimeEvent,
    Sandbox,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.news import News

Output = tuple[Literal["stdout", "stderr"], str]
Command = Callable[[Sequence[str], bytes, float], Awaitable[ExecResult]]
"""What a command in a container does, given its words, its whole input, and for how many seconds the container has run.

It may take its time, and raise `kubelib.runtime.base.CannotStart`.
"""


async def nothing_to_say(command: Sequence[str], given: bytes, age: float) -> ExecResult:
    """Succeed without output: what a command does unless a `Life` says otherwise."""
    return ExecResult(0, b"", b"")


@attrs.frozen(kw_only=True)
class Life:
    """How one container lives. Times are seconds of the event loop's time."""

    start_delay: float = 0.0
    """From the request to start it until it runs."""
    refusal: str = ""
    """Why it cannot be started at all; empty: it can."""
    run_for: float = math.inf
    """How long it runs unless it is stopped."""
    exit_code: int = 0
    """How it ends by itself."""
    reason: str = ""
    """Why it ended, where ``Completed`` and ``Error`` do not say it: ``OOMKilled``."""
    stop_delay: float = 0.0
    """From the request to stop until it ends; infinite: it has to be killed."""
    stop_exit_code: int = 0
    """How it ends when it is asked to stop."""
    ready_after: float = 0.0
    """The age from which its probes succeed."""
    sick_after: float = math.inf
    """The age from which its probes fail again."""
    output: Sequence[Output] = ()
    """The lines that it writes to its log as it starts."""
    fixed: str = ""
    """Why its limits cannot be changed while it runs; empty: they can."""
    command: Command = nothing_to_say
    """What a command does that is run in it, probes excepted."""
    cpu: float = 0.0
    """How many cores it keeps busy."""
    memory: int = 0
    """How many bytes it holds."""


Rule = Callable[[SandboxSpec, ContainerSpec, Random], Life]


def lives_on(sandbox: SandboxSpec, container: ContainerSpec, random: Random) -> Life:
    """Run every container until it is stopped: the rule of a runtime that was given none."""
    return Life()


@attrs.define
class _Running:
    container: Container
    spec: ContainerSpec
    sandbox: str
    life: Life
    since: float
    ended: anyio.Event
    scope: anyio.CancelScope
    commands: list[anyio.CancelScope] = attrs.Factory(list)


class FakeRuntime(Background):
    """A `kubelib.runtime.base.Runtime` that pretends; a context manager, within which its containers live.

    It outlives agents: one that is started again finds what "ran" meanwhile.
    """

    name = "fake"
    user_namespaces = True

    def __init__(
        self,
        rule: Rule = lives_on,
        *,
        random: Random,
        clock: Clock | None = None,
        pull_delay: float = 0.0,
        missing_images: Sequence[str] = (),
    ) -> None:
        self.rule = rule
        """May be changed at any time; it is asked whenever a container starts."""
        self.missing_images = set(missing_images)
        """What cannot be pulled."""
        self._images: set[str] = set()
        self._pull_delay = pull_delay
        self._random = random
        self._clock: Clock = clock or LoopClock()
        self._sandboxes: dict[str, Sandbox] = {}
        self._specs: dict[str, SandboxSpec] = {}
        self._containers: dict[ContainerId, _Running] = {}
        self._news = News()
        self._count = 0

    # Images

    async def pull(self, image: str, *, credentials: Credentials | None = None) -> ImageId:
        """Wait as long as a pull takes. Raises `ImageNotFound` for the images that are said to be missing."""
        await anyio.sleep(self._pull_delay)
        if image in self.missing_images:
            raise ImageNotFound(f"{image}: not found")
        self._images.add(image)
        return ImageId(f"fake://{image}")

    async def has_image(self, image: str) -> bool:
        """Return whether the image has been pulled."""
        return image in self._images

    # Sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Note a sandbox, or return the one that the Pod has."""
        known = self._sandboxes.get(spec.uid)
        if known is None or not known.ready:
            self._specs[spec.uid] = spec
            self._sandboxes[spec.uid] = Sandbox(
                id=SandboxId(spec.uid),
                uid=spec.uid,
                namespace=spec.namespace,
                name=spec.name,
                address=spec.address,
                ready=True,
                created=known.created if known is not None else self._clock.now(),
                annotations=dict(spec.annotations),
            )
        return SandboxId(spec.uid)

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Kill what runs for a Pod, and take back its address."""
        for running in self._containers.values():
            if running.sandbox == sandbox:
                self._end(running, 137, signal=9)
        if (known := self._sandboxes.get(sandbox)) is not None:
            self._sandboxes[sandbox] = attrs.evolve(known, ready=False, address="")

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and forget what is left of a Pod."""
        for identity, running in list(self._containers.items()):
            if running.sandbox == sandbox:
                self._end(running, 137, signal=9)
                del self._containers[identity]
        if self._sandboxes.pop(sandbox, None) is not None:
            del self._specs[sandbox]
            self._news.tell(RuntimeEvent("removed", sandbox))

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        by_sandbox: dict[str, list[Container]] = {}
        for running in self._containers.values():
            by_sandbox.setdefault(running.sandbox, []).append(running.container)
        return tuple(
            attrs.evolve(sandbox, containers=tuple(by_sandbox.get(uid, ())))
            for uid, sandbox in self._sandboxes.items()
        )

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        found = self._sandboxes.get(uid)
        if found is None:
            return None
        containers = tuple(r.container for r in self._containers.values() if r.sandbox == uid)
        return attrs.evolve(found, containers=containers)

    # Containers

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Begin a container's life. Raises `CannotStart` where its rule refuses it, `ImageNotFound`, `NoSuchContainer`."""
        self._check_sandbox(sandbox)
        if container.image in self.missing_images:
            raise ImageNotFound(f"{container.image}: not found")
        life = self.rule(self._specs[sandbox], container, self._random)
        await anyio.sleep(life.start_delay)
        self._check_sandbox(sandbox)
        self._count += 1
        now = self._clock.now()
        running = _Running(
            container=Container(
                id=ContainerId(f"{sandbox}-{container.name}-{container.attempt}-{self._count}"),
                name=container.name,
                image=container.image,
                image_id=f"fake://{container.image}",
                attempt=container.attempt,
                state="running",
                pid=self._count,
                started=now,
                annotations=dict(container.annotations),
            ),
            spec=container,
            sandbox=sandbox,
            life=life,
            since=anyio.current_time(),
            ended=anyio.Event(),
            scope=anyio.CancelScope(),
        )
        self._containers[running.container.id] = running
        if life.refusal:
            self._end(running, 128, reason="ContainerCannotRun", message=life.refusal)
            raise CannotStart(f"failed to start container {container.name!r}: {life.refusal}")
        self._write_log(running)
        self._news.tell(RuntimeEvent("started", sandbox, running.container.id))
        if life.run_for != math.inf:
            assert self._group is not None, "the runtime is not open: use it as a context manager"
            self._group.start_soon(self._live, running)
        return running.container.id

    def _check_sandbox(self, sandbox: SandboxId) -> None:
        known = self._sandboxes.get(sandbox)
        if known is None or not known.ready:
            raise NoSuchContainer(f"there is no sandbox {sandbox}, or it has ended")

    async def _live(self, running: _Running) -> None:
        with running.scope:
            await anyio.sleep(running.life.run_for)
            self._end(running, running.life.exit_code, reason=running.life.reason)

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Ask a container to end, and kill it after `grace` seconds."""
        running = self._containers.get(container)
        if running is None or running.ended.is_set():
            return
        life = running.life
        if grace > 0:
            with anyio.move_on_after(min(life.stop_delay, grace)):
                await running.ended.wait()
        if life.stop_delay <= grace and grace > 0:
            self._end(running, life.stop_exit_code)
        else:
            self._end(running, 137, signal=9)

    def end(self, container: ContainerId, exit_code: int, *, signal: int = 0, reason: str = "") -> None:
        """End a container from outside, as a crash or the kernel would. Raises `NoSuchContainer`."""
        self._end(self._running(container), exit_code, signal=signal, reason=reason)

    def _end(
        self, running: _Running, exit_code: int, *, signal: int = 0, reason: str = "", message: str = ""
    ) -> None:
        if running.ended.is_set():
            return
        running.ended.set()
        for scope in (running.scope, *running.commands):
            scope.cancel()
        running.container = attrs.evolve(
            running.container,
            state="exited",
            pid=0,
            # The length of a life is exact, even where the loop's timer comes a moment late.
            finished=max(self._clock.now(), running.container.started or self._clock.now()),
            exit_code=exit_code,
            signal=signal,
            reason=reason or ("Completed" if exit_code == 0 else "Error"),
            message=message,
        )
        self._news.tell(RuntimeEvent("exited", running.sandbox, running.container.id))

    async def remove_container(self, container: ContainerId) -> None:
        """Forget a container."""
        running = self._containers.pop(container, None)
        if running is not None:
            self._end(running, 137, signal=9)

    def _running(self, container: ContainerId) -> _Running:
        running = self._containers.get(container)
        if running is None or running.ended.is_set():
            raise NoSuchContainer(f"container {container} is not running")
        return running

    def _write_log(self, running: _Running) -> None:
        if not running.life.output or not running.spec.log_path:
            return
        path = Path(running.spec.log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            for number, (stream, text) in enumerate(running.life.output):
                when = self._clock.now() + timedelta(microseconds=number)
                file.write(f"{when:%Y-%m-%dT%H:%M:%S.%f}000Z {stream} F {text}\n")

    # Events

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Report what happens from now on; nothing is dropped."""
        return self._news.events()

    # Commands, probes, use

    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command as the container's `Life` says."""
        running = self._running(container)
        with anyio.fail_after(timeout):
            return await _run(running, command, b"")

    @asynccontextmanager
    async def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator["FakeStream"]:
        """Run a command that answers once it has all of its input."""
        running = self._running(container)
        yield FakeStream(lambda given: _run(running, command, given), stdin=stdin)

    @asynccontextmanager
    async def attach(self, container: ContainerId, *, stdin: bool) -> AsyncIterator["FakeAttachment"]:
        """Open streams on which nothing happens until the container ends."""
        yield FakeAttachment(self._running(container))

    async def probe(
        self, container: ContainerId, handler: ProbeHandler | LifecycleHandler, *, timeout: float
    ) -> str | None:
        """Return None while the container is well, else what a probe reports."""
        running = self._running(container)
        age = anyio.current_time() - running.since
        if running.life.ready_after <= age < running.life.sick_after:
            return None
        if handler.http_get is not None:
            return "HTTP probe failed with statuscode: 503"
        return "connection refused" if handler.exec is None else "exit status 1"

    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        """Note other limits, unless the container's `Life` says that it cannot have any."""
        running = self._running(container)
        if running.life.fixed:
            raise CannotResize(running.life.fixed)
        before = running.spec.resources
        running.spec = attrs.evolve(
            running.spec,
            resources=Resources(
                memory=resources.memory if resources.memory is not None else before.memory,
                cpu=resources.cpu if resources.cpu is not None else before.cpu,
                cpu_request=resources.cpu_request,
                pids=before.pids,
            ),
        )

    def limits(self, container: ContainerId) -> Resources:
        """Return the limits that a container has now. Raises `NoSuchContainer`."""
        return self._running(container).spec.resources

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container's `Life` says that it uses."""
        running = self._running(container)
        age = anyio.current_time() - running.since
        return ContainerStats(cpu_seconds=running.life.cpu * age, memory=running.life.memory, processes=1)


async def _run(running: _Running, command: Sequence[str], given: bytes) -> ExecResult:
    """Run a command in a container; it is killed with it."""
    with anyio.CancelScope() as scope:
        if running.ended.is_set():
            scope.cancel()
        running.commands.append(scope)
        try:
            return await running.life.command(command, given, anyio.current_time() - running.since)
        finally:
            running.commands.remove(scope)
    return ExecResult(137, b"", b"")


class FakeStream:
    """A command that reads all of its input, then answers."""

    def __init__(self, run: Callable[[bytes], Awaitable[ExecResult]], *, stdin: bool) -> None:
        self._run = run
        self._given = b""
        self._complete = anyio.Event()
        self._running = anyio.Lock()
        self._result: ExecResult | None = None
        self._pending: list[tuple[Literal["stdout", "stderr"], bytes]] = []
        if not stdin:
            self._complete.set()

    async def send(self, data: bytes) -> None:
        """Write to its standard input."""
        if not self._complete.is_set():
            self._given += data

    async def close_stdin(self) -> None:
        """Tell it that no more input comes."""
        self._complete.set()

    async def _finish(self) -> ExecResult:
        await self._complete.wait()
        async with self._running:
            if self._result is None:
                self._result = await self._run(self._given)
                if self._result.stdout:
                    self._pending.append(("stdout", self._result.stdout))
                if self._result.stderr:
                    self._pending.append(("stderr", self._result.stderr))
            return self._result

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream`."""
        await self._finish()
        if not self._pending:
            raise anyio.EndOfStream
        return self._pending.pop(0)

    async def resize(self, width: int, height: int) -> None:
        """Ignore it: there is no terminal."""

    async def wait(self) -> int:
        """Return the exit code."""
        return (await self._finish()).exit_code


class FakeAttachment:
    """The streams of a container in which nothing runs."""

    def __init__(self, running: _Running) -> None:
        self._running = running

    async def send(self, data: bytes) -> None:
        """Drop it: nobody reads."""

    async def close_stdin(self) -> None:
        """Do nothing: nobody reads."""

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Wait for the container's end. Raises `anyio.EndOfStream`."""
        await self._running.ended.wait()
        raise anyio.EndOfStream

    async def resize(self, width: int, height: int) -> None:
        """Ignore it: there is no terminal."""

    async def wait(self) -> int:
        """Return 0: how a container ends is its status."""
        return 0


def by_image(lives: Mapping[str, Life | Sequence[Life]]) -> Rule:
    """Return a rule that goes by image; of a sequence, each attempt has its own, the last one for all that follow.

    >>> crashing = by_image({"crash": [Life(run_for=1, exit_code=1)] * 3 + [Life()]})
    """

    def rule(sandbox: SandboxSpec, container: ContainerSpec, random: Random) -> Life:
        found: Any = lives.get(container.image, Life())
        if isinstance(found, Life):
            return found
        return found[min(container.attempt, len(found) - 1)]  # type: ignore[no-any-return]

    return rule
