"""The figures of a controller manager: which controllers run, and what their work queues hold."""

from collections.abc import Iterable, Iterator, Sequence

from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.manager import Manager
from kubelib.exposition import Sample, family
from kubelib.informers import Component, SharedInformers
from kubelib.informers.figures import queue_families

QUEUES = {
    "clusterrole-aggregation-controller": "ClusterRoleAggregator", "cronjob-controller": "cronjob",
    "daemonset-controller": "daemonset", "deployment-controller": "deployment", "disruption budgets": "disruption",
    "endpoint-controller": "endpoint", "endpointslice-controller": "endpoint_slice",
    "endpointslicemirroring-controller": "endpoint_slice_mirroring", "ephemeral-volume-controller": "ephemeral_volume",
    "garbage-collector-controller": "garbage_collector_attempt_to_delete",
    "horizontal-pod-autoscaler": "horizontalpodautoscaler", "job-controller": "job", "namespace-controller": "namespace",
    "persistentvolume-expander-controller": "volume_expand", "pv-protection-controller": "pvprotection",
    "pvc-protection-controller": "pvcprotection", "replicaset-controller": "replicaset",
    "replication-controller": "replicationmanager", "resourcequota-controller": "resourcequota_primary",
    "root-ca-certificate-publisher-controller": "root_ca_cert_publisher", "serviceaccount-controller": "serviceaccount",
    "stale disruptions": "stale_pod_disruption", "statefulset-controller": "statefulset",
    "ttl-after-finished-controller": "ttl_jobs_to_delete", "ttl-controller": "ttlcontroller",
}  # fmt: skip
"""What Kubernetes calls the queues of its controllers. Those of others have the controller's name."""


def controller_families(components: Sequence[Component], manager: str) -> Iterator[list[str]]:
    """Return the metrics of the controllers among the components that a manager runs."""
    yield family(
        "running_managed_controllers",
        "gauge",
        "[ALPHA] Indicates where instances of a controller are currently running",
        (
            Sample(1, {"manager": manager, "name": component.name})
            for component in components
            if not isinstance(component, EventRecorder | SharedInformers)
        ),
    )
    yield from queue_families({QUEUES.get(one.name, one.name): one.queue for one in _controllers(components)})


def _controllers(components: Iterable[Component]) -> Iterator[Controller]:
    for component in components:
        if isinstance(component, Manager):
            yield from _controllers(component.components)
        elif isinstance(component, Controller):
            yield component
