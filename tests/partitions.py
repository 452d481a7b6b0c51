"""Lines that can be cut: a proxy between clients and servers, and machines of their own for servers."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import SocketStream, TaskGroup

from tests.engines import Machine


class Line:
    """Leads to a server; while it is cut nothing comes through, nothing is lost, and nobody is told: as with a cable."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._whole = anyio.Event()
        self._whole.set()
        self.port = 0

    def cut(self) -> None:
        self._whole = anyio.Event()

    def mend(self) -> None:
        self._whole.set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Line"]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._lead, group)
            yield self
            group.cancel_scope.cancel()

    async def _lead(self, near: SocketStream) -> None:
        async with near:
            await self._whole.wait()
            try:
                far = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:
                return
            async with far, anyio.create_task_group() as group:
                group.start_soon(self._carry, near, far, group)
                group.start_soon(self._carry, far, near, group)

    async def _carry(self, source: SocketStream, target: SocketStream, both: TaskGroup) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive()
                await self._whole.wait()
                await target.send(data)
        await self._whole.wait()  # that an end has gone is news, too
        both.cancel_scope.cancel()


class Machines:
    """Network namespaces on a switch of their own, which this machine is connected to as well."""

    def __init__(self, count: int) -> None:
        assert os.geteuid() == 0, "only root may make network namespaces"
        self._count = count
        self._taken = contextlib.ExitStack()
        self.machines: Sequence[Machine] = ()

    def __enter__(self) -> Self:
        try:
            self._connect(*self._switch())
        except BaseException:
            self._taken.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken.close()

    def _switch(self) -> tuple[int, str]:
        for number in range(1, 250):
            name = f"kubelib-switch-{number}"
            # Whoever makes it has it: others on this machine may be looking for a free one as well.
            if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0:
                self._taken.callback(_ip, "netns", "del", name)
                return number, name
        raise AssertionError("there are too many switches")

    def _connect(self, number: int, switch: str) -> None:
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        ours = f"kubelibs{number}"
        _ip("link", "add", ours, "type", "veth", "peer", "name", "port0", "netns", switch)
        self._taken.callback(_ip, "link", "del", ours)
        _ip("addr", "add", f"10.243.{number}.1/24", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", switch, "link", "set", "port0", "master", "br0", "up")
        made = []
        for place in range(1, self._count + 1):
            name, address = f"kubelib-machine-{number}-{place}", f"10.243.{number}.{place + 1}"
            _ip("netns", "add", name)
            self._taken.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip(
                *("-n", name, "link", "add", "eth0", "type", "veth"),
                *("peer", "name", f"port{place}", "netns", switch),
            )
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", switch, "link", "set", f"port{place}", "master", "br0", "up")
            made.append(Machine(address, ("nsenter", f"--net=/run/netns/{name}")))
        self.machines = made

    @contextlib.contextmanager
    def apart(self, place: int) -> Iterator[None]:
        """Let one machine and the others hear nothing of each other while the context is open; this one hears all of them."""
        alone = self.machines[place]
        others = [machine for machine in self.machines if machine is not alone]
        pairs = [pair for other in others for pair in ((alone, other), (other, alone))]
        for at, towards in pairs:
            _run(*at.command, "ip", "route", "add", "blackhole", f"{towards.address}/32")
        try:
            yield
        finally:
            for at, towards in pairs:
                _run(*at.command, "ip", "route", "del", "blackhole", f"{towards.address}/32")


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
