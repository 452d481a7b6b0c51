"""Dates and durations as Kubernetes writes them."""

import re
from datetime import UTC, datetime, timedelta


def format_time(date: datetime) -> str:
    """Return a ``metav1.Time``: whole seconds, UTC."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(date: datetime) -> str:
    """Return a ``metav1.MicroTime``: always six digits of microseconds, UTC."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Return the date that an RFC 3339 text denotes. Raises ValueError."""
    date = datetime.fromisoformat(text)
    if date.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return date.astimezone(UTC)


def human_duration(duration: timedelta | float) -> str:
    """Return an age as kubectl prints it: two units at most, fewer the longer it is.

    >>> [human_duration(s) for s in (5, 119, 125, 3_700, 90_000, 700_000, 90_000_000)]
    ['5s', '119s', '2m5s', '61m', '25h', '8d', '2y311d']
    """
    seconds = int(duration.total_seconds() if isinstance(duration, timedelta) else duration)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 60 * 2:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 60 * 3:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        years, rest = divmod(days, 365)
        return f"{years}y{rest}d" if rest else f"{years}y"
    return f"{hours // 24 // 365}y"


_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Go writes them (``1h2m3.5s``). Raises ValueError."""
    body = text.removeprefix("-").removeprefix("+")
    if body == "0":
        return 0.0
    parts = list(_DURATION.finditer(body))
    if not parts or "".join(part.group() for part in parts) != body:
        raise ValueError(f'invalid duration "{text}"')
    seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
    return -seconds if text.startswith("-") else seconds
