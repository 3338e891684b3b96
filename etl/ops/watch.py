"""Tells of what only the clock can say: silence, what is overdue, what has aged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from etl.clock import Clock
from etl.config import AlertKind
from etl.jobs import Beats
from etl.store.leases import holder
from etl.store.repositories.alerts import Alert
from etl.store.repositories.figures import FeedFigures, Figures
from etl.store.unit_of_work import OpenWork

GRACE = timedelta(seconds=60)  # a start has yet to ask the vendor, whatever was before it


class Watchman:
    """A job: looks at the figures and the jobs, and tells each fact once. Any number of instances may look."""

    def __init__(
        self, open_work: OpenWork, clock: Clock, beats: Beats, *, stale_after_s: Callable[[], Mapping[str, float]],
        no_trades_after_s: Callable[[], float], is_stale: Callable[[datetime, datetime, float], bool],
        aged_before: Callable[[datetime], datetime],
    ) -> None:  # fmt: skip
        """Take what is judged by: how long our feeds may be silent, and how long without a trade (0: for ever), in
        the market's hours; which breaks are old."""
        self._open_work, self._clock, self._beats = open_work, clock, beats
        self._stale_after_s, self._no_trades_after_s = stale_after_s, no_trades_after_s
        self._is_stale, self._aged_before = is_stale, aged_before
        self._since = clock.now()

    def __call__(self) -> Mapping[str, int]:
        """Look once. Raises DatabaseAwayError."""
        now = self._clock.now()
        with self._open_work() as work:
            figures = work.figures.look()
            aged = work.figures.breaks_open_since(self._aged_before(now))
            for alert in (*self._feeds(figures, now), *_aged(aged, now), *_misplaced(figures, now), *self._jobs(now)):
                work.alerts.tell(alert)
            work.commit()
        return {}

    def _feeds(self, figures: Figures, now: datetime) -> Iterator[Alert]:
        limits = self._stale_after_s()
        for feed in figures.feeds:
            if feed.feed in limits:
                yield from self._of_feed(feed, now, limits[feed.feed])

    def _of_feed(self, feed: FeedFigures, now: datetime, limit_s: float) -> Iterator[Alert]:
        last = feed.last_good_at
        if feed.state == "paused":
            if feed.paused_until is not None and feed.paused_until < now:
                yield Alert(
                    AlertKind.PAUSE_OVERDUE, f"pause.overdue/{feed.feed_id}/{feed.paused_until.isoformat()}", now,
                    f"paused longer than planned, until {feed.paused_until.isoformat()}; resume it: "
                    f"stp-etl feeds resume {feed.feed} --reason TEXT", feed.feed_id,
                )  # fmt: skip
        elif now - self._since > GRACE and self._is_stale(last or self._since, now, limit_s):
            since = "ever" if last is None else last.isoformat()
            yield Alert(
                AlertKind.FEED_STALE, f"feed.stale/{feed.feed_id}/{since}", now,
                f"no good answer of the vendor {'ever' if last is None else f'since {since}'}; see: stp-etl status",
                feed.feed_id, {"state": feed.state},
            )  # fmt: skip
        elif (after_s := self._no_trades_after_s()) > 0 and self._is_stale(
            feed.last_trade_at or self._since, now, after_s
        ):
            since = "this start" if feed.last_trade_at is None else feed.last_trade_at.isoformat()
            yield Alert(
                AlertKind.NO_TRADES, f"trades.none/{feed.feed_id}/{since}", now,
                f"no trade since {since}, although the vendor answers: is that so? Another program may read the queue, "
                "or the user may have none of its own", feed.feed_id,
            )  # fmt: skip

    def _jobs(self, now: datetime) -> Iterator[Alert]:
        for state in self._beats.jobs():
            if state.hangs or state.overdue:
                what = "shows no progress" if state.hangs else "was not begun for too long"
                where, began = holder(), self._since.isoformat()
                yield Alert(
                    AlertKind.JOB_OVERDUE, f"job.overdue/{where}/{began}/{state.job.name}/{state.runs}", now,
                    f"job {state.job.name} {what} at {where}", None, {"job": state.job.name, "instance": where},
                )  # fmt: skip


def _aged(aged: Mapping[int, int], now: datetime) -> Iterator[Alert]:
    for feed_id, count in aged.items():
        yield Alert(
            AlertKind.BREAK_AGED, f"break.aged/{feed_id}/{now.date()}", now,
            "breaks are open for longer than they should be; see reporting.break", feed_id, {"breaks": count},
        )  # fmt: skip


def _misplaced(figures: Figures, now: datetime) -> Iterator[Alert]:
    for table, rows in figures.default_rows.items():
        if rows:
            yield Alert(
                AlertKind.PARTITION_DEFAULT, f"partition.default/{table}/{now.date()}", now,
                f"rows of {table} lie in its default partition; see deploy/RUNBOOK.md", None, {"table": table},
            )  # fmt: skip
