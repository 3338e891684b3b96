"""When sweeps run, how wide a gap becomes, and which unreadable bytes may be messages."""

import gzip
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.answer import may_hold_messages
from etl.domain.gaps import GapCause, wider
from etl.domain.sweeps import SweepTimes
from etl.domain.window import Window

NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(0, 20 * 366 * 86_400).map(lambda seconds: EPOCH + timedelta(seconds=seconds))


def at(day, hour, minute=0):
    return datetime(2024, 3, day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "closed"),
    [
        (at(13, 17, 29), 12),
        (at(13, 17, 30), 13),
        (at(13, 23, 59), 13),
        (at(14, 0, 1), 13),
        (at(10, 17, 30), 10),  # the clocks went forward that night
        (at(9, 17, 30), 9),
    ],
)
def test_a_trade_date_is_due_when_its_day_is_over(now, closed):
    assert SweepTimes().closed_day(now) == date(2024, 3, closed)


@given(INSTANTS, st.integers(0, 10**6))
def test_no_day_is_passed_over_as_time_goes_on(now, seconds):
    times = SweepTimes()

    assert times.closed_day(now) <= times.closed_day(now + timedelta(seconds=seconds))
    assert times.closed_day(now + timedelta(days=1)) - times.closed_day(now) <= timedelta(days=2)


@pytest.mark.parametrize(
    ("first", "last", "hour", "quiet"),
    [
        (18, 23, 18, True),
        (18, 23, 23, False),
        (22, 4, 23, True),
        (22, 4, 3, True),
        (22, 4, 4, False),
        (22, 4, 12, False),
    ],
)
def test_quiet_hours_may_reach_over_midnight(first, last, hour, quiet):
    assert SweepTimes(quiet_from=time(first), quiet_until=time(last)).quiet(at(13, hour)) is quiet


def test_only_the_day_just_closed_may_be_swept_outside_the_quiet_hours():
    times, noon, evening = SweepTimes(), at(14, 12), at(14, 19)

    assert times.may_run(GapCause.SWEEP, date(2024, 3, 13), noon)
    assert not times.may_run(GapCause.SWEEP, date(2024, 3, 12), noon)
    assert not times.may_run(GapCause.HISTORY_SWEEP, date(2024, 3, 14), noon)
    assert times.may_run(GapCause.SWEEP, date(2024, 3, 12), evening)
    assert times.may_run(GapCause.HISTORY_SWEEP, date(2024, 3, 14), evening)


@pytest.mark.parametrize(("days", "wide"), [(1, 7), (6, 7), (7, 31), (30, 31), (31, None), (40, None)])
def test_a_gap_is_widened_to_7_days_and_then_to_31_and_ends_where_it_did(days, wide):
    end = date(2024, 3, 14)
    found = wider(Window(end - timedelta(days=days), end))

    assert (found and (found.days, found.end)) == (wide and (wide, end))


@pytest.mark.parametrize(
    ("body", "encoding", "may"),
    [
        (b'[{"tradeId": "A"', None, True),
        (b'\xef\xbb\xbf [{"tradeId": ', None, True),
        (b'{"trades": [{"tradeId": "A"}]}', None, True),
        (b'{"trades": [{"tradeId": "A"', None, True),
        (gzip.compress(b"[1, 2, 3]", mtime=0)[:12], "gzip", True),
        (b"<html>Maintenance</html>", None, False),
        (gzip.compress(b"<html></html>", mtime=0), "gzip", False),
        (b"Service unavailable", None, False),
        (b"{}", None, False),
        (b"null", None, False),
        (b'{"trades": [], "message": "later"}', None, False),
        (b'{"a":' * 5000, None, True),
    ],
)
def test_the_page_of_an_error_holds_no_messages(body, encoding, may):
    assert may_hold_messages(body, encoding) is may
