"""What the vendor's answer about one trade means for the book, and what of it may be booked by itself (law 9)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from etl.domain.comparison import Outcome, compare
from etl.domain.trade import Trade


class Effect(StrEnum):
    """What booking the vendor's answer would do."""

    NEW = "new"  # the book lacks the trade
    SAME = "same"  # the economics are as in the book
    STATUS = "status"  # the status alone, and with it whether the trade counts
    ECONOMICS = "economics"  # other economics than in the book
    OTHER_TRADE = "other_trade"  # the id of another trade: never booked (law 7)
    UNREADABLE = "unreadable"  # no trade in it, or not the one that was asked for


BY_ITSELF = frozenset({Effect.STATUS})
BY_A_PERSON = frozenset({Effect.NEW, Effect.STATUS, Effect.ECONOMICS})


class Adoption(msgspec.Struct, frozen=True):
    """What came of the wish to book an answer. `version` is the one that it became; None: nothing was written."""

    effect: Effect
    version: int | None = None
    changed: tuple[str, ...] = ()
    why: str = ""


def effect_of(held: Trade | None, said: Trade) -> tuple[Effect, tuple[str, ...]]:
    """Return what booking `said` would do to the version that is held, and all fields that differ.

    An answer may leave out what is no economics; that alone makes no version. Neither does a status alone that
    leaves it as it is whether the trade counts.
    """
    if held is None:
        return Effect.NEW, ()
    verdict = compare(held, said)
    if verdict.outcome is Outcome.OTHER_TRADE:
        return Effect.OTHER_TRADE, verdict.changed
    if set(verdict.economics) - {"status"}:
        return Effect.ECONOMICS, verdict.changed
    return (Effect.SAME if held.live == said.live else Effect.STATUS), verdict.changed
