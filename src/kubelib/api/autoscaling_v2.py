"""Autoscalers in their full form: any metrics, and rules for how fast to scale."""

from typing import ClassVar

from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Int64, Object, Quantity, Time
from kubelib.api.model import Model


class CrossVersionObjectReference(Model):
    """The object that is scaled, or that a metric describes. Unlike in v1, its fields are owned one by one."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "kind name"

    kind: str = ""
    name: str = ""
    api_version: str = ""


class MetricIdentifier(Model):
    """A metric, by name and labels."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    selector: LabelSelector | None = None


class MetricTarget(Model):
    """The value that a metric should have; exactly one is set."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "type"

    type: str = ""
    value: Quantity = ""
    average_value: Quantity = ""
    average_utilization: int | None = None


class MetricValueStatus(Model):
    """The value that a metric has."""

    __proto__: ClassVar[str] = "1-3"

    value: Quantity = ""
    average_value: Quantity = ""
    average_utilization: int | None = None


class ObjectMetricSource(Model):
    """A metric of one other object."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "describedObject target metric"

    described_object: CrossVersionObjectReference = CrossVersionObjectReference()
    target: MetricTarget = MetricTarget()
    metric: MetricIdentifier = MetricIdentifier()


class PodsMetricSource(Model):
    """A metric of the Pods, averaged."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "metric target"

    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class ResourceMetricSource(Model):
    """A resource that the Pods use."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name target"

    name: str = ""
    target: MetricTarget = MetricTarget()


class ContainerResourceMetricSource(Model):
    """A resource that one container of the Pods uses."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name target container"

    name: str = ""
    target: MetricTarget = MetricTarget()
    container: str = ""


class ExternalMetricSource(Model):
    """A metric from outside of the cluster."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "metric target"

    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class MetricSpec(Model):
    """A metric to scale by; the type says which field is set."""

    __proto__: ClassVar[str] = "1-5 7"
    __required__: ClassVar[str] = "type"

    type: str = ""
    object: ObjectMetricSource | None = None
    pods: PodsMetricSource | None = None
    resource: ResourceMetricSource | None = None
    external: ExternalMetricSource | None = None
    container_resource: ContainerResourceMetricSource | None = None


class ObjectMetricStatus(Model):
    """The value of a metric of one other object."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "metric current describedObject"

    metric: MetricIdentifier = MetricIdentifier()
    current: MetricValueStatus = MetricValueStatus()
    described_object: CrossVersionObjectReference = CrossVersionObjectReference()


class PodsMetricStatus(Model):
    """The average of a metric of the Pods."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "metric current"

    metric: MetricIdentifier = MetricIdentifier()
    current: MetricValueStatus = MetricValueStatus()


class ResourceMetricStatus(Model):
    """How much of a resource the Pods use."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name current"

    name: str = ""
    current: MetricValueStatus = MetricValueStatus()


class ContainerResourceMetricStatus(Model):
    """How much of a resource one container of the Pods uses."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name current container"

    name: str = ""
    current: MetricValueStatus = MetricValueStatus()
    container: str = ""


class ExternalMetricStatus(Model):
    """The value of a metric from outside of the cluster."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "metric current"

    metric: MetricIdentifier = MetricIdentifier()
    current: MetricValueStatus = MetricValueStatus()


class MetricStatus(Model):
    """The last value of a metric; the type says which field is set."""

    __proto__: ClassVar[str] = "1-5 7"
    __required__: ClassVar[str] = "type"

    type: str = ""
    object: ObjectMetricStatus | None = None
    pods: PodsMetricStatus | None = None
    resource: ResourceMetricStatus | None = None
    external: ExternalMetricStatus | None = None
    container_resource: ContainerResourceMetricStatus | None = None


class HPAScalingPolicy(Model):
    """How much may change in a period."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "type value periodSeconds"

    type: str = ""
    value: int = 0
    period_seconds: int = 0


class HPAScalingRules(Model):
    """How fast to scale in one direction."""

    __proto__: ClassVar[str] = "1-4"

    select_policy: str = ""
    policies: tuple[HPAScalingPolicy, ...] = ()
    stabilization_window_seconds: int | None = None
    tolerance: Quantity = ""


class HorizontalPodAutoscalerBehavior(Model):
    """How fast to scale up and down."""

    __proto__: ClassVar[str] = "1-2"

    scale_up: HPAScalingRules | None = None
    scale_down: HPAScalingRules | None = None


class HorizontalPodAutoscalerSpec(Model):
    """What to scale, between which bounds, by which metrics."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "scaleTargetRef maxReplicas"

    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference()
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: tuple[MetricSpec, ...] = ()
    behavior: HorizontalPodAutoscalerBehavior | None = None


class HorizontalPodAutoscalerCondition(Model):
    """One aspect of the state of an autoscaler."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
    observed_generation: Int64 | None = None


class HorizontalPodAutoscalerStatus(Model):
    """What an autoscaler last saw and did."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "desiredReplicas"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    observed_generation: Int64 | None = None
    last_scale_time: Time | None = None
    current_replicas: int = 0
    desired_replicas: int = 0
    current_metrics: tuple[MetricStatus, ...] = ()
    conditions: tuple[HorizontalPodAutoscalerCondition, ...] = ()


class HorizontalPodAutoscaler(Object):
    """Keeps the number of replicas of an object in step with metrics."""

    api_version: ClassVar[str] = "autoscaling/v2"
    kind: ClassVar[str] = "HorizontalPodAutoscaler"
    __proto__: ClassVar[str] = "2-3"

    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
