"""A trade that the vendor names and we lack: its day is asked again, and a break comes where that brought nothing."""

from __future__ import annotations

from datetime import date, datetime

import msgspec
import structlog

from etl.controls.questions import ReconciledFeed
from etl.domain.ageing import business_day
from etl.domain.calendar import trade_day
from etl.domain.fills_answer import Fill
from etl.domain.gaps import GapCause, GapState
from etl.domain.reconciliation import BreakKind, Finding
from etl.domain.window import Window
from etl.store.unit_of_work import UnitOfWork

OVER = (GapState.HEALED, GapState.ESCALATED, GapState.CLOSED)

log = structlog.get_logger()


class Missing(msgspec.Struct, frozen=True):
    """A trade that the vendor names and we do not know; `named_by` says in which answer."""

    fill: Fill
    named_by: str
    order_id: str | None
    reply_id: int
    cause: GapCause = GapCause.FILLS


def note_missing(
    work: UnitOfWork, feed: ReconciledFeed, missing: dict[str, Missing], *, at: datetime, run_id: int | None,
    since: date,
) -> list[int]:  # fmt: skip
    """Open a gap for what is still missing; a break where a gap brought nothing. Take out what came meanwhile.

    Returns the breaks that are new or changed.
    """
    changed = list[int]()
    known = work.fills.known(feed.feed_id, list(missing))
    for each in list(missing.values()):
        trade_id = each.fill.trade_id
        if trade_id in known:
            del missing[trade_id]
            continue
        state = work.fills.gap_asked_for(feed.feed_id, trade_id)
        if state is None:
            open_gap(work, feed, each, at=at, since=since)
        elif state in OVER:
            words = f"{each.named_by} lists it, and asking its day again did not bring it"
            finding = Finding(
                BreakKind.MISSING_IN_BOOK, trade_id, words, trade_id=trade_id, order_id=each.order_id
            )  # fmt: skip
            noted = work.breaks.found(feed.feed_id, finding, at=at, run_id=run_id, reply_id=each.reply_id)
            changed += [noted.id] if noted.change != "same" else []
    return changed


def open_gap(work: UnitOfWork, feed: ReconciledFeed, missing: Missing, *, at: datetime, since: date) -> int:
    """Have the day of the trade asked for again, or all days since that one where it does not say; return the gap."""
    day, last = missing.fill.trade_date, max(trade_day(at), business_day(at, feed.ends, feed.zone))
    window = Window.of(day, day) if day is not None else Window.of(since, last)
    evidence = {
        "at": at.isoformat(), "order_id": missing.order_id, "trade_ids": [missing.fill.trade_id],
        "reply_id": missing.reply_id,
    }  # fmt: skip
    work.gaps.lock(feed.feed_id)
    gap_id = work.gaps.open(feed.feed_id, missing.cause, window, at=at, not_before=at, evidence=evidence)
    log.warning(
        "gap.opened", feed=feed.name, gap_id=gap_id, cause=missing.cause, order_id=missing.order_id,
        trade_id=missing.fill.trade_id, from_date=window.start.isoformat(), to_date=window.last.isoformat(),
    )  # fmt: skip
    return gap_id
