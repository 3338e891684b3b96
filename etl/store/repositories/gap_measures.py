"""What healing counts: trades that were lost and came, answers that wait for booking, words that are known."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, exists, or_, select, text

from etl.store.repositories.gap_words import RECOVERED_BY, Gap
from etl.store.repositories.gaps import IN_FLIGHT, UNFINISHED
from etl.store.rows.breaks import ReconBreakRow
from etl.store.rows.gap import GapRow, ResendRow
from etl.store.rows.poll import UnbookedRow

TO_HEAL = select(
    or_(
        exists().where(GapRow.feed_id == bindparam("feed_id"), GapRow.state.in_(UNFINISHED)),
        exists().where(ResendRow.feed_id == bindparam("feed_id"), ResendRow.state.in_(IN_FLIGHT)),
    )
)
"""Made once: it is asked every second."""
LAST_STATUS = text("evidence -> -1 ->> 'status' AS status")


class GapMeasures:
    """Reads only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def anything_to_heal(self, feed_id: int) -> bool:
        """Return whether a gap is to be healed, or a resend is under way."""
        return bool(self._connection.execute(TO_HEAL, {"feed_id": feed_id}).scalar_one())

    def recovered_by(self, gap: Gap) -> int:
        """Return how many trades of its days were lost, and came because of its resends."""
        values = {
            "feed_id": gap.feed_id, "gap_id": gap.id, "first": gap.from_date, "last": gap.to_date,
            "since": gap.opened_at,
        }  # fmt: skip
        return int(self._connection.execute(RECOVERED_BY, values).scalar_one())

    def waits_for_booking(self, feed_id: int, poll_id: int) -> bool:
        """Return whether an answer up to this poll is landed and not booked yet."""
        statement = select(UnbookedRow.poll_id).where(UnbookedRow.feed_id == feed_id, UnbookedRow.poll_id <= poll_id)
        return self._connection.execute(statement.limit(1)).first() is not None

    def known_status(self, feed_id: int, trade_ids: Sequence[str]) -> dict[str, str]:
        """Return what the `status` breaks of these trades say that the vendor said last, by trade id."""
        statement = select(ReconBreakRow.key, LAST_STATUS).where(
            ReconBreakRow.feed_id == feed_id, ReconBreakRow.kind == "status", ReconBreakRow.key.in_(trade_ids)
        )
        return {row[0]: row[1] for row in self._connection.execute(statement) if row[1] is not None}
