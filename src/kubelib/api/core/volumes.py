"""Volumes of a Pod, by where their files come from."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.core.claims import PersistentVolumeClaimTemplate
from kubelib.api.core.drivers import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFileVolumeSource,
    CephFSVolumeSource,
    CinderVolumeSource,
    CSIVolumeSource,
    FCVolumeSource,
    FlexVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    GitRepoVolumeSource,
    GlusterfsVolumeSource,
    ISCSIVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    RBDVolumeSource,
    ScaleIOVolumeSource,
    StorageOSVolumeSource,
    VsphereVirtualDiskVolumeSource,
)
from kubelib.api.core.projections import DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource
from kubelib.api.core.references import LocalObjectReference
from kubelib.api.meta import Int64, Quantity
from kubelib.api.model import Model


class HostPathVolumeSource(Model):
    """A file or directory of the node."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "path"

    path: str = ""
    type: str = ""


class EmptyDirVolumeSource(Model):
    """A directory that is empty at first and goes with the Pod."""

    __proto__: ClassVar[str] = "1-3"

    medium: str = ""
    size_limit: Quantity = ""
    mode: int | None = None


class SecretVolumeSource(Model):
    """The entries of a Secret, as files."""

    __proto__: ClassVar[str] = "1-5"

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None
    default_user: Int64 | None = None


class PersistentVolumeClaimVolumeSource(Model):
    """The storage behind a claim in the same namespace."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "claimName"

    claim_name: str = ""
    read_only: bool = False


class DownwardAPIVolumeSource(Model):
    """Facts about the Pod, as files."""

    __proto__: ClassVar[str] = "1-3"

    items: tuple[DownwardAPIVolumeFile, ...] = ()
    default_mode: int | None = None
    default_user: Int64 | None = None


class ConfigMapVolumeSource(LocalObjectReference):
    """The entries of a ConfigMap, as files."""

    __proto__: ClassVar[str] = "2-5"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None
    default_user: Int64 | None = None


class EphemeralVolumeSource(Model):
    """A claim that is made for the Pod and goes with it."""

    __proto__: ClassVar[str] = "1"

    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class ImageVolumeSource(Model):
    """The files of an image."""

    __proto__: ClassVar[str] = "1-2"

    reference: str = ""
    pull_policy: str = ""


class VolumeSource(Model):
    """Where the files of a volume come from; exactly one is set."""

    __proto__: ClassVar[str] = "1-30"

    host_path: HostPathVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    git_repo: GitRepoVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    iscsi: ISCSIVolumeSource | None = None
    glusterfs: GlusterfsVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    rbd: RBDVolumeSource | None = None
    flex_volume: FlexVolumeSource | None = None
    cinder: CinderVolumeSource | None = None
    cephfs: CephFSVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = None
    fc: FCVolumeSource | None = None
    azure_file: AzureFileVolumeSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    scale_io: ScaleIOVolumeSource | None = msgspec.field(default=None, name="scaleIO")
    projected: ProjectedVolumeSource | None = None
    storageos: StorageOSVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    image: ImageVolumeSource | None = None


class Volume(VolumeSource):
    """A directory that the containers of a Pod can see, named so that they can mount it."""

    __proto__: ClassVar[str] = "1"
    __embeds__: ClassVar[Mapping[str, int]] = {"VolumeSource": 2}
    __required__: ClassVar[str] = "name"

    name: str = ""
