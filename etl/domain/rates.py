"""What an amount is worth in the reporting currency, by the vendor's own rates; never by a guess (design.md §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from etl.domain.money import EXACT
from etl.domain.position_answer import Unreadable, amount, decoded, epoch_ms
from etl.domain.reconciliation import ROUNDING

MOST_DIGITS = 18  # of a minor unit
DIGITS = re.compile("[0-9]{1,2}")


class Rate(msgspec.Struct, frozen=True):
    """Units of `term` per one `base`, and when the vendor made it."""

    base: str
    term: str
    value: Decimal
    as_of: datetime


def rate_in(body: bytes, symbol: str) -> Rate | Unreadable:
    """Return the rate of a spot answer (the middle of bid and offer) or of a benchmark answer (integral-api.md §8)."""
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    if not isinstance(document, dict) or document.get("symbol", symbol) != symbol:
        return Unreadable(f"it is no rate of {symbol}")
    value, at = _value(document), epoch_ms(document.get("time", document.get("timestamp")))
    if value is None or value <= 0 or at is None:
        return Unreadable(f"it has no rate above zero with its time for {symbol}")
    base, _, term = symbol.partition("/")
    return Rate(base, term, value, at)


def _value(document: Mapping[str, Any]) -> Decimal | None:
    bid, offer = amount(document.get("bid")), amount(document.get("offer"))
    if bid is not None and offer is not None:
        return EXACT.divide(EXACT.add(bid, offer), Decimal(2))
    return amount(document.get("rate"))


def worth(value: Decimal, currency: str, rate: Rate) -> Decimal:
    """Return the amount in the other currency of the rate; where the rate is per that one, it is divided."""
    if currency == rate.base:
        return ROUNDING.multiply(value, rate.value)
    return ROUNDING.divide(value, rate.value)


def digits_in(body: bytes) -> dict[str, int] | Unreadable:
    """Return the digits of each asset's minor unit by the vendor's asset details (A18)."""
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    if isinstance(document, dict):
        document = next((item for item in document.values() if isinstance(item, list)), None)
    if not isinstance(document, list):
        return Unreadable("it is no array of assets")
    found: dict[str, int] = {}
    for each in document:
        precision = each.get("precision") if isinstance(each, dict) else None
        if not isinstance(precision, str) or not DIGITS.fullmatch(precision) or "asset" not in each:
            continue
        if int(precision) <= MOST_DIGITS:
            found[str(each["asset"])] = int(precision)
    return found
