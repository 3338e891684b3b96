"""Breaks: one row a feed, kind and key; what was observed of each, and every event in its life."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.dialects import postgresql

from etl.domain.explanation import PERHAPS
from etl.domain.reconciliation import BreakKind, BreakState, Finding
from etl.store.repositories.alerts import AlertRepository
from etl.store.rows.breaks import BreakEventRow, BreakObservationRow, ReconBreakRow

UNFINISHED = (BreakState.OPEN, BreakState.INVESTIGATING, BreakState.ACCEPTED)
PROGRAM = "stp-etl"
SEEN_AGAIN = text("""
UPDATE stp.break_observation o SET last_seen_at = :at, last_run_id = :run_id, seen = seen + 1
WHERE o.id = (SELECT max(id) FROM stp.break_observation WHERE break_id = :break_id)
""")
SIZE = text("""
SELECT v.base_currency, l.base_amount FROM stp.trade t
JOIN stp.trade_version v USING (feed_id, trade_id, version)
JOIN stp.trade_leg l USING (feed_id, trade_id, version)
WHERE t.feed_id = :feed_id AND t.trade_id = :trade_id AND l.leg_no = 1
""")
# First what nobody has closed or accepted; then by weight, unknown weights above medium; then what nobody looks after;
# then the oldest, then the largest.
LISTED = text("""
SELECT * FROM reporting.break
WHERE (CAST(:feed AS text) IS NULL OR feed = :feed) AND (CAST(:kind AS text) IS NULL OR kind = :kind)
  AND (:any_state OR state = ANY (:states)) AND (CAST(:who AS text) IS NULL OR assigned_to = :who)
ORDER BY array_position(ARRAY['open', 'investigating', 'accepted', 'cleared', 'resolved'], state) > 2,
    array_position(ARRAY['open', 'investigating', 'accepted', 'cleared', 'resolved'], state) > 3,
    coalesce(array_position(ARRAY['high', 'unknown', 'medium', 'low'], severity), 2), assigned_to IS NOT NULL,
    opened_at::date, abs(reporting_amount) DESC NULLS LAST, break_id
