"""What a person asks of the database: rows of the reporting views, and the few facts that those leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from etl.store.rows.poll import MESSAGES_A_POLL

Listed = dict[str, Any]
"""One row by its columns."""


class TradeFilter(msgspec.Struct, frozen=True):
    """Which trades to list; None asks nothing. Days of trading, both included."""

    feed: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    symbol: str | None = None
    status: str | None = None


class MessageFilter(msgspec.Struct, frozen=True):
    """Which messages to list; None asks nothing."""

    feed: str | None = None
    poll_id: int | None = None
    trade_id: str | None = None
    state: str | None = None


CONDITIONS: Mapping[str, str] = MappingProxyType(
    {
        "feed": "feed = :feed",
        "first_day": "trade_date >= :first_day",
        "last_day": "trade_date <= :last_day",
        "symbol": "symbol = :symbol",
        "status": "lower(status) = lower(:status)",
        "poll_id": "poll_id = :poll_id",
        "trade_id": "trade_id = :trade_id",
        "state": "state = :state",
        "cause": "cause = :cause",
        "operator": "operator = :operator",
        "since": "at >= :since",
        "gap_id": "gap_id = :gap_id",
        "resend_id": "resend_id = :resend_id",
    }
)
"""What each filter asks of a row; the values are bound, never written into the statement."""

FEEDS = """
SELECT s.*, f.base_url, f.organisation, f.user_name, f.first_seen_at, f.paused_at, f.paused_until, f.paused_by,
    f.paused_reason, f.second_consumer_since, b.held_at, b.held_reason, f.other_database,
    l.holder, l.taken_at, l.refused, l.refused_at,
    CASE WHEN c.outcome IS NULL THEN c.opened_at END AS open_poll_since
FROM reporting.feed_status s JOIN stp.feed f ON f.name = s.feed JOIN stp.booker b ON b.feed_id = f.id
JOIN stp.lease l ON l.feed_id = f.id LEFT JOIN stp.current_poll c ON c.feed_id = f.id
"""
IN_DOUBT = """
SELECT f.name AS feed, p.id AS poll_id, p.closed_at, p.cause, p.request_id, p.doubt_from, p.status, p.detail,
    p.gap_id
FROM stp.poll p JOIN stp.feed f ON f.id = p.feed_id LEFT JOIN stp.gap g ON g.id = p.gap_id
WHERE p.outcome = 'in_doubt' AND coalesce(g.state, 'open') NOT IN ('healed', 'closed')
"""
EXCEPTIONS = """
SELECT v.*, e.seen, e.last_seen_at, e.closed_at, e.closed_by, e.reason
FROM reporting.exception_item v JOIN stp.exception_item e USING (message_id)
"""
INCIDENTS = """
SELECT i.id AS incident_id, f.name AS feed, i.occurred_at, i.poll_id, i.request_id, i.status, i.reason_code, i.exchange
FROM stp.incident i JOIN stp.feed f ON f.id = i.feed_id
"""
GAP = """
SELECT v.*, g.unexplained, g.evidence FROM reporting.gap v JOIN stp.gap g ON g.id = v.gap_id WHERE g.id = :id
"""
ESCALATED = """
SELECT v.feed, v.gap_id, v.from_date, v.to_date, v.why, g.wanted_from
FROM reporting.gap v JOIN stp.gap g ON g.id = v.gap_id WHERE g.state = 'escalated'
"""
MESSAGE_IDS = f"""
SELECT v.version, v.landed_at, v.message_id, v.message_id / {MESSAGES_A_POLL} AS poll_id, (
    SELECT max(e.reply_id) FROM stp.recon_break b JOIN stp.break_event e ON e.break_id = b.id AND e.deed = 'adopted'
    WHERE v.source = 'query' AND (b.feed_id, b.trade_id) = (v.feed_id, v.trade_id)
      AND e.figures ->> 'version' = v.version::text) AS reply_id
