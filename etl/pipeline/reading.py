"""From the bytes of an answer to what each of its messages says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from etl.domain.answer import Page, content_of
from etl.domain.comparison import content_hash
from etl.domain.fields import Reading
from etl.domain.normalise import event_of, normalise, peek
from etl.domain.payload import decode
from etl.domain.trade import Fault, Rejected, Trade
from etl.store.repositories.answers import LandedAnswer, MessageRecord, message_id
from etl.store.repositories.attention import ExceptionItem


class ReadMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of a landed answer as it reads today: a trade, or every fault found in it."""

    poll_id: int
    place: int
    opened_at: datetime
    landed_at: datetime
    start: int
    length: int
    sha256: bytes
    payload: Mapping[str, Any]
    content_hash: bytes
    event: str | None
    says: Trade | Rejected

    @property
    def message_id(self) -> int:
        """Our number of the message."""
        return message_id(self.poll_id, self.place)

    def record(self, feed_id: int, state: str, version: int | None) -> MessageRecord:
        """Return what is kept of the message."""
        known = self.says.trade_id if isinstance(self.says, Trade) else _short(peek(self.payload).get("trade_id"))
        return MessageRecord(
            self.poll_id, self.place, self.opened_at, feed_id, self.start, self.length, self.sha256, known, self.event,
            state, version,
        )  # fmt: skip

    def item(self, faults: tuple[Fault, ...], reading: Reading) -> ExceptionItem:
        """Return the message as an exception item."""
        return ExceptionItem(self.message_id, self.sha256, faults, peek(self.payload, reading))


def messages_in(answer: LandedAnswer, reading: Reading) -> Iterator[ReadMessage]:
    """Return every message of a landed answer, in its order; none where the bytes are no page."""
    content = content_of(answer.status, answer.body, answer.content_encoding)
    if not isinstance(content, Page):
        return
    for place, piece in enumerate(content.pieces):
        raw = piece.raw
        payload = decode(raw)
        sha256 = hashlib.sha256(raw).digest()
        says: Trade | Rejected
        if isinstance(payload, Rejected):
            says, payload, contents, event = payload, {}, sha256, None
        else:
            contents, event = content_hash(payload, reading), event_of(payload, reading)
            says = normalise(payload, reading)
        yield ReadMessage(
            answer.poll_id, place, answer.opened_at, answer.landed_at, piece.offset, len(raw), sha256, payload,
            contents, event, says,
        )  # fmt: skip


def _short(trade_id: str | None) -> str | None:
    return trade_id[:255] if trade_id else None
