"""Approved requests get their certificates from the cluster's own authority."""

import base64

from kubelib.api.certificates import CertificateSigningRequest, CertificateSigningRequestCondition
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.certificates import SIGNERS, CertificateAuthority, Unsignable
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers

NAME = "certificatesigningrequest-signing-controller"


class Signing:
    """Signs one request."""

    def __init__(self, informers: SharedInformers, authority: CertificateAuthority, clock: Clock) -> None:
        self._requests = informers.of(CertificateSigningRequest).cache
        self._registry = informers.client.resource(CertificateSigningRequest)
        self._authority = authority
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Look at one request."""
        request = self._requests.view(key)
        if request is None or request.spec.signer_name not in SIGNERS or request.status.certificate:
            return None
        types = {condition.type for condition in request.status.conditions}
        if "Approved" not in types or types & {"Denied", "Failed"}:
            return None
        try:
            certificate = self._authority.sign(request, self._clock.now())
        except Unsignable as error:
            failed = CertificateSigningRequestCondition(
                type="Failed", status="True", reason="SignerValidationFailure", message=str(error)
            )
            status = replace(request.status, conditions=(*request.status.conditions, failed))
        else:
            status = replace(request.status, certificate=base64.b64encode(certificate).decode())
        try:
            await self._registry.update(replace(request, status=status), subresource="status")
        except NotFound:
            return None
        return None


def signing_request_signing_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, authority: CertificateAuthority
) -> Controller:
    """Return the controller that signs for Kubernetes' own signers with one authority."""
    return Controller(
        NAME,
        Signing(informers, authority, clock),
        [(informers.of(CertificateSigningRequest), itself)],
        workers=1,
        recorder=recorder.source(NAME),
    )
