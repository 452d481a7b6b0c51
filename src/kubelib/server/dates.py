"""The date that answers bear."""

from email.utils import format_datetime

import attrs

from kubelib.clock import SYSTEM_CLOCK, Clock


@attrs.define(eq=False)
class Dates:
    """The header ``Date`` of all answers: made once a second, and only while there are any."""

    clock: Clock = SYSTEM_CLOCK
    headers: list[tuple[bytes, bytes]] = attrs.Factory(list)
    """Where the listener looks for the headers of every answer."""
    _stale: float = 0

    def refresh(self, now: float) -> None:
        """Make the date anew if it is a second old at `now`, the loop's time."""
        if now >= self._stale:
            date = self.clock.now()
            # The next one is due when the second is over, so that no answer bears the date of an earlier one.
            self._stale = now + 1 - date.microsecond / 1e6
            self.headers[:] = [(b"date", format_datetime(date, usegmt=True).encode())]
