"""From a poll in doubt to the gap that covers it; in the commit that marks the poll (law 2)."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import structlog

from etl.domain.calendar import DATED_AHEAD
from etl.domain.evidence import why_ghost
from etl.domain.gaps import GapCause, GapState, window_of
from etl.store.unit_of_work import UnitOfWork

REMEMBER_LATENESS = timedelta(days=90)
REMEMBER_POISON = timedelta(days=7)

log = structlog.get_logger()


class Doubted(msgspec.Struct, frozen=True):
    """A poll that ended in doubt, and the bytes that nobody could read, if messages may be in them."""

    poll_id: int
    request_id: str
    cause: str
    unreadable: bytes | None = None


def say_in_doubt(feed: str, doubted: Doubted, *, doubt_from: date, detail: str | None = None) -> None:
    """Log that a poll is in doubt, with all that leads to it: at the vendor, in the ledger, to its gap."""
    more = {} if detail is None else {"detail": detail}
    log.error(
        "poll.in_doubt", feed=feed, poll_id=doubted.poll_id, request_id=doubted.request_id, cause=doubted.cause,
        doubt_from=doubt_from.isoformat(), **more,
    )  # fmt: skip


def open_gap(work: UnitOfWork, feed_id: int, doubted: Doubted, *, at: datetime, ghost_s: float) -> int:
    """Open the gap over everything that the answer may have carried, or widen the one that waits; return its number.

    The same unreadable bytes a second time: a resend brings them again, so the gap waits for a person.
    """
    work.gaps.lock(feed_id)
    doubt = work.gaps.doubt(feed_id, doubted.poll_id, at)
    lateness = work.measures.lateness_days(feed_id, (at - REMEMBER_LATENESS).date())
    window = window_of(msgspec.structs.replace(doubt, lateness_days=lateness))
    evidence: dict[str, Any] = {
        "at": at.isoformat(), "poll_id": doubted.poll_id, "request_id": doubted.request_id, "cause": doubted.cause,
        "max_count": doubt.max_count, "doubt_from": doubt.doubt_from.isoformat(), "lateness_days": lateness,
        "oldest_landed": doubt.oldest_landed and doubt.oldest_landed.isoformat(),
        "today": (window.last - DATED_AHEAD).isoformat(), "from": window.start.isoformat(),
        "to": window.last.isoformat(),
    }  # fmt: skip
    poison = False
    if doubted.unreadable is not None:
        evidence["unreadable"] = sha256 = hashlib.sha256(doubted.unreadable).hexdigest()
        poison = work.measures.seen_unreadable(feed_id, sha256, at - REMEMBER_POISON)
    until = at + timedelta(seconds=ghost_s)
    gap_id = work.gaps.open(
        feed_id, GapCause.IN_DOUBT, window, at=at, not_before=until, evidence=evidence,
        why=why_ghost(doubted.request_id, until),
    )  # fmt: skip
    work.gaps.cover(doubted.poll_id, gap_id)
    if poison:
        why = "the vendor sent the same unreadable bytes again; another resend would bring them once more"
        resend = work.gaps.in_flight(feed_id)
        for each in {gap_id} if resend is None else {gap_id, resend.gap_id}:
            work.gaps.change(each, state=GapState.ESCALATED, why=why)
            work.gaps.drop_resends(each, at, why)
            log.error("gap.escalated", gap_id=each, why=why)
    log.warning(
        "gap.opened", gap_id=gap_id, poll_id=doubted.poll_id, cause=doubted.cause,
        from_date=window.start.isoformat(), to_date=window.last.isoformat(),
    )  # fmt: skip
    return gap_id
