"""Replication controllers: so many copies of a Pod."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.merging import ATOMIC_MAP, BY_TYPE, Merging
from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class ReplicationControllerSpec(Model):
    """What is wanted of a ReplicationController."""

    __proto__: ClassVar[str] = "1-4"
    __merge__: ClassVar[Merging] = {"selector": ATOMIC_MAP}

    replicas: int | None = None
    selector: Mapping[str, str] = {}
    template: PodTemplateSpec | None = None
    min_ready_seconds: int = 0


class ReplicationControllerCondition(Model):
    """One aspect of the state of a ReplicationController."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class ReplicationControllerStatus(Model):
    """What is observed of a ReplicationController."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "replicas"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    replicas: int = 0
    fully_labeled_replicas: int = 0
    observed_generation: Int64 = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[ReplicationControllerCondition, ...] = ()


class ReplicationController(Object):
    """Keeps a number of copies of a Pod running."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "ReplicationController"
    __proto__: ClassVar[str] = "2-3"

    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: ReplicationControllerStatus = ReplicationControllerStatus()
