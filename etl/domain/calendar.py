"""Trade days, which turn at 17:00 New York, and business days."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
TURNS_AT = timedelta(hours=17)
DAYS_OF_A_WEEK = 7
DATED_AHEAD = timedelta(days=4)
"""How far ahead of its execution a trade date may be: Friday-night crypto may carry Monday (design.md §4)."""
SATURDAY = 5  # as `date.weekday` counts


def trade_day(instant: datetime) -> date:
    """Return the day of trading that the instant belongs to: from 17:00 New York on it is the next one.

    Weekends are not skipped. Market custom, not stated by the vendor (integral-api.md §12).
    """
    return (instant.astimezone(NEW_YORK).replace(tzinfo=None) + timedelta(days=1) - TURNS_AT).date()


def closes_at(day: date, ends: time, zone: ZoneInfo) -> datetime:
    """Return the instant at which the business day ends (design §6)."""
    return datetime.combine(day, ends, zone)


def begins_at(day: date, ends: time, zone: ZoneInfo) -> datetime:
    """Return the instant at which the business day begins: that at which the day before it ends."""
    return closes_at(day - timedelta(days=1), ends, zone)


def business_days_before(instant: datetime, days: int) -> datetime:
    """Return the instant so many business days (Monday to Friday, UTC) earlier, at the same time of day."""
    while days > 0:
        instant -= timedelta(days=1)
        days -= instant.weekday() < SATURDAY
    return instant


def weekday_from(day: date) -> date:
    """Return the day, or the Monday after it where it is a Saturday or Sunday."""
    weekday = day.weekday()
    return day + timedelta(days=DAYS_OF_A_WEEK - weekday if weekday >= SATURDAY else 0)
