"""Tokens in Secrets that were made for an account, and that nobody uses for a year, are marked as no longer good; a year later they go.

Only those that the account itself lists were made for it: the others somebody has made on purpose, and keeps. Labels and rules are those of
``legacy_serviceaccount_token_cleaner.go`` in Kubernetes.
"""

import logging
from datetime import datetime, timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.config import ConfigMap, Secret, ServiceAccount
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.legacytokens import (
    ACCOUNT,
    INVALID_SINCE,
    LAST_USED,
    SINCE,
    TRACKING,
    TYPE,
    UID,
    beginning_of,
    day_of,
)
from kubelib.api.meta import Key
from kubelib.api.podreferences import references_of
from kubelib.clock import Clock
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch, Preconditions

NAME = "legacy-serviceaccount-token-cleaner-controller"
PERIOD = 24 * 3600.0
UNUSED = timedelta(days=365)
"""For how long a token is not used before it is marked, and for how long it is marked before it goes."""

log = logging.getLogger(__name__)


class LegacyTokenCleaner:
    """A component that looks once a day."""

    name = NAME

    def __init__(self, informers: SharedInformers, clock: Clock, unused: timedelta = UNUSED) -> None:
        self._secrets = informers.of(Secret)
        self._accounts = informers.of(ServiceAccount)
        self._pods = informers.of(Pod)
        self._client = informers.client
        self._registry = informers.client.resource(Secret)
        self._clock = clock
        self._unused = unused

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        for informer in (self._secrets, self._accounts, self._pods):
            await informer.wait_until_synced()
        task_status.started()
        while True:
            await self.clean()
            await anyio.sleep(PERIOD)

    async def clean(self) -> None:
        """Look once."""
        now = self._clock.now()
        since = await self._since()
        # The day on which it began is not a whole one.
        if since is None or now < since + timedelta(days=1) + self._unused:
            return
        used: dict[str, set[str]] = {}
        for document in list(self._secrets.cache):
            if TYPE.encode() not in document.raw:
                continue
            secret = document.view(Secret)
            if not self._is_forgotten(secret, now):
                continue
            namespace = secret.metadata.namespace
            if namespace not in used:
                used[namespace] = self._used_by_pods(namespace)
            if secret.metadata.name not in used[namespace]:
                await self._mark_or_delete(secret, now)

    async def _since(self) -> datetime | None:
        """Return from which day on uses are written down; None if nobody says."""
        try:
            found = await self._client.resource(ConfigMap).get(TRACKING)
        except ApiError as error:
            log.warning("cannot find out since when the use of tokens is noted: %s", error)
            return None
        return beginning_of(found.data.get(SINCE, ""))

    def _is_forgotten(self, secret: Secret, now: datetime) -> bool:
        """Return whether a Secret was made for an account long ago, and nobody has used its token since."""
        meta, limit = secret.metadata, now - self._unused
        if secret.type != TYPE or meta.deletion_timestamp is not None:
            return False
        if meta.creation_timestamp is None or meta.creation_timestamp >= limit:
            return False
        last = meta.labels.get(LAST_USED)
        if last is not None and (beginning_of(last) is None or last >= day_of(limit)):
            return False
        account = self._accounts.cache.view(Key(meta.namespace, meta.annotations.get(ACCOUNT, "")))
        if account is None or meta.annotations.get(UID) not in (None, "", account.metadata.uid):
            return False
        return any(reference.name == meta.name for reference in account.secrets)

    def _used_by_pods(self, namespace: str) -> set[str]:
        pods = (document for document in self._pods.cache if document.meta.namespace == namespace)
        return {name for document in pods for name in references_of(document.tree()).secrets}

    async def _mark_or_delete(self, secret: Secret, now: datetime) -> None:
        meta = secret.metadata
        since = meta.labels.get(INVALID_SINCE, "")
        try:
            if beginning_of(since) is None:
                change = {"metadata": {"uid": meta.uid, "labels": {INVALID_SINCE: day_of(now)}}}
                await self._registry.patch(secret.key, Patch("merge", change))
            elif since < day_of(now - self._unused):
                unchanged = Preconditions(resource_version=meta.resource_version)
                await self._registry.delete(secret.key, preconditions=unchanged)
        except (NotFound, Conflict):
            return  # it has changed meanwhile: looked at again tomorrow
        except ApiError as error:
            log.warning("cannot clean the token in secret %s: %s", secret.key, error)


def legacy_token_cleaner(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> LegacyTokenCleaner:
    """Return the cleaner."""
    return LegacyTokenCleaner(informers, clock)
