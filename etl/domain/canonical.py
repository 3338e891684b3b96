"""One spelling for all contents that mean the same: keys sorted, numbers by value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from etl.domain.payload import Number

_PARTS = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
_LONGEST_PLAIN = 4400
"""Characters of a number that is written out. Above what `int` reads (4,300 digits): those are always written out."""
_LONGEST_EXPONENT = 4000
"""Digits of an exponent that is reckoned with; a longer one is compared as it stands."""


def canonical(payload: Mapping[str, Any]) -> bytes:
    """Return the payload as JSON with keys sorted at every depth and one spelling for each number.

    `1.1`, `1.10` and `11e-1` become the same, a number and a text never. The result is for comparing only.
    """
    try:
        return _ENCODER.encode(payload)
    except UnicodeEncodeError:  # a lone surrogate; the mark keeps these apart from all other contents
        return b"surrogates:" + _ENCODER.encode(_escaped(payload))


def spelling(number: str) -> str:
    """Return the one spelling of all JSON numbers of this value: plain digits, or with an exponent where that is long.

    No large exponent is ever written out.
    """
    if "e" not in number and "E" not in number:
        plain = number.rstrip("0").rstrip(".") if "." in number else number
        if len(plain) <= _LONGEST_PLAIN:
            return "0" if plain == "-0" else plain
    parts = _PARTS.fullmatch(number)
    if parts is None:
        return number
    sign, whole, fraction, exponent = parts.groups(default="")
    written = (whole + fraction).lstrip("0")
    digits = written.rstrip("0")
    if not digits:
        return "0"
    if len(exponent) > _LONGEST_EXPONENT:
        return f"{sign}{whole}.{fraction}e{exponent}"
    power = int(exponent or 0) + len(written) - len(digits) - len(fraction)
    plain = sign + _plain(digits, power)
    return plain if len(sign) < len(plain) <= _LONGEST_PLAIN else f"{sign}{digits}e{power}"


def _plain(digits: str, power: int) -> str:
    """Write the number without an exponent; empty where that would be too long by far."""
    point = len(digits) + power
    if not -_LONGEST_PLAIN < point <= _LONGEST_PLAIN or len(digits) > _LONGEST_PLAIN:
        return ""
    if power >= 0:
        return f"{digits}{'0' * power}"
    if point > 0:
        return f"{digits[:point]}.{digits[point:]}"
    return f"0.{'0' * -point}{digits}"


def _escaped(value: Any) -> Any:
    """Return the value with its texts written so that they can be encoded, different ones differently."""
    if type(value) is str:
        return value.encode("utf-8", "surrogatepass").decode("latin-1")
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(child) for child in value]
    return value


def _number(value: Any) -> msgspec.Raw:
    """Hand a Number to the encoder; nothing else in a payload is foreign to it."""
    if isinstance(value, Number):
        return msgspec.Raw(spelling(value).encode())
    raise TypeError(f"a payload holds no {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_number, order="sorted")
