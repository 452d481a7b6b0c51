"""Projected volumes with what makes Pods trusted and trusting: bundles of authorities, keys and certificates."""

import base64
from datetime import timedelta
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubelib.api.certificates import ClusterTrustBundle, ClusterTrustBundleSpec, PodCertificateRequest
from kubelib.api.core.config import ServiceAccount
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import (
    ClusterTrustBundleProjection,
    PodCertificateProjection,
    ProjectedVolumeSource,
    VolumeProjection,
)
from kubelib.api.core.volumes import Volume
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.times import format_time
from kubelib.registry.base import Patch, Query
from kubelib.runtime.environment import ConfigMissing
from kubelib.runtime.ownership import owners_of
from kubelib.runtime.podcertificates import NOT_YET
from kubelib.runtime.trust import TrustBundles, anchors
from kubelib.testing.objects import make_meta, make_pod
from tests.conformance.kinds import ANCHOR
from tests.runtime.agent.watching import is_ready
from tests.runtime.conftest import SimNode, container

SIGNER = "example.com/pods"
SIGNING = ec.generate_private_key(ec.SECP256R1())


def test_certificates_of_bundles_are_told_once_and_in_one_order() -> None:
    other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert anchors([ANCHOR]) == ANCHOR.encode()
    assert anchors([ANCHOR, f"said about it\n{other}", ANCHOR]) == (other + ANCHOR).encode()
    assert anchors([]) == b""


async def test_a_bundle_is_found_by_its_name_or_by_signer_and_labels(idle: SimNode) -> None:
    bundles = idle.client.resource(ClusterTrustBundle)
    plain = ClusterTrustBundle(metadata=make_meta("plain"), spec=ClusterTrustBundleSpec(trust_bundle=ANCHOR))
    signed = ClusterTrustBundleSpec(signer_name=SIGNER, trust_bundle=ANCHOR)
    meta = ObjectMeta(name="example.com:pods:one", labels={"live": "yes"})
    await bundles.create(plain)
    await bundles.create(ClusterTrustBundle(metadata=meta, spec=signed))
    trust = TrustBundles(idle.client)

    async def shown(**wanted: Any) -> bytes:
        return await trust.shown(ClusterTrustBundleProjection(path="ca.pem", **wanted))

    assert await shown(name="plain") == ANCHOR.encode()
    every, live, dead = LabelSelector(), {"live": "yes"}, {"live": "no"}
    assert await shown(signer_name=SIGNER, label_selector=every) == ANCHOR.encode()
    assert await shown(signer_name=SIGNER, label_selector=LabelSelector(match_labels=live)) == ANCHOR.encode()
    with pytest.raises(ConfigMissing, match="combination of signerName and labelSelector matched zero"):
        await shown(signer_name=SIGNER, label_selector=LabelSelector(match_labels=dead))
    with pytest.raises(ConfigMissing, match="matched zero"):
        await shown(signer_name=SIGNER)
    with pytest.raises(ConfigMissing, match=r'while getting ClusterTrustBundle: .*"none" not found'):
        await shown(name="none")
    assert await shown(name="none", optional=True) == b""
    assert await shown(signer_name="example.com/none", label_selector=every, optional=True) == b""


def certificate_for(request: PodCertificateRequest, now: Any, hours: float) -> dict[str, Any]:
    """Return the status with which a signer answers."""
    stub = x509.load_der_x509_csr(base64.b64decode(request.spec.stub_pkcs10_request))
    start = now.replace(microsecond=0)
    end, name = start + timedelta(hours=hours), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "p")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(stub.public_key())
    dated = builder.serial_number(1).not_valid_before(start).not_valid_after(end)
    made = dated.sign(SIGNING, hashes.SHA256())
    return {
        "conditions": [{"type": "Issued", "status": "True", "reason": "Issued", "message": "as asked"}],
        "certificateChain": made.public_bytes(serialization.Encoding.PEM).decode(),
        "notBefore": format_time(start),
        "notAfter": format_time(end),
        "beginRefreshAt": format_time(start + timedelta(hours=hours / 2)),
    }


async def requests_of(node: SimNode) -> list[PodCertificateRequest]:
    return list((await node.client.resource(PodCertificateRequest).list(Query("default"))).items)


