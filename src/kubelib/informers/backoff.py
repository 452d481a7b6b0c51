"""How long to wait before trying again."""

from random import Random

import attrs


@attrs.frozen
class Backoff:
    """An exponentially growing delay with a maximum; a value, it remembers nothing.

    >>> [Backoff().delay(n) for n in range(4)], Backoff().delay(40)
    ([0.005, 0.01, 0.02, 0.04], 1000.0)
    """

    base: float = 0.005
    maximum: float = 1000.0
    factor: float = 2.0
    jitter: float = 0.0
    """The delay is stretched by up to this fraction of itself, so that many who failed together do not return together."""

    def delay(self, failures: int, random: Random | None = None) -> float:
        """Return the delay after that many earlier failures."""
        # The exponent is bounded because a float overflows long before a failing key gives up.
        delay = min(self.base * self.factor ** min(failures, 64), self.maximum)
        return delay * (1 + self.jitter * random.random()) if random is not None and self.jitter else delay


PER_KEY = Backoff()
"""For keys in a work queue: 5 ms to 1,000 s."""

PER_CONNECTION = Backoff(base=0.8, maximum=30.0, jitter=1.0)
"""For lists and watches: 0.8 s to 30 s, jittered."""

WHILE_AWAY = Backoff(base=0.8, maximum=4.0, jitter=1.0)
"""For connections that nobody accepts, which cost a server nothing: 0.8 s to 8 s, so that all are there again soon after the server is."""
