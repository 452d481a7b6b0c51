"""Containers as child processes: no daemon, nothing to install, isolation as far as the caller's rights go.

A container has a directory of its own, its own environment and nothing of the agent's, a process session of its own, a memory
limit as an rlimit, and its output in a log file. It runs on the host's file system: an image is only a name, and the command
must be given. What it mounts is found below ``$KUBELIB_ROOT``: a volume mounted at ``/etc/config`` is the directory
``$KUBELIB_ROOT/etc/config``. What is not isolated: files, network (a Pod listens on its own loopback address, given as
``$POD_IP``), the process table, users.

Each container's parent is a small shim (`kubelib.runtime.shim`) that outlives the agent: an agent that is started again finds
what runs, and how what ended has ended.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.runtime.base import (
    CannotStart,
    Container,
    ContainerId,
    ContainerSpec,
    ContainerStats,
    ExecResult,
    ImageId,
    NoSuchContainer,
    RuntimeEvent,
    Sandbox,
    SandboxId,
    SandboxSpec,
)

_SHIM = str(Path(__file__).with_name("shim.py"))
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT = 20.0


class ProcessRuntime:
    """A `kubelib.runtime.base.Runtime` of child processes, all of it below one directory."""

    name = "process"

    def __init__(self, root: Path, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.root = root.absolute()
        self._clock = clock
        self._bell = self.root / "bell"
        self._listeners: list[MemoryObjectSendStream[RuntimeEvent]] = []
        self._bell_descriptor = -1
        self._commands: dict[Path, set[ProcessStream]] = {}
        """By container: the commands that run in it."""
        self._group: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._bell.exists():
            os.mkfifo(self._bell, 0o600)
        # Open for writing too, so that the pipe never reports an end when the last shim closes it.
        self._bell_descriptor = os.open(self._bell, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return None  # the caller's own error goes on as it is
            raise
        finally:
            os.close(self._bell_descriptor)
            self._bell_descriptor = -1

    # Images

    async def pull(self, image: str) -> ImageId:
        """Do nothing: an image is only a name here."""
        return ImageId(f"process://{image}")

    async def has_image(self, image: str) -> bool:
        """Return True: every name will do."""
        return True

    # Sandboxes

    def _sandbox(self, uid: str) -> Path:
        return self.root / "sandboxes" / uid

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Create the directory of a Pod, or return the one that it has."""
        directory = self._sandbox(spec.uid)
        note = directory / "sandbox.json"
        if not note.exists():
            directory.mkdir(parents=True, exist_ok=True)
            written = {
                "uid": spec.uid,
                "namespace": spec.namespace,
                "name": spec.name,
                "hostname": spec.hostname,
                "address": spec.address,
                "annotations": dict(spec.annotations),
                "created": self._clock.now().isoformat(),
            }
            temporary = directory / ".sandbox.json"
            temporary.write_text(json.dumps(written))
            temporary.replace(note)
        return SandboxId(spec.uid)

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of a Pod."""
        directory = self._sandbox(sandbox)
        for container in _containers(directory):
            _kill(container)
        with anyio.move_on_after(10):
            while any(_alive(container) or _has_shim(container) for container in _containers(directory)):
                await anyio.sleep(0.01)
        for container in _containers(directory):
            self._end_commands(container)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))
        self._notify(RuntimeEvent("removed", sandbox))

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        base = self.root / "sandboxes"
        if not base.exists():
            return ()
        found = []
        for directory in sorted(base.iterdir()):
            try:
                note = json.loads((directory / "sandbox.json").read_text())
            except (OSError, ValueError):
                continue  # being made, or being removed
            found.append(
                Sandbox(
                    id=SandboxId(note["uid"]),
                    uid=note["uid"],
                    namespace=note["namespace"],
                    name=note["name"],
                    address=note["address"],
                    ready=True,
                    created=datetime.fromisoformat(note["created"]),
                    containers=tuple(_read(container) for container in _containers(directory)),
                    annotations=note["annotations"],
                )
            )
        return tuple(found)

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        directory = self._sandbox(uid)
        try:
            note = json.loads((directory / "sandbox.json").read_text())
        except (OSError, ValueError):
            return None
        return Sandbox(
            id=SandboxId(uid),
            uid=uid,
            namespace=note["namespace"],
            name=note["name"],
            address=note["address"],
            ready=True,
            created=datetime.fromisoformat(note["created"]),
            containers=tuple(_read(container) for container in _containers(directory)),
            annotations=note["annotations"],
        )

    # Containers

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Start a process under a shim. Raises `CannotStart` if there is no such command or directory."""
        base = self._sandbox(sandbox)
        if not base.exists():
            raise NoSuchContainer(f"there is no sandbox {sandbox}")
        argv = [*container.command, *container.args]
        if not container.command:
            raise CannotStart(
                f"no command specified: the process runtime runs commands of the host, image {container.image!r} is only a name"
            )
        directory = base / "containers" / f"{container.name}-{container.attempt}"
        root = directory / "root"
        root.mkdir(parents=True, exist_ok=True)
        for mount in container.mounts:
            _link(root, mount.source, mount.target)
        working = Path(container.working_dir) if container.working_dir else root
        env = {"PATH": DEFAULT_PATH, "HOME": str(root), "KUBELIB_ROOT": str(root), **container.env}
        spec = {
            "name": container.name,
            "image": container.image,
            "attempt": container.attempt,
            "argv": argv,
            "env": env,
            "directory": str(working if working.is_dir() else root / container.working_dir.lstrip("/")),
            "log": container.log_path or str(directory / "log"),
            "memory": container.resources.memory,
            "user": container.user,
            "group": container.group,
            "bell": str(self._bell),
            "annotations": dict(container.annotations),
            "created": self._clock.now().isoformat(),
        }
        (directory / "spec.json").write_text(json.dumps(spec))
        launched = subprocess.Popen(
            [sys.executable, "-I", "-S", _SHIM, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            await _started(directory)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(launched.wait)
        ended = _exit_of(directory)
        if ended is not None and "failure" in ended:
            raise CannotStart(f"failed to start container {container.name!r}: {ended['failure']}")
        identity = ContainerId(str(directory))
        self._notify(RuntimeEvent("started", sandbox, identity))
        return identity

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Send SIGTERM to the container's process group, SIGKILL after `grace` seconds."""
        directory = Path(container)
        if grace > 0:
            _signal(directory, signal.SIGTERM)
            with anyio.move_on_after(grace):
                while _alive(directory):
                    await anyio.sleep(0.02)
        while _alive(directory):
            _kill(directory)
            await anyio.sleep(0.02)
        self._end_commands(directory)

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container."""
        directory = Path(container)
        if _alive(directory):
            await self.stop_container(container, grace=0)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))

    # Events

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        """Report starts and ends, as the shims ring the bell."""
        send, receive = anyio.create_memory_object_stream[RuntimeEvent](math.inf)
        self._listeners.append(send)
        async with send, receive:
            try:
                yield receive
            finally:
                self._listeners.remove(send)

    async def _listen(self) -> None:
        rest = b""
        while True:
            await anyio.wait_readable(self._bell_descriptor)
            try:
                rest += os.read(self._bell_descriptor, 65536)
            except BlockingIOError:
                continue
            *lines, rest = rest.split(b"\n")
            for line in lines:
                directory = Path(line.decode())
                kind: Literal["started", "exited"] = (
                    "exited" if (directory / "exit.json").exists() else "started"
                )
                if kind == "exited":
                    self._end_commands(directory)
                self._notify(RuntimeEvent(kind, directory.parent.parent.name, ContainerId(str(directory))))

    def _notify(self, event: RuntimeEvent) -> None:
        for listener in self._listeners:
            with contextlib.suppress(anyio.BrokenResourceError):
                listener.send_nowait(event)

    def _end_commands(self, container: Path) -> None:
        """End what was run in a container that has ended."""
        for command in self._commands.get(container, ()):
            command.kill()

    # Exec

    def _context(self, container: ContainerId) -> tuple[dict[str, str], str]:
        directory = Path(container)
        if not _alive(directory):
            raise NoSuchContainer(f"container {directory.name} is not running")
        spec = json.loads((directory / "spec.json").read_text())
        return spec["env"], spec["directory"]

    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command with the container's environment and directory."""
        found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        with anyio.fail_after(timeout):
            async with self.exec_stream(container, command, stdin=False, tty=False) as stream:
                with contextlib.suppress(anyio.EndOfStream):
                    while True:
                        name, data = await stream.receive()
                        found[name].append(data)
                code = await stream.wait()
        return ExecResult(code, b"".join(found["stdout"]), b"".join(found["stderr"]))

    @asynccontextmanager
    async def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator["ProcessStream"]:
        """Run a command with open streams; leaving the context, or the end of the container, ends it."""
        env, directory = self._context(container)
        stream = ProcessStream(list(command), env, directory, stdin=stdin, tty=tty)
        running = self._commands.setdefault(Path(container), set())
        running.add(stream)
        try:
            yield stream
        finally:
            running.discard(stream)
            if not running:
                self._commands.pop(Path(container), None)
            stream.close()

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container's processes use, from /proc, those included that have left their parent."""
        directory = Path(container)
        state = _state_of(directory)
        if state is None or not _alive(directory):
            raise NoSuchContainer(f"container {directory.name} is not running")
        return await anyio.to_thread.run_sync(_usage, state)


def _usage(state: dict[str, Any]) -> ContainerStats:
    """Add up what a container's processes use: all below the shim, which adopts orphans, except the shim itself.

    What a process that has ended used is part of its parent's account once that has waited for it.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    cpu, memory, count = 0.0, 0, 0
    adopting = _is_process(state["shim"], state["shim_ticks"])
    todo = _children(state["shim"]) if adopting else [state["pid"]]
    if adopting:
        with contextlib.suppress(OSError, IndexError):
            cpu += sum(_times(state["shim"])[2:]) / ticks
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            cpu += sum(_times(pid)) / ticks
            memory += _resident(pid)
            count += 1
            todo += _children(pid)
    return ContainerStats(cpu_seconds=cpu, memory=memory, processes=count)


def _times(pid: int) -> list[int]:
    """Return a process's ticks in user mode and in the kernel, then those of the children that it has waited for."""
    return [int(field) for field in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[11:15]]


def _children(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started, and has."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process holds; pages that several share count in parts."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:  # of another user, or a kernel without it
        pass
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _link(root: Path, source: str, target: str) -> None:
    """Make a volume visible below the container's root."""
    place = root / target.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        place.symlink_to(source)


def _containers(sandbox: Path) -> list[Path]:
    base = sandbox / "containers"
    return sorted(path for path in base.iterdir() if (path / "spec.json").exists()) if base.exists() else []


async def _started(directory: Path) -> None:
    """Wait until the shim has said that the command runs, has ended, or could not be started."""
    delay = 0.004
    with anyio.move_on_after(START_TIMEOUT):
        while not (directory / "state.json").exists() and not (directory / "exit.json").exists():
            await anyio.sleep(delay)
            delay = min(delay * 1.3, 0.05)
        return
    raise CannotStart("the container's shim did not start in time")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        tree: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return tree


def _state_of(directory: Path) -> dict[str, Any] | None:
    return _json(directory / "state.json")


def _exit_of(directory: Path) -> dict[str, Any] | None:
    return _json(directory / "exit.json")


def _is_process(pid: int, ticks: int) -> bool:
    """Return whether the process that was started then is still there: numbers are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == ticks and fields[0] != b"Z"


def _alive(directory: Path) -> bool:
    """Return whether the container runs: its end is only its end once the shim has noted it, or is gone itself."""
    if (directory / "exit.json").exists():
        return False
    state = _state_of(directory)
    if state is None:
        return False
    return _is_process(state["shim"], state["shim_ticks"]) or _is_process(state["pid"], state["ticks"])


def _has_shim(directory: Path) -> bool:
    """Return whether a container's shim is still there: for a moment after it has noted the end."""
    noted = _state_of(directory) or _exit_of(directory)
    return noted is not None and _is_process(noted.get("shim", 0), noted.get("shim_ticks", 0))


def _signal(directory: Path, number: int) -> None:
    state = _state_of(directory)
    if (
        state is not None
        and not (directory / "exit.json").exists()
        and _is_process(state["pid"], state["ticks"])
    ):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(state["pid"], number)


def _kill(directory: Path) -> None:
    _signal(directory, signal.SIGKILL)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text[:26] + "Z").astimezone(UTC) if text else None


def _read(directory: Path) -> Container:
    """Return a container as its files tell it."""
    spec = _json(directory / "spec.json") or {}
    state, ended = _state_of(directory), _exit_of(directory)
    common: dict[str, Any] = {
        "id": ContainerId(str(directory)),
        "name": spec.get("name", directory.name.rpartition("-")[0]),
        "image": spec.get("image", ""),
        "image_id": f"process://{spec.get('image', '')}",
        "attempt": spec.get("attempt", 0),
        "annotations": spec.get("annotations", {}),
    }
    if ended is not None:
        code, number = ended.get("code", 128), ended.get("signal", 0)
        reason = "ContainerCannotRun" if "failure" in ended else ("Completed" if code == 0 else "Error")
        return Container(
            **common,
            state="exited",
            started=_time(ended.get("started")),
            finished=_time(ended.get("finished")),
            exit_code=code,
            signal=number,
            reason=reason,
            message=ended.get("failure", ""),
        )
    if state is not None and _alive(directory):
        return Container(**common, state="running", pid=state["pid"], started=_time(state["started"]))
    if state is not None:
        # The shim was killed before it could note the end.
        started = _time(state["started"])
        return Container(
            **common,
            state="exited",
            started=started,
            finished=started,
            exit_code=137,
            signal=9,
            reason="Error",
        )
    return Container(**common, state="created")


class ProcessStream:
    """A command with open streams; with `tty`, on a pseudo-terminal of its own."""

    def __init__(
        self, command: list[str], env: dict[str, str], directory: str, *, stdin: bool, tty: bool
    ) -> None:
        self._readers: dict[int, Literal["stdout", "stderr"]] = {}
        self._stdin = -1
        self._tty = -1
        try:
            if tty:
                import pty

                controller, terminal = pty.openpty()
                self._process = subprocess.Popen(
                    command,
                    env={"TERM": "xterm", **env},
                    cwd=directory,
                    stdin=terminal,
                    stdout=terminal,
                    stderr=terminal,
                    start_new_session=True,
                )
                os.close(terminal)
                self._tty = controller
                self._stdin = os.dup(controller)
                self._readers[controller] = "stdout"
            else:
                self._process = subprocess.Popen(
                    command,
                    env=env,
                    cwd=directory,
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
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
