"""One batch from landed answers to trades, in one transaction: cut, read, decide, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import structlog

from etl.clock import Clock
from etl.domain.fields import Reading
from etl.domain.trade import Fault, Rejected
from etl.errors import BookingHeldError, ContentRefusedError
from etl.pipeline.ahead import ReadAhead
from etl.pipeline.decide import Decider, Decisions
from etl.pipeline.earlier import Earlier
from etl.pipeline.reading import ReadMessage
from etl.store.repositories.book import Known, TradeText
from etl.store.repositories.feeds import BookerState
from etl.store.unit_of_work import OpenWork, UnitOfWork

DRIFT_SAID = 20  # new fields of one batch that get a line each

log = structlog.get_logger()


class BookedFeed(msgspec.Struct, frozen=True):
    """What booking must know of a feed."""

    feed_id: int
    name: str
    reading: Reading
    batch_bytes: int = 1_000_000
    conflicts_before_hold: int = 20


class Booked(msgspec.Struct, frozen=True):
    """What one batch did: messages by outcome, of how many answers, how long it took, when the newest was done."""

    counts: Counter[str]
    answers: int
    seconds: float
    newest: datetime | None


class BatchBooker:
    """Books what has landed for one feed, batch by batch. Any number may try; the row lock lets one at a time work."""

    def __init__(self, feed: BookedFeed, open_work: OpenWork, clock: Clock) -> None:
        self._feed, self._open_work, self._clock = feed, open_work, clock
        self._ahead = ReadAhead(feed.feed_id, feed.reading, open_work, batch_bytes=feed.batch_bytes)

    def take(self, feed: BookedFeed) -> None:
        """Go on with these settings of the same feed, from the next batch on."""
        self._feed = feed
        self._ahead.take(feed.reading, batch_bytes=feed.batch_bytes)

    def forget(self) -> None:
        """Drop what was read beforehand."""
        self._ahead.forget()

    def book(self) -> Booked | None:
        """Book the oldest answers of one drain, in one transaction; None where none wait.

        Raises BookingHeldError, DatabaseAwayError.
        """
        started = self._clock.monotonic()
        with self._open_work() as work:
            state = work.feeds.lock_booker(self._feed.feed_id)
            if state.held_at is not None:
                raise booking_held(self._feed.name, state.held_reason)
            waiting = work.answers.oldest_waiting(self._feed.feed_id, self._feed.batch_bytes)
            if not waiting:
                return None
            messages = self._ahead.messages(work, waiting)
            counts = self._write(work, messages)
            after = _advanced(state, waiting[0].drain_id, counts)
            if counts["excepted"]:
                polls = [each.poll_id for each in waiting]
                work.attention.tell_of_exceptions(self._feed.feed_id, after.drain_id, polls, self._clock.now())
            reason = self._reason_to_hold(after)
            if reason is None:
                work.feeds.note_booking(self._feed.feed_id, after)
                work.answers.mark_booked(self._feed.feed_id, [each.poll_id for each in waiting])
                work.commit()
        if reason is not None:
            self._hold(after, reason)
        newest = next((each.executed_at for each in reversed(messages) if each.executed_at), None)
        seconds = self._clock.monotonic() - started
        return Booked(counts, len(waiting), seconds, newest)

    def _write(self, work: UnitOfWork, messages: Sequence[ReadMessage]) -> Counter[str]:
        """Write what the messages mean; a message that the database refuses becomes an exception item, alone."""
        try:
            with work.savepoint():
                decisions = self._decide(work, messages)
                self._store(work, decisions)
                return decisions.counts
        except ContentRefusedError as error:
            if len(messages) == 1:
                return self._except(work, messages[0], error)
        half = len(messages) // 2
        return self._write(work, messages[:half]) + self._write(work, messages[half:])

    def _decide(self, work: UnitOfWork, messages: Sequence[ReadMessage]) -> Decisions:
        said = [(m.trade_id, m.content_hash) for m in messages if m.trade_id and isinstance(m.says, TradeText)]
        known = work.book.known(self._feed.feed_id, {trade_id for trade_id, _ in said})
        likely = [trade_id for trade_id, content in said if trade_id in known and content not in known[trade_id].hashes]
        decider, earlier = self.decider(work, known)
        earlier.expect(list(dict.fromkeys(likely)))
        return decider.decide(messages)

    def decider(self, work: UnitOfWork, known: Mapping[str, Known]) -> tuple[Decider, Earlier]:
        """Return what decides about messages of trades of which the book knows this much, and what it looks up.

        Tell the latter for each batch whose earlier versions to expect.
        """
        earlier = Earlier(work, self._feed.feed_id, self._feed.reading, known)
        decider = Decider(
            self._feed.feed_id, self._feed.reading, self._clock.now(), known=known, load=earlier.load,
            said_before=earlier.said_before,
        )  # fmt: skip
        return decider, earlier

    def _store(self, work: UnitOfWork, decisions: Decisions) -> None:
        feed_id, now = self._feed.feed_id, self._clock.now()
        work.answers.add_messages(decisions.messages)
        work.attention.open_exceptions(feed_id, decisions.exceptions, now)
        self.keep(work, decisions)

    def keep(self, work: UnitOfWork, decisions: Decisions) -> None:
        """Write what the decisions mean for the book and for people; messages and exception items are kept apart."""
        feed_id, now = self._feed.feed_id, self._clock.now()
        self._note_drift(work, decisions)
        work.book.add(feed_id, decisions.versions)
        for trade_id, evidence in decisions.conflicts:
            work.attention.found_conflict(feed_id, trade_id, evidence, now)

    def _except(self, work: UnitOfWork, message: ReadMessage, error: ContentRefusedError) -> Counter[str]:
        fault = Fault("(message)", None, str(error))
        refused = msgspec.structs.replace(message, says=Rejected((fault,)))
        decisions = self._decide(work, [refused])
        self._store(work, decisions)
        return decisions.counts

    def _note_drift(self, work: UnitOfWork, decisions: Decisions) -> None:
        """Say when messages begin to carry a field that we have no column for; the database knows what was said."""
        seen = decisions.unknown_fields
        new = work.feeds.new_fields(self._feed.feed_id, seen, self._clock.now())
        for name in new[:DRIFT_SAID]:
            log.warning("drift.new_field", feed=self._feed.name, field=name, message_id=seen.get(name), of=len(new))

    def _reason_to_hold(self, state: BookerState) -> str | None:
        if state.conflicts <= self._feed.conflicts_before_hold or state.drain_id == state.released_drain_id:
            return None
        return f"{state.conflicts} trades of drain {state.drain_id} came with other economics than those booked"

    def _hold(self, state: BookerState, reason: str) -> None:
        """Keep that booking waits for a person; the batch itself is undone, and its answers stay landed."""
        with self._open_work() as work:
            before = work.feeds.lock_booker(self._feed.feed_id)
            at = self._clock.now()
            held = msgspec.structs.replace(before, drain_id=state.drain_id, held_at=at, held_reason=reason)
            work.feeds.note_booking(self._feed.feed_id, held)
            work.alerts.booking_held(self._feed.feed_id, self._feed.name, state.drain_id, at)
            work.commit()
        log.error("book.held", feed=self._feed.name, reason=reason)
        raise booking_held(self._feed.name, reason)


def _advanced(state: BookerState, drain_id: int, counts: Counter[str]) -> BookerState:
    same = state.drain_id == drain_id
    return msgspec.structs.replace(
        state,
        drain_id=drain_id,
        conflicts=(state.conflicts if same else 0) + counts["conflict"],
        enriched=(state.enriched if same else 0) + counts["enriched"],
    )


def booking_held(feed: str, reason: str | None) -> BookingHeldError:
    """Return what is raised while booking of a feed is held."""
    return BookingHeldError(
        f"feed {feed}: booking waits for a person: {reason}. Landing goes on. Look at the conflicts "
        f"(stp-etl messages, reporting.break), then let them pass: stp-etl feeds resume {feed} --reason TEXT"
    )
