"""What is in the certificates that the cluster's authority signs, by the tables of Kubernetes' signer."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubelib.api.certificates import CertificateSigningRequest, CertificateSigningRequestSpec
from kubelib.api.meta import ObjectMeta
from kubelib.controllers.certificates import LEGACY, CertificateAuthority

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
DIGEST = b"not the hash of the key"


def authority(good_for: timedelta = timedelta(days=3650)) -> CertificateAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody's own")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=3650))
        .not_valid_after(NOW + good_for)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(DIGEST), critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertificateAuthority(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def request(
    usages: Sequence[str] = ("client auth",),
    seconds: int | None = None,
    names: Sequence[x509.GeneralName] = (),
    subject: str = "jane",
) -> CertificateSigningRequest:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    pem = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="a"),
        spec=CertificateSigningRequestSpec(
            request=pem, signer_name=LEGACY, usages=tuple(usages), expiration_seconds=seconds
        ),
    )


def signed(by: CertificateAuthority, asked: CertificateSigningRequest) -> x509.Certificate:
    return x509.load_pem_x509_certificate(by.sign(asked, NOW))


@pytest.mark.parametrize(
    ("seconds", "lasts"),
    [
        (600, timedelta(minutes=10)),
        (8 * 3600 - 1, timedelta(hours=8, seconds=-1)),
        (8 * 3600, timedelta(hours=7, minutes=55)),  # no longer than asked, with what lies before
        (None, timedelta(days=365, minutes=-5)),
    ],
)
def test_long_lives_count_from_their_backdated_beginning(seconds: int | None, lasts: timedelta) -> None:
    certificate = signed(authority(), request(seconds=seconds))
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == NOW + lasts


def test_nothing_outlives_its_authority_and_the_dead_sign_nothing() -> None:
    hour = timedelta(hours=1)
    assert signed(authority(hour), request()).not_valid_after_utc == NOW + hour
    with pytest.raises(RuntimeError, match="refusing to sign a certificate that expired in the past"):
        authority(timedelta(minutes=-1)).sign(request(), NOW)


def test_the_authority_is_called_as_it_calls_itself() -> None:
    certificate = signed(authority(), request())
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.key_identifier == DIGEST


def test_purposes_come_in_one_order_and_each_once() -> None:
    usages = ("netscape sgc", "ipsec user", "s/mime", "email protection", "client auth", "server auth", "any")
    certificate = signed(authority(), request(usages))
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == [
        "2.5.29.37.0", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.7",
        "2.16.840.1.113730.4.1",
    ]  # fmt: skip


@pytest.mark.parametrize(("subject", "critical"), [("jane", False), ("", True)])
def test_only_names_of_the_four_kinds_are_certified(subject: str, critical: bool) -> None:
    kept = [
        x509.DNSName("a.example"),
        x509.RFC822Name("a@example.com"),
        x509.IPAddress(ip_address("10.0.0.1")),
        x509.UniformResourceIdentifier("spiffe://a/b"),
    ]
    asked = request(
        names=[*reversed(kept), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], subject=subject
    )
    names = signed(authority(), asked).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == kept
    assert names.critical is critical
