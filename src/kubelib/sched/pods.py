"""What a scheduler looks at in a Pod."""

import functools
from collections.abc import Mapping
from sys import intern
from typing import Any

import attrs
import msgspec

from kubelib.api import podresources
from kubelib.api.claiming import claim_names
from kubelib.api.core.affinity import NodeAffinity, Toleration
from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod, PodStatus
from kubelib.api.declaredfeatures import needed_by
from kubelib.api.deviceclaims import used_claims
from kubelib.api.meta import Key
from kubelib.api.podresources import peak
from kubelib.api.quantity import Quantity, from_bytes, from_milli, parse_quantity
from kubelib.sched.images import full_name
from kubelib.sched.selectors import PodTerm, SpreadTerm, pod_term, spread_term

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

USUAL: Mapping[str, int] = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What a container that asks for nothing counts as in scores, as in kube-scheduler."""
NOTHING: Mapping[str, int] = {}

LARGEST = 1 << 61
"""Amounts are cut off here, so that sums of two stay within 64 bits."""

WORKLOAD = "scheduling.kubelib.dev/workload"
"""The label by which Pods say to which workload they belong."""

KEPT_SHAPES = 4096
"""Of so many shapes of Pods is kept what their Pods have in common."""

EVERYWHERE = "0.0.0.0"

HostPort = tuple[str, str, int]
"""Address, protocol, number."""

Disk = tuple[str, bool]
"""A disk that not everybody can use at once: its identity, and whether this use lets others of the kind be."""


@functools.lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """Return a quantity as a whole number: thousandths of a core for cpu, units for all else."""
    return min(_units(resource, parse_quantity(text)), LARGEST)


def _units(resource: str, quantity: Quantity) -> int:
    return quantity.milli() if resource == CPU else quantity.value()


def _requests(container: Container, usual: Mapping[str, int]) -> dict[str, int]:
    asked = {name: amount(name, text) for name, text in container.resources.requests.items()}
    return {**usual, **asked} if usual else asked


def has_resources(status: PodStatus) -> bool:
    """Return whether a Pod's node says what the Pod has been allocated, which may be more than it asks for."""
    return (
        any(s.resources is not None or s.allocated_resources for s in status.container_statuses)
        or any(s.resources is not None or s.allocated_resources for s in status.init_container_statuses)
        or status.resources is not None
    )


def resources_said(status: PodStatus) -> tuple[object, ...]:
    """Return all that a Pod's node says of its resources, and by which its requests may change."""
    return (
        [(s.name, s.resources, s.allocated_resources) for s in status.container_statuses],
        [(s.name, s.resources, s.allocated_resources) for s in status.init_container_statuses],
        status.resources,
        status.allocated_resources,
        next((c.reason for c in status.conditions if c.type == "PodResizePending"), ""),
    )


