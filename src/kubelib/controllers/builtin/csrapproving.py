"""Kubelets get their client certificates approved when whoever asks may ask for them."""

from kubelib.api.authorization import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kubelib.api.certificates import CertificateSigningRequest, CertificateSigningRequestCondition
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.certificates import (
    KUBELET_CLIENT,
    Unsignable,
    kubelet_client_problem,
    parse_request,
    wanted_of,
)
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers

NAME = "certificatesigningrequest-approving-controller"
AGAIN = 30.0
"""Seconds until somebody who was not allowed to ask is looked at again: a role may have been given meanwhile."""


def recognized(request: CertificateSigningRequest) -> tuple[tuple[str, str], ...]:
    """Return the permissions each of which is enough to have a request approved, with what is then said of it."""
    if request.spec.signer_name != KUBELET_CLIENT:
        return ()
    try:
        wanted = wanted_of(parse_request(request))
    except Unsignable:
        return ()
    if kubelet_client_problem(wanted, request.spec.usages):
        return ()
    nodes = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
    if request.spec.username != wanted.name:
        return (nodes,)
    return (
        ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        nodes,
    )


class Approving:
    """Decides about one request."""

    def __init__(self, informers: SharedInformers) -> None:
        self._requests = informers.of(CertificateSigningRequest).cache
        self._registry = informers.client.resource(CertificateSigningRequest)
        self._reviews = informers.client.resource(SubjectAccessReview)

    async def reconcile(self, key: Key) -> After | None:
        """Look at one request."""
        request = self._requests.view(key)
        if request is None or request.status.certificate:
            return None
        if any(c.type in ("Approved", "Denied") for c in request.status.conditions):
            return None
        permissions = recognized(request)
        for subresource, message in permissions:
            if await self._may(request, subresource):
                approved = CertificateSigningRequestCondition(
                    type="Approved", status="True", reason="AutoApproved", message=message
                )
                status = replace(request.status, conditions=(*request.status.conditions, approved))
                try:
                    await self._registry.update(replace(request, status=status), subresource="approval")
                except NotFound:
                    return None
                return None
        return After(AGAIN) if permissions else None

    async def _may(self, request: CertificateSigningRequest, subresource: str) -> bool:
        spec = request.spec
        attributes = ResourceAttributes(
            verb="create",
            group="certificates.k8s.io",
            version="*",
            resource="certificatesigningrequests",
            subresource=subresource,
        )
        asked = SubjectAccessReviewSpec(
            user=spec.username,
            groups=spec.groups,
            uid=spec.uid,
            extra=spec.extra,
            resource_attributes=attributes,
        )
        return (await self._reviews.create(SubjectAccessReview(spec=asked))).status.allowed


def signing_request_approving_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that approves the requests of kubelets."""
    return Controller(
        NAME,
        Approving(informers),
        [(informers.of(CertificateSigningRequest), itself)],
        workers=1,
        recorder=recorder.source(NAME),
    )
