"""What a scheduler looks at in a Pod."""

import functools
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from kubelib.api.core.affinity import NodeAffinity, Toleration
from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.api.quantity import parse_quantity
from kubelib.sched.selectors import PodTerm, SpreadTerm, pod_term, spread_term

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

USUAL_CPU, USUAL_MEMORY = 100, 200 * 1024 * 1024
"""What a container that asks for nothing counts as in scores, as in kube-scheduler."""

LARGEST = 1 << 61
"""Amounts are cut off here, so that sums of two stay within 64 bits."""

EVERYWHERE = "0.0.0.0"

HostPort = tuple[str, str, int]
"""Address, protocol, number."""


@functools.lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """Return a quantity as a whole number: thousandths of a core for cpu, units for all else."""
    quantity = parse_quantity(text)
    return min(quantity.milli() if resource == CPU else quantity.value(), LARGEST)


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
    if pod.spec.resources is not None:
        # What is asked for the Pod as a whole stands for what its containers ask for.
        for name, text in pod.spec.resources.requests.items():
            total[name] = amount(name, text)
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return {name: min(value, LARGEST) for name, value in total.items()}


@attrs.frozen(eq=False)
class PodInfo:
    """A Pod as policies judge it. Pods that are equal in `shape` are judged alike."""

    key: Key
    uid: str
    priority: int
    node: str
    """Where the Pod is, or must be: ``spec.nodeName``."""
    labels: Mapping[str, str]
    requests: Mapping[str, int]
    ports: tuple[HostPort, ...]
    node_selector: Mapping[str, str]
    affinity: NodeAffinity | None
    tolerations: tuple[Toleration, ...]
    owner: str
    """The uid of the controller that made the Pod."""
    shape: tuple[object, ...]
    counted: tuple[int, int] = (0, 0)
    """What the Pod counts as in scores, cpu and memory: containers that ask for nothing still use something."""
    near: tuple[PodTerm, ...] = ()
    away: tuple[PodTerm, ...] = ()
    rather_near: tuple[tuple[int, PodTerm], ...] = ()
    rather_away: tuple[tuple[int, PodTerm], ...] = ()
    spread: tuple[SpreadTerm, ...] = ()
    gated: bool = False
    plain: bool = True
    """Whether the Pod has no wish about other Pods: neither affinity nor spreading."""

    @property
    def namespace(self) -> str:
        """The namespace of the Pod."""
        return self.key.namespace

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "PodInfo":
        """Take in a Pod from its decoded document. Raises ValueError for one that is malformed."""
        return cls.of(msgspec.convert(tree, Pod))

    @classmethod
    def of(cls, pod: Pod) -> "PodInfo":
        """Take in a Pod. Raises ValueError for one that is malformed."""
        spec, meta = pod.spec, pod.metadata
        requests = pod_requests(pod)
        ports = _host_ports(pod)
        owner = next((reference.uid for reference in meta.owner_references if reference.controller), "")
        affinity = spec.affinity
        wishes: dict[str, Any] = {}
        if affinity is not None or spec.topology_spread_constraints:
            wishes = _wishes(pod)
        shape = (
            meta.namespace,
            _pairs(requests),
            ports,
            _pairs(spec.node_selector),
            repr(affinity.node_affinity)
            if affinity is not None and affinity.node_affinity is not None
            else "",
            tuple((t.key, t.operator, t.value, t.effect) for t in spec.tolerations),
            owner,
            _pairs(meta.labels),
        )
        return cls(
            key=Key(meta.namespace, meta.name),
            uid=meta.uid,
            priority=spec.priority or 0,
            node=spec.node_name,
            labels=meta.labels,
            requests=requests,
            ports=ports,
            node_selector=spec.node_selector,
            affinity=affinity.node_affinity if affinity is not None else None,
            tolerations=spec.tolerations,
            owner=owner,
            shape=shape,
            counted=_counted(pod, requests),
            gated=bool(spec.scheduling_gates),
            plain=not any(wishes.values()),
            **wishes,
        )


def _pairs(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(mapping.items())) if len(mapping) > 1 else tuple(mapping.items())


def _host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """Return the host ports of containers and sidecars; init containers give theirs back before the others start."""
    sidecars = (c for c in pod.spec.init_containers if c.restart_policy == "Always")
    return tuple(
        (port.host_ip or EVERYWHERE, port.protocol or "TCP", port.host_port)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.host_port
    )


def _counted(pod: Pod, requests: Mapping[str, int]) -> tuple[int, int]:
    cpu, memory = requests.get(CPU, 0), requests.get(MEMORY, 0)
    for container in pod.spec.containers:
        asked = container.resources.requests
        if CPU not in asked:
            cpu += USUAL_CPU
        if MEMORY not in asked:
            memory += USUAL_MEMORY
    return cpu, memory


def _wishes(pod: Pod) -> dict[str, Any]:
    spec, namespace, labels = pod.spec, pod.metadata.namespace, pod.metadata.labels
    wishes: dict[str, Any] = {
        "spread": tuple(spread_term(c, namespace, labels) for c in spec.topology_spread_constraints)
    }
    if spec.affinity is not None:
        for name, part in (("near", spec.affinity.pod_affinity), ("away", spec.affinity.pod_anti_affinity)):
            if part is not None:
                wishes[name] = tuple(
                    pod_term(term, namespace, labels)
                    for term in part.required_during_scheduling_ignored_during_execution
                )
                wishes[f"rather_{name}"] = tuple(
                    (weighted.weight, pod_term(weighted.pod_affinity_term, namespace, labels))
                    for weighted in part.preferred_during_scheduling_ignored_during_execution
                )
    return wishes
