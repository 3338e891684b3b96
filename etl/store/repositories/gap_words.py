"""Gaps and resends as values, and the longer statements about them."""

from __future__ import annotations

from datetime import date, datetime

import msgspec
from sqlalchemy import text

from etl.domain.window import Window
from etl.store.rows.poll import MESSAGES_A_POLL

OLDEST_LANDED = text("""
SELECT min(v.trade_date) FROM stp.message m
JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (m.feed_id, m.trade_id, m.version)
WHERE m.feed_id = :feed_id AND m.poll_id BETWEEN :first AND :last AND m.opened_at >= :since
""")
# Late by itself: what came because it was asked for says nothing of how late a trade can be.
LATENESS = text(f"""
SELECT coalesce(max(late.days), 0) FROM (
    SELECT stp.trade_day(v.landed_at) - v.trade_date AS days, v.trade_date, v.landed_at, v.message_id
    FROM stp.trade_version v
    WHERE v.feed_id = :feed_id AND v.version = 1 AND v.trade_date >= CAST(:since AS date)
      AND stp.trade_day(v.landed_at) > v.trade_date
) AS late
LEFT JOIN LATERAL (
    SELECT r.from_date, r.to_date FROM stp.resend r
    WHERE r.feed_id = :feed_id AND r.requested_at <= late.landed_at ORDER BY r.requested_at DESC LIMIT 1
) AS asked ON late.trade_date BETWEEN asked.from_date AND asked.to_date
WHERE asked.from_date IS NULL OR EXISTS (
    SELECT FROM stp.message m WHERE m.poll_id = late.message_id / {MESSAGES_A_POLL}
      AND m.place = late.message_id % {MESSAGES_A_POLL} AND m.event = 'NEW'
)
""")
# A drain counts when every request of it was sent late enough, it ended proven-empty, and all of it is booked. It ended
# after it began, which is asked too because the ledger has an index on that.
PROOF = text("""
SELECT e.id, f.id AS first_poll_id, f.opened_at FROM stp.poll e
JOIN stp.poll f ON f.id = e.drain_id
WHERE e.feed_id = :feed_id AND e.outcome = 'empty' AND f.opened_at >= :eligible_at AND e.closed_at >= :eligible_at
  AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = :feed_id AND u.poll_id <= e.id)
ORDER BY e.closed_at, e.id LIMIT 1
""")
DOUBT_SINCE = text("""
SELECT id FROM stp.poll WHERE feed_id = :feed_id AND outcome = 'in_doubt' AND closed_at >= :since ORDER BY id LIMIT 1
""")
CAME = """
came AS (
    SELECT m.trade_id, m.state, m.event FROM stp.message m
    JOIN stp.poll p ON p.id = m.poll_id
    WHERE m.feed_id = :feed_id AND p.feed_id = :feed_id AND p.closed_at >= :requested_at AND p.id <= :proof_poll_id
      AND m.opened_at >= CAST(:requested_at AS timestamptz) - interval '1 day' AND m.trade_id IS NOT NULL
)"""
# What stood in the book when the request left; what became of a trade since does not matter: it must come again.
HELD = """
held AS (
    SELECT v.trade_id FROM stp.trade_version v
    WHERE v.feed_id = :feed_id AND v.trade_date BETWEEN :first AND :last AND v.live AND v.change_seq <= :held_seq
      AND NOT EXISTS (
        SELECT FROM stp.trade_version n WHERE (n.feed_id, n.trade_id) = (v.feed_id, v.trade_id)
          AND n.version > v.version AND n.change_seq <= :held_seq
      )
)"""
COUNTS = text(f"""
WITH {CAME}, {HELD}, of_the_days AS (
    SELECT c.state, c.event FROM came c
    JOIN stp.trade t ON (t.feed_id, t.trade_id) = (:feed_id, c.trade_id)
    JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (t.feed_id, t.trade_id, t.version)
    WHERE v.trade_date BETWEEN :first AND :last
)
SELECT (SELECT count(*) FROM of_the_days) AS received,
    (SELECT count(*) FROM of_the_days WHERE state = 'booked' AND event IS DISTINCT FROM 'NEW') AS recovered,
    (SELECT count(*) FROM of_the_days WHERE state = 'duplicate') AS duplicates,
    (SELECT count(*) FROM held) AS held,
    (SELECT count(*) FROM held WHERE trade_id NOT IN (SELECT trade_id FROM came)) AS absent
""")
ABSENT = text(f"""
WITH {CAME}, {HELD}
SELECT trade_id FROM held WHERE trade_id NOT IN (SELECT trade_id FROM came) ORDER BY trade_id LIMIT :limit
""")
# Booked for the first time after a resend of this gap was asked and before one of another was, be the drain whole or
# broken off; what the vendor calls NEW was not lost.
RECOVERED_BY = text(f"""
SELECT count(*) FROM stp.trade_version v
JOIN LATERAL (
    SELECT r.gap_id FROM stp.resend r
    WHERE r.feed_id = v.feed_id AND r.requested_at <= v.landed_at ORDER BY r.requested_at DESC LIMIT 1
) AS asked ON asked.gap_id = :gap_id
WHERE v.feed_id = :feed_id AND v.version = 1 AND v.trade_date BETWEEN :first AND :last AND v.landed_at >= :since
  AND EXISTS (
    SELECT FROM stp.message m WHERE m.poll_id = v.message_id / {MESSAGES_A_POLL}
      AND m.place = v.message_id % {MESSAGES_A_POLL} AND m.event IS DISTINCT FROM 'NEW'
  )
""")
HELD_IN = text("""
SELECT count(*) FROM stp.trade t JOIN stp.trade_version v USING (feed_id, trade_id, version)
WHERE t.feed_id = :feed_id AND v.trade_date BETWEEN :first AND :last AND v.live
""")
# The drains that broke off in the doubts of a gap; the oldest trade date of their pages, and whether all is booked.
OLDEST_OF_GAP = text("""
SELECT min(v.trade_date) AS oldest,
    EXISTS (
        SELECT FROM stp.unbooked u JOIN stp.poll d ON d.feed_id = u.feed_id AND u.poll_id BETWEEN d.drain_id AND d.id
        WHERE d.gap_id = :gap_id
    ) AS unbooked
FROM stp.poll p JOIN stp.poll f ON f.id = p.drain_id
JOIN stp.message m ON m.feed_id = p.feed_id AND m.poll_id BETWEEN p.drain_id AND p.id AND m.opened_at >= f.opened_at
JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (m.feed_id, m.trade_id, m.version)
WHERE p.gap_id = :gap_id
""")


