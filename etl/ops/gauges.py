"""The gauges that come from the database: refreshed by a job, never by a scrape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from prometheus_client import Gauge

from etl import metrics
from etl.store.repositories.figures import Figures
from etl.store.unit_of_work import OpenWork

Leads = Callable[[], Mapping[str, bool]]
"""Returns our feeds by name, and whether this instance leads them."""


class GaugeJob:
    """Looks at the database and sets the gauges of our feeds; `latest` is what it found."""

    def __init__(
        self, open_work: OpenWork, leads: Leads, market_is_open: Callable[[], bool],
        trading_s_since: Callable[[datetime], float],
    ) -> None:  # fmt: skip
        """Take whether the market trades now, and how many seconds it has traded since an instant."""
        self._open_work, self._leads = open_work, leads
        self._market_is_open, self._trading_s_since = market_is_open, trading_s_since
        self._shown: dict[Gauge, set[tuple[str, ...]]] = {}
        self.latest: Figures | None = None

    def __call__(self) -> Mapping[str, int]:
        """Refresh every gauge. Raises DatabaseAwayError; the gauges then keep their values."""
        leads = self._leads()
        for feed, ours in leads.items():
            metrics.LEADER.labels(feed).set(ours)
        metrics.MARKET_OPEN.set(self._market_is_open())
        with self._open_work() as work:
            figures = work.figures.look()
        self._set(figures, leads.keys())
        self.latest = figures
        return {}

    def _set(self, figures: Figures, feeds: Collection[str]) -> None:
        ours = [each for each in figures.feeds if each.feed in feeds]
        for each in ours:
            metrics.LANDED_UNBOOKED.labels(each.feed).set(each.landed_unbooked)
            metrics.EXCEPTIONS.labels(each.feed).set(each.open_exceptions)
            if each.last_empty_at is not None:
                metrics.LAST_EMPTY_TIMESTAMP_SECONDS.labels(each.feed).set(each.last_empty_at.timestamp())
            if each.last_trade_at is not None:
                since_s = self._trading_s_since(each.last_trade_at)
                metrics.TRADING_SECONDS_SINCE_TRADE.labels(each.feed).set(since_s)
        self._show(metrics.FEED_STATE, {(each.feed, each.state): 1 for each in ours})
        self._show(metrics.GAPS, {labels: count for labels, count in figures.gaps.items() if labels[0] in feeds})
        self._show(metrics.BREAKS, {labels: count for labels, count in figures.breaks.items() if labels[0] in feeds})
        for table, rows in figures.default_rows.items():
            metrics.DEFAULT_PARTITION_ROWS.labels(table).set(rows)
        metrics.ALERTS_WAITING.set(figures.alerts_waiting)

    def _show(self, gauge: Gauge, found: Mapping[tuple[str, ...], int]) -> None:
        """Set what was found, and 0 for what is over."""
        shown = self._shown.setdefault(gauge, set())
        for labels in shown - found.keys():
            gauge.labels(*labels).set(0)
        for labels, count in found.items():
            gauge.labels(*labels).set(count)
        shown.update(found)
