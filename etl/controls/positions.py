"""Positions: our net amounts against the vendor's, confirmed by a second look before anybody is told (design.md §6)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec

from etl.controls.confirming import (
    KINDS,
    Confirmed,
    Confirmer,
    Run,
    empty_words,
    keys_of,
    keys_of_break,
    known_of,
    near_cut,
    told_of_reading,
)
from etl.controls.control import Concluded, Control
from etl.controls.looks import Looker, Scope
from etl.controls.questions import Asker, Order, Outcome
from etl.controls.reading_check import read_otherwise, said_once
from etl.domain.position_answer import RowFault
from etl.domain.reconciliation import Finding, Key, Rules, position_findings, term_readings
from etl.domain.words import counted
from etl.store.repositories.breaks import UNFINISHED
from etl.store.unit_of_work import UnitOfWork


class PositionControl(Control):
    """Compares the positions of one feed with the vendor's. One run at a time a feed."""

    name = "positions"

    def values(self, level: str) -> list[str]:
        """Return whose positions are asked at a level: our organisations, or those that the book holds positions of."""
        if level == "ORG":
            return list(self._feed.orgs)
        with self._open_work() as work:
            today = self._feed.today(self._clock)
            return work.reconciling.level_values(self._feed.feed_id, level, today, self._feed.orgs)

    def subjects(self, *, entities: bool) -> list[tuple[str, str]]:
        """Return each level and value that is to be compared; with `entities` each legal entity too.

        Whose breaks are not over is compared in each run. The level of the settings comes last: what agrees then is
        not contradicted by breaks of the others that this very run has cleared.
        """
        own = [(self._feed.level, value) for value in self.values(self._feed.level)]
        others = [("LE", value) for value in self.values("LE")] if entities else []
        with self._open_work() as work:
            known = work.breaks.known(self._feed.feed_id, KINDS, states=UNFINISHED)
        broken = [(each.level, each.level_value) for each in known if each.level and each.level_value]
        others += [(level, value) for level, value in broken if level != "ORG" or value in self._feed.orgs]
        return [each for each in dict.fromkeys(others) if each not in own] + own

    def run(self, level: str, value: str, *, rules: Rules, order: Order, opening: bool = False) -> Outcome:
        """Compare one level and value; with `opening` take the vendor's figures as where we start from.

        Raises FenceLostError where another instance leads the feed.
        """
        today = self._feed.today(self._clock)
        with self._open_work() as work:
            run_id = self._begin(work, order, today, level=level, value=value)
            number = work.reconciling.opening(self._feed.feed_id, self.name, level, value)
            opened = work.reconciling.opened_positions(number, today) if number is not None and not opening else {}
            since = work.reconciling.opened_at(number) if number is not None and opened else None
            work.commit()
        asker = Asker(self._feed, self._open_work, self._clock, run_id)
        looker = Looker(self._vendor, asker, self._drain)
        run = Run(run_id, Scope(level, value, today, rules, opened, since), order, opening=opening, opening_id=number)
        confirmer = Confirmer(self._feed, looker, self._open_work, clock=self._clock, stop=self._stop)
        seen, subject = confirmer.compare(run), f"{self.name} {run.scope.name}"
        ended = partial(self._conclude, run, seen, subject) if isinstance(seen, Confirmed) else seen
        return self._finish(run_id, subject, asker, {"opening": number}, ended)

    def _conclude(self, run: Run, seen: Confirmed, subject: str, work: UnitOfWork) -> Concluded:
        """Write what was confirmed."""
        faults = [_said(each) for each in seen.last.answer.faults]
        changed = self._note_faults(work, run.run_id, subject, faults, what="rows")
        compared = len(seen.agreed | seen.differing.keys() | seen.left)
        result, detail = self._result(run, seen)
        if run.opening and result == "opened":
            self._open(work, run, seen)
        elif result in ("agreed", "breaks", "unconfirmed") and not run.opening:
            findings = position_findings(run.scope.level, run.scope.value, seen.differing.values())
            other = read_otherwise(work, self._feed, run, seen)
            if other is not None:
                findings, detail = said_once(run, seen, findings, other), f"another reading fits: {other.reading}"
            changed += self._write(work, run, seen, findings)
        breaks = len(seen.differing) if result == "breaks" else 0
        outcome = Outcome(
            run.run_id, self.name, subject, result, compared=compared, agreed=len(seen.agreed), breaks=breaks,
            detail=detail, changed=tuple(changed),
        )  # fmt: skip
        basis = {"looks": seen.looks, "drained": [msgspec.to_builtins(each) for each in seen.last.drained]}
        return Concluded(outcome, seen.last.as_of, basis, _counts(run.scope, seen))

    def _result(self, run: Run, seen: Confirmed) -> tuple[str, str]:
        if self._feed.today(self._clock) != run.scope.trade_day:
            return "timing", "the business day turned during the run; nothing was concluded"
        if near_cut(self._feed, self._clock):
            return "timing", f"within {self._feed.near_cut} of the end of the business day; nothing was concluded"
        faults = seen.last.answer.faults
        words = f"rows that cannot be relied on: {len(faults)}, the first: {_said(faults[0])}" if faults else ""
        if run.opening and faults:
            return "unconfirmed", f"nothing was opened: {words}"
        if run.opening and seen.left:
            return "unconfirmed", f"nothing was opened: trades landed on {counted(len(seen.left), 'key')} at each look"
        if run.opening:
            return "opened", "the vendor's figures are taken as they are; later runs compare what changed since"
        if run.opening_id is None:
            do = "say where the book starts: stp-etl reconcile positions --open --reason TEXT"
            return "no_opening", f"{counted(len(seen.differing), 'key differs', 'keys differ')}; {do}"
        if seen.differing:
            return "breaks", empty_words(seen)
        if seen.left and faults:
            return "unconfirmed", f"{words}; ask the vendor"
        if seen.left:
            keys = counted(len(seen.left), "key")
            return "unconfirmed", f"trades landed on {keys} at each look, or the figures moved; compare again"
        unread = sum(each.key is None for each in seen.last.answer.faults)
        return ("unconfirmed", _unread_words(unread)) if unread else ("agreed", "")

    def _open(self, work: UnitOfWork, run: Run, seen: Confirmed) -> None:
        look = seen.last
        keys = look.held.keys() | look.answer.rows.keys()
        work.reconciling.open_positions(
            self._feed.feed_id, run.run_id, level=run.scope.level, value=run.scope.value, at=look.as_of,
            vendor_date=look.vendor_date, by=run.order.by, reason=run.order.reason or "",
            figures={key: (look.ours_of(key), look.theirs_of(key)) for key in keys},
        )  # fmt: skip

    def _write(self, work: UnitOfWork, run: Run, seen: Confirmed, findings: Iterable[Finding]) -> list[int]:
        """Open, see again or clear the breaks of this level; return those that are new or have other figures."""
        at, reply_id = self._clock.now(), seen.last.reply_id
        changed, names = list[int](), set[tuple[str, str]]()
        empty = empty_words(seen)
        for each in findings:
            told = msgspec.structs.replace(each, comment=f"{each.comment}; {empty}") if empty else each
            noted = work.breaks.found(self._feed.feed_id, told, at=at, run_id=run.run_id, reply_id=reply_id)
            names.add((each.kind, each.key))
            changed += [noted.id] if noted.change != "same" else []
        proven = not seen.left and not any(each.key is None for each in seen.last.answer.faults)
        for known in told_of_reading(work, self._feed, run.scope):
            if proven and (known.kind, known.key) not in names:
                work.breaks.clear(known, at=at, proof="no other reading fits any more", figures={}, run_id=run.run_id)
        told_otherwise = {key for each in findings for key in keys_of(each)}
        for known in known_of(work, self._feed, run.scope):
            keys = keys_of_break(known)
            agreed = seen.agreed | _gone(run, seen, keys)
            if (known.kind, known.key) in names or keys & seen.left or not keys <= agreed | told_otherwise:
                continue
            proof = "both sides agree" if keys <= agreed else "told by another break of the same keys"
            figures = {str(key.value_date): f"{seen.last.ours_of(key).base:f}" for key in keys}
            work.breaks.clear(known, at=at, proof=proof, figures=figures, run_id=run.run_id, reply_id=reply_id)
        return changed


