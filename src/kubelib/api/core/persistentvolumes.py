"""Persistent volumes: storage that outlives Pods."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.core.drivers import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    FCVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    VsphereVirtualDiskVolumeSource,
)
from kubelib.api.core.references import NodeSelector, ObjectReference, SecretReference
from kubelib.api.core.volumes import HostPathVolumeSource
from kubelib.api.merging import GRANULAR_MAP, Merging
from kubelib.api.meta import Object, Quantity, Time
from kubelib.api.model import Model

IN_USE = "kubernetes.io/pv-protection"
"""The finalizer that keeps a volume as long as a claim has it."""


class GlusterfsPersistentVolumeSource(Model):
    """A Gluster volume."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "endpoints path"

    endpoints: str = ""
    path: str = ""
    read_only: bool = False
    endpoints_namespace: str = ""


class RBDPersistentVolumeSource(Model):
    """A Ceph block device."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "monitors image"

    monitors: tuple[str, ...] = ()
    image: str = ""
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class ISCSIPersistentVolumeSource(Model):
    """An iSCSI disk."""

    __proto__: ClassVar[str] = "1-8 10-12"
    __required__: ClassVar[str] = "targetPortal iqn lun"

    target_portal: str = ""
    iqn: str = ""
    lun: int = 0
    iscsi_interface: str = ""
    fs_type: str = ""
    read_only: bool = False
    portals: tuple[str, ...] = ()
    chap_auth_discovery: bool = False
    secret_ref: SecretReference | None = None
    chap_auth_session: bool = False
    initiator_name: str = ""


class CinderPersistentVolumeSource(Model):
    """An OpenStack volume."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "volumeID"

    volume_id: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: SecretReference | None = None


class CephFSPersistentVolumeSource(Model):
    """A directory in CephFS."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "monitors"

    monitors: tuple[str, ...] = ()
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class FlexPersistentVolumeSource(Model):
    """Storage through a FlexVolume driver."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "driver"

    driver: str = ""
    fs_type: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False
    options: Mapping[str, str] = {}


class AzureFilePersistentVolumeSource(Model):
    """An Azure file share."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "secretName shareName"

    secret_name: str = ""
    share_name: str = ""
    read_only: bool = False
    secret_namespace: str = ""


class ScaleIOPersistentVolumeSource(Model):
    """A ScaleIO volume."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = "gateway system secretRef"

    gateway: str = ""
    system: str = ""
    secret_ref: SecretReference | None = None
    ssl_enabled: bool = False
    protection_domain: str = ""
    storage_pool: str = ""
    storage_mode: str = ""
    volume_name: str = ""
    fs_type: str = ""
    read_only: bool = False


class LocalVolumeSource(Model):
    """A disk or directory of one node."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "path"

    path: str = ""
    fs_type: str = ""


class StorageOSPersistentVolumeSource(Model):
    """A StorageOS volume."""

    __proto__: ClassVar[str] = "1-5"

    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: ObjectReference | None = None


class CSIPersistentVolumeSource(Model):
    """Storage through a CSI driver."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = "driver volumeHandle"

    driver: str = ""
    volume_handle: str = ""
    read_only: bool = False
    fs_type: str = ""
    volume_attributes: Mapping[str, str] = {}
    controller_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    controller_expand_secret_ref: SecretReference | None = None
    node_expand_secret_ref: SecretReference | None = None


class PersistentVolumeSource(Model):
    """Where the storage of a persistent volume is; exactly one is set."""

    __proto__: ClassVar[str] = "1-22"

    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    glusterfs: GlusterfsPersistentVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    rbd: RBDPersistentVolumeSource | None = None
    iscsi: ISCSIPersistentVolumeSource | None = None
    cinder: CinderPersistentVolumeSource | None = None
    cephfs: CephFSPersistentVolumeSource | None = None
    fc: FCVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    flex_volume: FlexPersistentVolumeSource | None = None
    azure_file: AzureFilePersistentVolumeSource | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    scale_io: ScaleIOPersistentVolumeSource | None = msgspec.field(default=None, name="scaleIO")
    local: LocalVolumeSource | None = None
    storageos: StorageOSPersistentVolumeSource | None = None
    csi: CSIPersistentVolumeSource | None = None


class VolumeNodeAffinity(Model):
    """From which nodes a volume can be reached."""

    __proto__: ClassVar[str] = "1"

    required: NodeSelector | None = None


class PersistentVolumeSpec(PersistentVolumeSource):
    """What is wanted of a PersistentVolume."""

    __proto__: ClassVar[str] = "1 3-10"
    __embeds__: ClassVar[Mapping[str, int]] = {"PersistentVolumeSource": 2}
    __merge__: ClassVar[Merging] = {"claimRef": GRANULAR_MAP}

    capacity: Mapping[str, Quantity] = {}
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str | None = None
    mount_options: tuple[str, ...] = ()
    volume_mode: str = ""
    node_affinity: VolumeNodeAffinity | None = None
    volume_attributes_class_name: str | None = None


class PersistentVolumeStatus(Model):
    """What is observed of a PersistentVolume."""

    __proto__: ClassVar[str] = "1-4"

    phase: str = ""
    message: str = ""
    reason: str = ""
    last_phase_transition_time: Time | None = None


class PersistentVolume(Object):
    """A piece of storage in the cluster."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "PersistentVolume"
    __proto__: ClassVar[str] = "2-3"

    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()
