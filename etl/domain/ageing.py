"""How old a break is, in business days, and how much it matters (design.md §6)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from etl.domain.calendar import closes_at
from etl.domain.reconciliation import BreakKind

BUCKETS = ((0, "today"), (1, "1 day"), (5, "2-5 days"), (10, "6-10 days"))
OLDEST = "over 10 days"


class Severity(StrEnum):
    """How much a break matters; `unknown` where no honest amount can be told, and it stands before the lower ones."""

    HIGH = "high"
    UNKNOWN = "unknown"
    MEDIUM = "medium"
    LOW = "low"


WITHOUT_AMOUNT = {
    BreakKind.MISSING_IN_BOOK: Severity.HIGH,
    BreakKind.MISSING_AT_VENDOR: Severity.HIGH,
    BreakKind.CONFLICT: Severity.HIGH,
    BreakKind.STALE_FEED: Severity.HIGH,
    BreakKind.QUERY_FAILED: Severity.MEDIUM,
    BreakKind.STATUS: Severity.MEDIUM,
    BreakKind.FIXING_OVERDUE: Severity.LOW,
}


def business_day(instant: datetime, ends: time, zone: ZoneInfo) -> date:
    """Return the business day that the instant belongs to: from `ends` local time on it is the next day.

    Weekends are not skipped: what is done on a Saturday belongs to it.
    """
    local = instant.astimezone(zone)
    return local.date() + timedelta(days=local.time() >= ends)


def bucket(age: int) -> str:
    """Return the range of ages that it falls into."""
    return next((name for most, name in BUCKETS if age <= most), OLDEST)


def severity(kind: BreakKind, amount: Decimal | None, *, low_below: Decimal, high_from: Decimal) -> Severity:
    """Return how much a break matters: by its amount in the reporting currency, else by its kind."""
    if amount is not None:
        return (
            Severity.HIGH if abs(amount) >= high_from else Severity.LOW if abs(amount) < low_below else Severity.MEDIUM
        )
    return WITHOUT_AMOUNT.get(kind, Severity.UNKNOWN)


def is_near_cut(instant: datetime, ends: time, zone: ZoneInfo, *, within: timedelta) -> bool:
    """Return whether the business day turns, or turned, within that time: figures of two days may mix then."""
    local = instant.astimezone(zone)
    cuts = (closes_at(local.date() + timedelta(days=shift), ends, zone) for shift in (-1, 0, 1))
    return any(abs(instant - cut) < within for cut in cuts)
