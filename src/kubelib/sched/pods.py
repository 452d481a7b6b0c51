"""What a scheduler looks at in a Pod."""

import functools
from collections.abc import Mapping

import attrs

from kubelib.api.core.affinity import Affinity, Toleration
from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key, controller_of
from kubelib.api.quantity import parse_quantity

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"


@functools.lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """Return a quantity as a whole number: thousandths of a core for cpu, units for all else."""
    quantity = parse_quantity(text)
    return quantity.milli() if resource == CPU else quantity.value()


def _requests(container: Container) -> dict[str, int]:
    return {name: amount(name, text) for name, text in container.resources.requests.items()}


def pod_requests(pod: Pod) -> dict[str, int]:
    """Return what a Pod needs at its peak: its containers and sidecars together, or an init container if that is more."""
    total: dict[str, int] = {}
    for container in pod.spec.containers:
        for name, value in _requests(container).items():
            total[name] = total.get(name, 0) + value
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        wanted = _requests(container)
        if container.restart_policy == "Always":
            for name, value in wanted.items():
                sidecars[name] = sidecars.get(name, 0) + value
            wanted = dict(sidecars)
        else:
            wanted = {name: wanted.get(name, 0) + sidecars.get(name, 0) for name in {**wanted, **sidecars}}
        for name, value in wanted.items():
            peak[name] = max(peak.get(name, 0), value)
    for name, value in sidecars.items():
        total[name] = total.get(name, 0) + value
    for name, value in peak.items():
        total[name] = max(total.get(name, 0), value)
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


@attrs.frozen
class PodInfo:
    """A Pod as policies judge it. Pods that are equal in `shape` are judged alike."""

    key: Key
    uid: str
    priority: int
    node: str
    labels: Mapping[str, str]
    requests: Mapping[str, int]
    ports: tuple[tuple[str, str, int], ...]
    """Host ports: address, protocol, number."""
    node_selector: Mapping[str, str]
    affinity: Affinity | None
    tolerations: tuple[Toleration, ...]
    owner: str
    """The uid of the controller that made the Pod."""
    shape: tuple[object, ...]
    gated: bool = False

    @classmethod
    def of(cls, pod: Pod) -> "PodInfo":
        """Take in a Pod."""
        spec, meta = pod.spec, pod.metadata
        requests = pod_requests(pod)
        ports = tuple(
            (port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
            for container in spec.containers
            for port in container.ports
            if port.host_port
        )
        controller = controller_of(pod)
        owner = controller.uid if controller is not None else ""
        shape = (
            meta.namespace,
            tuple(sorted(requests.items())),
            ports,
            tuple(sorted(spec.node_selector.items())),
            repr(spec.affinity) if spec.affinity is not None else "",
            tuple((t.key, t.operator, t.value, t.effect) for t in spec.tolerations),
            owner,
            spec.node_name,
        )
        return cls(
            meta_key(pod),
            meta.uid,
            spec.priority or 0,
            spec.node_name,
            meta.labels,
            requests,
            ports,
            spec.node_selector,
            spec.affinity,
            spec.tolerations,
            owner,
            shape,
            bool(spec.scheduling_gates),
        )


def meta_key(pod: Pod) -> Key:
    """Return where a Pod is."""
    return Key(pod.metadata.namespace, pod.metadata.name)
