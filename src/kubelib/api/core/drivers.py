"""Volumes behind drivers of networks and clouds."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import LocalObjectReference
from kubelib.api.model import Model


class GCEPersistentDiskVolumeSource(Model):
    """A disk of Google's cloud."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "pdName"

    pd_name: str = ""
    fs_type: str = ""
    partition: int = 0
    read_only: bool = False


class AWSElasticBlockStoreVolumeSource(Model):
    """A disk of Amazon's cloud."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "volumeID"

    volume_id: str = ""
    fs_type: str = ""
    partition: int = 0
    read_only: bool = False


class GitRepoVolumeSource(Model):
    """A clone of a Git repository."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "repository"

    repository: str = ""
    revision: str = ""
    directory: str = ""


class NFSVolumeSource(Model):
    """A directory of an NFS server."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "server path"

    server: str = ""
    path: str = ""
    read_only: bool = False


class ISCSIVolumeSource(Model):
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
    secret_ref: LocalObjectReference | None = None
    chap_auth_session: bool = False
    initiator_name: str = ""


class GlusterfsVolumeSource(Model):
    """A Gluster volume."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "endpoints path"

    endpoints: str = ""
    path: str = ""
    read_only: bool = False


class RBDVolumeSource(Model):
    """A Ceph block device."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "monitors image"

    monitors: tuple[str, ...] = ()
    image: str = ""
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class FlexVolumeSource(Model):
    """Storage through a FlexVolume driver."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "driver"

    driver: str = ""
    fs_type: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    options: Mapping[str, str] = {}


class CinderVolumeSource(Model):
    """An OpenStack volume."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "volumeID"

    volume_id: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class CephFSVolumeSource(Model):
    """A directory in CephFS."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "monitors"

    monitors: tuple[str, ...] = ()
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class FlockerVolumeSource(Model):
    """A Flocker volume."""

    __proto__: ClassVar[str] = "1-2"

    dataset_name: str = ""
    dataset_uuid: str = ""


class FCVolumeSource(Model):
    """A Fibre Channel disk."""

    __proto__: ClassVar[str] = "1-5"

    target_wwns: tuple[str, ...] = ()
    lun: int | None = None
    fs_type: str = ""
    read_only: bool = False
    wwids: tuple[str, ...] = ()


class AzureFileVolumeSource(Model):
    """An Azure file share."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "secretName shareName"

    secret_name: str = ""
    share_name: str = ""
    read_only: bool = False


class VsphereVirtualDiskVolumeSource(Model):
    """A vSphere disk."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "volumePath"

    volume_path: str = ""
    fs_type: str = ""
    storage_policy_name: str = ""
    storage_policy_id: str = ""


class QuobyteVolumeSource(Model):
    """A Quobyte volume."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "registry volume"

    registry: str = ""
    volume: str = ""
    read_only: bool = False
    user: str = ""
    group: str = ""
    tenant: str = ""


class AzureDiskVolumeSource(Model):
    """An Azure disk."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "diskName diskURI"

    disk_name: str = ""
    disk_uri: str = ""
    caching_mode: str = ""
    fs_type: str = ""
    read_only: bool | None = None
    kind: str = ""


class PhotonPersistentDiskVolumeSource(Model):
    """A Photon disk."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "pdID"

    pd_id: str = ""
    fs_type: str = ""


class PortworxVolumeSource(Model):
    """A Portworx volume."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "volumeID"

    volume_id: str = ""
    fs_type: str = ""
    read_only: bool = False


class ScaleIOVolumeSource(Model):
    """A ScaleIO volume."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = "gateway system secretRef"

    gateway: str = ""
    system: str = ""
    secret_ref: LocalObjectReference | None = None
    ssl_enabled: bool = False
    protection_domain: str = ""
    storage_pool: str = ""
    storage_mode: str = ""
    volume_name: str = ""
    fs_type: str = ""
    read_only: bool = False


class StorageOSVolumeSource(Model):
    """A StorageOS volume."""

    __proto__: ClassVar[str] = "1-5"

    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class CSIVolumeSource(Model):
    """Storage through a CSI driver, for the life of the Pod."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "driver"

    driver: str = ""
    read_only: bool | None = None
    fs_type: str = ""
    volume_attributes: Mapping[str, str] = {}
    node_publish_secret_ref: LocalObjectReference | None = None
