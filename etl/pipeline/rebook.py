"""Landed messages read again after the reading has changed: what was no trade may be one, what is booked may differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import msgspec

from etl.clock import Clock
from etl.domain.changes import value_of
from etl.domain.payload import ELEMENT
from etl.domain.trade import Fault, Rejected
from etl.domain.words import counted
from etl.errors import ContentRefusedError
from etl.pipeline.batch import BatchBooker, BookedFeed
from etl.pipeline.decide import Decider
from etl.pipeline.reading import ReadMessage, messages_in
from etl.store.repositories.answers import MessageRecord, message_id, poll_of
from etl.store.repositories.attention import Deed
from etl.store.repositories.book import Known, TradeText
from etl.store.repositories.rebooking import OpenItem
from etl.store.unit_of_work import OpenWork, UnitOfWork

POLLS_A_BATCH = 20
EXCEPTED = "excepted"


class Change(msgspec.Struct, frozen=True):
    """What reading one message again changes; values are the trade's, or texts about the message.

    Outcomes: booked, enriched, conflict, duplicate (it was an exception item), excepted (one still, for other
    reasons), corrected (a booked trade reads differently), refused (a booked message that is none any more: it stays).
    """

    feed: str
    message_id: int
    trade_id: str | None
    outcome: str
    field: str
    before: object
    after: object


@dataclass
class Rebooked:
    """What came of reading messages again: how many messages by outcome, and every change."""

    counts: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    faults: dict[int, tuple[Fault, ...]] = field(default_factory=dict)
    written: int = 0
    """Messages of which something was written."""

    def add(self, other: Rebooked) -> None:
        """Take in what came of further messages."""
        self.counts += other.counts
        self.changes += other.changes
        self.closed += other.closed
        self.faults |= other.faults
        self.written += other.written


class Again(msgspec.Struct, frozen=True):
    """A message as it reads today, what became of it before, and the open exception item about its bytes."""

    message: ReadMessage
    record: MessageRecord
    item: OpenItem | None


class Rebooker:
    """Reads messages of one feed again from their landed bytes; the same twice changes nothing (law 7).

    Never takes a trade out of the book, and never touches a version: what reads differently is a newer one.
    """

    def __init__(
        self, feed: BookedFeed, open_work: OpenWork, clock: Clock, on_progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Call `on_progress` after each batch with the number of messages read in it."""
        self._feed, self._open_work, self._clock, self._on_progress = feed, open_work, clock, on_progress
        self._booker = BatchBooker(feed, open_work, clock)

    def rebook(self, message_ids: Sequence[int], deed: Deed) -> Rebooked:
        """Read these messages again and keep what differs, batch by batch under the booker's lock.

        Each batch that changes something records the deed with its counts, in the same transaction.
        """
        total = Rebooked()
        for batch in _batches(message_ids):
            with self._open_work() as work:
                work.feeds.lock_booker(self._feed.feed_id)
                done = self._write(work, self._read(work, batch), deed)
                if done.written:
                    work.attention.record(self._recorded(deed, done))
                    work.commit()
            total.add(done)
            self._on_progress(len(batch))
        return total

    def preview(self, message_ids: Sequence[int]) -> Rebooked:
        """Return what `rebook` would change; nothing is written, and booking is not held up."""
        total = Rebooked()
        known: dict[str, Known] = {}
        with self._open_work() as work:
            decider, earlier = self._booker.decider(work, known)
            for batch in _batches(message_ids):
                agains = self._read(work, batch)
                ids = _trade_ids(agains)
                known.update(work.book.known(self._feed.feed_id, ids))
                earlier.expect(ids)
                total.add(self._decide(work, decider, agains))
                self._on_progress(len(batch))
        return total

    def _read(self, work: UnitOfWork, batch: Sequence[int]) -> list[Again]:
        """Return these messages as they read today; not those whose bytes are no longer cut as they were."""
        wanted, found = set(batch), []
        for _, answer in sorted(work.answers.answers_of(map(poll_of, batch)).items()):
            records = {record.place: record for record in work.answers.messages_of(self._feed.feed_id, answer)}
            for message in messages_in(answer, self._feed.reading):
                record = records.get(message.place)
                if message.message_id in wanted and record is not None and record.sha256 == message.sha256:
                    found.append((message, record))
        items = work.rebooking.open_items(self._feed.feed_id, [m.sha256 for m, r in found if r.state == EXCEPTED])
        return [Again(message, record, items.get(message.sha256)) for message, record in found]

    def _write(self, work: UnitOfWork, agains: Sequence[Again], deed: Deed) -> Rebooked:
        """Write what the messages mean today; one that the database refuses is faulty, alone."""
        try:
            with work.savepoint():
                ids = _trade_ids(agains)
                decider, earlier = self._booker.decider(work, work.book.known(self._feed.feed_id, ids))
                earlier.expect(ids)
                done = self._decide(work, decider, agains)
                self._store(work, decider, agains, done, deed)
                return done
        except ContentRefusedError as error:
            if len(agains) == 1:
                if isinstance(agains[0].message.says, Rejected):
                    raise
                return self._write(work, [_refused(agains[0], error)], deed)
        half = len(agains) // 2
        done = self._write(work, agains[:half], deed)
        done.add(self._write(work, agains[half:], deed))
        return done

    def _decide(self, work: UnitOfWork, decider: Decider, agains: Sequence[Again]) -> Rebooked:
        """Say of each message what today's reading changes."""
        done = Rebooked()
        known_ids = [again.record.trade_id for again in agains if again.record.trade_id is not None]
        current = work.rebooking.behind_current(self._feed.feed_id, known_ids)
        for again in agains:
            if again.record.state == EXCEPTED:
                self._decide_excepted(decider, again, done)
            elif again.message.message_id in current:
                self._decide_booked(decider, again, done)
            else:
                done.counts["untouched"] += 1  # a duplicate, or superseded by a later message
        return done

    def _decide_excepted(self, decider: Decider, again: Again, done: Rebooked) -> None:
        message, item = again.message, again.item
        decisions = decider.decide([message])
        record = decisions.messages[-1]
        done.counts[record.state] += 1
        before = [] if item is None else item.faults
        if record.state != EXCEPTED:
            done.closed += [] if item is None else [item.message_id]
            after = f"{record.state}, version {record.version}"
            self._change(done, again, record.state, "(message)", (_in_words(before) or EXCEPTED, after))
            return
        faults = decisions.exceptions[-1].faults
        if item is not None and item.message_id == message.message_id and before != msgspec.to_builtins(list(faults)):
            done.faults[message.message_id] = faults
            after = _in_words(msgspec.to_builtins(list(faults)))
            self._change(done, again, EXCEPTED, "(faults)", (_in_words(before), after))

    def _decide_booked(self, decider: Decider, again: Again, done: Rebooked) -> None:
        says = again.message.says
        if isinstance(says, Rejected):
            done.counts["refused"] += 1
            for fault in says.faults:
                self._change(done, again, "refused", fault.field, (fault.value, fault.rule))
        elif again.message.trade_id != again.record.trade_id:
            done.counts["refused"] += 1
            self._change(done, again, "refused", "trade_id", (again.record.trade_id, again.message.trade_id))
        elif (found := decider.reread(again.message, says, again.record.state)) is None:
            done.counts["unchanged"] += 1
        else:
            before, changed = found
            trade = again.message.trade(self._feed.reading)
            done.counts["corrected"] += 1
            for name in changed:
                self._change(done, again, "corrected", name, (value_of(before, name), value_of(trade, name)))

    def _change(self, done: Rebooked, again: Again, outcome: str, name: str, values: tuple[object, object]) -> None:
        is_trade = isinstance(again.message.says, TradeText)
        trade_id = again.message.trade_id if is_trade else again.record.trade_id
        done.changes.append(Change(self._feed.name, again.message.message_id, trade_id, outcome, name, *values))

    def _store(self, work: UnitOfWork, decider: Decider, agains: Sequence[Again], done: Rebooked, deed: Deed) -> None:
        before = {again.message.message_id: again.record for again in agains}
        after = {message_id(record.poll_id, record.place): record for record in decider.decisions.messages}
        differing = [record for number, record in after.items() if record != before[number]]
        work.answers.change_messages(differing)
        self._booker.keep(work, decider.decisions)
        for number, faults in done.faults.items():
            work.attention.change_faults(number, faults)
        if done.closed:
            reason = f"booked again: {deed.reason}"
            work.attention.close_exceptions(
                done.closed, "booked", at=self._clock.now(), by=deed.operator, reason=reason
            )
        done.written = len(differing) + len(done.faults) + len(done.closed)

    def _recorded(self, deed: Deed, done: Rebooked) -> Deed:
        changed = sorted({change.message_id for change in done.changes if change.outcome != "refused"})
        details = {"counts": dict(done.counts), "message_ids": changed}
        subject = f"{counted(len(changed), 'message')} from {changed[0]} on" if changed else None
        return msgspec.structs.replace(
            deed, at=self._clock.now(), feed=self._feed.name, subject=subject, details=details
        )


def _batches(message_ids: Sequence[int]) -> Iterator[list[int]]:
    """Cut the messages, in the order in which they came, into those of a few polls each."""
    batch: list[int] = []
    polls = 0
    for _, group in groupby(sorted(set(message_ids)), key=poll_of):
        batch += group
        polls += 1
        if polls == POLLS_A_BATCH:
            yield batch
            batch, polls = [], 0
    if batch:
        yield batch


def _trade_ids(agains: Sequence[Again]) -> list[str]:
    messages = (again.message for again in agains)
    return list(dict.fromkeys(each.trade_id for each in messages if each.trade_id and isinstance(each.says, TradeText)))


def _refused(again: Again, error: ContentRefusedError) -> Again:
    says = Rejected((Fault(ELEMENT, None, str(error)),))
    return msgspec.structs.replace(again, message=msgspec.structs.replace(again.message, says=says))


def _in_words(faults: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{fault['field']} {fault['rule']}" for fault in faults)
