"""Business days, ages and weights."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.ageing import Severity, bucket, business_day, is_near_cut, severity
from etl.domain.calendar import trade_day
from etl.domain.reconciliation import BreakKind

CUT, ZONE = time(17), ZoneInfo("America/New_York")


@given(st.integers(0, 20 * 365 * 24 * 3600))
def test_the_business_day_of_the_default_settings_is_the_trade_day(seconds):
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)

    assert business_day(at, CUT, ZONE) == trade_day(at)


@pytest.mark.parametrize(
    ("minutes", "near"), [(-11, False), (-10, False), (-9, True), (0, True), (9, True), (10, False), (600, False)]
)
def test_only_the_minutes_around_the_cut_are_near_it(minutes, near):
    cut = datetime(2030, 7, 2, 21, tzinfo=UTC)

    assert is_near_cut(cut + timedelta(minutes=minutes), CUT, ZONE, within=timedelta(minutes=10)) is near


@pytest.mark.parametrize(("age", "name"), [(0, "today"), (1, "1 day"), (2, "2-5 days"), (11, "over 10 days")])
def test_ages_fall_into_ranges(age, name):
    assert bucket(age) == name


@pytest.mark.parametrize(
    ("kind", "amount", "expected"),
    [
        (BreakKind.POSITION, "9", Severity.LOW), (BreakKind.POSITION, "-10", Severity.MEDIUM),
        (BreakKind.POSITION, "100", Severity.HIGH), (BreakKind.POSITION, None, Severity.UNKNOWN),
        (BreakKind.MISSING_IN_BOOK, None, Severity.HIGH), (BreakKind.FIXING_OVERDUE, None, Severity.LOW),
    ],
)  # fmt: skip
def test_the_weight_is_by_amount_and_else_by_kind(kind, amount, expected):
    given_amount = None if amount is None else Decimal(amount)

    assert severity(kind, given_amount, low_below=Decimal(10), high_from=Decimal(100)) is expected