LIMIT :row_limit
""")
SHOWN = text("SELECT * FROM reporting.break WHERE break_id = :break_id")
# Its old words are told in the event, so that the row is free for what a person decides next.
OVER = text("""
UPDATE stp.recon_break b
SET state = 'open', reopened = b.reopened + 1, reopened_at = :at, accepted_until = NULL, reason = NULL
FROM stp.recon_break was
WHERE was.id = b.id AND b.feed_id = :feed_id AND b.state = 'accepted' AND b.accepted_until <= :at
RETURNING b.id, b.kind, b.reopened, b.vendor_ticket, was.accepted_until, was.reason
""")
# What a person or a proof said of a break does not stay on it when it is open again; the events keep it.
UNSAID = MappingProxyType(dict.fromkeys(("closed_at", "closed_by", "reason", "accepted_until", "explained_by")))
KNOWN_CAUSE = func.nullif(func.regexp_replace(ReconBreakRow.explained_by, f"(^|; ){PERHAPS}.*$", ""), "")


class KnownBreak(msgspec.Struct, frozen=True):
    """A break as the database holds it; see ReconBreakRow."""

    id: int
    feed_id: int
    kind: str
    key: str
    state: str
    trade_id: str | None
    ours: Decimal | None
    theirs: Decimal | None
    difference: Decimal | None
    currency: str | None
    ours_term: Decimal | None
    theirs_term: Decimal | None
    difference_term: Decimal | None
    level: str | None
    level_value: str | None
    symbol: str | None
    opened_at: datetime
    accepted_until: datetime | None
    reopened: int

    @property
    def amounts(self) -> tuple[Decimal | None, ...]:
        """Return the figures as a finding has them."""
        return self.ours, self.theirs, self.difference, self.ours_term, self.theirs_term, self.difference_term


class Noted(msgspec.Struct, frozen=True):
    """A break after a finding was written down. `change`: opened, reopened, changed or same."""

    id: int
    change: str
    state: str


class BreakRepository:
    """Breaks of all feeds. Findings and proofs come from controls, the rest from persons."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, feed_id: int) -> None:
        """Let no other run write breaks of this feed until the transaction ends."""
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('stp.break'), :id)"), {"id": feed_id})

    def known(
        self, feed_id: int | None, kinds: Collection[str] = (), *, states: Collection[str] = (),
        keys: Collection[str] | None = None, ids: Collection[int] | None = None,
    ) -> list[KnownBreak]:  # fmt: skip
        """Return breaks, the oldest first; of all states unless some are given."""
        statement = select(*_KNOWN).order_by(ReconBreakRow.id)
        if feed_id is not None:
            statement = statement.where(ReconBreakRow.feed_id == feed_id)
        if kinds:
            statement = statement.where(ReconBreakRow.kind.in_(kinds))
        if states:
            statement = statement.where(ReconBreakRow.state.in_(states))
        if keys is not None:
            statement = statement.where(ReconBreakRow.key == text("ANY(:keys)").bindparams(keys=list(keys)))
        if ids is not None:
            statement = statement.where(ReconBreakRow.id == text("ANY(:ids)").bindparams(ids=list(ids)))
        return [KnownBreak(*row) for row in self._connection.execute(statement)]

    def found(
        self, feed_id: int, finding: Finding, *, at: datetime, run_id: int | None, reply_id: int | None = None
    ) -> Noted:
        """Write a finding down: open its break, add an observation, or open it again (design.md §6).

        An accepted break opens again when its difference changes or its date has passed; a cleared or resolved one
        because it is here again. Open and investigated ones keep their state.
        """
        known = self._same(feed_id, finding)
        number = None if known is not None else self._open(feed_id, finding, at, run_id)
        if number is None:
            known = known or self._same(feed_id, finding)
            assert known is not None, "it could not be opened, so it is there"
            number, (change, state) = known.id, _after(known, finding, at)
            self._see(known, finding, change, state, at, run_id)
        else:
            change, state = "opened", BreakState.OPEN
        values = {"break_id": number, "at": at, "run_id": run_id}
        if change == "same":
            self._connection.execute(SEEN_AGAIN, values)
            return Noted(number, change, state)
        observed = {name: getattr(finding, name) for name in _FIGURES}
        self._connection.execute(
            insert(BreakObservationRow).values(
                break_id=number, first_seen_at=at, last_seen_at=at, seen=1, first_run_id=run_id, last_run_id=run_id,
                **observed,
            )
        )  # fmt: skip
        figures = {name: f"{amount:f}" for name, amount in observed.items() if amount is not None} | dict(
            finding.figures
        )
        self.event(number, change, at=at, note=finding.comment, figures=figures, run_id=run_id, reply_id=reply_id)
        if change in ("opened", "reopened"):
            times = 0 if known is None else known.reopened + 1
            AlertRepository(self._connection).break_opened(feed_id, finding.kind, number, at, times=times)
        return Noted(number, change, state)

    def reopen_overdue(self, feed_id: int, at: datetime) -> list[int]:
        """Open the accepted breaks again whose date has passed, seen again or not (design §6); return them."""
        numbers = []
        for row in self._connection.execute(OVER, {"feed_id": feed_id, "at": at}):
            ticket = f", ticket {row.vendor_ticket}" if row.vendor_ticket else ""
            words = f"it was accepted until {row.accepted_until:%Y-%m-%d %H:%MZ}{ticket}: {row.reason}"
            self.event(row.id, "reopened", at=at, note=words)
            AlertRepository(self._connection).break_opened(feed_id, row.kind, row.id, at, times=row.reopened)
            numbers.append(row.id)
        return sorted(numbers)

    def _same(self, feed_id: int, finding: Finding) -> KnownBreak | None:
        known = self.known(feed_id, [finding.kind], keys=[finding.key])
        return known[0] if known else None

    def _open(self, feed_id: int, finding: Finding, at: datetime, run_id: int | None) -> int | None:
        """Open it; return None where booking, which takes no lock of ours, has opened it meanwhile."""
        statement = postgresql.insert(ReconBreakRow).values(
            feed_id=feed_id, kind=finding.kind, key=finding.key, state=BreakState.OPEN, opened_at=at, last_seen_at=at,
            reopened=0, seen=1, run_id=run_id, comment=finding.comment, evidence=[dict(finding.figures)],
            **{name: getattr(finding, name) for name in (*_FIGURES, *_SUBJECT)},
        )  # fmt: skip
        number: int | None = self._connection.execute(
            statement.on_conflict_do_nothing().returning(ReconBreakRow.id)
        ).scalar()
        return number

    def _see(
        self, known: KnownBreak, finding: Finding, change: str, state: BreakState, at: datetime, run_id: int | None
    ) -> None:  # fmt: skip
        values: dict[str, Any] = {"last_seen_at": at, "run_id": run_id, "seen": ReconBreakRow.seen + 1}
        if change != "same":
            values |= {name: getattr(finding, name) for name in (*_FIGURES, *_SUBJECT)}
            values |= {"comment": finding.comment, "state": state}
        elif finding.kind == BreakKind.QUERY_FAILED:  # it has no figures, and may fail for another reason now
            values["comment"] = finding.comment
        if change == "reopened":
            values |= {
                "reopened": ReconBreakRow.reopened + 1, "reopened_at": at, "seen": 1, **UNSAID,
            }  # fmt: skip
        self.change(known.id, **values)

    def clear(
        self, found: KnownBreak, *, at: datetime, proof: str, figures: Mapping[str, Any], run_id: int | None = None,
        reply_id: int | None = None,
    ) -> None:  # fmt: skip
        """Say that a break is gone, with the proof; what was only suggested as its cause is said no more."""
        self.change(
            found.id, state=BreakState.CLEARED, closed_at=at, closed_by=PROGRAM, reason=proof, accepted_until=None,
            explained_by=KNOWN_CAUSE,
        )  # fmt: skip
        self.event(found.id, "cleared", at=at, note=proof, figures=figures, run_id=run_id, reply_id=reply_id)

    def change(self, break_id: int, **values: Any) -> None:
        """Write these columns of a break."""
        self._connection.execute(update(ReconBreakRow).where(ReconBreakRow.id == break_id).values(**values))

    def event(
        self, break_id: int, deed: str, *, at: datetime, by: str = PROGRAM, note: str | None = None,
        figures: Mapping[str, Any] | None = None, run_id: int | None = None, reply_id: int | None = None,
    ) -> None:  # fmt: skip
        """Keep what happened to a break; a step of its investigation has the deed `step`."""
        self._connection.execute(
            insert(BreakEventRow).values(
                break_id=break_id, at=at, deed=deed, by=by, note=note, figures=dict(figures or {}), run_id=run_id,
                reply_id=reply_id,
            )
        )  # fmt: skip

    def events(self, break_id: int) -> list[dict[str, Any]]:
        """Return everything that happened to a break, in order."""
        columns = [
            getattr(BreakEventRow, name) for name in ("at", "deed", "by", "note", "figures", "run_id", "reply_id")
        ]
        statement = select(*columns).where(BreakEventRow.break_id == break_id).order_by(BreakEventRow.id)
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    def observations(self, break_id: int) -> list[dict[str, Any]]:
        """Return the figures that a break had, and from when to when."""
        names = ("first_seen_at", "last_seen_at", "seen", *_FIGURES)
        columns = [getattr(BreakObservationRow, name) for name in names]
        statement = select(*columns).where(BreakObservationRow.break_id == break_id).order_by(BreakObservationRow.id)
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    def size_of_trade(self, feed_id: int, trade_id: str) -> tuple[str, Decimal] | None:
        """Return base currency and unsigned base amount of a booked trade's near leg; None where it is not booked."""
        row = self._connection.execute(SIZE, {"feed_id": feed_id, "trade_id": trade_id}).one_or_none()
        return None if row is None else (row[0], abs(row[1]))

    def listed(
        self, feed: str | None, *, kind: str | None = None, states: Collection[str] = (),
        assigned_to: str | None = None, limit: int = 50,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return rows of reporting.break, what a person should look at first before the rest."""
        asked = {
            "feed": feed, "kind": kind, "states": list(states), "any_state": not states, "who": assigned_to,
            "row_limit": limit,
        }  # fmt: skip
        return [dict(row) for row in self._connection.execute(LISTED, asked).mappings()]

    def shown(self, break_id: int) -> dict[str, Any] | None:
        """Return one row of reporting.break, or None."""
        row = self._connection.execute(SHOWN, {"break_id": break_id}).mappings().one_or_none()
        return None if row is None else dict(row)

    def investigation(self, break_id: int) -> dict[str, Any]:
        """Return what the investigation of a break found and says is to do; nothing where there was none."""
        statement = select(ReconBreakRow.investigation).where(ReconBreakRow.id == break_id)
        return dict(self._connection.execute(statement).scalar() or {})

    def counted(self, feed_id: int) -> dict[tuple[str, str], int]:
        """Return how many breaks there are by kind and state."""
        statement = text("SELECT kind, state, count(*) FROM stp.recon_break WHERE feed_id = :feed_id GROUP BY 1, 2")
        rows: Sequence[Any] = self._connection.execute(statement, {"feed_id": feed_id}).all()
        return {(row[0], row[1]): row[2] for row in rows}


def _after(known: KnownBreak, finding: Finding, at: datetime) -> tuple[str, BreakState]:
    """Return what the finding is to a break that is known, and the state that it leaves it in."""
    same = known.amounts == finding.amounts
    state = BreakState(known.state)
    match state:
        case BreakState.OPEN | BreakState.INVESTIGATING:
            return "same" if same else "changed", state
        case BreakState.ACCEPTED:
            over = known.accepted_until is not None and known.accepted_until <= at
            differs = (known.difference, known.difference_term) != (finding.difference, finding.difference_term)
            return ("reopened", BreakState.OPEN) if over or differs else ("same" if same else "changed", state)
        case BreakState.CLEARED | BreakState.RESOLVED:
            return "reopened", BreakState.OPEN


_FIGURES = ("ours", "theirs", "difference", "ours_term", "theirs_term", "difference_term")
_SUBJECT = ("currency", "trade_id", "order_id", "level", "level_value", "symbol", "value_date")
_KNOWN = tuple(getattr(ReconBreakRow, name) for name in KnownBreak.__struct_fields__)
