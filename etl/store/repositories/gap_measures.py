"""What healing counts: trades that were lost and came, answers that wait for booking, words that are known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Connection, bindparam, exists, func, or_, select, text

from etl.domain.gaps import GapCause, GapState, ResendState
from etl.domain.window import Window
from etl.store.repositories.gap_words import LATENESS, RECOVERED_BY, Gap, Ghost
from etl.store.repositories.gaps import IN_FLIGHT, UNFINISHED
from etl.store.rows.breaks import ReconBreakRow
from etl.store.rows.gap import GapRow, ResendRow
from etl.store.rows.poll import PollRow, UnbookedRow
from etl.store.rows.trade import TradeVersionRow

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

    def never_handed_out(self, feed_id: int, trade_ids: Sequence[str]) -> set[str]:
        """Return those of these trades that came by no queue: a person adopted the vendor's own word about each."""
        statement = select(TradeVersionRow.trade_id).where(
            TradeVersionRow.feed_id == feed_id, TradeVersionRow.trade_id.in_(trade_ids)
        )
        grouped = statement.group_by(TradeVersionRow.trade_id).having(func.bool_and(TradeVersionRow.source == "query"))
        return set(self._connection.execute(grouped).scalars())

    def lateness_days(self, feed_id: int, since: date) -> int:
        """Return the greatest number of days between a trade date since then and the landing of its trade."""
        return int(self._connection.execute(LATENESS, {"feed_id": feed_id, "since": since}).scalar_one())

    def seen_unreadable(self, feed_id: int, sha256: str, since: datetime) -> bool:
        """Return whether the same unreadable bytes opened a gap that a resend was asked for and did not heal."""
        statement = (
            select(GapRow.id)
            .join(ResendRow, ResendRow.gap_id == GapRow.id)
            .where(GapRow.feed_id == feed_id, GapRow.opened_at >= since, GapRow.state != GapState.HEALED)
            .where(GapRow.evidence.contains([{"unreadable": sha256}]))
        )
        return self._connection.execute(statement.limit(1)).first() is not None

    def ghost(self, feed_id: int, since: datetime) -> Ghost | None:
        """Return the last poll that ended in doubt since then; its request may still be executed."""
        statement = select(PollRow.request_id, PollRow.closed_at).where(
            PollRow.feed_id == feed_id, PollRow.outcome == "in_doubt", PollRow.closed_at >= since
        )
        row = self._connection.execute(statement.order_by(PollRow.closed_at.desc()).limit(1)).one_or_none()
        return None if row is None else Ghost(*row)

    def resends_complete(self, gap_id: int) -> int:
        """Return how many resends of the gap brought all that they asked for."""
        statement = select(func.count()).where(ResendRow.gap_id == gap_id, ResendRow.state == ResendState.COMPLETE)
        return int(self._connection.execute(statement).scalar_one())

    def unfinished_by_hand(self, feed_id: int, window: Window) -> int | None:
        """Return the latest gap of an operator that is to be healed and has exactly these days; None for none."""
        statement = select(func.max(GapRow.id)).where(
            GapRow.feed_id == feed_id, GapRow.cause == GapCause.OPERATOR, GapRow.state.in_(UNFINISHED),
            GapRow.from_date == window.start, GapRow.to_date == window.last,
        )  # fmt: skip
        found: int | None = self._connection.execute(statement).scalar_one()
        return found
