"""Cuts an array by its bytes, for arrays that a strict reader refuses as a whole."""

from __future__ import annotations

import re

import msgspec

# Possessive, so that a string of megabytes is passed once and never tried again.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_CLOSERS = {b"[": b"]", b"{": b"}"}
_BLANKS = b" \t\n\r"


class Uncut(msgspec.Struct, frozen=True):
    """The bytes are no array that can be cut; `why` is one sentence."""

    why: str


def split(text: bytes) -> tuple[tuple[int, int], ...] | Uncut:
    """Return where each element of the array starts and ends, or why it cannot be cut.

    An element is whatever stands between two commas, without the blanks around it: it may be no JSON at all,
    or nothing. An array with blanks only has no element. Quotes and brackets must pair off, and nothing but
    blanks may stand outside the array (design.md §3).
    """
    start = len(text) - len(text.lstrip(_BLANKS))
    if text[start : start + 1] != b"[":
        return Uncut(f"the answer is no JSON array; it starts with {text[:40]!r}")
    commas: list[int] = []
    awaited: list[bytes] = []
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark == b",":
            if len(awaited) == 1:
                commas.append(token.start())
        elif mark in _CLOSERS:
            awaited.append(_CLOSERS[mark])
        elif mark == b'"':
            return Uncut(f"the string that starts at byte {token.start()} does not end")
        elif mark in (b"]", b"}"):
            if awaited.pop() != mark:
                return Uncut(f"the bracket at byte {token.start()} closes none")
            if not awaited:
                return _between(text, start, commas, token.start())
    return Uncut("the answer ends inside the array")


def _between(text: bytes, start: int, commas: list[int], end: int) -> tuple[tuple[int, int], ...] | Uncut:
    """Return the stretches between the marks; `start` and `end` are those of the array's own brackets."""
    if rest := text[end + 1 :].strip(_BLANKS):
        return Uncut(f"after the array come {len(rest)} more bytes, from {rest[:40]!r} on")
    if not commas and not text[start + 1 : end].strip(_BLANKS):
        return ()
    edges = [start, *commas, end]
    return tuple(_trimmed(text, first + 1, last) for first, last in zip(edges, edges[1:], strict=False))


def _trimmed(text: bytes, first: int, last: int) -> tuple[int, int]:
    """Return the stretch without the blanks at both ends; of blanks alone nothing is left, at their end."""
    stretch = text[first:last]
    bare = stretch.lstrip(_BLANKS)
    start = last - len(bare)
    return start, start + len(bare.rstrip(_BLANKS))
