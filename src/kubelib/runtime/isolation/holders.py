"""The sandboxes of Pods that are isolated: for each a process that holds its namespaces, and what its network needs on the host."""

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from kubelib.runtime.base import CannotCreate, Dns, SandboxSpec
from kubelib.runtime.isolation.network import Network, obstacle
from kubelib.runtime.names import parse_resolv_conf
from kubelib.runtime.processstate import is_process, json_of
from kubelib.runtime.programs import packed

log = logging.getLogger("kubelib.runtime")

_HOLDER = str(Path(__file__).with_name("holder.py"))
START_TIMEOUT = 20.0
END_TIMEOUT = 10.0
RESOLV_CONF, HOSTNAME, WISH = "resolv.conf", "hostname", "wish"
HOST_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where the host's servers are told, and where those behind systemd's own one."""


class CannotIsolate(ValueError):
    """This process may not do what isolation needs; the message says what."""


def resolv_conf(dns: Dns) -> str:
    """Return a Pod's ``/etc/resolv.conf``.

    >>> print(resolv_conf(Dns(servers=["192.0.2.1"], searches=["a.example", "example"], options=["ndots:5"])), end="")
    search a.example example
    nameserver 192.0.2.1
    options ndots:5
    """
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "".join(f"{line}\n" for line in lines)


def servers_of_host(files: Sequence[Path] = HOST_FILES) -> str:
    """Return the ``/etc/resolv.conf`` of Pods that ask for none, and that have networks of their own; empty: the host's.

    A server that listens on the host's loopback device is out of their reach; where it is systemd's, these are behind it.
    """
    for number, path in enumerate(files):
        try:
            text = path.read_text()
        except OSError:
            continue
        if any(not server.startswith("127.") for server in parse_resolv_conf(text).servers):
            return text if number else ""
    return ""


def written(spec: SandboxSpec, network: Network | None) -> dict[str, Any]:
    """Return what is noted of a sandbox beside what every one has: what its holder needs to be made, now or anew."""
    own_network = network is not None and not spec.host_network and network.holds(spec.address)
    namespaces = [] if spec.host_ipc else ["ipc"]
    namespaces += [] if spec.host_network else ["uts"]
    namespaces += ["net"] if own_network else []
    namespaces += ["pid"] if spec.share_processes and not spec.host_pid else []
    return {
        "namespaces": namespaces,
        "sysctls": dict(spec.sysctls),
        "ports": [
            {"host_port": p.host_port, "port": p.port, "protocol": p.protocol, "host_ip": p.host_ip}
            for p in spec.ports
        ]
        if own_network
        else [],
        "dns": resolv_conf(spec.dns) or (servers_of_host() if own_network else ""),
    }


def files_of(directory: Path, note: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return what a sandbox's containers find in ``/etc``: source, place, and whether it is only to be read."""
    found = []
    if note.get("dns"):
        found.append((str(directory / RESOLV_CONF), "/etc/resolv.conf", False))
    if "uts" in note.get("namespaces", ()):
        found.append((str(directory / HOSTNAME), "/etc/hostname", False))
    return found


def holder_of(directory: Path) -> int | None:
    """Return the process that holds a sandbox's namespaces, None if there is none (any more)."""
    state = json_of(directory / "holder.json")
    return state["pid"] if state is not None and is_process(state["pid"], state["ticks"]) else None


