"""What a scheduler keeps of Pods that it hears of from afar: less than a fifth of what they are.

Where the API server is in the same process the documents are the server's own, and cost nothing.
"""

import logging

from kubelib.api.codec import encode_json
from kubelib.api.core.container import Container
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.pod import Pod, PodSpec, PodStatus
from kubelib.api.core.volumes import Volume
from kubelib.api.document import Document, PeekMeta, decoder_of
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.sched.pods import PodInfo

log = logging.getLogger("kubelib.sched")

ENDED = ("Succeeded", "Failed")
PODS_PER_PAGE = 2000
"""How many Pods are asked for at once: as they come they are several times as large as what is kept of them."""
_START = b'{"kind":"Pod","apiVersion":"v1",'
_CONDITIONS = ("PodScheduled", "DisruptionTarget", "PodResizePending")
"""The conditions that are looked at, or reported."""


class CountedPod(Document):
    """A Pod that has a node: what is counted of it, and, as a document, little more than who it is and how it fares."""

    __slots__ = ("info",)

    info: PodInfo

    @property
    def key(self) -> Key:
        """Where the Pod is; the very same tuple that the table has."""
        return self.info.key


def take(pod: Pod) -> PodInfo | None:
    """Return what a scheduler looks at in a Pod; None, and a warning, for one that is malformed."""
    try:
        return PodInfo.of(pod)
    except ValueError as error:
        log.warning("pod %s is not understood: %s", pod.key, error)
        return None


def trimmed(document: Document) -> Document:
    """Return a Pod without that on which placing it does not depend: managed fields, commands, environment, probes and the like."""
    pod = _trimmed(decoder_of(Pod).decode(document.raw))
    meta = document.meta
    ended = pod.status.phase in ENDED
    if not (ended or pod.spec.node_name):
        return Document.seen(pod, _encoded(pod), meta)
    info = take(pod) if not ended else None
    key = info.key if info is not None else document.key
    # The very same texts as in what is counted: of some hundred thousand Pods each would be there twice.
    peek = PeekMeta(
        name=key.name,
        namespace=key.namespace,
        uid=info.uid if info is not None else meta.uid,
        resource_version=meta.resource_version,
        generation=meta.generation,
        deletion_timestamp=meta.deletion_timestamp,
        labels=info.labels if info is not None else meta.labels,
    )
    little = Pod(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace, uid=peek.uid),
        spec=PodSpec(node_name=pod.spec.node_name),
        status=pod.status,
    )
    if info is None:
        return Document.seen(little, _encoded(little), peek)
    counted = CountedPod(_encoded(little), peek)
    counted.info = info
    return counted


def _trimmed(pod: Pod) -> Pod:
    meta, spec, status = pod.metadata, pod.spec, pod.status
    return Pod(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            generation=meta.generation,
            labels=meta.labels,
            deletion_timestamp=meta.deletion_timestamp,
            owner_references=meta.owner_references,
        ),
        spec=replace(
            spec,
            containers=tuple(map(_container, spec.containers)),
            init_containers=tuple(map(_container, spec.init_containers)),
            ephemeral_containers=(),
            volumes=tuple(volume for volume in spec.volumes if _is_judged(volume)),
        ),
        status=PodStatus(
            phase=status.phase,
            start_time=status.start_time,
            nominated_node_name=status.nominated_node_name,
            conditions=tuple(
                c
                for c in status.conditions
                if c.type in _CONDITIONS and not (c.type == "PodScheduled" and spec.node_name)
            ),
            container_statuses=_sizes(status.container_statuses),
            init_container_statuses=_sizes(status.init_container_statuses),
            resources=status.resources,
            allocated_resources=status.allocated_resources,
            resource_claim_statuses=status.resource_claim_statuses,
        ),
    )


def _encoded(pod: Pod) -> bytes:
    return _START + encode_json(pod)[1:]


def _container(container: Container) -> Container:
    return Container(
        name=container.name,
        image=container.image,
        resources=container.resources,
        ports=tuple(port for port in container.ports if port.host_port),
        restart_policy=container.restart_policy,
        restart_policy_rules=container.restart_policy_rules,
    )


def _is_judged(volume: Volume) -> bool:
    """Return whether a volume matters to some filter or score: most hold what the API server has."""
    return (
        volume.config_map is None
        and volume.secret is None
        and volume.projected is None
        and volume.downward_api is None
        and volume.empty_dir is None
    )


def _sizes(statuses: tuple[ContainerStatus, ...]) -> tuple[ContainerStatus, ...]:
    return tuple(
        ContainerStatus(name=s.name, resources=s.resources, allocated_resources=s.allocated_resources)
        for s in statuses
        if s.resources is not None or s.allocated_resources
    )
