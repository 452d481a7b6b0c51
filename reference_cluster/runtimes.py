"""Runtimes by name; further ones register in the entry point group ``kubelib.runtimes``."""

import logging
import shutil
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import attrs

from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.runtime.base import Runtime, Sandbox
from kubelib.runtime.volumes import free_memory

RUNTIMES = ("docker", "fake", "podman", "process")
ENGINES = ("docker", "podman")
"""Those whose containers have networks of their own."""
ENTRY_POINTS = "kubelib.runtimes"

log = logging.getLogger("kubelib")


@attrs.frozen(kw_only=True)
class IsolationSettings:
    """How the runtime ``process`` keeps containers apart."""

    level: Literal["none", "pod"] = "none"
    images: Path | None = None
    """Where unpacked images are; None: below the node's own directory."""
    pids: int | None = None
    """How many processes a container may have, on container engines too; None: as many as the machine, or the engine, lets it."""
    network: str = ""
    """Where Pods that have networks of their own get their addresses; empty: all of them have the host's network."""


NO_ISOLATION = IsolationSettings()


def own_pod_networks(isolation: IsolationSettings) -> bool:
    """Return whether Pods may have networks of their own; where isolation is asked for and they may not, it is said why."""
    from kubelib.runtime.isolation.network import obstacle

    if isolation.level == "none":
        return False
    if why := obstacle():
        log.warning("Pods share this host's network: %s", why)
    return not why


def with_network(isolation: IsolationSettings, pod_network: str) -> IsolationSettings:
    """Return how Pods are kept apart whose addresses are in `pod_network`: loopback addresses are the host's own."""
    from kubelib.runtime.node import is_loopback

    return attrs.evolve(isolation, network="" if is_loopback(pod_network) else pod_network)


def node_annotations(runtime: str, isolation: IsolationSettings) -> dict[str, str]:
    """Return what a node says of how its containers are kept apart, where that is this project's own doing."""
    from kubelib.runtime.isolation.plan import ANNOTATION, shared_with_host
    from kubelib.runtime.isolation.seccomp import is_available
    from kubelib.runtime.processnames import can_show

    if runtime != "process":
        return {}
    shared = shared_with_host(
        isolation.level, network=bool(isolation.network), seccomp=is_available(), hosts=can_show()
    )
    return {ANNOTATION: shared}


def open_runtime(
    name: str, root: Path, isolation: IsolationSettings = NO_ISOLATION
) -> AbstractAsyncContextManager[Runtime]:
    """Return a context manager that opens a runtime whose files are below `root`.

    A plug-in is a callable that takes the directory and returns such a context manager. Raises ValueError, naming the
    runtimes that there are, for an unknown one.
    """
    _refuse_what_has_no_effect(name, isolation)
    if name == "process":
        from kubelib.runtime.process import ProcessRuntime

        return ProcessRuntime(
            root / "runtime",
            isolation=isolation.level,
            images=isolation.images,
            network=isolation.network,
        )
    if name == "fake":
        from kubelib.runtime.fake import FakeRuntime

        return FakeRuntime(random=system_random(), clock=SYSTEM_CLOCK)
    if name == "docker":
        try:
            from kubelib.runtime.docker import DockerRuntime
        except ModuleNotFoundError as error:
            raise _not_installed(name, error) from None
        return DockerRuntime(str(root.absolute()))
    if name == "podman":
        try:
            from kubelib.runtime.podman import PodmanRuntime
        except ModuleNotFoundError as error:
            raise _not_installed(name, error) from None
        return PodmanRuntime(str(root.absolute()))
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in plugins:
        opened: AbstractAsyncContextManager[Runtime] = plugins[name].load()(root / "runtime")
        return opened
    raise ValueError(
        f"there is no runtime {name!r}: choose one of {', '.join((*RUNTIMES, *sorted(plugins)))}"
    )


async def end_pods(
    name: str, root: Path, isolation: IsolationSettings = NO_ISOLATION, *, grace: float = 0.0
) -> int:
    """End what a node that has ended has left running, and return how many Pods that were. Their logs stay, and their volumes on disk.

    Containers are asked to end, and killed after `grace` seconds. Those that the runtime process has isolated are ended as such,
    whatever `isolation` says: their namespaces, networks and control groups end with them.
    """
    if name == "process":
        from kubelib.runtime.processstate import network_left

        if (network := network_left(root / "runtime")) is not None:
            isolation = attrs.evolve(isolation, level="pod", network=network)
    async with open_runtime(name, root, isolation) as runtime:
        sandboxes = await runtime.list_sandboxes()
        async with anyio.create_task_group() as group:
            for sandbox in sandboxes:
                group.start_soon(_end, runtime, sandbox, grace)
    await anyio.to_thread.run_sync(free_memory, root / "volumes")
    return len(sandboxes)


async def _end(runtime: Runtime, sandbox: Sandbox, grace: float) -> None:
    async with anyio.create_task_group() as group:
        for container in sandbox.containers:
            if container.state == "running" and grace > 0:
                group.start_soon(partial(runtime.stop_container, container.id, grace=grace))
    await runtime.remove_sandbox(sandbox.id)


async def clear_node(name: str, root: Path, isolation: IsolationSettings = NO_ISOLATION) -> None:
    """End what a node has left that is gone for good, and remove its files: nobody knows of its Pods any more."""
    await end_pods(name, root, isolation)
    await anyio.to_thread.run_sync(partial(shutil.rmtree, root, ignore_errors=True))


def _refuse_what_has_no_effect(name: str, isolation: IsolationSettings) -> None:
    if isolation.level != "none" and name != "process":
        raise ValueError(f"--isolation is for the runtime process: {name} isolates as it does")
    if isolation.images is not None and isolation.level == "none":
        why = "without it containers have the host's files" if name == "process" else f"{name} has its own"
        raise ValueError(f"--image-dir is for the runtime process with --isolation pod: {why}")
    if isolation.pids is not None and isolation.level == "none" and name in ("fake", "process"):
        why = (
            "without it containers have no control groups"
            if name == "process"
            else "fake starts no processes"
        )
        raise ValueError(f"--pod-max-pids is for container engines and for --isolation pod: {why}")


def _not_installed(name: str, error: ModuleNotFoundError) -> ValueError:
    return ValueError(
        f"the runtime {name} needs the package {error.name}: pip install 'kubelib-cluster[{name}]'"
    )
