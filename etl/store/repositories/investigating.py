"""What the investigation of breaks reads of the book."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, text

# Those that a control has seen since the vendor was asked about them last.
STATUSES = text("""
SELECT b.id, b.trade_id, b.investigation FROM stp.recon_break b
JOIN stp.trade t ON (t.feed_id, t.trade_id) = (b.feed_id, b.trade_id)
JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (t.feed_id, t.trade_id, t.version)
WHERE b.feed_id = :feed_id AND b.kind = 'status' AND b.state IN ('open', 'investigating', 'accepted') AND v.live
  AND (b.investigated_at IS NULL OR b.last_seen_at > b.investigated_at)
ORDER BY b.id LIMIT :most
""")


class SaidOtherwise(msgspec.Struct, frozen=True):
    """A trade that counts in the book, and a `status` break says that it stands no more at the vendor."""

    break_id: int
    trade_id: str
    investigation: dict[str, Any] | None


class InvestigationRepository:
    """Reads only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def statuses(self, feed_id: int, most: int) -> list[SaidOtherwise]:
        """Return the trades about which the vendor is to be asked, so that its word may be adopted."""
        rows = self._connection.execute(STATUSES, {"feed_id": feed_id, "most": most})
        return [SaidOtherwise(*row) for row in rows]
