"""Objects for tests, with as little said as possible."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubelib.api.apps import Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetSpec
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.container import Container
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node, NodeCondition, NodeSpec, NodeStatus
from kubelib.api.core.pod import Pod, PodCondition, PodIP, PodSpec, PodStatus, PodTemplateSpec
from kubelib.api.core.replication import ReplicationController, ReplicationControllerSpec
from kubelib.api.core.service import Service, ServicePort, ServiceSpec
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta, OwnerReference
from kubelib.api.model import replace

CONTAINER = Container(name="main", image="process", command=("sleep", "1000000"))


def make_meta(name: str, namespace: str = "default", **metadata: Any) -> ObjectMeta:
    """Return metadata: ``make_meta("a", labels={"app": "web"})``."""
    return ObjectMeta(name=name, namespace=namespace, **metadata)


def make_template(labels: Mapping[str, str], **spec: Any) -> PodTemplateSpec:
    """Return a pod template with one container."""
    spec.setdefault("containers", (CONTAINER,))
    return PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(**spec))


def make_pod(
    name: str = "pod",
    namespace: str = "default",
    *,
    labels: Mapping[str, str] | None = None,
    owners: Sequence[OwnerReference] = (),
    node: str = "",
    phase: str = "",
    ready: bool = False,
    ip: str = "",
    since: datetime | None = None,
    uid: str = "",
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    """Return a pod with one container; `ready` gives it a true Ready condition since `since`."""
    spec.setdefault("containers", (CONTAINER,))
    return Pod(
        metadata=make_meta(
            name, namespace, labels=labels or {}, owner_references=tuple(owners), uid=uid, **(metadata or {})
        ),
        spec=PodSpec(node_name=node, **spec),
        status=make_pod_status(phase or ("Running" if ready else ""), ready=ready, ip=ip, since=since),
    )


def make_pod_status(
    phase: str, *, ready: bool = False, ip: str = "", since: datetime | None = None
) -> PodStatus:
    """Return the status that a node agent would report."""
    condition = PodCondition(type="Ready", status="True" if ready else "False", last_transition_time=since)
    return PodStatus(
        phase=phase,
        conditions=(condition,) if phase == "Running" else (),
        pod_ip=ip,
        pod_ips=(PodIP(ip=ip),) if ip else (),
    )


def make_node(name: str = "node-1", *, ready: bool = True, **status: Any) -> Node:
    """Return a node with Linux and room for 110 pods."""
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    condition = NodeCondition(type="Ready", status="True" if ready else "False", reason="KubeletReady")
    return Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}),
        spec=NodeSpec(),
        status=NodeStatus(
            **{"capacity": capacity, "allocatable": capacity, "conditions": (condition,), **status}
        ),
    )


def make_namespace(name: str) -> Namespace:
    """Return a namespace."""
    return Namespace(metadata=ObjectMeta(name=name))


def make_config_map(name: str, namespace: str = "default", **data: str) -> ConfigMap:
    """Return a config map: ``make_config_map("a", color="blue")``."""
    return ConfigMap(metadata=make_meta(name, namespace), data=data)


def make_replication_controller(
    name: str = "rc",
    namespace: str = "default",
    *,
    replicas: int = 1,
    labels: Mapping[str, str] | None = None,
) -> ReplicationController:
    """Return a replication controller whose selector and template carry `labels`."""
    labels = labels or {"app": name}
    return ReplicationController(
        metadata=make_meta(name, namespace),
        spec=ReplicationControllerSpec(replicas=replicas, selector=labels, template=make_template(labels)),
    )


def make_replica_set(
    name: str = "rs",
    namespace: str = "default",
    *,
    replicas: int = 1,
    labels: Mapping[str, str] | None = None,
) -> ReplicaSet:
    """Return a replica set whose selector and template carry `labels`."""
    labels = labels or {"app": name}
    return ReplicaSet(
        metadata=make_meta(name, namespace),
        spec=ReplicaSetSpec(
            replicas=replicas, selector=LabelSelector(match_labels=labels), template=make_template(labels)
        ),
    )


def make_deployment(
    name: str = "web",
    namespace: str = "default",
    *,
    replicas: int = 1,
    image: str = "process",
    strategy: DeploymentStrategy | None = None,
    **spec: Any,
) -> Deployment:
    """Return a deployment."""
    labels = {"app": name}
    template = make_template(labels, containers=(replace(CONTAINER, image=image),))
    if strategy is not None:
        spec["strategy"] = strategy
    return Deployment(
        metadata=make_meta(name, namespace),
        spec=DeploymentSpec(
            replicas=replicas, selector=LabelSelector(match_labels=labels), template=template, **spec
        ),
    )


def make_service(
    name: str = "svc",
    namespace: str = "default",
    *,
    selector: Mapping[str, str] | None = None,
    ports: Sequence[ServicePort] = (),
    **spec: Any,
) -> Service:
    """Return a service on port 80, or on the given ports."""
    return Service(
        metadata=make_meta(name, namespace),
        spec=ServiceSpec(
            selector=selector or {}, ports=tuple(ports) or (ServicePort(port=80, protocol="TCP"),), **spec
        ),
    )
