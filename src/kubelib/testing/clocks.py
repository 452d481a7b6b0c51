"""A clock whose date a test may move."""

from datetime import datetime, timedelta

import attrs

from kubelib.clock import SYSTEM_CLOCK, Clock


@attrs.define
class MovableClock:
    """The date of another clock, moved: what is a date (expiry, creation, schedules) moves with it, what is a wait does not."""

    clock: Clock = SYSTEM_CLOCK
    offset: timedelta = timedelta()
    """How far ahead of the other clock this one is."""

    def now(self) -> datetime:
        """Return the moved date."""
        return self.clock.now() + self.offset

    def advance(self, **duration: float) -> datetime:
        """Move the date by a `datetime.timedelta` in words, ``advance(days=1, hours=2)``, and return it."""
        self.offset += timedelta(**duration)
        return self.now()

    def set(self, date: datetime) -> None:
        """Move to a date, from which time goes on."""
        self.offset = date - self.clock.now()
