"""A pipe by which programs that outlive the agent say that something has happened, to whichever agent there is."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio


class Bell:
    """The pipe at `path`. Who rings writes a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def open(self) -> None:
        """Make the pipe if there is none yet, and hear from now on what is written to it."""
        if not self.path.exists():
            os.mkfifo(self.path, 0o600)
        # Open for writing too, so that the pipe never reports an end when the last who rings closes it.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Hear no more; the pipe stays. May be repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def listen(self, heard: Callable[[str], object]) -> None:
        """Call `heard` with each line until cancelled."""
        rest = b""
        while True:
            await anyio.wait_readable(self._descriptor)
            try:
                rest += os.read(self._descriptor, 65536)
            except BlockingIOError:
                continue
            *lines, rest = rest.split(b"\n")
            for line in lines:
                heard(line.decode())
