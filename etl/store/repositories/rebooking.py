"""Which booked messages are to be read again, and what stands open about them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from etl.store.rows.poll import MESSAGES_A_POLL

# The same bytes again opened no item of their own; they are looked for only where an item was seen more than once.
EXCEPTED = text(f"""
WITH item AS (
    SELECT e.message_id, e.sha256, e.seen, p.opened_at
    FROM stp.exception_item e JOIN stp.poll p ON p.id = e.message_id / {MESSAGES_A_POLL}
    WHERE e.feed_id = :feed_id AND e.state = 'open'
      AND (CAST(:ids AS bigint[]) IS NULL OR e.message_id = ANY (CAST(:ids AS bigint[])))
)
SELECT message_id FROM item
UNION
SELECT m.poll_id * {MESSAGES_A_POLL} + m.place FROM stp.message m
WHERE m.feed_id = :feed_id AND m.state = 'excepted' AND m.sha256 = ANY (ARRAY(SELECT sha256 FROM item WHERE seen > 1))
  AND m.opened_at >= (SELECT min(opened_at) FROM item WHERE seen > 1)
ORDER BY 1
""")
# An item without a readable trade date belongs to the day on which it was opened.
OF_TRADE_DAYS = text("""
SELECT v.message_id FROM stp.trade t JOIN stp.trade_version v USING (feed_id, trade_id, version)
WHERE v.feed_id = :feed_id AND v.trade_date BETWEEN :first AND :last AND v.message_id IS NOT NULL
UNION
SELECT e.message_id FROM stp.exception_item e
WHERE e.feed_id = :feed_id AND e.state = 'open' AND CASE
    WHEN e.trade_date ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
        THEN e.trade_date COLLATE "C" BETWEEN CAST(CAST(:first AS date) AS text) AND CAST(CAST(:last AS date) AS text)
    ELSE stp.trade_day(e.opened_at) BETWEEN :first AND :last
END
ORDER BY 1
""")
FEEDS_OF = text(f"""
SELECT wanted.id, m.feed_id FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
JOIN stp.poll p ON p.id = wanted.id / {MESSAGES_A_POLL}
JOIN stp.message m ON m.poll_id = p.id AND m.opened_at = p.opened_at AND m.place = wanted.id % {MESSAGES_A_POLL}
""")
BEHIND_CURRENT = text("""
SELECT v.message_id FROM stp.trade t JOIN stp.trade_version v USING (feed_id, trade_id, version)
WHERE t.feed_id = :feed_id AND t.trade_id = ANY (:trade_ids) AND v.message_id IS NOT NULL
""")
OPEN_ITEMS = text("""
SELECT sha256, message_id, faults FROM stp.exception_item
WHERE feed_id = :feed_id AND state = 'open' AND sha256 = ANY (:hashes)
""")


class OpenItem(msgspec.Struct, frozen=True):
    """An open exception item: the message that it stands under, and its faults as they are kept."""

    message_id: int
    faults: list[Any]


class RebookRepository:
    """Reads only. Messages are named by their numbers, in the order in which they came."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def excepted(self, feed_id: int, message_ids: Sequence[int] | None = None) -> list[int]:
        """Return the messages of open exception items, of these or of all, with those of the same bytes."""
        values = {"feed_id": feed_id, "ids": None if message_ids is None else list(message_ids)}
        return list(self._connection.execute(EXCEPTED, values).scalars())

    def of_trade_days(self, feed_id: int, first: date, last: date) -> list[int]:
        """Return the messages behind the current versions of these trade dates, and their open exception items."""
        values = {"feed_id": feed_id, "first": first, "last": last}
        return list(self._connection.execute(OF_TRADE_DAYS, values).scalars())

    def feeds_of(self, message_ids: Sequence[int]) -> dict[int, int]:
        """Return the feed of each of these messages; nothing for those that are not known or not booked yet."""
        return {row[0]: row[1] for row in self._connection.execute(FEEDS_OF, {"ids": list(message_ids)})}

    def behind_current(self, feed_id: int, trade_ids: Iterable[str]) -> frozenset[int]:
        """Return the messages that the current versions of these trades were made of."""
        values = {"feed_id": feed_id, "trade_ids": sorted(set(trade_ids))}
        return frozenset(self._connection.execute(BEHIND_CURRENT, values).scalars())

    def open_items(self, feed_id: int, hashes: Collection[bytes]) -> dict[bytes, OpenItem]:
        """Return the open exception item of each of these messages, by the SHA-256 of the message's bytes."""
        rows = self._connection.execute(OPEN_ITEMS, {"feed_id": feed_id, "hashes": list(hashes)})
        return {row[0]: OpenItem(row[1], row[2]) for row in rows}
