"""What trades add to positions, and their sums."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from etl.domain.money import EXACT
from etl.domain.trade import Leg, OurSide, Trade


class PositionKey(msgspec.Struct, frozen=True, gc=False):
    """What amounts are summed by; `organisation`, `legal_entity` and `trader` are ours."""

    organisation: str | None
    legal_entity: str | None
    trader: str | None
    symbol: str
    value_date: date
    deliverable: bool


class Totals(msgspec.Struct, frozen=True, gc=False):
    """Base and term amount in major units, positive is received by us, negative is paid; the trades in them."""

    base_amount: Decimal = Decimal(0)
    term_amount: Decimal = Decimal(0)
    count: int = 0


class Movement(msgspec.Struct, frozen=True, gc=False):
    """What one leg of a trade adds to one position; units and signs as in Totals."""

    organisation: str | None
    legal_entity: str | None
    trader: str | None
    symbol: str
    value_date: date
    deliverable: bool
    base_amount: Decimal
    term_amount: Decimal
    count: int = 1

    @property
    def key(self) -> PositionKey:
        """Return the position that it moves."""
        return PositionKey(*_key(self))


_key = attrgetter(*PositionKey.__struct_fields__)


def movements(trade: Trade) -> tuple[Movement, ...]:
    """Return what the trade adds to positions: one movement a leg, and for an internal trade one more for the
    counterparty's side of it. A trade that is not live adds nothing (design.md §6).
    """
    if not trade.live:
        return ()
    ours = tuple(_movement(trade, leg) for leg in trade.legs)
    return (*ours, *(_counterparty_movement(trade, leg) for leg in trade.legs)) if trade.internal else ours


def net(moves: Iterable[Movement]) -> dict[PositionKey, Totals]:
    """Return the exact sums for each position; those that come to nothing stay in (law 8)."""
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for each in moves:
        key = _key(each)
        if (so_far := sums.get(key)) is None:
            sums[key] = [each.base_amount, each.term_amount, each.count]
        else:
            so_far[0] = EXACT.add(so_far[0], each.base_amount)
            so_far[1] = EXACT.add(so_far[1], each.term_amount)
            so_far[2] += each.count
    return {PositionKey(*key): Totals(*totals) for key, totals in sums.items()}


def _movement(trade: Trade, leg: Leg) -> Movement:
    return Movement(
        trade.organisation,
        trade.legal_entity,
        None if trade.our_side is OurSide.COUNTERPARTY else trade.trader,  # the vendor names its customer's user only
        trade.symbol,
        leg.value_date,
        leg.deliverable,
        leg.base_amount,
        leg.term_amount,
    )


def _counterparty_movement(trade: Trade, leg: Leg) -> Movement:
    return msgspec.structs.replace(
        _movement(trade, leg),
        organisation=trade.counterparty,
        legal_entity=trade.counterparty_entity,
        trader=None,
        base_amount=leg.base_amount.copy_negate(),
        term_amount=leg.term_amount.copy_negate(),
    )
