"""Windows of trade dates, and which of them an answer in doubt may have carried."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.calendar import DATED_AHEAD
from etl.domain.gaps import MARGIN, Doubt, window_of
from etl.domain.window import Window

NOON = datetime(2024, 3, 13, 12, tzinfo=UTC)
TODAY = NOON.date()
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = st.dates(date(2000, 1, 1), date(2060, 1, 1))
WINDOWS = st.builds(lambda start, days: Window.of(start, start + timedelta(days=days)), DAYS, st.integers(0, 400))


def a_window(first: int, last: int) -> Window:
    return Window.of(date(2024, 3, first), date(2024, 3, last))


def test_a_window_holds_both_its_ends():
    window = a_window(12, 14)

    assert [day.day for day in window] == [12, 13, 14]
    assert (window.days, window.last) == (3, date(2024, 3, 14))


def test_a_window_is_never_empty():
    with pytest.raises(ValueError, match="before it begins"):
        a_window(14, 13)


@pytest.mark.parametrize(
    ("other", "touches"), [((10, 11), True), ((9, 10), False), ((15, 16), True), ((16, 17), False)]
)
def test_windows_that_lie_side_by_side_touch(other, touches):
    assert a_window(12, 14).touches(a_window(*other)) is touches
    assert a_window(*other).touches(a_window(12, 14)) is touches


@given(WINDOWS, st.integers(1, 40))
def test_the_pieces_of_a_window_are_its_days_in_their_order(window, days):
    pieces = list(window.pieces(days))

    assert [day for piece in pieces for day in piece] == list(window)
    assert all(piece.days <= days for piece in pieces)


@given(WINDOWS, WINDOWS)
def test_a_window_with_another_holds_both_and_no_more(one, other):
    both = one.with_(other)

    assert set(both) >= {one.start, one.last, other.start, other.last}
    assert both.days <= one.days + other.days or not one.touches(other)


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        ({}, 12, 17),
        ({"doubt_from": TODAY - timedelta(days=3)}, 9, 17),
        ({"oldest_landed": date(2024, 3, 1)}, 29, 17),  # of February
        ({"oldest_landed": date(2024, 3, 20)}, 12, 17),
        ({"lateness_days": 4}, 8, 17),
        ({"vendor_date": NOON + timedelta(days=2)}, 12, 19),  # our clock is slow
        ({"vendor_date": NOON - timedelta(days=2)}, 12, 17),  # the vendor's is
    ],
)
def test_the_window_of_a_doubt(values, first, last):
    window = window_of(Doubt(**{"doubt_from": TODAY, "now": NOON} | values))

    assert (window.start.day, window.last.day) == (first, last)


@given(
    now=st.integers(0, 7000 * 86_400).map(lambda passed_s: EARLY + timedelta(seconds=passed_s)),
    slow=st.timedeltas(timedelta(days=-3), timedelta(days=3)),
    idle_days=st.integers(0, 40),
    lateness=st.integers(0, 90),
    late=st.integers(0, 90),
    ahead=st.integers(0, 3),
)
def test_the_window_holds_every_trade_date_that_the_vendor_could_have_handed_out(
    now, slow, idle_days, lateness, late, ahead
):
    """Done since the queue was last empty, at most as late as ever seen, at most three days ahead (Friday's crypto)."""
    vendors, doubt_from = now + slow, now.date() - timedelta(days=idle_days)
    true_today = max(now, vendors).date()
    done_on = max(doubt_from - MARGIN, true_today - timedelta(days=min(late, lateness)))

    window = window_of(Doubt(doubt_from, now, vendors, None, lateness))

    assert doubt_from in window or doubt_from > true_today + DATED_AHEAD
    assert window.start <= done_on <= window.last
    assert window.start <= true_today + timedelta(days=ahead) <= window.last


@pytest.mark.parametrize("at", [time(0), time(23, 59, 59)])
def test_days_are_those_of_utc(at):
    tokyo_morning = datetime.combine(TODAY, at, UTC)

    assert window_of(Doubt(TODAY, tokyo_morning)).last == TODAY + DATED_AHEAD
