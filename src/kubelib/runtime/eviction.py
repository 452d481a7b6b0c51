"""Which Pods a node ends when something runs out, and in which words: the rules of the kubelet's eviction manager. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import attrs
import msgspec

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.podresources import pod_limits
from kubelib.api.quantity import Quantity, from_bytes, parse_quantity
from kubelib.runtime.admittance import requests_of
from kubelib.runtime.mirrors import MIRROR, SOURCE
from kubelib.runtime.stats.machine import FileSystem, Machine
from kubelib.runtime.stats.node import PodFigures

Signal = str
CONDITIONS: Mapping[Signal, str] = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
    "imagefs.available": "DiskPressure",
    "imagefs.inodesFree": "DiskPressure",
    "pid.available": "PIDPressure",
}
RESOURCES: Mapping[Signal, str] = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}
DEFAULT_HARD: Mapping[Signal, str] = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
"""Below what Pods are ended without grace, unless a node says otherwise: the kubelet's defaults on Linux."""
SYSTEM_CRITICAL = 2_000_000_000
LOW_ON_RESOURCE = "The node was low on resource: {}. "
THRESHOLD = "Threshold quantity: {}, available: {}. "
CONTAINER = "Container {} was using {}, request is {}, has larger consumption of {}. "


@attrs.frozen
class Threshold:
    """What must be left of something, as a quantity or as a part of all there is."""

    signal: Signal
    quantity: int = 0
    percentage: float = 0.0

    def least(self, capacity: int) -> int:
        """Return the least that must be left."""
        return int(capacity * self.percentage / 100) if self.percentage else self.quantity


@attrs.frozen
class Observation:
    """How much of something is left, and how much there is."""

    available: int
    capacity: int


@attrs.frozen
class Eviction:
    """Which Pod is ended, and why."""

    pod: Pod
    message: str
    signal: Signal


def parse_thresholds(said: Mapping[Signal, str]) -> tuple[Threshold, ...]:
    """Return thresholds from ``{"memory.available": "100Mi", "nodefs.available": "10%"}``. Raises ValueError."""
    found = []
    for signal, text in said.items():
        if signal not in CONDITIONS:
            raise ValueError(f"there is no eviction signal {signal!r}: choose among {', '.join(CONDITIONS)}")
        if text.endswith("%"):
            percentage = float(text[:-1])
            if not 0 <= percentage <= 100:
                raise ValueError(f"eviction threshold {signal}<{text}: a percentage is between 0 and 100")
            found.append(Threshold(signal, percentage=percentage))
        else:
            found.append(Threshold(signal, quantity=parse_quantity(text).value()))
    # Memory first: it runs out fastest.
    return tuple(sorted(found, key=lambda t: list(CONDITIONS).index(t.signal)))


def parse_option(text: str) -> dict[Signal, str]:
    """Return thresholds from the form of the kubelet's option: ``memory.available<100Mi,nodefs.available<10%``. Raises ValueError.

    >>> parse_option("memory.available<100Mi")
    {'memory.available': '100Mi'}
    """
    said: dict[Signal, str] = {}
    for part in filter(None, text.split(",")):
        signal, less, amount = part.partition("<")
        if not less:
            raise ValueError(f"{part!r} is not SIGNAL<QUANTITY, for example memory.available<100Mi")
        said[signal.strip()] = amount.strip()
    parse_thresholds(said)
    return said


def observe(machine: Machine, disk: FileSystem) -> dict[Signal, Observation]:
    """Return how much of everything is left."""
    bytes_left, inodes_left = (
        Observation(disk.available, disk.capacity),
        Observation(disk.inodes_free, disk.inodes),
    )
    return {
        "memory.available": Observation(machine.memory_available, machine.memory_capacity),
        "nodefs.available": bytes_left,
        "nodefs.inodesFree": inodes_left,
        "imagefs.available": bytes_left,
        "imagefs.inodesFree": inodes_left,
        "pid.available": Observation(
            max(0, machine.max_processes - machine.processes), machine.max_processes
        ),
    }


def met(thresholds: Iterable[Threshold], observations: Mapping[Signal, Observation]) -> tuple[Threshold, ...]:
    """Return the thresholds below which something has fallen; what there is nothing of cannot run out."""
    return tuple(
        threshold
        for threshold in thresholds
        if (seen := observations.get(threshold.signal)) is not None
        and seen.capacity
        and seen.available < threshold.least(seen.capacity)
    )


def is_critical(pod: Pod) -> bool:
    """Return whether a Pod is never evicted: a static one, or one that the cluster cannot do without."""
    annotations = pod.metadata.annotations
    if MIRROR in annotations or annotations.get(SOURCE) == "file":
        return True
    return (pod.spec.priority or 0) >= SYSTEM_CRITICAL


def _asked(definition: ContainerDefinition, resource: str) -> int:
    amount = definition.resources.requests.get(resource)
    return parse_quantity(amount).value() if amount is not None else 0


