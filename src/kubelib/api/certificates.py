"""Requests for certificates."""

from collections.abc import Mapping
from typing import ClassVar

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
