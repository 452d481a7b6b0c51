"""From what a container asks for to what its shim is told, with and without isolation."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import attrs

from kubelib.runtime.base import CannotCreate, ContainerSpec, Mount, NoSuchContainer
from kubelib.runtime.containers import check_non_root
from kubelib.runtime.isolation.holders import holder_of
from kubelib.runtime.isolation.plan import Isolator
from kubelib.runtime.processstate import json_of, state_of

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def with_devices_mounted(container: ContainerSpec) -> ContainerSpec:
    """Return a container that sees its devices where it mounts them: processes may use what they see, as the files' modes say."""
    devices = (Mount(device.source, device.target) for device in container.devices)
    return attrs.evolve(container, mounts=[*container.mounts, *devices]) if container.devices else container


def in_the_open(directory: Path, container: ContainerSpec, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how a container is started on the host's file system, `names` being what it sees of its own there.

    Raises `CannotCreate`, `BadContainerConfig`.
    """
    # As with an image that has no entry point, arguments alone are a command.
    if not (container.command or container.args):
        raise CannotCreate(
            f"no command specified: the process runtime runs commands of the host, image {container.image!r} is only a name"
        )
    # What has no user of its own runs as this process does.
    check_non_root(container, str(os.geteuid()))
    root = directory / "root"
    root.mkdir(parents=True, exist_ok=True)
    in_place = {place for _, place in names["files"]} if names is not None else set()
    for mount in container.mounts:
        if mount.target not in in_place:
            _link(root, mount.source, mount.target)
    working = Path(container.working_dir) if container.working_dir else root
    return {
        "argv": [*container.command, *container.args],
        "env": {"PATH": DEFAULT_PATH, "HOME": str(root), "KUBELIB_ROOT": str(root), **container.env},
        "directory": str(working if working.is_dir() else root / container.working_dir.lstrip("/")),
        "memory": container.resources.memory,
        "user": container.user,
        "group": container.group,
        "names": names,
    }


async def shut_in(isolator: Isolator, base: Path, container: ContainerSpec) -> dict[str, Any]:
    """Return how a container is started in namespaces of its own. Raises `CannotCreate`, `CannotStart`, `ImageNotFound`."""
    sandbox, holder = json_of(base / "sandbox.json"), holder_of(base)
    if sandbox is None or holder is None:
        raise NoSuchContainer(f"sandbox {base.name} has ended")
    target = state_of(Path(container.target)) if container.target else None
    plan = await anyio.to_thread.run_sync(
        lambda: isolator.plan(
            sandbox,
            container,
            path=DEFAULT_PATH,
            directory=base,
            holder=holder,
            target=target["pid"] if target is not None else None,
        )
    )
    return {
        "argv": list(plan.argv),
        "env": dict(plan.env),
        "directory": plan.directory,
        "memory": None,
        "user": plan.user,
        "group": plan.group,
        "image_id": plan.image_id,
        "isolation": dict(plan.isolation),
    }


def _link(root: Path, source: str, target: str) -> None:
    """Make a volume visible below the container's root."""
    place = root / target.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        place.symlink_to(source)
