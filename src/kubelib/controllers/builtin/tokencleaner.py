"""Bootstrap tokens go when they have expired."""

from kubelib.api.core.config import Secret
from kubelib.api.document import Document
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.bootstraptokens import NAMESPACE, PREFIX, TYPE, decoded, expires
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Preconditions

NAME = "token-cleaner"


def tokens(document: Document) -> tuple[Key, ...]:
    """Return the key of a secret that may be a bootstrap token."""
    meta = document.meta
    return (document.key,) if meta.namespace == NAMESPACE and meta.name.startswith(PREFIX) else ()


class TokenCleaner:
    """Looks at one secret."""

    def __init__(self, informers: SharedInformers, clock: Clock) -> None:
        self._secrets = informers.of(Secret).cache
        self._registry = informers.client.resource(Secret)
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Delete a token that has expired, or come back when it does."""
        secret = self._secrets.view(key)
        if secret is None or secret.type != TYPE:
            return None
        try:
            until = expires(decoded(secret))
        except ValueError:
            until = self._clock.now()
        if until is None:
            return None
        left = (until - self._clock.now()).total_seconds()
        if left > 0:
            return After(left)
        try:
            await self._registry.delete(key, preconditions=Preconditions(secret.metadata.uid))
        except ApiError:
            return After(1.0)
        return None


def token_cleaner(informers: SharedInformers, *, clock: Clock, recorder: EventRecorder) -> Controller:
    """Return the controller that deletes expired bootstrap tokens."""
    return Controller(
        NAME,
        TokenCleaner(informers, clock),
        [(informers.of(Secret), tokens)],
        workers=1,
        recorder=recorder.source(NAME),
    )
