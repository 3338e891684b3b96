"""Balances: what each account should hold against the vendor's figure, confirmed by a second look (design.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from threading import Event
from typing import Any

import msgspec
import structlog

from etl.clock import Clock
from etl.controls.balance_confirming import BalanceConfirmer, Run, Seen, key_of, known_of
from etl.controls.balance_judge import BalanceScope
from etl.controls.balance_looks import BalanceLook, BalanceLooker
from etl.controls.confirming import near_cut
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
from etl.domain.balance import (
    BalanceKey,
    balance_findings,
    settlement_day,
)
from etl.domain.reconciliation import Rules
from etl.store.repositories.balances import ACCOUNT, BROKER, Counting, Shown
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import VendorQuestions

FAULTS_SAID = 5
SUBJECT = "balances"

log = structlog.get_logger()


class BalanceControl:
    """Compares the balances of one feed with the vendor's. One run at a time a feed."""

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock, drain: Drain,
        epoch: Callable[[], int], stop: Event,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work = feed, vendor, open_work
        self._clock, self._drain, self._epoch, self._stop = clock, drain, epoch, stop

    @property
    def levels(self) -> list[str]:
        """Return which balances are asked: the account's, and the broker's where the settings say so; none without
        `balance_assets`."""
        if not self._feed.balance_assets:
            return []
        return [ACCOUNT, BROKER] if self._feed.broker_balances else [ACCOUNT]

    def run(self, level: str, *, rules: Rules, order: Order, opening: bool = False) -> Outcome:
        """Compare one level; with `opening` take the vendor's figures as where we start from.

        Raises FenceLostError where another instance leads the feed.
        """
        feed, value = self._feed, self._feed.login_org
        today = feed.today(self._clock)
        orgs = feed.orgs if level == BROKER else feed.account_orgs
        counting = Counting(
            feed.feed_id, level, feed.balance_assets, feed.settled_at_execution, settlement_day(today), orgs
        )
        told = {"assets": list(feed.balance_assets), "settled_at_execution": list(feed.settled_at_execution)}
        with self._open_work() as work:
            work.feeds.hold_fence(feed.feed_id, self._epoch())
            run_id = work.reconciling.begin(
                feed.feed_id, SUBJECT, at=self._clock.now(), cause=order.cause, by=order.by, reason=order.reason,
                trade_day=today, rules={**feed.settings, **told, "level": level, "value": value},
            )  # fmt: skip
            opened = {} if opening else work.balances.openings(feed.feed_id, level, value)
            work.commit()
        asker = Asker(feed, self._open_work, self._clock, run_id)
        looker = BalanceLooker(
            feed, self._vendor, self._open_work, clock=self._clock, drain=self._drain, asker=asker
        )  # fmt: skip
        confirmer = BalanceConfirmer(feed, looker, self._open_work, clock=self._clock, stop=self._stop)
        run = Run(run_id, BalanceScope(level, value, today, rules, counting, opened), order, opening)
        return self._finish(run, asker, confirmer.compare(run))

    def _finish(self, run: Run, asker: Asker, seen: Seen | NotDrained | Unanswered) -> Outcome:
        """Write the breaks and the run in one commit."""
        subject = f"{SUBJECT} {run.scope.name}"
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._epoch())
            work.breaks.lock(self._feed.feed_id)
            match seen:
                case NotDrained(why):
                    outcome = Outcome(run.run_id, SUBJECT, subject, "not_drained", detail=why)
                case Unanswered(why):
                    number = note_failure(work, self._feed, subject, why, run_id=run.run_id, clock=self._clock)
                    outcome = Outcome(run.run_id, SUBJECT, subject, "query_failed", detail=why, changed=(number,))
                case Seen():
                    outcome = self._conclude(work, run, seen, subject)
            work.reconciling.end(
                run.run_id, state="failed" if outcome.result in ("not_drained", "query_failed") else "done",
                result=outcome.result, as_of=seen.last.as_of if isinstance(seen, Seen) else None,
                ended_at=self._clock.now(), compared=outcome.compared, agreed=outcome.agreed, breaks=outcome.breaks,
                basis=_basis(run, seen) | {"calls": asker.calls},
                counts=_counts(seen) if isinstance(seen, Seen) else {}, cited=work.reconciling.cited(asker.cited),
                detail=outcome.detail,
            )  # fmt: skip
            work.commit()
        log.info(
            "reconcile.ended", feed=self._feed.name, control=SUBJECT, subject=subject, result=outcome.result,
            run=run.run_id, compared=outcome.compared, breaks=outcome.breaks,
        )  # fmt: skip
        return outcome

    def _conclude(self, work: UnitOfWork, run: Run, seen: Seen, subject: str) -> Outcome:
        """Write what was confirmed, and return the outcome of a run whose questions were answered."""
        changed = list[int]()
        if seen.last.faults:
            said = "; ".join(seen.last.faults[:FAULTS_SAID])
            why = f"{len(seen.last.faults)} things cannot be relied on: {said}"
            changed.append(note_failure(work, self._feed, subject, why, run_id=run.run_id, clock=self._clock))
        else:
            note_answer(work, self._feed, subject, run_id=run.run_id, clock=self._clock)
        result, detail = self._result(run, seen)
        if run.opening and result == "opened":
            self._open(work, run, seen.last)
        elif result != "timing" and not run.opening:
            changed += self._write(work, run, seen)
            work.balances.show(
                self._feed.feed_id, run.scope.level, run.run_id, seen.last.as_of, _shown(run.scope, seen)
            )
        compared = len(seen.agreed | seen.differing.keys() | seen.left | seen.last.unopened)
        return Outcome(
            run.run_id, SUBJECT, subject, result, compared=compared, agreed=len(seen.agreed),
            breaks=len(seen.differing) if result == "breaks" else 0, detail=detail, changed=tuple(changed),
        )  # fmt: skip

    def _result(self, run: Run, seen: Seen) -> tuple[str, str]:
        look, left = seen.last, ", ".join(" ".join(filter(None, key)) for key in sorted(seen.left))
        if self._feed.today(self._clock) != run.scope.trade_day:
            return "timing", "the business day turned during the run; nothing was concluded"
        if near_cut(self._feed, self._clock):
            return "timing", f"within {self._feed.near_cut} of the end of the business day; nothing was concluded"
        if run.opening and seen.left:
            return "unconfirmed", f"nothing was opened: {left} changed at each look, or cannot be relied on"
        if run.opening:
            nothing = "; the vendor named none of the assets: all start at zero" if look.answer.is_empty else ""
            return "opened", f"the vendor's figures are taken as they are{nothing}"
        if seen.differing:
            return "breaks", _empty_words(seen)
        if look.unopened:
            assets = ", ".join(sorted({key.asset for key in look.unopened}))
            return "no_opening", f"{assets}: say where it starts: stp-etl reconcile balances --open --reason TEXT"
        return ("unconfirmed", f"could not be told: {left}") if seen.left else ("agreed", "")

    def _open(self, work: UnitOfWork, run: Run, look: BalanceLook) -> None:
        keys = look.unopened | look.answer.rows.keys() | look.held.flows.keys()
        work.balances.open(
            self._feed.feed_id, run.run_id, run.scope.counting, value=run.scope.value, at=look.as_of,
            vendor_date=look.vendor_date, by=run.order.by, reason=run.order.reason or "",
            figures={key: (look.theirs_of(key), look.moved_of(key)) for key in sorted(keys)},
        )  # fmt: skip

    def _write(self, work: UnitOfWork, run: Run, seen: Seen) -> list[int]:
        """Open, see again or clear the breaks of this level; return those that are new or have other figures."""
        at, empty = self._clock.now(), _empty_words(seen)
        changed = list[int]()
        for each in balance_findings(run.scope.level, run.scope.value, seen.differing.values()):
            key = key_of(run.scope, each.key)
            look = seen.look_of(key)
            comment = f"{each.comment}; {empty}" if empty else each.comment
            told = msgspec.structs.replace(each, comment=comment, figures=_parts(look, key))
            noted = work.breaks.found(
                self._feed.feed_id, told, at=at, run_id=run.run_id, reply_id=look.reply_id
            )  # fmt: skip
            changed += [noted.id] if noted.change != "same" else []
        for known in known_of(work, self._feed, run.scope):
            key = key_of(run.scope, known.key)
            if key in seen.agreed:
                look = seen.look_of(key)
                work.breaks.clear(
                    known, at=at, proof="both sides agree", figures=_parts(look, key), run_id=run.run_id,
                    reply_id=look.reply_id,
                )  # fmt: skip
        return changed


