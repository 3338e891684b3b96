"""What an answer of the queue is: empty, a page of messages, or unreadable."""

from __future__ import annotations

import msgspec


class Piece(msgspec.Struct, frozen=True):
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
