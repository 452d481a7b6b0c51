"""Groups of Pods that are scheduled together, and the templates that controllers make them of."""

from typing import ClassVar

from kubelib.api.machinery import Condition
from kubelib.api.merging import BY_NAME, BY_TYPE, Merging
from kubelib.api.meta import Object
from kubelib.api.model import Model


class TypedLocalObjectReference(Model):
    """An object of the same namespace, of any kind."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "kind name"

    api_group: str = ""
    kind: str = ""
    name: str = ""


class BasicSchedulingPolicy(Model):
    """Pods are scheduled one by one."""


class GangSchedulingPolicy(Model):
    """Pods are scheduled only when so many of them are, or can be, at once."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "minCount"

    min_count: int = 0


class PodGroupSchedulingPolicy(Model):
    """Whether a group is scheduled as a gang; exactly one is set."""

    __proto__: ClassVar[str] = "1-2"

    basic: BasicSchedulingPolicy | None = None
    gang: GangSchedulingPolicy | None = None


class TopologyConstraint(Model):
    """A label of nodes on whose value a group must agree."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "key"

    key: str = ""


class PodGroupSchedulingConstraints(Model):
    """Where the Pods of a group must be together."""

    __proto__: ClassVar[str] = "1"

    topology: tuple[TopologyConstraint, ...] = ()


class SingleDisruptionMode(Model):
    """Pods are disrupted one by one."""


class AllDisruptionMode(Model):
    """Pods are disrupted all together."""


class DisruptionMode(Model):
    """Whether a group is disrupted as a whole; exactly one is set."""

    __proto__: ClassVar[str] = "1-2"

    single: SingleDisruptionMode | None = None
    all: AllDisruptionMode | None = None


class PodGroupResourceClaim(Model):
    """A claim to devices that the Pods of a group share, or the template of one."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"

    name: str = ""
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodGroupTemplate(Model):
    """What groups of one part of a workload are like."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "name schedulingPolicy"
    __merge__: ClassVar[Merging] = {"resourceClaims": BY_NAME}

    name: str = ""
    scheduling_policy: PodGroupSchedulingPolicy = PodGroupSchedulingPolicy()
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    resource_claims: tuple[PodGroupResourceClaim, ...] = ()
    disruption_mode: DisruptionMode | None = None
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None


class WorkloadSpec(Model):
    """What is wanted of a Workload."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"podGroupTemplates": BY_NAME}

    controller_ref: TypedLocalObjectReference | None = None
    pod_group_templates: tuple[PodGroupTemplate, ...] = ()


class Workload(Object):
    """The templates of an application's groups of Pods."""

    api_version: ClassVar[str] = "scheduling.k8s.io/v1beta1"
    kind: ClassVar[str] = "Workload"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: WorkloadSpec = WorkloadSpec()


class WorkloadReference(Model):
    """The template that a group was made of."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "workloadName templateName"

    workload_name: str = ""
    template_name: str = ""


class PodGroupSpec(Model):
    """What is wanted of a PodGroup."""

    __proto__: ClassVar[str] = "2-9"
    __required__: ClassVar[str] = "schedulingPolicy"
    __merge__: ClassVar[Merging] = {"resourceClaims": BY_NAME}

    workload_ref: WorkloadReference | None = None
    scheduling_policy: PodGroupSchedulingPolicy = PodGroupSchedulingPolicy()
    scheduling_constraints: PodGroupSchedulingConstraints | None = None
    resource_claims: tuple[PodGroupResourceClaim, ...] = ()
    disruption_mode: DisruptionMode | None = None
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None


class PodGroupResourceClaimStatus(Model):
    """The claim that was made of a template for a group."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    resource_claim_name: str | None = None


class PodGroupStatus(Model):
    """What is observed of a PodGroup."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE, "resourceClaimStatuses": BY_NAME}

    conditions: tuple[Condition, ...] = ()
    resource_claim_statuses: tuple[PodGroupResourceClaimStatus, ...] = ()


class PodGroup(Object):
    """Pods that are scheduled together: those that name the group in ``spec.schedulingGroup``."""

    api_version: ClassVar[str] = "scheduling.k8s.io/v1beta1"
    kind: ClassVar[str] = "PodGroup"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: PodGroupSpec = PodGroupSpec()
    status: PodGroupStatus = PodGroupStatus()
