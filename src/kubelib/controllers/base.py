"""What a controller is: a function from a key to "look again after", called until the world is as wanted."""

from typing import Protocol

import attrs

from kubelib.api.meta import Key


@attrs.frozen
class After:
    """Look at this key again in `seconds`, even if nothing changes."""

    seconds: float


class Terminal(Exception):
    """Reconciling cannot succeed until the object changes: report it, do not retry."""


class Reconciler(Protocol):
    """Brings one object closer to what it asks for. Level-triggered: it sees a key, never an event."""

    async def reconcile(self, key: Key) -> After | None:
        """Act for the object at `key`, which may be gone.

        Return `After` to be called again, None when done. Raise to be retried with back-off, `Terminal` to stop.
        """
        ...
