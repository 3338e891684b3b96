"""Trades out of one random seed: all six types, makers and takers, several entities, fills of one order."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from etl.sandbox import days, market
from etl.sandbox.exact import Json
from etl.sandbox.market import Pair
from etl.sandbox.pricing import drawn_tenors, leg_fields, value_dates
from etl.sandbox.trade import Trade
from etl.sandbox.variants import Variants

TYPES = ("Spot",) * 9 + ("Outright",) * 3 + ("NDF",) * 2 + ("Swap",) * 3 + ("FwdFwd",) + ("NDFSwap",) * 2
"""The deck that types are drawn from: any twenty orders in a row, counted from the first, hold all six."""
FILLS = (1,) * 6 + (2, 2, 3, 5)
CHANNELS = ("API/REST/ESP", "API/WS/RFS", "FXI/GUI/RFS", "API/FIX/ESP")
TRADERS = ("jsmith", "mlee", "akumar")
SIZES = ("50000", "100000", "250000", "500000", "1000000", "2000000", "5000000", "10000000")


@dataclass(frozen=True, slots=True)
class Order:
    """What the fills of one order have in common."""

    order_id: str
    client_order_id: str
    trade_type: str
    pair: Pair
    side: str
    currency: str
    customer: tuple[str, str, str]
    """Organisation, account, user."""
    counterparty: tuple[str, str, str]
    """Organisation, long name, account."""
    maker: bool
    channel: str
    fills: int
    tenors: tuple[str, str]


class Generator:
    """The trades of one organisation; the same seed and the same instants give the same trades."""

    def __init__(self, org: str, seed: int, *, number: int, users: tuple[str, ...]) -> None:
        self._org = org
        self._random = random.Random(f"{seed}/{org}")
        self._users = (*users, *TRADERS)
        self._next_trade = 9369258100 + number * 100_000_000
        self._next_order = 4820276016 + number * 100_000_000
        self._types: list[str] = []

    def trades(self, instants: list[datetime], variants: Variants) -> Iterator[Trade]:
        """Yield one trade for each instant; neighbours may be fills of one order."""
        remaining = iter(instants)
        for instant in remaining:
            order = self._order(variants, *self._drawn_kind(variants, crypto_only=days.market_is_closed(instant)))
            yield self._fill(order, instant, variants)
            for _ in range(order.fills - 1):
                if (later := next(remaining, None)) is None:
                    return
                yield self._fill(order, later, variants)

    def trade_of(self, instant: datetime, variants: Variants, trade_type: str | None, pair: Pair | None) -> Trade:
        """Return one trade of a type and a pair; what is not given is drawn."""
        drawn_type, drawn_pair = self._drawn_kind(variants, crypto_only=days.market_is_closed(instant))
        if pair is not None and trade_type is None:
            drawn_type = "NDF" if pair.kind in ("ndf", "energy") else "Spot"
        elif trade_type in TYPES and pair is None:
            drawn_pair = self._pair(trade_type, variants)
        return self._fill(self._order(variants, trade_type or drawn_type, pair or drawn_pair), instant, variants)

    def backlog_instants(self, count: int, now: datetime, days_back: int) -> list[datetime]:
        """Spread `count` instants over the trading hours of the last `days_back` trade days, in order."""
        sessions: list[tuple[datetime, datetime]] = []
        day = days.trade_day(now)
        while len(sessions) < days_back:
            start, end = days.session(day)
            if start < now:
                sessions.append((start, min(end, now)))
            day = days.business_days_after(day, -1)
        instants = []
        for index in range(count):
            start, end = sessions[index % days_back]
            seconds = Decimal(self._random.randrange(10**6)) / 10**6 * Decimal((end - start).total_seconds())
            instants.append(start + timedelta(milliseconds=int(seconds * 1000)))
        return sorted(instants)

    def new_trade_id(self) -> str:
        """Return the next trade id, for a trade that replaces another."""
        self._next_trade += 1
        return f"FXI{self._next_trade}"

    def _drawn_kind(self, variants: Variants, *, crypto_only: bool) -> tuple[str, Pair]:
        if crypto_only:
            return "Spot", self._random.choice(market.CRYPTO)
        trade_type = self._type()
        return trade_type, self._pair(trade_type, variants)

    def _order(self, variants: Variants, trade_type: str, pair: Pair) -> Order:
        choose = self._random.choice
        self._next_order += 1
        customer, counterparty = self._parties(variants)
        return Order(
            order_id=str(self._next_order),
            client_order_id=f"{self._random.randrange(10**12, 10**13)}",
            trade_type=trade_type,
            pair=pair,
            side=choose(("Buy", "Sell")),
            currency=pair.term if self._random.random() < 0.3 else pair.base,
            customer=customer,
            counterparty=counterparty,
            maker=self._random.random() < 0.25,
            channel=choose(CHANNELS),
            fills=choose(FILLS) if trade_type in ("Spot", "Outright", "NDF") else 1,
            tenors=drawn_tenors(self._random),
        )

    def _type(self) -> str:
        if not self._types:
            self._types = self._random.sample(TYPES, len(TYPES))
        return self._types.pop()

    def _pair(self, trade_type: str, variants: Variants) -> Pair:
        if trade_type in ("NDF", "NDFSwap"):
            return self._random.choice(market.NON_DELIVERABLE + (market.ENERGY if variants.energy else ()))
        if trade_type == "Spot" and self._random.random() < 0.2:
            return self._random.choice(market.CRYPTO)
        return self._random.choice(market.DELIVERABLE)

    def _parties(self, variants: Variants) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
        """Return customer and counterparty; which of them our organisation is depends on the variant (A3)."""
        choose = self._random.choice
        other = choose(market.COUNTERPARTIES)
        account, org = f"{self._org}LE{choose((1, 1, 2, 3))}", self._org
        user = f"{choose(self._users)}@{org}"
        other_account = choose(other.accounts)
        we_are = choose(("customer", "counterparty", "both")) if variants.we_are == "mixed" else variants.we_are
        if we_are == "customer":
            return (org, account, user), (other.name, other.long_name, other_account)
        if we_are == "counterparty":
            return (other.name, other_account, f"trader@{other.name}"), (org, f"{org} Ltd", account)
        return (org, account, user), (org, f"{org} Ltd", f"{org}LE4")

    def _fill(self, order: Order, instant: datetime, variants: Variants) -> Trade:
        trade_date = days.trade_day(instant)
        if order.pair.kind == "crypto" and variants.crypto_weekend == "calendar":
            trade_date = days.calendar_trade_day(instant)
        fields: dict[str, Json] = {
            "orderId": order.order_id,
            "tradeId": self.new_trade_id(),
            "coId": order.client_order_id,
            "tradeType": order.trade_type,
            "tradeDate": trade_date.isoformat(),
            **value_dates(order.trade_type, order.pair, trade_date, order.tenors),
            "maker": order.maker,
            "side": order.side,
            "status": "Verified",
            "symbol": order.pair.symbol,
            "currency": order.currency,
            "customerAccount": order.customer[1],
            "customerOrg": order.customer[0],
            "user": order.customer[2],
            "counterparty": order.counterparty[0],
            "counterpartyLongName": order.counterparty[1],
            "counterpartyAccount": order.counterparty[2],
            "channel": order.channel,
            "executionTime": days.stamp(instant),
            "dealtAmount": self._amount(order),
        }
        fields |= leg_fields(fields, order.pair, self._random)
        fields |= self._optional(order, trade_date)
        return Trade(self._org, fields, instant.astimezone(UTC))

    def _amount(self, order: Order) -> Decimal:
        """Return a dealt amount in the usual sizes of its asset; one in three has decimals."""
        size = Decimal(self._random.choice(SIZES))
        crypto_or_metal = order.pair.kind in ("crypto", "metal") and order.currency == order.pair.base
        if crypto_or_metal or order.pair.kind == "energy":
            size = size / 100_000 if order.pair.mid > 1000 else size / 100
        if order.currency in ("JPY", "KRW", "INR"):
            size *= 100
        if self._random.random() < 0.34:
            size += size * Decimal(self._random.randrange(1, 10**8)) / 10**9
        return market.rounded(size, order.currency)

    def _optional(self, order: Order, trade_date: date) -> dict[str, Json]:
        """Return the fields that may be left out; not every trade has them (A6)."""
        fields: dict[str, Json] = {}
        draw = self._random
        if draw.random() < 0.5:
            fields["rateId"] = f"{trade_date}-{order.pair.symbol.replace('/', '')}-SP-{draw.getrandbits(32):08x}"
        if draw.random() < 0.7:
            fields["uti"] = f"5493001RTT{draw.getrandbits(96):024X}"
        if draw.random() < 0.2:
            fields["note"] = draw.choice(("Notes on trade", "hedge, Q3", 'said "done"', "Überweisung\tavisiert"))
        if draw.random() < 0.4:
            fields["stream"] = draw.choice(("S1", "GOLD", "RETAIL2"))
        return fields
