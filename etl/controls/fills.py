"""Fills: the vendor's own list of an order's trades against the book (design.md §6, A19, A20)."""

from __future__ import annotations

from datetime import date
from functools import partial

import structlog

from etl.controls.control import Concluded, Control
from etl.controls.fills_seen import Seen
from etl.controls.missing import Missing, note_missing
from etl.controls.questions import Asked, Asker, Order, Outcome, Proof, Unanswered, note_failure
from etl.domain.fills_answer import FillsAnswer, fills_in, trade_in
from etl.domain.position_answer import Unreadable
from etl.domain.reconciliation import BreakKind, Finding
from etl.domain.words import counted
from etl.store.repositories.breaks import UNFINISHED
from etl.store.unit_of_work import UnitOfWork

NOT_FOUND = 404

log = structlog.get_logger()


class FillsControl(Control):
    """Asks the orders with recent trades for their fills, newest first, so many a run; the next run goes on."""

    name = "fills"

    def run(self, order: Order) -> Outcome:
        """Ask, and write what was found. Raises FenceLostError where another instance leads the feed."""
        feed, today = self._feed, self._feed.today(self._clock)
        since = feed.recent_since(self._clock)
        with self._open_work() as work:
            run_id = self._begin(work, order, today)
            orders, of = work.fills.orders(feed.feed_id, since, feed.calls)
            ours = work.fills.live_of(feed.feed_id, since, [each for each, _ in orders])
            before = work.breaks.known(feed.feed_id, [BreakKind.MISSING_AT_VENDOR], states=UNFINISHED)
            work.commit()
        asker = Asker(feed, self._open_work, self._clock, run_id)
        seen = Seen(of, len(orders), tuple(each.key for each in before))
        for order_id, change_seq in orders:
            if seen.failure is not None or not self._may_ask(asker, seen, spare=self._spare(seen)):
                break
            outcome = self._ask_order(asker, seen, order_id, ours.get(order_id, set()))
            self._note(order_id, change_seq, outcome, run_id)
        self._ask_left_out(asker, seen)
        self._ask_control(asker, seen, since)
        drained = self._drain() if seen.missing else None  # what seems to be missing may be on its way
        ended = partial(self._conclude, run_id, seen, since, drained)
        return self._finish(run_id, self.name, asker, {}, ended)

    def _spare(self, seen: Seen) -> int:
        """Return how many calls an order leaves to what its list may lack, and to the control question after it.

        At most half of them: trades that the vendor never names must not keep orders from being asked.
        """
        return min(len(seen.wanted) + 1, self._feed.calls // 2) if seen.wanted else 0

    def _may_ask(self, asker: Asker, seen: Seen, *, spare: int = 0) -> bool:
        """Keep the spacing, and return whether the budget of the run allows one more question and leaves so many."""
        if asker.calls + spare >= self._feed.calls:
            return False
        seen.stopped = self._clock.wait(self._stop, self._feed.spacing_s if asker.calls else 0)
        return not seen.stopped

    def _ask_order(self, asker: Asker, seen: Seen, order_id: str, ours: set[str]) -> str:
        """Return what the vendor's list of one order means against ours; a 404 proves nothing (law 10)."""
        asked = asker.ask(self.name, order_id, lambda: self._vendor.fills(order_id))
        if isinstance(asked, Unanswered):
            seen.failure = asked.why
            return "failed"
        outcome = self._compared(asked, seen, order_id, ours)
        seen.outcomes[outcome] += 1
        return outcome

    def _compared(self, asked: Asked, seen: Seen, order_id: str, ours: set[str]) -> str:
        read = self._read(asked)
        if asked.reply.status != NOT_FOUND and (read is None or read.faults):
            seen.doubtful.add(order_id)
            seen.unread.append(f"order {order_id}")
        if read is None:
            seen.left_out |= dict.fromkeys(sorted(ours), order_id)
            return "unknown"
        seen.listed |= {each.trade_id for each in read.fills}
        with self._open_work() as work:
            known = work.fills.known(self._feed.feed_id, [each.trade_id for each in read.fills])
        lacking = [each for each in read.fills if each.counts and each.trade_id not in known]
        seen.missing |= {
            each.trade_id: Missing(each, f"order {order_id}", order_id, asked.citation.reply_id) for each in lacking
        }
        for each in read.fills:
            if not each.counts and each.trade_id in ours:
                seen.statuses[each.trade_id] = each, asked.citation.reply_id
        absent = ours - {each.trade_id for each in read.fills}
        seen.left_out |= dict.fromkeys(sorted(absent), order_id)
        if not read.faults:
            seen.read.add(order_id)
        if lacking or absent:
            return "missing_in_book" if lacking else "missing_at_vendor"
        return "unknown" if read.faults else "agreed"

    def _read(self, asked: Asked) -> FillsAnswer | None:
        if asked.reply.status == NOT_FOUND:
            return None
        read = fills_in(asked.reply.body)
        if isinstance(read, Unreadable) or (read.faults and not read.fills):
            log.warning("reconcile.unreadable", feed=self._feed.name, question=asked.citation.question)
            return None
        return read

    def _note(self, order_id: str, change_seq: int, outcome: str, run_id: int) -> None:
        with self._open_work() as work:
            at = self._clock.now()
            work.fills.note(
                self._feed.feed_id, order_id, at=at, change_seq=change_seq, outcome=outcome, run_id=run_id
            )  # fmt: skip
            work.commit()

    def _ask_left_out(self, asker: Asker, seen: Seen) -> None:
        """Ask by id for what a list lacks, and for what was missing at the vendor before."""
        for trade_id in seen.wanted:
            spare = 1 if seen.unknown else 0  # for the control question
            if seen.failure is not None or not self._may_ask(asker, seen, spare=spare):
                return
            self._ask_trade(asker, seen, trade_id)

    def _ask_trade(self, asker: Asker, seen: Seen, trade_id: str) -> bool:
        """Return whether the vendor told what the trade is."""
        asked = asker.ask("trade", trade_id, lambda: self._vendor.trade(trade_id))
        if isinstance(asked, Unanswered):
            seen.failure = asked.why
            return False
        if asked.reply.status == NOT_FOUND:
            seen.unknown[trade_id] = asked.citation.reply_id
            return False
        said = trade_in(asked.reply.body, trade_id)
        if isinstance(said, Unreadable):
            log.warning("reconcile.unreadable", feed=self._feed.name, question=asked.citation.question)
            seen.unread.append(f"trade {trade_id}")
            return False
        seen.listed.add(trade_id)
        if not said.counts:
            seen.statuses[trade_id] = said, asked.citation.reply_id
        return True

    def _ask_control(self, asker: Asker, seen: Seen, since: date) -> None:
        """Make sure that a 404 means something: a known trade must be answered with 200 in the same run (A20)."""
        if not seen.unknown:
            return
        with self._open_work() as work:
            known = sorted(work.fills.booked(self._feed.feed_id, seen.listed - seen.unknown.keys()))
            control = known[0] if known else work.fills.recent(self._feed.feed_id, since, list(seen.unknown))
        if control is not None:
            if seen.failure is None and self._may_ask(asker, seen) and self._ask_trade(asker, seen, control):
                return
            seen.unknown.pop(control, None)
        seen.proves_nothing |= seen.unknown.keys()
        seen.unknown.clear()

    def _conclude(
        self, run_id: int, seen: Seen, since: date, drained: Proof | None, work: UnitOfWork
    ) -> Concluded:  # fmt: skip
        """Write gaps and breaks."""
        feed, changed = self._feed, list[int]()
        if drained is not None:
            changed = note_missing(work, feed, seen.missing, at=self._clock.now(), run_id=run_id, since=since)
        else:
            work.fills.ask_again(feed.feed_id, [each.order_id for each in seen.missing.values() if each.order_id])
        changed += self._missing_at_vendor(work, seen, run_id)
        changed += self._statuses(work, seen, run_id)
        if seen.failure is not None:
            changed.append(note_failure(work, feed, self.name, seen.failure, run_id=run_id, clock=self._clock))
        elif seen.unread or seen.compared or not seen.known_orders:
            changed += self._note_faults(work, run_id, self.name, seen.unread, what="answers")
        breaks = len(seen.unknown) + len(seen.statuses)
        result, detail = self._result(seen, breaks, drained)
        outcome = Outcome(
            run_id, self.name, self.name, result, compared=seen.compared, agreed=seen.outcomes["agreed"],
            breaks=breaks, detail=detail, changed=tuple(changed),
        )  # fmt: skip
        basis = {"orders_asked": seen.asked, "orders": seen.known_orders, "since": since.isoformat()}
        return Concluded(outcome, self._clock.now(), basis, seen.counts())

    def _result(self, seen: Seen, breaks: int, drained: Proof | None) -> tuple[str, str]:
        """Return how the run ended, and in words what it could not prove; it agreed only where it proved that."""
        unproven = seen.unproven()
        told = "; ".join(each for each in (unproven, seen.scope()) if each)
        if seen.failure is not None:
            return "query_failed", seen.failure
        if breaks:
            return "breaks", told
        if seen.missing and drained is None:
            missing = counted(len(seen.missing), "missing trade")
            words = f"the queue could not be proven empty, so {missing} opened no gap yet"
            return "not_drained", "; ".join([f"{words}; their orders are asked again, see stp-etl status", told])
        if seen.missing:
            return "gap", told
        return "unconfirmed" if unproven else "agreed", told

    def _missing_at_vendor(self, work: UnitOfWork, seen: Seen, run_id: int) -> list[int]:
        feed, at, changed = self._feed, self._clock.now(), list[int]()
        for trade_id, reply_id in seen.unknown.items():
            order_id = seen.left_out.get(trade_id)
            words = "in the book, and the vendor does not know it: neither among its order's fills nor by its id"
            finding = Finding(BreakKind.MISSING_AT_VENDOR, trade_id, words, trade_id=trade_id, order_id=order_id)
            noted = work.breaks.found(feed.feed_id, finding, at=at, run_id=run_id, reply_id=reply_id)
            changed += [noted.id] if noted.change != "same" else []
        for known in work.breaks.known(
            feed.feed_id, [BreakKind.MISSING_AT_VENDOR, BreakKind.MISSING_IN_BOOK], states=UNFINISHED
        ):
            at_vendor = known.kind == BreakKind.MISSING_AT_VENDOR and known.key in seen.listed
            booked = known.kind == BreakKind.MISSING_IN_BOOK and work.fills.booked(feed.feed_id, [known.key])
            if at_vendor or booked:
                proof = "the vendor names it" if at_vendor else "it is booked"
                work.breaks.clear(known, at=at, proof=proof, figures={}, run_id=run_id)
        return changed

    def _statuses(self, work: UnitOfWork, seen: Seen, run_id: int) -> list[int]:
        """Open the `status` break of a trade that counts in the book and stands no more at the vendor."""
        feed, at, changed = self._feed, self._clock.now(), list[int]()
        for trade_id, (said, reply_id) in seen.statuses.items():
            finding = Finding(
                BreakKind.STATUS, trade_id, f"the vendor says {said.status}", trade_id=trade_id,
                order_id=seen.left_out.get(trade_id), figures={"status": said.status},
            )  # fmt: skip
            noted = work.breaks.found(feed.feed_id, finding, at=at, run_id=run_id, reply_id=reply_id)
            changed += [noted.id] if noted.change != "same" else []
        return changed
