"""The cluster's own certificate authority and the certificates it signs.

Keys are P-256 and live in ``DIR/pki`` with mode 0600. Everything is made at the first start and reused afterwards;
a certificate that has expired, or soon will, is made again.
"""

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kubelib.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_LIFETIME = datetime.timedelta(days=3650)
LEAF_LIFETIME = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)


@attrs.frozen
class Credential:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


@attrs.frozen
class Identity:
    """Whom a client certificate stands for: the user name is its CN, the groups are its O."""

    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("kubernetes-admin", ("system:masters",))
SCHEDULER = Identity("system:kube-scheduler")
CONTROLLER_MANAGER = Identity("system:kube-controller-manager")
PROXY = Identity("system:kube-proxy")
ELASTIC = Identity("system:cluster-autoscaler")
KUBELET_CLIENT = Identity("kube-apiserver-kubelet-client", ("system:masters",))
"""Whom nodes see when the API server asks for logs and the like."""


FRONT_PROXY = Identity("front-proxy-client")
"""Whom other API servers see when this one passes requests on."""


def node_identity(name: str) -> Identity:
    """Return the identity of the kubelet of a node."""
    return Identity(f"system:node:{name}", ("system:nodes",))


class Authority:
    """The certificate authority in one directory."""

    def __init__(self, directory: Path, clock: Clock = SYSTEM_CLOCK, *, issued: Path | None = None) -> None:
        """Keep what is signed in `issued`, or beside the authority's own certificate."""
        self.directory = directory
        self._issued = issued or directory
        self._clock = clock
        self._signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None

    @property
    def ca(self) -> Path:
        """The authority's certificate, made when first asked for."""
        path = self.directory / "ca.crt"
        if not path.exists():
            self._make_ca()
        return path

    def pair(self) -> tuple[bytes, bytes]:
        """Return the authority's certificate and key, as PEM."""
        return self.ca.read_bytes(), (self.directory / "ca.key").read_bytes()

    def server(self, name: str, hosts: Iterable[str]) -> Credential:
        """Return a server certificate for host names and IP addresses."""
        return self._leaf(name, Identity(f"kubelib {name}"), tuple(hosts))

    def client(self, name: str, identity: Identity) -> Credential:
        """Return a client certificate that authenticates as `identity`."""
        return self._leaf(name, identity, ())

    def signing_key(self, name: str) -> Path:
        """Return a private key for signing tokens."""
        path = self.directory / f"{name}.key"
        if not path.exists():
            from cryptography.hazmat.primitives.asymmetric import ec

            _write_key(path, ec.generate_private_key(ec.SECP256R1()))
        return path

    def _make_ca(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubelib-ca")])
        now = self._clock.now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.directory / "ca.key", key)
        _write(self.directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        self._signer = (certificate, key)

    def _load_ca(self) -> "tuple[x509.Certificate, ec.EllipticCurvePrivateKey]":
        if self._signer is None:
            from cryptography import x509
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec

            certificate = x509.load_pem_x509_certificate(self.ca.read_bytes())
            key = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._signer = (certificate, key)
        return self._signer

    def _leaf(self, name: str, identity: Identity, hosts: tuple[str, ...]) -> Credential:
        ca_path = self.ca
        credential = Credential(self._issued / f"{name}.crt", self._issued / f"{name}.key")
        wanted = self._issued / f"{name}.for"
        # What the certificate is for, and until when, is noted beside it, so that a restart need not load the
        # X.509 library to find out that nothing is to be done.
        purpose = "\n".join((identity.user, *identity.groups, *hosts))
        if credential.cert.exists() and credential.key.exists() and wanted.exists():
            until, _, noted = wanted.read_text().partition("\n")
            fresh = datetime.datetime.fromisoformat(until) - RENEW_BEFORE > self._clock.now()
            if fresh and noted == purpose and ca_path.stat().st_mtime <= credential.cert.stat().st_mtime:
                return credential
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        ca, ca_key = self._load_ca()
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.now()
        until_date = min(now + LEAF_LIFETIME, ca.not_valid_after_utc)
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, identity.user))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(until_date)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        _write_key(credential.key, key)
        _write(credential.cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(wanted, f"{until_date.isoformat()}\n{purpose}".encode(), 0o644)
        return credential


def copy_authorities(source: Path, target: Path) -> None:
    """Give another API server of the same cluster what all of them must have alike: authorities, and keys of tokens."""
    for name in ("ca.crt", "ca.key", "sa.key", "front-proxy/ca.crt", "front-proxy/ca.key"):
        file = source / name
        if file.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(target / name, file.read_bytes(), file.stat().st_mode & 0o777)


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: "ec.EllipticCurvePrivateKey") -> None:
    from cryptography.hazmat.primitives import serialization

    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, pem, 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that it is there whole or not at all, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
