"""The week of the market: laws that hold over every daylight saving change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.trading_hours import TradingHours

NEW_YORK = ZoneInfo("America/New_York")
HOUR = 3600.0

instants = st.floats(0, 3650).map(lambda days: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=days))
durations = st.floats(0, 20).map(lambda days: timedelta(days=days))
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
hours = st.builds(
    TradingHours,
    zone=st.sampled_from([NEW_YORK, ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")]),
    closes=times,
    opens=times,
    weekend=st.booleans(),
    quiet=st.none() | st.tuples(times, times).filter(lambda pair: pair[0] != pair[1]),
)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-03-06 16:59:59", True),  # Friday
        ("2026-03-06 17:00:00", False),
        ("2026-03-07 12:00:00", False),
        ("2026-03-08 16:59:59", False),  # the Sunday on which the clocks go forward
        ("2026-03-08 17:00:00", True),
        ("2026-11-01 16:59:59", False),  # and back
        ("2026-11-01 17:00:00", True),
        ("2026-11-25 03:00:00", True),
    ],
)
def test_the_market_is_closed_from_friday_17_to_sunday_17_new_york(at, is_open):
    assert TradingHours().is_open(local(at)) is is_open


@given(instants)
def test_the_weekend_is_what_the_clock_on_a_wall_in_new_york_says(instant):
    there = instant.astimezone(NEW_YORK)
    hour_of_week = there.weekday() * 24 + there.hour

    assert TradingHours().is_open(instant) == (not 4 * 24 + 17 <= hour_of_week < 6 * 24 + 17)


@given(instants)
def test_a_week_has_120_hours_of_trading_but_where_the_clocks_change(instant):
    counted = TradingHours().trading_s(instant, instant + timedelta(days=7))

    assert abs(counted - 120 * HOUR) <= HOUR


@given(hours, instants, durations, durations)
def test_trading_time_adds_up_and_is_never_longer_than_time(week, first, one, two):
    second, third = first + one, first + one + two

    whole = week.trading_s(first, third)
    assert whole == pytest.approx(week.trading_s(first, second) + week.trading_s(second, third), abs=1e-3)
    assert 0 <= whole <= (third - first).total_seconds() + 1e-3


@given(hours, instants)
def test_a_second_of_quiet_counts_nothing_and_any_other_counts_in_full(week, instant):
    counted = week.trading_s(instant, instant + timedelta(microseconds=1))

    assert counted == (0 if week.is_quiet(instant) else 1e-6)


@given(hours, instants)
def test_a_closed_market_is_quiet(week, instant):
    assert week.is_quiet(instant) or week.is_open(instant)


@given(instants, st.floats(min_value=1, max_value=1e6))
def test_a_silence_that_is_stale_stays_so_however_long_it_lasts(last, after_s):
    week, found = TradingHours(), []
    for days in range(12):
        found.append(week.is_stale(last, last + timedelta(days=days), after_s))

    assert found == sorted(found)


def test_silence_over_the_weekend_is_not_stale_and_counts_on_from_sunday():
    week, last = TradingHours(), local("2026-03-06 16:58")

    assert not week.is_stale(last, local("2026-03-08 17:02"), 300)
    assert week.is_stale(last, local("2026-03-08 17:04"), 300)
    assert week.is_stale(last, local("2026-03-06 16:59"), 30)


def test_where_trading_never_stops_the_weekend_counts():
    week = TradingHours(weekend=False)

    assert week.is_stale(local("2026-03-07 12:00"), local("2026-03-07 12:06"), 300)


@pytest.mark.parametrize(
    ("at", "quiet"),
    [("18:59:59", False), ("19:00:00", True), ("23:59:59", True), ("01:59:59", True), ("02:00:00", False)],
)
def test_quiet_hours_may_reach_over_midnight(at, quiet):
    week = TradingHours(quiet=(time(19), time(2)))

    assert week.is_quiet(local(f"2026-03-04 {at}")) is quiet
    assert week.is_open(local(f"2026-03-04 {at}"))
