"""The whole state of the vendor: clock, trades, queues, sessions, logs."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from etl.sandbox import days, wire
from etl.sandbox.auth import Tokens
from etl.sandbox.custody import Custody
from etl.sandbox.exact import value_of
from etl.sandbox.faults import Plan
from etl.sandbox.generator import Generator
from etl.sandbox.options import Options, User
from etl.sandbox.positions import PositionError
from etl.sandbox.queues import Entry, Item, Page, Queue, RawElement
from etl.sandbox.records import Records
from etl.sandbox.trade import Trade
from etl.sandbox.variants import Variants

SOMEBODY_ELSE = "(second consumer)"


class World:
    """One seed gives one world; everything in it happens on one thread."""

    def __init__(self, options: Options, clock: days.Clock | None = None) -> None:
        self.options = options
        self.variants = options.all_variants()
        self._variants_of: dict[str, Variants] = {}
        self.clock = clock or days.Clock(options.start())
        self.tokens = Tokens(self.clock.monotonic)
        self.records = Records()
        fault_seed = options.seed if options.fault_seed is None else options.fault_seed
        self.plan = Plan(options.fault_rate, fault_seed, options.fault_kinds)
        self.draw = random.Random(f"{options.seed}/world")
        self.trades: dict[str, Trade] = {}
        self.by_order: defaultdict[str, list[Trade]] = defaultdict(list)
        self.position_errors: list[PositionError] = []
        self.whole_bodies: list[str] = []
        """Bodies that a test wants to be answered to the next requests of the queue, word for word."""
        self.resent_at: dict[str, float] = {}
        self.revision = 0
        self.generators: dict[str, Generator] = {}
        self.custody: dict[str, Custody] = {}
        self._queues: dict[str, Queue] = {}
        self._new_passwords: dict[User, str] = {}
        self._begin(options.start() or self.clock.now())

    def _begin(self, now: datetime) -> None:
        for number, org in enumerate(dict.fromkeys(user.org for user in self.options.users)):
            users = tuple(user.name for user in self.options.users if user.org == org)
            generator = Generator(org, self.options.seed, number=number, users=users)
            self.generators[org] = generator
            self.custody[org] = Custody(org, self.options.seed)
            instants = generator.backlog_instants(self.options.trades, now, self.options.days_back)
            self.add(list(generator.trades(instants, self.variants)))
        if self.options.prerender:
            for queue in self.queues():
                queue.prerender(self._pages(queue, self.options.prerender))

    def user(self, name: str, org: str | None = None) -> User | None:
        """Return the download user of this name."""
        return next((each for each in self.options.users if each.name == name and org in (None, each.org)), None)

    def password_of(self, user: User) -> str:
        """Return the password that lets the user in now."""
        return self._new_passwords.get(user, user.password)

    def rotate(self, user: User, password: str) -> None:
        """Let only this password in from now on, and end all sessions."""
        self._new_passwords[user] = password
        self.tokens.expire()

    def queue(self, user: User) -> Queue:
        """Return the user's queue: its own, or that of its organisation (A23)."""
        key = user.org if self.variants.shared_queue else f"{user.name}@{user.org}"
        return self._queues.setdefault(key, Queue(self.clock.monotonic))

    def queues(self, org: str | None = None) -> list[Queue]:
        """Return all queues, or those of an organisation."""
        queues = (self.queue(user) for user in self.options.users if org in (None, user.org))
        return list(dict.fromkeys(queues))

    def add(self, trades: Sequence[Trade]) -> None:
        """Let trades be done: they are known, and wait in every queue of their organisation."""
        self.revision += 1
        for trade in trades:
            self.trades[trade.id] = trade
            self.by_order[str(trade.fields["orderId"])].append(trade)
        for org in {trade.org for trade in trades}:
            for queue in self.queues(org):
                queue.push(trade for trade in trades if trade.org == org)

    def execute(self, org: str, count: int) -> list[Trade]:
        """Let new trades be done now."""
        trades = list(self.generators[org].trades([self.clock.now()] * count, self.variants))
        self.add(trades)
        return trades

    def touched(self, trade: Trade) -> None:
        """Take note that a trade has changed: nothing written before may be used."""
        self.revision += 1
        trade.text = None
        for queue in self.queues(trade.org):
            queue.melt()

    def vary(self, values: Mapping[str, Any], org: str | None = None) -> Variants:
        """Switch variants, of all, or of the questions that one organisation asks; return those that hold now.

        Raises ValueError for one that does not exist. The queue knows the variants of all only.
        """
        if org is not None:
            self._variants_of[org] = self.variants_of(org).changed(values)
        else:
            self.variants = self.variants.changed(values)
            self._variants_of.clear()
        self.revision += 1
        for queue in self.queues():
            queue.melt()
        return self.variants if org is None else self.variants_of(org)

    def variants_of(self, org: str) -> Variants:
        """Return by which variants the questions of an organisation are answered."""
        return self._variants_of.get(org, self.variants)

    def texts(self, queue: Queue, entries: Iterable[Entry]) -> list[Item]:
        """Write the messages of what is handed out; NEW the first time, then RESEND (D/websocket-stp)."""
        items: list[Item] = []
        for entry in entries:
            match entry:
                case RawElement(text=text, trade_id=trade_id):
                    items.append((trade_id, None, text))
                case Trade():
                    event = "RESEND" if queue.is_downloaded(entry) else "NEW"
                    trade_id = entry.id
                    items += [(trade_id, event, text) for text in wire.messages(entry, event, self.variants)]
        return items

    def hand_out(self, queue: Queue, count: int, user: str, request_id: str | None) -> list[Item]:
        """Take up to `count` trades out of a queue for good, log them, and return their messages."""
        queue.melt()
        entries = queue.take(count, self.variants.order, self.draw)
        items = self.texts(queue, entries)
        queue.mark_downloaded(entries)
        self.records.hand_out(self.clock.now(), user, request_id, items)
        return items

    def _pages(self, queue: Queue, size: int) -> Iterable[Page]:
        while entries := queue.take(size, "executed", self.draw):
            items = tuple(self.texts(queue, entries))
            body = "[" + ",".join(text for _, _, text in items) + "]"
            yield Page(tuple(entry for entry in entries if isinstance(entry, Trade)), items, body.encode())
            for entry in entries:
                if isinstance(entry, Trade):
                    entry.text = None  # the page holds it now


def raw_element(text: str) -> RawElement:
    """Return raw text as a message; its trade id is read for the log where there is one."""
    try:
        payload = value_of(text)
    except (ValueError, RecursionError):
        return RawElement(text, None)
    trade_id = payload.get("tradeId") if isinstance(payload, dict) else None
    return RawElement(text, trade_id if isinstance(trade_id, str) else None)
