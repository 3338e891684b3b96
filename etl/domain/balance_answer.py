"""What the vendor's answers about balances and transfers say (A15 to A17), or why they cannot be relied on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from etl.domain.balance import BalanceKey
from etl.domain.position_answer import Doubtful, Unreadable, amount, decoded, epoch_ms
from etl.domain.text import shown

COMPLETED, PENDING, FAILED = "COMPLETED", "PENDING", "FAILED"
STATUSES = (COMPLETED, PENDING, FAILED)
LONGEST_NAME = 100  # characters


class BalanceFault(msgspec.Struct, frozen=True):
    """A row that cannot be relied on. `key` where it says of what it is; else it may be of any asset."""

    key: BalanceKey | None
    why: str


class BalanceAnswer(msgspec.Struct, frozen=True):
    """Balances by account and asset, in major units. `others` counts rows of organisations that are not ours."""

    rows: Mapping[BalanceKey, Decimal]
    faults: tuple[BalanceFault, ...] = ()
    shape: str = "empty"
    others: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether the vendor named no balance at all."""
        return not self.rows and not self.faults


class Transfer(msgspec.Struct, frozen=True):
    """A deposit or a withdrawal as the vendor tells it: unsigned, major units. `account` where it is named."""

    transfer_id: str
    asset: str
    amount: Decimal
    fee: Decimal
    status: str
    at: datetime
    account: str | None = None


class TransferAnswer(msgspec.Struct, frozen=True):
    """The transfers of one history. Faults have the asset where it can be read; their account is not told."""

    transfers: tuple[Transfer, ...]
    faults: tuple[BalanceFault, ...] = ()


def balances_in(body: bytes, *, orgs: tuple[str, ...] | None) -> BalanceAnswer | Unreadable:
    """Return the balances of the account of the login, or with `orgs` those of these organisations' accounts."""
    cut = _rows_in(body, "balances")
    if isinstance(cut, Unreadable):
        return cut
    rows, shape = cut
    read = [_balance(row, orgs) for row in rows]
    good = [each for each in read if isinstance(each, tuple)]
    faults = [each for each in read if isinstance(each, BalanceFault)]
    times = Counter(key for key, _ in good)
    faults += [BalanceFault(key, f"stands {count} times in one answer") for key, count in times.items() if count > 1]
    wrong = {fault.key for fault in faults}
    found = {key: total for key, total in good if key not in wrong}
    return BalanceAnswer(found, tuple(faults), shape, sum(each is None for each in read))


def transfers_in(body: bytes, *, has_fee: bool) -> TransferAnswer | Unreadable:
    """Return the transfers of a history; `has_fee` for withdrawals, each of which must say its fee."""
    cut = _rows_in(body, "transfers")
    if isinstance(cut, Unreadable):
        return cut
    read = [_transfer(row, has_fee=has_fee) for row in cut[0]]
    faults = [each for each in read if isinstance(each, BalanceFault)]
    by_id: dict[str, set[Transfer]] = {}
    for each in read:
        if isinstance(each, Transfer):
            by_id.setdefault(each.transfer_id, set()).add(each)
    for number, told in by_id.items():
        if len(told) > 1:
            words = f"transfer {number} stands {len(told)} times with different content"
            faults += [BalanceFault(BalanceKey("", asset), words) for asset in {each.asset for each in told}]
    good = tuple(next(iter(told)) for told in by_id.values() if len(told) == 1)
    return TransferAnswer(good, tuple(faults))


def _rows_in(body: bytes, what: str) -> tuple[list[Any], str] | Unreadable:
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    if isinstance(document, list):
        return document, "array"
    if not isinstance(document, dict):
        return Unreadable("it is neither an array nor an object")
    arrays = [item for item in document.values() if isinstance(item, list)]
    if len(arrays) != 1:
        return Unreadable(f"it is an object with {len(arrays)} arrays inside; exactly one is expected")
    if str(document.get("totalPages", "1")) != "1":
        return Unreadable(f"it is one page of several, and how to ask for more {what} is not known")
    return arrays[0], "object"


def _balance(row: Any, orgs: tuple[str, ...] | None) -> tuple[BalanceKey, Decimal] | BalanceFault | None:
    """Return one row; None where it is of another organisation; or what is wrong with it, never a guess."""
    if not isinstance(row, dict):
        return BalanceFault(None, f"a row is {shown(str(row)[:80])}, which is no object")
    asset = _name(row.get("asset"))
    if asset is None:
        return BalanceFault(None, f"asset is {_seen(row, 'asset')}")
    account = ""
    if orgs is not None:
        organisation, of = _name(row.get("organisation")), _name(row.get("account"))
        if organisation is None or of is None:
            return BalanceFault(
                None, f"{asset}: organisation is {_seen(row, 'organisation')}, account {_seen(row, 'account')}"
            )
        if organisation not in orgs:
            return None
        account = f"{organisation}/{of}"
    key = BalanceKey(account, asset)
    if isinstance(row, Doubtful):
        return BalanceFault(key, "has a name twice")
    given = [row[name] for name in ("total", "balance") if name in row]
    totals = [amount(each) for each in given]
    if not totals or totals[0] is None or totals[1:] not in ([], [totals[0]]):
        return BalanceFault(key, f"total is {_seen(row, 'total')}, balance {_seen(row, 'balance')}")
    return key, totals[0]


def _transfer(row: Any, *, has_fee: bool) -> Transfer | BalanceFault:
    if not isinstance(row, dict):
        return BalanceFault(None, f"a transfer is {shown(str(row)[:80])}, which is no object")
    asset, number, status = (_name(row.get(name)) for name in ("asset", "id", "status"))
    key = None if asset is None else BalanceKey("", asset)
    moved, at = amount(row.get("amount")), epoch_ms(row.get("time"))
    fee = amount(row.get("fee")) if has_fee or row.get("fee") is not None else Decimal(0)
    broken = [
        f"{name} {_seen(row, name)}"
        for name, sound in (
            ("id", number is not None), ("asset", asset is not None), ("amount", moved is not None and moved >= 0),
            ("fee", fee is not None and fee >= 0 and (has_fee or not fee)), ("status", status is not None),
            ("time", at is not None), ("names", not isinstance(row, Doubtful)),
        )
        if not sound
    ]  # fmt: skip
    if broken or number is None or asset is None or moved is None or fee is None or status is None or at is None:
        return BalanceFault(
            key, f"transfer {number or '(without id)'} of {asset or 'no asset'} has {', '.join(broken)}"
        )
    return Transfer(number, asset, moved, fee, status.upper(), at, _name(row.get("account")))


def _name(value: Any) -> str | None:
    """Return a text, or a number as its digits; None for all else."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME or shown(value) != value:
        return None
    return str(value)


def _seen(row: Mapping[str, Any], name: str) -> str:
    return shown(str(row[name])[:80]) if name in row else "absent"
