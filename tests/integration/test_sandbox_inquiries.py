"""Positions, balances, fills and single trades of the sandbox follow from its trades."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.sandbox_client import START, Client, client_of, shared

TODAY = "2024-03-13"
SWAPS = ("Swap", "FwdFwd", "NDFSwap")


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared(50, trades=150)


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def legs(message: dict[str, Any]) -> list[tuple[str, Decimal, Decimal]]:
    """Value date, base and term of each leg, signed for the vendor's customer; written anew, on purpose."""
    base = message["symbol"].split("/")[0]
    names = [("valueDate", "dealtAmount", "settledAmount", 1)]
    if message["tradeType"] in SWAPS:
        names.append(("farValueDate", "farDealtAmount", "farSettledAmount", -1))
    found = []
    for day, dealt, settled, sign in names:
        sign = sign if message["side"] == "Buy" else -sign
        amounts = [sign * message[dealt], -sign * message[settled]]
        if message["currency"] != base:
            amounts.reverse()
        found.append((message[day], *(Decimal(each) for each in amounts)))
    return found


def summed(messages: list[dict[str, Any]], after: str = TODAY) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    nets: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for message in messages:
        for value_date, base, term in legs(message):
            if value_date > after:
                net = nets[message["symbol"], value_date]
                net[0] += base
                net[1] += term
    return {key: (base, term) for key, (base, term) in nets.items()}


