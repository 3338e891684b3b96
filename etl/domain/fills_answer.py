"""What the vendor's answers about trades say: the fills of an order (A19), and one trade (A20)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from etl.domain.position_answer import Doubtful, Unreadable, decoded
from etl.domain.text import is_storable, shown

VERIFIED = "verified"
LONGEST_ID = 200


class Fill(msgspec.Struct, frozen=True):
    """One trade as the vendor names it in an answer."""

    trade_id: str
    status: str | None
    trade_date: date | None
    replaced_by: tuple[str, ...] = ()
    """Trades that stand in its place, where the vendor names them (A21)."""

    @property
    def counts(self) -> bool:
        """Return whether it stands: Verified, or without a status."""
        return self.status is None or self.status.lower() == VERIFIED


class FillsAnswer(msgspec.Struct, frozen=True):
    """The fills of an order. With faults it may have more than these."""

    fills: tuple[Fill, ...]
    faults: tuple[str, ...]


def fills_in(body: bytes) -> FillsAnswer | Unreadable:
    """Return the trades of an answer that is an array of them, or why it cannot be read."""
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    if not isinstance(document, list):
        return Unreadable("it is no array")
    read = [_fill(each) for each in document]
    return FillsAnswer(
        tuple(each for each in read if isinstance(each, Fill)), tuple(each for each in read if isinstance(each, str))
    )


def trade_in(body: bytes, trade_id: str) -> Fill | Unreadable:
    """Return what an answer says of the trade that was asked for."""
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    read = _fill(document)
    if isinstance(read, str):
        return Unreadable(read)
    return read if read.trade_id == trade_id else Unreadable(f"it is about {shown(read.trade_id)}")


def _fill(value: Any) -> Fill | str:
    if not isinstance(value, Mapping):
        return f"{shown(str(value)[:80])} is no object"
    if isinstance(value, Doubtful):
        return "an object has a name twice"
    trade_id, status = value.get("tradeId"), value.get("status")
    if type(trade_id) is not str or not 0 < len(trade_id) <= LONGEST_ID or not is_storable(trade_id):
        return f"tradeId is {shown(str(trade_id)[:80])}"
    if status is not None and type(status) is not str:
        return f"status of {shown(trade_id)} is {shown(str(status)[:80])}"
    return Fill(trade_id, status, _day(value.get("tradeDate")), _ids(value.get("replacedBy")))


def _ids(value: Any) -> tuple[str, ...]:
    """Return the trades that are named, one or several; what is no id of a trade is left out."""
    named = value if isinstance(value, list) else [value]
    return tuple(each for each in named if type(each) is str and 0 < len(each) <= LONGEST_ID and is_storable(each))


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
