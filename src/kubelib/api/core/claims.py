"""Persistent volume claims: requests for storage."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import TypedLocalObjectReference, TypedObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_TYPE, GRANULAR_MAP, Merging, by
from kubelib.api.meta import Object, ObjectMeta, Quantity, Time
from kubelib.api.model import Model

IN_USE = "kubernetes.io/pvc-protection"
"""The finalizer that keeps a claim as long as Pods use it."""


class VolumeResourceRequirements(Model):
    """How much storage a claim asks for."""

    __proto__: ClassVar[str] = "1-2"

    limits: Mapping[str, Quantity] = {}
    requests: Mapping[str, Quantity] = {}


class PersistentVolumeClaimSpec(Model):
    """What is wanted of a PersistentVolumeClaim."""

    __proto__: ClassVar[str] = "1-9"

    access_modes: tuple[str, ...] = ()
    resources: VolumeResourceRequirements = VolumeResourceRequirements()
    volume_name: str = ""
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: str = ""
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    volume_attributes_class_name: str | None = None


class PersistentVolumeClaimCondition(Model):
    """One aspect of the state of a PersistentVolumeClaim."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class ModifyVolumeStatus(Model):
    """A change of the volume's attributes class that is under way."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "status"

    target_volume_attributes_class_name: str = ""
    status: str = ""


class VolumeHealthCondition(Model):
    """One finding about the health of a volume."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "status reason"

    status: str = ""
    reason: str = ""
    message: str = ""


class VolumeHealthStatus(Model):
    """What is known about the health of a volume."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"healthConditions": by("status", "reason")}

    health_conditions: tuple[VolumeHealthCondition, ...] = ()
    last_transition_time: Time | None = None


class PersistentVolumeClaimStatus(Model):
    """What is observed of a PersistentVolumeClaim."""

    __proto__: ClassVar[str] = "1-5 7-10"
    __merge__: ClassVar[Merging] = {
        "conditions": BY_TYPE,
        "allocatedResourceStatuses": GRANULAR_MAP,
    }

    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: Mapping[str, Quantity] = {}
    conditions: tuple[PersistentVolumeClaimCondition, ...] = ()
    allocated_resources: Mapping[str, Quantity] = {}
    allocated_resource_statuses: Mapping[str, str] = {}
    current_volume_attributes_class_name: str = ""
    modify_volume_status: ModifyVolumeStatus | None = None
    health_status: VolumeHealthStatus | None = None


class PersistentVolumeClaim(Object):
    """A request for a persistent volume."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "PersistentVolumeClaim"
    __proto__: ClassVar[str] = "2-3"

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class PersistentVolumeClaimTemplate(Model):
    """The claim that is made for an ephemeral volume."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "spec"

    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
