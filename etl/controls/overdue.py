"""What is overdue by calendar or clock, without a question to the vendor: fixings, a silent feed, accepted breaks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from etl.clock import Clock
from etl.controls.questions import ReconciledFeed
from etl.domain.reconciliation import BreakKind, BreakState, Finding, currencies
from etl.store.repositories.breaks import UNFINISHED
from etl.store.unit_of_work import OpenWork, UnitOfWork


class OverdueControl:
    """Opens and clears `fixing_overdue` and `stale_feed` breaks of one feed; ends what a person accepted for a time."""

    def __init__(self, feed: ReconciledFeed, open_work: OpenWork, clock: Clock, *, stale_after_s: float) -> None:
        self._feed, self._open_work, self._clock, self._stale_after_s = feed, open_work, clock, stale_after_s

    def look(self) -> list[int]:
        """Return the breaks that are new or changed."""
        with self._open_work() as work:
            work.breaks.lock(self._feed.feed_id)
            over = "no such leg waits any more: its value date has come, or its trade stands no more"
            changed = self._settle(work, BreakKind.FIXING_OVERDUE, self._fixings(work), over)
            if work.feeds.paused_reason(self._feed.feed_id) is None:  # a pause proves nothing, and is told elsewhere
                proof = "the queue was proven empty again"
                changed += self._settle(work, BreakKind.STALE_FEED, self._silence(work), proof)
            changed += work.breaks.reopen_overdue(self._feed.feed_id, self._clock.now())
            work.commit()
        return changed

    def _fixings(self, work: UnitOfWork) -> Iterable[Finding]:
        """Yield the NDF legs past their fixing and not yet at their value date: their rate has to be agreed."""
        for symbol, day, legs, base, trade_id in work.reconciling.past_fixing(
            self._feed.feed_id, self._feed.today(self._clock)
        ):
            words = f"{legs} NDF legs of {symbol} were to be fixed on {day}; agree the rate, then resolve this"
            yield Finding(
                BreakKind.FIXING_OVERDUE, f"{symbol} {day}", words, ours=base, currency=currencies(symbol)[0],
                symbol=symbol, value_date=None, figures={"legs": legs, "fixing_date": day.isoformat(), "of": trade_id},
            )  # fmt: skip

    def _silence(self, work: UnitOfWork) -> Iterable[Finding]:
        last = work.polls.last_empty_at(self._feed.feed_id)
        if last is not None and self._clock.now() - last > timedelta(seconds=self._stale_after_s):
            words = f"the queue was last proven empty at {last:%Y-%m-%d %H:%M:%SZ}; see: stp-etl status"
            yield Finding(BreakKind.STALE_FEED, self._feed.name, words)

    def _settle(self, work: UnitOfWork, kind: BreakKind, findings: Iterable[Finding], proof: str) -> list[int]:
        """Write what is found, clear what is gone; a fixing that a person resolved stays so with the same figures."""
        at, changed, names = self._clock.now(), list[int](), set[str]()
        resolved = work.breaks.known(self._feed.feed_id, [kind], states=[BreakState.RESOLVED])
        done = {each.key: each.amounts for each in resolved}
        for each in findings:
            names.add(each.key)
            if kind is BreakKind.FIXING_OVERDUE and done.get(each.key) == each.amounts:
                continue
            noted = work.breaks.found(self._feed.feed_id, each, at=at, run_id=None)
            changed += [noted.id] if noted.change != "same" else []
        for known in work.breaks.known(self._feed.feed_id, [kind], states=UNFINISHED):
            if known.key not in names:
                work.breaks.clear(known, at=at, proof=proof, figures={})
        return changed
