"""Requests for certificates, and whom to trust."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.machinery import Condition
from kubelib.api.merging import Merging, keyed_by
from kubelib.api.meta import Base64, Object, Time
from kubelib.api.model import Model


class CertificateSigningRequestSpec(Model):
    """What is wanted of a CertificateSigningRequest, and who wants it."""

    __proto__: ClassVar[str] = "1 7-8 5 2-4 6"
    __required__: ClassVar[str] = "request signerName"

    request: Base64 = ""
    signer_name: str = ""
    expiration_seconds: int | None = None
    usages: tuple[str, ...] = ()
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}


class CertificateSigningRequestCondition(Model):
    """One aspect of the state of a CertificateSigningRequest."""

    __proto__: ClassVar[str] = "1 6 2-5"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_update_time: Time | None = None
    last_transition_time: Time | None = None


class CertificateSigningRequestStatus(Model):
    """What is observed of a CertificateSigningRequest."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    conditions: tuple[CertificateSigningRequestCondition, ...] = ()
    certificate: Base64 = ""


class CertificateSigningRequest(Object):
    """Asks a signer for a certificate, once somebody approves."""

    api_version: ClassVar[str] = "certificates.k8s.io/v1"
    kind: ClassVar[str] = "CertificateSigningRequest"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: CertificateSigningRequestSpec = CertificateSigningRequestSpec()
    status: CertificateSigningRequestStatus = CertificateSigningRequestStatus()


class PodCertificateRequestSpec(Model):
    """For which Pod a certificate is wanted, and from whom."""

    __proto__: ClassVar[str] = "1-8 12 11"
    __required__: ClassVar[str] = (
        "signerName podName podUID serviceAccountName serviceAccountUID nodeName nodeUID stubPKCS10Request"
    )

    signer_name: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    service_account_name: str = ""
    service_account_uid: str = ""
    node_name: str = ""
    node_uid: str = ""
    max_expiration_seconds: int | None = None
    stub_pkcs10_request: Base64 = msgspec.field(default="", name="stubPKCS10Request")
    unverified_user_annotations: Mapping[str, str] = {}


class PodCertificateRequestStatus(Model):
    """The certificate that a Pod gets, or why it gets none."""

    __proto__: ClassVar[str] = "1-2 4-6"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    conditions: tuple[Condition, ...] = ()
    certificate_chain: str = ""
    not_before: Time | None = None
    begin_refresh_at: Time | None = None
    not_after: Time | None = None


class PodCertificateRequest(Object):
    """Asks a signer for a certificate for one Pod."""

    api_version: ClassVar[str] = "certificates.k8s.io/v1"
    kind: ClassVar[str] = "PodCertificateRequest"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: PodCertificateRequestSpec = PodCertificateRequestSpec()
    status: PodCertificateRequestStatus = PodCertificateRequestStatus()


class ClusterTrustBundleSpec(Model):
    """Certificates of authorities, and the signer that they belong to, if any."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "trustBundle"

    signer_name: str = ""
    trust_bundle: str = ""


class ClusterTrustBundle(Object):
    """Trust anchors for whoever in the cluster wants to know them."""

    api_version: ClassVar[str] = "certificates.k8s.io/v1"
    kind: ClassVar[str] = "ClusterTrustBundle"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: ClusterTrustBundleSpec = ClusterTrustBundleSpec()
