"""Dates and durations as Kubernetes writes them."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.times import (
    format_micro_time,
    format_time,
    human_duration,
    parse_duration,
    parse_time,
)

dates = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


def test_a_time_has_whole_seconds_and_a_micro_time_six_digits() -> None:
    date = datetime(2026, 1, 2, 5, 4, 5, 600, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(date) == "2026-01-02T03:04:05Z"
    assert format_micro_time(date) == "2026-01-02T03:04:05.000600Z"


@given(dates)
def test_times_survive_a_round_trip(date: datetime) -> None:
    assert parse_time(format_micro_time(date)) == date
    assert parse_time(format_time(date)) == date.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1Z", datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ],
)
def test_rfc_3339_is_read_with_any_fraction_and_offset(text: str, date: datetime) -> None:
    assert parse_time(text) == date


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-02", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05", "20260102T030405Z", "2026-13-02T03:04:05Z",
        "0001-01-01T00:00:00+23:00", "2026-W01-1T00:00:00Z",
    ],
)  # fmt: skip
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (1, "1s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"),
        (600, "10m"), (601, "10m"), (10_799, "179m"), (10_800, "3h"), (11_000, "3h3m"), (28_799, "7h59m"), (28_800, "8h"),
        (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"), (691_199, "7d23h"), (691_200, "8d"), (63_071_999, "729d"),
        (63_072_000, "2y"), (90_000_000, "2y311d"), (252_288_000, "8y"), (300_000_000, "9y"),
    ],
)  # fmt: skip
def test_an_age_is_printed_as_kubectl_does(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1h2m3s", 3723.0),
        ("1.5h", 5400.0),
        ("-1m", -60.0),
        ("250ms", 0.25),
        ("1µs", 1e-6),
        ("+.5s", 0.5),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, f'time: invalid duration "{text}"') for text in ("", "s", ".s", "--1s", "9223372037s")),
        *((text, f'time: missing unit in duration "{text}"') for text in ("1", "1h2", "1.5.5s")),
        *(
            (text, f'time: unknown unit "{unit}" in duration "{text}"')
            for text, unit in (("1d", "d"), ("1 s", " s"), ("1h-2m", "h-"), ("2min", "min"), ("1S", "S"))
        ),
    ],
)
def test_what_is_no_duration_is_refused_as_go_refuses_it(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        parse_duration(text)
