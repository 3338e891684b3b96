"""When the market trades, and when little happens: what "no trades" and "no answer" mean depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from etl.domain.calendar import NEW_YORK

DAY = timedelta(days=1)
FRIDAY = 4  # as `date.weekday` counts
WEEKEND = timedelta(days=2)  # from Friday's close to Sunday's opening, in days of the calendar

Span = tuple[datetime, datetime]


class TradingHours(msgspec.Struct, frozen=True):
    """The week of the market, in local times of `zone`, so that it moves with daylight saving (market custom).

    The weekend lasts from Friday `closes` to Sunday `opens`; holidays count as open. `quiet` are hours of every day,
    over midnight where the second is not after the first, in which little is expected.
    """

    zone: ZoneInfo = NEW_YORK
    closes: time = time(17)
    opens: time = time(17)
    weekend: bool = True
    """False: trading never stops, as with crypto."""
    quiet: tuple[time, time] | None = None

    def is_open(self, instant: datetime) -> bool:
        """Return whether the market trades."""
        return not any(start <= instant < end for start, end in self._weekends(instant, instant))

    def is_quiet(self, instant: datetime) -> bool:
        """Return whether little is expected: the market is closed, or these are the quiet hours."""
        return any(start <= instant < end for start, end in self._spans(instant, instant))

    def trading_s(self, since: datetime, until: datetime) -> float:
        """Return the seconds of trading between two instants: closed and quiet hours do not count."""
        counted, free_from = 0.0, since
        for start, end in sorted(self._spans(since, until)):
            counted += max(0.0, (min(start, until) - free_from).total_seconds())
            free_from = max(free_from, min(end, until))
        return counted + max(0.0, (until - free_from).total_seconds())

    def is_stale(self, last_at: datetime, now: datetime, after_s: float) -> bool:
        """Return whether nothing came for more than so many seconds of trading; a silent weekend is no trouble."""
        return self.trading_s(last_at, now) > after_s

    def _spans(self, since: datetime, until: datetime) -> Iterator[Span]:
        """Yield every time of little that may touch the range, in no order; they may overlap."""
        yield from self._weekends(since, until)
        if self.quiet is None:
            return
        start, end = self.quiet
        for day in self._days(since, until):
            yield self._instant(day, start), self._instant(day if start < end else day + DAY, end)

    def _weekends(self, since: datetime, until: datetime) -> Iterator[Span]:
        if self.weekend:
            fridays = (day for day in self._days(since, until) if day.weekday() == FRIDAY)
            yield from ((self._instant(day, self.closes), self._instant(day + WEEKEND, self.opens)) for day in fridays)

    def _days(self, since: datetime, until: datetime) -> Iterator[date]:
        """Yield the local days whose spans may touch the range: one may begin three days before it."""
        day, last = since.astimezone(self.zone).date() - 3 * DAY, until.astimezone(self.zone).date()
        while day <= last:
            yield day
            day += DAY

    def _instant(self, day: date, at: time) -> datetime:
        """Return the instant of a local time; of one that comes twice the first, of one that is skipped the next."""
        return datetime.combine(day, at, self.zone).astimezone(UTC)