class Gap(msgspec.Struct, frozen=True):
    """A gap as the database holds it; see GapRow."""

    id: int
    feed_id: int
    cause: str
    from_date: date
    to_date: date
    doubted_at: datetime
    not_before: datetime
    healed_before: date | None
    state: str
    opened_at: datetime
    recovered: int
    already_known: int
    wanted_from: date | None
    why: str | None

    @property
    def window(self) -> Window:
        """Return all its days."""
        return Window.of(self.from_date, self.to_date)

    @property
    def left(self) -> Window | None:
        """Return the days that have not come again yet; None when all have."""
        start = max(self.from_date, self.healed_before or self.from_date)
        return Window.of(start, self.to_date) if start <= self.to_date else None


class Ghost(msgspec.Struct, frozen=True):
    """A request that we gave up on, and when: the vendor may still execute it for a while (A22)."""

    request_id: str
    given_up_at: datetime


class Resend(msgspec.Struct, frozen=True):
    """A resend as the database holds it; see ResendRow."""

    id: int
    feed_id: int
    gap_id: int
    from_date: date
    to_date: date
    state: str
    tries: int
    requested_at: datetime
    accepted_at: datetime | None
    absent: int
    held_seq: int | None
    detail: str | None

    @property
    def window(self) -> Window:
        """Return the days that are asked for."""
        return Window.of(self.from_date, self.to_date)


class Proof(msgspec.Struct, frozen=True):
    """A drain that ended proven-empty and is booked in full: its last poll and when its first was opened."""

    poll_id: int
    first_poll_id: int
    opened_at: datetime


class Counts(msgspec.Struct, frozen=True):
    """What came again: trades of the asked days received, lost before, known before; held then, and of those absent."""

    received: int
    recovered: int
    duplicates: int
    held: int
    absent: int
