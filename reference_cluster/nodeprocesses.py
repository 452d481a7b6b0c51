"""Nodes of this machine, each a `kubelib kubelet` in a process of its own: what `kubelib elastic` provides without a plug-in.

A node is a directory: its credentials, what it was made of, its log, and the data directory that its process has locked for as long
as it runs. Nothing else is known of it, so that nodes outlive whoever asked for them, and the next one finds them.
"""

import fcntl
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from kubelib.informers import Backoff
from kubelib.sched.elastic.base import NodeTemplate, ProvidedNode, ProviderError
from reference_cluster.runtimes import NO_ISOLATION, IsolationSettings, clear_node, open_runtime

log = logging.getLogger("kubelib.sched.elastic")

NODE = "node.json"
"""The file that makes a directory a node; written last, and removed last."""
LOOK = 1.0
"""Seconds between two looks whether all processes run."""
AGAIN = Backoff(base=5.0, maximum=300.0)
"""How long a process is left alone that had to be started again, longer each time that it does not last as long."""
POLL = 0.05
GRACE = 20.0
"""Seconds that a kubelet has to end before it is killed."""

WriteCredentials = Callable[[str, Path], None]
"""Writes what a node of a name needs to a directory: see `reference_cluster.credentials`."""


@attrs.frozen(kw_only=True)
class KubeletOptions:
    """What the kubelets are started with. Raises ValueError, in one sentence, for what they would not understand."""

    runtime: str = "process"
    isolation: str = "none"
    address: str = "127.0.0.1"
    pod_network: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "KubeletOptions":
        """Return those of a file: the names are those of `kubelib kubelet`'s options."""
        known = {field.name.replace("_", "-"): field.name for field in attrs.fields(cls)}
        for name, value in options.items():
            if name not in known:
                raise ValueError(f"The provider local has no option {name!r}: there are {', '.join(known)}.")
            if not isinstance(value, str):
                raise ValueError(f"The option {name} of the provider local is {value!r}, and no text.")
        made = cls(**{known[name]: value for name, value in options.items()})
        if made.isolation not in ("none", "pod"):
            raise ValueError(f"The option isolation is {made.isolation!r}: write none or pod.")
        open_runtime(made.runtime, Path(), made.settings)  # refused here, not by each node
        return made

    @property
    def settings(self) -> IsolationSettings:
        """How containers are kept apart."""
        return IsolationSettings(level="pod") if self.isolation == "pod" else NO_ISOLATION

    @property
    def arguments(self) -> list[str]:
        """As `kubelib kubelet` takes them."""
        said = attrs.asdict(self)
        return [
            word for name, value in said.items() if value for word in (f"--{name.replace('_', '-')}", value)
        ]


