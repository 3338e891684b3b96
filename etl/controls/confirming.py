"""Confirms differences of positions by a second look, so that nobody is told of a trade in flight (design.md §6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from functools import partial
from threading import Event

import msgspec

from etl.clock import Clock
from etl.controls.looking import Looks
from etl.controls.looks import Look, Looker, NotDrained, Scope
from etl.controls.questions import Order, ReconciledFeed, Unanswered
from etl.domain.ageing import is_near_cut
from etl.domain.reconciliation import BreakKind, Difference, Finding, Key, position_findings
from etl.store.repositories.breaks import UNFINISHED, KnownBreak
from etl.store.repositories.reconciling import HeldPosition
from etl.store.unit_of_work import OpenWork, UnitOfWork

KINDS = (BreakKind.POSITION, BreakKind.VALUE_DATE_SHIFT)


class Run(msgspec.Struct, frozen=True):
    """One comparison of one level and value. `opening_id`: the opening that counts; None before go-live."""

    run_id: int
    scope: Scope
    order: Order
    opening: bool
    opening_id: int | None


class Confirmed(msgspec.Struct):
    """What the looks of one run have shown so far, by key."""

    agreed: set[Key]
    differing: dict[Key, Difference]
    left: set[Key]  # neither: a trade landed on it each time, or its row is faulty
    looks: int
    last: Look


class Confirmer:
    """Looks again and again until each difference of a run is confirmed or gone."""

    def __init__(self, feed: ReconciledFeed, looker: Looker, open_work: OpenWork, *, clock: Clock, stop: Event) -> None:
        self._feed, self._looker, self._open_work, self._clock, self._stop = feed, looker, open_work, clock, stop

    def compare(self, run: Run) -> Confirmed | NotDrained | Unanswered:
        """Look until each difference is confirmed or gone, or the looks or the time are used up."""
        looks = Looks(partial(self._looker.look, run.scope), self._feed, self._clock, self._stop)
        look = looks.first()
        if not isinstance(look, Look):
            return look
        seen = Confirmed(set(look.agreed), {}, set(look.undecided), 1, look)
        pending = {key: (each, look.held.get(key)) for key, each in look.differing.items()}
        if not self._may_confirm(run):
            return msgspec.structs.replace(seen, differing=dict(look.differing), left=seen.left | look.unsettled)
        if run.opening:
            return self._until_settled(seen, looks)
        for key in self._seen_before(run, look):
            seen.differing[key], _ = pending.pop(key)
        unsettled = set(look.unsettled)
        while (pending or unsettled) and (again := looks.again()) is not None:
            if not isinstance(again, Look):
                return again
            seen.looks, seen.last = looks.taken, again
            pending, unsettled = self._advance(seen, again, pending, unsettled)
        seen.left |= unsettled | pending.keys()
        return seen

    def _until_settled(self, seen: Confirmed, looks: Looks[Look]) -> Confirmed | NotDrained | Unanswered:
        """Look until one look shows every key without a trade landing on it: figures of one instant, to start from."""
        while (seen.last.unsettled or seen.last.undecided) and (again := looks.again()) is not None:
            if not isinstance(again, Look):
                return again
            seen.looks, seen.last = looks.taken, again
        seen.agreed = {*seen.last.agreed, *seen.last.differing}
        seen.left = {*seen.last.unsettled, *seen.last.undecided}
        return seen

    def _advance(
        self, seen: Confirmed, look: Look, pending: Mapping[Key, tuple[Difference, HeldPosition | None]],
        unsettled: Collection[Key],
    ) -> tuple[dict[Key, tuple[Difference, HeldPosition | None]], set[Key]]:  # fmt: skip
        """Take over what the look says of the keys that were left; return those that it leaves again."""
        still, again = dict[Key, tuple[Difference, HeldPosition | None]](), set[Key]()
        for key in {*pending, *unsettled}:
            found, held = look.differing.get(key), look.held.get(key)
            if key in look.agreed:
                seen.agreed.add(key)
            elif found is None:
                again.add(key)
            elif key in pending and pending[key][0].figures == found.figures and pending[key][1] == held:
                seen.differing[key] = found
            else:
                still[key] = found, held
        return still, again

    def _may_confirm(self, run: Run) -> bool:
        """Return whether differences count: not before go-live, and not while the business day turns."""
        return run.opening or not (run.opening_id is None or near_cut(self._feed, self._clock))

    def _seen_before(self, run: Run, look: Look) -> list[Key]:
        """Return keys whose break is open with the very same figures: an earlier run was their first look."""
        known = {(each.kind, each.key): each.amounts for each in self._known(run.scope)}
        findings = position_findings(run.scope.level, run.scope.value, look.differing.values())
        same = [each for each in findings if known.get((each.kind, each.key)) == each.amounts]
        return [key for each in same for key in keys_of(each)]

    def _known(self, scope: Scope) -> list[KnownBreak]:
        with self._open_work() as work:
            return known_of(work, self._feed, scope)


def near_cut(feed: ReconciledFeed, clock: Clock) -> bool:
    """Return whether the business day turns about now: figures of two days may mix."""
    return is_near_cut(clock.now(), feed.ends, feed.zone, within=feed.near_cut)


def keys_of(finding: Finding) -> list[Key]:
    """Return the keys that a finding about positions tells of."""
    if finding.symbol is None or finding.value_date is None:
        return []
    days = finding.figures.get("value_dates", [finding.value_date.isoformat()])
    return [Key(finding.symbol, date.fromisoformat(day)) for day in days]


def keys_of_break(known: KnownBreak) -> set[Key]:
    """Return the keys of a break about positions, whose own key ends in its value dates."""
    prefix = f"{known.level} {known.level_value} {known.symbol} "
    days = known.key.removeprefix(prefix).split()
    return {Key(known.symbol or "", date.fromisoformat(day)) for day in days}


def known_of(work: UnitOfWork, feed: ReconciledFeed, scope: Scope) -> list[KnownBreak]:
    """Return the unfinished breaks about positions of this level and value."""
    known = work.breaks.known(feed.feed_id, KINDS, states=UNFINISHED)
    return [each for each in known if (each.level, each.level_value) == (scope.level, scope.value) and each.symbol]


def told_of_reading(work: UnitOfWork, feed: ReconciledFeed, scope: Scope) -> list[KnownBreak]:
    """Return the unfinished breaks of this level that tell of another reading, and of no single position."""
    known = work.breaks.known(feed.feed_id, [BreakKind.POSITION], states=UNFINISHED)
    return [each for each in known if (each.level, each.level_value) == (scope.level, scope.value) and not each.symbol]


def empty_words(seen: Confirmed) -> str:
    """Return the evidence of its own kind: nothing at all was named while we hold positions."""
    held = sum(bool(each.position.base) for each in seen.last.held.values())
    if not (seen.last.answer.is_empty and held):
        return ""
    return f"the vendor's answer named no position at all, {seen.looks} times, while the book holds {held}"
