"""Asks the vendor and keeps each answer as it came; a failed question is not an answer (law 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
import structlog

from etl.clock import Clock
from etl.domain.ageing import business_day
from etl.domain.calendar import business_days_before, trade_day, weekday_from
from etl.domain.reconciliation import BreakKind, Finding, Rules
from etl.errors import TransientError, VendorRefusedError
from etl.store.repositories.breaks import UNFINISHED
from etl.store.repositories.reconciling import Citation, Reply
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import VendorReply

FOUND, NO_CONTENT = 200, 204

log = structlog.get_logger()


class ReconciledFeed(msgspec.Struct, frozen=True):
    """What reconciliation must know of a feed. `orgs` are ours; `settings` is kept with each run."""

    feed_id: int
    name: str
    orgs: tuple[str, ...]
    level: str = "ORG"
    rules: Rules = Rules()
    settings: Mapping[str, Any] = {}
    confirm_after_s: float = 10.0
    most_looks: int = 5
    longest_s: float = 600.0
    ends: time = time(17)
    zone: ZoneInfo = ZoneInfo("America/New_York")
    near_cut: timedelta = timedelta(minutes=10)
    calls: int = 200
    spacing_s: float = 0.05
    history_days: int = 2
    login_org: str = ""
    account_orgs: tuple[str, ...] | None = None  # whose legs move the account of the login; None: all that are ours
    balance_assets: tuple[str, ...] = ()
    settled_at_execution: tuple[str, ...] = ()
    broker_balances: bool = False

    def today(self, clock: Clock) -> date:
        """Return the present business day; from Friday's end to Sunday's it is Monday.

        So value dates of that Monday are not compared meanwhile: whether the vendor's trade day has turned to it is
        market custom, and not stated (integral-api.md §12).
        """
        return weekday_from(business_day(clock.now(), self.ends, self.zone))

    def recent_since(self, clock: Clock) -> date:
        """Return the first trade date that is looked back at: `history_days` business days ago."""
        return trade_day(business_days_before(clock.now(), self.history_days))


class Proof(msgspec.Struct, frozen=True):
    """A drain that began when it was asked for, ended proven-empty and is booked."""

    poll_id: int
    opened_at: str


class Drain(Protocol):
    """Empties the queue to its proven end and books all of it; None where that could not be had in time."""

    def __call__(self) -> Proof | None: ...


class Asked(msgspec.Struct, frozen=True):
    """An answer that arrived whole: status 2xx, or 404, which alone proves nothing."""

    reply: VendorReply
    citation: Citation


class Unanswered(msgspec.Struct, frozen=True):
    """A question without an answer, and why."""

    why: str


class Order(msgspec.Struct, frozen=True):
    """Who wants a run, and why; `cause` is interval, daily, healed or operator."""

    cause: str = "interval"
    by: str = "stp-etl"
    reason: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `changed` are breaks that were opened, opened again or got other figures."""

    run_id: int
    control: str
    subject: str
    result: str
    compared: int = 0
    agreed: int = 0
    breaks: int = 0
    detail: str = ""
    changed: tuple[int, ...] = ()


class Asker:
    """Puts questions to the vendor for one run, and cites what was answered."""

    def __init__(self, feed: ReconciledFeed, open_work: OpenWork, clock: Clock, run_id: int | None) -> None:
        self.feed, self.open_work, self.clock, self._run_id = feed, open_work, clock, run_id
        self.cited: list[Citation] = []
        self.calls = 0

    def ask(self, subject: str, question: str, call: Callable[[], VendorReply]) -> Asked | Unanswered:
        """Ask once; keep the bytes of the answer, whatever they say."""
        asked_at = self.clock.now()
        self.calls += 1
        try:
            reply = call()
        except (TransientError, VendorRefusedError) as error:
            log.warning(
                "reconcile.question_failed", feed=self.feed.name, question=f"{subject} {question}", error=str(error)
            )
            return Unanswered(str(error))
        kept = Reply(
            subject, question, asked_at, self.clock.now(), reply.request_id, reply.status, reply.body, reply.headers,
            reply.vendor_date,
        )  # fmt: skip
        with self.open_work() as work:
            citation = work.reconciling.keep(self.feed.feed_id, self._run_id, kept)
            work.commit()
        self.cited.append(citation)
        return Asked(reply, citation)


def body_of(asked: Asked, what: str) -> bytes | None | Unanswered:
    """Return the bytes of an answer, None for one that says there is nothing (204); a 404 proves nothing (law 10)."""
    if asked.reply.status == NO_CONTENT:
        return None
    if asked.reply.status != FOUND:
        return Unanswered(f"the vendor answered {asked.reply.status} about {what}, which proves nothing")
    return asked.reply.body


def note_failure(work: UnitOfWork, feed: ReconciledFeed, key: str, why: str, *, run_id: int, clock: Clock) -> int:
    """Open the break of a question without an answer, or see it again; return its number."""
    finding = Finding(BreakKind.QUERY_FAILED, key, why)
    return work.breaks.found(feed.feed_id, finding, at=clock.now(), run_id=run_id).id


def note_answer(work: UnitOfWork, feed: ReconciledFeed, key: str, *, run_id: int, clock: Clock) -> None:
    """Clear the break of a question that has its answer now."""
    for known in work.breaks.known(feed.feed_id, [BreakKind.QUERY_FAILED], states=UNFINISHED, keys=[key]):
        work.breaks.clear(known, at=clock.now(), proof="the same question was answered", figures={}, run_id=run_id)