def _used(figures: PodFigures, resource: str) -> int:
    match resource:
        case "memory":
            return figures.memory
        case "pids":
            return sum(one.stats.processes for one in figures.containers)
        case "inodes":
            return figures.disk.inodes
    return figures.disk.used


def ranked(pods: Iterable[PodFigures], resource: str) -> list[PodFigures]:
    """Return Pods in the order in which they are evicted: who uses more than asked for, then low priority, then large excess."""

    def order(figures: PodFigures) -> tuple[bool, int, int]:
        asked = requests_of(figures.pod).get(resource, 0)
        excess = _used(figures, resource) - asked
        within = excess <= 0 if resource in ("memory", "ephemeral-storage") else False
        return within, figures.pod.spec.priority or 0, -excess

    return sorted(pods, key=order)


def _shown(amount: int, resource: str) -> str:
    return str(from_bytes(amount)) if resource in ("memory", "ephemeral-storage") else str(amount)


def choose(
    pods: Iterable[PodFigures], threshold: Threshold, observations: Mapping[Signal, Observation]
) -> Eviction | None:
    """Return the Pod to be ended for a threshold that is met, None if there is none that may be."""
    resource = RESOURCES[threshold.signal]
    candidates = ranked((p for p in pods if not is_critical(p.pod)), resource)
    if not candidates:
        return None
    victim, seen = candidates[0], observations[threshold.signal]
    message = LOW_ON_RESOURCE.format(resource)
    message += THRESHOLD.format(
        _shown(threshold.least(seen.capacity), resource), _shown(seen.available, resource)
    )
    definitions = {d.name: d for d in (*victim.pod.spec.init_containers, *victim.pod.spec.containers)}
    for one in victim.containers:
        definition = definitions.get(one.container.name)
        used = one.stats.memory if resource == "memory" else one.logs.used + one.root.used
        if definition is None or resource not in ("memory", "ephemeral-storage"):
            continue
        asked = _asked(definition, resource)
        if used > asked:
            message += CONTAINER.format(
                one.container.name, _shown(used, resource), _shown(asked, resource), resource
            )
    return Eviction(victim.pod, message, threshold.signal)


def _exceeds(used: int, limit: Quantity) -> bool:
    return limit.value() > 0 and used > limit.value()


def over_local_limits(figures: PodFigures) -> Eviction | None:
    """Return why a Pod that takes more of the node's disk than it may is ended, None if it does not."""
    pod = figures.pod
    if is_critical(pod):
        return None
    for volume in pod.spec.volumes:
        if volume.empty_dir is None or not volume.empty_dir.size_limit:
            continue
        limit = parse_quantity(volume.empty_dir.size_limit)
        held = figures.volumes.get(volume.name)
        if held is not None and _exceeds(held.used, limit):
            message = f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
            return Eviction(pod, message, "emptyDirFsLimit")
    limits = {
        d.name: parse_quantity(d.resources.limits["ephemeral-storage"])
        for d in pod.spec.containers
        if "ephemeral-storage" in d.resources.limits
    }
    total = pod_limits(msgspec.to_builtins(pod.spec)).get("ephemeral-storage")
    if total is not None and _exceeds(figures.disk.used, total):
        message = f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        return Eviction(pod, message, "ephemeralPodFsLimit")
    for one in figures.containers:
        allowed = limits.get(one.container.name)
        if allowed is not None and _exceeds(one.logs.used + one.root.used, allowed):
            message = (
                f'Container {one.container.name} exceeded its local ephemeral storage limit "{allowed}". '
            )
            return Eviction(pod, message, "ephemeralContainerFsLimit")
    return None


def limits_disk(pod: Pod) -> bool:
    """Return whether a Pod says how much of the node's disk it may take."""
    return any(v.empty_dir is not None and v.empty_dir.size_limit for v in pod.spec.volumes) or any(
        "ephemeral-storage" in d.resources.limits for d in pod.spec.containers
    )


def tolerates(pod: Pod, taint: str) -> bool:
    """Return whether a Pod tolerates being scheduled onto a node with a taint of that name."""
    return any(
        toleration.key in ("", taint)
        and (toleration.operator == "Exists" or not toleration.value)
        and toleration.effect in ("", "NoSchedule")
        for toleration in pod.spec.tolerations
        if toleration.key or toleration.operator == "Exists"
    )


def turned_away(pod: Pod, pressures: Sequence[str]) -> str | None:
    """Return why a node under pressure does not take a Pod, None if it does."""
    if not pressures or is_critical(pod):
        return None
    if list(pressures) == ["MemoryPressure"] and (
        pod.status.qos_class != "BestEffort" or tolerates(pod, "node.kubernetes.io/memory-pressure")
    ):
        return None
    return f"The node had condition: [{', '.join(pressures)}]. "
