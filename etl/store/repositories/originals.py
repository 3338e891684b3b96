"""The vendor's own words about one message, and what we know about how they came."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, text

from etl.store.repositories.answers import poll_of
from etl.store.rows.poll import MESSAGES_A_POLL

# An answer is found by its key, which is in the ledger, or, while it waits, in the queue of booking.
ANSWER = text("""
WITH known AS (
    SELECT feed_id, id AS poll_id, opened_at FROM stp.poll WHERE id = :poll_id
    UNION
    SELECT feed_id, poll_id, opened_at FROM stp.unbooked WHERE poll_id = :poll_id
)
SELECT f.name, a.feed_id, a.poll_id, a.opened_at, a.landed_at, a.request_id, a.status, a.content_encoding, a.body,
    a.sha256
FROM known k JOIN stp.answer a USING (feed_id, poll_id, opened_at) JOIN stp.feed f ON f.id = a.feed_id
""")
MESSAGE = text("""
SELECT m.place, m.start, m.length, m.sha256, m.state, m.trade_id, m.version, m.event
FROM stp.message m WHERE m.poll_id = :poll_id AND m.place = :place AND m.opened_at = :opened_at
""")


class KeptAnswer(msgspec.Struct, frozen=True):
    """An answer as it lies in the database, with the feed and the request that brought it."""

    feed: str
    feed_id: int
    poll_id: int
    opened_at: datetime
    landed_at: datetime
    request_id: str
    status: int
    content_encoding: str | None
    body: bytes
    sha256: bytes


class KeptMessage(msgspec.Struct, frozen=True):
    """What became of a message, and where its bytes are in the decoded answer."""

    place: int
    start: int
    length: int
    sha256: bytes
    state: str
    trade_id: str | None
    version: int | None
    event: str | None


class OriginalRepository:
    """Landed bytes by the number of a message."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def answer_of(self, message: int) -> KeptAnswer | None:
        """Return the answer that brought the message of this number, or None where no such answer was landed."""
        row = self._connection.execute(ANSWER, {"poll_id": poll_of(message)}).first()
        return None if row is None else KeptAnswer(*row)

    def message_in(self, answer: KeptAnswer, message: int) -> KeptMessage | None:
        """Return what became of a message of the answer, or None where it was not booked yet, or is not there."""
        place = message % MESSAGES_A_POLL
        values = {"poll_id": answer.poll_id, "place": place, "opened_at": answer.opened_at}
        row = self._connection.execute(MESSAGE, values).first()
        return None if row is None else KeptMessage(*row)
