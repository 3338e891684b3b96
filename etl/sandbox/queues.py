"""The STP queue of one download user: handing out is taking away."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from etl.sandbox.trade import VERIFIED, Trade


@dataclass(frozen=True, slots=True)
class RawElement:
    """Text that a test wants to be handed out as one message, word for word."""

    text: str
    trade_id: str | None


Entry = Trade | RawElement
Item = tuple[str | None, str | None, str]
"""What one hand-out was: trade id, event, text of the element."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer written beforehand."""

    trades: tuple[Trade, ...]
    items: tuple[Item, ...]
    body: bytes


class Queue:
    """Trades that wait for one download user, and those that it has taken."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.pages: deque[Page] = deque()
        self._pending: deque[Entry] = deque()
        self._later: list[tuple[float, int, Trade]] = []
        self._waiting: set[str] = set()
        self._downloaded: set[str] = set()
        self._order = 0
        self.previous: tuple[Item, ...] = ()
        """The page that was handed out last."""

    def push(self, trades: Iterable[Trade]) -> None:
        """Let new trades wait."""
        for trade in trades:
            self._waiting.add(trade.id)
            self._pending.append(trade)

    def restore(self, trade: Trade) -> None:
        """Let a trade wait that was passed over while it was hidden."""
        if trade.id not in self._waiting and trade.id not in self._downloaded:
            self.push([trade])

    def push_raw(self, elements: Iterable[RawElement]) -> None:
        """Let raw elements wait, behind all others."""
        self._pending.extend(elements)

    def prerender(self, pages: Iterable[Page]) -> None:
        """Serve these pages first."""
        self.pages.extend(pages)

    def melt(self) -> None:
        """Turn the pages written beforehand back into trades, because what they say may no longer hold."""
        trades = [trade for page in self.pages for trade in page.trades]
        self.pages.clear()
        self._pending.extendleft(reversed(trades))
        self._waiting.update(trade.id for trade in trades)

    def take_page(self) -> Page:
        """Hand out the next page that was written beforehand."""
        page = self.pages.popleft()
        self._downloaded.update(trade.id for trade in page.trades)
        self.previous = page.items
        return page

    def requeue(self, trades: Iterable[Trade], *, after_s: float) -> int:
        """Make downloaded trades eligible again after a while, and return how many; those that wait already stay."""
        due, count = self._seconds() + after_s, 0
        for trade in trades:
            if trade.id in self._downloaded and trade.id not in self._waiting:
                self._waiting.add(trade.id)
                self._order += 1
                heapq.heappush(self._later, (due, self._order, trade))
                count += 1
        return count

    def is_downloaded(self, trade: Trade) -> bool:
        """Whether it has been handed out before: its next event is RESEND."""
        return trade.id in self._downloaded

    def ready(self) -> int:
        """Return how many could be handed out now."""
        self._ripen()
        live = sum(1 for entry in self._pending if _may_go(entry))
        return live + sum(len(page.trades) for page in self.pages)

    def has_any(self) -> bool:
        """Whether anything could be handed out now."""
        self._ripen()
        while self._pending and not _may_go(self._pending[0]):
            self._drop(self._pending.popleft())
        return bool(self._pending or self.pages)

    def take(self, count: int, order: str, draw: random.Random) -> list[Entry]:
        """Hand out up to `count`: they leave the queue. Only Verified trades are sent (D/websocket-stp)."""
        self._ripen()
        if order == "random":
            draw.shuffle(self._pending)
        taken: list[Entry] = []
        while self._pending and len(taken) < count:
            entry = self._pending.pop() if order == "reversed" else self._pending.popleft()
            self._drop(entry)
            if _may_go(entry):
                taken.append(entry)
        return taken

    def mark_downloaded(self, entries: Iterable[Entry]) -> None:
        """Remember trades as handed out, once their events are written."""
        self._downloaded.update(entry.id for entry in entries if isinstance(entry, Trade))

    def _drop(self, entry: Entry) -> None:
        if isinstance(entry, Trade):
            self._waiting.discard(entry.id)

    def _ripen(self) -> None:
        now = self._seconds()
        while self._later and self._later[0][0] <= now:
            self._pending.append(heapq.heappop(self._later)[2])


def _may_go(entry: Entry) -> bool:
    return isinstance(entry, RawElement) or (entry.status == VERIFIED and not entry.hidden)
