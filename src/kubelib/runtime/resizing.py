"""A Pod's size on its node: whether the node can allocate what is asked for, and letting containers have it while they run.

As the kubelet does it: what a Pod asks for is *desired*; once the node has room for it, it is *allocated*; what a container runs with
is *actual*. Only what is allocated counts on the node, and only that is given to containers. From a Pod's first resize on, a file of the
node's remembers this for an agent that is started again; until then the Pod's own status says it.
"""

import contextlib
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.quantity import parse_quantity
from kubelib.api.scheme import Tree
from kubelib.runtime.abilities import SupportsResize, SupportsSandboxLimits, SupportsStats
from kubelib.runtime.admittance import lacking, requests_of, too_large
from kubelib.runtime.base import CannotResize, Container, ContainerId, NoSuchContainer, SandboxId
from kubelib.runtime.sizes import (
    WHOLE,
    Sizes,
    changed,
    differ,
    from_tree,
    sizes_of,
    summary,
    to_tree,
    with_sizes,
)
from kubelib.runtime.specs import limits_of, whole_of

if TYPE_CHECKING:
    from kubelib.runtime.worker import PodWorker

log = logging.getLogger("kubelib.runtime")

_QUALITIES = ("Guaranteed", "Burstable", "BestEffort")


@attrs.frozen
class Pending:
    """Why a Pod does not get what it asks for."""

    reason: str
    """``Deferred``: not now, ``Infeasible``: never on this node."""
    message: str
    generation: int


@attrs.frozen
class Progress:
    """What has been allocated, and that not all containers have yet."""

    generation: int
    error: str = ""


