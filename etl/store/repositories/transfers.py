"""Deposits and withdrawals as the vendor's histories told them last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, or_, text
from sqlalchemy.dialects import postgresql

from etl.domain.balance import BalanceKey, Flows
from etl.domain.balance_answer import COMPLETED, FAILED, STATUSES, Transfer
from etl.store.repositories.balances import BROKER, Counting
from etl.store.rows.reconciliation import CustodyTransferRow

TRANSFERS = text("""
SELECT direction, CASE WHEN :broker THEN account ELSE '' END AS account, asset, sum(amount), sum(fee)
FROM stp.custody_transfer
WHERE feed_id = :feed_id AND status = :completed AND asset = ANY (:assets) GROUP BY 1, 2, 3
""")
UNFINISHED = text("""
SELECT min(at) FROM stp.custody_transfer
WHERE feed_id = :feed_id AND direction = :direction AND status NOT IN (:completed, :failed)
""")
UNKNOWN = text("""
SELECT direction, transfer_id, asset, status FROM stp.custody_transfer
WHERE feed_id = :feed_id AND status <> ALL (:known) AND asset = ANY (:assets) ORDER BY at, transfer_id
""")
LAST_ANSWERED = text("""
SELECT max(answered_at) FROM stp.vendor_reply
WHERE feed_id = :feed_id AND subject = :subject AND status IN (200, 204)
""")
MOVED = text("""
SELECT * FROM reporting.custody_transfer
WHERE (CAST(:feed AS text) IS NULL OR feed = :feed) AND (CAST(:asset AS text) IS NULL OR asset = :asset)
ORDER BY at DESC, transfer_id LIMIT :row_limit
""")


class TransferRepository:
    """Transfers of all feeds; only completed ones move a balance (A17)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sums(self, counting: Counting, org: str) -> tuple[dict[BalanceKey, Flows], frozenset[str]]:
        """Return what completed transfers come to, and the assets of those whose account the vendor does not name."""
        values = {**counting.values, "broker": counting.level == BROKER, "completed": COMPLETED}
        sums: defaultdict[BalanceKey, Flows] = defaultdict(Flows)
        nameless = set()
        for direction, account, asset, amount, fee in self._connection.execute(TRANSFERS, values):
            if account is None:
                nameless.add(asset)
                continue
            key = BalanceKey(f"{org}/{account}" if counting.level == BROKER else "", asset)
            if direction == "deposit":
                sums[key] = msgspec.structs.replace(sums[key], deposits=amount)
            else:
                sums[key] = msgspec.structs.replace(sums[key], withdrawals=amount, fees=fee)
        return dict(sums), frozenset(nameless)

    def note(self, feed_id: int, direction: str, transfers: Iterable[Transfer], *, at: datetime, reply_id: int) -> None:
        """Keep what a history tells; a row changes only where the vendor tells it differently."""
        rows = [
            {**msgspec.structs.asdict(each), "feed_id": feed_id, "direction": direction, "first_seen_at": at,
             "changed_at": at, "reply_id": reply_id}
            for each in transfers
        ]  # fmt: skip
        if not rows:
            return
        table = CustodyTransferRow
        statement = postgresql.insert(table)
        told = ("account", "asset", "amount", "fee", "status", "at")
        new = {name: statement.excluded[name] for name in (*told, "changed_at", "reply_id")}
        changed = or_(*(getattr(table, name).is_distinct_from(statement.excluded[name]) for name in told))
        key = [table.feed_id, table.direction, table.transfer_id]
        self._connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new, where=changed), rows)

    def unfinished_since(self, feed_id: int, direction: str) -> datetime | None:
        """Return the vendor's time of the oldest transfer that may still change."""
        values = {"feed_id": feed_id, "direction": direction, "completed": COMPLETED, "failed": FAILED}
        found: datetime | None = self._connection.execute(UNFINISHED, values).scalar()
        return found

    def unknown_statuses(self, counting: Counting) -> list[tuple[str, str, str, str]]:
        """Return direction, id, asset and status of transfers whose status we do not know."""
        values = {**counting.values, "known": list(STATUSES)}
        return [(row[0], row[1], row[2], row[3]) for row in self._connection.execute(UNKNOWN, values)]

    def last_answered(self, feed_id: int, subject: str) -> datetime | None:
        """Return when a question about this subject was answered last."""
        values = {"feed_id": feed_id, "subject": subject}
        found: datetime | None = self._connection.execute(LAST_ANSWERED, values).scalar()
        return found

    def told(self, feed: str | None, asset: str | None, limit: int) -> list[dict[str, Any]]:
        """Return rows of reporting.custody_transfer, the latest first."""
        values = {"feed": feed, "asset": asset, "row_limit": limit}
        return [dict(row) for row in self._connection.execute(MOVED, values).mappings()]
