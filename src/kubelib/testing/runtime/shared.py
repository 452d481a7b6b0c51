"""What containers of the suites do, how they are described, and what is asked of them."""

import math
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from kubelib.runtime.abilities import ExecStream
from kubelib.runtime.base import (
    Container,
    ContainerId,
    ContainerSpec,
    Runtime,
    RuntimeEvent,
    Sandbox,
    SandboxSpec,
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


class OfRuntimes:
    """What all suites of runtimes share."""

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

    def held(self) -> Mapping[str, int]:
        """Return how many things the kernel holds for the runtime, by kind: mounts, network devices, control groups. None may pile up."""
        return {}

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

    async def in_sandbox(self, runtime: Runtime) -> Sandbox:
        """Return the sandbox of `sandbox()` as the runtime knows it."""
        found = {sandbox.uid: sandbox for sandbox in await runtime.list_sandboxes()}
        assert self.sandbox().uid in found
        return found[self.sandbox().uid]

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


async def until_told(events: AsyncIterator[RuntimeEvent], wanted: RuntimeEvent) -> None:
    """Read on until an event comes."""
    with anyio.fail_after(60):
        async for event in events:
            if event == wanted:
                return
