"""One look at the vendor's positions between two proven-empty drains, and what each key says in it (design.md §6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from etl.controls.questions import Asked, Asker, Drain, Proof, Unanswered, body_of
from etl.domain.money import EXACT
from etl.domain.position_answer import PositionAnswer, Unreadable, joined, positions_in, with_term
from etl.domain.reconciliation import FLAT, Difference, Key, Position, Rules, difference
from etl.store.repositories.reconciling import HeldPosition, OpenedAt
from etl.vendor.feed import VendorQuestions, VendorReply

MOST_PAGES = 1000
NOTHING_HELD = HeldPosition(FLAT, 0, has_ndf=False)


class Scope(msgspec.Struct, frozen=True):
    """Whose positions are compared, and by what. `opened`: ours and theirs at go-live, by key; `since`: when."""

    level: str
    value: str
    trade_day: date
    rules: Rules
    opened: Mapping[Key, tuple[Position, Position]] = {}
    since: OpenedAt | None = None

    @property
    def name(self) -> str:
        """Return how it stands in keys of breaks, such as `ORG pfOrg`."""
        return f"{self.level} {self.value}"

    def ours(self, key: Key, held: Position) -> Position:
        """Return what the book holds of a key, with the difference that the opening carries on."""
        if key not in self.opened:
            return held
        ours, theirs = self.opened[key]
        base = EXACT.add(held.base, EXACT.subtract(theirs.base, ours.base))
        if held.term is None or ours.term is None or theirs.term is None:
            return Position(base)
        return Position(base, EXACT.add(held.term, EXACT.subtract(theirs.term, ours.term)))


class NotDrained(msgspec.Struct, frozen=True):
    """The queue could not be proven empty: what we hold may be behind, so nothing is compared."""

    why: str = "the queue was not proven empty in time"


class Look(msgspec.Struct, frozen=True):
    """What one look showed, by key. `unsettled`: a trade landed on the key meanwhile; `undecided`: a faulty row.

    `held` is what the book held as the vendor was asked, where that is what agreed with the vendor's figure.
    """

    answer: PositionAnswer
    reply_id: int
    as_of: datetime
    vendor_date: datetime | None
    drained: tuple[Proof, Proof]
    held: Mapping[Key, HeldPosition]
    agreed: frozenset[Key]
    differing: Mapping[Key, Difference]
    unsettled: frozenset[Key]
    undecided: frozenset[Key]
    ndf_left_out: int

    def ours_of(self, key: Key) -> Position:
        """Return what the book held of a key."""
        return self.held.get(key, NOTHING_HELD).position

    def theirs_of(self, key: Key) -> Position:
        """Return what the vendor named; a key that it did not name is flat."""
        return self.answer.rows.get(key, FLAT)


class Judged(msgspec.Struct):
    """What each key says. `at_ask`: what the book held before trades landed that the vendor's figure does not have."""

    agreed: set[Key]
    differing: dict[Key, Difference]
    unsettled: set[Key]
    undecided: set[Key]
    at_ask: dict[Key, HeldPosition]


