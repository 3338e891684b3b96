"""Asks the vendor about the trades that a position is made of: by their orders, then one by one (design.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import reduce
from threading import Event

import msgspec

from etl.clock import Clock
from etl.controls.adoption import Adopt
from etl.controls.missing import Missing
from etl.controls.questions import FOUND, Asker, ReconciledFeed, Unanswered
from etl.domain.adoption import Effect
from etl.domain.explanation import Candidate, suggested
from etl.domain.fills_answer import Fill, fills_in, trade_in
from etl.domain.gaps import GapCause
from etl.domain.money import EXACT
from etl.domain.position_answer import Unreadable
from etl.errors import BookingHeldError
from etl.store.repositories.investigating import Kept, KeyTrade
from etl.store.unit_of_work import OpenWork
from etl.vendor.feed import VendorQuestions, VendorReply


class Said(msgspec.Struct, frozen=True):
    """What the vendor says of a trade of ours, and the stored answer in which it does."""

    fill: Fill
    reply_id: int
    changed: tuple[str, ...] = ()
    """The fields whose economics are others than in the book; only an answer about the one trade tells."""


class Learned(msgspec.Struct):
    """What was asked about one break and what came of it."""

    said: dict[str, Said] = {}
    missing: dict[str, Missing] = {}
    orders: int = 0
    trades: int = 0
    unknown: list[str] = []
    """Trades of ours about which the vendor said 404, which proves nothing alone (A20)."""
    failure: str | None = None

    @property
    def ended(self) -> dict[str, Said]:
        """Return the trades of ours that do not stand any more."""
        return {trade_id: each for trade_id, each in self.said.items() if not each.fill.counts}

    @property
    def otherwise(self) -> dict[str, Said]:
        """Return the trades that stand, with other economics than in the book."""
        return {trade_id: each for trade_id, each in self.said.items() if each.fill.counts and each.changed}


def left_of(difference: Decimal, trades: Sequence[KeyTrade], learned: Learned) -> Decimal:
    """Return what is left of a difference once the trades that stand no more are taken out of our side."""
    ended = [each.amount for each in trades if each.trade_id in learned.ended]
    return reduce(EXACT.add, ended, difference)


class Inquirer:
    """Asks within the budget of one run; what it has asked once, it knows for all breaks of that run."""

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock, stop: Event,
        adopt: Adopt, asker: Asker,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work, self._clock, self._stop = feed, vendor, open_work, clock, stop
        self._adopt, self._asker = adopt, asker
        self._kept: dict[tuple[str, str], Kept] = {}
        self._orders: dict[str, Learned] = {}
        self._trades: dict[str, Said | None] = {}

    def learn(self, difference: Decimal, trades: Sequence[KeyTrade], after: int) -> Learned:
        """Ask until the difference is explained by trades that stand no more, or there is nothing left to ask.

        Answers that were stored after that number are not asked for again: a run before this one got so far.
        """
        learned = Learned()
        questions = [*(each.trade_id for each in trades), *(each.order_id for each in trades if each.order_id)]
        with self._open_work() as work:
            self._kept = work.investigating.kept(self._feed.feed_id, after, questions)
        first = likely(difference, trades)
        for order_id in dict.fromkeys(each.order_id for each in first if each.order_id):
            if learned.failure is None and self._may_ask(learned, self._knows("fills", order_id)):
                self._ask_order(learned, order_id, {each.trade_id for each in trades})
        for each in first:
            if learned.failure is not None or not left_of(difference, trades, learned):
                break
            if each.trade_id not in learned.ended and self._may_ask(learned, self._knows("trade", each.trade_id)):
                self._ask_trade(learned, each.trade_id)
        for trade_id, said in list(learned.ended.items()):
            for replacement in said.fill.replaced_by:
                if learned.failure is None and self._may_ask(learned, known=False):
                    self._ask_replacement(learned, trade_id, replacement)
        return learned

    def _knows(self, subject: str, question: str) -> bool:
        asked = self._orders if subject == "fills" else self._trades
        return question in asked or (subject, question) in self._kept

    def _answer(self, subject: str, question: str, call: Callable[[], VendorReply]) -> Kept | Unanswered:
        """Return the stored answer, or ask."""
        if (kept := self._kept.get((subject, question))) is not None:
            return kept
        asked = self._asker.ask(subject, question, call)
        if isinstance(asked, Unanswered):
            return asked
        return Kept(asked.citation.reply_id, asked.reply.status, asked.reply.body)

    def _may_ask(self, learned: Learned, known: bool) -> bool:
        """Keep the spacing, and say where the budget of the run is used up."""
        if known:
            return True
        if self._asker.calls >= self._feed.calls:
            learned.failure = f"the budget of {self._feed.calls} questions a run is used up; the next run goes on"
            return False
        if self._clock.wait(self._stop, self._feed.spacing_s if self._asker.calls else 0):
            learned.failure = "stopped; the next run goes on"
        return learned.failure is None

    def _ask_order(self, learned: Learned, order_id: str, ours: set[str]) -> None:
        if order_id not in self._orders:
            self._orders[order_id] = self._answer_of(order_id)
        known = self._orders[order_id]
        learned.orders += 1
        learned.failure = known.failure
        learned.missing |= known.missing
        learned.said |= {each: said for each, said in known.said.items() if each in ours}

    def _answer_of(self, order_id: str) -> Learned:
        """Return what the list of an order says; a 404 and an unreadable answer say nothing (law 10)."""
        answer = self._answer("fills", order_id, lambda: self._vendor.fills(order_id))
        if isinstance(answer, Unanswered):
            return Learned(failure=answer.why)
        read = fills_in(answer.body) if answer.status == FOUND else Unreadable("")
        if isinstance(read, Unreadable):
            return Learned()
        reply_id = answer.reply_id
        with self._open_work() as work:
            known = work.fills.known(self._feed.feed_id, [each.trade_id for each in read.fills])
        return Learned(
            said={each.trade_id: Said(each, reply_id) for each in read.fills if each.trade_id in known},
            missing={
                each.trade_id: Missing(each, f"order {order_id}", order_id, reply_id, GapCause.POSITION)
                for each in read.fills
                if each.counts and each.trade_id not in known
            },
        )

    def _ask_trade(self, learned: Learned, trade_id: str) -> None:
        if trade_id not in self._trades:
            answer = self._answer("trade", trade_id, lambda: self._vendor.trade(trade_id))
            if isinstance(answer, Unanswered):
                learned.failure = answer.why
                return
            self._trades[trade_id] = self._read(trade_id, answer)
        learned.trades += 1
        if (said := self._trades[trade_id]) is None:
            learned.unknown.append(trade_id)
        else:
            learned.said[trade_id] = said

    def _read(self, trade_id: str, answer: Kept) -> Said | None:
        """Return what an answer says of the trade, held against the book; None where it says nothing."""
        said = trade_in(answer.body, trade_id) if answer.status == FOUND else Unreadable("")
        if isinstance(said, Unreadable):
            return None
        try:
            with self._open_work() as work:  # never committed: it only tells what booking it would do
                effect = self._adopt(
                    work, trade_id, answer.body, answered_at=self._clock.now(), allowed=frozenset()
                )  # fmt: skip
        except BookingHeldError:
            return Said(said, answer.reply_id)
        changed = effect.changed if effect.effect is Effect.ECONOMICS else ()
        return Said(said, answer.reply_id, changed)

    def _ask_replacement(self, learned: Learned, trade_id: str, replacement: str) -> None:
        """Ask about the trade that stands in the place of one of ours, where the book does not know it."""
        with self._open_work() as work:
            if work.fills.known(self._feed.feed_id, [replacement]):
                return
        answer = self._answer("trade", replacement, lambda: self._vendor.trade(replacement))
        if isinstance(answer, Unanswered):
            learned.failure = answer.why
            return
        said = trade_in(answer.body, replacement) if answer.status == FOUND else Unreadable("")
        if not isinstance(said, Unreadable) and said.counts:
            named = f"the vendor's answer about {trade_id}, which it replaces,"
            learned.missing[replacement] = Missing(said, named, None, answer.reply_id, GapCause.POSITION)


def likely(difference: Decimal, trades: Sequence[KeyTrade]) -> list[KeyTrade]:
    """Return the trades in the order in which they are asked: what would explain the difference alone comes first."""
    found = suggested(difference, [Candidate(each.trade_id, each.amount) for each in trades])
    named = set() if found is None else {*found.removed, *found.doubled}
    opposite = difference.copy_negate()
    return sorted(trades, key=lambda each: (each.trade_id not in named, each.amount != opposite))