class NodeProcesses:
    """A `NodeProvider` of `kubelib kubelet` processes, while its context is open; those that end are started again meanwhile."""

    def __init__(
        self,
        templates: Sequence[NodeTemplate],
        directory: Path,
        write_credentials: WriteCredentials,
        options: KubeletOptions,
    ) -> None:
        self._templates = {template.name: template for template in templates}
        self._directory = directory
        self._write_credentials = write_credentials
        self._options = options
        self._started: dict[str, int] = {}
        """Children of ours: they may not have locked anything yet."""
        self._busy: set[str] = set()
        """Nodes that are being made or ended."""
        self._troubles: dict[str, tuple[int, float]] = {}
        """How often nodes had to be started again, and the time before which they are not."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["NodeProcesses"]:
        """Look after the nodes while the context is open. They go on when it is closed."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch)
            yield self
            group.cancel_scope.cancel()

    async def templates(self) -> Sequence[NodeTemplate]:
        """Return what can be had."""
        return tuple(self._templates.values())

    async def nodes(self) -> Sequence[ProvidedNode]:
        """Return the nodes that there are, whoever has made them, until nothing is left of them."""
        return tuple(self._found())

    async def add(self, template: str, names: Sequence[str]) -> Sequence[str]:
        """Make nodes, as many as the template allows, and start them."""
        found = self._templates.get(template)
        if found is None:
            raise ProviderError(
                f"there is no template {template!r}: there are {', '.join(self._templates) or 'none'}"
            )
        there = {node.name: node.template for node in self._found()}
        given = []
        for name in names:
            if name not in there:
                if sum(other == template for other in there.values()) >= found.maximum:
                    continue
                self._busy.add(name)
                try:
                    await anyio.to_thread.run_sync(self._make, name, found)
                    self._start(name)
                except OSError as error:
                    raise ProviderError(f"node {name} cannot be made: {error}") from None
                finally:
                    self._busy.discard(name)
                there[name] = template
            given.append(name)
        return given

    async def remove(self, name: str) -> None:
        """End a node's process and what runs there, and remove its directory."""
        home = self._directory / name
        if not (home / NODE).exists():
            return
        self._busy.add(name)
        try:
            await self._end(name)
            await clear_node(self._options.runtime, home / "data" / "nodes" / name, self._options.settings)
            await anyio.to_thread.run_sync(_remove_directory, home)
        except OSError as error:
            raise ProviderError(f"node {name} cannot be removed: {error}") from None
        finally:
            self._busy.discard(name)
            self._troubles.pop(name, None)

    # Directories

    def _found(self) -> Iterator[ProvidedNode]:
        for path in sorted(self._directory.glob(f"*/{NODE}")):
            with suppress(FileNotFoundError):  # another one removes it
                yield ProvidedNode(path.parent.name, json.loads(path.read_text())["template"])

    def _make(self, name: str, template: NodeTemplate) -> None:
        home = self._directory / name
        home.mkdir(exist_ok=True, mode=0o700)
        self._write_credentials(name, home)
        node = template.node(name)
        kept = {
            "template": template.name,
            "labels": dict(node.metadata.labels),
            "taints": [f"{taint.key}={taint.value}:{taint.effect}" for taint in template.taints],
            "capacity": dict(template.capacity),
        }
        written = home / f".{NODE}"
        written.write_text(json.dumps(kept))
        written.replace(home / NODE)

    # Processes

    def _start(self, name: str) -> None:
        home = self._directory / name
        kept = json.loads((home / NODE).read_text())
        command = [
            sys.executable, "-m", "reference_cluster", "kubelet", name,
            "--kubeconfig", str(home / "kubeconfig"), "--data-dir", str(home / "data"), "--port", "0",
            "--node-labels", _joined(kept["labels"]), "--capacity", _joined(kept["capacity"]),
            "--register-with-taints", ",".join(kept["taints"]), *self._options.arguments,
        ]  # fmt: skip
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # In a session of its own: an interrupt from the terminal is for whoever asked for it alone.
        self._started[name] = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(home / "kubelet.log"), output, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    def _process_of(self, name: str) -> int | None:
        """Return the process that is a node, whoever has started it."""
        child = self._started.get(name)
        if child is not None:
            with suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG) == (0, 0):
                    return child
            del self._started[name]
        return _owner(self._directory / name / "data" / "lock")

    async def _end(self, name: str) -> None:
        number, told = signal.SIGTERM, 0
        while True:
            with anyio.move_on_after(GRACE):
                while (pid := self._process_of(name)) is not None:
                    if (number, pid) != (signal.SIGTERM, told):  # told twice, it would drop everything
                        with suppress(ProcessLookupError):
                            os.kill(pid, number)
                        told = pid
                    for _ in range(int(1 / POLL)):
                        await anyio.sleep(POLL)
                        if self._process_of(name) is None:
                            return
                return
            number = signal.SIGKILL

    async def _watch(self) -> None:
        """Start again what has ended without being asked to."""
        while True:
            now = anyio.current_time()
            for node in self._found():
                times, until = self._troubles.get(node.name, (0, now))
                if node.name in self._busy or now < until:
                    continue
                if self._process_of(node.name) is not None:
                    self._troubles.pop(node.name, None)  # it has lasted
                    continue
                self._troubles[node.name] = (times + 1, now + AGAIN.delay(times))
                log.info("node %s is started again", node.name)
                try:
                    self._start(node.name)
                except OSError as error:
                    log.warning("node %s cannot be started: %s", node.name, error)
            await anyio.sleep(LOOK)


def _joined(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def _owner(lock: Path) -> int | None:
    """Return the process that has locked a data directory, or None."""
    with _opened(lock) as descriptor:
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else None
        return None


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_directory(home: Path) -> None:
    """Remove a node's directory; the file by which it is one goes last, so that nothing half removed is forgotten."""
    for path in home.iterdir():
        if path.name != NODE:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (home / NODE).unlink()
    home.rmdir()
