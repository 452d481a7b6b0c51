"""Certificates for those who ask: what each of Kubernetes' signers signs, and how.

The rules, usages and messages are those of ``pkg/apis/certificates`` and ``pkg/controller/certificates`` in Kubernetes. Decisions are
pure functions of a request; only `CertificateAuthority.sign` uses a key.
"""

import base64
from collections.abc import Collection
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import attrs

from kubelib.api.certificates import CertificateSigningRequest

if TYPE_CHECKING:
    from cryptography import x509

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)
LONGEST = timedelta(days=365)
SHORTEST = timedelta(minutes=10)
BACKDATED = timedelta(minutes=5)
"""Clocks differ: a certificate is good a little before it was signed."""
SHORT = timedelta(hours=8)
"""From here on certificates end as much earlier as they begin."""
_CLIENT_USAGES = {"key encipherment", "digital signature", "client auth"}
_SERVING_USAGES = {"key encipherment", "digital signature", "server auth"}


class Unsignable(ValueError):
    """A request that its signer does not sign; the message says why, in Kubernetes' words."""


def parse_request(request: CertificateSigningRequest) -> "x509.CertificateSigningRequest":
    """Return the PKCS #10 request within. Raises `Unsignable`."""
    from cryptography import x509

    try:
        pem = base64.b64decode(request.spec.request)
        parsed = x509.load_pem_x509_csr(pem)
        if not parsed.is_signature_valid:
            raise Unsignable("unable to verify request signature: crypto: verification error")
        return parsed
    except Unsignable:
        raise
    except Exception as error:  # what the parser raises for odd bytes is not of one kind
        raise Unsignable(f"unable to parse csr {request.metadata.name!r}: {error}") from None


@attrs.frozen
class Wanted:
    """What a request wants to be certified."""

    name: str
    organizations: tuple[str, ...]
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def wanted_of(parsed: "x509.CertificateSigningRequest") -> Wanted:
    """Return what a PKCS #10 request wants. Raises `Unsignable`."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        groups = parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        try:
            alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            alternatives = x509.SubjectAlternativeName([])
    except ValueError as error:
        raise Unsignable(f"unable to parse csr: {error}") from None
    return Wanted(
        str(names[-1].value) if names else "",
        tuple(str(group.value) for group in groups),
        tuple(alternatives.get_values_for_type(x509.DNSName)),
        tuple(str(address) for address in alternatives.get_values_for_type(x509.IPAddress)),
        tuple(alternatives.get_values_for_type(x509.RFC822Name)),
        tuple(alternatives.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def kubelet_client_problem(wanted: Wanted, usages: Collection[str]) -> str:
    """Return why a request is not one of a kubelet for its client certificate; empty if it is."""
    if wanted.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    for values, what in (
        (wanted.dns, "DNS"), (wanted.emails, "Email"), (wanted.addresses, "IP"), (wanted.uris, "URI"),
    ):  # fmt: skip
        if values:
            return f"{what} subjectAltNames are not allowed"
    if not wanted.name.startswith("system:node:"):
        return "subject common name does not begin with system:node: "
    if set(usages) not in (_CLIENT_USAGES, _CLIENT_USAGES - {"key encipherment"}):
        return "usages did not match [client auth digital signature key encipherment]"
    return ""


def kubelet_serving_problem(wanted: Wanted, usages: Collection[str]) -> str:
    """Return why a request is not one of a kubelet for its server certificate; empty if it is."""
    if wanted.organizations != ("system:nodes",):
        return "subject organization is not system:nodes"
    if not wanted.dns and not wanted.addresses:
        return "DNS or IP subjectAltName is required"
    if wanted.emails:
        return "Email subjectAltNames are not allowed"
    if wanted.uris:
        return "URI subjectAltNames are not allowed"
    if set(usages) not in (_SERVING_USAGES, _SERVING_USAGES - {"key encipherment"}):
        return "usages did not match [digital signature key encipherment server auth]"
    if not wanted.name.startswith("system:node:"):
        return "subject common name does not begin with system:node: "
    return ""


def problem(signer: str, wanted: Wanted, usages: Collection[str]) -> str:
    """Return why a signer does not sign what is wanted; empty if it does."""
    match signer:
        case "kubernetes.io/kube-apiserver-client-kubelet":
            return kubelet_client_problem(wanted, usages)
        case "kubernetes.io/kubelet-serving":
            return kubelet_serving_problem(wanted, usages)
        case "kubernetes.io/kube-apiserver-client":
            for usage in usages:
                if usage not in _CLIENT_USAGES:
                    return f"invalid usage for client certificate: {usage}"
            if "client auth" not in usages:
                return "missing required usage for client certificate: client auth"
    return ""


def lifetime(seconds: int | None, longest: timedelta = LONGEST) -> timedelta:
    """Return how long a certificate is good that was asked for with ``expirationSeconds``."""
    if seconds is None:
        return longest
    return max(min(timedelta(seconds=seconds), longest), SHORTEST)


def validity(asked: timedelta, now: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Return from when to when a certificate is good whose authority is good until `until`.

    Raises `RuntimeError` if the authority is so no more: the request waits for another one.
    """
    if until <= now:
        raise RuntimeError(f"refusing to sign a certificate that expired in the past: NotAfter={until}")
    return now - BACKDATED, min(now + asked - (BACKDATED if asked >= SHORT else timedelta()), until)


