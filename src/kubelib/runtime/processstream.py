"""A command with open streams, as the process runtime runs it in a container."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from kubelib.runtime.base import CannotStart, NoSuchContainer
from kubelib.runtime.isolation.plan import check_command, entering
from kubelib.runtime.processnames import among
from kubelib.runtime.processspec import DEFAULT_PATH
from kubelib.runtime.processstate import is_alive, state_of


class ProcessStream:
    """A command with open streams; with `tty`, on a pseudo-terminal of its own."""

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        directory: str,
        *,
        stdin: bool,
        tty: bool,
        user: int | None = None,
        group: int | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        """Start a command, as another user and in other groups than those of this process where they are given. Raises `CannotStart`."""
        start = partial(
            subprocess.Popen[bytes],
            command,
            cwd=directory,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=groups,
        )
        self._readers: dict[int, Literal["stdout", "stderr"]] = {}
        self._stdin = -1
        self._tty = -1
        try:
            if tty:
                import pty

                controller, terminal = pty.openpty()
                self._process = start(
                    env={"TERM": "xterm", **env}, stdin=terminal, stdout=terminal, stderr=terminal
                )
                os.close(terminal)
                self._tty = controller
                self._stdin = os.dup(controller)
                self._readers[controller] = "stdout"
            else:
                self._process = start(
                    env=env,
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                assert self._process.stdout is not None
                assert self._process.stderr is not None
                self._readers = {
                    os.dup(self._process.stdout.fileno()): "stdout",
                    os.dup(self._process.stderr.fileno()): "stderr",
                }
                self._process.stdout.close()
                self._process.stderr.close()
                if self._process.stdin is not None:
                    self._stdin = os.dup(self._process.stdin.fileno())
                    self._process.stdin.close()
        except OSError as error:
            raise CannotStart(f'exec: "{command[0]}": {error.strerror}') from error
        for descriptor in (*self._readers, self._stdin):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)

    async def send(self, data: bytes) -> None:
        """Write to the standard input; what the command no longer reads is dropped."""
        while data and self._stdin >= 0:
            try:
                data = data[os.write(self._stdin, data) :]
            except BlockingIOError:
                await anyio.wait_writable(self._stdin)
            except OSError:
                return

    async def close_stdin(self) -> None:
        """Tell the command that no more input comes."""
        if self._stdin >= 0:
            if self._tty >= 0:
                await self.send(b"\x04")
                return
            anyio.notify_closing(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream`."""
        while self._readers:
            for descriptor, name in list(self._readers.items()):
                try:
                    data = os.read(descriptor, 65536)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal whose other side has gone
                    data = b""
                if data:
                    return name, data
                anyio.notify_closing(descriptor)
                os.close(descriptor)
                del self._readers[descriptor]
                if descriptor == self._tty:
                    self._tty = -1
            if self._readers:
                async with anyio.create_task_group() as group:

                    async def until_readable(descriptor: int, scope: anyio.CancelScope) -> None:
                        await anyio.wait_readable(descriptor)
                        scope.cancel()

                    for descriptor in self._readers:
                        group.start_soon(until_readable, descriptor, group.cancel_scope)
        raise anyio.EndOfStream

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size."""
        if self._tty >= 0:
            import fcntl
            import struct
            import termios

            fcntl.ioctl(self._tty, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        """Return the exit code once the command has ended."""
        while self._process.poll() is None:
            await anyio.sleep(0.01)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End the command with its process group, whose number is another's once the command has been waited for."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the command and close everything."""
        self.kill()
        self._process.wait()
        for descriptor in (*self._readers, self._stdin):
            if descriptor >= 0:
                os.close(descriptor)
        self._readers.clear()
        self._stdin = -1


def run_inside(container: Path, words: Sequence[str], *, stdin: bool, tty: bool) -> ProcessStream:
    """Run a command in a container that runs, as its directory says. Raises `CannotStart`, `NoSuchContainer`."""
    state = state_of(container)
    if state is None or not is_alive(container):
        raise NoSuchContainer(f"container {container.name} is not running")
    spec = json.loads((container / "spec.json").read_text())
    env, pid = spec["env"], state["pid"]
    if spec.get("isolation") is not None:
        check_command(pid, words[0], env.get("PATH", DEFAULT_PATH), os.readlink(f"/proc/{pid}/cwd"))
        # The environment is the command's, and none of what enters the container for it.
        return ProcessStream([*entering(container, pid), *words], {}, "/", stdin=stdin, tty=tty)
    group, groups = spec["group"], spec["groups"]
    run = partial(
        ProcessStream,
        list(words),
        env,
        spec["directory"],
        stdin=stdin,
        tty=tty,
        user=spec["user"],
        group=group,
        # As the container's process: what has groups of its own has none of the agent's.
        groups=groups if groups or group is not None else None,
    )
    if spec.get("names") is None:
        return run()
    try:
        return among(state, run)
    except OSError as error:
        raise NoSuchContainer(f"container {container.name} cannot be entered: {error}") from error
