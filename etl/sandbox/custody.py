"""Balances of accounts, and the deposits and withdrawals that move them (A15-A17)."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from etl.sandbox.exact import Json, Verbatim
from etl.sandbox.market import ASSETS, WIDE, minor_units, rounded
from etl.sandbox.trade import VERIFIED, Trade, flows, parties, turned
from etl.sandbox.variants import Variants

COMPLETED = "COMPLETED"
PENDING = "PENDING"
CRYPTO_ASSETS = frozenset({"BTC", "ETH", "USDT"})


@dataclass(frozen=True)
class Transfer:
    """A deposit, or a withdrawal with its fee; amounts are unsigned, and only completed ones count (A17)."""

    id: str
    account: str
    asset: str
    amount: Decimal
    at: datetime
    status: str = COMPLETED
    fee: Decimal | None = None
    """None for deposits."""

    @property
    def epoch_ms(self) -> int:
        return int(self.at.timestamp()) * 1000 + self.at.microsecond // 1000


@dataclass(frozen=True)
class BalanceError:
    """Something that the vendor gets wrong on purpose about a balance, of one account or of all together."""

    asset: str
    amount: Decimal = Decimal(0)
    """Is added to the true figure."""
    account: str | None = None
    """Of the broker's accounts, the one that it is about; None: all, and their sum."""
    text: str | None = None
    """JSON text that stands in the place of the figure, such as NaN."""
    omit: str = ""
    """A field that the row lacks."""
    twice: bool = False
    """The row stands twice."""

    def concerns(self, row: Mapping[str, Json]) -> bool:
        """Whether it falsifies this row."""
        return row["asset"] == self.asset and self.account in (None, row.get("account"))


@dataclass
class Custody:
    """The custody accounts of one organisation, one for each legal entity; all open with the same seed's amounts."""

    org: str
    seed: int
    deposits: list[Transfer] = field(default_factory=list)
    withdrawals: list[Transfer] = field(default_factory=list)
    errors: list[BalanceError] = field(default_factory=list)
    openings: dict[str, Decimal] = field(init=False)
    """What the first legal entity's account held of each asset before the first trade."""

    def __post_init__(self) -> None:
        draw = random.Random(f"{self.seed}/{self.org}/custody")
        self.openings = {asset: rounded(Decimal(draw.randrange(10**6, 10**8)) / 7, asset) for asset in ASSETS}
        self.openings["WTI"] = Decimal(0)

    @property
    def first_account(self) -> str:
        return f"{self.org}LE1"

    def balances(self, trades: Iterable[Trade], day: date) -> dict[tuple[str, str], Decimal]:
        """Return what each account holds of each asset: its opening, legs settled by that day, completed transfers."""
        totals: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for asset, amount in self.openings.items():
            totals[self.first_account, asset] = amount
        for trade in trades:
            if trade.status == VERIFIED:
                _settle(trade, day, totals)
        for sign, transfers in ((1, self.deposits), (-1, self.withdrawals)):
            for each in transfers:
                if each.status == COMPLETED:
                    moved = turned(WIDE.add(each.amount, each.fee or Decimal(0)), sign)
                    totals[each.account, each.asset] = WIDE.add(totals[each.account, each.asset], moved)
        return totals

    def locked(self, account: str | None, asset: str) -> Decimal:
        """Return what pending withdrawals hold back, of one account or of all."""
        waiting = (each for each in self.withdrawals if each.status == PENDING and each.asset == asset)
        return sum((each.amount for each in waiting if account in (None, each.account)), Decimal(0))


def _settle(trade: Trade, day: date, totals: defaultdict[tuple[str, str], Decimal]) -> None:
    base, _, term = str(trade.fields["symbol"]).partition("/")
    for party in parties(trade):
        for flow in flows(trade):
            if flow.deliverable and flow.value_date <= day:
                for asset, amount in ((base, flow.base), (term, flow.term)):
                    key = party.legal_entity, asset
                    totals[key] = WIDE.add(totals[key], turned(amount, party.sign))


def number(amount: Decimal, variants: Variants) -> Json:
    """Write an amount as a number or as text."""
    return format(amount, "f") if variants.balances_numbers == "string" else amount


def balance_rows(custody: Custody, held: dict[tuple[str, str], Decimal], variants: Variants) -> list[dict[str, Json]]:
    """Return one row for each asset, over all accounts (A15)."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (_, asset), amount in held.items():
        totals[asset] = WIDE.add(totals[asset], amount)
    rows = [(asset, totals[asset], custody.locked(None, asset)) for asset in sorted(totals)]
    return [_row(*row, variants) for row in rows if row[1] or variants.balances_zero == "kept"]


def broker_rows(custody: Custody, held: dict[tuple[str, str], Decimal], variants: Variants) -> list[dict[str, Json]]:
    """Return one row for each account and asset (A16)."""
    return [
        {"organisation": custody.org, "account": account}
        | _row(asset, held[account, asset], custody.locked(account, asset), variants)
        for account, asset in sorted(held)
        if held[account, asset] or variants.balances_zero == "kept"
    ]


def _row(asset: str, total: Decimal, locked: Decimal, variants: Variants) -> dict[str, Json]:
    return {
        "asset": asset,
        variants.balances_name: number(total, variants),
        "available": number(WIDE.subtract(total, locked), variants),
        "locked": number(locked, variants),
    }


def falsified(rows: list[dict[str, Json]], errors: Iterable[BalanceError], variants: Variants) -> list[dict[str, Json]]:
    """Return the rows with what the vendor gets wrong on purpose."""
    for error in errors:
        rows = [wrong for row in rows for wrong in (_wrong(row, error, variants) if error.concerns(row) else [row])]
    return rows


def _wrong(row: dict[str, Json], error: BalanceError, variants: Variants) -> list[dict[str, Json]]:
    name = variants.balances_name
    total = Decimal(str(row[name])) if name in row and not isinstance(row[name], Verbatim) else Decimal(0)
    figure: Json = Verbatim(error.text) if error.text is not None else number(WIDE.add(total, error.amount), variants)
    changed = {each: value for each, value in (row | {name: figure}).items() if each != error.omit}
    return [changed, changed] if error.twice else [changed]


def transfer_row(transfer: Transfer, variants: Variants) -> dict[str, Json]:
    """Return a deposit or a withdrawal as its history tells it (A17)."""
    row: dict[str, Json] = {"id": transfer.id, "account": transfer.account, "asset": transfer.asset}
    row["amount"] = number(transfer.amount, variants)
    if transfer.fee is not None:
        row["fee"] = number(transfer.fee, variants)
    row |= {"status": transfer.status, "time": transfer.epoch_ms}
    return {name: value for name, value in row.items() if name not in variants.transfers_omit.split(",")}


def asset_row(asset: str, variants: Variants) -> dict[str, Json]:
    """Return the details of an asset (A18)."""
    digital = asset in CRYPTO_ASSETS
    least = Decimal(1).scaleb(-min(minor_units(asset), 4))
    precision: dict[str, Json] = {"precision": minor_units(asset)} if variants.assets_precision == "present" else {}
    return {
        "asset": asset,
        **precision,
        "depositEnabled": digital,
        "withdrawEnabled": digital,
        "minWithdrawAmount": least,
        "withdrawFee": least / 10 if digital else 0,
    }
