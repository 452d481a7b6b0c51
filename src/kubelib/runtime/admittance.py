"""Which Pods a node turns away although they are bound to it: somebody has gone past the scheduler. Pure."""

from collections.abc import Iterable, Mapping

import attrs
import msgspec

from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod
from kubelib.api.podresources import pod_requests
from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.api.scheme import Tree

EVERYWHERE = ("", "0.0.0.0", "::")
Port = tuple[str, str, int]
"""Address, protocol, number."""


@attrs.frozen
class Refusal:
    """Why a Pod is turned away, as its status says it."""

    reason: str
    message: str

    @property
    def status(self) -> dict[str, str]:
        """The part of the Pod's status that says so."""
        return {"phase": "Failed", "reason": self.reason, "message": f"Pod was rejected: {self.message}"}


def host_ports(pod: Pod) -> set[Port]:
    """Return the ports of the node that a Pod takes for itself."""
    sidecars = (c for c in pod.spec.init_containers if c.restart_policy == "Always")
    return {
        (port.host_ip, port.protocol or "TCP", port.host_port)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.host_port
    }


def _collide(a: Port, b: Port) -> bool:
    same_address = a[0] == b[0] or a[0] in EVERYWHERE or b[0] in EVERYWHERE
    return same_address and a[1:] == b[1:]


def _units(name: str, amount: Quantity) -> int:
    return amount.milli() if name == "cpu" else amount.value()


def requests_of(pod: Pod, status: Tree | None = None) -> dict[str, int]:
    """Return what a Pod asks for, processors in thousandths; of Pods it is one. With a `status` what it still has counts, too."""
    wanted = pod_requests(msgspec.to_builtins(pod.spec), status)
    return {**{name: _units(name, amount) for name, amount in wanted.items()}, "pods": 1}


def lacking(
    wanted: Mapping[str, int], others: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]
) -> Refusal | None:
    """Return of what there is not enough left for a Pod beside others."""
    used: dict[str, int] = {}
    for other in others:
        for name, amount in other.items():
            used[name] = used.get(name, 0) + amount
    for name in sorted(wanted, key=lambda n: (n != "pods", n)):
        if wanted[name] <= 0 or name not in allocatable:
            continue
        capacity = _units(name, parse_quantity(allocatable[name]))
        taken = used.get(name, 0)
        if taken + wanted[name] > capacity:
            message = f"Node didn't have enough resource: {name}, requested: {wanted[name]}, used: {taken}, capacity: {capacity}"
            return Refusal(f"OutOf{name}", message)
    return None


def too_large(pod: Pod, allocatable: Mapping[str, str]) -> str:
    """Return why a Pod of this size would not even fit a node without others; empty if it would."""
    wanted = requests_of(pod)
    for name in ("memory", "cpu"):
        if name in wanted and name in allocatable:
            capacity = _units(name, parse_quantity(allocatable[name]))
            if wanted[name] > capacity:
                return f"Node didn't have enough capacity: {name}, requested: {wanted[name]}, capacity: {capacity}"
    return ""


def apparmor_refusal(pod: Pod, *, enabled: bool) -> Refusal | None:
    """Return why a machine with AppArmor or, if it is not `enabled`, without it cannot take a Pod that wants a profile, or None."""
    wanted = [pod.spec.security_context, *(container.security_context for container in _containers(pod))]
    profiles = [context.app_armor_profile for context in wanted if context is not None]
    if enabled or all(profile is None or profile.type == "Unconfined" for profile in profiles):
        return None
    return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def _containers(pod: Pod) -> Iterable[Container]:
    return (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)


def refusal(
    pod: Pod,
    others: Iterable[Pod],
    *,
    requests: Iterable[Mapping[str, int]] = (),
    allocatable: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Refusal | None:
    """Return why a Pod cannot run beside the others that the node has taken, or None.

    `requests` are what these ask for, `allocatable` what the node has, `labels` the node's own.
    """
    if allocatable is not None and (short := lacking(requests_of(pod), requests, allocatable)) is not None:
        return short
    if labels is not None and any(labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", message)
    wanted = host_ports(pod)
    if not wanted:
        return None
    for other in others:
        if any(_collide(a, b) for a in wanted for b in host_ports(other)):
            message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            return Refusal("NodePorts", message)
    return None
