"""Volumes of a Pod, by where their files come from."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.core.claims import PersistentVolumeClaimTemplate
from kubelib.api.core.references import LocalObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Quantity
from kubelib.api.model import Model


class HostPathVolumeSource(Model):
    """Storage of the kind HostPath, for a volume."""

    __proto__: ClassVar[str] = "1-2"

    path: str = ""
    type: str = ""


class EmptyDirVolumeSource(Model):
    """Storage of the kind EmptyDir, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    medium: str = ""
    size_limit: Quantity = ""
    mode: int | None = None


class GCEPersistentDiskVolumeSource(Model):
    """Storage of the kind GCEPersistentDisk, for a volume."""

    __proto__: ClassVar[str] = "1-4"

    pd_name: str = ""
    fs_type: str = ""
    partition: int = 0
    read_only: bool = False


class AWSElasticBlockStoreVolumeSource(Model):
    """Storage of the kind AWSElasticBlockStore, for a volume."""

    __proto__: ClassVar[str] = "1-4"

    volume_id: str = ""
    fs_type: str = ""
    partition: int = 0
    read_only: bool = False


class GitRepoVolumeSource(Model):
    """Storage of the kind GitRepo, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    repository: str = ""
    revision: str = ""
    directory: str = ""


class KeyToPath(Model):
    """A key to path."""

    __proto__: ClassVar[str] = "1-4"

    key: str = ""
    path: str = ""
    mode: int | None = None
    user: int | None = None


class SecretVolumeSource(Model):
    """Storage of the kind Secret, for a volume."""

    __proto__: ClassVar[str] = "1-5"

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None
    default_user: int | None = None


class NFSVolumeSource(Model):
    """Storage of the kind NFS, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    server: str = ""
    path: str = ""
    read_only: bool = False


class ISCSIVolumeSource(Model):
    """Storage of the kind ISCSI, for a volume."""

    __proto__: ClassVar[str] = "1-8 10-12"

    target_portal: str = ""
    iqn: str = ""
    lun: int = 0
    iscsi_interface: str = ""
    fs_type: str = ""
    read_only: bool = False
    portals: tuple[str, ...] = ()
    chap_auth_discovery: bool | None = None
    secret_ref: LocalObjectReference | None = None
    chap_auth_session: bool | None = None
    initiator_name: str = ""


class GlusterfsVolumeSource(Model):
    """Storage of the kind Glusterfs, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    endpoints: str = ""
    path: str = ""
    read_only: bool = False


class PersistentVolumeClaimVolumeSource(Model):
    """Storage of the kind PersistentVolumeClaim, for a volume."""

    __proto__: ClassVar[str] = "1-2"

    claim_name: str = ""
    read_only: bool = False


class RBDVolumeSource(Model):
    """Storage of the kind RBD, for a volume."""

    __proto__: ClassVar[str] = "1-8"

    monitors: tuple[str, ...] = ()
    image: str = ""
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class FlexVolumeSource(Model):
    """Storage of the kind Flex, for a volume."""

    __proto__: ClassVar[str] = "1-5"

    driver: str = ""
    fs_type: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    options: Mapping[str, str] = {}


class CinderVolumeSource(Model):
    """Storage of the kind Cinder, for a volume."""

    __proto__: ClassVar[str] = "1-4"

    volume_id: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class CephFSVolumeSource(Model):
    """Storage of the kind CephFS, for a volume."""

    __proto__: ClassVar[str] = "1-6"

    monitors: tuple[str, ...] = ()
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class FlockerVolumeSource(Model):
    """Storage of the kind Flocker, for a volume."""

    __proto__: ClassVar[str] = "1-2"

    dataset_name: str = ""
    dataset_uuid: str = ""


class ObjectFieldSelector(Model):
    """An object field selector."""

    __proto__: ClassVar[str] = "1-2"

    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Model):
    """A resource field selector."""

    __proto__: ClassVar[str] = "1-3"

    container_name: str = ""
    resource: str = ""
    divisor: Quantity = ""


class DownwardAPIVolumeFile(Model):
    """A downward API volume file."""

    __proto__: ClassVar[str] = "1-5"

    path: str = ""
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None
    user: int | None = None


class DownwardAPIVolumeSource(Model):
    """Storage of the kind DownwardAPI, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    items: tuple[DownwardAPIVolumeFile, ...] = ()
    default_mode: int | None = None
    default_user: int | None = None


class FCVolumeSource(Model):
    """Storage of the kind FC, for a volume."""

    __proto__: ClassVar[str] = "1-5"

    target_wwns: tuple[str, ...] = ()
    lun: int = 0
    fs_type: str = ""
    read_only: bool = False
    wwids: tuple[str, ...] = ()


