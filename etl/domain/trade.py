"""A trade and its legs, as the book keeps them, and what is said when a message is no trade."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from etl.domain.money import Amount


class TradeType(StrEnum):
    """The six kinds of trade; the values are the vendor's (integral-api.md §3.1)."""

    SPOT = "Spot"
    OUTRIGHT = "Outright"
    NDF = "NDF"
    SWAP = "Swap"
    FWD_FWD = "FwdFwd"
    NDF_SWAP = "NDFSwap"

    @property
    def has_far_leg(self) -> bool:
        """Return whether the trade exchanges currencies on two value dates (A4)."""
        return self in _TWO_LEGS

    @property
    def is_non_deliverable(self) -> bool:
        """Return whether only a difference is paid, never the notional amounts (A5)."""
        return self in _NON_DELIVERABLE


_TWO_LEGS = frozenset({TradeType.SWAP, TradeType.FWD_FWD, TradeType.NDF_SWAP})
_NON_DELIVERABLE = frozenset({TradeType.NDF, TradeType.NDF_SWAP})


class Side(StrEnum):
    """What a party did with the dealt currency (A3)."""

    BUY = "buy"
    SELL = "sell"

    def turned(self) -> Side:
        """Return the other party's side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OurSide(StrEnum):
    """Which party of the trade is ours (`own_orgs`, design.md §6)."""

    CUSTOMER = "customer"
    COUNTERPARTY = "counterparty"
    BOTH = "both"


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One exchange of two currencies on one value date; a spot has one leg, a swap near (1) and far (2).

    Amounts are signed for our side: positive is received, negative is paid. For an internal trade
    (both parties ours) they are the customer's.
    """

    leg_no: int
    value_date: date
    dealt: Amount
    settled: Amount
    base_amount: Decimal
    term_amount: Decimal
    deliverable: bool
    fixing_date: date | None = None
    fixing_tenor: str | None = None
    rate: Decimal | None = None
    spot_rate: Decimal | None = None
    forward_points: Decimal | None = None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A verified deal of one legal entity of ours with one counterparty, as one message states it.

    `organisation`, `legal_entity` are our side's, `counterparty`, `counterparty_entity` the other's,
    whichever of them the vendor calls customer. `side` is our side's, of the dealt currency. `maker`
    is the vendor's word about its customer. `attributes` holds every field that has no column, numbers
    as their text; `attributes_omitted` names those that the database cannot hold.
    """

    trade_id: str
    trade_type: TradeType
    trade_date: date
    symbol: str
    base_currency: str
    term_currency: str
    dealt_currency: str
    side: Side
    our_side: OurSide
    live: bool
    legs: tuple[Leg, ...]
    status: str | None = None
    maker: bool | None = None
    executed_at: datetime | None = None
    order_id: str | None = None
    client_order_id: str | None = None
    organisation: str | None = None
    legal_entity: str | None = None
    trader: str | None = None
    counterparty: str | None = None
    counterparty_name: str | None = None
    counterparty_entity: str | None = None
    channel: str | None = None
    stream: str | None = None
    rate_id: str | None = None
    uti: str | None = None
    usi: str | None = None
    lei: str | None = None
    counterparty_lei: str | None = None
    note: str | None = None
    external_request_id: str | None = None
    original_trade_id: str | None = None
    replaced_by: str | None = None
    attributes: Mapping[str, Any] = {}
    attributes_omitted: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def internal(self) -> bool:
        """Return whether both parties are ours, so that both sides count."""
        return self.our_side is OurSide.BOTH


class Fault(msgspec.Struct, frozen=True):
    """One reason why a message is no trade: the vendor's field, its value as text (cut short), the rule."""

    field: str
    value: str | None
    rule: str


class Rejected(msgspec.Struct, frozen=True):
    """A message that a person must look at, with every fault found in it.

    `payload` is what could be read of it all the same, where its fields can be told apart.
    """

    faults: tuple[Fault, ...]
    payload: Mapping[str, Any] | None = None
