"""Sweeps: closed trade dates that were asked again in full, what they found, and what that says of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, text, update

from etl.alert_kinds import AlertKind
from etl.domain.evidence import NOT_ASKED_YET
from etl.domain.gaps import GapCause, GapState
from etl.domain.sweeps import LOOKED_BACK, SWEEPS, SweepState
from etl.domain.window import Window
from etl.store.repositories.alerts import Alert, AlertRepository
from etl.store.repositories.gap_words import Gap
from etl.store.rows.feed import FeedRow
from etl.store.rows.gap import GapRow, ResendRow
from etl.store.rows.poll import PollRow

# The latest sweep of the day, and what a person asked for by hand after its close: the same evidence where no sweep
# showed it. A resend asked before the close does not hold the whole day. A sweep that ended badly needs a later one.
SWEEP_OF = text("""
WITH swept AS (
    SELECT g.id, g.state, g.why FROM stp.gap g
    WHERE g.feed_id = :feed_id AND g.cause = 'sweep' AND :day BETWEEN g.from_date AND g.to_date
    ORDER BY g.id DESC LIMIT 1
), by_hand AS (
    SELECT g.id, g.state, g.why FROM stp.gap g
    WHERE g.feed_id = :feed_id AND g.cause = 'operator' AND g.state <> 'closed'
      AND :day BETWEEN g.from_date AND g.to_date
      AND CASE g.state WHEN 'healed' THEN EXISTS (
          SELECT FROM stp.resend r WHERE r.gap_id = g.id AND r.state = 'complete' AND r.requested_at >= :closes_at
            AND :day BETWEEN r.from_date AND r.to_date
      ) ELSE g.opened_at >= :closes_at END
      AND NOT EXISTS (
          SELECT FROM swept s
          WHERE s.state = 'healed' OR s.id > g.id AND (s.state IN ('escalated', 'closed') OR g.state <> 'healed')
      )
    ORDER BY g.id DESC LIMIT 1
)
SELECT id, state, why FROM (SELECT *, 1 AS place FROM swept UNION ALL SELECT *, 2 FROM by_hand) AS found ORDER BY place
""")
# A poll in doubt explains a loss unless its own gap has brought back all that it lost of these days.
EXPLAINED = text("""
SELECT EXISTS (
    SELECT FROM stp.poll p LEFT JOIN stp.gap g ON g.id = p.gap_id
    WHERE p.feed_id = :feed_id AND p.outcome = 'in_doubt' AND p.closed_at >= CAST(:first AS date) - interval '5 days'
      AND NOT coalesce(g.state = 'healed' AND g.from_date <= :first AND g.to_date >= :last, FALSE)
)
""")


class Sweep(msgspec.Struct, frozen=True):
    """What is known of the sweep of one trade date. Counts are of trades of that date.

    `recovered`: lost before and booked now; `absent`: held, did not come again and nobody knows why; `excused`: held,
    did not come again, and the vendor says that they are Verified no more. `why`: what stands in the way of the proof.
    """

    trade_date: date
    state: SweepState = SweepState.NONE
    gap_ids: tuple[int, ...] = ()
    resend_ids: tuple[int, ...] = ()
    received: int = 0
    recovered: int = 0
    duplicates: int = 0
    absent: int = 0
    excused: int = 0
    proof_poll_id: int | None = None
    proven_at: datetime | None = None
    why: str | None = None


class SweepRepository:
    """Sweeps are gaps by their cause; they are asked for and proven by the same resends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sweep_of(self, feed_id: int, day: date, closes_at: datetime) -> Sweep:
        """Return what the sweep of a trade date has shown, up to now, or a person's resend of it after its close."""
        values = {"feed_id": feed_id, "day": day, "closes_at": closes_at}
        found = self._connection.execute(SWEEP_OF, values).all()
        if not found:
            return Sweep(day)
        last = found[-1]
        resends = self._resends([row.id for row in found], day)
        complete = [each for each in resends if each.state == "complete"]
        recovered = sum(each.recovered for each in resends)
        return Sweep(
            trade_date=day,
            state=_state_of(last.state, recovered),
            gap_ids=tuple(row.id for row in found),
            resend_ids=tuple(each.id for each in resends),
            received=resends[-1].received if resends else 0,
            recovered=recovered,
            duplicates=resends[-1].duplicates if resends else 0,
            absent=resends[-1].absent if resends else 0,
            excused=resends[-1].excused if resends else 0,
            proof_poll_id=complete[-1].proof_poll_id if complete else None,
            proven_at=complete[-1].ended_at if complete else None,
            why=last.why if last.state != GapState.HEALED else None,
        )

    def days_swept(self, feed_id: int, since: date) -> set[date]:
        """Return the trade dates since then that have their sweep, whatever came of it."""
        statement = select(GapRow.from_date).where(
            GapRow.feed_id == feed_id, GapRow.cause == GapCause.SWEEP, GapRow.from_date >= since
        )
        return set(self._connection.execute(statement).scalars())

    def first_seen_at(self, feed_id: int) -> datetime:
        """Return when the feed was seen for the first time: no day before it is swept."""
        found: datetime = self._connection.execute(
            select(FeedRow.first_seen_at).where(FeedRow.id == feed_id)
        ).scalar_one()
        return found

    def uncovered_doubt(self, feed_id: int) -> int | None:
        """Return the latest poll in doubt that no history sweep covers; None for none, and while one is under way."""
        of_history = (GapRow.feed_id == feed_id, GapRow.cause == GapCause.HISTORY_SWEEP)
        under_way = select(GapRow.id).where(
            *of_history, GapRow.state.in_((GapState.OPEN, GapState.WAITING, GapState.RESENDING))
        )
        if self._connection.execute(under_way.limit(1)).first() is not None:
            return None
        covered = select(func.coalesce(func.max(GapRow.covers_poll_id), 0)).where(*of_history)
        statement = select(func.max(PollRow.id)).where(
            PollRow.feed_id == feed_id, PollRow.outcome == "in_doubt", PollRow.id > covered.scalar_subquery()
        )
        found: int | None = self._connection.execute(statement).scalar_one()
        return found

    def open(
        self, feed_id: int, cause: GapCause, window: Window, *, at: datetime, covers_poll_id: int | None = None
    ) -> int:
        """Open a sweep: a gap that nothing is known to be missing in; return its number."""
        what = "closed trade date" if cause == GapCause.SWEEP else f"polls in doubt up to {covers_poll_id}"
        values = {
            "feed_id": feed_id, "cause": cause, "from_date": window.start, "to_date": window.last, "opened_at": at,
            "doubted_at": at, "not_before": at, "state": GapState.OPEN, "recovered": 0, "already_known": 0,
            "covers_poll_id": covers_poll_id, "why": NOT_ASKED_YET, "evidence": [{"at": at.isoformat(), "sweep": what}],
        }  # fmt: skip
        return int(self._connection.execute(insert(GapRow).values(values).returning(GapRow.id)).scalar_one())

    def explained(self, gap: Gap) -> bool:
        """Return whether a poll in doubt explains what the sweep found lost."""
        values = {"feed_id": gap.feed_id, "first": gap.from_date, "last": gap.to_date}
        return bool(self._connection.execute(EXPLAINED, values).scalar_one())

    def losing(self, feed_id: int, since: datetime) -> int:
        """Return how many sweeps since then found losses that nothing explains."""
        statement = select(func.count()).where(
            GapRow.feed_id == feed_id, GapRow.cause.in_(SWEEPS), GapRow.opened_at >= since, GapRow.unexplained > 0
        )
        return int(self._connection.execute(statement).scalar_one())

    def suspect(self, feed_id: int, at: datetime, sweeps: int) -> bool:
        """Keep since when a second consumer is suspected, as losses in so many sweeps say, or that none is any more.

        Returns whether the suspicion begins now; then it is told of too.
        """
        losing = self.losing(feed_id, at - LOOKED_BACK)
        column = FeedRow.second_consumer_since
        before: datetime | None = self._connection.execute(select(column).where(FeedRow.id == feed_id)).scalar_one()
        since = (before or at) if losing >= sweeps else None
        if since != before:
            self._connection.execute(update(FeedRow).where(FeedRow.id == feed_id).values(second_consumer_since=since))
        begins = before is None and since is not None
        if begins:
            words = (
                f"{losing} sweeps found lost trades that no poll in doubt explains: somebody else may read the queue, "
                "or the vendor hands trades out and then refuses; see: stp-etl gaps list"
            )
            key = f"second_consumer/{feed_id}/{at.isoformat()}"
            AlertRepository(self._connection).tell(
                Alert(AlertKind.SECOND_CONSUMER, key, at, words, feed_id, {"sweeps": losing})
            )
        return begins

    def _resends(self, gap_ids: Sequence[int], day: date) -> list[Any]:
        statement = select(
            ResendRow.id, ResendRow.state, ResendRow.received, ResendRow.recovered, ResendRow.duplicates,
            ResendRow.absent, ResendRow.excused, ResendRow.proof_poll_id, ResendRow.ended_at,
        ).where(ResendRow.gap_id.in_(gap_ids), ResendRow.from_date <= day, ResendRow.to_date >= day)  # fmt: skip
        return list(self._connection.execute(statement.order_by(ResendRow.id)))


def _state_of(state: str, recovered: int) -> SweepState:
    match GapState(state):
        case GapState.HEALED:
            return SweepState.RECOVERED if recovered else SweepState.EQUAL
        case GapState.ESCALATED | GapState.CLOSED:
            return SweepState.SHORT
        case GapState.OPEN | GapState.WAITING | GapState.RESENDING:
            return SweepState.RUNNING