def _parts(look: BalanceLook, key: BalanceKey) -> dict[str, str]:
    """Return what makes up our figure, as text with all its digits."""
    expected = look.expected[key]
    parts: dict[str, Decimal] = {"opening": expected.opening, **msgspec.structs.asdict(expected.moved)}
    return {name: f"{each:f}" for name, each in (parts | {"adjustments": expected.adjustments}).items()}


def _shown(scope: BalanceScope, seen: Seen) -> list[Shown]:
    last, found = seen.last, list[Shown]()
    for key in sorted(last.agreed | last.differing.keys() | last.unsettled | last.undecided | last.unopened):
        look = seen.look_of(key)
        expected, opening = look.expected.get(key), scope.opening_of(key)
        result = (
            "no_opening" if key in look.unopened else "break" if key in seen.differing
            else "agreed" if key in seen.agreed else "unconfirmed"
        )  # fmt: skip
        ours = None if expected is None else scope.rules.rounded(expected.amount, key.asset)
        theirs = None if key in look.undecided else scope.rules.rounded(look.theirs_of(key), key.asset)
        found.append(Shown(key, result, expected, None if opening is None else opening.as_of, ours, theirs))
    return found


def _empty_words(seen: Seen) -> str:
    """Return the evidence of its own kind: no balance at all was named while we expect some."""
    expected = sum(bool(each.ours) for each in seen.differing.values())
    if not (seen.last.answer.is_empty and expected):
        return ""
    return f"the vendor's answer named none of the assets, {seen.looks} times, while {expected} are expected"


def _basis(run: Run, seen: Seen | NotDrained | Unanswered) -> dict[str, Any]:
    basis: dict[str, Any] = {"openings": sorted({each.opening_id for each in run.scope.opened.values()})}
    if isinstance(seen, Seen):
        drained = [msgspec.to_builtins(each) for each in seen.last.drained]
        basis |= {"looks": seen.looks, "drained": drained, "adjustments": seen.last.held.adjusted}
    return basis


def _counts(seen: Seen) -> Mapping[str, Any]:
    look = seen.last
    return {
        "agreed": len(seen.agreed), "differing": len(seen.differing), "left": len(seen.left),
        "unopened": len(look.unopened), "shape": look.answer.shape, "faults": len(look.faults),
        "other_organisations": look.answer.others,
    }  # fmt: skip
