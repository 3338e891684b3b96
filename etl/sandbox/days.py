"""The vendor's calendar: trade days that turn at 17:00 New York, value dates and tenors."""

import time as machine
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
CUT = time(17, 0)
SATURDAY = 5


def is_weekend(day: date) -> bool:
    """Saturday and Sunday; holidays are not played."""
    return day.weekday() >= SATURDAY


def calendar_trade_day(instant: datetime) -> date:
    """Return the day that ends at the next 17:00 New York, weekends included."""
    local = instant.astimezone(NEW_YORK)
    return local.date() + timedelta(days=1) if local.time() >= CUT else local.date()


def trade_day(instant: datetime) -> date:
    """Return the FX trade day of an instant: it turns at 17:00 New York and skips weekends (A14)."""
    return following(calendar_trade_day(instant))


def market_is_closed(instant: datetime) -> bool:
    """Whether only crypto trades: from Friday 17:00 to Sunday 17:00 New York."""
    return is_weekend(calendar_trade_day(instant))


def session(day: date) -> tuple[datetime, datetime]:
    """Return the UTC instants between which trades get this trade day: from 17:00 to 17:00 New York."""
    start = datetime.combine(day - timedelta(days=1), CUT, NEW_YORK)
    return start.astimezone(UTC), datetime.combine(day, CUT, NEW_YORK).astimezone(UTC)


def following(day: date) -> date:
    """Return the day itself, or the Monday after it if it is on a weekend."""
    while is_weekend(day):
        day += timedelta(days=1)
    return day


def business_days_after(day: date, count: int) -> date:
    """Return the day that is `count` business days later, or earlier where it is negative."""
    step = timedelta(days=1 if count > 0 else -1)
    for _ in range(abs(count)):
        day += step
        while is_weekend(day):
            day += step
    return day


def stamp(instant: datetime) -> str:
    """Write an instant as the vendor does: `2023-06-02 18:31:01,301 +0000` (D/websocket-stp)."""
    utc = instant.astimezone(UTC)
    return (
        f"{utc.year:04}-{utc.month:02}-{utc.day:02} {utc.hour:02}:{utc.minute:02}:{utc.second:02},"
        f"{utc.microsecond // 1000:03} +0000"
    )


def instant_of(text: str) -> datetime:
    """Read the vendor's notation `yyyy-MM-dd HH:mm:ss,SSS Z`; raises ValueError for any other."""
    if len(text) != len("2022-04-21 13:00:00,000 +0000"):
        raise ValueError(f"not in the form yyyy-MM-dd HH:mm:ss,SSS Z: {text}")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f %z").astimezone(UTC)


class Clock:
    """The vendor's clock: the machine's, or set to another instant and running from there."""

    def __init__(self, start: datetime | None = None) -> None:
        self._shift = timedelta(0) if start is None else start - datetime.now(UTC)

    @staticmethod
    def machine_now() -> datetime:
        """Return the machine's present, whatever this clock says."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that nobody can set."""
        return machine.monotonic()

    @property
    def moved(self) -> bool:
        """Whether it differs from the machine's clock."""
        return self._shift != timedelta(0)

    def now(self) -> datetime:
        """Return the vendor's present, in UTC."""
        return datetime.now(UTC) + self._shift

    def move_to(self, instant: datetime) -> None:
        """Let it be this instant now."""
        self._shift = instant - datetime.now(UTC)
