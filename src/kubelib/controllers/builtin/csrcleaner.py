"""Requests for certificates that have been answered, or that nobody answers, go after a while."""

import base64
from datetime import datetime, timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.certificates import CertificateSigningRequest
from kubelib.api.errors import ApiError
from kubelib.clock import Clock
from kubelib.controllers.certificates import expiry
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Preconditions

NAME = "certificatesigningrequest-cleaner-controller"
PERIOD = 600.0
ANSWERED, UNANSWERED = timedelta(hours=1), timedelta(hours=24)
"""For how long requests are kept that were signed, denied or failed, and those that were not decided or not signed."""


def is_due(request: CertificateSigningRequest, now: datetime) -> bool:
    """Return whether a request is to go."""
    if request.status.certificate:
        until = expiry(base64.b64decode(request.status.certificate))
        if until is not None and until < now:
            return True
    decided = [c for c in request.status.conditions if c.type in ("Approved", "Denied", "Failed")]
    if not decided:
        created = request.metadata.creation_timestamp
        return created is not None and created + UNANSWERED < now
    for condition in decided:
        unanswered = condition.type == "Approved" and not request.status.certificate
        since = condition.last_update_time
        if since is not None and since + (UNANSWERED if unanswered else ANSWERED) < now:
            return True
    return False


class SigningRequestCleaner:
    """A component that looks now and then."""

    name = NAME

    def __init__(self, informers: SharedInformers, clock: Clock) -> None:
        self._requests = informers.of(CertificateSigningRequest)
        self._registry = informers.client.resource(CertificateSigningRequest)
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        await self._requests.wait_until_synced()
        task_status.started()
        while True:
            await self.clean()
            await anyio.sleep(PERIOD)

    async def clean(self) -> None:
        """Look once."""
        now = self._clock.now()
        for document in list(self._requests.cache):
            if is_due(document.view(CertificateSigningRequest), now):
                try:
                    await self._registry.delete(document.key, preconditions=Preconditions(document.meta.uid))
                except ApiError:
                    continue  # gone meanwhile, or tried again the next time


def signing_request_cleaner(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> SigningRequestCleaner:
    """Return the cleaner."""
    return SigningRequestCleaner(informers, clock)
