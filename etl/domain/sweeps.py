"""When closed trade dates are asked again in full, and what their sweeps tell (design.md §4)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from etl.domain.calendar import NEW_YORK
from etl.domain.gaps import GapCause

SWEEPS = (GapCause.SWEEP, GapCause.HISTORY_SWEEP)
LOOKED_BACK = timedelta(days=7)
"""How long a loss that nothing explains is held against the feed."""


class SweepState(StrEnum):
    """What the sweep of one trade date has shown."""

    NONE = "none"  # nobody asked yet
    RUNNING = "running"
    EQUAL = "equal"  # the vendor's population of the day is ours
    RECOVERED = "recovered"  # it is ours now: some trades had been lost
    SHORT = "short"  # not shown, and a person has to look, or closed it


class SweepTimes(msgspec.Struct, frozen=True):
    """When sweeps run: times of day in `zone`. `daily` is False where sweeps are switched off."""

    daily: bool = True
    sweep_at: time = time(17, 30)
    quiet_from: time = time(18)
    quiet_until: time = time(23)
    zone: ZoneInfo = NEW_YORK

    def closed_day(self, now: datetime) -> date:
        """Return the last trade date that is over and due to be swept. `sweep_at` is later than the day's end."""
        local = now.astimezone(self.zone)
        return local.date() if local.time() >= self.sweep_at else local.date() - timedelta(days=1)

    def quiet(self, now: datetime) -> bool:
        """Return whether these are the quiet hours; they may reach over midnight."""
        local = now.astimezone(self.zone).time()
        if self.quiet_from < self.quiet_until:
            return self.quiet_from <= local < self.quiet_until
        return local >= self.quiet_from or local < self.quiet_until

    def may_run(self, cause: str, last_day: date, now: datetime) -> bool:
        """Return whether a sweep up to this day may ask now: yesterday's at once, everything older in quiet hours."""
        return self.quiet(now) or (cause == GapCause.SWEEP and last_day >= self.closed_day(now))
