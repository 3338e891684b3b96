"""Gaps and resends: what may be missing, what was asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, cast, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from etl.alert_kinds import AlertKind
from etl.domain.evidence import NOT_ASKED_YET
from etl.domain.gaps import Doubt, GapCause, GapState, ResendState
from etl.domain.sweeps import SWEEPS
from etl.domain.window import Window
from etl.store.repositories.alerts import Alert, AlertRepository
from etl.store.repositories.gap_words import (
    ABSENT,
    COUNTS,
    DOUBT_SINCE,
    HELD_IN,
    OLDEST_LANDED,
    OLDEST_OF_GAP,
    PROOF,
    Counts,
    Gap,
    Proof,
    Resend,
)
from etl.store.rows.gap import GapRow, ResendRow
from etl.store.rows.poll import PollRow

UNFINISHED = (GapState.OPEN, GapState.WAITING, GapState.RESENDING)
IN_FLIGHT = (ResendState.SENDING, ResendState.ACCEPTED, ResendState.AMBIGUOUS, ResendState.DRAINING)


class GapRepository:
    """Gaps and resends of all feeds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def doubt(self, feed_id: int, poll_id: int, now: datetime) -> Doubt:
        """Return what is known about the trades that the answer of this poll may have carried."""
        poll = self._connection.execute(
            select(PollRow.drain_id, PollRow.doubt_from, PollRow.max_count).where(PollRow.id == poll_id)
        ).one()
        landed = {"feed_id": feed_id, "first": poll.drain_id, "last": poll_id}
        first_opened = select(PollRow.opened_at).where(PollRow.id == poll.drain_id)
        since = self._connection.execute(first_opened).scalar_one_or_none() or now
        return Doubt(
            doubt_from=min([poll.doubt_from, *self._days_asked(feed_id)]),
            now=now,
            vendor_date=self._last_vendor_date(feed_id),
            oldest_landed=self._connection.execute(OLDEST_LANDED, landed | {"since": since}).scalar_one(),
            max_count=poll.max_count,
        )

    def open(
        self, feed_id: int, cause: GapCause, window: Window, *, at: datetime, not_before: datetime,
        evidence: Mapping[str, Any], why: str = NOT_ASKED_YET, alone: bool = False,
    ) -> int:  # fmt: skip
        """Open a gap, or widen one of the same cause that touches it and is not being resent yet; return its number.

        `why`: what it waits for. `alone`: open one in any case.
        """
        waiting = (
            select(GapRow)
            .where(GapRow.feed_id == feed_id, GapRow.state.in_((GapState.OPEN, GapState.WAITING)))
            .order_by(GapRow.id)
            .with_for_update()
        )
        for row in self._connection.execute(waiting).mappings():
            known = Window.of(row["from_date"], row["to_date"])
            if row["cause"] == cause and known.touches(window) and not alone:
                both = known.with_(window)
                values = {
                    "from_date": both.start, "to_date": both.last, "doubted_at": at, "state": GapState.OPEN,
                    "not_before": max(row["not_before"], not_before), "evidence": [*row["evidence"], dict(evidence)],
                    "healed_before": None, "why": why,
                }  # fmt: skip
                self.change(row["id"], **values)
                return int(row["id"])
        values = {
            "feed_id": feed_id, "cause": cause, "from_date": window.start, "to_date": window.last, "opened_at": at,
            "doubted_at": at, "not_before": not_before, "state": GapState.OPEN, "evidence": [dict(evidence)],
            "recovered": 0, "already_known": 0, "why": why,
        }  # fmt: skip
        number = int(self._connection.execute(insert(GapRow).values(values).returning(GapRow.id)).scalar_one())
        if cause != GapCause.OPERATOR:  # who opens one by hand knows of it
            self._tell(AlertKind.GAP_OPENED, "opened", number, feed_id, at)
        return number

    def lock(self, feed_id: int) -> None:
        """Let no doubt about this feed be written down until the transaction ends, and wait for one that is.

        So a doubt knows of the resend that is about to be asked, or the resend of the doubt.
        """
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('stp.gap'), :id)"), {"id": feed_id})

    def hold(self, gap: Gap) -> bool:
        """Keep everybody else from changing the gap until the transaction ends; return whether it is still as given.

        A doubt may have widened it since it was read, or a person closed it: then nothing is to be done on old words.
        """
        row = self._connection.execute(select(*_GAP).where(GapRow.id == gap.id).with_for_update()).one()
        return Gap(*row) == gap

    def oldest_of(self, gap: Gap) -> tuple[date | None, bool]:
        """Return the oldest trade date in the drains whose doubts made the gap, and whether all of them is booked."""
        row = self._connection.execute(OLDEST_OF_GAP, {"gap_id": gap.id}).one()
        return row.oldest, not row.unbooked

    def asked_by(self, gap: Gap) -> tuple[str, str]:
        """Return who wants the days of the gap again, and why: the operator whose request it is, else the program."""
        (evidence,) = self._connection.execute(select(GapRow.evidence).where(GapRow.id == gap.id)).one()
        if gap.cause == GapCause.OPERATOR:
            return str(evidence[0].get("by", "stp-etl")), str(evidence[0].get("reason", gap.cause))
        return "stp-etl", f"gap {gap.id}: {gap.cause}"

    def find_request(self, key: str) -> dict[str, Any] | None:
        """Return the gap that an operator's request with this key opened, by column; None where there is none."""
        row = self._connection.execute(select(GapRow).where(GapRow.request_key == key)).mappings().one_or_none()
        return None if row is None else dict(row)

    def lock_key(self, key: str) -> None:
        """Let nobody else look for or use this key of a request until the transaction ends."""
        self._connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('stp.request'), hashtext(:k))"), {"k": key}
        )

    def change(self, gap_id: int, **values: Any) -> None:
        """Write these columns of a gap."""
        statement = update(GapRow).where(GapRow.id == gap_id).values(**values)
        feed_id, at = self._connection.execute(statement.returning(GapRow.feed_id, func.now())).one()
        if values.get("state") == GapState.ESCALATED:
            self._tell(AlertKind.GAP_ESCALATED, "escalated: a person has to look", gap_id, feed_id, at)

    def note(self, gap_id: int, evidence: Mapping[str, Any]) -> None:
        """Add a piece of evidence."""
        self.change(gap_id, evidence=GapRow.evidence.op("||")(cast([dict(evidence)], JSONB)))

    def queue_behind(self, gap: Gap, now: datetime) -> None:
        """Let all other gaps that may be asked for now say that this one comes first; sweeps say it by themselves."""
        why = f"gap {gap.id} is asked for first"
        others = update(GapRow).where(
            GapRow.feed_id == gap.feed_id, GapRow.id != gap.id, GapRow.not_before <= now, GapRow.cause.not_in(SWEEPS),
            GapRow.state.in_((GapState.OPEN, GapState.WAITING)), GapRow.why.is_distinct_from(why),
        )  # fmt: skip
        self._connection.execute(others.values(state=GapState.WAITING, why=why))

    def count(self, gap_id: int, *, recovered: int, already_known: int) -> None:
        """Add what came again to the counts of a gap."""
        values = {"recovered": GapRow.recovered + recovered, "already_known": GapRow.already_known + already_known}
        self._connection.execute(update(GapRow).where(GapRow.id == gap_id).values(values))

    def cover(self, poll_id: int, gap_id: int) -> None:
        """Note which gap the doubt about a poll opened."""
        self._connection.execute(update(PollRow).where(PollRow.id == poll_id).values(gap_id=gap_id))

    def uncovered(self, feed_id: int) -> list[tuple[int, str, str, date]]:
        """Return the polls in doubt that opened no gap yet: number, request id, cause, first day of the doubt."""
        statement = select(PollRow.id, PollRow.request_id, PollRow.cause, PollRow.doubt_from).where(
            PollRow.feed_id == feed_id, PollRow.outcome == "in_doubt", PollRow.gap_id.is_(None)
        )
        return [(row[0], row[1], row[2], row[3]) for row in self._connection.execute(statement.order_by(PollRow.id))]

    def unfinished(self, feed_id: int) -> list[Gap]:
        """Return the gaps that are still to be healed: those of operators first, then the oldest, sweeps last."""
        statement = select(*_GAP).where(GapRow.feed_id == feed_id, GapRow.state.in_(UNFINISHED))
        order = (GapRow.cause == GapCause.HISTORY_SWEEP, GapRow.cause == GapCause.SWEEP)
        rows = self._connection.execute(statement.order_by(*order, GapRow.cause != GapCause.OPERATOR, GapRow.id))
        return [Gap(*row) for row in rows]

    def find(self, gap_id: int) -> Gap:
        """Return a gap; KeyError where there is none."""
        row = self._connection.execute(select(*_GAP).where(GapRow.id == gap_id)).one_or_none()
        if row is None:
            raise KeyError(gap_id)
        return Gap(*row)

    def widen(self, gap: Gap, window: Window, *, at: datetime, evidence: Mapping[str, Any] | None = None) -> None:
        """Let a gap ask for all of a wider window, from the first day on."""
        added = [] if evidence is None else [dict(evidence)]
        values: dict[str, Any] = {
            "from_date": window.start, "to_date": window.last, "doubted_at": at, "not_before": at,
            "state": GapState.OPEN, "healed_before": None, "why": NOT_ASKED_YET, "wanted_from": None, "closed_at": None,
            "evidence": GapRow.evidence.op("||")(cast(added, JSONB)),
        }  # fmt: skip
        self.change(gap.id, **values)

    def in_flight(self, feed_id: int) -> Resend | None:
        """Return the resend that is under way; there is one a feed at the most."""
        statement = select(*_RESEND).where(ResendRow.feed_id == feed_id, ResendRow.state.in_(IN_FLIGHT))
        row = self._connection.execute(statement.order_by(ResendRow.id).limit(1)).one_or_none()
        return None if row is None else Resend(*row)

    def last_of(self, gap_id: int, window: Window) -> list[Resend]:
        """Return the resends of these days for a gap since its latest evidence, oldest first."""
        doubted_at = select(GapRow.doubted_at).where(GapRow.id == gap_id).scalar_subquery()
        statement = select(*_RESEND).where(
            ResendRow.gap_id == gap_id, ResendRow.from_date == window.start, ResendRow.to_date == window.last,
            ResendRow.requested_at >= doubted_at,
        )  # fmt: skip
        return [Resend(*row) for row in self._connection.execute(statement.order_by(ResendRow.id))]

    def request(self, gap: Gap, window: Window, *, at: datetime, by: str, reason: str) -> Resend:
        """Write down a resend that is about to be asked for."""
        values = {
            "feed_id": gap.feed_id, "gap_id": gap.id, "from_date": window.start, "to_date": window.last,
            "requested_by": by, "reason": reason, "requested_at": at, "state": ResendState.SENDING, "tries": 1,
            "received": 0, "recovered": 0, "duplicates": 0, "absent": 0, "excused": 0, "held_seq": self.change_seq(),
        }  # fmt: skip
        return Resend(*self._connection.execute(insert(ResendRow).values(values).returning(*_RESEND)).one())

    def change_resend(self, resend_id: int, **values: Any) -> None:
        """Write these columns of a resend."""
        self._connection.execute(update(ResendRow).where(ResendRow.id == resend_id).values(**values))

    def drop_resends(self, gap_id: int, at: datetime, detail: str) -> None:
        """End the resend under way for a gap that a person closed."""
        statement = update(ResendRow).where(ResendRow.gap_id == gap_id, ResendRow.state.in_(IN_FLIGHT))
        self._connection.execute(statement.values(state=ResendState.SHORT, ended_at=at, detail=detail))

    def break_off(self, feed_id: int, *, at: datetime, not_before: datetime, why: str) -> None:
        """End the resend under way, what came of it may be lost, and let its days be asked for again."""
        resend = self.in_flight(feed_id)
        if resend is not None:
            self.change_resend(resend.id, state=ResendState.SHORT, ended_at=at, detail=why)
            self.change(resend.gap_id, state=GapState.WAITING, not_before=not_before, doubted_at=at, why=why)

    def requests_since(self, feed_id: int, since: datetime) -> int:
        """Return how many resends were asked for since then, for the budget."""
        statement = select(text("coalesce(sum(tries), 0)")).select_from(ResendRow)
        statement = statement.where(ResendRow.feed_id == feed_id, ResendRow.requested_at >= since)
        return int(self._connection.execute(statement).scalar_one())

    def held_in(self, feed_id: int, window: Window) -> int:
        """Return how many live trades of these trade dates the book holds."""
        values = {"feed_id": feed_id, "first": window.start, "last": window.last}
        return int(self._connection.execute(HELD_IN, values).scalar_one())

    def change_seq(self) -> int:
        """Return the last change number issued."""
        return int(self._connection.execute(text("SELECT change_seq FROM stp.change_counter")).scalar_one())

    def proof_since(self, feed_id: int, eligible_at: datetime) -> Proof | None:
        """Return the first drain whose requests all left after `eligible_at`, that ended proven-empty and is booked."""
        row = self._connection.execute(PROOF, {"feed_id": feed_id, "eligible_at": eligible_at}).one_or_none()
        return None if row is None else Proof(*row)

    def doubt_since(self, feed_id: int, since: datetime) -> int | None:
        """Return a poll that ended in doubt since then, or None."""
        found = self._connection.execute(DOUBT_SINCE, {"feed_id": feed_id, "since": since})
        number: int | None = found.scalar_one_or_none()
        return number

    def counts(self, resend: Resend, proof_poll_id: int) -> Counts:
        """Return what came again for a resend, up to the poll that proved the queue empty."""
        return Counts(*self._connection.execute(COUNTS, _asked(resend, proof_poll_id)).one())

    def absent(self, resend: Resend, proof_poll_id: int, limit: int) -> list[str]:
        """Return trades of the asked days that we held and that did not come again."""
        values = _asked(resend, proof_poll_id) | {"limit": limit}
        return list(self._connection.execute(ABSENT, values).scalars())

    def _tell(self, kind: AlertKind, what: str, gap_id: int, feed_id: int, at: datetime) -> None:
        columns = (GapRow.cause, GapRow.from_date, GapRow.to_date)
        cause, first, last = self._connection.execute(select(*columns).where(GapRow.id == gap_id)).one()
        words = f"gap {gap_id}, trade dates {first} to {last}, is {what}; see: stp-etl gaps show {gap_id}"
        fields: dict[str, str | int] = {"gap": gap_id, "cause": cause, "from": str(first), "to": str(last)}
        AlertRepository(self._connection).tell(Alert(kind, f"{kind}/{gap_id}", at, words, feed_id, fields))

    def _last_vendor_date(self, feed_id: int) -> datetime | None:
        """Return the vendor's clock as of its last answer in the ledger."""
        statement = select(PollRow.vendor_date).where(PollRow.feed_id == feed_id, PollRow.vendor_date.is_not(None))
        found: datetime | None = self._connection.execute(statement.order_by(PollRow.id.desc()).limit(1)).scalar()
        return found

    def _days_asked(self, feed_id: int) -> list[date]:
        """Return the first day of the resend in flight, whose trades may be in the queue too."""
        resend = self.in_flight(feed_id)
        return [] if resend is None else [resend.from_date]


def _asked(resend: Resend, proof_poll_id: int) -> dict[str, Any]:
    return {
        "feed_id": resend.feed_id, "requested_at": resend.requested_at, "proof_poll_id": proof_poll_id,
        "first": resend.from_date, "last": resend.to_date, "held_seq": resend.held_seq,
    }  # fmt: skip


_GAP = tuple(getattr(GapRow, name) for name in Gap.__struct_fields__)
_RESEND = tuple(getattr(ResendRow, name) for name in Resend.__struct_fields__)
