"""Turns the bytes of one message into its fields, numbers digit for digit."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from etl.domain.text import shown
from etl.domain.trade import Fault, Rejected

MAX_DEPTH = 100
"""Levels of objects and arrays inside each other that a message may have."""

ELEMENT = "(message)"
"""Stands in a fault for the field when the message as a whole is at fault."""

_MINUS_ZERO = re.compile(rb"-0[,}\s]")


class Number(str):
    """A JSON number as the vendor wrote it, digit for digit; also the words NaN, Infinity and -Infinity (law 8).

    In a payload a number is a Number, or an `int` where the vendor wrote a plain integer.
    """

    __slots__ = ()


_FAST = msgspec.json.Decoder(float_hook=Number)


def is_number(value: object) -> bool:
    """Return whether a payload's value is a number, which `true` and `false` are not."""
    return type(value) is Number or type(value) is int


def decode(raw: bytes) -> Mapping[str, Any] | Rejected:
    """Return the fields of a message, or why it is not one; never raises.

    Faults: it is no JSON, no object, nested deeper than MAX_DEPTH, or an object in it has the same key twice.
    Bytes that are no UTF-8 become lone surrogates, which the rules of the single fields judge.
    """
    try:
        element = _FAST.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decoded_slowly(raw)
    if type(element) is dict and _is_plain(raw, element):
        return element
    return _decoded_slowly(raw)


def _is_plain(raw: bytes, element: dict[str, Any]) -> bool:
    """Return whether the fast reader may be believed, which does not see that a key stands twice, and makes -0 a 0.

    Each key and each text has two quotes. If there are no more quotes than those of the keys and texts that the
    reader gave, no key was there twice, no object lies inside, and no text holds a quote.
    """
    texts = list(map(type, element.values())).count(str)
    return raw.count(b'"') == 2 * (len(element) + texts) and b"[" not in raw and _MINUS_ZERO.search(raw) is None


def _decoded_slowly(raw: bytes) -> Mapping[str, Any] | Rejected:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return found

    try:
        element = json.loads(
            raw.decode("utf-8", "surrogateescape"),
            object_pairs_hook=unique,
            parse_float=Number,
            parse_int=Number,
            parse_constant=Number,
            strict=False,
        )
    except RecursionError:
        return _rejected(raw, f"is nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:
        return _rejected(raw, f"is not JSON: {error}")
    if not isinstance(element, dict):
        return _rejected(raw, "is not a JSON object")
    if _is_deeper(element, MAX_DEPTH):
        return _rejected(raw, f"is nested deeper than {MAX_DEPTH} levels")
    if twice:
        return Rejected(tuple(Fault(shown(name), None, "stands twice in one object") for name in twice), element)
    return element


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(child, levels - 1) for child in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(child, levels - 1) for child in value)
    return False


def _rejected(raw: bytes, rule: str) -> Rejected:
    return Rejected((Fault(ELEMENT, shown(raw[:1000].decode("utf-8", "backslashreplace")), rule),))
