"""Whether another reading of the vendor's fields would clear most differences at once (design.md §6, A3, A4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from etl.domain.reconciliation import Key, Rules, currencies

FROM = 20
"""Differing positions from which on the readings are tried."""
MOST = 4, 5
"""The part of the differing positions that a reading must clear, and of the agreeing ones that it must leave so."""


class Alternative(StrEnum):
    """Another way to read the messages, by the assumption that it would change."""

    TURNED = "A3: `side` is the counterparty's, not the customer's"
    OF_BASE = "A3: `side` is of the base currency, not of the dealt one"
    OF_TAKER = "A3: `side` is the taker's, so that trades of makers are turned"
    SAME_SIDE = "A4: the far leg has the side of the near leg, not the opposite"
    NEAR_ONLY = "A4: the far leg is not part of the trade"


class Clearing(msgspec.Struct, frozen=True):
    """The reading that clears most differences, and the positions that it clears."""

    reading: Alternative
    keys: frozenset[Key]


def clearing(
    theirs: Mapping[Key, Decimal], read: Mapping[Alternative, Mapping[Key, Decimal]], differing: Collection[Key],
    rules: Rules,
) -> Clearing | None:  # fmt: skip
    """Return the only reading that clears most of the differing positions and leaves most of the others as they are.

    `theirs` are the vendor's figures of all positions that are tried, `read` what they would be under each reading.
    """
    part, whole = MOST
    found = []
    for reading, expected in read.items():
        fits = {key for key, figure in theirs.items() if _same(key, expected.get(key, Decimal(0)), figure, rules)}
        cleared, agreeing = fits & set(differing), theirs.keys() - set(differing)
        if len(cleared) * whole >= len(differing) * part and len(fits & agreeing) * whole >= len(agreeing) * part:
            found.append(Clearing(reading, frozenset(cleared)))
    return max(found, key=lambda each: len(each.keys), default=None)


def _same(key: Key, expected: Decimal, figure: Decimal, rules: Rules) -> bool:
    base, _ = currencies(key.symbol)
    return rules.rounded(expected, base) == rules.rounded(figure, base)
