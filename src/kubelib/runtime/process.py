"""Containers as child processes: no daemon, nothing to install, isolation as far as the caller's rights go.

A container has a directory of its own, its own environment and nothing of the agent's, a process session of its own, a memory
limit as an rlimit, and its output in a log file. It runs on the host's file system: an image is only a name, and the command
must be given. As root, with isolation ``pod``, it has namespaces, control groups and a root of its own: see
`kubelib.runtime.isolation`. Without that, what it mounts is found below ``$KUBELIB_ROOT``: a volume mounted at ``/etc/config`` is
the directory ``$KUBELIB_ROOT/etc/config``. What is not isolated: files, network (a Pod listens on its own loopback address, given as
``$POD_IP``), the process table, users. Where this process may mount, ``/etc/hosts`` and ``/etc/resolv.conf`` are the Pod's even so, and
so is the host name: see `kubelib.runtime.processnames`.

Each container's parent is a small shim (`kubelib.runtime.shim`) that outlives the agent: an agent that is started again finds
what runs, and how what ended has ended.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
import anyio.to_thread
from anyio.abc import ByteStream

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.runtime import processnames
from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.attachment import Attachment, connect_shim
from kubelib.runtime.background import Background
from kubelib.runtime.base import (
    CannotResize,
    CannotStart,
    ContainerId,
    ContainerSpec,
    Credentials,
    ImageId,
    ImageNotFound,
    NoSuchContainer,
    Resources,
    RuntimeEvent,
    Sandbox,
    SandboxId,
    SandboxSpec,
)
from kubelib.runtime.bell import Bell
from kubelib.runtime.commands import RunsCommands
from kubelib.runtime.forward import connect_inside
from kubelib.runtime.isolation import seccomp
from kubelib.runtime.isolation.cgroups import groups_of
from kubelib.runtime.isolation.holders import Holders, holder_of
from kubelib.runtime.isolation.holders import written as noted
from kubelib.runtime.isolation.images import Images
from kubelib.runtime.isolation.network import Network
from kubelib.runtime.isolation.plan import (
    Isolator,
    Level,
    check_rights,
    entrance_note,
    shared_with_host,
)
from kubelib.runtime.news import News
from kubelib.runtime.processspec import in_the_open, shut_in, with_devices_mounted
from kubelib.runtime.processstate import (
    ISOLATED,
    claim,
    container_of,
    containers_of,
    exit_of,
    has_shim,
    is_alive,
    is_unborn,
    json_of,
    kill,
    leave_groups,
    state_of,
    terminate,
    until_started,
    write_json,
)
from kubelib.runtime.processstream import ProcessStream, run_inside
from kubelib.runtime.processusage import accounted, limit_memory, usage_of

log = logging.getLogger("kubelib.runtime")

_SHIM = str(Path(__file__).with_name("shim.py"))
STOPPED = "stopped"
"""What is noted of a sandbox that has given up its address and namespaces."""


class ProcessRuntime(Background, RunsCommands):
    """A `kubelib.runtime.base.Runtime` of child processes, all of it below one directory."""

    name = "process"

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock = SYSTEM_CLOCK,
        isolation: Level = "none",
        images: Path | None = None,
        pids_limit: int | None = None,
        network: str = "",
    ) -> None:
        """Make a runtime. With isolation ``pod``, which needs root, containers are shut in, and `images` are unpacked ones.

        `pids_limit` is how many processes a container may have then, and Pods whose addresses are in `network` (a CIDR; empty: none)
        have networks of their own.
        """
        self.root = root.absolute()
        self.isolation: Level = isolation
        self._isolator: Isolator | None = None
        if isolation != "none":
            found = Images((images or self.root / "images").absolute(), self.root / "unpacked")
            prefix = f"kubelib-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"
            self._isolator = Isolator(found, prefix, pids_limit=pids_limit)
            self._holders = Holders(Network(network, prefix) if network else None)
        self._clock = clock
        self._bell = Bell(self.root / "bell")
        self._news = News()
        self._commands: dict[Path, set[ProcessStream]] = {}
        """By container: the commands that run in it."""

    async def _begin(self, group: anyio.abc.TaskGroup) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._isolator is not None:
            await anyio.to_thread.run_sync(check_rights, self.root / f"attempt-{os.getpid()}")
            await anyio.to_thread.run_sync(self._holders.check_rights)
            # For whoever ends what is left here without knowing how it was made.
            network = self._holders.network
            write_json(self.root / ISOLATED, {"network": str(network.cidr) if network is not None else ""})
        log.info("containers share with this host: %s", self.not_isolated)
        self._bell.open()
        group.start_soon(self._bell.listen, self._heard)
        if self._isolator is None and self.own_hosts:
            group.start_soon(processnames.keep_shown, self._containers)
        if self._isolator is not None:
            await self._holders.open(
                group,
                {directory.name: (directory, note) for directory, note in self._notes()},
                lambda uid: self._news.tell(RuntimeEvent("exited", uid)),
            )

    def _finish(self) -> None:
        self._bell.close()

    @property
    def own_hosts(self) -> bool:
        """Whether containers see ``/etc/hosts`` and ``/etc/resolv.conf`` as their Pod has them."""
        return self._isolator is not None or processnames.can_show()

    @property
    def not_isolated(self) -> str:
        """What containers share with this host."""
        network = self._isolator is not None and self._holders.network is not None
        return shared_with_host(
            self.isolation, network=network, seccomp=seccomp.is_available(), hosts=self.own_hosts
        )

    # Images

    async def pull(self, image: str, *, credentials: Credentials | None = None) -> ImageId:
        """Unpack an image that is in the directory of images; any other is only a name. Raises `ImageNotFound`."""
        if self._isolator is not None:
            found = await anyio.to_thread.run_sync(self._isolator.image, image)
            if found is not None:
                return ImageId(found.identity)
        return ImageId(f"process://{image}")

    async def has_image(self, image: str) -> bool:
        """Return True: every name will do."""
        return True

    @property
    def image_volumes(self) -> bool:
        """Whether there is a directory of images."""
        return self._isolator is not None

    async def image_volume(self, image: str) -> Path:
        """Return the root of an image that is in the directory of images. Raises `ImageNotFound`."""
        found = (
            await anyio.to_thread.run_sync(self._isolator.image, image)
            if self._isolator is not None
            else None
        )
        if found is None:
            raise ImageNotFound(f"image {image!r} is not in the directory of images")
        return found.root

    @property
    def mount_options(self) -> bool:
        """Whether containers have mounts of their own."""
        return self._isolator is not None

    has_devices = True

    # Sandboxes

    def _sandbox(self, uid: str) -> Path:
        return self.root / "sandboxes" / uid

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxId:
        """Create the directory of a Pod and, where it is isolated, its namespaces, or return those that it has. Raises `CannotCreate`."""
        directory = self._sandbox(spec.uid)
        known = json_of(directory / "sandbox.json")
        lacking = self._isolator is not None and holder_of(directory) is None
        if known is None or lacking or STOPPED in known:
            directory.mkdir(parents=True, exist_ok=True)
            written = {
                "uid": spec.uid,
                "namespace": spec.namespace,
                "name": spec.name,
                "hostname": spec.hostname,
                "address": spec.address,
                "annotations": dict(spec.annotations),
                "host_network": spec.host_network,
                "host_pid": spec.host_pid,
                "host_ipc": spec.host_ipc,
                "created": known["created"] if known is not None else self._clock.now().isoformat(),
            }
            if self._isolator is not None:
                written |= noted(spec, self._holders.network)
            else:
                written |= processnames.noted(directory, spec)
            write_json(directory / "sandbox.json", written)
        if lacking:
            await self._holders.hold(spec.uid, directory, written)
        return SandboxId(spec.uid)

    async def stop_sandbox(self, sandbox: SandboxId) -> None:
        """Kill what runs for a Pod, and give up what its containers share."""
        directory = self._sandbox(sandbox)
        note = json_of(directory / "sandbox.json")
        if note is None or STOPPED in note:
            return
        await self._end_sandbox(sandbox, directory)
        # Not before it is true: where that is interrupted, it is done again.
        write_json(directory / "sandbox.json", {**note, STOPPED: True})

    async def remove_sandbox(self, sandbox: SandboxId) -> None:
        """Kill and remove what is left of a Pod."""
        directory = self._sandbox(sandbox)
        await self._end_sandbox(sandbox, directory)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))
        self._news.tell(RuntimeEvent("removed", sandbox))

    async def _end_sandbox(self, sandbox: SandboxId, directory: Path) -> None:
        """Kill what runs for a Pod; no namespace, device or control group of it is left."""
        for container in containers_of(directory):
            kill(container)
        with anyio.move_on_after(10):
            while any(is_alive(container) or has_shim(container) for container in containers_of(directory)):
                await anyio.sleep(0.01)
        for container in containers_of(directory):
            self._end_commands(container)
        for container in containers_of(directory):
            await leave_groups(container)
        if self._isolator is not None:
            self._isolator.leave_sandbox(sandbox)
            await self._holders.release(sandbox, directory)

    async def limit_sandbox(self, sandbox: SandboxId, resources: Resources) -> None:
        """Change what a Pod's containers may use together. Without isolation that is not limited."""
        directory = self._sandbox(sandbox)
        if not directory.exists():
            raise NoSuchContainer(f"there is no sandbox {sandbox}")
        if self._isolator is not None:
            specs = (json_of(container / "spec.json") for container in containers_of(directory))
            noted = [groups_of(spec["isolation"]["note"]) for spec in specs if spec is not None]
            await anyio.to_thread.run_sync(self._isolator.limit_sandbox, sandbox, noted, resources)

    def _notes(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        base = self.root / "sandboxes"
        for directory in sorted(base.iterdir()) if base.exists() else ():
            if (
                note := json_of(directory / "sandbox.json")
            ) is not None:  # else it is being made, or being removed
                yield directory, note

    def _containers(self) -> Iterator[Path]:
        for directory, _ in self._notes():
            yield from containers_of(directory)

    def _told(self, directory: Path, note: dict[str, Any]) -> Sandbox:
        return Sandbox(
            id=SandboxId(note["uid"]),
            uid=note["uid"],
            namespace=note["namespace"],
            name=note["name"],
            address="" if STOPPED in note else note["address"],
            ready=STOPPED not in note and (self._isolator is None or holder_of(directory) is not None),
            created=datetime.fromisoformat(note["created"]),
            containers=tuple(container_of(container) for container in containers_of(directory)),
            annotations=note["annotations"],
        )

    async def list_sandboxes(self) -> tuple[Sandbox, ...]:
        """Return everything that there is."""
        return tuple(self._told(directory, note) for directory, note in self._notes())

    async def sandbox(self, uid: str) -> Sandbox | None:
        """Return one sandbox, or None."""
        directory = self._sandbox(uid)
        note = json_of(directory / "sandbox.json")
        return self._told(directory, note) if note is not None else None

    async def connect(self, sandbox: SandboxId, port: int) -> ByteStream:
        """Connect to a port of a Pod: one of its loopback device or, where nobody listens there, of its address."""
        directory = self._sandbox(sandbox)
        note = json_of(directory / "sandbox.json")
        if note is None or STOPPED in note:
            raise NoSuchContainer(f"there is no sandbox {sandbox}, or it has ended")
        holder = holder_of(directory) if "net" in note.get("namespaces", ()) else None
        if holder is not None:
            with contextlib.suppress(ConnectionRefusedError):
                return await connect_inside(holder, port)
        return await anyio.connect_tcp(note["address"], port)

    # Containers

    async def start_container(self, sandbox: SandboxId, container: ContainerSpec) -> ContainerId:
        """Start a process under a shim. Raises `CannotStart` if there is no such command or directory."""
        base = self._sandbox(sandbox)
        note = json_of(base / "sandbox.json")
        if note is None or STOPPED in note:
            raise NoSuchContainer(f"there is no sandbox {sandbox}, or it has ended")
        directory = base / "containers" / f"{container.name}-{container.attempt}"
        if directory.exists() and is_unborn(directory):
            await self.remove_container(ContainerId(str(directory)))
        directory.mkdir(parents=True, exist_ok=True)
        container = with_devices_mounted(container)
        spec: dict[str, Any] = {
            "name": container.name,
            "image": container.image,
            "attempt": container.attempt,
            "log": container.log_path or str(directory / "log"),
            "stdin": container.stdin,
            "stdin_once": container.stdin_once,
            "tty": container.tty,
            "bell": str(self._bell.path),
            "annotations": dict(container.annotations),
            "created": self._clock.now().isoformat(),
            "groups": list(container.security.supplemental_groups) if os.geteuid() == 0 else [],
        }
        if self._isolator is None:
            spec |= in_the_open(directory, container, processnames.names_of(base, note, container))
        else:
            spec |= await shut_in(self._isolator, base, container)
        if container.tty:
            spec["env"].setdefault("TERM", "xterm")
        launched = self._launch(directory, spec, container)
        try:
            await until_started(directory)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(launched.wait)
        ended = exit_of(directory)
        if ended is not None and "failure" in ended:
            raise CannotStart(f"failed to start container {container.name!r}: {ended['failure']}")
        identity = ContainerId(str(directory))
        self._news.tell(RuntimeEvent("started", sandbox, identity))
        return identity

    def _launch(
        self, directory: Path, spec: dict[str, Any], container: ContainerSpec
    ) -> "subprocess.Popen[bytes]":
        claimed = claim(directory)
        try:
            # Before there is anything to clean up, it is written down what there will be.
            (directory / "spec.json").write_text(json.dumps(spec))
            if self._isolator is not None:
                (directory / "entrance").write_bytes(entrance_note(spec))
                self._isolator.make_groups(groups_of(spec["isolation"]["note"]), container.resources)
            return subprocess.Popen(
                [sys.executable, "-I", "-S", _SHIM, str(directory), str(claimed)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                pass_fds=(claimed,),
            )
        finally:
            os.close(claimed)

    async def stop_container(self, container: ContainerId, *, grace: float) -> None:
        """Send SIGTERM to the container's first process, SIGKILL to all of its group after `grace` seconds."""
        directory = Path(container)
        if grace > 0:
            terminate(directory)
            with anyio.move_on_after(grace):
                while is_alive(directory):
                    await anyio.sleep(0.02)
        while is_alive(directory):
            kill(directory)
            await anyio.sleep(0.02)
        self._end_commands(directory)

    async def remove_container(self, container: ContainerId) -> None:
        """Forget an ended container."""
        directory = Path(container)
        if is_alive(directory):
            await self.stop_container(container, grace=0)
        with anyio.move_on_after(10):
            while has_shim(directory):  # it has noted the end, and is about to go
                await anyio.sleep(0.01)
        await leave_groups(directory)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))

    # Events

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent]]:
        """Report starts and ends, as the shims ring the bell."""
        return self._news.events()

    def _heard(self, line: str) -> None:
        """Tell what has become of a container, whose directory a shim has named."""
        directory = Path(line)
        kind: Literal["started", "exited"] = "exited" if (directory / "exit.json").exists() else "started"
        if kind == "exited":
            self._end_commands(directory)
        self._news.tell(RuntimeEvent(kind, directory.parent.parent.name, ContainerId(str(directory))))

    def _end_commands(self, container: Path) -> None:
        """End what was run in a container that has ended."""
        for command in self._commands.get(container, ()):
            command.kill()

    # Exec

    @asynccontextmanager
    async def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator["ProcessStream"]:
        """Run a command with open streams; leaving the context, or the end of the container, ends it."""
        stream = run_inside(Path(container), command, stdin=stdin, tty=tty)
        running = self._commands.setdefault(Path(container), set())
        running.add(stream)
        try:
            yield stream
        finally:
            running.discard(stream)
            if not running:
                self._commands.pop(Path(container), None)
            stream.close()

    @asynccontextmanager
    async def attach(self, container: ContainerId, *, stdin: bool) -> AsyncIterator["Attachment"]:
        """Open the streams of a container, which its shim holds."""
        directory = Path(container)
        if not is_alive(directory):
            raise NoSuchContainer(f"container {directory.name} is not running")
        async with await connect_shim(directory) as stream:
            attachment = Attachment(stream)
            await attachment.greet(stdin=stdin)
            yield attachment

    async def resize_container(self, container: ContainerId, resources: Resources) -> None:
        """Change the limits of a container's control groups or, without isolation, of each of its processes."""
        directory = Path(container)
        state = state_of(directory)
        if state is None or not is_alive(directory):
            raise NoSuchContainer(f"container {directory.name} is not running")
        isolation = (json_of(directory / "spec.json") or {}).get("isolation")
        try:
            if isolation is not None:
                groups = groups_of(isolation["note"])
                await anyio.to_thread.run_sync(groups.limit, resources)
            elif resources.memory is not None:
                await anyio.to_thread.run_sync(limit_memory, state, resources.memory)
        except OSError as error:
            raise CannotResize(f"failed to change the limits of {directory.name}: {error}") from error

    async def stats(self, container: ContainerId) -> ContainerStats:
        """Return what the container's processes use, from /proc, those included that have left their parent."""
        directory = Path(container)
        state = state_of(directory)
        if state is None or not is_alive(directory):
            raise NoSuchContainer(f"container {directory.name} is not running")
        found = await anyio.to_thread.run_sync(usage_of, state)
        isolation = (json_of(directory / "spec.json") or {}).get("isolation")
        return accounted(found, groups_of(isolation["note"]).figures()) if isolation else found
