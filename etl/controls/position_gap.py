"""Has days asked for again because a position differs, and nothing else explains it (design.md §4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import structlog

from etl.controls.questions import ReconciledFeed
from etl.controls.widening import Widened, widen
from etl.domain.ageing import business_day
from etl.domain.calendar import trade_day
from etl.domain.gaps import WIDTHS, GapCause
from etl.domain.sweeps import SWEEPS
from etl.domain.window import Window
from etl.store.repositories.investigating import ConfirmedBreak
from etl.store.unit_of_work import UnitOfWork

AGAIN = "compared again once it has healed"

log = structlog.get_logger()


class Asking(msgspec.Struct, frozen=True):
    """Whether days are still being asked for, by which gap, and what there is to say of it."""

    under_way: bool
    why: str
    gap_id: int | None


def lossy_gaps(work: UnitOfWork, feed: ReconciledFeed) -> list[int]:
    """Return the gaps that may still bring what the book lacks."""
    return sorted(gap.id for gap in work.gaps.unfinished(feed.feed_id) if gap.cause not in SWEEPS)


def other_losses(work: UnitOfWork, feed: ReconciledFeed, own: int | None, *, at: datetime) -> list[str]:
    """Return the other gaps, and the polls in doubt without one, that may still bring what the book lacks.

    While there are any, a trade that is lost explains a difference better than one that we hold.
    """
    doubts = work.certificates.doubts(feed.feed_id, at - timedelta(days=feed.history_days))
    gaps = [f"gap {gap_id}" for gap_id in lossy_gaps(work, feed) if gap_id != own]
    return [*gaps, *(f"poll {poll_id}" for poll_id in doubts)]


def ask_days(work: UnitOfWork, feed: ReconciledFeed, found: ConfirmedBreak, *, at: datetime) -> Asking:
    """Open the gap of a break, or widen it where its days came again and the difference stays.

    Other gaps that are being healed are waited for first: they may bring what the book lacks.
    """
    others = [gap_id for gap_id in lossy_gaps(work, feed) if gap_id != found.gap_id]
    if found.gap_id is None:
        if others:
            return Asking(True, f"gap {others[0]} is being healed, and may bring what is missing; {AGAIN}", None)
        gap_id, window = _opened(work, feed, found, at)
        return Asking(True, f"the trade dates {words(window)} are asked for again by gap {gap_id}; {AGAIN}", gap_id)
    evidence = {"break_id": found.id, "difference": f"{found.difference:f}", "key": found.key}
    match widen(work, found.gap_id, evidence, at=at):
        case Widened.ASKING | Widened.UNDER_WAY:
            window = work.gaps.find(found.gap_id).window
            why = f"the trade dates {words(window)} are asked for again by gap {found.gap_id}; {AGAIN}"
            return Asking(True, why, found.gap_id)
        case Widened.WAITS:
            why = f"or let more days be asked for: stp-etl gaps approve {found.gap_id} --reason TEXT"
            return Asking(False, why, found.gap_id)
        case Widened.EXHAUSTED:
            return Asking(False, f"asking days again did not settle it: stp-etl gaps show {found.gap_id}", found.gap_id)


def _opened(work: UnitOfWork, feed: ReconciledFeed, found: ConfirmedBreak, at: datetime) -> tuple[int, Window]:
    """Open the gap over the days since these positions agreed last, a week of them at the most."""
    last = max(trade_day(at), business_day(at, feed.ends, feed.zone))
    agreed = work.investigating.last_agreed(feed.feed_id, found.level, found.level_value) or last
    first = min(last, max(agreed, last - timedelta(days=WIDTHS[0] - 1)))
    window = Window.of(first, last)
    evidence = {
        "at": at.isoformat(), "break_id": found.id, "key": found.key, "difference": f"{found.difference:f}"
    }  # fmt: skip
    work.gaps.lock(feed.feed_id)
    gap_id = work.gaps.open(feed.feed_id, GapCause.POSITION, window, at=at, not_before=at, evidence=evidence)
    log.warning(
        "gap.opened", feed=feed.name, gap_id=gap_id, cause="position", break_id=found.id,
        from_date=window.start.isoformat(), to_date=window.last.isoformat(),
    )  # fmt: skip
    return gap_id, window


def words(window: Window) -> str:
    """Return the window as part of a sentence."""
    return f"{window.start}" if window.days == 1 else f"{window.start} to {window.last}"
