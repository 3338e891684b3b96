"""A healer at work beside a poller and a booker, with a vendor whose trades come again when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from etl.controls.gaps import Healer
from etl.controls.resend import HealedFeed, Resender
from etl.domain.fields import Reading
from etl.errors import VendorAwayError
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.poll import Poller
from etl.store.unit_of_work import UnitOfWork
from etl.vendor.feed import Cause, PollTicket, QueueAnswer, ResendAnswer, ResendOutcome, VendorReply
from tests.builders import a_raw_message
from tests.databases import rows
from tests.polling import Polling
from tests.vendors import FakeVendor, in_doubt, page_of

TODAY = "2024-03-13"
"""The day of tests.clocks.START; the last proven-empty answer before a doubt is of this day too."""
WINDOW = ("2024-03-12", "2024-03-17")
"""Of a doubt on that day: a day of margin, and four days ahead."""
POISON = b'[{"tradeId": "A", "tradeType": "Spot"'
MAINTENANCE = b"<html>Scheduled maintenance</html>"


@dataclass
class DealtTrade:
    """A trade at the vendor."""

    trade_date: str
    status: str = "Verified"
    hidden: bool = False
    """It does not come again although it is Verified."""


@dataclass
class RepeatingVendor(FakeVendor):
    """Holds trades, hands each out once, and again when a resend asks for its day."""

    trades: dict[str, DealtTrade] = field(default_factory=dict)
    queue: list[tuple[str, str]] = field(default_factory=list)
    resends: list[tuple[str, str]] = field(default_factory=list)
    resend_answers: list[ResendAnswer] = field(default_factory=list)
    asked_by_id: list[str] = field(default_factory=list)
    silent: bool = False
    """It does not answer questions about single trades."""

    def deal(self, *trade_ids: str, day: str = TODAY) -> None:
        """Let trades be done."""
        for each in trade_ids:
            self.trades[each] = DealtTrade(day)
            self.queue.append((each, "NEW"))

    def next_page(self, ticket: PollTicket, max_count: int) -> QueueAnswer:
        if self.answers or not self.queue:
            return super().next_page(ticket, max_count)
        self.answers.append(page_of(*self.hand_out(max_count)))
        return super().next_page(ticket, max_count)

    def hand_out(self, count: int) -> list[bytes]:
        """Take trades from the queue."""
        taken, self.queue[:] = self.queue[:count], self.queue[count:]
        return [
            a_raw_message(
                tradeId=each, event=event, tradeDate=self.trades[each].trade_date, valueDate="2024-03-20",
                executionTime=f"{self.trades[each].trade_date} 10:00:00,000 +0000",
            )
            for each, event in taken
        ]  # fmt: skip

    def loses(self, _: PollTicket, count: int) -> QueueAnswer:
        """As a script: hand trades out, in an answer that never arrives."""
        self.hand_out(count)
        return in_doubt(Cause.RESET)

    def request_resend(self, start_at: datetime, end_at: datetime) -> ResendAnswer:
        days = start_at.date().isoformat(), end_at.date().isoformat()
        self.resends.append(days)
        answer = self.resend_answers.pop(0) if self.resend_answers else said(ResendOutcome.ACCEPTED)
        if answer.outcome in (ResendOutcome.ACCEPTED, ResendOutcome.IN_DOUBT):
            self.queue += [(name, "RESEND") for name, trade in self.trades.items() if comes_again(trade, *days)]
        return answer

    def trade(self, trade_id: str) -> VendorReply:
        self.asked_by_id.append(trade_id)
        if self.silent:
            raise VendorAwayError("no answer within 30 s")
        body = json.dumps({"tradeId": trade_id, "status": self.trades[trade_id].status}).encode()
        return VendorReply(200, body, {}, "q", None)


class Healing(Polling):
    """One feed with poller, booker and healer, and a vendor that hands out again what it is asked for."""

    vendor: RepeatingVendor

    def __init__(self, *arguments: Any, heal: dict[str, Any] | None = None, emptied: bool = True, **more: Any) -> None:
        self._heal = heal or {}
        super().__init__(*arguments, **more)
        self.booker = Booker(BookedFeed(self.feed.feed_id, "main", Reading()), self.open_work, self.clock)
        if emptied:
            self.drain()

    def new_poller(self) -> Poller:
        """Return a poller and a healer that know nothing of what was before."""
        if not isinstance(self.vendor, RepeatingVendor):
            self.vendor = RepeatingVendor(clock=self.clock)
        feed = HealedFeed(self.feed.feed_id, "main", **self._heal)
        resender = Resender(feed, self.vendor, self.open_work, clock=self.clock, epoch=lambda: self.lease.epoch)
        self.healer = Healer(feed, resender, self.open_work, self.clock)
        return Poller(
            self._polled, self.vendor, self.open_work, clock=self.clock, new_id=lambda: uuid4().hex,
            lease=self.lease, stop=self.stop, prove=lambda: self.healer.wants_proof,
        )  # fmt: skip

    def turn(self, seconds: float = 15.0, *answers: Any) -> None:
        """Let time pass, drain, book, and let the healer go a step."""
        self.clock.advance(max(seconds, self.poller.resting_s))  # type: ignore[attr-defined]
        self.drain(*answers)
        self.booker.book()
        self.healer.step()

    def turn_until(self, holds: Callable[[], Any], most: int = 120) -> None:
        """Take turns until it holds."""
        for _ in range(most):
            if holds():
                return
            self.turn()
        raise AssertionError(f"not after {most} turns: {self.gaps()}, {self.resends()}")

    def heal(self, gap_id: int = 1) -> None:
        """Take turns until the gap is healed."""
        self.turn_until(lambda: self.state(gap_id) == "healed")

    def lose(self, *trade_ids: str, day: str = TODAY) -> None:
        """Let trades be done and their answer be lost."""
        self.vendor.deal(*trade_ids, day=day)
        self.turn(1, self.vendor.loses)

    def state(self, gap_id: int = 1) -> str:
        """Return the state of a gap."""
        return {row[0]: row[1] for row in self.gaps("id, state")}[gap_id]

    def why(self, gap_id: int = 1) -> str:
        """Return what a gap says of its state."""
        return {row[0]: row[1] for row in self.gaps("id, why")}[gap_id]

    def gaps(self, columns: str = "from_date::text, to_date::text") -> list[tuple[Any, ...]]:
        """Return all gaps in their order."""
        return rows(self.database, f"SELECT {columns} FROM stp.gap ORDER BY id")

    def resends(self, columns: str = "from_date::text, to_date::text, state") -> list[tuple[Any, ...]]:
        """Return all resends in their order."""
        return rows(self.database, f"SELECT {columns} FROM stp.resend ORDER BY id")

    def booked(self) -> set[str]:
        """Return the ids of the trades in the book."""
        return {row[0] for row in rows(self.database, "SELECT trade_id FROM stp.trade")}

    def open_by_hand(self, open_gap: Callable[[UnitOfWork], Any]) -> Any:
        """Do something in one commit."""
        with self.open_work() as work:
            found = open_gap(work)
            work.commit()
        return found


def comes_again(trade: DealtTrade, first: str, last: str) -> bool:
    """Return whether a resend of these days brings the trade."""
    return first <= trade.trade_date <= last and trade.status == "Verified" and not trade.hidden


def said(outcome: ResendOutcome, detail: str = "", **more: Any) -> ResendAnswer:
    """Return what came of asking for a resend."""
    return ResendAnswer(outcome, "r", detail, **more)
