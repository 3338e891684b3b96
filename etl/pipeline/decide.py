"""What each message means for the book: a new trade, a newer version, nothing new, or a case for a person (law 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from etl.domain.changes import reading_changes
from etl.domain.comparison import Outcome, compare
from etl.domain.fields import Reading
from etl.domain.trade import Fault, Rejected, Trade
from etl.pipeline.reading import ReadMessage
from etl.store.repositories.answers import MessageRecord
from etl.store.repositories.attention import ExceptionItem
from etl.store.repositories.book import BookedVersion, Known, TradeText

SAME_ID = "same_id_other_trade"


@dataclass(slots=True)
class Held:
    """A trade that is in the book, or was put there by an earlier message of the batch."""

    version: int
    hashes: dict[bytes, int]
    trade: Trade | None = None
    """The current version; None until it is needed for a comparison."""


@dataclass(slots=True)
class Decisions:
    """What is to be written for a batch of messages."""

    messages: list[MessageRecord] = field(default_factory=list)
    versions: list[BookedVersion] = field(default_factory=list)
    exceptions: list[ExceptionItem] = field(default_factory=list)
    conflicts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Names that we have no column for, each with the first message that carries it."""
    counts: Counter[str] = field(default_factory=Counter)


class Decider:
    """Decides message after message, each in the light of those before it. Writes nothing."""

    def __init__(
        self, feed_id: int, reading: Reading, now: datetime, *,
        known: Mapping[str, Known], load: Callable[[str, int], Trade], said_before: Callable[[str, bytes], int | None],
    ) -> None:  # fmt: skip
        """Take what the book knows of the batch's trades.

        `load` returns a version of a trade from the book; `said_before` looks through the landed bytes of all
        versions of a trade for content equal to this hash under today's settings, and returns the version.
        """
        self._feed_id, self._reading, self._now = feed_id, reading, now
        self._known, self._load, self._said_before = known, load, said_before
        self._held: dict[str, Held] = {}
        self._added: dict[tuple[str, int], ReadMessage] = {}
        self.decisions = Decisions()

    def decide(self, messages: Iterable[ReadMessage]) -> Decisions:
        """Return what is to be written for these messages, in their order."""
        for message in messages:
            if isinstance(message.says, Rejected):
                self._except(message, message.says.faults)
            else:
                self._decide_trade(message, message.says)
        return self.decisions

    def reread(self, message: ReadMessage, text: TradeText, state: str) -> tuple[Trade, tuple[str, ...]] | None:
        """Make a booked message as it reads today a newer version; return the trade before and the fields that differ.

        For the message behind the current version. None, and nothing is written, where nothing differs, or where an
        earlier message of this batch made a newer version. No break is found: it is our reading that changed.
        """
        trade = message.trade(self._reading)
        held = self._holding(trade.trade_id)
        assert held is not None, "the message is booked"
        before = self._current(trade.trade_id, held)
        changed = reading_changes(before, trade)
        if not changed or held.version != self._known[trade.trade_id].version:
            return None
        self._supersede(message, text, held, trade=trade, state=state, changed=changed)
        return before, changed

    def _decide_trade(self, message: ReadMessage, text: TradeText) -> None:
        trade_id = message.trade_id or ""
        held = self._holding(trade_id)
        if held is None:
            self._held[trade_id] = Held(1, {message.content_hash: 1})
            self._add(message, text, "booked", 1)
        elif (version := held.hashes.get(message.content_hash)) is not None:
            self._note(message, "duplicate", version)
        elif (version := self._said_before(trade_id, message.content_hash)) is not None:
            held.hashes[message.content_hash] = version
            self._note(message, "duplicate", version)
        else:
            self._compare(message, text, held)

    def _compare(self, message: ReadMessage, text: TradeText, held: Held) -> None:
        trade = message.trade(self._reading)
        verdict = compare(self._current(trade.trade_id, held), trade)
        match verdict.outcome:
            case Outcome.SAME:
                self._note(message, "duplicate", held.version)
            case Outcome.OTHER_TRADE:
                rule = f"{SAME_ID}: the trade in the book differs in {', '.join(verdict.changed)}"
                self._except(message, (Fault("tradeId", trade.trade_id, rule),))
            case Outcome.ENRICHED:
                self._supersede(message, text, held, trade=trade, state="enriched", changed=verdict.changed)
            case Outcome.CONFLICT:
                self._supersede(message, text, held, trade=trade, state="conflict", changed=verdict.changed)
                evidence = {
                    "at": self._now.isoformat(),
                    "message_id": message.message_id,
                    "versions": [held.version - 1, held.version],
                    "changed_fields": list(verdict.economics),
                }
                self.decisions.conflicts.append((trade.trade_id, evidence))

    def _supersede(
        self, message: ReadMessage, text: TradeText, held: Held, *, trade: Trade, state: str, changed: tuple[str, ...]
    ) -> None:
        held.version, held.trade = held.version + 1, trade
        held.hashes[message.content_hash] = held.version
        self._add(message, text, state, held.version, changed)

    def _add(
        self, message: ReadMessage, text: TradeText, state: str, version: int, changed: tuple[str, ...] = ()
    ) -> None:
        self.decisions.versions.append(
            BookedVersion(
                text, version, message.message_id, message.content_hash, message.landed_at, self._now, changed
            )
        )
        self._added[message.trade_id or "", version] = message
        for name in message.unknown_fields:
            self.decisions.unknown_fields.setdefault(name, message.message_id)
        self._note(message, state, version)

    def _except(self, message: ReadMessage, faults: tuple[Fault, ...]) -> None:
        self.decisions.exceptions.append(message.item(faults, self._reading))
        self._note(message, "excepted", None)

    def _note(self, message: ReadMessage, state: str, version: int | None) -> None:
        self.decisions.messages.append(message.record(self._feed_id, state, version))
        self.decisions.counts[state] += 1

    def _holding(self, trade_id: str) -> Held | None:
        """Return what is held of a trade, from the book or from earlier in the batch; None where it is new."""
        held = self._held.get(trade_id)
        if held is None and (known := self._known.get(trade_id)) is not None:
            held = self._held[trade_id] = Held(known.version, known.hashes)
        return held

    def _current(self, trade_id: str, held: Held) -> Trade:
        """Return the current version: from the book, or what an earlier message of this batch made it."""
        if held.trade is None:
            earlier = self._added.get((trade_id, held.version))
            held.trade = self._load(trade_id, held.version) if earlier is None else earlier.trade(self._reading)
        return held.trade
