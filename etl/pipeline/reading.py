"""From the bytes of an answer to what each of its messages says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from etl.domain.answer import Page, Piece, content_of
from etl.domain.comparison import content_hash
from etl.domain.fields import RULES, Reading
from etl.domain.normalise import event_of, normalise, peek
from etl.domain.payload import decode
from etl.domain.trade import Fault, Rejected, Trade
from etl.pipeline.express import read_ordinary
from etl.store.repositories.answers import LandedAnswer, MessageRecord, message_id
from etl.store.repositories.attention import ExceptionItem
from etl.store.repositories.book import TradeText, text_of


class ReadMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of a landed answer as it reads today: the rows of a trade, or every fault found in it.

    `unknown_fields` are names that we have no column for; `executed_at` is None for what is no trade.
    """

    poll_id: int
    place: int
    opened_at: datetime
    landed_at: datetime
    start: int
    raw: bytes
    sha256: bytes
    content_hash: bytes
    event: str | None
    trade_id: str | None
    says: TradeText | Rejected
    executed_at: datetime | None = None
    unknown_fields: tuple[str, ...] = ()

    @property
    def message_id(self) -> int:
        """Our number of the message."""
        return message_id(self.poll_id, self.place)

    def record(self, feed_id: int, state: str, version: int | None) -> MessageRecord:
        """Return what is kept of the message."""
        return MessageRecord(
            self.poll_id, self.place, self.opened_at, feed_id, self.start, len(self.raw), self.sha256, self.trade_id,
            self.event, state, version,
        )  # fmt: skip

    def trade(self, reading: Reading) -> Trade:
        """Return the trade that the message states; it states one."""
        payload = decode(self.raw)
        assert not isinstance(payload, Rejected)
        trade = normalise(payload, reading)
        assert isinstance(trade, Trade)
        return trade

    def item(self, faults: tuple[Fault, ...], reading: Reading) -> ExceptionItem:
        """Return the message as an exception item."""
        payload = decode(self.raw)
        glance = peek((payload.payload or {}) if isinstance(payload, Rejected) else payload, reading)
        return ExceptionItem(self.message_id, self.sha256, faults, glance)


def messages_in(answer: LandedAnswer, reading: Reading) -> Iterator[ReadMessage]:
    """Return every message of a landed answer, in its order; none where the bytes are no page."""
    content = content_of(answer.status, answer.body, answer.content_encoding)
    if not isinstance(content, Page):
        return
    for place, piece in enumerate(content.pieces):
        ordinary = read_ordinary(piece.raw, reading)
        if ordinary is None:
            yield read_fully(answer, place, piece, reading)
            continue
        yield ReadMessage(
            answer.poll_id, place, answer.opened_at, answer.landed_at, piece.offset, piece.raw,
            hashlib.sha256(piece.raw).digest(), ordinary.content_hash, ordinary.event, ordinary.text.trade_id,
            ordinary.text, ordinary.executed_at,
        )  # fmt: skip


def read_fully(answer: LandedAnswer, place: int, piece: Piece, reading: Reading) -> ReadMessage:
    """Return what one message says, whatever it holds."""
    sha256 = hashlib.sha256(piece.raw).digest()
    payload = decode(piece.raw)
    if isinstance(payload, Rejected):
        says: Trade | Rejected = _with_all_faults(payload, reading)
        contents, event, known = sha256, None, _trade_id(payload.payload or {}, reading)
    else:
        says = normalise(payload, reading)
        contents, event = content_hash(payload, reading), event_of(payload, reading)
        known = _trade_id(payload, reading)
    message = ReadMessage(
        answer.poll_id, place, answer.opened_at, answer.landed_at, piece.offset, piece.raw, sha256, contents, event,
        known, Rejected(()),
    )  # fmt: skip
    if isinstance(says, Rejected):
        return msgspec.structs.replace(message, says=says)
    return msgspec.structs.replace(
        message,
        says=text_of(says),
        trade_id=says.trade_id,
        executed_at=says.executed_at,
        unknown_fields=tuple(name for name in says.attributes if name not in RULES),
    )


def _with_all_faults(rejected: Rejected, reading: Reading) -> Rejected:
    """Return the faults of a message whose form is at fault, and those of its fields where they can be read."""
    says = None if rejected.payload is None else normalise(rejected.payload, reading)
    return Rejected((*rejected.faults, *says.faults)) if isinstance(says, Rejected) else Rejected(rejected.faults)


def _trade_id(payload: Mapping[str, Any], reading: Reading) -> str | None:
    return (peek(payload, reading).get("trade_id") or "")[:255] or None
