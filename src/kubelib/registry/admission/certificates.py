"""Requests for certificates: who may approve and sign for which signer, and whose name nobody gets."""

import base64

from kubelib.api.errors import invalid
from kubelib.api.scheme import Resource
from kubelib.api.validation.problems import forbidden
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.ties import only_ties_change

GROUP = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
MASTERS = "system:masters"


def _is_request(resource: Resource) -> bool:
    return resource.group == GROUP and resource.plural == "certificatesigningrequests"


def _is_request_of_a_pod(resource: Resource) -> bool:
    return resource.group == GROUP and resource.plural == "podcertificaterequests"


def _may(attributes: Attributes, verb: str, signer: str) -> bool:
    """Return whether the user may do something for a signer, by its name or for all of its domain."""
    return any(
        attributes.may(verb, group=GROUP, resource="signers", name=name)
        for name in (signer, f"{signer.partition('/')[0]}/*")
    )


def _signer(attributes: Attributes) -> str:
    return str(((attributes.old or {}).get("spec") or {}).get("signerName") or "")


class CertificateApproval:
    """Lets those approve requests who may do so for the signer."""

    name = "CertificateApproval"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at approvals."""
        return verb == "update" and subresource == "approval" and _is_request(resource)

    async def validate(self, attributes: Attributes) -> None:
        """Refuse an approval."""
        signer = _signer(attributes)
        if not _may(attributes, "approve", signer):
            raise attributes.forbidden(f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning:
    """Lets those sign requests who may do so for the signer."""

    name = "CertificateSigning"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at statuses, of what Pods ask for too."""
        return (
            verb == "update"
            and subresource == "status"
            and (_is_request(resource) or _is_request_of_a_pod(resource))
        )

    async def validate(self, attributes: Attributes) -> None:
        """Refuse a certificate or a condition."""
        before = (attributes.old or {}).get("status") or {}
        after = attributes.tree.get("status") or {}
        signer = _signer(attributes)
        if _is_request_of_a_pod(attributes.resource):
            if before.get("certificateChain") != after.get("certificateChain") and not _may(
                attributes, "sign", signer
            ):
                detail = f'User "{attributes.user.name}" is not permitted to "sign" for signer "{signer}"'
                raise invalid(
                    "PodCertificateRequest",
                    GROUP,
                    attributes.key.name,
                    [forbidden("spec.signerName", detail)],
                )
            return
        if all(before.get(part) == after.get(part) for part in ("certificate", "conditions")):
            return
        if not _may(attributes, "sign", signer):
            raise attributes.forbidden(f'user not permitted to sign requests with signerName "{signer}"')


class ClusterTrustBundleAttest:
    """Lets those say whom to trust for a signer who may attest for it."""

    name = "ClusterTrustBundleAttest"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and changed bundles."""
        return (
            verb in ("create", "update") and resource.group == GROUP and resource.kind == "ClusterTrustBundle"
        )

    async def validate(self, attributes: Attributes) -> None:
        """Refuse a bundle."""
        signer = str((attributes.tree.get("spec") or {}).get("signerName") or "")
        if attributes.old is not None and only_ties_change(attributes.old, attributes.tree):
            return
        if signer and not _may(attributes, "attest", signer):
            raise attributes.forbidden(f'user not permitted to attest for signerName "{signer}"')


class CertificateSubjectRestriction:
    """Gives nobody a certificate that makes them the cluster's master."""

    name = "CertificateSubjectRestriction"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new requests."""
        return verb == "create" and not subresource and _is_request(resource)

    async def validate(self, attributes: Attributes) -> None:
        """Refuse the group."""
        spec = attributes.tree.get("spec") or {}
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        try:
            request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
        except ValueError as error:
            raise attributes.forbidden(f"failed to parse CSR: {error}") from None
        names = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if any(name.value == MASTERS for name in names):
            raise attributes.forbidden(f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")