FROM stp.trade_version v JOIN stp.feed f ON f.id = v.feed_id WHERE f.name = :feed AND v.trade_id = :trade_id
"""


class ListRepository:
    """Reads only; every row is a dictionary by column."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def feeds(self, feed: str | None = None) -> list[Listed]:
        """Return how each feed stands, with its identity, its pause and its hold of booking."""
        return self._rows(f"SELECT * FROM ({FEEDS}) AS v", {"feed": feed}, "feed")

    def polls_in_doubt(self, feed: str | None, limit: int) -> list[Listed]:
        """Return the polls without a known outcome, the newest first."""
        return self._rows(f"SELECT * FROM ({IN_DOUBT}) AS v", {"feed": feed}, "poll_id DESC", limit)

    def trades(self, wanted: TradeFilter, limit: int) -> list[Listed]:
        """Return trades as they stand now, the last changed first."""
        given = msgspec.structs.asdict(wanted)
        return self._rows("SELECT * FROM reporting.blotter", given, "change_seq DESC", limit)

    def versions(self, trade_id: str, feed: str | None = None) -> list[Listed]:
        """Return every version of the trades of this id, feed by feed, the oldest first."""
        given = {"trade_id": trade_id, "feed": feed}
        return self._rows("SELECT * FROM reporting.trade_version", given, "feed, version")

    def legs(self, feed: str, trade_id: str, version: int) -> list[Listed]:
        """Return the legs of one version."""
        rows = self._rows(
            "SELECT * FROM reporting.trade_leg_version", {"trade_id": trade_id, "feed": feed}, "version, leg_no"
        )
        return [row for row in rows if row["version"] == version]

    def messages_behind(self, feed: str, trade_id: str) -> dict[int, Listed]:
        """Return the message and poll that each version of a trade was made of, by version."""
        rows = self._connection.execute(text(MESSAGE_IDS), {"feed": feed, "trade_id": trade_id}).mappings()
        return {row["version"]: dict(row) for row in rows}

    def messages(self, wanted: MessageFilter, limit: int) -> list[Listed]:
        """Return messages, the newest first."""
        given = msgspec.structs.asdict(wanted)
        return self._rows("SELECT * FROM reporting.message", given, "poll_id DESC, message_id DESC", limit)

    def exceptions(self, feed: str | None, state: str | None, limit: int) -> list[Listed]:
        """Return exception items, the newest first."""
        given = {"feed": feed, "state": state}
        return self._rows(f"SELECT * FROM ({EXCEPTIONS}) AS v", given, "opened_at DESC, message_id DESC", limit)

    def exceptions_by_id(self, message_ids: Sequence[int]) -> dict[int, Listed]:
        """Return the exception items of these messages by message number; nothing for those that have none."""
        statement = text(f"{EXCEPTIONS} WHERE message_id = ANY (:ids)")
        rows = self._connection.execute(statement, {"ids": list(message_ids)}).mappings()
        return {row["message_id"]: dict(row) for row in rows}

    def incidents(self, feed: str | None, limit: int) -> list[Listed]:
        """Return the vendor's answers 500, the newest first."""
        return self._rows(f"SELECT * FROM ({INCIDENTS}) AS v", {"feed": feed}, "incident_id DESC", limit)

    def incident(self, number: int) -> Listed | None:
        """Return one incident with the full exchange, or None."""
        row = self._connection.execute(text(f"{INCIDENTS} WHERE i.id = :number"), {"number": number}).mappings().first()
        return None if row is None else dict(row)

    def gaps(self, feed: str | None, state: str | None, limit: int, *, cause: str | None = None) -> list[Listed]:
        """Return gaps, the newest first."""
        given = {"feed": feed, "state": state, "cause": cause}
        return self._rows("SELECT * FROM reporting.gap", given, "gap_id DESC", limit)

    def escalated(self, feed: str, limit: int) -> list[Listed]:
        """Return the escalated gaps of the feed, the oldest first, each with what waits for a person's approval."""
        return self._rows(f"SELECT * FROM ({ESCALATED}) AS v", {"feed": feed}, "gap_id", limit)

    def gap(self, number: int) -> Listed | None:
        """Return one gap with its evidence, or None."""
        row = self._connection.execute(text(GAP), {"id": number}).mappings().first()
        return None if row is None else dict(row)

    def resends(
        self, feed: str | None, limit: int, *, gap_id: int | None = None, resend_id: int | None = None
    ) -> list[Listed]:
        """Return resends, the newest first."""
        given = {"feed": feed, "gap_id": gap_id, "resend_id": resend_id}
        return self._rows("SELECT * FROM reporting.resend", given, "resend_id" if gap_id else "resend_id DESC", limit)

    def audit(self, feed: str | None, operator: str | None, since: datetime | None, limit: int) -> list[Listed]:
        """Return what operators did, the newest first."""
        given = {"feed": feed, "operator": operator, "since": since}
        return self._rows("SELECT * FROM reporting.audit", given, "audit_id DESC", limit)

    def _rows(self, select: str, given: Mapping[str, Any], order: str, limit: int | None = None) -> list[Listed]:
        """Return the rows that meet every condition for which a value is given."""
        asked = {name: value for name, value in given.items() if value is not None}
        where = " AND ".join(CONDITIONS[name] for name in asked) or "TRUE"
        statement = text(f"{select} WHERE {where} ORDER BY {order} LIMIT :row_limit")
        rows = self._connection.execute(statement, asked | {"row_limit": limit}).mappings()
        return [dict(row) for row in rows]
