"""What each message means for the book: a new trade, a newer version, nothing new, or a case for a person (law 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from etl.domain.changes import reading_changes
from etl.domain.comparison import Outcome, Verdict, compare
from etl.domain.fields import Reading
from etl.domain.position import Movement, movements, reversal
from etl.domain.trade import Fault, Rejected, Trade
from etl.pipeline.reading import ReadMessage
from etl.store.repositories.answers import MessageRecord
from etl.store.repositories.attention import ExceptionItem
from etl.store.repositories.book import BookedVersion, Known

SAME_ID = "same_id_other_trade"


@dataclass(slots=True)
class Held:
    """A trade that is in the book, or was put there by an earlier message of the batch."""

    version: int
    hashes: dict[bytes, int]
    trade: Trade


@dataclass(slots=True)
class Decisions:
    """What is to be written for a batch of messages."""

    messages: list[MessageRecord] = field(default_factory=list)
    versions: list[BookedVersion] = field(default_factory=list)
    moves: list[Movement] = field(default_factory=list)
    exceptions: list[ExceptionItem] = field(default_factory=list)
    conflicts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
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
        self.decisions = Decisions()

    def decide(self, messages: Iterable[ReadMessage]) -> Decisions:
        """Return what is to be written for these messages, in their order."""
        for message in messages:
            if isinstance(message.says, Rejected):
                self._except(message, message.says.faults)
            else:
                self._decide_trade(message, message.says)
        return self.decisions

    def reread(self, message: ReadMessage, trade: Trade, state: str) -> tuple[Trade, tuple[str, ...]] | None:
        """Make a booked message as it reads today a newer version; return the trade before and the fields that differ.

        For the message behind the current version. None, and nothing is written, where nothing differs, or where an
        earlier message of this batch made a newer version. No break is found: it is our reading that changed.
        """
        held = self._holding(trade.trade_id)
        before, changed = held.trade, reading_changes(held.trade, trade)
        if not changed or held.version != self._known[trade.trade_id].version:
            return None
        self._add(message, trade, state, held, Verdict(Outcome.ENRICHED, changed))
        return before, changed

    def _decide_trade(self, message: ReadMessage, trade: Trade) -> None:
        hashes = self._hashes_of(trade.trade_id)
        if hashes is None:
            self._add(message, trade, "booked")
        elif (version := hashes.get(message.content_hash)) is not None:
            self._note(message, "duplicate", version)
        elif (version := self._said_before(trade.trade_id, message.content_hash)) is not None:
            hashes[message.content_hash] = version
            self._note(message, "duplicate", version)
        else:
            held = self._holding(trade.trade_id)
            self._compare(message, trade, held, compare(held.trade, trade))

    def _compare(self, message: ReadMessage, trade: Trade, held: Held, verdict: Verdict) -> None:
        match verdict.outcome:
            case Outcome.SAME:
                self._note(message, "duplicate", held.version)
            case Outcome.OTHER_TRADE:
                rule = f"{SAME_ID}: the trade in the book differs in {', '.join(verdict.changed)}"
                self._except(message, (Fault("tradeId", trade.trade_id, rule),))
            case Outcome.ENRICHED:
                self._add(message, trade, "enriched", held, verdict)
            case Outcome.CONFLICT:
                self._add(message, trade, "conflict", held, verdict)
                self.decisions.conflicts.append((trade.trade_id, self._evidence(message, held.version, verdict)))

    def _evidence(self, message: ReadMessage, version: int, verdict: Verdict) -> dict[str, Any]:
        return {
            "at": self._now.isoformat(),
            "message_id": message.message_id,
            "versions": [version - 1, version],
            "changed_fields": list(verdict.economics),
        }

    def _add(
        self, message: ReadMessage, trade: Trade, state: str, held: Held | None = None, verdict: Verdict | None = None
    ) -> None:
        version = 1 if held is None else held.version + 1
        changed = () if verdict is None else verdict.changed
        decisions = self.decisions
        decisions.versions.append(
            BookedVersion(
                trade, version, message.message_id, message.content_hash, message.landed_at, self._now, changed
            )
        )
        if held is None:
            self._held[trade.trade_id] = Held(1, {message.content_hash: 1}, trade)
        else:
            decisions.moves.extend(reversal(held.trade))
            held.version, held.trade = version, trade
            held.hashes[message.content_hash] = version
        decisions.moves.extend(movements(trade))
        self._note(message, state, version)

    def _except(self, message: ReadMessage, faults: tuple[Fault, ...]) -> None:
        self.decisions.exceptions.append(message.item(faults, self._reading))
        self._note(message, "excepted", None)

    def _note(self, message: ReadMessage, state: str, version: int | None) -> None:
        self.decisions.messages.append(message.record(self._feed_id, state, version))
        self.decisions.counts[state] += 1

    def _hashes_of(self, trade_id: str) -> dict[bytes, int] | None:
        if (held := self._held.get(trade_id)) is not None:
            return held.hashes
        known = self._known.get(trade_id)
        return None if known is None else known.hashes

    def _holding(self, trade_id: str) -> Held:
        held = self._held.get(trade_id)
        if held is None:
            known = self._known[trade_id]
            held = Held(known.version, known.hashes, self._load(trade_id, known.version))
            self._held[trade_id] = held
        return held
