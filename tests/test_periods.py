"""Boundaries of periods in time zones, with their clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import PeriodType
from evalkit.domain.periods import local_readings, period_end, period_start

# Whole hours and half hours; a skipped midnight (Beirut, Sao Paulo), a midnight twice (Havana), a skipped day (Apia).
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Asia/Kolkata",
    "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
]  # fmt: skip
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
LOCAL_DAYS = [PeriodType.DAILY, PeriodType.WEEKLY, PeriodType.MONTHLY]


@given(MOMENTS, st.sampled_from(LOCAL_DAYS), st.sampled_from(ZONES))
def test_periods_tile_time_in_every_zone(moment: datetime, kind: PeriodType, zone: str) -> None:
    """Every time is in exactly one period: each ends where the next one starts."""
    tz = ZoneInfo(zone)
    start = period_start(kind, moment, tz)
    end = period_end(kind, start, tz)
    assert start <= moment < end
    assert period_start(kind, start, tz) == start
    assert period_start(kind, end, tz) == end
    assert period_start(kind, end - timedelta(microseconds=1), tz) == start


@given(MOMENTS, st.sampled_from([zone for zone in ZONES if zone != "Australia/Lord_Howe"]))
def test_an_hour_has_60_minutes_in_every_zone(moment: datetime, zone: str) -> None:
    tz = ZoneInfo(zone)
    start = period_start("hourly", moment, tz)
    assert start <= moment < period_end("hourly", start, tz) == start + timedelta(hours=1)
    assert start.astimezone(tz).minute == 0


@given(MOMENTS, st.sampled_from(list(PeriodType)))
def test_utc_equals_arithmetic_without_a_zone(moment: datetime, kind: PeriodType) -> None:
    start = period_start(kind, moment, UTC)
    assert start == period_start(kind, moment)
    assert period_end(kind, start, UTC) == period_end(kind, start)


@pytest.mark.parametrize(
    ("kind", "zone", "local", "start", "hours"),
    [
        ("daily", "Europe/Berlin", "2026-01-31T08:30", "2026-01-30T23:00Z", 24),
        ("daily", "Europe/Berlin", "2026-03-29T08:30", "2026-03-28T23:00Z", 23),
        ("daily", "Europe/Berlin", "2026-10-25T08:30", "2026-10-24T22:00Z", 25),
        ("weekly", "America/New_York", "2026-03-08T08:30", "2026-03-02T05:00Z", 167),
        ("monthly", "America/New_York", "2026-11-30T08:30", "2026-11-01T04:00Z", 721),
        ("daily", "Australia/Lord_Howe", "2026-04-05T08:30", "2026-04-04T13:00Z", 24.5),
        ("daily", "Asia/Beirut", "2026-03-29T08:30", "2026-03-28T22:00Z", 23),  # begins at 01:00
        ("daily", "America/Havana", "2026-11-01T08:30", "2026-11-01T04:00Z", 25),  # 00:00 to 00:59 comes twice
        ("daily", "Pacific/Apia", "2011-12-29T08:30", "2011-12-29T10:00Z", 24),  # the next day is December 31
        ("hourly", "Asia/Kolkata", "2026-01-31T08:45", "2026-01-31T02:30Z", 1),
    ],
)
def test_boundaries_at_clock_changes(kind: str, zone: str, local: str, start: str, hours: float) -> None:
    tz = ZoneInfo(zone)
    expected = datetime.fromisoformat(start)
    assert period_start(kind, datetime.fromisoformat(local).replace(tzinfo=tz), tz) == expected
    assert period_end(kind, expected, tz) - expected == timedelta(hours=hours)


@pytest.mark.parametrize("tz", [None, UTC, ZoneInfo("Europe/Berlin")])
def test_aware_times_stay_aware(tz: ZoneInfo | None) -> None:
    for kind in PeriodType:
        start = period_start(kind, datetime(2026, 7, 1, 12, 30, tzinfo=UTC), tz)
        assert start.tzinfo is period_end(kind, start, tz).tzinfo is UTC


def test_a_period_may_begin_anywhere() -> None:
    """Its end is the same local time one period later, or when the clocks skip that, the time of the change."""
    tz = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 28, 2, 30, 15, 500, tzinfo=tz)
    assert period_end("daily", start, tz) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert period_end("monthly", datetime(2026, 1, 31, 8, tzinfo=tz), tz) == datetime(2026, 2, 28, 7, tzinfo=UTC)


def test_local_readings_are_in_time_order_only_where_clocks_go_back() -> None:
    tz = ZoneInfo("Europe/Berlin")
    twice, skipped, usual = (local_readings(datetime(2026, *day, 2, 30), tz) for day in ((10, 25), (3, 29), (1, 1)))
    assert twice[0] < twice[1]
    assert skipped[0] > skipped[1]
    assert usual[0] == usual[1]
