"""Widens a gap whose days came again while the difference stays: to 7 days by itself, to 31 with approval."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog

from etl.domain.gaps import WIDTHS, GapState, wider
from etl.domain.window import Window
from etl.domain.words import counted
from etl.errors import OperatorError
from etl.store.repositories.attention import Deed
from etl.store.repositories.gap_words import Gap
from etl.store.unit_of_work import UnitOfWork

log = structlog.get_logger()


class Widened(StrEnum):
    """What became of the wish for a wider window."""

    ASKING = "asking"  # the days are asked for
    UNDER_WAY = "under_way"  # what was asked for before is not over yet
    WAITS = "waits_for_approval"
    EXHAUSTED = "exhausted"  # resends do not settle it: the widest came again too, or it is closed or escalated


def widen(work: UnitOfWork, gap_id: int, evidence: Mapping[str, Any], *, at: datetime) -> Widened:
    """Let a healed gap ask for the next wider window, because a reconciliation still shows the difference.

    `evidence` is kept with the gap, as words for a person. To be called in the caller's transaction, by the leader of
    the feed; asked again before the days have come, it changes nothing. Raises KeyError where there is no such gap.
    """
    gap = _held(work, gap_id)
    if gap.state == GapState.ESCALATED:
        return Widened.WAITS if gap.wanted_from is not None else Widened.EXHAUSTED
    window = wider(gap.window)
    if gap.state == GapState.CLOSED or (window is None and gap.state == GapState.HEALED):
        return Widened.EXHAUSTED
    if window is None or gap.state != GapState.HEALED:
        return Widened.UNDER_WAY
    told = {"at": at.isoformat(), **evidence}
    if window.days < WIDTHS[-1]:
        work.gaps.widen(gap, window, at=at, evidence=told)
        log.warning("gap.widened", gap_id=gap.id, from_date=window.start.isoformat(), days=window.days)
        return Widened.ASKING
    work.gaps.widen(gap, gap.window, at=at, evidence=told)
    why = (
        f"{counted(gap.window.days, 'day')} came again and the difference stays; {window.days} days, from "
        f"{window.start} on, wait for approval: stp-etl gaps approve {gap.id} --reason TEXT"
    )
    work.gaps.change(gap.id, state=GapState.ESCALATED, why=why, wanted_from=window.start)
    log.error("gap.escalated", gap_id=gap.id, why=why)
    return Widened.WAITS


def approve(work: UnitOfWork, gap_id: int, *, feed: str, operator: str, reason: str, at: datetime) -> Window:
    """Let the gap ask for the window that waits for approval, on the record; return the window.

    Raises OperatorError where nothing waits, KeyError where there is no such gap.
    """
    gap = _held(work, gap_id)
    if gap.wanted_from is None or gap.state != GapState.ESCALATED:
        raise OperatorError(f"gap {gap_id} is {gap.state}; it waits for no approval")
    window = Window.of(gap.wanted_from, gap.to_date)
    work.gaps.widen(gap, window, at=at, evidence={"at": at.isoformat(), "approved by": operator, "reason": reason})
    details = {"from": window.start.isoformat(), "to": window.last.isoformat()}
    work.attention.record(Deed(at, operator, "gaps approve", reason, feed, f"gap {gap_id}", details))
    return window


def _held(work: UnitOfWork, gap_id: int) -> Gap:
    """Return the gap and let nobody else change it until the transaction ends."""
    work.gaps.lock(work.gaps.find(gap_id).feed_id)
    gap = work.gaps.find(gap_id)
    while not work.gaps.hold(gap):
        gap = work.gaps.find(gap_id)
    return gap