class AzureFileVolumeSource(Model):
    """Storage of the kind AzureFile, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    secret_name: str = ""
    share_name: str = ""
    read_only: bool = False


class ConfigMapVolumeSource(LocalObjectReference):
    """Storage of the kind ConfigMap, for a volume."""

    __proto__: ClassVar[str] = "2-5"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None
    default_user: int | None = None


class VsphereVirtualDiskVolumeSource(Model):
    """Storage of the kind VsphereVirtualDisk, for a volume."""

    __proto__: ClassVar[str] = "1-4"

    volume_path: str = ""
    fs_type: str = ""
    storage_policy_name: str = ""
    storage_policy_id: str = ""


class QuobyteVolumeSource(Model):
    """Storage of the kind Quobyte, for a volume."""

    __proto__: ClassVar[str] = "1-6"

    registry: str = ""
    volume: str = ""
    read_only: bool = False
    user: str = ""
    group: str = ""
    tenant: str = ""


class AzureDiskVolumeSource(Model):
    """Storage of the kind AzureDisk, for a volume."""

    __proto__: ClassVar[str] = "1-6"

    disk_name: str = ""
    disk_uri: str = ""
    caching_mode: str = ""
    fs_type: str = ""
    read_only: bool = False
    kind: str = ""


class PhotonPersistentDiskVolumeSource(Model):
    """Storage of the kind PhotonPersistentDisk, for a volume."""

    __proto__: ClassVar[str] = "1-2"

    pd_id: str = ""
    fs_type: str = ""


class PortworxVolumeSource(Model):
    """Storage of the kind Portworx, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    volume_id: str = ""
    fs_type: str = ""
    read_only: bool = False


class ScaleIOVolumeSource(Model):
    """Storage of the kind ScaleIO, for a volume."""

    __proto__: ClassVar[str] = "1-10"

    gateway: str = ""
    system: str = ""
    secret_ref: LocalObjectReference = LocalObjectReference()
    ssl_enabled: bool | None = None
    protection_domain: str = ""
    storage_pool: str = ""
    storage_mode: str = ""
    volume_name: str = ""
    fs_type: str = ""
    read_only: bool = False


class SecretProjection(LocalObjectReference):
    """Part of a projected volume: secret."""

    __proto__: ClassVar[str] = "2 4"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class DownwardAPIProjection(Model):
    """Part of a projected volume: downward API."""

    __proto__: ClassVar[str] = "1"

    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ConfigMapProjection(LocalObjectReference):
    """Part of a projected volume: config map."""

    __proto__: ClassVar[str] = "2 4"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class ServiceAccountTokenProjection(Model):
    """Part of a projected volume: service account token."""

    __proto__: ClassVar[str] = "1-4"

    audience: str = ""
    expiration_seconds: int | None = None
    path: str = ""
    user: int | None = None


class ClusterTrustBundleProjection(Model):
    """Part of a projected volume: cluster trust bundle."""

    __proto__: ClassVar[str] = "1-6"

    name: str = ""
    signer_name: str = ""
    label_selector: LabelSelector | None = None
    path: str = ""
    optional: bool | None = None
    user: int | None = None


class PodCertificateProjection(Model):
    """Part of a projected volume: pod certificate."""

    __proto__: ClassVar[str] = "1-8"

    signer_name: str = ""
    key_type: str = ""
    max_expiration_seconds: int | None = None
    credential_bundle_path: str = ""
    key_path: str = ""
    certificate_chain_path: str = ""
    user_annotations: Mapping[str, str] = {}
    user: int | None = None


class VolumeProjection(Model):
    """Part of a projected volume: volume."""

    __proto__: ClassVar[str] = "1-6"

    secret: SecretProjection | None = None
    downward_api: DownwardAPIProjection | None = None
    config_map: ConfigMapProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class ProjectedVolumeSource(Model):
    """Storage of the kind Projected, for a volume."""

    __proto__: ClassVar[str] = "1-3"

    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int | None = None
    default_user: int | None = None


class StorageOSVolumeSource(Model):
    """Storage of the kind StorageOS, for a volume."""

    __proto__: ClassVar[str] = "1-5"

    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class CSIVolumeSource(Model):
    """Storage of the kind CSI, for a volume."""

    __proto__: ClassVar[str] = "1-5"

    driver: str = ""
    read_only: bool = False
    fs_type: str = ""
    volume_attributes: Mapping[str, str] = {}
    node_publish_secret_ref: LocalObjectReference | None = None


class EphemeralVolumeSource(Model):
    """Storage of the kind Ephemeral, for a volume."""

    __proto__: ClassVar[str] = "1"

    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class ImageVolumeSource(Model):
    """Storage of the kind Image, for a volume."""

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

    name: str = ""
