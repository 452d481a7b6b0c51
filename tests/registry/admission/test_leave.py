"""What needs leave beyond the verb itself: certificates, signers, owners."""

import base64

import pytest

from kubelib.api.errors import Forbidden
from kubelib.api.meta import Key
from kubelib.registry.admission import default_admission
from kubelib.registry.base import User
from tests.registry.admission.asking import JANE, Api, Tree, opened, thing


async def test_nobody_asks_for_the_certificate_of_a_master(api: Api) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def request(group: str) -> Tree:
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)])
        key = ec.generate_private_key(ec.SECP256R1())
        signed = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
        text = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
        return thing(
            "CertificateSigningRequest",
            "certificates.k8s.io/v1",
            group.replace(":", "-"),
            "",
            spec={
                "request": text,
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        )

    assert await api.refused(request("system:masters")) == (
        'certificatesigningrequests.certificates.k8s.io "system-masters" is forbidden: use of'
        " kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    await api.create(request("people"))


@pytest.mark.parametrize(
    ("subresource", "verb", "status"),
    [
        ("approval", "approve", {"conditions": [{"type": "Approved", "status": "True"}]}),
        ("status", "sign", {"certificate": "Y2VydA=="}),
    ],
)
async def test_who_approves_or_signs_needs_leave_for_the_signer_or_its_domain(
    api: Api, subresource: str, verb: str, status: Tree
) -> None:
    spec = {"signerName": "example.com/mine", "request": "", "usages": ["client auth"]}
    old = thing("CertificateSigningRequest", "certificates.k8s.io/v1", "r", "", spec=spec, status={})
    new = {**old, "status": status}
    requests = api.of("CertificateSigningRequest", "certificates.k8s.io/v1")
    allowed: set[str] = set()
    asked: list[tuple[str, ...]] = []

    def allows(user: User, *what: str) -> bool:
        asked.append(what)
        return what[-1] in allowed

    api.registries.allows = allows
    with pytest.raises(Forbidden) as raised:
        await requests.admit("update", Key("", "r"), new, old, JANE, subresource)
    assert raised.value.message == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to'
        f' {verb} requests with signerName "example.com/mine"'
    )
    assert asked == [
        (verb, "certificates.k8s.io", "signers", "", "", "example.com/mine"),
        (verb, "certificates.k8s.io", "signers", "", "", "example.com/*"),
    ]
    for name in ("example.com/mine", "example.com/*"):
        allowed = {name}
        await requests.admit("update", Key("", "r"), new, old, JANE, subresource)
    allowed = set()
    if subresource == "status":
        await requests.admit("update", Key("", "r"), dict(old), old, JANE, subresource)


async def test_owner_references_are_for_those_who_may_delete_and_blocking_for_those_who_may_finalize() -> (
    None
):
    asked: list[tuple[str, ...]] = []

    def allows(user: User, *what: str) -> bool:
        asked.append((user.name, *what))
        return what[0] in may

    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1"}
    admission = default_admission(enable=["OwnerReferencesPermissionEnforcement"])
    async with opened(admission=admission) as api:
        api.registries.allows = allows
        may = {""}
        owned = thing("ConfigMap", metadata={"ownerReferences": [owner]})
        assert await api.refused(owned, user=JANE.user) == (
            'configmaps "x" is forbidden: cannot set an ownerRef on a resource you can\'t delete: , <nil>'
        )
        may = {"delete"}
        await api.create(owned, user=JANE.user)
        blocking = {**owner, "blockOwnerDeletion": True}
        owned = thing("ConfigMap", name="y", metadata={"ownerReferences": [blocking]})
        assert await api.refused(owned, user=JANE.user) == (
            'configmaps "y" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you'
            " can't set finalizers on: , <nil>"
        )
        assert asked[-1] == ("jane", "update", "apps", "replicasets", "finalizers", "default", "r")
        may = {"delete", "update"}
        await api.create(owned, user=JANE.user)
