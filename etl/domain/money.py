"""Exact amounts of money."""

from __future__ import annotations

import decimal
from decimal import Decimal

import msgspec

EXACT = decimal.Context(prec=200, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow])
"""Arithmetic that raises rather than rounds (law 8)."""


class Amount(msgspec.Struct, frozen=True):
    """A sum of one currency: major units; positive is received by our side, negative is paid."""

    value: Decimal
    currency: str

    def reversed(self) -> Amount:
        """Return the same sum seen from the other party, digit for digit (`-x` would round to the context)."""
        return Amount(self.value.copy_negate(), self.currency)
