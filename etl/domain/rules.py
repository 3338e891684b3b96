"""How the value of each kind of field is read, and the sentence that says why it cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
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
    """A value that its field cannot have; `rule` is the end of a sentence that begins with the field's name."""

    rule: str


class Unstorable(Broken, frozen=True):
    """A text that is sound but for what Postgres cannot hold: a NUL character or a lone surrogate."""


Rule = Callable[[Any], Any]
"""Takes a value as decoded, neither None nor empty, and returns it as the book keeps it, or a Broken."""


class Symbol(msgspec.Struct, frozen=True):
    """A dealt pair as the vendor writes it, and its two parts."""

    text: str
    base: str
    term: str


def remark(longest: int) -> Rule:
    """Return the rule for a text that only describes: any characters, at most `longest` of them."""

    def read(value: Any) -> str | Broken:
        if type(value) is not str:
            return Broken("must be a text")
        if len(value) > longest:
            return Broken(f"must have at most {longest} characters")
        return value if is_storable(value) else Unstorable("must not hold NUL characters or lone surrogates")

    return read


def name(longest: int) -> Rule:
    """Return the rule for a text that identifies something: not blank, no control characters."""

    def read(value: Any) -> str | Broken:
        if type(value) is not str:
            return Broken("must be a text")
        if len(value) > longest:
            return Broken(f"must have at most {longest} characters")
        if has_control_characters(value) or value.isspace():
            return Broken("must be a name: not blank, no control characters, no lone surrogates")
        return value

    return read


def day(value: Any) -> date | Broken:
    """Read a day written YYYY-MM-DD that exists."""
    if type(value) is str and len(value) == 10 and value[4] == "-" == value[7]:
        try:
            found = date.fromisoformat(value)
        except ValueError:
            return Broken("must be a day that exists, written YYYY-MM-DD")
        if FIRST_YEAR <= found.year <= LAST_YEAR:
            return found
    return Broken(f"must be a day of the years {FIRST_YEAR} to {LAST_YEAR} as text, written YYYY-MM-DD")


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [+-]\d{4}", re.ASCII)


def instant(value: Any) -> datetime | Broken:
    """Read an instant written `2023-06-02 18:31:01,301 +0000` to the millisecond (§3.1) and return it in UTC."""
    if type(value) is str and len(value) == 29 and _INSTANT.fullmatch(value):
        try:
            found = datetime.fromisoformat(f"{value[:23]}{value[24:]}")
            if FIRST_YEAR <= found.year <= LAST_YEAR:
                return found.astimezone(UTC)
        except ValueError:
            return Broken("must be an instant that exists, written YYYY-MM-DD hh:mm:ss,SSS +hhmm")
    return Broken(
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
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int):
        return Broken("must be a finite number")
    if len(digits) > LONGEST_NUMBER or exponent < -LONGEST_NUMBER or found.adjusted() >= LONGEST_NUMBER:
        return _TOO_LONG
    return found


def amount(value: Any) -> Decimal | Broken:
    """Read an amount in major units: a JSON number above 0, digit for digit (A1: amounts are unsigned)."""
    found = rate(value)
    if type(found) is Decimal and found <= 0:
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
