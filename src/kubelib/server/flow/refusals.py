"""When those who are refused are told to come again: the later, the more are refused."""

from collections import deque

LONGEST = 32


class Refusals:
    """The refusals of one priority level. The time that they are told is doubled while many come, and else falls by a second."""

    def __init__(self) -> None:
        self.retry_after = 1
        """Seconds after which to try again."""
        self._second: int | None = None
        self._count = 0
        self._before: deque[tuple[int, int]] = deque()
        """Past seconds with a refusal, and how many they had."""
        self._doubled: int | None = None

    def count(self, second: int) -> None:
        """Count one in a second; with the first of a second it is seen how many there were before."""
        if second == self._second:
            self._count += 1
            return
        if self._second is not None:
            self._before.append((self._second, self._count))
        while self._before and second - self._before[0][0] > LONGEST:
            self._before.popleft()
        self._second, self._count = second, 1
        self._adapt(second)

    def _adapt(self, second: int) -> None:
        wait = self.retry_after
        recent = sum(count for at, count in self._before if second - at <= wait)
        # One burst must not double it twice.
        may_double = self._doubled is None or second - self._doubled >= wait
        if may_double and recent >= 3 * wait:
            self.retry_after, self._doubled = min(2 * wait, LONGEST), second
        elif recent < wait and wait > 1:
            self.retry_after = wait - 1
