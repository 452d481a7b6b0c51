"""Scale, and the first version of autoscalers."""

from typing import ClassVar

import msgspec

from kubelib.api.meta import Object, Time
from kubelib.api.model import Model


class ScaleSpec(Model):
    """What is wanted of a Scale."""

    __proto__: ClassVar[str] = "1"

    replicas: int | None = None


class ScaleStatus(Model):
    """What is observed of a Scale."""

    __proto__: ClassVar[str] = "1-2"

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
    """A cross version object reference."""

    __proto__: ClassVar[str] = "1-3"

    kind: str = ""
    name: str = ""
    api_version: str = ""


class HorizontalPodAutoscalerSpec(Model):
    """What is wanted of a HorizontalPodAutoscaler."""

    __proto__: ClassVar[str] = "1-4"

    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference()
    min_replicas: int | None = None
    max_replicas: int = 0
    target_cpu_utilization_percentage: int | None = msgspec.field(
        default=None, name="targetCPUUtilizationPercentage"
    )


class HorizontalPodAutoscalerStatus(Model):
    """What is observed of a HorizontalPodAutoscaler."""

    __proto__: ClassVar[str] = "1-5"

    observed_generation: int = 0
    last_scale_time: Time | None = None
    current_replicas: int = 0
    desired_replicas: int = 0
    current_cpu_utilization_percentage: int | None = msgspec.field(
        default=None, name="currentCPUUtilizationPercentage"
    )


class HorizontalPodAutoscaler(Object):
    """A horizontal pod autoscaler."""

    api_version: ClassVar[str] = "autoscaling/v1"
    kind: ClassVar[str] = "HorizontalPodAutoscaler"
    __proto__: ClassVar[str] = "2-3"

    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
