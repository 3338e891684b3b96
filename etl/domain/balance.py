"""What an account should hold: where it started, and everything that has moved it since (design.md §6)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from etl.domain.money import EXACT
from etl.domain.reconciliation import BreakKind, Finding, Rules

ZERO = Decimal(0)


class BalanceKey(NamedTuple):
    """What a balance is of. `account` is empty for the account of the login, else ORGANISATION/ACCOUNT."""

    account: str
    asset: str


class Flows(msgspec.Struct, frozen=True):
    """What has moved a balance so far, in major units. Legs are signed, + received; the others unsigned (A17)."""

    legs: Decimal = ZERO
    deposits: Decimal = ZERO
    withdrawals: Decimal = ZERO
    fees: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        """Return what they come to: legs and deposits less withdrawals and their fees."""
        paid = EXACT.add(self.withdrawals, self.fees)
        return EXACT.subtract(EXACT.add(self.legs, self.deposits), paid)

    def since(self, before: Flows) -> Flows:
        """Return what has moved after `before` was taken."""
        return Flows(
            EXACT.subtract(self.legs, before.legs), EXACT.subtract(self.deposits, before.deposits),
            EXACT.subtract(self.withdrawals, before.withdrawals), EXACT.subtract(self.fees, before.fees),
        )  # fmt: skip


NOTHING_MOVED = Flows()


class Expectation(msgspec.Struct, frozen=True):
    """What makes up an expected balance: the vendor's figure at the opening, and what has moved it since then."""

    opening: Decimal
    moved: Flows = NOTHING_MOVED
    adjustments: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        """Return the expected balance, exact (law 8)."""
        return EXACT.add(EXACT.add(self.opening, self.moved.net), self.adjustments)


class BalanceDifference(msgspec.Struct, frozen=True):
    """Two balances of one account and asset, both rounded to the minor unit."""

    key: BalanceKey
    ours: Decimal
    theirs: Decimal
    is_break: bool = False

    @property
    def amount(self) -> Decimal:
        """Return theirs minus ours."""
        return EXACT.subtract(self.theirs, self.ours)


def balance_difference(key: BalanceKey, ours: Decimal, theirs: Decimal, rules: Rules) -> BalanceDifference:
    """Compare one account and asset; a difference within the tolerance is none."""
    found = BalanceDifference(key, rules.rounded(ours, key.asset), rules.rounded(theirs, key.asset))
    over = rules.exceeds(found.amount, key.asset, BreakKind.BALANCE)
    return msgspec.structs.replace(found, is_break=over)


def balance_break_key(level: str, value: str, key: BalanceKey) -> str:
    """Return the key of a break about a balance, such as `ACCOUNT pfOrg BTC` or `BROKER pfOrg pfOrg/pfOrgLE1 BTC`."""
    return " ".join([level, value, *filter(None, key)])


def balance_findings(level: str, value: str, differences: Iterable[BalanceDifference]) -> list[Finding]:
    """Return confirmed differences as findings, in order of their accounts and assets."""
    return [
        Finding(
            BreakKind.BALANCE, balance_break_key(level, value, each.key),
            f"the vendor's balance differs by {each.amount:f} {each.key.asset}", ours=each.ours, theirs=each.theirs,
            difference=each.amount, currency=each.key.asset, level=level, level_value=value,
        )
        for each in sorted(differences, key=lambda each: each.key)
    ]  # fmt: skip