def pod_requests(pod: Pod, usual: Mapping[str, int] = NOTHING) -> dict[str, int]:
    """Return what a Pod needs at its peak: its containers and sidecars together, or an init container if that is more.

    While it is being resized in place, what it still has counts, too. `usual` is what containers count as that ask for nothing.
    """
    spec = pod.spec
    if has_resources(pod.status):
        found = podresources.pod_requests(
            msgspec.to_builtins(spec),
            msgspec.to_builtins(pod.status),
            usual={n: from_milli(value) if n == CPU else from_bytes(value) for n, value in usual.items()},
        )
        return {name: min(_units(name, quantity), LARGEST) for name, quantity in found.items()}
    total = peak(
        [_requests(c, usual) for c in spec.containers],
        [(_requests(c, usual), c.restart_policy == "Always") for c in spec.init_containers],
    )
    if spec.resources is not None:
        # What is asked for the Pod as a whole stands for what its containers ask for.
        for name, text in spec.resources.requests.items():
            if podresources.is_for_pods(name):
                total[name] = amount(name, text)
    for name, text in spec.overhead.items():
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
    images: tuple[str, ...] = ()
    """The images of all containers and of volumes, one for each, by their full names."""
    claims: tuple[tuple[str, bool], ...] = ()
    """The names of the Pod's claims, and whether each was made for it alone."""
    devices: tuple[tuple[str, bool], ...] = ()
    """The names of the Pod's claims to devices, and whether each was made for it alone; "" for one that is still to be made."""
    disks: tuple[Disk, ...] = ()
    features: tuple[str, ...] = ()
    """What the Pod's node must have declared that it can do."""
    gated: bool = False
    going: bool = False
    """Whether the Pod is being deleted."""
    preempts: bool = True
    """Whether Pods of lower priority may have to go for this one: not with ``preemptionPolicy: Never``."""
    nominated: str = ""
    """The node that was promised to the Pod: ``status.nominatedNodeName``."""
    scheduler: str = ""
    """Who is to place the Pod: ``spec.schedulerName``."""
    workload: str = "service"
    """``batch`` for Pods that end by themselves, ``service`` for those that go on, unless the label `WORKLOAD` says another."""
    group: Key | None = None
    """The PodGroup with which the Pod is scheduled: ``spec.schedulingGroup``."""
    plain: bool = True
    """Whether the Pod has no wish about other Pods: neither affinity nor spreading."""

    @property
    def namespace(self) -> str:
        """The namespace of the Pod."""
        return self.key.namespace

    def heeds(self, other: "PodInfo", namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """Return whether another Pod that is put on a node may help this one: it must be near such, or be spread among them."""
        near = self.near and all(
            term.pods.matches(other.namespace, other.labels, namespaces) for term in self.near
        )
        return bool(near) or any(
            term.required
            and term.pods is not None
            and term.pods.matches(other.namespace, other.labels, namespaces)
            for term in self.spread
        )

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
        claims = tuple(claim_names(pod)) if spec.volumes else ()
        devices = _devices(pod) if spec.resource_claims else ()
        features = needed_by(spec)
        counted = _counted(pod, requests)
        shape = (
            meta.namespace,
            _pairs(requests),
            counted,
            ports,
            _pairs(spec.node_selector),
            repr(affinity.node_affinity)
            if affinity is not None and affinity.node_affinity is not None
            else "",
            tuple((t.key, t.operator, t.value, t.effect) for t in spec.tolerations),
            owner,
            _pairs(meta.labels),
            claims,
            devices,
            features,
        )
        # Most Pods are replicas: what they have in common is kept once, for hundreds of thousands of them.
        like = _LIKE.get(shape)
        if like is None:
            if len(_LIKE) >= KEPT_SHAPES:
                _LIKE.clear()
            like = _LIKE[shape] = (
                shape,
                requests,
                ports,
                counted,
                dict(meta.labels),
                spec.node_selector,
                spec.tolerations,
                claims,
            )
        shape, requests, ports, counted, labels, node_selector, tolerations, claims = like
        return cls(
            # Texts of which there are few are kept once, too.
            key=Key(intern(meta.namespace), meta.name),
            uid=meta.uid,
            priority=spec.priority or 0,
            node=intern(spec.node_name),
            labels=labels,
            requests=requests,
            ports=ports,
            node_selector=node_selector,
            affinity=affinity.node_affinity if affinity is not None else None,
            tolerations=tolerations,
            owner=owner,
            shape=shape,
            counted=counted,
            images=_images(pod),
            claims=claims,
            devices=devices,
            disks=_disks(pod) if spec.volumes else (),
            features=features,
            gated=bool(spec.scheduling_gates),
            going=meta.deletion_timestamp is not None,
            preempts=spec.preemption_policy != "Never",
            nominated=pod.status.nominated_node_name,
            scheduler=intern(spec.scheduler_name),
            workload=workload_of(pod),
            group=group_of(pod),
            plain=not any(wishes.values()),
            **wishes,
        )


_LIKE: dict[tuple[object, ...], tuple[Any, ...]] = {}
"""What Pods of one shape have in common, by the shape."""


def group_of(pod: Pod) -> Key | None:
    """Return the PodGroup that a Pod belongs to."""
    group = pod.spec.scheduling_group
    return Key(pod.metadata.namespace, group.pod_group_name) if group is not None else None


def workload_of(pod: Pod) -> str:
    """Return the workload that a Pod belongs to."""
    ends = pod.spec.restart_policy in ("Never", "OnFailure")
    return pod.metadata.labels.get(WORKLOAD) or ("batch" if ends else "service")


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


def _disks(pod: Pod) -> tuple[Disk, ...]:
    disks: list[Disk] = []
    for volume in pod.spec.volumes:
        if (gce := volume.gce_persistent_disk) is not None:
            disks.append((f"gce {gce.pd_name}", gce.read_only))
        elif (aws := volume.aws_elastic_block_store) is not None:
            disks.append((f"aws {aws.volume_id}", False))
        elif (iscsi := volume.iscsi) is not None:
            disks.append((f"iscsi {iscsi.iqn}", iscsi.read_only))
        elif (rbd := volume.rbd) is not None:
            # Who shares one monitor means the same cluster.
            disks += ((f"rbd {at} {rbd.pool}/{rbd.image}", rbd.read_only) for at in rbd.monitors)
    return tuple(disks)


def _devices(pod: Pod) -> tuple[tuple[str, bool], ...]:
    return tuple((claim.name, claim.own) for claim in used_claims(pod))


def _images(pod: Pod) -> tuple[str, ...]:
    spec = pod.spec
    names = [c.image for c in (*spec.init_containers, *spec.containers)]
    names += [volume.image.reference for volume in spec.volumes if volume.image is not None]
    return _full_names(tuple(names))


@functools.lru_cache(maxsize=4096)
def _full_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(full_name, names))


def _counted(pod: Pod, requests: Mapping[str, int]) -> tuple[int, int]:
    if any(
        CPU not in container.resources.requests or MEMORY not in container.resources.requests
        for container in (*pod.spec.containers, *pod.spec.init_containers)
    ):
        requests = pod_requests(pod, USUAL)
    return requests.get(CPU, 0), requests.get(MEMORY, 0)


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
