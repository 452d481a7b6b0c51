"""The hooks of containers: what is run after their start, and before their end."""

from typing import TYPE_CHECKING

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import LifecycleHandler
from kubelib.runtime.base import ContainerId
from kubelib.runtime.probes import check

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent


async def call_hook(
    agent: "NodeAgent",
    pod: Pod,
    hook: LifecycleHandler,
    definition: ContainerDefinition,
    identity: ContainerId,
    address: str,
    timeout: float,
) -> str | None:
    """Run a hook of a container, at most for `timeout` seconds; return None if it has succeeded, else why not."""

    def tell(text: str) -> None:
        agent.counts.fallbacks += 1
        agent.recorder.warning(pod, "LifecycleHTTPFallback", text)

    return await check(hook, definition, identity, agent.runtime, address, timeout, tell)
