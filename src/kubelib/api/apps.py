"""Replica sets and deployments."""

from typing import ClassVar

from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_TYPE, RETAIN_KEYS, Merging
from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class ReplicaSetSpec(Model):
    """What is wanted of a ReplicaSet."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "selector"

    replicas: int | None = None
    selector: LabelSelector = LabelSelector()
    template: PodTemplateSpec = PodTemplateSpec()
    min_ready_seconds: int = 0


class ReplicaSetCondition(Model):
    """One aspect of the state of a ReplicaSet."""

    __proto__: ClassVar[str] = "1-5"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class ReplicaSetStatus(Model):
    """What is observed of a ReplicaSet."""

    __proto__: ClassVar[str] = "1-7"
    __required__: ClassVar[str] = "replicas"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    replicas: int = 0
    fully_labeled_replicas: int = 0
    observed_generation: Int64 = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[ReplicaSetCondition, ...] = ()
    terminating_replicas: int | None = None


class ReplicaSet(Object):
    """Keeps a number of copies of a Pod running; the building block of Deployments."""

    api_version: ClassVar[str] = "apps/v1"
    kind: ClassVar[str] = "ReplicaSet"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdateDeployment(Model):
    """How many Pods a rolling update may take away and add at once."""

    __proto__: ClassVar[str] = "1-2"

    max_unavailable: int | str | None = None
    max_surge: int | str | None = None


class DeploymentStrategy(Model):
    """How old Pods are replaced by new ones: all at once or step by step."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(Model):
    """What is wanted of a Deployment."""

    __proto__: ClassVar[str] = "1-7 9"
    __required__: ClassVar[str] = "selector template"
    __merge__: ClassVar[Merging] = {"strategy": RETAIN_KEYS}

    replicas: int | None = None
    selector: LabelSelector = LabelSelector()
    template: PodTemplateSpec = PodTemplateSpec()
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    paused: bool = False
    progress_deadline_seconds: int | None = None


class DeploymentCondition(Model):
    """One aspect of the state of a Deployment."""

    __proto__: ClassVar[str] = "1-2 4-7"

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_update_time: Time | None = None
    last_transition_time: Time | None = None


class DeploymentStatus(Model):
    """What is observed of a Deployment."""

    __proto__: ClassVar[str] = "1-9"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    observed_generation: Int64 = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[DeploymentCondition, ...] = ()
    ready_replicas: int = 0
    collision_count: int | None = None
    terminating_replicas: int | None = None


class Deployment(Object):
    """Rolls a ReplicaSet over to the next, step by step."""

    api_version: ClassVar[str] = "apps/v1"
    kind: ClassVar[str] = "Deployment"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()