def shown(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    return {(row["symbol"], row["valueDate"]): (row["netOpenBase"], row["netOpenterm"]) for row in rows}


def positions(client: Client, **params: Any) -> list[dict[str, Any]]:
    return client.json("/v2/positions", **({"level": "ORG", "value": client.user.org} | params))


class TestPositions:
    def test_they_are_the_sum_of_what_was_handed_out(self, client):
        messages = client.drain()

        rows = positions(client)

        assert shown(rows) == summed(messages)
        assert len(rows) == len(shown(rows)) > 20
        assert {(row["level"], row["levelValue"]) for row in rows} == {("ORG", client.user.org)}

    @pytest.mark.parametrize(("level", "field"), [("LE", "customerAccount"), ("USER", "user")])
    def test_each_level_has_its_own(self, client, level, field):
        messages = client.drain()
        for value in {each[field] for each in messages}:
            rows = positions(client, level=level, value=value)

            assert shown(rows) == summed([each for each in messages if each[field] == value])

    def test_without_a_level_they_are_those_of_the_asking_user(self, client):
        mine = [each for each in client.drain() if each["user"] == f"{client.user.name}@{client.user.org}"]

        assert shown(client.json("/v2/positions")) == summed(mine) != {}

    def test_they_move_with_trades_and_with_days(self, client):
        trade_id = client.execute(tradeType="Spot", symbol="GBP/USD", side="Sell", currency="GBP", dealtAmount="1234.5")
        messages = client.drain()
        assert shown(positions(client)) == summed(messages)

        client.control.cancel(trade_id)
        assert shown(positions(client)) == summed([each for each in messages if each["tradeId"] != trade_id])

        client.control.today(now="2024-03-15T21:30:00+00:00")
        assert client.control.state()["trade_day"] == "2024-03-18"
        rest = [each for each in messages if each["tradeId"] != trade_id]
        assert shown(positions(client)) == summed(rest, after="2024-03-18")

    def test_a_symbol_and_a_value_date_can_be_asked(self, client):
        symbol, value_date = next(iter(shown(positions(client))))

        assert {row["symbol"] for row in positions(client, symbol=symbol)} == {symbol}
        rows = client.json(f"/v2/positions/{value_date}", level="ORG")
        assert {row["valueDate"] for row in rows} == {value_date}

    def test_the_date_in_the_path_may_be_compact(self, client):
        compact = positions(client)[0]["valueDate"].replace("-", "")
        assert client.get(f"/v2/positions/{compact}").status_code == 404
        client.control.variant(path_date="compact")

        assert client.json(f"/v2/positions/{compact}", level="ORG") != []

    def test_a_level_is_case_sensitive(self, client):
        assert client.get("/v2/positions", {"level": "org"}).status_code == 400

    def test_they_may_be_unsigned_with_a_side(self, client):
        signed = shown(positions(client))
        client.control.variant(positions_sign="side", positions_side="long_short")
        rows = positions(client)

        assert {row["side"] for row in rows} == {"Long", "Short"}
        again = {}
        for row in rows:
            sign = -1 if row["side"] == "Short" else 1
            again[row["symbol"], row["valueDate"]] = sign * row["netOpenBase"]
        assert again == {key: base for key, (base, _) in signed.items()}
        assert all(row["netOpenBase"] >= 0 and row["netOpenterm"] >= 0 for row in rows)

    def test_they_may_be_wrapped_paged_or_nothing(self, client):
        rows = positions(client)
        client.control.variant(positions_shape="object")
        assert positions(client)["positions"] == rows
        client.control.variant(positions_shape="paged", positions_page=7)
        first = positions(client)
        pages = [positions(client, page=number)["positions"] for number in range(1, first["totalPages"] + 1)]
        assert len(first["positions"]) == 7
        assert [row for page in pages for row in page] == rows
        client.control.variant(positions_shape="empty_object")
        assert positions(client) == {}

    def test_they_may_have_children_that_add_up(self, client):
        client.control.variant(positions_shape="children")

        for row in positions(client):
            assert sum(child["netOpenBase"] for child in row["children"]) == row["netOpenBase"]
            assert {child["level"] for child in row["children"]} == {"LE"}

    def test_the_term_may_be_base_times_average_rate(self, client):
        flows = shown(positions(client))
        client.control.variant(positions_term="average")
        rows = positions(client)

        assert shown(rows) != flows
        for row in rows:
            exact = -row["netOpenBase"] * row["rate"]
            assert abs(row["netOpenterm"] - exact) <= Decimal("0.5")

    def test_flat_rows_may_be_left_out(self, client):
        symbol = {"tradeType": "Spot", "symbol": "AUD/USD", "currency": "AUD", "dealtAmount": 5000}
        day = {"valueDate": "2031-03-04"}
        client.execute(side="Buy", **symbol, **day)
        client.execute(side="Sell", **symbol, **day)
        key = ("AUD/USD", "2031-03-04")
        assert shown(positions(client))[key][0] == 0
        client.control.variant(positions_flat="left_out")

        assert key not in shown(positions(client))

    def test_ndfs_may_be_left_out_after_fixing(self, client):
        ndf = {"tradeType": "NDF", "symbol": "USD/BRL"}
        client.execute(**ndf, fixingDate=TODAY, valueDate="2030-07-03")
        client.execute(**ndf, fixingDate="2030-07-08", valueDate="2030-07-10")
        client.control.variant(positions_ndf="until_fixing")

        keys = shown(positions(client))
        assert ("USD/BRL", "2030-07-03") not in keys
        assert ("USD/BRL", "2030-07-10") in keys

    def test_a_figure_can_be_wrong(self, client):
        right = shown(positions(client))
        (symbol, value_date), (base, term) = next(iter(right.items()))
        client.control.position_error(symbol, value_date, base=Decimal("0.01"), level="ORG", value=client.user.org)
        wrong = shown(positions(client))
        client.control.post("position-error", {"clear": True})

        assert wrong == right | {(symbol, value_date): (base + Decimal("0.01"), term)}
        assert shown(positions(client)) == right

    @pytest.mark.parametrize("we_are", ["counterparty", "both"])
    def test_our_side_counts_whoever_the_customer_is(self, client, we_are):
        before = shown(positions(client))
        client.control.variant(we_are=we_are)
        trade_id = client.execute(tradeType="Spot", symbol="EUR/USD", valueDate="2031-02-03")
        message = client.drain()[-1]
        assert message["tradeId"] == trade_id
        assert message["counterparty"] == client.user.org
        assert (message["customerOrg"] == client.user.org) == (we_are == "both")

        after = shown(positions(client))
        ((_, base, term),) = legs(message)
        moved = after.pop(("EUR/USD", "2031-02-03"))
        assert after == before
        assert moved == ((0, 0) if we_are == "both" else (-base, -term))
        ours = positions(client, level="LE", value=message["counterpartyAccount"], symbol="EUR/USD")
        assert shown(ours)["EUR/USD", "2031-02-03"] == (-base, -term)


class TestTrades:
    def test_all_fills_of_an_order_are_told_without_event(self, client):
        messages = client.drain()
        orders: dict[str, list[str]] = defaultdict(list)
        for each in messages:
            orders[each["orderId"]].append(each["tradeId"])
        assert max(len(each) for each in orders.values()) > 1
        for order, ids in list(orders.items())[:20]:
            fills = client.json("/v2/trades", orderId=order)
            assert [each["tradeId"] for each in fills] == ids
            assert all("event" not in each for each in fills)

    def test_a_fill_says_what_its_message_said(self, client):
        message = client.read(1)[0]
        del message["event"]

        assert client.json(f"/v2/trades/{message['tradeId']}") == message
        assert client.json("/v2/trades", orderId=message["orderId"])[0] == message

    @pytest.mark.parametrize("path", ["/v2/trades?orderId=unknown", "/v2/trades/unknown"])
    def test_the_unknown_is_404(self, client, path):
        assert client.get(path).status_code == 404

    def test_fills_need_an_order(self, client):
        assert client.get("/v2/trades").status_code == 400

    def test_a_trade_of_another_organisation_is_unknown(self, client):
        others = [each for each in client.control.trades() if each["org"] != client.user.org]

        assert client.get(f"/v2/trades/{others[0]['trade_id']}").status_code == 404

    def test_a_replaced_trade_tells_its_status_and_its_replacement(self, client):
        old = client.read(1)[0]
        (new,) = client.control.amend(old["tradeId"], dealtAmount=777)

        answer = client.json(f"/v2/trades/{old['tradeId']}")
        assert (answer["status"], answer["replacedBy"]) == ("Amended", new)
        assert answer["dealtAmount"] == old["dealtAmount"]
        assert {each["status"] for each in client.json("/v2/trades", orderId=old["orderId"])} == {"Amended", "Verified"}

    def test_queries_may_leave_out_or_know_nothing(self, client):
        old = client.read(1)[0]
        client.control.cancel(old["tradeId"])
        other = client.execute(orderId=old["orderId"], tradeType="Spot")
        client.control.variant(fills="verified")
        assert [each["tradeId"] for each in client.json("/v2/trades", orderId=old["orderId"])][-1] == other
        assert old["tradeId"] not in client.get("/v2/trades", {"orderId": old["orderId"]}).text
        client.control.variant(fills="404", trade_query="404")

        assert client.get("/v2/trades", {"orderId": old["orderId"]}).status_code == 404
        assert client.get(f"/v2/trades/{old['tradeId']}").status_code == 404


def balance(client: Client, asset: str) -> Decimal:
    (row,) = client.json("/custody/v2/account/balances", asset=asset)
    return Decimal(row["total"])


def millis(text: str) -> int:
    return int(START.fromisoformat(text).timestamp() * 1000)


class TestCustody:
    def test_balances_move_by_what_settles(self, client):
        messages = client.drain()
        before = {row["asset"]: row["total"] for row in client.json("/custody/v2/account/balances")}
        client.control.today(now="2024-04-20T15:00:00+00:00")
        after = {row["asset"]: row["total"] for row in client.json("/custody/v2/account/balances")}

        expected = dict(before)
        for message in messages:
            if message["tradeType"] not in ("NDF", "NDFSwap"):
                for value_date, *amounts in legs(message):
                    if TODAY < value_date <= "2024-04-22":
                        for asset, amount in zip(message["symbol"].split("/"), amounts, strict=True):
                            expected[asset] += amount
        assert after == expected != before

    def test_brokers_see_the_same_by_account(self, client):
        totals: dict[str, Decimal] = defaultdict(Decimal)
        for row in client.json("/custody/v2/broker/account/balances"):
            assert row["organisation"] == client.user.org
            totals[row["asset"]] += row["total"]

        assert totals == {row["asset"]: row["total"] for row in client.json("/custody/v2/account/balances")}

    def test_only_completed_transfers_move_a_balance(self, client):
        org = {"org": client.user.org}
        start = balance(client, "BTC")
        client.control.deposit("BTC", Decimal("1.00000001"), **org)
        pending = client.control.deposit("BTC", Decimal("2"), status="PENDING", **org)
        client.control.deposit("BTC", Decimal("4"), status="FAILED", **org)
        assert balance(client, "BTC") == start + Decimal("1.00000001")

        client.control.withdrawal("BTC", Decimal("0.5"), fee=Decimal("0.0001"), **org)
        client.control.withdrawal("BTC", Decimal("0.25"), status="PENDING", **org)
        (row,) = client.json("/custody/v2/account/balances", asset="BTC")
        assert row["total"] == start + Decimal("0.49990001")
        assert row["available"] == row["total"] - Decimal("0.25")
        assert row["locked"] == Decimal("0.25")

        client.control.post("transfer", {"id": pending, "status": "COMPLETED", **org})
        assert balance(client, "BTC") == start + Decimal("2.49990001")

    def test_histories_hold_a_span_of_time(self, client):
        org = {"org": client.user.org}
        times = [millis(f"2024-03-{day}T00:00:00+00:00") for day in (10, 11, 12)]
        made = [client.control.withdrawal("ETH", Decimal("0.1"), fee=Decimal("0.01"), time=at, **org) for at in times]
        client.control.deposit("ETH", Decimal("3"), time=times[1], status="SOMETHING", **org)

        found = client.json("/custody/v2/withdraw/history", startTime=times[1], endTime=times[2])
        assert [each["id"] for each in found] == made[1:]
        assert found[0].items() >= {"asset": "ETH", "amount": Decimal("0.1"), "fee": Decimal("0.01")}.items()
        assert (found[0]["status"], found[0]["time"]) == ("COMPLETED", times[1])
        (deposit,) = client.json("/custody/v2/deposit/history")
        assert deposit["status"] == "SOMETHING"
        assert "fee" not in deposit
        assert client.get("/custody/v2/deposit/history", {"startTime": "today"}).status_code == 400

    def test_balances_may_be_text_under_another_name_in_an_object(self, client):
        (plain,) = client.json("/custody/v2/account/balances", asset="BTC")
        client.control.variant(balances_numbers="string", balances_name="balance", balances_shape="object")
        (row,) = client.json("/custody/v2/account/balances", asset="BTC")["balances"]

        assert row["balance"] == format(plain["total"], "f")
        assert isinstance(row["available"], str)
        assert "total" not in row
        client.control.withdrawal("BTC", Decimal("0.10"), fee=Decimal("0.001"), org=client.user.org)
        (moved,) = client.json("/custody/v2/withdraw/history")
        assert (moved["amount"], moved["fee"]) == ("0.10", "0.001")

    def test_zero_rows_may_be_left_out(self, client):
        rows = client.json("/custody/v2/account/balances")
        zero = {row["asset"] for row in rows if row["total"] == 0}
        client.control.variant(balances_zero="left_out")

        assert "WTI" in zero
        kept = {row["asset"] for row in client.json("/custody/v2/account/balances")}
        assert kept == {row["asset"] for row in rows} - zero

    def test_a_transfer_may_lack_fields_and_an_answer_about_balances_every_row(self, client):
        client.control.deposit("BTC", Decimal(1), org=client.user.org)
        client.control.variant(transfers_omit="status,time", balances_shape="empty_array")

        assert [row.keys() for row in client.json("/custody/v2/deposit/history")] == [
            {"id", "account", "asset", "amount"}
        ]
        assert client.json("/custody/v2/account/balances") == []
        client.control.variant(balances_shape="empty_object")
        assert client.json("/custody/v2/account/balances") == {}

    def test_a_balance_may_be_wrong_twice_told_cut_or_no_number(self, client):
        def told(asset):
            return client.json("/custody/v2/account/balances", asset=asset)

        right = {asset: told(asset)[0]["total"] for asset in ("BTC", "USD", "JPY", "ETH")}
        client.control.balance_error("BTC", amount="-0.5", org=client.user.org)
        client.control.balance_error("USD", twice=True, org=client.user.org)
        client.control.balance_error("JPY", omit="total", org=client.user.org)
        client.control.balance_error("ETH", text='"NaN"', org=client.user.org)

        assert [row["total"] for row in told("BTC")] == [right["BTC"] - Decimal("0.5")]
        assert [row["total"] for row in told("USD")] == [right["USD"]] * 2
        assert ["total" in row for row in told("JPY")] == [False]
        assert [row["total"] for row in told("ETH")] == ["NaN"]
        client.control.balance_error("BTC", clear=True, org=client.user.org)
        assert [row["total"] for row in told("BTC")] == [right["BTC"]]

    def test_an_error_of_one_account_is_not_in_the_sum_of_all(self, client):
        account = f"{client.user.org}LE1"
        before = client.json("/custody/v2/account/balances", asset="BTC")
        (own,) = [
            row["total"]
            for row in client.json("/custody/v2/broker/account/balances", asset="BTC")
            if row["account"] == account
        ]
        client.control.balance_error("BTC", amount="3", account=account, org=client.user.org)

        after = client.json("/custody/v2/broker/account/balances", asset="BTC")
        assert [row["total"] for row in after if row["account"] == account] == [own + 3]
        assert client.json("/custody/v2/account/balances", asset="BTC") == before

    def test_assets_may_lack_their_precision(self, client):
        client.control.variant(assets_precision="absent")

        assert "precision" not in client.json("/custody/v2/asset/assetDetail", asset="JPY")[0]

    def test_assets_have_details(self, client):
        rows = {row["asset"]: row for row in client.json("/custody/v2/asset/assetDetail")}

        assert {name: rows[name]["precision"] for name in ("USD", "JPY", "KWD", "BTC")} == {
            "USD": 2, "JPY": 0, "KWD": 3, "BTC": 8,
        }  # fmt: skip
        assert client.json("/custody/v2/asset/assetDetail", asset="JPY") == [rows["JPY"]]


def test_rates_are_told_for_a_symbol(client):
    spot = client.json("/v2/rates/spot", symbol="EUR/USD")
    benchmark = client.json("/v2/benchmark", symbol="EUR/USD")

    assert list(spot) == ["symbol", "bid", "offer", "bidLimit", "offerLimit", "time", "rateId"]
    assert spot["bid"] < benchmark["rate"] < spot["offer"]
    assert list(benchmark) == ["symbol", "rate", "uid", "timestamp"]
    assert datetime.fromtimestamp(benchmark["timestamp"] // 1000, UTC).date() == START.date()
    assert client.get("/v2/rates/spot", {"symbol": "AAA/BBB"}).status_code == 404
    assert client.get("/v2/benchmark").status_code == 404
