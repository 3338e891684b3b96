"""Asks closed trade dates again in full: the only enumeration that the vendor offers (design.md §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

import structlog

from etl.clock import Clock
from etl.controls.resend import HealedFeed
from etl.domain.calendar import trade_day
from etl.domain.gaps import GapCause
from etl.domain.window import Window
from etl.domain.words import counted
from etl.store.repositories.gap_words import Gap
from etl.store.unit_of_work import OpenWork, UnitOfWork

LOOK_EVERY_S = 30.0

log = structlog.get_logger()


class Sweeper:
    """Opens the sweeps of one feed as they fall due; the healer asks for them like for gaps, after all of those."""

    def __init__(self, feed: HealedFeed, open_work: OpenWork, clock: Clock, epoch: Callable[[], int]) -> None:
        self._feed, self._open_work, self._clock, self._epoch = feed, open_work, clock, epoch
        self._next_look = float("-inf")

    def take(self, feed: HealedFeed) -> None:
        """Go on with these settings of the same feed."""
        self._feed = feed

    def look_again(self) -> None:
        """Look at the next step, however short ago the last look was: the clock was set."""
        self._next_look = float("-inf")

    def step(self) -> Mapping[str, int]:
        """Open what is due; return how many. Raises FenceLostError where another instance leads the feed."""
        if not self._feed.times.daily or self._clock.monotonic() < self._next_look:
            return {}
        now = self._clock.now()
        with self._open_work() as work:
            days, doubt = self._days_due(work, now), self._doubt_due(work, now)
            if days or doubt is not None:
                work.feeds.hold_fence(self._feed.feed_id, self._epoch())
                work.gaps.lock(self._feed.feed_id)
                self._open(work, self._days_due(work, now), self._doubt_due(work, now), now)
                work.commit()
        self._next_look = self._clock.monotonic() + LOOK_EVERY_S
        return {"sweeps_opened": len(days) + (doubt is not None)}

    def _days_due(self, work: UnitOfWork, now: datetime) -> list[date]:
        """Return the closed trade dates without a sweep, as far back as the history and the feed itself reach."""
        last = self._feed.times.closed_day(now)
        begun = trade_day(work.sweeps.first_seen_at(self._feed.feed_id))
        first = max(begun, last - timedelta(days=self._feed.history_days - 1))
        if first > last:
            return []
        swept = work.sweeps.days_swept(self._feed.feed_id, first)
        return [day for day in Window.of(first, last) if day not in swept]

    def _doubt_due(self, work: UnitOfWork, now: datetime) -> int | None:
        """Return the latest poll in doubt that a sweep of the history is to cover, in the quiet hours only."""
        return work.sweeps.uncovered_doubt(self._feed.feed_id) if self._feed.times.quiet(now) else None

    def _open(self, work: UnitOfWork, days: list[date], doubt: int | None, now: datetime) -> None:
        feed_id = self._feed.feed_id
        for day in days:
            gap_id = work.sweeps.open(feed_id, GapCause.SWEEP, Window.of(day, day), at=now)
            log.info("sweep.opened", feed=self._feed.name, gap_id=gap_id, trade_date=day.isoformat())
        if doubt is not None:
            today = trade_day(now)
            window = Window.of(today - timedelta(days=self._feed.history_days), today)
            gap_id = work.sweeps.open(feed_id, GapCause.HISTORY_SWEEP, window, at=now, covers_poll_id=doubt)
            log.info(
                "sweep.opened", feed=self._feed.name, gap_id=gap_id, from_date=window.start.isoformat(),
                to_date=window.last.isoformat(), covers_poll_id=doubt,
            )  # fmt: skip


def judged(work: UnitOfWork, feed: HealedFeed, gap: Gap, recovered: int, at: datetime) -> str | None:
    """Write what a sweep that came to its end says of the queue; return it as a sentence, or None: nothing was lost."""
    unexplained = recovered if recovered and not work.sweeps.explained(gap) else 0
    work.gaps.change(gap.id, unexplained=unexplained)
    suspected = work.sweeps.suspect(feed.feed_id, at, feed.suspect_after)
    if recovered:
        log.warning(
            "sweep.loss_found", feed=feed.name, gap_id=gap.id, recovered=recovered, unexplained=unexplained,
            from_date=gap.from_date.isoformat(), to_date=gap.to_date.isoformat(),
        )  # fmt: skip
    if suspected:
        log.error("second_consumer_suspected", feed=feed.name, gap_id=gap.id)
    if not recovered:
        return None
    lost = counted(recovered, "trade")
    if not unexplained:
        return f"{lost} had been lost; polls in doubt explain it"
    return f"{lost} had been lost, and no poll in doubt explains it: does somebody else read the queue?"
