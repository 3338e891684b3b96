"""The sandbox's trades are realistic: types, dates, decimals, and amounts that follow from the rates."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.sandbox.generator import Generator
from etl.sandbox.trade import Trade
from etl.sandbox.variants import Variants

NOW = datetime(2024, 3, 13, 15, tzinfo=UTC)
DECIMALS = {"JPY": 0, "KRW": 0, "KWD": 3, "BTC": 8, "ETH": 8, "USDT": 6, "XAU": 3}
CRYPTO = ("BTC/USD", "ETH/USD", "USDT/USD")
NDF = ("USD/INR", "USD/BRL", "USD/KRW")
LEGS = (("dealtAmount", "settledAmount", "rate"), ("farDealtAmount", "farSettledAmount", "farRate"))

seeds = st.integers(0, 10**6)
instants = st.datetimes(datetime(2023, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def made(seed: int = 1, count: int = 100, now: datetime = NOW) -> list[Trade]:
    generator = Generator("ourOrg", seed, number=0, users=("apiUser",))
    return list(generator.trades(generator.backlog_instants(count, now, 5), Variants()))


def text(trade: Trade, name: str) -> str:
    return str(trade.fields[name])


@given(seeds, instants)
@settings(max_examples=40, deadline=None)
def test_settled_amounts_are_rate_times_dealt_in_minor_units(seed, now):
    for trade in made(seed, 40, now):
        base, term = text(trade, "symbol").split("/")
        settled_currency = term if trade.fields["currency"] == base else base
        tick = Decimal(1).scaleb(-DECIMALS.get(settled_currency, 2))
        for dealt_name, settled_name, rate_name in LEGS:
            if dealt_name in trade.fields:
                dealt, settled, rate = (trade.number(name) for name in (dealt_name, settled_name, rate_name))
                exact = dealt * rate if trade.fields["currency"] == base else dealt / rate
                assert abs(settled - exact) <= tick / 2 + exact * Decimal("1e-25")
                assert settled % tick == 0
                assert dealt % Decimal(1).scaleb(-DECIMALS.get(text(trade, "currency"), 2)) == 0
                assert min(dealt, settled) > 0


@given(seeds, instants)
@settings(max_examples=40, deadline=None)
def test_dates_are_those_of_the_market(seed, now):
    for trade in made(seed, 40, now):
        local = trade.executed_at.astimezone(ZoneInfo("America/New_York"))
        trade_date, value_date = (date.fromisoformat(text(trade, name)) for name in ("tradeDate", "valueDate"))
        crypto = trade.fields["symbol"] in CRYPTO
        turned = local.date() + timedelta(days=1 if local.hour >= 17 else 0)
        assert trade_date >= turned
        assert trade_date - turned <= timedelta(days=0 if crypto else 2)
        assert trade.executed_at <= now
        assert value_date >= trade_date
        if not crypto:
            assert trade_date.weekday() < 5
            assert value_date.weekday() < 5
            assert value_date > trade_date
        if "farValueDate" in trade.fields:
            assert date.fromisoformat(text(trade, "farValueDate")) > value_date
        if trade.fields["tradeType"] in ("NDF", "NDFSwap"):
            assert trade_date <= date.fromisoformat(text(trade, "fixingDate")) < value_date


def test_all_six_types_come_in_any_twenty_orders():
    for seed in range(20):
        orders = {text(trade, "orderId"): text(trade, "tradeType") for trade in made(seed, 200)}

        assert set(list(orders.values())[:20]) == {"Spot", "Outright", "NDF", "Swap", "FwdFwd", "NDFSwap"}


def test_the_backlog_is_spread_over_five_trade_days_in_order():
    trades = made(count=500)

    days = Counter(text(trade, "tradeDate") for trade in trades)
    assert set(days) >= {"2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12", "2024-03-13"}
    assert max(days) == "2024-03-13"
    assert [trade.executed_at for trade in trades] == sorted(trade.executed_at for trade in trades)
    assert len({trade.id for trade in trades}) == 500


def test_makers_takers_entities_currencies_and_counterparties_all_occur():
    trades = made(count=1000)

    def values(name: str) -> set[object]:
        return {trade.fields.get(name) for trade in trades}

    assert values("maker") == {True, False}
    assert values("side") == {"Buy", "Sell"}
    assert values("customerAccount") == {"ourOrgLE1", "ourOrgLE2", "ourOrgLE3"}
    assert len(values("counterparty")) == 5
    assert {"apiUser@ourOrg", "jsmith@ourOrg"} <= values("user")
    assert {"XAU/USD", "BTC/USD", "USDT/USD", "USD/JPY", "USD/KWD", *NDF} <= values("symbol")
    dealt_in_base = {trade.fields["currency"] == text(trade, "symbol")[:3] for trade in trades}
    assert dealt_in_base == {True, False}
    for name in ("uti", "note", "stream", "rateId"):
        assert None in values(name)
        assert len(values(name)) > 2
    ndf_types = {text(trade, "tradeType") for trade in trades if trade.fields["symbol"] in NDF}
    assert ndf_types == {"NDF", "NDFSwap"}


def test_fills_of_one_order_have_its_terms_in_common():
    orders: dict[str, list[Trade]] = {}
    for trade in made(count=1000):
        orders.setdefault(text(trade, "orderId"), []).append(trade)

    assert {len(fills) for fills in orders.values()} >= {1, 2, 3, 5}
    for fills in orders.values():
        for name in ("coId", "symbol", "side", "currency", "tradeType", "customerAccount", "user", "counterparty"):
            assert len({trade.fields[name] for trade in fills}) == 1


@pytest.mark.parametrize("count", [0, 1, 7, 333])
def test_there_are_as_many_as_wanted(count):
    assert len(made(count=count)) == count


def test_the_same_seed_gives_the_same_trades_and_another_gives_others():
    def content(seed: int) -> list[object]:
        return [trade.fields for trade in made(seed)]

    assert content(3) == content(3)
    assert content(3) != content(4)
