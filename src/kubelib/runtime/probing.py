"""The probes of one Pod: each container that runs has those that it is due, and what they find is remembered."""

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.runtime import lifecycle
from kubelib.runtime.base import Container, ContainerId, RuntimeFailure
from kubelib.runtime.probes import Kind, check, watch_probe
from kubelib.runtime.surroundings import Surroundings
from kubelib.runtime.words import container_of


class Probing:
    """Probes the containers of a Pod."""

    def __init__(
        self, here: Surroundings, memory: lifecycle.Memory, group: TaskGroup, wake: Callable[[], None]
    ) -> None:
        """Probe in the tasks of `group`; write what is found into `memory`, and call `wake` if it is news."""
        self._here = here
        self._memory = memory
        self._group = group
        self._wake = wake
        self._running: dict[tuple[ContainerId, Kind], anyio.CancelScope] = {}

    def keep(self, pod: Pod, containers: tuple[Container, ...], address: str) -> None:
        """Probe those of a Pod's containers that run, and nothing else."""
        wanted: dict[tuple[ContainerId, Kind], tuple[ContainerDefinition, Container]] = {}
        definitions = {d.name: d for d in (*pod.spec.init_containers, *pod.spec.containers)}
        for container in containers:
            definition = definitions.get(container.name)
            if container.state != "running" or definition is None:
                continue
            started = definition.startup_probe is None or self._memory.started.get(container.id, False)
            if not started:
                wanted[container.id, "startup"] = (definition, container)
                continue
            if definition.liveness_probe is not None:
                wanted[container.id, "liveness"] = (definition, container)
            if definition.readiness_probe is not None:
                wanted[container.id, "readiness"] = (definition, container)
        for key in self._running.keys() - wanted.keys():
            self._running.pop(key).cancel()
        for key, (definition, container) in wanted.items():
            if key not in self._running:
                scope = self._running[key] = anyio.CancelScope()
                self._group.start_soon(self._probe, scope, pod, definition, container, key[1], address)

    async def _probe(
        self,
        scope: anyio.CancelScope,
        pod: Pod,
        definition: ContainerDefinition,
        container: Container,
        kind: Kind,
        address: str,
    ) -> None:
        probe = {
            "startup": definition.startup_probe,
            "liveness": definition.liveness_probe,
            "readiness": definition.readiness_probe,
        }[kind]
        runtime = self._here.runtime
        assert probe is not None

        about = container_of(pod, definition.name)
        recorder, what = self._here.recorder, f"{kind.capitalize()} probe"

        def warn(text: str) -> None:
            recorder.warning(about, "ProbeWarning", f"{what} warning: {text}")

        async def once() -> str | None:
            timeout = float(probe.timeout_seconds or 1)
            try:
                why = await check(probe, definition, container.id, runtime, address, timeout, warn)
            except RuntimeFailure as error:
                recorder.warning(about, "Unhealthy", f"{what} errored and resulted in unknown state: {error}")
                raise
            meta, result = pod.metadata, "successful" if why is None else "failed"
            key = (definition.name, meta.namespace, meta.name, meta.uid, kind.capitalize(), result)
            self._here.counts.probes[key] += 1
            if why is not None:
                recorder.warning(about, "Unhealthy", f"{what} failed: {why}")
            return why

        now = self._here.clock.now()
        age = (now - (container.started or now)).total_seconds()
        with scope:
            await watch_probe(probe, once, self._reporter(container, kind, scope), age=age)

    def _reporter(
        self, container: Container, kind: Kind, scope: anyio.CancelScope
    ) -> Callable[[bool, str], None]:
        memory = self._memory

        def report(good: bool, why: str) -> None:
            match kind:
                case "readiness":
                    changed = memory.ready.get(container.id) is not good
                    memory.ready[container.id] = good
                case "startup" if good:
                    changed = True
                    memory.started[container.id] = True
                case _:
                    changed = not good
                    if not good:
                        memory.condemned[container.id] = lifecycle.Condemnation(kind, why)
                        scope.cancel()  # nobody asks what is being ended
            if changed:
                self._wake()

        return report
