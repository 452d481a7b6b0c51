"""API priority and fairness: which requests belong together, and how many are served at a time."""

from typing import ClassVar

import msgspec

from kubelib.api.merging import BY_TYPE, SET, Merging
from kubelib.api.meta import Object, Time
from kubelib.api.model import Model


class UserSubject(Model):
    """A user, or ``*`` for all."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class GroupSubject(Model):
    """A group of users, or ``*`` for all."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class ServiceAccountSubject(Model):
    """A service account, or ``*`` for all of its namespace."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "namespace name"

    namespace: str = ""
    name: str = ""


class Subject(Model):
    """Who asks."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "kind"

    kind: str = ""
    user: UserSubject | None = None
    group: GroupSubject | None = None
    service_account: ServiceAccountSubject | None = None


class ResourcePolicyRule(Model):
    """Requests for resources."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "verbs apiGroups resources"
    __merge__: ClassVar[Merging] = dict.fromkeys(("verbs", "apiGroups", "resources", "namespaces"), SET)

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    cluster_scope: bool = False
    namespaces: tuple[str, ...] = ()


class NonResourcePolicyRule(Model):
    """Requests for other paths."""

    __proto__: ClassVar[str] = "1 6"
    __required__: ClassVar[str] = "verbs nonResourceURLs"
    __merge__: ClassVar[Merging] = dict.fromkeys(("verbs", "nonResourceURLs"), SET)

    verbs: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class PolicyRulesWithSubjects(Model):
    """Who asks for what."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "subjects"

    subjects: tuple[Subject, ...] = ()
    resource_rules: tuple[ResourcePolicyRule, ...] = ()
    non_resource_rules: tuple[NonResourcePolicyRule, ...] = ()


class PriorityLevelConfigurationReference(Model):
    """A priority level."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class FlowDistinguisherMethod(Model):
    """What makes two requests part of different flows."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "type"

    type: str = ""


class FlowSchemaSpec(Model):
    """What is wanted of a FlowSchema."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "priorityLevelConfiguration"

    priority_level_configuration: PriorityLevelConfigurationReference = PriorityLevelConfigurationReference()
    matching_precedence: int = 0
    distinguisher_method: FlowDistinguisherMethod | None = None
    rules: tuple[PolicyRulesWithSubjects, ...] = ()


class FlowSchemaCondition(Model):
    """One aspect of the state of a FlowSchema."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "type"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class FlowSchemaStatus(Model):
    """What is observed of a FlowSchema."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[FlowSchemaCondition, ...] = ()


class FlowSchema(Object):
    """Which requests belong to which priority level, and how they are told apart."""

    api_version: ClassVar[str] = "flowcontrol.apiserver.k8s.io/v1"
    kind: ClassVar[str] = "FlowSchema"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: FlowSchemaSpec = FlowSchemaSpec()
    status: FlowSchemaStatus = FlowSchemaStatus()


class QueuingConfiguration(Model):
    """The queues of a priority level."""

    __proto__: ClassVar[str] = "1-3"

    queues: int = 0
    hand_size: int = 0
    queue_length_limit: int = 0


class LimitResponse(Model):
    """What becomes of a request that cannot be served at once."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "type"

    type: str = ""
    queuing: QueuingConfiguration | None = None


class LimitedPriorityLevelConfiguration(Model):
    """How many requests of a level are served at a time."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "limitResponse"

    nominal_concurrency_shares: int | None = None
    limit_response: LimitResponse = LimitResponse()
    lendable_percent: int | None = None
    borrowing_limit_percent: int | None = None


class ExemptPriorityLevelConfiguration(Model):
    """A level without limits: what it counts for in the shares of others."""

    __proto__: ClassVar[str] = "1-2"

    nominal_concurrency_shares: int | None = None
    lendable_percent: int | None = None


class PriorityLevelConfigurationSpec(Model):
    """What is wanted of a PriorityLevelConfiguration."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "type"

    type: str = ""
    limited: LimitedPriorityLevelConfiguration | None = None
    exempt: ExemptPriorityLevelConfiguration | None = None


class PriorityLevelConfigurationCondition(Model):
    """One aspect of the state of a PriorityLevelConfiguration."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "type"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class PriorityLevelConfigurationStatus(Model):
    """What is observed of a PriorityLevelConfiguration."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[PriorityLevelConfigurationCondition, ...] = ()


class PriorityLevelConfiguration(Object):
    """How many requests are served at a time, and where the others wait."""

    api_version: ClassVar[str] = "flowcontrol.apiserver.k8s.io/v1"
    kind: ClassVar[str] = "PriorityLevelConfiguration"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: PriorityLevelConfigurationSpec = PriorityLevelConfigurationSpec()
    status: PriorityLevelConfigurationStatus = PriorityLevelConfigurationStatus()
