"""What timestamps and durations can be asked."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kubelib.cel.library import Library
from kubelib.cel.values import Duration, Timestamp

TIMES = Library()


def _part(name: str, of: Callable[[datetime], int]) -> None:
    TIMES.add(f"timestamp.{name}() int", lambda t: of(t.local()))
    TIMES.add(f"timestamp.{name}(string) int", lambda t, zone: of(t.local(zone)))


_part("getFullYear", lambda d: d.year)
_part("getMonth", lambda d: d.month - 1)
_part("getDayOfYear", lambda d: d.timetuple().tm_yday - 1)
_part("getDayOfMonth", lambda d: d.day - 1)
_part("getDate", lambda d: d.day)
_part("getDayOfWeek", lambda d: d.isoweekday() % 7)
_part("getHours", lambda d: d.hour)
_part("getMinutes", lambda d: d.minute)
_part("getSeconds", lambda d: d.second)


def _milliseconds(moment: Timestamp, *_: Any) -> int:
    return moment.nanoseconds % 10**9 // 10**6


TIMES.add("timestamp.getMilliseconds() int", _milliseconds)
TIMES.add("timestamp.getMilliseconds(string) int", _milliseconds)


def _whole(unit: int) -> Callable[[Duration], int]:
    def count(span: Duration) -> int:
        whole = abs(span.nanoseconds) // unit
        return whole if span.nanoseconds >= 0 else -whole

    return count


TIMES.add("duration.getHours() int", _whole(3600 * 10**9))
TIMES.add("duration.getMinutes() int", _whole(60 * 10**9))
TIMES.add("duration.getSeconds() int", _whole(10**9))
TIMES.add("duration.getMilliseconds() int", _whole(10**6))
