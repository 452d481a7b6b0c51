"""Certificates for one test: an authority in memory, gone with the test."""

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

LIFETIME = datetime.timedelta(days=3650)
BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
"""Before every date that a test's clock is likely to show."""


@attrs.frozen
class Credential:
    """A certificate and its key as PEM text."""

    certificate: bytes
    key: bytes

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make TLS use it."""
        # Python reads certificates from files only: this one exists for no longer than it takes to read it.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both into files, the key readable by its owner alone; return their paths."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


class Authority:
    """An authority that signs server and client certificates."""

    @cached_property
    def _own(self) -> "tuple[x509.Certificate, ec.EllipticCurvePrivateKey]":
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        return self._signed("kubelib-test-ca", (), (), key, key, None), key

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate as PEM text: what clients and CA bundles trust."""
        return _pem(self._own[0])

    @property
    def key(self) -> bytes:
        """The authority's key, as PEM."""
        from cryptography.hazmat.primitives import serialization

        return self._own[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def server(self, *hosts: str) -> Credential:
        """Return a certificate for host names and addresses."""
        return self._leaf(hosts[0], (), hosts)

    def client(self, user: str, groups: Sequence[str] = ()) -> Credential:
        """Return a certificate that stands for a user: its common name is the user, its organizations are the groups."""
        return self._leaf(user, groups, ())

    def _leaf(self, name: str, groups: Sequence[str], hosts: Sequence[str]) -> Credential:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        authority, authority_key = self._own
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, groups, hosts, key, authority_key, authority)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credential(_pem(certificate), pem)

    @staticmethod
    def _signed(
        name: str,
        groups: Sequence[str],
        hosts: Sequence[str],
        key: "ec.EllipticCurvePrivateKey",
        signer: "ec.EllipticCurvePrivateKey",
        issuer: "x509.Certificate | None",
    ) -> "x509.Certificate":
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = issuer is None
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer is not None else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(BEGIN + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(ca=ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        if not ca:
            usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        return builder.sign(signer, hashes.SHA256())


def _usage(*, ca: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)
