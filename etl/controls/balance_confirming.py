"""Confirms differences of balances by a second look, so that nobody is told of money on its way (design.md §6)."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from threading import Event

import msgspec

from etl.clock import Clock
from etl.controls.balance_judge import BalanceScope
from etl.controls.balance_looks import BalanceLook, BalanceLooker
from etl.controls.confirming import near_cut
from etl.controls.looking import Looks
from etl.controls.looks import NotDrained
from etl.controls.questions import Order, ReconciledFeed, Unanswered
from etl.domain.balance import BalanceDifference, BalanceKey, balance_findings
from etl.domain.money import EXACT
from etl.domain.reconciliation import BreakKind
from etl.store.repositories.breaks import UNFINISHED, KnownBreak
from etl.store.unit_of_work import OpenWork, UnitOfWork


class Run(msgspec.Struct, frozen=True):
    """One comparison of one level."""

    run_id: int
    scope: BalanceScope
    order: Order
    opening: bool


class Seen(msgspec.Struct):
    """What the looks of one run have shown so far, by account and asset."""

    agreed: set[BalanceKey]
    differing: dict[BalanceKey, BalanceDifference]
    left: set[BalanceKey]  # neither: it changed each time, or cannot be told
    looks: int
    last: BalanceLook
    settled: dict[BalanceKey, BalanceLook]
    """The look that said it last, of those that agreed or were confirmed; a later one may show them in motion."""

    def look_of(self, key: BalanceKey) -> BalanceLook:
        """Return the look whose figures count for this key."""
        return self.settled.get(key, self.last)


class BalanceConfirmer:
    """Looks again and again until each difference of a run is confirmed or gone."""

    def __init__(
        self, feed: ReconciledFeed, looker: BalanceLooker, open_work: OpenWork, *, clock: Clock, stop: Event
    ) -> None:  # fmt: skip
        self._feed, self._looker, self._open_work, self._clock, self._stop = feed, looker, open_work, clock, stop

    def compare(self, run: Run) -> Seen | NotDrained | Unanswered:
        """Look until each difference is confirmed or gone, or the looks or the time are used up."""
        looks = Looks(partial(self._looker.look, run.scope), self._feed, self._clock, self._stop)
        look = looks.first()
        if not isinstance(look, BalanceLook):
            return look
        left = set[BalanceKey]() if run.opening else set(look.undecided)
        seen = Seen(set(look.agreed), {}, left, 1, look, dict.fromkeys(look.agreed, look))
        if near_cut(self._feed, self._clock) and not run.opening:
            seen.differing, seen.left = dict(look.differing), seen.left | look.unsettled
            return seen
        known = {each.key: each.amounts for each in self._known(run.scope)}
        pending = set(look.unopened if run.opening else look.differing) | look.unsettled
        for found in balance_findings(run.scope.level, run.scope.value, look.differing.values()):
            if known.get(found.key) == found.amounts:  # an earlier run was its first look
                key = key_of(run.scope, found.key)
                seen.differing[key], seen.settled[key] = look.differing[key], look
                pending.discard(key)
        while pending - seen.last.unknown and (again := looks.again()) is not None:
            if not isinstance(again, BalanceLook):
                return again
            before, seen.last, seen.looks = seen.last, again, looks.taken
            waiting = again.unopened if run.opening else pending  # an opening takes all its figures from one look
            pending = {key for key in waiting if not self._settled(run, seen, before, key)}
        seen.left |= pending
        return seen

    def _settled(self, run: Run, seen: Seen, before: BalanceLook, key: BalanceKey) -> bool:
        """Take over what the last look says of a key, where it says the same as the one before; else return False."""
        look = seen.last
        if run.opening:
            sound = key not in before.undecided | look.undecided
            return sound and _start(before, key) == _start(look, key)
        if key in look.agreed:
            seen.agreed.add(key)
            seen.settled[key] = look
            return True
        found = look.differing.get(key)
        same = found is not None and before.differing.get(key) == found and before.expected[key] == look.expected[key]
        if found is not None and same:
            seen.differing[key], seen.settled[key] = found, look
        return same

    def _known(self, scope: BalanceScope) -> list[KnownBreak]:
        with self._open_work() as work:
            return known_of(work, self._feed, scope)


def known_of(work: UnitOfWork, feed: ReconciledFeed, scope: BalanceScope) -> list[KnownBreak]:
    """Return the unfinished breaks about balances of this level."""
    known = work.breaks.known(feed.feed_id, [BreakKind.BALANCE], states=UNFINISHED)
    return [each for each in known if (each.level, each.level_value) == (scope.level, scope.value)]


def _start(look: BalanceLook, key: BalanceKey) -> Decimal:
    """Return what the balance was before anything that we know of moved it."""
    return EXACT.subtract(look.theirs_of(key), look.moved_of(key).net)


def key_of(scope: BalanceScope, key: str) -> BalanceKey:
    """Return what a break is of, from its key."""
    account, _, asset = key.removeprefix(f"{scope.name} ").rpartition(" ")
    return BalanceKey(account, asset)
