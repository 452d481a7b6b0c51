"""Being attached to a container of the process runtime: the messages that its shim and its visitors exchange."""

import contextlib
import os
import struct
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import ByteStream

from kubelib.runtime.base import NoSuchContainer
from kubelib.runtime.shimvisitors import HELLO, INPUT, INPUT_ENDS, SIZE

_HEAD = struct.Struct(">BI")


async def connect_shim(directory: Path) -> ByteStream:
    """Connect to the shim of a container. Raises NoSuchContainer if it is gone."""
    # By way of a descriptor: the path of a socket may have no more than 107 bytes.
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await anyio.connect_unix(f"/proc/self/fd/{descriptor}/attach")
    except OSError as error:
        raise NoSuchContainer(f"container {directory.name} cannot be attached to: {error}") from None
    finally:
        os.close(descriptor)


class Attachment:
    """The streams of a container; see `kubelib.runtime.abilities.ExecStream`."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._received = b""
        self._writes = False

    async def greet(self, *, stdin: bool) -> None:
        """Say whether the input will be written."""
        self._writes = stdin
        await self._say(HELLO, b"1" if stdin else b"0")

    async def _say(self, kind: int, payload: bytes = b"") -> None:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(_HEAD.pack(kind, len(payload)) + payload)

    async def send(self, data: bytes) -> None:
        """Write to the container's input; what it no longer reads is dropped."""
        if self._writes:
            await self._say(INPUT, data)

    async def close_stdin(self) -> None:
        """Tell the container that no more input comes."""
        if self._writes:
            await self._say(INPUT_ENDS)

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when the container has ended."""
        while True:
            if len(self._received) >= _HEAD.size:
                kind, size = _HEAD.unpack_from(self._received)
                end = _HEAD.size + size
                if len(self._received) >= end:
                    data, self._received = self._received[_HEAD.size : end], self._received[end:]
                    return ("stdout" if kind == 1 else "stderr"), data
            try:
                self._received += await self._stream.receive()
            except anyio.BrokenResourceError:
                raise anyio.EndOfStream from None

    async def resize(self, width: int, height: int) -> None:
        """Tell the container's terminal the new size."""
        await self._say(SIZE, struct.pack(">HH", min(width, 0xFFFF), min(height, 0xFFFF)))

    async def wait(self) -> int:
        """Return 0: how a container ends is its status."""
        return 0
