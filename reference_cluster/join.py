"""How a node that nobody knows yet becomes one: by a bootstrap token it asks for a certificate of its own, and renews it in time.

The client certificate is approved and signed by the cluster's controllers, as for any kubelet. The certificate of the node's own server
is for an administrator to approve (``kubectl certificate approve``); until then it is one that the node has signed itself.
"""

import base64
import datetime
import importlib
import ipaddress
import logging
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.certificates import CertificateSigningRequest, CertificateSigningRequestSpec
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.base import Client
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection, write_kubeconfig
from kubelib.clock import Clock
from kubelib.server.tls import Tls
from reference_cluster.daemon import connected

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

log = logging.getLogger("kubelib")

CLIENT, SERVING = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
POLL = 1.0
RETRY = 30.0
EARLIEST, LATEST = 0.7, 0.9
"""The part of its lifetime after which a certificate is renewed: drawn from between, so that nodes do not all come at once."""


class CertificateRefused(ValueError):
    """The cluster gives no certificate; the message says why."""


async def request_certificate(
    client: Client, signer: str, node: str, key: "ec.EllipticCurvePrivateKey", hosts: Sequence[str] = ()
) -> bytes:
    """Ask for a certificate of a node and wait until it is given, as PEM. Raises `CertificateRefused`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(node))
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = CertificateSigningRequestSpec(
        request=base64.b64encode(pem).decode(),
        signer_name=signer,
        usages=("digital signature", "server auth" if signer == SERVING else "client auth"),
    )
    registry = client.resource(CertificateSigningRequest)
    request = await registry.create(
        CertificateSigningRequest(metadata=ObjectMeta(generate_name="csr-"), spec=spec)
    )
    name = request.metadata.name
    while not request.status.certificate:
        for condition in request.status.conditions:
            if condition.type in ("Denied", "Failed"):
                raise CertificateRefused(
                    f"the request {name} of node {node} was {condition.type.lower()}: {condition.message}"
                )
        await anyio.sleep(POLL)
        request = await registry.get(Key("", name))
    return base64.b64decode(request.status.certificate)


async def join(bootstrap: Path, kubeconfig: Path, node: str, clock: Clock) -> None:
    """Write the kubeconfig of a node, unless there is one with a certificate that is still good. Raises `CertificateRefused`."""
    if _has_joined(kubeconfig, clock):
        return
    key = _new_key()
    async with connected(bootstrap, "kubelet") as client:
        log.warning("node %s asks for a certificate at %s", node, client.connection.server)
        certificate = await request_certificate(client, CLIENT, node, key)
        _write_kubeconfig(kubeconfig, node, client, certificate, key)


def _has_joined(kubeconfig: Path, clock: Clock) -> bool:
    if not kubeconfig.is_file():
        return False
    until = _lifetime(load_connection([kubeconfig]).cert_data)
    return until is not None and until[1] > clock.now()


def load_x509() -> None:
    """Import what reads and makes certificates: it takes longer than all else that a node's start needs."""
    importlib.import_module("cryptography.x509")


class ClientCertificate:
    """Renews the certificate in a node's kubeconfig. A `kubelib.informers.Component`.

    Files that the kubeconfig names, and certificates of others than the node, are for those to renew who have made them.
    """

    name = "client-certificate"

    def __init__(self, client: HttpClient, kubeconfig: Path, node: str, clock: Clock, random: Random) -> None:
        self._client = client
        self._kubeconfig = kubeconfig
        self._node = node
        self._clock = clock
        self._random = random

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        task_status.started()
        shown = self._client.connection.cert_data
        if not self._is_ours():
            await anyio.sleep_forever()
        while True:
            await _sleep_until_due(shown, self._clock, self._random)
            key = _new_key()
            try:
                shown = await request_certificate(self._client, CLIENT, self._node, key)
                self._client.renew(shown, _pem(key))
                _write_kubeconfig(self._kubeconfig, self._node, self._client, shown, key)
            except (ApiError, CertificateRefused, OSError, ValueError) as error:
                log.warning("node %s cannot renew its certificate: %s", self._node, error)
                await anyio.sleep(RETRY)

    def _is_ours(self) -> bool:
        from cryptography import x509

        connection = self._client.connection
        if connection.files != (self._kubeconfig,):
            return False
        try:
            certificate = x509.load_pem_x509_certificate(connection.cert_data)
        except ValueError:
            return False
        return certificate.subject == _subject(self._node)


class ServingCertificate:
    """Gets and renews the certificate of a node's own server. A `kubelib.informers.Component`."""

    name = "serving-certificate"

    def __init__(
        self, client: Client, tls: Tls, node: str, hosts: Sequence[str], clock: Clock, random: Random
    ) -> None:
        self._client = client
        self._tls = tls
        self._node = node
        self._hosts = tuple(dict.fromkeys(hosts))
        self._clock = clock
        self._random = random

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        task_status.started()
        shown = self._tls.cert.read_bytes()
        while True:
            if not _is_self_signed(shown):
                await _sleep_until_due(shown, self._clock, self._random)
            key = _new_key()
            try:
                certificate = await request_certificate(self._client, SERVING, self._node, key, self._hosts)
            except (ApiError, CertificateRefused) as error:
                log.warning("node %s has no certificate for its server: %s", self._node, error)
                await anyio.sleep(RETRY)
                continue
            shown = certificate
            _write(self._tls.key, _pem(key), 0o600)
            _write(self._tls.cert, shown, 0o644)


def ensure_serving_files(kubeconfig: Path, cert: Path, key: Path, node: str, clock: Clock) -> None:
    """Write what a node's server needs to start with: a certificate that it has signed itself, and whose clients it knows."""
    _write(kubeconfig.with_name("ca.crt"), load_connection([kubeconfig]).ca_data, 0o644)
    if cert.is_file() and key.is_file():
        until = _lifetime(cert.read_bytes())
        if until is not None and until[1] > clock.now() and _belong_together(cert, key):
            return
    write_self_signed(cert, key, (node,), clock, subject=_subject(node))


def write_self_signed(
    cert: Path, key: Path, hosts: Sequence[str], clock: Clock, *, subject: "x509.Name | None" = None
) -> None:
    """Write a new key, and a certificate for those names and addresses that it has signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    who = subject or x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, hosts[0])])
    own, now = _new_key(), clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .sign(own, hashes.SHA256())
    )
    _write(key, _pem(own), 0o600)
    _write(cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _belong_together(cert: Path, key: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError:
        return False
    return True


async def _sleep_until_due(certificate: bytes, clock: Clock, random: Random) -> None:
    found = _lifetime(certificate)
    if found is None:
        return
    begin, end = found
    due = begin + (end - begin) * (EARLIEST + (LATEST - EARLIEST) * random.random())
    await anyio.sleep(max(0.0, (due - clock.now()).total_seconds()))


def _lifetime(pem: bytes) -> tuple[datetime.datetime, datetime.datetime] | None:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _is_self_signed(pem: bytes) -> bool:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.issuer == certificate.subject


def _subject(node: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: "ec.EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _write_kubeconfig(
    path: Path, node: str, client: HttpClient, certificate: bytes, key: "ec.EllipticCurvePrivateKey"
) -> None:
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        ca, cert, private = (Path(directory) / name for name in ("ca", "cert", "key"))
        _write(ca, client.connection.ca_data, 0o600)
        _write(cert, certificate, 0o600)
        _write(private, _pem(key), 0o600)
        user = f"system:node:{node}"
        server, *others = client.connection.servers
        write_kubeconfig(path, server=server, others=others, user=user, ca=ca, cert=cert, key=private)
