"""Sums by currency over the rows of a file, by which its reader sees that it is whole."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from etl.domain.money import EXACT


class ControlTotals:
    """Adds up signed amounts, exactly; major units, positive is received by our side, negative is paid."""

    def __init__(self) -> None:
        self.rows = 0
        self._sums: dict[str, tuple[Decimal, Decimal]] = {}

    def add_row(self, amounts: Iterable[tuple[str | None, Decimal | None]]) -> None:
        """Count a row with these amounts, each with its currency; what has no amount or no currency is no sum."""
        self.rows += 1
        for currency, amount in amounts:
            if currency is None or amount is None:
                continue
            receive, pay = self._sums.get(currency, (Decimal(0), Decimal(0)))
            if amount > 0:
                receive = EXACT.add(receive, amount)
            else:
                pay = EXACT.add(pay, amount)
            self._sums[currency] = receive, pay

    @property
    def sums(self) -> dict[str, dict[str, str]]:
        """Return for each currency what is received, paid and left, digit for digit."""
        return {
            currency: {"receive": f"{receive:f}", "pay": f"{pay:f}", "amount": f"{EXACT.add(receive, pay):f}"}
            for currency, (receive, pay) in sorted(self._sums.items())
        }
