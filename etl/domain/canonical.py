"""One spelling for all contents that mean the same: keys sorted, numbers by value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from etl.domain.payload import Number

_PARTS = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
_LONGEST_PLAIN = 4300
"""Digits of a whole number that is written out: the fast reader gives such numbers as `int`."""


def canonical(payload: Mapping[str, Any]) -> bytes:
    """Return the payload as JSON with keys sorted at every depth and one spelling for each number.

    `1.1`, `1.10` and `11e-1` become the same, a number and a text never. The result is for comparing only.
    """
    try:
        return _ENCODER.encode(payload)
    except UnicodeEncodeError:  # a lone surrogate; the mark keeps these apart from all other contents
        return b"surrogates:" + _ENCODER.encode(_escaped(payload))


def spelling(number: str) -> str:
    """Return the one spelling of all JSON numbers of this value, without ever writing out a large exponent."""
    parts = _PARTS.fullmatch(number)
    if parts is None:  # NaN, Infinity
        return number
    sign, whole, fraction, exponent = parts.groups(default="")
    written = (whole + fraction).lstrip("0")
    digits = written.rstrip("0")
    if not digits:
        return "0"
    power = _sum(exponent or "0", len(written) - len(digits) - len(fraction))
    if len(power) <= 4 and 0 <= int(power) <= _LONGEST_PLAIN - len(digits):
        return f"{sign}{digits}{'0' * int(power)}"
    return f"{sign}{digits}e{power}"


def _sum(exponent: str, shift: int) -> str:
    """Add to an exponent of any length, in blocks of digits that an `int` can be made of."""
    if len(exponent) <= 4000:
        return str(int(exponent) + shift)
    return f"{exponent}{shift:+d}"


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
