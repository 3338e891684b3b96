"""How the value of each kind of field is read, and the sentence that says why it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from etl.domain.payload import Number
from etl.domain.text import has_control_characters, is_storable
from etl.domain.trade import Side, TradeType

LONGEST_NUMBER = 38
"""Significant digits of a number, and digits on either side of the point, that are still believed."""
LONGEST_SYMBOL = 35
LONGEST_SYMBOL_PART = 17
FIRST_YEAR, LAST_YEAR = 1970, 2199


class Broken(msgspec.Struct, frozen=True):
    """A value that its field cannot have; `rule` is the end of a sentence that begins with the field's name.

    `storable` is False for a text that is sound but for what Postgres cannot hold.
    """

    rule: str
    storable: bool = True


Rule = Callable[[Any], Any]
"""Takes a value as decoded and returns it as the book keeps it, or a Broken (always for None and an empty text)."""


class Symbol(msgspec.Struct, frozen=True):
    """A dealt pair as the vendor writes it, and its two parts."""

    text: str
    base: str
    term: str


LONGEST: dict[Rule, int] = {}
"""For each rule of a plain text: its greatest length. In printable text without escapes nothing else can be broken."""


def remark(longest: int) -> Rule:
    """Return the rule for a text that only describes: any characters, at most `longest` of them."""

    def read(value: Any) -> str | Broken:
        if type(value) is not str:
            return Broken("must be a text")
        if 0 < len(value) <= longest:
            if value.isprintable() or is_storable(value):
                return value
            return Broken("must not hold NUL characters or lone surrogates", storable=False)
        return Broken(f"must have 1 to {longest} characters")

    LONGEST[read] = longest
    return read


def name(longest: int) -> Rule:
    """Return the rule for a text that identifies something: not blank, no control characters."""

    def read(value: Any) -> str | Broken:
        if type(value) is not str:
            return Broken("must be a text")
        if 0 < len(value) <= longest:
            if (value.isprintable() or not has_control_characters(value)) and not value.isspace():
                return value
            return Broken("must be a name: not blank, no control characters, no lone surrogates")
        return Broken(f"must have 1 to {longest} characters")

    LONGEST[read] = longest
    return read


def day(value: Any) -> date | Broken:
    """Read a day written YYYY-MM-DD that exists."""
    return _day(value) if type(value) is str and len(value) == 10 else _NO_DAY


@lru_cache(maxsize=4096)
def _day(text: str) -> date | Broken:
    if text[4] != "-" or text[7] != "-":
        return _NO_DAY
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return Broken("must be a day that exists, written YYYY-MM-DD")
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else _NO_DAY


_NO_DAY = Broken(f"must be a day of the years {FIRST_YEAR} to {LAST_YEAR} as text, written YYYY-MM-DD")


def instant(value: Any) -> datetime | Broken:
    """Read an instant written `2023-06-02 18:31:01,301 +0000` to the millisecond (§3.1) and return it in UTC."""
    if type(value) is not str or len(value) != 29 or _MARKS(value) != _SAMPLE_MARKS or not value[25:].isdecimal():
        return _NO_INSTANT
    try:
        found = datetime.fromisoformat(f"{value[:23]}{value[24:]}")
        if found.tzinfo is not UTC:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        return _NO_INSTANT
    return found if FIRST_YEAR <= found.year <= LAST_YEAR else _NO_INSTANT


_SAMPLE = "2023-06-02 18:31:01,301 +0000"
_MARKS = itemgetter(4, 7, 10, 13, 16, 19, 23)
_SAMPLE_MARKS = _MARKS(_SAMPLE)
_NO_INSTANT = Broken(
    f"must be an instant of the years {FIRST_YEAR} to {LAST_YEAR} as text, written YYYY-MM-DD hh:mm:ss,SSS +hhmm"
)

_TOO_LONG = Broken(
    f"must have at most {LONGEST_NUMBER} significant digits, and at most {LONGEST_NUMBER} on either side of the point"
)
_FIRST_TOO_LONG = 10**LONGEST_NUMBER
_LONGEST_TEXT = 128


def rate(value: Any) -> Decimal | Broken:
    """Read a number of either sign, digit for digit (A2)."""
    if type(value) is int:
        return Decimal(value) if abs(value) < _FIRST_TOO_LONG else _TOO_LONG
    if type(value) is not Number:
        return Broken("must be a JSON number")
    if len(value) > _LONGEST_TEXT:
        return _TOO_LONG
    try:
        found = Decimal(value)
    except InvalidOperation:
        return _TOO_LONG
    if len(value) <= LONGEST_NUMBER and "e" not in value and "E" not in value and found.is_finite():
        return found
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int):
        return Broken("must be a finite number")
    if len(digits) > LONGEST_NUMBER or exponent < -LONGEST_NUMBER or found.adjusted() >= LONGEST_NUMBER:
        return _TOO_LONG
    return found


def amount(value: Any) -> Decimal | Broken:
    """Read an amount in major units: a JSON number above 0, digit for digit (A1: amounts are unsigned)."""
    found = rate(value)
    if type(found) is Decimal and (found.is_signed() or not found):
        return Broken("must be above 0; amounts are unsigned, the side says who pays")
    return found


def side(value: Any) -> Side | Broken:
    """Read Buy or Sell in any letter case (A3)."""
    found = _SIDES.get(value.lower()) if type(value) is str else None
    return found or Broken("must be Buy or Sell, in any letter case")


_SIDES = {str(each): each for each in Side}


def trade_type(value: Any) -> TradeType | Broken:
    """Read one of the six kinds, spelt as the vendor spells them (§3.1)."""
    found = _TRADE_TYPES.get(value) if type(value) is str else None
    return found or Broken(f"must be one of {', '.join(TradeType)}")


_TRADE_TYPES = {str(each): each for each in TradeType}


def yes_or_no(value: Any) -> bool | Broken:
    """Read true or false."""
    return value if type(value) is bool else Broken("must be true or false")


def symbol(value: Any) -> Symbol | Broken:
    """Read a pair BASE/TERM; a part is a currency, metal, energy, index or crypto asset, of any spelling (§3.1)."""
    if type(value) is not str or len(value) > LONGEST_SYMBOL:
        return Broken(f"must be a text of at most {LONGEST_SYMBOL} characters")
    return _symbol(value)


@lru_cache(maxsize=4096)
def _symbol(text: str) -> Symbol | Broken:
    parts = text.split("/")
    if len(parts) != 2 or parts[0] == parts[1] or not all(map(_is_symbol_part, parts)):
        return Broken(
            f"must be BASE/TERM, two different parts of 1 to {LONGEST_SYMBOL_PART} printable characters, no blanks"
        )
    return Symbol(text, *parts)


def _is_symbol_part(part: str) -> bool:
    return 0 < len(part) <= LONGEST_SYMBOL_PART and part.isprintable() and " " not in part
