"""Configuration, secrets, tokens and facts about the Pod, as files of one directory."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import LocalObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Int64, Quantity
from kubelib.api.model import Model


class KeyToPath(Model):
    """Which key goes to which file."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "key path"

    key: str = ""
    path: str = ""
    mode: int | None = None
    user: Int64 | None = None


class ObjectFieldSelector(Model):
    """A field of the Pod."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "fieldPath"
    __atomic__: ClassVar[bool] = True

    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Model):
    """A resource of a container."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "resource"
    __atomic__: ClassVar[bool] = True

    container_name: str = ""
    resource: str = ""
    divisor: Quantity = ""


class DownwardAPIVolumeFile(Model):
    """A file with something about the Pod in it."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "path"

    path: str = ""
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None
    user: Int64 | None = None


class SecretProjection(LocalObjectReference):
    """Entries of a Secret."""

    __proto__: ClassVar[str] = "2 4"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class DownwardAPIProjection(Model):
    """Facts about the Pod."""

    __proto__: ClassVar[str] = "1"

    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ConfigMapProjection(LocalObjectReference):
    """Entries of a ConfigMap."""

    __proto__: ClassVar[str] = "2 4"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class ServiceAccountTokenProjection(Model):
    """A token of the Pod's service account, kept fresh."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "path"

    audience: str = ""
    expiration_seconds: Int64 | None = None
    path: str = ""
    user: Int64 | None = None


class ClusterTrustBundleProjection(Model):
    """Certificates of authorities to trust."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "path"

    name: str = ""
    signer_name: str = ""
    label_selector: LabelSelector | None = None
    path: str = ""
    optional: bool | None = None
    user: Int64 | None = None


class PodCertificateProjection(Model):
    """A key and a certificate for the Pod, kept fresh."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "signerName keyType"

    signer_name: str = ""
    key_type: str = ""
    max_expiration_seconds: int | None = None
    credential_bundle_path: str = ""
    key_path: str = ""
    certificate_chain_path: str = ""
    user_annotations: Mapping[str, str] = {}
    user: Int64 | None = None


class VolumeProjection(Model):
    """One part of a projected volume; exactly one is set."""

    __proto__: ClassVar[str] = "1-6"

    secret: SecretProjection | None = None
    downward_api: DownwardAPIProjection | None = None
    config_map: ConfigMapProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class ProjectedVolumeSource(Model):
    """Several sources in one directory."""

    __proto__: ClassVar[str] = "1-3"

    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int | None = None
    default_user: Int64 | None = None
