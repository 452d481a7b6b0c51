"""What tests of the node agent wait for."""

from typing import Any

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import ExecAction, Probe
from kubelib.api.errors import NotFound
from tests.runtime.conftest import SimNode


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


def is_ready(pod: Pod) -> bool:
    return condition(pod, "Ready") == "True"


def condition(pod: Pod, kind: str) -> str:
    return next((c.status for c in pod.status.conditions if c.type == kind), "")


async def starts(node: SimNode, *, until: float, name: str = "main") -> list[float]:
    """Return at which seconds a container was started, watching until a moment of virtual time."""
    began = anyio.current_time()
    seen: dict[int, float] = {}
    async with node.runtime.events() as events:
        with anyio.move_on_after(until):
            async for event in events:
                if event.type == "started":
                    seen[len(seen)] = round(anyio.current_time() - began, 1)
    return list(seen.values())


def exec_probe(**more: Any) -> Probe:
    return Probe(exec=ExecAction(command=("check",)), **more)


async def gone(node: SimNode, *, name: str = "a", within: float = 60) -> None:
    with anyio.fail_after(within):
        while True:
            try:
                await node.pod(name)
            except NotFound:
                return
            await anyio.sleep(0.1)
