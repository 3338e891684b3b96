"""What the book and the landed bytes say of trades that came before; fetched for many trades at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from etl.domain.fields import Reading
from etl.domain.trade import Trade
from etl.pipeline.reading import messages_in
from etl.store.repositories.answers import poll_of
from etl.store.repositories.book import Known
from etl.store.unit_of_work import UnitOfWork

AT_ONCE = 500  # trades fetched together
ANSWERS_KEPT = 8  # of which the content of every message is remembered: resends repeat whole pages


class Earlier:
    """Earlier versions of trades that the book knows; `known` may grow from batch to batch."""

    def __init__(self, work: UnitOfWork, feed_id: int, reading: Reading, known: Mapping[str, Known]) -> None:
        self._work, self._feed_id, self._reading, self._known = work, feed_id, reading, known
        self.expect(())
        self._trades: dict[tuple[str, int], Trade] = {}
        self._behind: dict[str, Mapping[int, int]] = {}
        self._contents: OrderedDict[int, Mapping[int, bytes]] = OrderedDict()

    def expect(self, likely: Sequence[str]) -> None:
        """Fetch these trades together as soon as one is asked for; they will be, in that order."""
        self._likely, self._place = likely, {trade_id: place for place, trade_id in enumerate(likely)}

    def load(self, trade_id: str, version: int) -> Trade:
        """Return a version of a trade from the book."""
        if (trade_id, version) not in self._trades:
            wanted = {(each, self._known[each].version) for each in self._next(trade_id) if each in self._known}
            self._trades = self._work.book.versions(self._feed_id, wanted | {(trade_id, version)})
        return self._trades[trade_id, version]

    def said_before(self, trade_id: str, wanted: bytes) -> int | None:
        """Return the version whose landed bytes have this content under today's settings, or None.

        The stored hashes were made under the settings of their day; a field ignored since then changes them.
        """
        if trade_id not in self._behind:
            together = self._next(trade_id)
            found = self._work.book.messages_behind(self._feed_id, together)
            self._behind = {each: found.get(each, {}) for each in together}
        for version, message in self._behind[trade_id].items():
            if self._contents_of(poll_of(message)).get(message) == wanted:
                return version
        return None

    def _next(self, trade_id: str) -> Sequence[str]:
        """Return this trade and those that will be asked for after it."""
        place = self._place.get(trade_id)
        return [trade_id] if place is None else self._likely[place : place + AT_ONCE]

    def _contents_of(self, poll: int) -> Mapping[int, bytes]:
        """Return the content of each message of an answer, by its number, as it reads today."""
        if poll not in self._contents:
            answer = self._work.answers.answers_of([poll]).get(poll)
            messages = messages_in(answer, self._reading) if answer else ()
            self._contents[poll] = {each.message_id: each.content_hash for each in messages}
            if len(self._contents) > ANSWERS_KEPT:
                self._contents.popitem(last=False)
        return self._contents[poll]