class Holders:
    """Starts and ends holders; tells when one has ended that nobody has ended here."""

    def __init__(self, network: Network | None) -> None:
        self.network = network
        self._connected: set[str] = set()
        """The sandboxes with networks of their own, by UID."""
        self._ways = anyio.Lock()
        self._locks: dict[str, anyio.Lock] = {}
        self._watched: dict[str, anyio.CancelScope] = {}
        self._group: TaskGroup | None = None
        self._ended: Callable[[str], None] = lambda uid: None

    def check_rights(self) -> None:
        """Try whether there may be networks, if there are to be some. Raises `CannotIsolate`."""
        if self.network is not None and (why := obstacle()):
            raise CannotIsolate(
                f"the addresses {self.network.cidr} are for Pods with networks of their own: {why}"
            )

    async def open(
        self,
        group: TaskGroup,
        sandboxes: Mapping[str, tuple[Path, Mapping[str, Any]]],
        ended: Callable[[str], None],
    ) -> None:
        """Take over what an earlier runtime has left; `ended` is told of holders that end."""
        self._group, self._ended = group, ended
        for uid, (directory, note) in sandboxes.items():
            if "net" in note.get("namespaces", ()):
                self._connected.add(uid)
            if (pid := holder_of(directory)) is not None:
                self._watch(uid, pid)
        if self.network is not None:
            ways = self.network.open_ways if self._connected else self.network.close_ways
            await anyio.to_thread.run_sync(ways)

    def _watch(self, uid: str, pid: int) -> None:
        assert self._group is not None
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._ended(uid)
            return
        scope = self._watched[uid] = anyio.CancelScope()
        self._group.start_soon(self._until_ended, uid, descriptor, scope)

    async def _until_ended(self, uid: str, descriptor: int, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        if not scope.cancelled_caught:
            self._ended(uid)

    async def hold(self, uid: str, directory: Path, note: Mapping[str, Any]) -> None:
        """Make a sandbox's namespaces, unless there is somebody who holds them. Raises `CannotCreate`."""
        async with self._locks.setdefault(uid, anyio.Lock()):
            if holder_of(directory) is not None:
                return
            if "net" in note["namespaces"]:
                assert self.network is not None
                async with self._ways:
                    if not self._connected:
                        await anyio.to_thread.run_sync(self.network.open_ways)
                    self._connected.add(uid)
            pid = await anyio.to_thread.run_sync(_start, directory, note, self.network)
            self._watch(uid, pid)

    async def release(self, uid: str, directory: Path) -> None:
        """End a sandbox's holder, and remove what its network has on the host."""
        async with self._locks.setdefault(uid, anyio.Lock()):
            if (watched := self._watched.pop(uid, None)) is not None:
                watched.cancel()
            with anyio.move_on_after(END_TIMEOUT):
                while (pid := holder_of(directory)) is not None:
                    _kill(pid)
                    await anyio.sleep(0.005)
            if self.network is not None and uid in self._connected:
                await anyio.to_thread.run_sync(self.network.disconnect, uid)
                async with self._ways:
                    self._connected.discard(uid)
                    if not self._connected:
                        await anyio.to_thread.run_sync(self.network.close_ways)
        self._locks.pop(uid, None)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _start(directory: Path, note: Mapping[str, Any], network: Network | None) -> int:
    """Start a holder, and give it its network; return its process. Raises `CannotCreate`."""
    (directory / RESOLV_CONF).write_text(note["dns"])
    (directory / HOSTNAME).write_text(f"{note['hostname']}\n")
    (directory / WISH).write_bytes(
        packed(
            [note["hostname"], note["address"]],
            note["namespaces"],
            [f"{name}={value}" for name, value in note["sysctls"].items()],
            [f"{p['protocol']}|{p['host_ip']}|{p['host_port']}|{p['port']}" for p in note["ports"]],
        )
    )
    starting = subprocess.Popen(
        [sys.executable, "-I", "-S", _HOLDER, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, cwd="/", start_new_session=True,
    )  # fmt: skip
    assert starting.stdin is not None
    assert starting.stdout is not None
    # Should this process end before the last word, the holder sees that and ends too.
    with starting.stdin as go, starting.stdout as said:
        try:
            pid = int(_heard(said.fileno(), "pid"))
            if "net" in note["namespaces"]:
                assert network is not None
                network.connect(pid, note["uid"], note["address"])
            go.write(b"!")
            _heard(said.fileno(), "ready")
        finally:
            go.close()
            starting.wait()
    return pid


def _heard(descriptor: int, name: str) -> str:
    """Return what a holder says. Raises `CannotCreate` if that is why it cannot be one."""
    line, poll = b"", select.poll()
    poll.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        data = os.read(descriptor, 1) if poll.poll(START_TIMEOUT * 1000) else b""
        if not data:
            raise CannotCreate("the holder of the namespaces does not answer")
        line += data
    kind, _, said = line.decode(errors="replace").strip().partition(" ")
    if kind != name:
        raise CannotCreate(said)
    return said
