"""What a test or the demo can make the sandbox do: trades of its own choice, and their later life."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError

import pytest
import requests

from tests.integration.sandbox_client import Client, client_of, shared


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared(90)


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def new_message(client: Client) -> dict[str, Any]:
    return client.drain()[-1]


def test_a_trade_of_ones_own_choice_has_what_was_given_and_settles_by_it(client):
    client.execute(
        tradeType="Spot", symbol="USD/JPY", side="Sell", currency="USD", dealtAmount="1000000.01", rate="151.5"
    )

    message = new_message(client)
    assert (message["symbol"], message["side"], message["tradeType"]) == ("USD/JPY", "Sell", "Spot")
    assert message["dealtAmount"] == Decimal("1000000.01")
    assert message["settledAmount"] == 151500002
    assert message["tradeDate"] == "2024-03-13"
    assert message["executionTime"].startswith("2024-03-13 15:0")


@pytest.mark.parametrize("trade_type", ["Spot", "Outright", "NDF", "Swap", "FwdFwd", "NDFSwap"])
def test_any_type_goes_with_any_symbol(client, trade_type):
    client.execute(tradeType=trade_type, symbol="USD/KRW")
    client.execute(tradeType=trade_type, symbol="XPT/EUR", rate="812.5")

    known, unknown = client.drain()[-2:]
    assert (known["tradeType"], known["symbol"]) == (trade_type, "USD/KRW")
    assert 1250 < known["rate"] < 1450
    assert (unknown["tradeType"], unknown["symbol"], unknown["rate"]) == (trade_type, "XPT/EUR", Decimal("812.5"))
    for message in (known, unknown):
        assert ("farValueDate" in message) == (trade_type in ("Swap", "FwdFwd", "NDFSwap"))
        assert ("fixingDate" in message) == (trade_type in ("NDF", "NDFSwap"))


def test_a_symbol_alone_comes_with_a_type_that_suits_it(client):
    client.execute(symbol="USD/INR")
    client.execute(symbol="GBP/USD")

    assert [each["tradeType"] for each in client.drain()[-2:]] == ["NDF", "Spot"]


def test_digits_are_kept(client):
    client.execute(tradeType="Spot", symbol="BTC/USD", currency="BTC", dealtAmount="0.12345678")

    assert '"dealtAmount":0.12345678,' in client.messages().text


def test_a_trade_may_be_backdated(client):
    client.execute(tradeDate="2024-01-05", executionTime="2024-01-05 10:00:00,007 +0000", tradeType="Spot")

    message = new_message(client)
    assert message["tradeDate"] == "2024-01-05"
    assert message["executionTime"] == "2024-01-05 10:00:00,007 +0000"


def test_fields_can_be_left_out_of_the_message_or_be_rubbish_there(client):
    trade_id = client.execute(tradeType="Spot", note=None, wire={"dealtAmount": "1e400", "status": None})

    message = new_message(client)
    assert message["dealtAmount"] == "1e400"
    assert "note" not in message
    assert "status" not in message
    assert isinstance(client.trades()[trade_id]["fields"]["dealtAmount"], int | Decimal)


@pytest.mark.parametrize(
    "content", [{"dealtAmount": "rubbish"}, {"valueDate": "tomorrow"}, {"tradeDate": "2024-02-31"}, {"symbol": "A/B"}]
)
def test_a_trade_that_makes_no_sense_is_refused(client, content):
    with pytest.raises(HTTPError, match="400"):
        client.execute(**content)
    assert len(client.drain()) == 40


def test_a_cancelled_trade_is_not_announced(client):
    first = client.read(1)[0]["tradeId"]
    client.control.cancel(first)

    assert len(client.drain()) == 39
    assert client.json(f"/v2/trades/{first}")["status"] == "Cancelled"


@pytest.mark.parametrize(("deed", "status"), [("amend", "Amended"), ("roll", "Rolled"), ("allocate", "Allocated")])
def test_a_replaced_trade_ends_and_its_replacements_are_new(client, deed, status):
    trade_id = client.execute(tradeType="Swap", symbol="EUR/USD", currency="EUR", dealtAmount="100.01")
    old = new_message(client)
    made = getattr(client.control, deed)(trade_id)

    new = client.drain()
    assert [each["tradeId"] for each in new] == made
    assert {each["event"] for each in new} == {"NEW"}
    assert {each["originalTradeId"] for each in new} == {trade_id}
    answer = client.json(f"/v2/trades/{trade_id}")
    assert answer["status"] == status
    assert answer["replacedBy"] == (made[0] if len(made) == 1 else made)
    if deed == "allocate":
        for name in ("dealtAmount", "farDealtAmount"):
            assert sum(each[name] for each in new) == old[name]
        assert {each["customerAccount"] for each in new} == {f"{client.user.org}LE1", f"{client.user.org}LE2"}
    elif deed == "amend":
        assert new[0]["dealtAmount"] == Decimal("50.01")
    else:
        assert new[0]["valueDate"] > old["valueDate"]


def test_allocations_can_be_given(client):
    trade_id = client.execute(tradeType="Spot", symbol="EUR/USD", currency="EUR", dealtAmount=100, rate="1.1")
    client.drain()
    client.control.allocate(trade_id, [{"customerAccount": "A", "dealtAmount": 70}, {"customerAccount": "B"}])

    new = {each["customerAccount"]: each for each in client.drain()}
    assert (new["A"]["dealtAmount"], new["B"]["dealtAmount"]) == (70, 30)
    assert (new["A"]["settledAmount"], new["B"]["settledAmount"]) == (77, 33)


def test_a_trade_can_change_under_the_same_id(client):
    first = client.read(1)[0]
    client.control.mutate(first["tradeId"], note="changed later", side="Sell" if first["side"] == "Buy" else "Buy")
    client.resend()

    again = {each["tradeId"]: each for each in client.drain()}[first["tradeId"]]
    assert again["note"] == "changed later"
    assert again["side"] != first["side"]
    assert again["event"] == "RESEND"


def test_a_change_can_be_in_the_messages_alone(client):
    first = client.read(1)[0]
    client.control.mutate(first["tradeId"], wire={"dealtAmount": 1})
    client.resend()

    again = {each["tradeId"]: each for each in client.drain()}[first["tradeId"]]
    assert again["dealtAmount"] == 1
    assert client.trades()[first["tradeId"]]["fields"]["dealtAmount"] == first["dealtAmount"]


def test_a_trade_can_be_handed_out_again_with_other_content_though_nobody_asked(client):
    first = client.read(1)[0]
    client.drain()
    client.control.mutate(first["tradeId"], note="other", again=True)

    (again,) = client.drain()
    assert (again["tradeId"], again["note"], again["event"]) == (first["tradeId"], "other", "RESEND")


def test_a_trade_can_be_done_that_is_never_handed_out(client):
    trade_id = client.execute(hidden=True)
    client.resend()

    assert trade_id not in {each["tradeId"] for each in client.drain()}
    assert client.json(f"/v2/trades/{trade_id}")["status"] == "Verified"


def test_a_variant_can_be_that_of_one_organisation_until_it_is_that_of_all(client):
    answered = client.control.variant(positions_shape="object", org=client.user.org)

    assert answered["positions_shape"] == "object"
    assert client.control.state()["variants"]["positions_shape"] == "array"
    assert isinstance(client.json("/v2/positions", level="ORG"), dict)
    client.control.variant(positions_shape="array")
    assert isinstance(client.json("/v2/positions", level="ORG"), list)


def test_the_world_can_be_seen(client):
    taken = [each["tradeId"] for each in client.read(10)]
    world = client.trades()

    assert len(world) == 40
    assert [trade_id for trade_id, each in world.items() if each["downloaded_by"]] == taken
    assert world[taken[0]]["downloaded_by"] == [f"{client.user.name}@{client.user.org}"]
    assert {each["status"] for each in world.values()} == {"Verified"}
    state = client.control.state()
    assert state["ready"][f"{client.user.name}@{client.user.org}"] == 30
    assert state["now"].startswith("2024-03-13T15:0")


@pytest.mark.parametrize(
    ("values", "trade_day"),
    [
        ({"now": "2024-03-13T20:59:00+00:00"}, "2024-03-13"),
        ({"now": "2024-03-13T21:00:00+00:00"}, "2024-03-14"),
        ({"now": "2024-01-10T21:30:00+00:00"}, "2024-01-10"),
        ({"now": "2024-03-15T21:00:00+00:00"}, "2024-03-18"),
        ({"today": "2024-05-01"}, "2024-05-01"),
        ({"advance_s": 86400}, "2024-03-14"),
    ],
)
def test_the_clock_can_be_set_and_the_day_turns_in_new_york(client, values, trade_day):
    assert client.control.today(**values)["trade_day"] == trade_day


@pytest.mark.parametrize(
    ("deed", "values"),
    [
        ("cancel", {}),
        ("cancel", {"trade_id": "unknown"}),
        ("execute", {"org": "unknown"}),
        ("execute", {"count": "many"}),
        ("today", {"now": "some day"}),
        ("deposit", {"asset": "BTC"}),
        ("deposit", {"asset": "BTC", "amount": "much"}),
        ("transfer", {"id": "unknown", "status": "COMPLETED"}),
        ("position-error", {"symbol": "EUR/USD", "valueDate": "soon"}),
    ],
)
def test_a_deed_that_makes_no_sense_is_400(client, deed, values):
    with pytest.raises(HTTPError, match="400") as refused:
        client.control.post(deed, values)
    assert b'"error"' in refused.value.read()


@pytest.mark.parametrize(
    ("order", "body", "said"),
    [
        ("execute", {"cuont": 1}, "execute takes no cuont; see /_sandbox/"),
        ("faults", {"faults": ["close_after"]}, 'faults is no list of objects, such as [{"fault": "close_after"}]'),
        ("execute", "no JSON", "the body is no JSON: Expecting value"),
        ("refuse", "[1]", "the body is not an object"),
    ],
)
def test_an_order_that_makes_no_sense_is_told_so_and_changes_nothing(client, order, body, said):
    before = plan_and_trades(client)

    answer = requests.post(f"{client.url}/_sandbox/{order}", data=body if isinstance(body, str) else json.dumps(body))

    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert plan_and_trades(client) == before


def plan_and_trades(client):
    state = client.control.state()
    return state["planned"], state["trades"]
