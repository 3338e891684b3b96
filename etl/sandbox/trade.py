"""One trade as the vendor holds it, and what its legs move."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from etl.sandbox.exact import Json
from etl.sandbox.variants import Variants

SWAPS = frozenset({"Swap", "FwdFwd", "NDFSwap"})
NON_DELIVERABLE = frozenset({"NDF", "NDFSwap"})
VERIFIED = "Verified"


@dataclass(slots=True, eq=False)
class Trade:
    """The truth about a trade (`fields`, the vendor's names), and where its messages tell something else (`wire`)."""

    org: str
    """Whose download it belongs to; one of its two parties."""
    fields: dict[str, Json]
    executed_at: datetime
    wire: dict[str, Json] = field(default_factory=dict)
    """Other content of the message alone; None leaves the field out."""
    status: str = VERIFIED
    replaced_by: tuple[str, ...] = ()
    hidden: bool = False
    """Never handed out, though positions and fills know it."""
    text: tuple[Variants, tuple[str, ...]] | None = None
    """The message, cut where its event stands, as it was written last."""

    @property
    def id(self) -> str:
        return str(self.fields["tradeId"])

    @property
    def trade_date(self) -> date:
        return date.fromisoformat(str(self.fields["tradeDate"]))

    def number(self, name: str) -> Decimal:
        """Return an amount or a rate; raises ValueError where the field is none."""
        value = self.fields[name]
        if not isinstance(value, int | Decimal):
            raise ValueError(f"{name} is not a number")
        return Decimal(value)

    def day(self, name: str) -> date | None:
        """Return a day, or None where the trade has none of that name."""
        text = self.fields.get(name)
        return None if text is None else date.fromisoformat(str(text))


@dataclass(frozen=True, slots=True)
class Flow:
    """What one leg moves for one party of the trade; positive is received."""

    value_date: date
    fixing_date: date | None
    base: Decimal
    term: Decimal
    rate: Decimal
    deliverable: bool


def turned(amount: Decimal, sign: int) -> Decimal:
    """Return the amount, or its opposite where the sign is -1; digits are never rounded."""
    return amount.copy_negate() if sign < 0 else amount


@dataclass(frozen=True, slots=True)
class Party:
    """A legal entity of the organisation in a trade: 1 as the vendor's customer, -1 as its counterparty."""

    legal_entity: str
    user: str
    sign: int


def parties(trade: Trade) -> list[Party]:
    """Return on which sides of the trade its organisation stands; both where the trade is internal (A3)."""
    found = []
    if trade.fields.get("customerOrg") == trade.org:
        found.append(Party(str(trade.fields["customerAccount"]), str(trade.fields.get("user", "")), 1))
    if trade.fields.get("counterparty") == trade.org:
        found.append(Party(str(trade.fields["counterpartyAccount"]), "", -1))
    return found


def flows(trade: Trade) -> list[Flow]:
    """Return the legs from the customer's perspective (A3, A4).

    `Buy` receives the dealt amount of the near leg, and pays that of the far leg.
    """
    legs = [_flow(trade, ("valueDate", "fixingDate", "dealtAmount", "settledAmount", "rate"), turned=False)]
    if trade.fields["tradeType"] in SWAPS:
        far = ("farValueDate", "farFixingDate", "farDealtAmount", "farSettledAmount", "farRate")
        legs.append(_flow(trade, far, turned=True))
    return legs


def _flow(trade: Trade, names: tuple[str, str, str, str, str], *, turned: bool) -> Flow:
    value_name, fixing_name, dealt_name, settled_name, rate_name = names
    base_currency = str(trade.fields["symbol"]).partition("/")[0]
    buys = (trade.fields["side"] == "Buy") != turned
    dealt, settled = trade.number(dealt_name), trade.number(settled_name)
    dealt, settled = (dealt, settled.copy_negate()) if buys else (dealt.copy_negate(), settled)
    base, term = (dealt, settled) if trade.fields["currency"] == base_currency else (settled, dealt)
    value_date = trade.day(value_name)
    if value_date is None:
        raise ValueError(f"{trade.id} has no {value_name}")
    deliverable = trade.fields["tradeType"] not in NON_DELIVERABLE
    return Flow(value_date, trade.day(fixing_name), base, term, trade.number(rate_name), deliverable)
