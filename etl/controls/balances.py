"""Balances: what each account should hold against the vendor's figure, confirmed by a second look (design.md §6)."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from etl.controls.balance_confirming import BalanceConfirmer, Run, Seen, key_of, known_of
from etl.controls.balance_judge import BalanceScope
from etl.controls.balance_looks import BalanceLook, BalanceLooker
from etl.controls.confirming import near_cut
from etl.controls.control import Concluded, Control
from etl.controls.questions import Asker, Order, Outcome
from etl.domain.balance import BalanceKey, balance_findings
from etl.domain.reconciliation import Rules
from etl.store.repositories.balances import ACCOUNT, BROKER, Counting, Shown
from etl.store.unit_of_work import UnitOfWork


class BalanceControl(Control):
    """Compares the balances of one feed with the vendor's. One run at a time a feed."""

    name = "balances"

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
        counting = Counting(feed.feed_id, level, feed.balance_assets, feed.settled_at_execution, today, orgs)
        with self._open_work() as work:
            run_id = self._begin(
                work, order, today, level=level, value=value, assets=list(feed.balance_assets),
                settled_at_execution=list(feed.settled_at_execution),
            )  # fmt: skip
            opened = {} if opening else work.balances.openings(feed.feed_id, level, value)
            work.commit()
        asker = Asker(feed, self._open_work, self._clock, run_id)
        looker = BalanceLooker(self._vendor, asker, self._drain)
        confirmer = BalanceConfirmer(feed, looker, self._open_work, clock=self._clock, stop=self._stop)
        run = Run(run_id, BalanceScope(level, value, today, rules, counting, opened), order, opening)
        seen, subject = confirmer.compare(run), f"{self.name} {run.scope.name}"
        ended = partial(self._conclude, run, seen, subject) if isinstance(seen, Seen) else seen
        return self._finish(
            run_id, subject, asker, {"openings": sorted({o.opening_id for o in opened.values()})}, ended
        )

    def _conclude(self, run: Run, seen: Seen, subject: str, work: UnitOfWork) -> Concluded:
        """Write what was confirmed."""
        changed = self._note_faults(work, run.run_id, subject, seen.last.faults, what="things")
        result, detail = self._result(run, seen)
        if run.opening and result in ("opened", "unconfirmed"):
            self._open(work, run, seen)
        elif result != "timing" and not run.opening:
            changed += self._write(work, run, seen)
            work.balances.show(
                self._feed.feed_id, run.scope.level, run.run_id, seen.last.as_of, _shown(run.scope, seen)
            )
        compared = len(seen.agreed | seen.differing.keys() | seen.left | seen.last.unopened)
        outcome = Outcome(
            run.run_id, self.name, subject, result, compared=compared, agreed=len(seen.agreed),
            breaks=len(seen.differing) if result == "breaks" else 0, detail=detail, changed=tuple(changed),
        )  # fmt: skip
        drained = [msgspec.to_builtins(each) for each in seen.last.drained]
        basis = {"looks": seen.looks, "drained": drained, "adjustments": seen.last.held.adjusted}
        return Concluded(outcome, seen.last.as_of, basis, _counts(seen))

    def _result(self, run: Run, seen: Seen) -> tuple[str, str]:
        look = seen.last
        if self._feed.today(self._clock) != run.scope.trade_day:
            return "timing", "the business day turned during the run; nothing was concluded"
        if near_cut(self._feed, self._clock):
            return "timing", f"within {self._feed.near_cut} of the end of the business day; nothing was concluded"
        if run.opening and (nameless := _nameless(run, look)):
            return "unconfirmed", f"nothing was opened: an account that is not named may hold more: {nameless[0]}"
        if run.opening and seen.left:
            opened = sorted({key.asset for key in _openable(run, seen)})
            why = "; ".join(_why_left(look, key) for key in sorted(seen.left))
            return "unconfirmed", f"opened: {', '.join(opened) or 'nothing'}; not opened: {why}"
        if run.opening:
            nothing = "; the vendor named none of the assets: all start at zero" if look.answer.is_empty else ""
            return "opened", f"the vendor's figures are taken as they are{nothing}"
        if seen.differing:
            return "breaks", _empty_words(seen)
        if unopened := look.unopened - look.unknown:
            assets = ", ".join(sorted({key.asset for key in unopened}))
            return "no_opening", f"{assets}: say where it starts: stp-etl reconcile balances --open --reason TEXT"
        left = "; ".join(_why_left(look, key) if key in look.unknown else _named(key) for key in sorted(seen.left))
        return ("unconfirmed", f"could not be told: {left}") if seen.left else ("agreed", "")

    def _open(self, work: UnitOfWork, run: Run, seen: Seen) -> None:
        look, keys = seen.last, _openable(run, seen)
        if not keys:
            return
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


def _openable(run: Run, seen: Seen) -> set[BalanceKey]:
    """Return what the last look lets be opened: assets none of whose accounts is left.

    An account without an opening of its own starts at nothing where its asset is opened, so an asset is opened whole.
    """
    if _nameless(run, seen.last):
        return set()
    left = {key.asset for key in seen.left}
    keys = seen.last.unopened | seen.last.answer.rows.keys() | seen.last.held.flows.keys()
    return {key for key in keys if key.asset not in left}


def _nameless(run: Run, look: BalanceLook) -> list[str]:
    """Return the rows of a broker's answer that do not say of which account they are."""
    if run.scope.level != BROKER:
        return []
    return [each.why for each in look.answer.faults if each.key is None]


def _why_left(look: BalanceLook, key: BalanceKey) -> str:
    """Return why a balance is neither opened nor compared, and what a person is to do."""
    if key in look.unknown:
        return f"{_named(key)}: neither the vendor nor the book knows it; take it out of balance_assets"
    if key in look.undecided:
        return f"{_named(key)}: the vendor's words about it cannot be relied on; ask the vendor, then open again"
    return f"{_named(key)}: it changed at each look; give the same command again"


def _named(key: BalanceKey) -> str:
    return " ".join(filter(None, key))


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
            "no_opening" if key in look.unopened - look.unknown else "break" if key in seen.differing
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


def _counts(seen: Seen) -> dict[str, Any]:
    look = seen.last
    return {
        "agreed": len(seen.agreed), "differing": len(seen.differing), "left": len(seen.left),
        "unopened": len(look.unopened), "shape": look.answer.shape, "faults": len(look.faults),
        "other_organisations": look.answer.others,
    }  # fmt: skip
