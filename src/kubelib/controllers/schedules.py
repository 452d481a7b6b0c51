"""When a cron schedule comes due, in a time zone. The only module that knows cronsim."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_part = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")


class BadSchedule(ValueError):
    """A schedule that cannot be read."""


class BadTimeZone(ValueError):
    """A time zone that nobody knows."""


class Schedule(Protocol):
    """Instants, in order and without end; or, where a date never comes, none."""

    def after(self, instant: datetime) -> datetime | None:
        """Return the first instant after another."""
        ...

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """Return the last instant after `since` and not after `until`."""
        ...


@attrs.frozen
class Every:
    """Again and again after so many seconds, from wherever one begins."""

    seconds: int

    def after(self, instant: datetime) -> datetime:
        """Return the first instant after another."""
        return instant.replace(microsecond=0) + timedelta(seconds=self.seconds)

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """Return the last instant after `since` and not after `until`."""
        times = int((until - since.replace(microsecond=0)).total_seconds()) // self.seconds
        return since.replace(microsecond=0) + timedelta(seconds=times * self.seconds) if times > 0 else None


@attrs.frozen
class Never:
    """A date that no month has, such as the 31st of February."""

    def after(self, instant: datetime) -> None:
        """Return nothing."""

    def latest(self, since: datetime, until: datetime) -> None:
        """Return nothing."""


@attrs.frozen
class Cron:
    """Five fields."""

    text: str
    zone: tzinfo

    def _walk(self, instant: datetime, *, back: bool = False) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError

        try:
            return CronSim(self.text, instant.astimezone(self.zone), reverse=back)
        except CronSimError as error:
            raise BadSchedule(str(error)) from None

    def after(self, instant: datetime) -> datetime | None:
        """Return the first instant after another."""
        found = next(self._walk(instant), None)
        return found.astimezone(UTC) if found is not None else None

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """Return the last instant after `since` and not after `until`."""
        just_after = until.replace(microsecond=0) + timedelta(seconds=1)
        found = next(self._walk(just_after, back=True), None)
        if found is None:
            return None
        found = found.astimezone(UTC)
        return found if found > since else None


def time_zone(name: str) -> tzinfo:
    """Return a time zone by name, UTC for none. Raises `BadTimeZone`."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTimeZone(f"unknown time zone {name}") from None


def parse_schedule(text: str, zone: tzinfo = UTC) -> Schedule:
    """Read a schedule: five fields, a name like ``@daily``, or ``@every 1h30m``. Raises `BadSchedule`."""
    named = re.match(r"(?:CRON_)?TZ=(\S+)\s+(.*)", text)
    if named is not None:
        text, zone = named[2], time_zone(named[1])
    text = text.strip()
    if text.startswith("@every "):
        return Every(_seconds(text.removeprefix("@every ").strip()))
    fields = _MACROS.get(text, text).replace("?", "*").split()
    if len(fields) != 5:
        raise BadSchedule(f"expected exactly 5 fields, found {len(fields)}: [{text}]")
    schedule = Cron(" ".join(fields), zone)
    try:
        schedule._walk(_ANY_TIME)
    except BadSchedule:
        # Of a day that none of its months has, cronsim says that it cannot be read.
        Cron(" ".join([*fields[:3], "*", fields[4]]), zone)._walk(_ANY_TIME)
        Cron(" ".join([*fields[:2], "*", *fields[3:]]), zone)._walk(_ANY_TIME)
        return Never()
    return schedule


def _seconds(text: str) -> int:
    parts = _part.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadSchedule(f"failed to parse duration @every {text}")
    # Shorter than a second, and what is beyond whole seconds, is rounded as cron does.
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))