def _unread_words(unread: int) -> str:
    rows = counted(unread, "row does not say of which position it is", "rows do not say of which position they are")
    return f"{rows}, so the vendor may hold what the book lacks"


def _gone(run: Run, seen: Confirmed, keys: Iterable[Key]) -> set[Key]:
    """Return the keys that neither side names any more: flat on both. Not those whose value date has come."""
    look = seen.last
    if any(fault.key is None for fault in look.answer.faults):
        return set()
    named = look.held.keys() | look.answer.rows.keys() | run.scope.opened.keys() | seen.left | seen.differing.keys()
    return {key for key in keys if key.value_date > run.scope.trade_day and key not in named}


def _said(fault: RowFault) -> str:
    return f"{'row' if fault.key is None else ' '.join(map(str, fault.key))} {fault.why}"


def _counts(scope: Scope, seen: Confirmed) -> dict[str, Any]:
    look, answer = seen.last, seen.last.answer
    ours = {key: scope.ours(key, held.position) for key, held in look.held.items()}
    absent = sum(key not in answer.rows for key in look.agreed)
    return {
        "agreed": len(seen.agreed), "differing": len(seen.differing), "left": len(seen.left),
        "term": term_readings(ours, answer.rows, scope.rules), "shape": answer.shape, "sign": answer.sign,
        "flat_left_out": absent - look.ndf_left_out, "ndf_left_out": look.ndf_left_out,
        "past_value_dates": answer.left_out, "faulty_rows": len(answer.faults),
        "from_opening": len(scope.opened),
    }  # fmt: skip
