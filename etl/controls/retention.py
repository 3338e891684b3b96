"""Retention: months of answers and messages, polls and audit that may go, and why others must stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import groupby

import msgspec

from etl.clock import Clock
from etl.domain.words import counted
from etl.store.repositories.attention import Deed
from etl.store.repositories.retention import Month
from etl.store.unit_of_work import OpenWork, UnitOfWork


class Action(StrEnum):
    """What retention does with a piece."""

    KEEP = "keep"  # old enough, and still needed
    DETACH = "detach"
    WAIT = "wait"  # detached, and not long enough
    DROP = "drop"
    DELETE = "delete"

    @property
    def lets_go(self) -> bool:
        """Whether something goes by it."""
        return self in (Action.DETACH, Action.DROP, Action.DELETE)


class Piece(msgspec.Struct, frozen=True):
    """One thing that is old enough: a month's table, or the old rows of a table."""

    what: str
    action: Action
    rows: int
    why: str
    month: Month | None = None
    before: datetime | None = None


class Kept(msgspec.Struct, frozen=True):
    """How long things are kept, in whole months, 0 for ever; and how many days a detached month waits to be dropped."""

    answers_months: int
    polls_months: int
    audit_months: int
    detached_days: int


class Retention:
    """Finds what may go, and lets it go, a piece a transaction."""

    def __init__(self, kept: Kept, open_work: OpenWork, clock: Clock) -> None:
        self._kept = kept
        self._open_work = open_work
        self._clock = clock

    def plan(self) -> list[Piece]:
        """Return everything that is old enough, with what will be done and why. Changes nothing."""
        at = self._clock.now()
        with self._open_work() as work:
            return [*self._months(work, at), *self._rows(work, at)]

    def _months(self, work: UnitOfWork, at: datetime) -> Iterator[Piece]:
        months = work.retention.months()
        for first_day, tables in groupby(months, key=lambda month: month.first_day):
            attached = []
            for month in tables:
                if month.detached:
                    yield self._detached(month, at)
                else:
                    attached.append(month)
            if attached and self._kept.answers_months and first_day < cut(at, self._kept.answers_months):
                reasons = work.retention.why_needed(first_day, next_month(first_day))
                action = Action.KEEP if reasons else Action.DETACH
                why = (
                    "; ".join(reasons)
                    or f"older than {counted(self._kept.answers_months, 'month')}, and nothing open needs it"
                )
                yield from (Piece(month.name, action, month.about_rows, why, month) for month in attached)

    def _detached(self, month: Month, at: datetime) -> Piece:
        since = detached_on(month)
        if since is None:
            return Piece(month.name, Action.KEEP, month.about_rows, "detached by somebody else", month)
        due = since + timedelta(days=self._kept.detached_days)
        action = Action.DROP if at.date() >= due else Action.WAIT
        return Piece(month.name, action, month.about_rows, f"detached on {since}, to be dropped from {due} on", month)

    def _rows(self, work: UnitOfWork, at: datetime) -> Iterator[Piece]:
        if self._kept.polls_months:
            before = midnight(cut(at, self._kept.polls_months))
            why = f"older than {counted(self._kept.polls_months, 'month')}; their answers are gone and their gaps over"
            yield Piece("poll", Action.DELETE, work.retention.old_polls(before), why, before=before)
        if self._kept.audit_months:
            before = midnight(cut(at, self._kept.audit_months))
            why = f"older than {counted(self._kept.audit_months, 'month')}"
            yield Piece("audit", Action.DELETE, work.retention.old_deeds(before), why, before=before)

    def carry_out(self, piece: Piece, *, operator: str, reason: str) -> int:
        """Do what the piece says, recorded in the audit in the same transaction; return how many rows went.

        A month is looked at again first: it stays if something needs it by now. Raises what the store raises.
        """
        at = self._clock.now()
        with self._open_work() as work:
            gone = self._go(work, piece, at)
            if gone is None:
                return 0
            details = {"what": piece.what, "action": piece.action.value, "rows": gone, "why": piece.why}
            work.attention.record(Deed(at, operator, "db retain", reason, None, piece.what, details))
            work.commit()
        return gone

    def _go(self, work: UnitOfWork, piece: Piece, at: datetime) -> int | None:
        """Return how many rows went, about as many as the server estimates for a month; None where nothing is done."""
        if piece.month is not None and piece.action is Action.DETACH:
            first_day = piece.month.first_day
            if work.retention.why_needed(first_day, next_month(first_day)):
                return None
            work.retention.detach(piece.month, at)
            return piece.rows
        if piece.month is not None and piece.action is Action.DROP:
            work.retention.drop(piece.month)
            return piece.rows
        if piece.before is not None and piece.rows:
            delete = {"poll": work.retention.delete_old_polls, "audit": work.retention.delete_old_deeds}[piece.what]
            return delete(piece.before)
        return None


def cut(at: datetime, months: int) -> date:
    """Return the first day that is kept: the first of the month that lies `months` whole months before this one."""
    number = at.year * 12 + at.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def next_month(first_day: date) -> date:
    """Return the first day of the month after."""
    return (first_day + timedelta(days=31)).replace(day=1)


def midnight(day: date) -> datetime:
    """Return the instant at which the day begins in UTC, by which months are cut."""
    return datetime.combine(day, time(), UTC)


def detached_on(month: Month) -> date | None:
    """Return when we detached the month, as its comment says; None where we did not."""
    word, _, day = (month.comment or "").partition(" ")
    return date.fromisoformat(day) if word == "detached" else None
