"""Pods that are scheduled as a group: the part of the future workload kinds that Jobs already refer to."""

from typing import ClassVar

from kubelib.api.model import Model


class WorkloadPodGroupBasicSchedulingPolicy(Model):
    """Pods are scheduled one by one."""


class WorkloadPodGroupGangSchedulingPolicy(Model):
    """Pods are scheduled only when so many of them fit at once."""

    __proto__: ClassVar[str] = "1"

    min_count: int | None = None


class WorkloadPodGroupSchedulingPolicy(Model):
    """Whether a group is scheduled as a gang; exactly one is set."""

    __proto__: ClassVar[str] = "1-2"

    basic: WorkloadPodGroupBasicSchedulingPolicy | None = None
    gang: WorkloadPodGroupGangSchedulingPolicy | None = None


class TopologyConstraint(Model):
    """A label of nodes on whose value a group must agree."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "key"

    key: str = ""


class WorkloadPodGroupSchedulingConstraints(Model):
    """Where the Pods of a group must be together."""

    __proto__: ClassVar[str] = "1"

    topology: tuple[TopologyConstraint, ...] = ()


class WorkloadPodGroupSingleDisruptionMode(Model):
    """Pods are disrupted one by one."""


class WorkloadPodGroupAllDisruptionMode(Model):
    """Pods are disrupted all together."""


class WorkloadPodGroupDisruptionMode(Model):
    """Whether a group is disrupted as a whole; exactly one is set."""

    __proto__: ClassVar[str] = "1-2"

    single: WorkloadPodGroupSingleDisruptionMode | None = None
    all: WorkloadPodGroupAllDisruptionMode | None = None


class WorkloadPodGroupResourceClaim(Model):
    """A claim to devices that the Pods of a group share, or the template of one."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"

    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""
