"""What others ask of a node's containers: logs, commands, connections. Free of any transport."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import anyio
from anyio.abc import ByteStream

from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, BadRequest, InternalError, NotFound
from kubelib.runtime.abilities import ExecStream, SupportsAttach, SupportsConnections, SupportsExec
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.base import CannotStart, Container, ContainerId, NoSuchContainer, SandboxId
from kubelib.runtime.lifecycle import latest, previous
from kubelib.runtime.logs import read_log
from kubelib.runtime.mirrors import local


class PodOperations:
    """The operations on one node's Pods. Errors are ApiErrors."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent

    async def _containers(self, pod: Pod) -> tuple[Container, ...]:
        for sandbox in await self._agent.runtime.list_sandboxes():
            if sandbox.uid == pod.metadata.uid:
                return sandbox.containers
        return ()

    async def _running(self, pod: Pod, name: str) -> ContainerId:
        container = latest(await self._containers(pod)).get(name)
        if container is None or container.state != "running":
            raise InternalError(f'unable to upgrade connection: container not found ("{name}")')
        return container.id

    @asynccontextmanager
    async def logs(
        self,
        pod: Pod,
        container: str,
        *,
        follow: bool = False,
        previously: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read a container's log."""
        pod = local(pod)
        containers = await self._containers(pod)
        found = (previous(containers) if previously else latest(containers)).get(container)
        if found is None:
            if previously:
                raise BadRequest(
                    f'previous terminated container "{container}" in pod "{pod.metadata.name}" not found'
                )
            raise BadRequest(
                f'container "{container}" in pod "{pod.metadata.name}" is waiting to start: ContainerCreating'
            )
        attempt = found.attempt
        worker = self._agent.workers.get(pod.metadata.uid)

        def ended() -> bool:
            if worker is None or pod.metadata.uid not in self._agent.workers:
                return True
            now = latest(worker.containers).get(container)
            return now is None or now.attempt != attempt or now.state != "running"

        chunks = read_log(
            self._agent.log_path(pod, container, attempt),
            follow=follow,
            tail=tail,
            since=since,
            timestamps=timestamps,
            limit=limit,
            ended=ended,
        )
        try:
            yield chunks
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    @asynccontextmanager
    async def exec(
        self, pod: Pod, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator[ExecStream]:
        """Run a command in a container."""
        runtime = self._agent.runtime
        if not isinstance(runtime, SupportsExec):
            raise BadRequest(f"the runtime {runtime.name} cannot run commands in containers")
        identity = await self._running(local(pod), container)
        opened: AbstractAsyncContextManager[ExecStream] = runtime.exec_stream(
            identity, command, stdin=stdin, tty=tty
        )
        try:
            async with opened as stream:
                yield stream
        except (CannotStart, NoSuchContainer) as error:
            raise _exec_error(error) from None

    @asynccontextmanager
    async def attach(self, pod: Pod, container: str, *, stdin: bool) -> AsyncIterator[ExecStream]:
        """Open the streams of what a container runs."""
        runtime = self._agent.runtime
        if not isinstance(runtime, SupportsAttach):
            raise BadRequest(f"the runtime {runtime.name} cannot attach to containers")
        identity = await self._running(local(pod), container)
        opened: AbstractAsyncContextManager[ExecStream] = runtime.attach(identity, stdin=stdin)
        try:
            async with opened as stream:
                yield stream
        except NoSuchContainer as error:
            raise InternalError(f"unable to upgrade connection: {error}") from None

    async def connect(self, pod: Pod, port: int) -> ByteStream:
        """Connect to a port of the Pod."""
        runtime = self._agent.runtime
        try:
            own = local(pod)
            if isinstance(runtime, SupportsConnections) and not pod.spec.host_network:
                return await runtime.connect(SandboxId(own.metadata.uid), port)
            return await anyio.connect_tcp(self._agent.address_of(own), port)
        except (OSError, NoSuchContainer) as error:
            raise NotFound(f"cannot connect to port {port} of pod {pod.metadata.name}: {error}") from None


def _exec_error(error: Exception) -> ApiError:
    return InternalError(f"Internal error occurred: error executing command in container: {error}")