class Resizing:
    """The size of one worker's Pod."""

    def __init__(self, worker: "PodWorker") -> None:
        self._worker = worker
        self._allocated: dict[str, ResourceRequirements] | None = None
        self._pending: Pending | None = None
        self._progress: Progress | None = None
        self._since: datetime | None = None
        """Since when it is deferred."""
        self._whole: Sizes | None = None
        """What the weight and the limits of the Pod's sandbox have been made of."""
        self._noted = False
        """Whether there is a file."""

    # What is allocated

    def allocated(self, pod: Pod) -> Pod:
        """Return the Pod as it has been allocated; one that is new here, as it is."""
        if self._allocated is None:
            self._allocated = self._remembered(pod)
        return with_sizes(pod, self._allocated)

    def allocate(self, pod: Pod) -> Pod:
        """Give a Pod what it asks for, if the node has it; return the Pod as it has been allocated then. Does not wait."""
        assert self._allocated is not None
        wanted = sizes_of(pod)
        if wanted == self._allocated:
            self._settle(None)
            return pod
        if not differ(wanted, self._allocated):  # the same in other words
            self._settle(None)
            return self.allocated(pod)
        worker = self._worker
        recorder, generation = worker.agent.recorder, pod.metadata.generation
        refused = self._refusal(pod, generation)
        if refused is not None:
            if refused != self._pending:
                message = summary(pod, generation, refused.message)
                recorder.warning(pod, f"Resize{refused.reason}", f"Pod resize {refused.reason}: {message}")
            self._settle(refused)
            return self.allocated(pod)
        for container in worker.containers:  # what they have, they have whatever is allocated from now on
            if container.state == "running" and container.name in self._allocated:
                worker.memory.actual.setdefault(container.id, self._allocated[container.name])
        self._allocated = wanted
        self._progress = Progress(generation)
        self._settle(None)
        self._save()
        self.count(pod)
        recorder.normal(pod, "ResizeStarted", f"Pod resize started: {summary(pod, generation)}")
        return pod

    def _settle(self, pending: Pending | None) -> None:
        if pending is None or pending.reason != "Deferred":
            self._since = None
        elif self._since is None:
            self._since = self._worker.agent.clock.now()
        self._pending = pending
        self._tell()

    def _refusal(self, pod: Pod, generation: int) -> Pending | None:
        agent = self._worker.agent
        if not isinstance(agent.runtime, SupportsResize):
            message = f"In-place resize of containers is not supported by the runtime {agent.runtime.name}"
            return Pending("Infeasible", message, generation)
        allocatable = agent.node.allocatable
        if why := too_large(pod, allocatable):
            return Pending("Infeasible", why, generation)
        refused = lacking(self._needs(pod), agent.requests(but=self._worker), allocatable)
        return Pending("Deferred", refused.message, generation) if refused is not None else None

    def _needs(self, pod: Pod) -> dict[str, int]:
        """Return what a Pod of this size takes up while its containers may still have more."""
        memory, statuses = self._worker.memory, []
        for container in self._worker.containers:
            actual = memory.actual.get(container.id)
            if actual is not None and container.state == "running":
                statuses.append({"name": container.name, "resources": {"requests": dict(actual.requests)}})
        return requests_of(pod, {"containerStatuses": statuses})

    def count(self, pod: Pod) -> None:
        """Note what the Pod takes up on the node; if that is less than it was, others may have it."""
        before, self._worker.requests = self._worker.requests, self._needs(pod)
        if any(amount < before.get(name, 0) for name, amount in self._worker.requests.items()):
            self._worker.agent.retry_resizes(but=self._worker)

    @property
    def is_deferred(self) -> bool:
        """Whether the Pod waits until the node has what it asks for."""
        return self._since is not None

    def rank(self) -> tuple[bool, int, int, datetime]:
        """Return whose turn it is among those that wait: what does not grow, the most important, the best, who has waited longest."""
        pod, since = self._worker.pod, self._since
        assert pod is not None
        assert since is not None
        wanted, has = requests_of(pod), self._worker.requests
        quality = pod.status.qos_class
        return (
            any(amount > has.get(name, 0) for name, amount in wanted.items()),
            -(pod.spec.priority or 0),
            _QUALITIES.index(quality) if quality in _QUALITIES else len(_QUALITIES),
            since,
        )

    # What containers have

    def started(self, container: ContainerId, definition: ContainerDefinition) -> None:
        """Note with what a container was started."""
        if self._noted:
            self._worker.memory.actual[container] = definition.resources
            self._save()

    async def resize(self, pod: Pod, container: Container, definition: ContainerDefinition) -> bool:
        """Let a container have what has been allocated to it; return whether that was done. What keeps it from that is told."""
        agent, actual = self._worker.agent, self._worker.memory.actual
        assert isinstance(agent.runtime, SupportsResize)
        try:
            await self._check_memory(container, definition)
            await agent.runtime.resize_container(container.id, limits_of(definition.resources))
        except CannotResize as error:
            self._fail(pod, str(error))
            return False
        except NoSuchContainer:
            return True  # it has ended meanwhile: what follows it has the size from its start
        actual[container.id] = definition.resources
        self._save()
        return True

    def _fail(self, pod: Pod, why: str) -> None:
        """Tell what keeps containers from having what has been allocated, once."""
        generation = self._progress.generation if self._progress is not None else pod.metadata.generation
        if self._progress != (failed := Progress(generation, why)):
            message = summary(pod, generation, why)
            self._worker.agent.recorder.warning(pod, "ResizeError", f"Pod resize error: {message}")
        self._progress = failed
        self._tell()

    async def limit_whole(self, pod: Pod, sandbox: SandboxId) -> None:
        """Weigh the Pod against others, and hold its containers, together, below what it may have as a whole.

        Raises `CannotResize`, `NoSuchContainer`, `QuantityError`.
        """
        runtime = self._worker.agent.runtime
        if isinstance(runtime, SupportsSandboxLimits):
            whole = whole_of(pod)
            try:
                await runtime.limit_sandbox(sandbox, whole)
            except CannotResize:
                if whole.has_limits:  # to weigh less, or more, than it should keeps no Pod from running
                    raise
        self._whole = sizes_of(pod)

    @property
    def runs(self) -> bool:
        """Whether one of the Pod's containers runs, so that its sandbox has limits already."""
        return any(c.state == "running" for c in self._worker.containers)

    async def resize_whole(self, pod: Pod) -> bool:
        """Let a Pod that runs have, as a whole, what has been allocated to it; return whether that was done. What keeps it from that is told."""
        if not self.runs or sizes_of(pod) == self._whole:
            return True
        try:
            await self.limit_whole(pod, SandboxId(self._worker.uid))
        except CannotResize as error:
            self._fail(pod, str(error))
            return False
        except NoSuchContainer:
            return True  # its next sandbox has them from its start
        return True

    async def _check_memory(self, container: Container, definition: ContainerDefinition) -> None:
        """Refuse a limit below what is used: the kernel would make room for it by killing."""
        runtime, before = self._worker.agent.runtime, self._worker.memory.actual.get(container.id)
        limit = definition.resources.limits.get("memory")
        if limit is None or before is None or not isinstance(runtime, SupportsStats):
            return
        wanted = parse_quantity(limit).value()
        if "memory" in before.limits and wanted >= parse_quantity(before.limits["memory"]).value():
            return
        used = (await runtime.stats(container.id)).memory
        if used > wanted:
            raise CannotResize(
                f'attempting to set container "{container.name}" memory limit ({wanted}) below current usage ({used})'
            )

    def complete(self, pod: Pod) -> None:
        """Say that a resize is over once every container that runs has what has been allocated to it."""
        memory, containers = self._worker.memory, self._worker.containers
        alive = {container.id for container in containers if container.state == "running"}
        for gone in memory.actual.keys() - alive:
            del memory.actual[gone]
        if self._progress is None or self._allocated is None:
            return
        if alive and self._whole != self._allocated:
            return
        if any(
            changed(self._allocated[c.name], memory.actual.get(c.id))
            for c in containers
            if c.id in alive and c.name in self._allocated
        ):
            return
        generation = self._progress.generation
        self._progress = None
        self._tell()
        self.count(pod)
        agent = self._worker.agent
        agent.recorder.normal(pod, "ResizeCompleted", f"Pod resize completed: {summary(pod, generation)}")

    # What is said and remembered

    def _tell(self) -> None:
        """Make the conditions that say how far it is."""
        told: list[Tree] = []
        if (pending := self._pending) is not None:
            told.append(
                {
                    "type": "PodResizePending",
                    "status": "True",
                    "reason": pending.reason,
                    "message": pending.message,
                    "observedGeneration": pending.generation,
                }
            )
        if (progress := self._progress) is not None:
            failed = {"reason": "Error", "message": progress.error} if progress.error else {}
            generation = {"observedGeneration": progress.generation}
            told.append({"type": "PodResizeInProgress", "status": "True", **failed, **generation})
        self._worker.memory.resizing = tuple(told)

    @property
    def _file(self) -> Path:
        return self._worker.agent.pod_directory(self._worker.uid) / "resources.json"

    def _save(self) -> None:
        assert self._allocated is not None
        note = {
            "allocated": to_tree(self._allocated),
            "actual": to_tree(self._worker.memory.actual),
            "generation": self._progress.generation if self._progress is not None else 0,
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(note))
        temporary.replace(self._file)
        self._noted = True

    def _remembered(self, pod: Pod) -> dict[str, ResourceRequirements]:
        """Return what an earlier agent has allocated; if there was none, what the Pod asks for."""
        wanted = sizes_of(pod)
        with contextlib.suppress(FileNotFoundError):
            note = json.loads(self._file.read_text())
            self._noted = True
            self._worker.memory.actual = from_tree(note["actual"])
            if note["generation"]:
                self._progress = Progress(note["generation"])
                self._tell()
            return wanted | from_tree(note["allocated"])
        if self._worker.containers:
            for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
                if status.name in wanted and status.resources is not None:
                    wanted[status.name] = status.resources
            if WHOLE in wanted and pod.status.resources is not None:
                wanted[WHOLE] = pod.status.resources
        return wanted