class CertificateAuthority:
    """A certificate and its key, with which requests are signed. Both are PEM, and read when first needed."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._certificate, self._key = certificate, key

    def sign(self, request: CertificateSigningRequest, now: datetime) -> bytes:
        """Return the certificate, as PEM. Raises `Unsignable` for what the signer does not sign.

        Raises `RuntimeError` if the authority has expired.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        parsed = parse_request(request)
        usages = request.spec.usages
        wanted = wanted_of(parsed)
        if why := problem(request.spec.signer_name, wanted, usages):
            raise Unsignable(why)
        authority = x509.load_pem_x509_certificate(self._certificate)
        key = serialization.load_pem_private_key(self._key, None)
        since, until = validity(lifetime(request.spec.expiration_seconds), now, authority.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(parsed.subject)
            .issuer_name(authority.subject)
            .public_key(parsed.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_identifier(authority), critical=False)
        )
        if (usage := _key_usage(usages)) is not None:
            builder = builder.add_extension(usage, critical=True)
        if purposes := _purposes(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if names := _names(wanted):
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=not list(parsed.subject)
            )
        certificate = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        return certificate.public_bytes(serialization.Encoding.PEM)


def expiry(certificate: bytes) -> datetime | None:
    """Return until when a certificate (PEM) is good; None for what is none."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None


def _identifier(authority: "x509.Certificate") -> "x509.AuthorityKeyIdentifier":
    """Return how an authority's key is called: as its own certificate says, or by the usual hash."""
    from cryptography import x509

    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _names(wanted: Wanted) -> "list[x509.GeneralName]":
    """Return the alternative names that are certified: no others than of the kinds that are looked at."""
    from cryptography import x509

    return [
        *(x509.DNSName(name) for name in wanted.dns),
        *(x509.RFC822Name(name) for name in wanted.emails),
        *(x509.IPAddress(ip_address(name)) for name in wanted.addresses),
        *(x509.UniformResourceIdentifier(name) for name in wanted.uris),
    ]


_KEY_USAGES = {
    "signing", "digital signature", "content commitment", "key encipherment", "data encipherment", "key agreement",
}  # fmt: skip


def _key_usage(usages: Collection[str]) -> "x509.KeyUsage | None":
    """Return what the key may be used for; None if nothing is said of it: the key may then be used for anything."""
    from cryptography import x509

    if not _KEY_USAGES & set(usages):
        return None

    agreement = "key agreement" in usages
    return x509.KeyUsage(
        digital_signature="digital signature" in usages or "signing" in usages,
        content_commitment="content commitment" in usages,
        key_encipherment="key encipherment" in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement=agreement,
        key_cert_sign=False,  # whoever signs for others is an authority
        crl_sign=False,
        encipher_only=agreement and "encipher only" in usages,
        decipher_only=agreement and "decipher only" in usages,
    )


def _purposes(usages: Collection[str]) -> "list[x509.ObjectIdentifier]":
    """Return what the certificate is for, in the order in which Kubernetes writes it."""
    from cryptography.x509 import ObjectIdentifier
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purposes = {
        "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
        "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
        "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
        "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
        "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
        "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
        "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
        "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
        "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
        "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
        "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
        "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
    }
    return list(dict.fromkeys(purpose for usage, purpose in purposes.items() if usage in usages))
