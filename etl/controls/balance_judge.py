"""What one answer about balances says of each account and asset: agreed, differing, or not to be told, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from etl.domain.balance import (
    NOTHING_MOVED,
    ZERO,
    BalanceDifference,
    BalanceKey,
    Expectation,
    Flows,
    balance_difference,
)
from etl.domain.balance_answer import BalanceAnswer, BalanceFault
from etl.domain.reconciliation import Rules
from etl.store.repositories.balances import BROKER, Counting, StoredOpening


class BalanceScope(msgspec.Struct, frozen=True):
    """Whose balances are compared, by what, and where they start."""

    level: str
    value: str
    trade_day: date
    rules: Rules
    counting: Counting
    opened: Mapping[BalanceKey, StoredOpening] = {}

    @property
    def name(self) -> str:
        """Return how it stands in keys of breaks, such as `ACCOUNT pfOrg`."""
        return f"{self.level} {self.value}"

    def opening_of(self, key: BalanceKey) -> StoredOpening | None:
        """Return where a balance starts; a broker's account that came later starts at nothing. None before go-live."""
        own = self.opened.get(key)
        if own is not None or self.level != BROKER:
            return own
        others = [each for other, each in self.opened.items() if other.asset == key.asset]
        last = max(others, key=lambda each: each.opening_id, default=None)
        return None if last is None else msgspec.structs.replace(last, amount=ZERO, flows=NOTHING_MOVED)


class Held(msgspec.Struct, frozen=True):
    """What we know to have moved balances, by account and asset, and what operators recorded since the openings."""

    flows: Mapping[BalanceKey, Flows]
    adjustments: Mapping[BalanceKey, Decimal]
    adjusted: int
    nameless: frozenset[str]
    """Assets of transfers whose account the vendor does not name."""


class Judge:
    """Decides what one look says of each account and asset."""

    def __init__(
        self, scope: BalanceScope, answer: BalanceAnswer, transfer_faults: list[BalanceFault], before: Held, held: Held
    ) -> None:
        self._scope, self._answer, self._before, self._held = scope, answer, before, held
        self._wrong = {fault.key for fault in answer.faults}
        self._wrong_assets = {None if fault.key is None else fault.key.asset for fault in transfer_faults}
        if scope.level == BROKER:
            self._wrong_assets |= held.nameless
        self.expected: dict[BalanceKey, Expectation] = {}
        self.agreed, self.unsettled, self.undecided, self.unopened = (set[BalanceKey]() for _ in range(4))
        self.unknown: set[BalanceKey] = set()
        self.differing: dict[BalanceKey, BalanceDifference] = {}
        self.faults: list[str] = []

    def judge(self) -> None:
        """Sort every account and asset that is to be compared."""
        for key in sorted(self._keys()):
            opening = self._scope.opening_of(key)
            if self._cannot_tell(key):
                self.undecided.add(key)
            if opening is None or opening.at_execution != (key.asset in self._scope.counting.at_execution):
                self.unopened.add(key)
                continue
            self.expected[key] = self._expected(key, opening, self._held)
            if key not in self.undecided:
                self._compare(key, opening)

    def _keys(self) -> set[BalanceKey]:
        counting = self._scope.counting
        if self._scope.level != BROKER:
            return {BalanceKey("", asset) for asset in counting.assets}
        named = {fault.key for fault in self._answer.faults if fault.key is not None}
        keys = self._answer.rows.keys() | self._held.flows.keys() | self._scope.opened.keys() | named
        return {key for key in keys if key.asset in counting.assets}

    def _cannot_tell(self, key: BalanceKey) -> bool:
        if key.asset in self._wrong_assets or None in self._wrong_assets:
            if key.asset in self._held.nameless and self._scope.level == BROKER:
                self.faults.append(f"{key.asset} was transferred, and the vendor does not name the account")
            return True
        if key in self._wrong or (None in self._wrong and key not in self._answer.rows):
            return True
        details, nobody = self._scope.rules.vendor_digits, key not in self._answer.rows
        if nobody and details and key.asset not in details and key not in self._held.flows:
            self.unknown.add(key)
            self.faults.append(f"nobody knows {key.asset}: neither balances nor asset details nor the book")
            return True
        return False

    def _expected(self, key: BalanceKey, opening: StoredOpening, held: Held) -> Expectation:
        moved = held.flows.get(key, NOTHING_MOVED).since(opening.flows)
        return Expectation(opening.amount, moved, held.adjustments.get(key, ZERO))

    def _compare(self, key: BalanceKey, opening: StoredOpening) -> None:
        theirs, rules = self._answer.rows.get(key, ZERO), self._scope.rules
        found = balance_difference(key, self.expected[key].amount, theirs, rules)
        then = self._expected(key, opening, self._before)
        if not found.is_break:
            self.agreed.add(key)
        elif then == self.expected[key]:
            self.differing[key] = found
        elif balance_difference(key, then.amount, theirs, rules).is_break:
            self.unsettled.add(key)
        else:
            self.agreed.add(key)
            self.expected[key] = then  # what landed after the question is not in the vendor's figure
