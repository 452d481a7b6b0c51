"""Tokens that Secrets hold: the day of their last use is written on the Secret, so that those nobody uses can go.

Labels, the ConfigMap and the refusal are those of ``pkg/serviceaccount/legacy.go`` and ``legacytokentracking`` in Kubernetes.
"""

import base64
import logging
from datetime import timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubelib.api.legacytokens import INVALID_SINCE, LAST_USED, SINCE, TRACKING, TYPE, beginning_of, day_of
from kubelib.api.meta import Key
from kubelib.registry.base import Patch, User, WriteOptions
from kubelib.registry.registries import ResourceRegistries

log = logging.getLogger("kubelib.server")

LOOK_EVERY = 10.0
"""Seconds between looks at the ConfigMap."""
RARELY = 30 * 60.0
"""Seconds between two times that it is made: another server may be one that takes it away."""
_SERVER = WriteOptions(
    user=User("system:apiserver", ("system:masters", "system:authenticated")), manager="kube-apiserver"
)


class HeldTokens:
    """Knows the Secrets that hold tokens, and notes on them when these are used."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries
        self._secrets = registries.cache_of(Secret)
        self._noting: set[Key] = set()
        """Where a note is just being made."""

    def holding(self, key: Key, token: str) -> Secret | None:
        """Return the Secret if it holds a token, and is not merely what the token is bound to."""
        document = self._secrets.get(key)
        secret = document.view(Secret) if document is not None else None
        if secret is None or secret.type != TYPE:
            return None
        return secret if secret.data.get("token") == base64.b64encode(token.encode()).decode() else None

    def refusal(self, secret: Secret, account: Key) -> str:
        """Return why a token is not good although all that it is bound to is there; empty if it is."""
        if not secret.metadata.labels.get(INVALID_SINCE):
            return ""
        where = f"{secret.metadata.namespace}/{secret.metadata.name}"
        return (
            f"the token in secret {where} for service account {account.namespace}/{account.name} has been marked invalid."
            " Use tokens from the TokenRequest API or manually created secret-based tokens,"
            f" or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        )

    async def note_use(self, secret: Secret) -> None:
        """Write down that a token is used today, once a day."""
        now, key = self._registries.clock.now(), secret.key
        # The clock of another server may be a little ahead.
        days = (day_of(now), day_of(now + timedelta(days=1)))
        if secret.metadata.labels.get(LAST_USED) in days or key in self._noting:
            return
        self._noting.add(key)
        try:
            meta = {"uid": secret.metadata.uid, "labels": {LAST_USED: days[0]}}
            registry = self._registries.of(self._registries.scheme.of(Secret))
            await registry.patch(key, Patch("merge", {"metadata": meta}), options=_SERVER)
        except ApiError as error:
            log.warning("cannot note the use of the token in secret %s: %s", key, error)
        finally:
            self._noting.discard(key)


class Tracking:
    """Says in a ConfigMap since when uses are written down. A `kubelib.informers.Component`."""

    name = "legacy token tracking"

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries
        self._made = float("-inf")

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the ConfigMap until cancelled; started means that it is there."""
        await self.look()
        task_status.started()
        while True:
            await anyio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Make the ConfigMap if it is missing, and give it a date if it has none."""
        registry = self._registries.of(self._registries.scheme.of(ConfigMap))
        document, now = registry.cache.get(TRACKING), anyio.current_time()
        data: dict[str, str] = {SINCE: day_of(self._registries.clock.now())}
        try:
            if document is None:
                if now - self._made < RARELY:
                    return
                meta = {"name": TRACKING.name, "namespace": TRACKING.namespace}
                tree = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}
                await registry.create(tree, namespace=TRACKING.namespace, options=_SERVER)
                self._made = now
            elif not _has_date(document):
                data = {**document.view(ConfigMap).data, **data}
                await registry.update(TRACKING, {**document.tree(), "data": data}, options=_SERVER)
        except (AlreadyExists, Conflict, NotFound):
            return  # another API server was quicker
        except ApiError as error:
            log.warning("cannot say since when the use of tokens is noted: %s", error)


def _has_date(document: Document) -> bool:
    return beginning_of(document.view(ConfigMap).data.get(SINCE, "")) is not None
