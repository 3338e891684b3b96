"""What the fills control reads of the book: orders to ask, their trades, and which trades are known at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from etl.store.rows.reconciliation import AskedOrderRow

# Orders with news first, the newest of them first; then those that were asked longest ago.
ORDERS = text("""
SELECT o.order_id, o.change_seq, count(*) OVER () AS known FROM (
    SELECT v.order_id, max(v.change_seq) AS change_seq FROM stp.trade_version v
    WHERE v.feed_id = :feed_id AND v.trade_date >= :since AND v.order_id <> '' GROUP BY v.order_id
) AS o
LEFT JOIN stp.asked_order a ON a.feed_id = :feed_id AND a.order_id = o.order_id
ORDER BY (a.order_id IS NULL OR a.change_seq < o.change_seq) DESC,
    CASE WHEN a.order_id IS NULL OR a.change_seq < o.change_seq THEN o.change_seq END DESC, a.asked_at, o.order_id
LIMIT :most
""")
LIVE_OF = text("""
SELECT v.order_id, v.trade_id FROM stp.trade_version v
JOIN stp.trade t ON (t.feed_id, t.trade_id, t.version) = (v.feed_id, v.trade_id, v.version)
WHERE v.feed_id = :feed_id AND v.trade_date >= :since AND v.order_id = ANY (:orders) AND v.live
""")
KNOWN = text("""
SELECT trade_id FROM stp.trade WHERE feed_id = :feed_id AND trade_id = ANY (:ids)
UNION
SELECT trade_id FROM stp.exception_item WHERE feed_id = :feed_id AND trade_id = ANY (:ids)
""")
BOOKED = text("SELECT trade_id FROM stp.trade WHERE feed_id = :feed_id AND trade_id = ANY (:ids)")
RECENT = text("""
SELECT v.trade_id FROM stp.trade_version v
JOIN stp.trade t ON (t.feed_id, t.trade_id, t.version) = (v.feed_id, v.trade_id, v.version)
WHERE v.feed_id = :feed_id AND v.trade_date >= :since AND v.live AND v.trade_id <> ALL (:others)
ORDER BY v.change_seq DESC LIMIT 1
""")
AGAIN = text("UPDATE stp.asked_order SET change_seq = 0 WHERE feed_id = :feed_id AND order_id = ANY (:orders)")
ASKED_FOR = text("""
SELECT state FROM stp.gap WHERE feed_id = :feed_id AND cause IN ('fills', 'position')
  AND evidence @> jsonb_build_array(jsonb_build_object('trade_ids', jsonb_build_array(CAST(:trade_id AS text))))
ORDER BY id DESC LIMIT 1
""")


class FillsRepository:
    """Orders and trades as the fills control needs them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def orders(self, feed_id: int, since: date, most: int) -> tuple[list[tuple[str, int]], int]:
        """Return the orders to ask, each with the last change of its trades, and how many there are in all.

        Those with news come first, then those that were asked longest ago.
        """
        rows = self._connection.execute(ORDERS, {"feed_id": feed_id, "since": since, "most": most}).all()
        return [(row.order_id, row.change_seq) for row in rows], rows[0].known if rows else 0

    def live_of(self, feed_id: int, since: date, orders: Collection[str]) -> dict[str, set[str]]:
        """Return the live trades of these orders since a trade date."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for order_id, trade_id in self._connection.execute(
            LIVE_OF, {"feed_id": feed_id, "since": since, "orders": list(orders)}
        ):
            found[order_id].add(trade_id)
        return found

    def known(self, feed_id: int, trade_ids: Collection[str]) -> set[str]:
        """Return which of these trades are in the book or wait as an exception item."""
        return set(self._connection.execute(KNOWN, {"feed_id": feed_id, "ids": list(trade_ids)}).scalars())

    def booked(self, feed_id: int, trade_ids: Collection[str]) -> set[str]:
        """Return which of these trades are in the book."""
        return set(self._connection.execute(BOOKED, {"feed_id": feed_id, "ids": list(trade_ids)}).scalars())

    def recent(self, feed_id: int, since: date, others: Collection[str]) -> str | None:
        """Return the newest live trade that is none of these."""
        asked = {"feed_id": feed_id, "since": since, "others": list(others)}
        found: str | None = self._connection.execute(RECENT, asked).scalar_one_or_none()
        return found

    def gap_asked_for(self, feed_id: int, trade_id: str) -> str | None:
        """Return the state of the last gap that this missing fill opened; None where it opened none."""
        found: str | None = self._connection.execute(
            ASKED_FOR, {"feed_id": feed_id, "trade_id": trade_id}
        ).scalar_one_or_none()
        return found

    def note(
        self, feed_id: int, order_id: str, *, at: datetime, change_seq: int, outcome: str, run_id: int
    ) -> None:  # fmt: skip
        """Keep when an order was asked, and what came of it."""
        values = {"asked_at": at, "change_seq": change_seq, "outcome": outcome, "run_id": run_id}
        statement = postgresql.insert(AskedOrderRow).values(feed_id=feed_id, order_id=order_id, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=["feed_id", "order_id"], set_=values))

    def ask_again(self, feed_id: int, orders: Collection[str]) -> None:
        """Have the next run ask these orders first, as if their trades had changed since they were asked."""
        self._connection.execute(AGAIN, {"feed_id": feed_id, "orders": list(orders)})
