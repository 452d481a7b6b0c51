"""What Pods use, asked of the node agents of this process: what a metrics server knows elsewhere."""

from collections.abc import Mapping, Sequence

import anyio

from kubelib.api.core.pod import Pod
from kubelib.controllers.autoscaling import Usage
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.base import RuntimeFailure, SupportsStats
from kubelib.runtime.mirrors import local


class AgentMetrics:
    """Measures containers when it is asked. What they use of the processor is a rate, and needs to be asked twice."""

    def __init__(self) -> None:
        self.agents: dict[str, NodeAgent] = {}
        """By node."""
        self._seen: dict[str, tuple[float, float]] = {}

    async def usage(self, pods: Sequence[Pod]) -> Mapping[str, Usage]:
        """Return what Pods use, in thousandths, by their uid."""
        found: dict[str, Usage] = {}
        for pod in pods:
            agent = self.agents.get(pod.spec.node_name)
            worker = agent.workers.get(local(pod).metadata.uid) if agent is not None else None
            if agent is None or worker is None or not isinstance(agent.runtime, SupportsStats):
                continue
            usage: dict[str, Mapping[str, int]] = {}
            for container in worker.containers:
                if container.state != "running":
                    continue
                try:
                    stats = await agent.runtime.stats(container.id)
                except (RuntimeFailure, OSError):
                    continue
                values = {"memory": stats.memory * 1000}
                now = anyio.current_time()
                before = self._seen.get(container.id)
                self._seen[container.id] = (now, stats.cpu_seconds)
                if before is not None and now > before[0]:
                    rate = (stats.cpu_seconds - before[1]) / (now - before[0])
                    values["cpu"] = max(0, round(rate * 1000))
                usage[container.name] = values
            if usage:
                found[pod.metadata.uid] = usage
        self._forget()
        return found

    def _forget(self) -> None:
        """Forget containers that nobody has asked about for long."""
        oldest = anyio.current_time() - 3600
        self._seen = {name: seen for name, seen in self._seen.items() if seen[0] > oldest}
