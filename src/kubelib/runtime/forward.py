"""Connections to a port of a Pod, made inside its network: what listens on its loopback device is reached too."""

import os
import socket
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import ByteStream

from kubelib.runtime.namespaces import inside

TIMEOUT = 10.0
CHUNK = 65536


class PodConnection(ByteStream):
    """A TCP connection, its socket of another network than ours."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.setblocking(False)

    async def send(self, item: bytes) -> None:
        """Send all of it. Raises `anyio.BrokenResourceError`."""
        while item:
            try:
                item = item[self._socket.send(item) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Say that no more comes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """Return what comes next. Raises `anyio.EndOfStream`, `anyio.BrokenResourceError`."""
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError as error:
                raise anyio.BrokenResourceError from error
            if not data:
                raise anyio.EndOfStream
            return data

    async def aclose(self) -> None:
        """Close it."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


def can_enter(pid: int) -> bool:
    """Return whether this process may enter the network of a process of this machine."""
    return os.geteuid() == 0 and Path(f"/proc/{pid}/ns/net").exists()


async def connect_inside(pid: int, port: int) -> PodConnection:
    """Connect to a port on the loopback device of a process's network. Raises OSError."""

    def connect() -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", port), TIMEOUT)
        except ConnectionRefusedError as refused:
            try:
                return socket.create_connection(("::1", port), TIMEOUT)
            except OSError:
                raise refused from None

    return PodConnection(await anyio.to_thread.run_sync(lambda: inside(pid, ["net"], connect)))
