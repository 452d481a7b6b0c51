"""Scale, and the first version of autoscalers."""

from typing import ClassVar

import msgspec

from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class ScaleSpec(Model):
    """What is wanted of a Scale."""

    __proto__: ClassVar[str] = "1"

    replicas: int = 0


class ScaleStatus(Model):
    """What is observed of a Scale."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "replicas"

    replicas: int = 0
    selector: str = ""


class Scale(Object):
    """The number of replicas of anything that has replicas."""

    api_version: ClassVar[str] = "autoscaling/v1"
    kind: ClassVar[str] = "Scale"
    __proto__: ClassVar[str] = "2-3"

    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()


class CrossVersionObjectReference(Model):
    """The object that is scaled."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "kind name"
    __atomic__: ClassVar[bool] = True

    kind: str = ""
    name: str = ""
    api_version: str = ""


class HorizontalPodAutoscalerSpec(Model):
    """What is wanted of a HorizontalPodAutoscaler."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "scaleTargetRef maxReplicas"

    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference()
    min_replicas: int | None = None
    max_replicas: int = 0
    target_cpu_utilization_percentage: int | None = msgspec.field(
        default=None, name="targetCPUUtilizationPercentage"
    )


class HorizontalPodAutoscalerStatus(Model):
    """What is observed of a HorizontalPodAutoscaler."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "currentReplicas desiredReplicas"

    observed_generation: Int64 | None = None
    last_scale_time: Time | None = None
    current_replicas: int = 0
    desired_replicas: int = 0
    current_cpu_utilization_percentage: int | None = msgspec.field(
        default=None, name="currentCPUUtilizationPercentage"
    )


class HorizontalPodAutoscaler(Object):
    """Scales by CPU usage between two bounds: the old, short form."""

    api_version: ClassVar[str] = "autoscaling/v1"
    kind: ClassVar[str] = "HorizontalPodAutoscaler"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
