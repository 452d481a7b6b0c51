"""Being attached to what a container runs, past Podman: by its monitor (conmon), its log, and the pipe that is its input.

Podman's own attaching makes a container anew that has just ended, and its monitor closes the input of a container without a
terminal as soon as anybody who was attached has gone, also those who only looked. Kubernetes keeps the input open for the next
visitor unless it is for one only (``stdinOnce``). So what such a container writes is read from its log, into which the monitor
puts every byte as it comes, and its input is a file of its first process; only the end of the input is told to the monitor. A
terminal, which has no end, is the monitor's own socket.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import anyio

from kubelib.runtime.base import NoSuchContainer
from kubelib.runtime.containers import Stream
from kubelib.runtime.podman.readings import Known

LARGEST_WRITE = 8192
"""Bytes of a message that the monitor takes at once."""
LARGEST_MESSAGE = 65536
STDERR = 3
"""The first byte of the monitor's messages that are not standard output."""
FIRST_LOOK, LONGEST_LOOK = 0.01, 0.1
"""Seconds between looks at a log."""


def connect_monitor(directory: str) -> socket.socket:
    """Connect to the monitor of a container. Raises OSError if it is gone."""
    # By way of a descriptor: the path of a socket may have no more than 107 bytes.
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/attach")
        connection.setblocking(False)
    except OSError:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    return connection


def end_input(directory: str) -> None:
    """Let the monitor close a container's input, which is what it does when one who was attached says no more."""
    with contextlib.suppress(OSError), connect_monitor(directory) as connection:
        connection.shutdown(socket.SHUT_WR)


def open_input(pid: int) -> int:
    """Open the pipe that is a process's input, to write into it; -1 if that has none, or may not be opened."""
    path = f"/proc/{pid}/fd/0"
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return -1
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


class TerminalAttachment:
    """The terminal of a container; see `kubelib.runtime.abilities.ExecStream`."""

    def __init__(self, known: Known, *, stdin: bool) -> None:
        self._writes = stdin
        self._control = f"{known.directory}/ctl"
        try:
            self._socket = connect_monitor(known.directory)
        except OSError as error:
            raise NoSuchContainer(f"container {known.id[:12]} cannot be attached to: {error}") from None

    async def send(self, data: bytes) -> None:
        """Write to the terminal; what is no longer read is dropped."""
        while data and self._writes:
            try:
                sent = self._socket.send(data[:LARGEST_WRITE])
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError:
                return
            else:
                data = data[sent:]

    async def close_stdin(self) -> None:
        """Say at the terminal that no more input comes."""
        await self.send(b"\x04")

    async def receive(self) -> tuple[Stream, bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when the container has ended."""
        while True:
            try:
                data = self._socket.recv(LARGEST_MESSAGE)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError:
                raise anyio.EndOfStream from None
            if not data:
                raise anyio.EndOfStream
            return ("stderr" if data[0] == STDERR else "stdout"), data[1:]

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size, by the monitor's control pipe."""
        with contextlib.suppress(OSError):
            control = os.open(self._control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(control, f"1 {height} {width}\n".encode())
            finally:
                os.close(control)

    async def wait(self) -> int:
        """Return 0: how a container ends is its status."""
        return 0

    def close(self) -> None:
        """Leave; the terminal stays open."""
        anyio.notify_closing(self._socket)
        self._socket.close()


class PipeAttachment:
    """The output of a container without a terminal, and the pipe that is its input."""

    def __init__(self, known: Known, over: Callable[[], bool], *, stdin: bool) -> None:
        self._directory = known.directory
        self._log = _LogTail(Path(known.log))
        self._over = over
        self._ready: list[tuple[Stream, bytes]] = []
        self._input_ends_after = stdin and known.stdin_once
        self._has_input = stdin
        self._left = False
        self._pipe = open_input(known.pid) if stdin else -1

    async def send(self, data: bytes) -> None:
        """Write to the container's input; what it no longer reads is dropped."""
        while data and self._pipe >= 0:
            try:
                data = data[os.write(self._pipe, data) :]
            except BlockingIOError:
                await anyio.wait_writable(self._pipe)
            except OSError:
                return

    async def close_stdin(self) -> None:
        """Say no more. The container is told if its input is for one visitor; else this one has left, as from Docker's."""
        self._close_pipe()
        self._left = self._has_input and not self._input_ends_after
        if self._input_ends_after:
            self._input_ends_after = False
            end_input(self._directory)

    async def receive(self) -> tuple[Stream, bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when the container has ended."""
        delay = FIRST_LOOK
        while not self._ready:
            over = self._left or self._over()  # asked before looking: what was written until then is read
            self._ready += self._log.read()
            if not self._ready:
                if over:
                    raise anyio.EndOfStream
                await anyio.sleep(delay)
                delay = min(delay * 1.5, LONGEST_LOOK)
        return self._ready.pop(0)

    async def resize(self, width: int, height: int) -> None:
        """Do nothing: there is no terminal."""

    async def wait(self) -> int:
        """Return 0: how a container ends is its status."""
        return 0

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            anyio.notify_closing(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def close(self) -> None:
        """Leave; the container's input stays open unless it was for one visitor only."""
        self._close_pipe()
        self._log.close()
        if self._input_ends_after:
            self._input_ends_after = False
            end_input(self._directory)


class _LogTail:
    """What is added to a log from now on, byte for byte as the container wrote it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        self._file: BinaryIO | None = self._opened()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def _opened(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except OSError:
            return None

    def read(self) -> Iterator[tuple[Stream, bytes]]:
        file = self._file = self._file or self._opened()
        if file is None:
            return
        data = file.read(1 << 20)
        if not data and self._was_moved(file):
            data = file.read()  # written between the last look and the move
            self.close()
        *records, self._rest = (self._rest + data).split(b"\n")
        for record in records:
            parts = record.split(b" ", 3)
            if len(parts) == 4:
                _, stream, tag, text = parts
                yield ("stderr" if stream == b"stderr" else "stdout"), text + (b"\n" if tag == b"F" else b"")

    def _was_moved(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
