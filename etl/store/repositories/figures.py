"""Figures about all feeds for monitoring: counts and instants, cheap to ask for, never the content of a trade."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, text

COUNTED_UP_TO = 1000
FEEDS = text("""
SELECT f.id AS feed_id, s.feed, s.state, s.leader, s.last_empty_at,
    greatest(s.last_empty_at, s.last_trade_at) AS last_good_at, s.landed_unbooked, s.open_exceptions, f.paused_until,
    s.last_trade_at
FROM reporting.feed_status s JOIN stp.feed f ON f.name = s.feed
""")
GAPS = text("""
SELECT f.name, g.state, count(*) FROM stp.gap g JOIN stp.feed f ON f.id = g.feed_id
WHERE g.state = 'escalated'
  OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep')
GROUP BY f.name, g.state
""")
BREAKS = text("""
SELECT f.name, b.kind, b.state, count(*) FROM stp.recon_break b JOIN stp.feed f ON f.id = b.feed_id
WHERE b.state IN ('open', 'investigating', 'accepted') GROUP BY f.name, b.kind, b.state
""")
AGED = text("""
SELECT feed_id, count(*) FROM stp.recon_break
WHERE state IN ('open', 'investigating') AND opened_at < :before GROUP BY feed_id
""")
DEFAULTS = text(f"""
SELECT (SELECT count(*) FROM (SELECT FROM stp.answer_default LIMIT {COUNTED_UP_TO}) AS a) AS answer,
    (SELECT count(*) FROM (SELECT FROM stp.message_default LIMIT {COUNTED_UP_TO}) AS m) AS message
""")


class FeedFigures(msgspec.Struct, frozen=True):
    """How a feed stands. `last_good_at` is the last answer with trades, or the last proof that there are none.

    `last_trade_at` is the last answer with trades.
    """

    feed_id: int
    feed: str
    state: str
    leader: str | None
    last_empty_at: datetime | None
    last_good_at: datetime | None
    landed_unbooked: int
    open_exceptions: int
    paused_until: datetime | None = None
    last_trade_at: datetime | None = None


class Figures(msgspec.Struct, frozen=True):
    """What one look found: gaps by (feed, state), breaks by (feed, kind, state), rows of default partitions."""

    feeds: tuple[FeedFigures, ...]
    gaps: dict[tuple[str, ...], int]
    breaks: dict[tuple[str, ...], int]
    default_rows: dict[str, int]
    alerts_waiting: int


class FigureRepository:
    """Reads only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self) -> Figures:
        """Return all figures."""
        run = self._connection.execute
        return Figures(
            tuple(FeedFigures(**row) for row in run(FEEDS).mappings()),
            {(row[0], row[1]): row[2] for row in run(GAPS)},
            {(row[0], row[1], row[2]): row[3] for row in run(BREAKS)},
            dict(run(DEFAULTS).mappings().one()),
            int(run(text("SELECT count(*) FROM stp.alert WHERE state = 'waiting'")).scalar_one()),
        )

    def breaks_open_since(self, before: datetime) -> dict[int, int]:
        """Return how many breaks of each feed were opened before then and are not over."""
        return {row[0]: row[1] for row in self._connection.execute(AGED, {"before": before})}
