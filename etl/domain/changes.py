"""What differs between two versions of a trade, by the names under which the book keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from etl.domain.comparison import compare
from etl.domain.trade import Leg, Trade

_DERIVED = ("live", "base_currency", "term_currency", "flags")
_LEG_DERIVED = ("base_amount", "term_amount")
_OF_AMOUNTS = ("dealt_amount", "dealt_currency", "settled_amount", "settled_currency")


def reading_changes(known: Trade, other: Trade) -> tuple[str, ...]:
    """Return every field in which two readings of the same message differ, also those that others follow from.

    Names as in `changed_fields`: a field of a leg as `leg1.rate`, one without a column as `attributes.NAME`.
    Numbers are compared by value. Nothing means that a newer version would say the same.
    """
    return (*compare(known, other).changed, *_derived_changes(known, other))


def value_of(trade: Trade, field: str) -> Any:
    """Return what the trade has under a name of `changed_fields`; None where it has nothing there."""
    first, _, rest = field.partition(".")
    if first == "attributes":
        return trade.attributes.get(rest)
    if not first.startswith("leg") or not first[3:].isdigit():
        return getattr(trade, first, None)
    number = int(first[3:])
    if number > len(trade.legs):
        return None
    leg = trade.legs[number - 1]
    if not rest:
        return f"{_plain(leg.dealt.value)} {leg.dealt.currency} for {leg.value_date}"
    return _of_leg(leg, rest)


def _of_leg(leg: Leg, name: str) -> Any:
    if name not in _OF_AMOUNTS:
        return getattr(leg, name, None)
    which, _, part = name.partition("_")
    amount = getattr(leg, which)
    return amount.value if part == "amount" else amount.currency


def _derived_changes(known: Trade, other: Trade) -> Iterator[str]:
    yield from (name for name in _DERIVED if getattr(known, name) != getattr(other, name))
    for number, (leg, other_leg) in enumerate(zip(known.legs, other.legs, strict=False), start=1):
        yield from (f"leg{number}.{name}" for name in _LEG_DERIVED if getattr(leg, name) != getattr(other_leg, name))


def _plain(value: Decimal) -> str:
    return f"{value:f}"
