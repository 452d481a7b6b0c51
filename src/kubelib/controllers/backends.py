"""Which Pods are behind a Service, on which ports: what Endpoints and EndpointSlices are both made from. Pure."""

from collections.abc import Iterable, Mapping

import attrs

from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service, ServicePort

LEADER = "control-plane.alpha.kubernetes.io/leader"
"""What an election notes on the Endpoints that are its lock: nothing is behind them."""


@attrs.frozen
class Backend:
    """A Pod behind a Service."""

    address: str
    pod: Pod
    ready: bool
    serving: bool
    terminating: bool

    @property
    def ports(self) -> Mapping[tuple[str, str], int]:
        """The Pod's named ports by name and protocol: the first of a name, those of sidecars last."""
        spec = self.pod.spec
        sidecars = (c for c in spec.init_containers if c.restart_policy == "Always")
        found: dict[tuple[str, str], int] = {}
        for container in (*spec.containers, *sidecars):
            for port in container.ports:
                if port.name:
                    found.setdefault((port.name, port.protocol or "TCP"), port.container_port)
        return found


def is_ready(pod: Pod) -> bool:
    """Return whether a Pod's Ready condition is true."""
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def backends(service: Service, pods: Iterable[Pod]) -> list[Backend]:
    """Return the Pods that can be behind a Service, in order of address."""
    unready_too = service.spec.publish_not_ready_addresses
    found = []
    for pod in pods:
        address = pod.status.pod_ip
        if not address or pod.status.phase in ("Succeeded", "Failed"):
            continue
        serving = is_ready(pod)
        terminating = pod.metadata.deletion_timestamp is not None
        ready = unready_too or (serving and not terminating)
        found.append(Backend(address, pod, ready, serving, terminating))
    return sorted(found, key=lambda b: (b.address, b.pod.metadata.name))


def target_port(port: ServicePort, backend: Backend) -> int | None:
    """Return the port of a Pod that a Service's port leads to; None if the Pod has none of that name."""
    target = port.target_port
    if isinstance(target, int):
        return target or port.port
    return backend.ports.get((target, port.protocol or "TCP"))


def resolved_ports(service: Service, backend: Backend) -> tuple[tuple[ServicePort, int], ...]:
    """Return the ports of a Service with where they lead on one Pod."""
    resolved = ((port, target_port(port, backend)) for port in service.spec.ports)
    return tuple((port, number) for port, number in resolved if number is not None)
