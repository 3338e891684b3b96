"""What an answer of the queue is: empty, a page of messages, or unreadable."""

from __future__ import annotations

import zlib
from itertools import accumulate

import msgspec

from etl.domain.splitter import Uncut, split

MAX_DECODED_BYTES = 256 * 1024 * 1024
"""A compressed answer that grows beyond this is unreadable."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\n\r"
_BETWEEN = frozenset(_BLANKS + b",")
_ZLIB_WINDOW = {"gzip": (zlib.MAX_WBITS | 16,), "x-gzip": (zlib.MAX_WBITS | 16,), "deflate": (zlib.MAX_WBITS, -15)}
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One element of a page: its bytes as sent, and where they start in the (decoded) answer."""

    offset: int
    raw: bytes


class Page(msgspec.Struct, frozen=True):
    """An array with at least one element, cut into its elements in the order of the answer."""

    pieces: tuple[Piece, ...]


class Empty(msgspec.Struct, frozen=True):
    """Proof that nothing was handed out: 204, no body, or an array of length 0 (law 10, A8)."""


class Unreadable(msgspec.Struct, frozen=True):
    """Bytes that are no array even for the tolerant splitter; `why` is one sentence."""

    why: str


Content = Page | Empty | Unreadable


def content_of(status: int, body: bytes, content_encoding: str | None = None) -> Content:
    """Return what the vendor's answer holds; never raises, whatever the bytes are (laws 5 and 10, A8).

    `body` is as it came; gzip and deflate are undone first, and offsets count from the start of the result.
    A leading UTF-8 byte order mark is passed over, and counted in the offsets. An element is not looked into:
    whatever stands between two commas is a piece, `decode` says what it is worth.
    """
    if status == 204:
        return Empty()
    if status != 200:
        return Unreadable(f"status {status} is neither 200 nor 204")
    if not body:
        return Empty()
    plain = _unpacked(body, content_encoding)
    if isinstance(plain, Unreadable):
        return plain
    return _cut(plain) if plain else Empty()


def may_hold_messages(body: bytes, content_encoding: str | None = None) -> bool:
    """Return whether an unreadable answer may be messages all the same, and not the page of an error.

    A page of markup or of plain words holds none, and neither does a JSON value without a list that holds something;
    what cannot be decoded may.
    """
    plain = _unpacked(body, content_encoding)
    if isinstance(plain, Unreadable):
        return True
    text = plain.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANKS)
    if text.startswith(b"["):
        return True
    try:
        return _holds_a_list(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text.startswith(b"{")


def _holds_a_list(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_a_list(each) for each in value.values())
    return isinstance(value, list) and bool(value)


def _cut(body: bytes) -> Content:
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    text = body[start:] if start else body
    if not text.lstrip(_BLANKS).startswith(b"["):
        return Unreadable(f"the answer is no JSON array; it starts with {text[:40]!r}")
    try:
        elements = [bytes(element) for element in _ELEMENTS.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        cut = split(text)
        if isinstance(cut, Uncut):
            return Unreadable(cut.why)
        pieces = tuple(Piece(start + first, text[first:last]) for first, last in cut)
    else:
        pieces = _located(elements, body, body.index(b"[") + 1)
    return Page(pieces) if pieces else Empty()


def _located(elements: list[bytes], body: bytes, position: int) -> tuple[Piece, ...]:
    """Find each element again: only blanks and a comma stand before it, and no element starts with those."""
    lengths = list(map(len, elements))
    if len(body) - position == sum(lengths) + len(lengths):  # a comma or the last bracket behind each, and no blank
        starts = accumulate((length + 1 for length in lengths[:-1]), initial=position)
        return tuple(map(Piece, starts, elements))
    pieces = []
    for raw in elements:
        while body[position] in _BETWEEN:
            position += 1
        pieces.append(Piece(position, raw))
        position += len(raw)
    return tuple(pieces)


def _unpacked(body: bytes, content_encoding: str | None) -> bytes | Unreadable:
    """Return the body without its content encodings, the last applied undone first."""
    for name in reversed((content_encoding or "").split(",")):
        match name.strip().lower():
            case "" | "identity":
                continue
            case "gzip" | "x-gzip" | "deflate" as packing:
                unpacked = _inflated(body, packing)
            case unknown:
                return Unreadable(f"the content encoding {unknown[:40]!r} is not known")
        if isinstance(unpacked, Unreadable):
            return unpacked
        body = unpacked
    return body


def _inflated(body: bytes, packing: str) -> bytes | Unreadable:
    """Return the uncompressed bytes; "deflate" comes with the zlib header or, from some servers, without."""
    why = ""
    for window in _ZLIB_WINDOW[packing]:
        try:
            return _decompressed(body, window, packing)
        except zlib.error as error:
            why = why or str(error)
    return Unreadable(f"the answer is not sound {packing}: {why}")


def _decompressed(body: bytes, window: int, packing: str) -> bytes | Unreadable:
    """Return all members of a compressed body; only one that is complete, with its checksum, counts."""
    parts: list[bytes] = []
    room = MAX_DECODED_BYTES
    while body:
        member = zlib.decompressobj(window)
        part = member.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            return Unreadable(f"the answer is larger than {MAX_DECODED_BYTES} bytes when uncompressed")
        if not member.eof:
            return Unreadable(f"the {packing} answer was cut short")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)
