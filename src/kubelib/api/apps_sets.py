"""Daemon sets, stateful sets and their revisions."""

from typing import Any, ClassVar

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class RollingUpdateDaemonSet(Model):
    """How many nodes a rolling update may leave without a Pod, or with two."""

    __proto__: ClassVar[str] = "1-2"

    max_unavailable: int | str | None = None
    max_surge: int | str | None = None


class DaemonSetUpdateStrategy(Model):
    """When the Pods of a DaemonSet are replaced after a change."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    rolling_update: RollingUpdateDaemonSet | None = None


class DaemonSetSpec(Model):
    """What is wanted of a DaemonSet."""

    __proto__: ClassVar[str] = "1-4 6"
    __required__: ClassVar[str] = "selector template"

    selector: LabelSelector = LabelSelector()
    template: PodTemplateSpec = PodTemplateSpec()
    update_strategy: DaemonSetUpdateStrategy = DaemonSetUpdateStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None


class DaemonSetCondition(Model):
    """One aspect of the state of a DaemonSet."""

    __proto__: ClassVar[str] = "1-5"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class DaemonSetStatus(Model):
    """What is observed of a DaemonSet."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = (
        "currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady"
    )
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: Int64 = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None
    conditions: tuple[DaemonSetCondition, ...] = ()


class DaemonSet(Object):
    """Runs a copy of a Pod on every node."""

    api_version: ClassVar[str] = "apps/v1"
    kind: ClassVar[str] = "DaemonSet"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class RollingUpdateStatefulSetStrategy(Model):
    """Which Pods a rolling update touches, and how many at once."""

    __proto__: ClassVar[str] = "1-2"

    partition: int | None = None
    max_unavailable: int | str | None = None


class StatefulSetUpdateStrategy(Model):
    """When the Pods of a StatefulSet are replaced after a change."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    rolling_update: RollingUpdateStatefulSetStrategy | None = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(Model):
    """Whether claims outlive the set, and Pods that it scales away."""

    __proto__: ClassVar[str] = "1-2"

    when_deleted: str = ""
    when_scaled: str = ""


class StatefulSetOrdinals(Model):
    """Where the numbering of Pods begins."""

    __proto__: ClassVar[str] = "1"

    start: int = 0


class StatefulSetSpec(Model):
    """What is wanted of a StatefulSet."""

    __proto__: ClassVar[str] = "1-11"
    __required__: ClassVar[str] = "selector template"

    replicas: int | None = None
    selector: LabelSelector = LabelSelector()
    template: PodTemplateSpec = PodTemplateSpec()
    volume_claim_templates: tuple[PersistentVolumeClaim, ...] = ()
    service_name: str = ""
    pod_management_policy: str = ""
    update_strategy: StatefulSetUpdateStrategy = StatefulSetUpdateStrategy()
    revision_history_limit: int | None = None
    min_ready_seconds: int = 0
    persistent_volume_claim_retention_policy: StatefulSetPersistentVolumeClaimRetentionPolicy | None = None
    ordinals: StatefulSetOrdinals | None = None


class StatefulSetCondition(Model):
    """One aspect of the state of a StatefulSet."""

    __proto__: ClassVar[str] = "1-5"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class StatefulSetStatus(Model):
    """What is observed of a StatefulSet."""

    __proto__: ClassVar[str] = "1-7 9-11"
    __required__: ClassVar[str] = "replicas"
    __always__: ClassVar[str] = "availableReplicas"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    observed_generation: Int64 = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None
    conditions: tuple[StatefulSetCondition, ...] = ()
    available_replicas: int = 0


class StatefulSet(Object):
    """Runs copies of a Pod that each keep a name and storage."""

    api_version: ClassVar[str] = "apps/v1"
    kind: ClassVar[str] = "StatefulSet"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


class ControllerRevision(Object):
    """A snapshot of the state of a controlled object."""

    api_version: ClassVar[str] = "apps/v1"
    kind: ClassVar[str] = "ControllerRevision"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "data"

    data: Any = None
    revision: Int64 = 0
