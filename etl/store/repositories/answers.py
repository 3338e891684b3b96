"""Landed answers, and the messages that are in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update

from etl.store.copying import NOTHING, cell, copy_lines, digest, driver_of, instant
from etl.store.repositories.polls import OpenPoll
from etl.store.rows.poll import MESSAGES_A_POLL, AnswerRow, MessageRow, PollRow, UnbookedRow

BODIES = """
SELECT poll_id, opened_at, landed_at, status, content_encoding, body FROM stp.answer
WHERE feed_id = %(feed_id)s AND poll_id = ANY (%(polls)s) AND opened_at BETWEEN %(first)s AND %(last)s
ORDER BY poll_id
"""
"""With bounds for `opened_at`, so that no other partition is read."""


class LandedAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer as it lies in the database."""

    poll_id: int
    opened_at: datetime
    landed_at: datetime
    drain_id: int
    status: int
    content_encoding: str | None
    body: bytes


class Waiting(msgspec.Struct, frozen=True):
    """A landed answer that waits for booking."""

    poll_id: int
    opened_at: datetime
    drain_id: int


class MessageRecord(msgspec.Struct, frozen=True, gc=False):
    """What became of one element of an answer; the fields are the columns of `stp.message`."""

    poll_id: int
    place: int
    opened_at: datetime
    feed_id: int
    start: int
    length: int
    sha256: bytes
    trade_id: str | None
    event: str | None
    state: str
    version: int | None


def message_id(poll_id: int, place: int) -> int:
    """Return our number of a message: readable, and the same for ever."""
    return poll_id * MESSAGES_A_POLL + place


MOST_AT_ONCE = 200
"""Answers that are booked together at the most, however small they are."""


def poll_of(message: int) -> int:
    """Return the poll that brought the message of this number."""
    return message // MESSAGES_A_POLL


class AnswerRepository:
    """The landed bytes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def oldest_waiting(self, feed_id: int, size: int, *, after: int = 0) -> list[Waiting]:
        """Return the oldest answers that wait for booking, in the order in which they were polled.

        They are of one drain, later than the poll `after`, and together about `size` bytes: one at least, however
        large.
        """
        columns = (UnbookedRow.poll_id, UnbookedRow.opened_at, UnbookedRow.drain_id, UnbookedRow.length)
        oldest = (
            select(*columns)
            .where(UnbookedRow.feed_id == feed_id, UnbookedRow.poll_id > after)
            .order_by(UnbookedRow.poll_id)
            .limit(MOST_AT_ONCE)
        )
        chosen: list[Waiting] = []
        for row in self._connection.execute(oldest).all():
            size -= row.length
            if chosen and (size < 0 or row.drain_id != chosen[0].drain_id):
                break
            chosen.append(Waiting(row.poll_id, row.opened_at, row.drain_id))
        return chosen

    def landed(self, feed_id: int, waiting: Sequence[Waiting]) -> list[LandedAnswer]:
        """Return these answers with their bytes, in the order in which they were polled."""
        days = [each.opened_at for each in waiting]
        drains = {each.poll_id: each.drain_id for each in waiting}
        values = {"feed_id": feed_id, "polls": list(drains), "first": min(days), "last": max(days)}
        with driver_of(self._connection).cursor(binary=True) as cursor:  # as text every byte would be two characters
            return [LandedAnswer(r[0], r[1], r[2], drains[r[0]], *r[3:]) for r in cursor.execute(BODIES, values)]

    def waiting(self, feed_id: int) -> bool:
        """Return whether any landed answer of the feed waits for booking."""
        statement = select(UnbookedRow.poll_id).where(UnbookedRow.feed_id == feed_id).limit(1)
        return self._connection.execute(statement).first() is not None

    def mark_booked(self, feed_id: int, poll_ids: Sequence[int]) -> None:
        """Take these answers from the queue of those that wait."""
        statement = delete(UnbookedRow).where(UnbookedRow.feed_id == feed_id, UnbookedRow.poll_id.in_(poll_ids))
        self._connection.execute(statement)

    def add_messages(self, messages: Iterable[MessageRecord]) -> None:
        """Store what became of these messages."""
        lines = [_message_line(each) for each in messages]
        copy_lines(self._connection, MessageRow, MessageRecord.__struct_fields__, lines)

    def change_messages(self, messages: Iterable[MessageRecord]) -> None:
        """Store what became of these messages when they were booked again."""
        rows = [
            {
                "p": m.poll_id,
                "n": m.place,
                "o": m.opened_at,
                "t": m.trade_id,
                "e": m.event,
                "s": m.state,
                "v": m.version,
            }
            for m in messages
        ]
        if rows:
            where = (
                MessageRow.poll_id == bindparam("p"),
                MessageRow.place == bindparam("n"),
                MessageRow.opened_at == bindparam("o"),
            )
            values: dict[str, Any] = {name: bindparam(key) for name, key in zip(_CHANGEABLE, "tesv", strict=True)}
            self._connection.execute(update(MessageRow).where(*where).values(values), rows)

    def answers_of(self, poll_ids: Iterable[int]) -> dict[int, LandedAnswer]:
        """Return the answers of these polls by poll number; of those that were landed."""
        numbers = sorted(set(poll_ids))
        opened = select(PollRow.id, PollRow.opened_at, PollRow.drain_id).where(PollRow.id.in_(numbers))
        polls = {number: (opened_at, drain_id) for number, opened_at, drain_id in self._connection.execute(opened)}
        if not polls:
            return {}
        keys = [(number, opened_at) for number, (opened_at, _) in polls.items()]
        statement = select(*_LANDED).where(tuple_(AnswerRow.poll_id, AnswerRow.opened_at).in_(keys))
        rows = self._connection.execute(statement)
        return {r[0]: LandedAnswer(r[0], r[1], r[2], polls[r[0]][1], *r[3:]) for r in rows}

    def outcomes_of_drain(self, last: OpenPoll) -> dict[str, int]:
        """Return how many messages of the drain that ended with this poll came to each state."""
        statement = select(MessageRow.state, func.count()).where(
            MessageRow.feed_id == last.feed_id,
            MessageRow.poll_id.between(last.drain_id, last.poll_id),
            MessageRow.opened_at >= select(PollRow.opened_at).where(PollRow.id == last.drain_id).scalar_subquery(),
        )
        return {row[0]: row[1] for row in self._connection.execute(statement.group_by(MessageRow.state))}

    def messages_of(self, feed_id: int, answer: LandedAnswer) -> list[MessageRecord]:
        """Return what became of each message of an answer, in its order."""
        columns = [getattr(MessageRow, name) for name in MessageRecord.__struct_fields__]
        statement = (
            select(*columns)
            .where(MessageRow.feed_id == feed_id, MessageRow.poll_id == answer.poll_id)
            .where(MessageRow.opened_at == answer.opened_at)
            .order_by(MessageRow.place)
        )
        return [MessageRecord(*row) for row in self._connection.execute(statement)]


def _message_line(m: MessageRecord) -> str:
    return (
        f"{m.poll_id}\t{m.place}\t{instant(m.opened_at)}\t{m.feed_id}\t{m.start}\t{m.length}\t{digest(m.sha256)}\t"
        f"{cell(m.trade_id)}\t{cell(m.event)}\t{m.state}\t{NOTHING if m.version is None else m.version}"
    )


_LANDED = (
    AnswerRow.poll_id, AnswerRow.opened_at, AnswerRow.landed_at, AnswerRow.status, AnswerRow.content_encoding,
    AnswerRow.body,
)  # fmt: skip
_CHANGEABLE = ("trade_id", "event", "state", "version")