class Looker:
    """Looks at positions for one run."""

    def __init__(self, vendor: VendorQuestions, asker: Asker, drain: Drain) -> None:
        self._vendor, self._asker, self._drain = vendor, asker, drain
        self._feed, self._open_work, self._clock = asker.feed, asker.open_work, asker.clock

    def look(self, scope: Scope) -> Look | NotDrained | Unanswered:
        """Drain and book, ask, drain and book again, compare. A trade done meanwhile may be in the answer or not."""
        first = self._drain()
        if first is None:
            return NotDrained()
        before = self._held(scope)
        as_of = self._clock.now()
        asked = self._ask(scope)
        if isinstance(asked, Unanswered):
            return asked
        answer, vendor_date = asked
        second = self._drain()
        if second is None:
            return NotDrained()
        held = self._held(scope)
        found = _judged(scope, answer, before, held)
        left_out = self._left_out(scope, answer, held, found.differing)
        return Look(
            answer, self._asker.cited[-1].reply_id, as_of, vendor_date, (first, second), {**held, **found.at_ask},
            frozenset(found.agreed | left_out),
            {key: each for key, each in found.differing.items() if key not in left_out}, frozenset(found.unsettled),
            frozenset(found.undecided), len(left_out),
        )  # fmt: skip

    def _held(self, scope: Scope) -> dict[Key, HeldPosition]:
        """Return what the book holds by key, less what the opening had although we learnt it later."""
        of_level = self._feed.feed_id, scope.level, scope.value, scope.trade_day
        with self._open_work() as work:
            held = work.reconciling.positions(*of_level)
            if scope.since is None:
                return held
            before = work.reconciling.counted_before(*of_level, scope.since)
        return held | {key: _less(held.get(key, NOTHING_HELD), each) for key, each in before.items()}

    def _ask(self, scope: Scope) -> tuple[PositionAnswer, datetime | None] | Unanswered:
        """Return the vendor's positions, all pages of them, and its clock at the first; or why they are not known."""
        answers, vendor_date = list[PositionAnswer](), None
        while True:
            page = len(answers) + 1
            asked = self._asker.ask("positions", f"{scope.name} page {page}", partial(self._call, scope, page))
            if isinstance(asked, Unanswered):
                return asked
            read = _read(asked, scope)
            if isinstance(read, Unanswered):
                return read
            if read.page != page or read.pages > MOST_PAGES:
                return Unanswered(f"asked for page {page} of the positions, it says page {read.page} of {read.pages}")
            answers.append(read)
            vendor_date = vendor_date or asked.reply.vendor_date
            if page >= read.pages:
                break
        whole = joined(answers)
        if isinstance(whole, Unreadable):
            return Unanswered(f"the answer cannot be read: {whole.why}")
        return with_term(whole, scope.rules.compare_term), vendor_date

    def _call(self, scope: Scope, page: int) -> VendorReply:
        if page == 1:
            return self._vendor.positions(scope.level, scope.value)
        return self._vendor.positions(scope.level, scope.value, page=page)

    def _left_out(
        self, scope: Scope, answer: PositionAnswer, held: Mapping[Key, HeldPosition], differing: Mapping[Key, Any]
    ) -> set[Key]:  # fmt: skip
        """Return keys that differ only because the vendor has taken out NDFs that are past their fixing (A14)."""
        with_ndf = [key for key in differing if held.get(key, NOTHING_HELD).has_ndf]
        found = set()
        with self._open_work() as work:
            for key in with_ndf:
                fixed, legs = work.reconciling.fixed(self._feed.feed_id, scope.level, scope.value, key, scope.trade_day)
                position = held[key].position
                term = None if position.term is None else EXACT.subtract(position.term, fixed.term or Decimal(0))
                left = Position(EXACT.subtract(position.base, fixed.base), term)
                theirs = answer.rows.get(key, FLAT)
                if legs and not difference(key, scope.ours(key, left), theirs, scope.rules).is_break:
                    found.add(key)
        return found


def _less(held: HeldPosition, counted: Position) -> HeldPosition:
    term = None
    if held.position.term is not None and counted.term is not None:
        term = EXACT.subtract(held.position.term, counted.term)
    position = Position(EXACT.subtract(held.position.base, counted.base), term)
    return msgspec.structs.replace(held, position=position)


def _read(asked: Asked, scope: Scope) -> PositionAnswer | Unanswered:
    """Return what an answer says; 204 says that there is no position."""
    body = body_of(asked, f"the positions of {scope.name}")
    if isinstance(body, Unanswered):
        return body
    if body is None:
        return PositionAnswer({}, (), "empty", "unknown")
    read = positions_in(body, level=scope.level, value=scope.value, trade_day=scope.trade_day)
    return Unanswered(f"the answer cannot be read: {read.why}") if isinstance(read, Unreadable) else read


def _judged(
    scope: Scope, answer: PositionAnswer, before: Mapping[Key, HeldPosition], held: Mapping[Key, HeldPosition]
) -> Judged:
    """Sort the keys into those that agree, differ, had a trade land on them, and cannot be told."""
    faulty = {fault.key for fault in answer.faults}
    found = Judged(set(), {}, set(), {key for key in faulty if key is not None}, {})
    for key in before.keys() | held.keys() | answer.rows.keys() | scope.opened.keys():
        if key in faulty or (None in faulty and key not in answer.rows):
            found.undecided.add(key)
            continue
        theirs = answer.rows.get(key, FLAT)
        now, then = held.get(key, NOTHING_HELD), before.get(key, NOTHING_HELD)
        compared = difference(key, scope.ours(key, now.position), theirs, scope.rules)
        if not compared.is_break:
            found.agreed.add(key)
        elif now == then:
            found.differing[key] = compared
        elif difference(key, scope.ours(key, then.position), theirs, scope.rules).is_break:
            found.unsettled.add(key)
        else:
            found.agreed.add(key)
            found.at_ask[key] = then
    return found
