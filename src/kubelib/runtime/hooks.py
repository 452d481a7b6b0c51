"""The hooks of containers: what is run after their start, and before their end."""

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import LifecycleHandler
from kubelib.runtime.base import ContainerId
from kubelib.runtime.probes import check
from kubelib.runtime.surroundings import Surroundings
from kubelib.runtime.words import in_full, quoted


async def call_hook(
    here: Surroundings,
    pod: Pod,
    hook: LifecycleHandler,
    definition: ContainerDefinition,
    identity: ContainerId,
    address: str,
    timeout: float,
) -> str | None:
    """Run a hook of a container, at most for `timeout` seconds; return None if it has succeeded, else what of it failed, and why."""

    def tell(text: str) -> None:
        here.counts.fallbacks += 1
        here.recorder.warning(pod, "LifecycleHTTPFallback", text)

    why = await check(hook, definition, identity, here.runtime, address, timeout, tell)
    if why is None:
        return None
    where = f"for Container {quoted(definition.name)} in Pod {quoted(in_full(pod))}"
    return f"{_described(hook)} {where} failed - error: {why}"


def _described(hook: LifecycleHandler) -> str:
    if hook.exec is not None:
        return f"Exec lifecycle hook ([{' '.join(hook.exec.command)}])"
    if hook.http_get is not None:
        return f"HTTP lifecycle hook ({hook.http_get.path})"
    return f"Sleep lifecycle hook ({hook.sleep.seconds})" if hook.sleep is not None else "Lifecycle hook"
