"""Certificates of a node's Pods: a key is made for each, a signer asked for a certificate of it, and both are renewed in time.

As in the kubelet, keys never leave the node and are not kept: an agent that is started again makes others.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import anyio.to_thread
import attrs

from kubelib.api.certificates import PodCertificateRequest, PodCertificateRequestSpec
from kubelib.api.core.config import ServiceAccount
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import PodCertificateProjection
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, ObjectMeta, OwnerReference
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Query
from kubelib.runtime.environment import ConfigMissing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as PrivateKey

NOT_YET = "credential bundle is not issued yet"


@attrs.frozen
class _Asked:
    """A request that has not been answered, as far as is known."""

    request: Key
    key: bytes


@attrs.frozen
class _Issued:
    key: bytes
    chain: bytes
    refresh: datetime
    expires: datetime


@attrs.define
class _Credentials:
    """One volume source of one Pod."""

    issued: _Issued | None = None
    asked: _Asked | None = None


class PodCertificates:
    """Holds the keys and certificates that the Pods of one node are shown."""

    def __init__(self, client: Client, node: str, *, clock: Clock) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._known: dict[tuple[str, str, int], _Credentials] = {}

    async def shown(
        self, pod: Pod, volume: str, at: int, wanted: PodCertificateProjection
    ) -> dict[str, bytes]:
        """Return the files for a source of a volume. Raises `ConfigMissing` while there is no certificate, or if there will be none."""
        known = self._known.setdefault((pod.metadata.uid, volume, at), _Credentials())
        now, trouble = self._clock.now(), NOT_YET
        if known.asked is None and (known.issued is None or now >= known.issued.refresh):
            try:
                known.asked = await self._ask(pod, wanted)
            except ApiError as error:
                trouble = f"while creating PodCertificateRequest: {error}"
        if known.asked is not None:
            try:
                known.issued = await self._answer(known.asked) or known.issued
            except ConfigMissing as error:
                trouble = str(error)
            if known.issued is not None and known.issued.key == known.asked.key:
                known.asked = None
        if known.issued is None or now >= known.issued.expires:
            raise ConfigMissing(trouble)
        key, chain = known.issued.key, known.issued.chain
        files = {
            wanted.credential_bundle_path: key + chain,
            wanted.key_path: key,
            wanted.certificate_chain_path: chain,
        }
        return {path: content for path, content in files.items() if path}

    async def _ask(self, pod: Pod, wanted: PodCertificateProjection) -> _Asked:
        """Make a key and ask for a certificate of it."""
        meta, account = pod.metadata, pod.spec.service_account_name or "default"
        own = await self._client.resource(ServiceAccount).get(Key(meta.namespace, account))
        node = await self._client.resource(Node).get(Key("", self._node))
        key, stub = await anyio.to_thread.run_sync(_key_and_stub, wanted.key_type)
        owner = OwnerReference(api_version="v1", kind="Pod", name=meta.name, uid=meta.uid)
        request = PodCertificateRequest(
            metadata=ObjectMeta(generate_name="req-", namespace=meta.namespace, owner_references=(owner,)),
            spec=PodCertificateRequestSpec(
                signer_name=wanted.signer_name,
                pod_name=meta.name,
                pod_uid=meta.uid,
                service_account_name=account,
                service_account_uid=own.metadata.uid,
                node_name=self._node,
                node_uid=node.metadata.uid,
                max_expiration_seconds=wanted.max_expiration_seconds,
                stub_pkcs10_request=stub,
                unverified_user_annotations=wanted.user_annotations,
            ),
        )
        made = await self._client.resource(PodCertificateRequest).create(request)
        return _Asked(made.key, key)

    async def _answer(self, asked: _Asked) -> _Issued | None:
        """Return the certificate, or None if there is none yet. Raises `ConfigMissing` if there will be none."""
        fields = parse_field_selector(f"spec.nodeName={self._node},metadata.name={asked.request.name}")
        requests = self._client.resource(PodCertificateRequest)
        try:
            found = (await requests.list(Query(asked.request.namespace, fields=fields))).items
        except ApiError as error:
            raise ConfigMissing(f"while getting PodCertificateRequest: {error}") from None
        if not found:
            raise ConfigMissing(f'PodCertificateRequest "{asked.request.name}" is gone')
        status = found[0].status
        for condition in status.conditions:
            if condition.status == "True" and condition.type in ("Denied", "Failed"):
                raise ConfigMissing(
                    f'PodCertificateRequest "{asked.request.name}" was {condition.type.lower()}:'
                    f" {condition.reason}: {condition.message}"
                )
        if status.begin_refresh_at is None or status.not_after is None or not status.certificate_chain:
            return None
        chain = status.certificate_chain.encode()
        return _Issued(asked.key, chain, status.begin_refresh_at, status.not_after)

    def forget(self, uid: str) -> None:
        """Drop the keys of a Pod that is gone."""
        for name in [name for name in self._known if name[0] == uid]:
            del self._known[name]


def _new_key(kind: str) -> "PrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match kind:
        case "RSA3072" | "RSA4096":
            return rsa.generate_private_key(65537, int(kind.removeprefix("RSA")))
        case "ECDSAP256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ECDSAP384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ECDSAP521":
            return ec.generate_private_key(ec.SECP521R1())
    return ed25519.Ed25519PrivateKey.generate()


def _key_and_stub(kind: str) -> tuple[bytes, str]:
    """Return a new key as PEM, and in base64 a request that proves that somebody has it and says nothing else."""
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = _new_key(kind)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return text, base64.b64encode(request.public_bytes(serialization.Encoding.DER)).decode()
