"""Where "now" comes from, and where identities come from.

Waiting belongs to the event loop (``anyio.sleep``), so that a loop with virtual time makes every timer
instant. Only the date is asked from a `Clock`, and only an injected ``random.Random`` is ever drawn from, so
that the same code runs in production and, repeatably, in a simulation.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio
import attrs


class Clock(Protocol):
    """Something that knows the date."""

    def now(self) -> datetime:
        """Return the current date and time, with the time zone UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the machine's date and time in UTC."""
        return datetime.now(UTC)


@attrs.frozen
class LoopClock:
    """A date that advances with the running event loop: virtual on a virtual-time loop, real otherwise."""

    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """The date at which the loop's own time is zero."""

    def now(self) -> datetime:
        """Return the epoch plus the running loop's time. Raises outside of a running event loop."""
        return self.epoch + timedelta(seconds=anyio.current_time())


SYSTEM_CLOCK = SystemClock()


def system_random() -> random.Random:
    """Return a generator that draws from the operating system: what production injects."""
    return random.SystemRandom()


def new_uid(rng: random.Random) -> str:
    """Return a random (version 4) UUID in its usual text form, drawn from `rng`."""
    return _uid_of(rng.getrandbits(128))


def new_uids(rng: random.Random) -> Iterator[str]:
    """Yield as many of them as wanted. They are drawn many at a time: to ask the operating system costs more than to write one."""
    while True:
        drawn = rng.getrandbits(128 * _DRAWN)
        for _ in range(_DRAWN):
            yield _uid_of(drawn)
            drawn >>= 128


def _uid_of(number: int) -> str:
    """Return the UUID that the last 128 bits of a number make."""
    digits = f"{number & _RANDOM_BITS | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_DRAWN = 16
_VERSION_4 = 4 << 76 | 2 << 62
_RANDOM_BITS = (1 << 128) - 1 & ~(0xF << 76 | 3 << 62)
"""Where RFC 9562 has the version and the variant of a random UUID: formatted by hand, it costs a quarter of what ``uuid.UUID`` does."""
