"""What is old enough to go: months of answers and messages, polls, audit; and what still needs them."""

from __future__ import annotations

from datetime import date, datetime

import msgspec
from sqlalchemy import Connection, text

from etl.store.rows.poll import MESSAGES_A_POLL

PARENTS = ("answer", "message")
MONTHS = text(r"""
SELECT c.relname AS name, p.relname AS parent, to_date(right(c.relname, 6), 'YYYYMM') AS first_day,
    pg_total_relation_size(c.oid) AS bytes, greatest(c.reltuples, 0)::bigint AS about_rows,
    obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'stp'
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind = 'r' AND c.relname ~ '^(answer|message)_p[0-9]{6}$'
ORDER BY first_day, c.relname
""")
# Each answers with a sentence when the month, whose messages lie in {month}, is still needed.
NEEDED = (
    ("landed answers of it wait for booking",
     "SELECT FROM stp.unbooked WHERE opened_at >= :first AND opened_at < :next"),
    ("a gap over its days, or opened in it, is not over",
     "SELECT FROM stp.gap WHERE state NOT IN ('healed', 'closed') AND (from_date < :next_day OR opened_at < :next)"),
    ("an open exception item has its message in it",
     "SELECT FROM stp.exception_item e WHERE e.state = 'open' AND EXISTS (SELECT FROM stp.{month} m "
     "WHERE m.poll_id = e.message_id / :messages_a_poll)"),
    ("a break that is not over names a trade whose message lies in it",
     "SELECT FROM stp.recon_break b JOIN stp.trade_version v ON v.feed_id = b.feed_id AND v.trade_id = b.trade_id "
     "WHERE b.state NOT IN ('cleared', 'resolved') AND EXISTS (SELECT FROM stp.{month} m "
     "WHERE m.poll_id = v.message_id / :messages_a_poll)"),
    ("a break without a trade is not over, and any message may explain it",
     "SELECT FROM stp.recon_break WHERE state NOT IN ('cleared', 'resolved') AND trade_id IS NULL"),
)  # fmt: skip
OLD_POLLS = """
FROM stp.poll p WHERE p.closed_at < :before
    AND NOT EXISTS (SELECT FROM stp.gap g WHERE g.id = p.gap_id AND g.state NOT IN ('healed', 'closed'))
    AND (p.outcome <> 'in_doubt' OR p.gap_id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM stp.answer a WHERE a.feed_id = p.feed_id AND a.poll_id = p.id)
"""


class Month(msgspec.Struct, frozen=True):
    """A month of answers or of messages, in a table of its own."""

    name: str
    parent: str | None  # None: it was detached
    first_day: date
    bytes: int
    about_rows: int
    comment: str | None

    @property
    def detached(self) -> bool:
        """Whether it is no part of the book's tables any more."""
        return self.parent is None


class RetentionRepository:
    """Months and rows that may go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def months(self) -> list[Month]:
        """Return every month that has a table, attached or not, the oldest first."""
        return [Month(**row) for row in self._connection.execute(MONTHS).mappings()]

    def why_needed(self, first_day: date, next_day: date) -> list[str]:
        """Return why the messages and answers of the month must stay; nothing when they may go."""
        values = {
            "first": _midnight(first_day), "next": _midnight(next_day), "next_day": next_day,
            "messages_a_poll": MESSAGES_A_POLL,
        }  # fmt: skip
        month = f"message_p{first_day:%Y%m}"
        has_messages = self._connection.execute(text("SELECT to_regclass(:name)"), {"name": f"stp.{month}"}).scalar()
        reasons = []
        for reason, query in NEEDED:
            if "{month}" in query and has_messages is None:
                continue
            asked = text(f"SELECT EXISTS ({query.format(month=month)})")
            used = {name: value for name, value in values.items() if f":{name}" in str(asked)}
            if self._connection.execute(asked, used).scalar():
                reasons.append(reason)
        return reasons

    def detach(self, month: Month, at: datetime) -> None:
        """Take the month out of its table; gives up after four seconds rather than hold up landing."""
        self._connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        self._connection.execute(text(f"ALTER TABLE stp.{month.parent} DETACH PARTITION stp.{month.name}"))
        self._connection.execute(text(f"COMMENT ON TABLE stp.{month.name} IS 'detached {at:%Y-%m-%d}'"))

    def drop(self, month: Month) -> None:
        """Drop a detached month; what it held is gone."""
        self._connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        self._connection.execute(text(f"DROP TABLE stp.{month.name}"))

    def old_polls(self, before: datetime) -> int:
        """Return how many polls may go: closed before then, their answers retired, their gaps over."""
        return int(self._connection.execute(text(f"SELECT count(*) {OLD_POLLS}"), {"before": before}).scalar_one())

    def delete_old_polls(self, before: datetime) -> int:
        """Delete those polls; return how many."""
        return self._connection.execute(
            text(f"DELETE FROM stp.poll WHERE id IN (SELECT p.id {OLD_POLLS})"), {"before": before}
        ).rowcount

    def old_deeds(self, before: datetime) -> int:
        """Return how many lines of the audit are older."""
        found = self._connection.execute(text("SELECT count(*) FROM stp.audit WHERE at < :before"), {"before": before})
        return int(found.scalar_one())

    def delete_old_deeds(self, before: datetime) -> int:
        """Delete them, as the owner of the table, whose trigger refuses it to everybody else; return how many."""
        self._connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        self._connection.execute(text("ALTER TABLE stp.audit DISABLE TRIGGER insert_only"))
        gone = self._connection.execute(text("DELETE FROM stp.audit WHERE at < :before"), {"before": before}).rowcount
        self._connection.execute(text("ALTER TABLE stp.audit ENABLE TRIGGER insert_only"))
        return gone


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00+00:00"
