"""What the controls of one feed share: what they work with, and how each of their runs begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from threading import Event
from typing import Any, ClassVar

import msgspec
import structlog

from etl.clock import Clock
from etl.controls.looks import NotDrained
from etl.controls.questions import (
    Asker,
    Drain,
    Order,
    Outcome,
    ReconciledFeed,
    Unanswered,
    note_answer,
    note_failure,
)
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import VendorQuestions

FAULTS_SAID = 5
FAILED = ("not_drained", "query_failed")

log = structlog.get_logger()


class Concluded(msgspec.Struct, frozen=True):
    """What came of a comparison: `as_of`, the instant of its figures; what they rest on; how they were read."""

    outcome: Outcome
    as_of: datetime | None = None
    basis: Mapping[str, Any] = {}
    counts: Mapping[str, Any] = {}


Conclude = Callable[[UnitOfWork], Concluded]
"""Writes what the looks of a run have confirmed."""


class Control:
    """One control of one feed. One run at a time."""

    name: ClassVar[str]

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock, drain: Drain,
        epoch: Callable[[], int], stop: Event,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work = feed, vendor, open_work
        self._clock, self._drain, self._epoch, self._stop = clock, drain, epoch, stop

    def _begin(self, work: UnitOfWork, order: Order, today: date, **rules: Any) -> int:
        """Write down that a run begins, by which rules; return its number. Raises FenceLostError."""
        work.feeds.hold_fence(self._feed.feed_id, self._epoch())
        return work.reconciling.begin(
            self._feed.feed_id, self.name, at=self._clock.now(), cause=order.cause, by=order.by, reason=order.reason,
            trade_day=today, rules={**self._feed.settings, **rules},
        )  # fmt: skip

    def _finish(
        self, run_id: int, subject: str, asker: Asker, basis: Mapping[str, Any],
        ended: Conclude | NotDrained | Unanswered,
    ) -> Outcome:  # fmt: skip
        """Write what was found and how the run ended in one commit."""
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._epoch())
            work.breaks.lock(self._feed.feed_id)
            if isinstance(ended, NotDrained):
                done = Concluded(Outcome(run_id, self.name, subject, "not_drained", detail=ended.why))
            elif isinstance(ended, Unanswered):
                number = note_failure(work, self._feed, subject, ended.why, run_id=run_id, clock=self._clock)
                done = Concluded(
                    Outcome(run_id, self.name, subject, "query_failed", detail=ended.why, changed=(number,))
                )
            else:
                done = ended(work)
            outcome = done.outcome
            work.reconciling.end(
                run_id, state="failed" if outcome.result in FAILED else "done", result=outcome.result,
                as_of=done.as_of, ended_at=self._clock.now(), compared=outcome.compared, agreed=outcome.agreed,
                breaks=outcome.breaks, basis={**basis, **done.basis, "calls": asker.calls}, counts=dict(done.counts),
                cited=work.reconciling.cited(asker.cited), detail=outcome.detail,
            )  # fmt: skip
            work.commit()
        log.info(
            "reconcile.ended", feed=self._feed.name, control=self.name, subject=subject, result=outcome.result,
            run=run_id, compared=outcome.compared, breaks=outcome.breaks,
        )  # fmt: skip
        return outcome

    def _note_faults(
        self, work: UnitOfWork, run_id: int, subject: str, faults: Sequence[str], *, what: str
    ) -> list[int]:  # fmt: skip
        """Open the break of an answer that cannot be relied on whole, or clear it; return what is new or changed."""
        if not faults:
            note_answer(work, self._feed, subject, run_id=run_id, clock=self._clock)
            return []
        why = f"{len(faults)} {what} cannot be relied on: {'; '.join(faults[:FAULTS_SAID])}"
        return [note_failure(work, self._feed, subject, why, run_id=run_id, clock=self._clock)]