async def answer(node: SimNode, request: PodCertificateRequest, status: dict[str, Any]) -> None:
    resource = node.client.resource(PodCertificateRequest)
    await resource.patch(request.key, Patch("merge", {"status": status}), subresource="status")


def pair(kind: str = "ECDSAP256", **more: Any) -> Volume:
    wanted = PodCertificateProjection(
        signer_name=SIGNER,
        key_type=kind,
        credential_bundle_path="both.pem",
        key_path="key.pem",
        certificate_chain_path="chain.pem",
        **more,
    )
    sources = (VolumeProjection(pod_certificate=wanted),)
    return Volume(name="v", projected=ProjectedVolumeSource(sources=sources, default_mode=0o644))


async def begun(node: SimNode, volume: Volume) -> tuple[Pod, PodCertificateRequest]:
    """Create a Pod with a volume; return both it and what its node asks a signer."""
    await node.client.resource(ServiceAccount).create(
        ServiceAccount(metadata=make_meta("default", "default"))
    )
    pod = await node.run(volumes=(volume,))
    with anyio.fail_after(30):
        while not (found := await requests_of(node)):
            await anyio.sleep(0.1)
    return pod, found[0]


@pytest.mark.parametrize("kind", ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072"])
async def test_a_pod_waits_for_a_certificate_of_a_key_that_its_node_has_made(
    node: SimNode, kind: str
) -> None:
    pod, request = await begun(node, pair(kind, user_annotations={"example.com/a": "b"}))
    assert (request.spec.pod_uid, request.spec.node_name) == (pod.metadata.uid, "node-1")
    assert request.spec.unverified_user_annotations == {"example.com/a": "b"}
    assert request.metadata.owner_references[0].uid == pod.metadata.uid
    await anyio.sleep(5)
    assert NOT_YET in (await node.events("FailedMount"))[0].message
    assert len(await requests_of(node)) == 1
    await answer(node, request, certificate_for(request, node.clock.now(), 2))
    await node.until(is_ready)
    place = node.agent.volumes.directory(pod, "v")
    key, chain = (place / "key.pem").read_bytes(), (place / "chain.pem").read_bytes()
    assert (place / "both.pem").read_bytes() == key + chain
    made = serialization.load_pem_private_key(key, None).public_key()
    assert made == x509.load_pem_x509_certificate(chain).public_key()
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")


async def test_a_certificate_is_renewed_with_another_key_while_the_old_one_goes_on_being_shown(
    node: SimNode,
) -> None:
    pod, request = await begun(node, pair())
    await answer(node, request, certificate_for(request, node.clock.now(), 2))
    await node.until(is_ready)
    place = node.agent.volumes.directory(pod, "v") / "both.pem"
    first = place.read_bytes()
    await anyio.sleep(3500)
    assert len(await requests_of(node)) == 1
    await anyio.sleep(300)
    [second] = [r for r in await requests_of(node) if r.metadata.name != request.metadata.name]
    assert place.read_bytes() == first
    await answer(node, second, certificate_for(second, node.clock.now(), 2))
    await anyio.sleep(130)
    assert place.read_bytes() != first


async def test_a_pod_whose_certificate_is_denied_says_so(node: SimNode) -> None:
    _, request = await begun(node, pair())
    denied = {"type": "Denied", "status": "True", "reason": "Stranger", "message": "nobody knows it"}
    await answer(node, request, {"conditions": [denied]})
    await anyio.sleep(10)
    said = [event.message for event in await node.events("FailedMount")]
    assert any("was denied: Stranger: nobody knows it" in message for message in said)
    assert len(await requests_of(node)) == 1


def test_keys_and_bundles_have_owners_too() -> None:
    bundle = ClusterTrustBundleProjection(name="a", path="ca.pem", user=7)
    own = PodCertificateProjection(signer_name=SIGNER, key_type="ED25519", key_path="key.pem", user=8)
    sources = (VolumeProjection(cluster_trust_bundle=bundle), VolumeProjection(pod_certificate=own))
    volume = Volume(name="v", projected=ProjectedVolumeSource(sources=sources))
    pod = make_pod("a", containers=(container(),), volumes=(volume,))
    assert owners_of(pod, volume, ["ca.pem", "key.pem"]) == {"ca.pem": 7, "key.pem": 8}
