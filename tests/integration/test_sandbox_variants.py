"""Every variant of the sandbox changes what its name says: the readings of integral-api.md, section 14."""

import re
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from etl.sandbox.exact import value_of
from etl.sandbox.variants import Variants
from tests.integration.sandbox_client import Client, client_of, shared

SWAPS = ("Swap", "FwdFwd", "NDFSwap")


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    yield from shared(90)


@pytest.fixture
def client(pool: Any) -> Iterator[Client]:
    yield from client_of(pool)


def played(client: Client, **variants: Any) -> list[dict[str, Any]]:
    """Return all messages as they are told under these variants."""
    client.control.variant(**variants)
    return client.drain()


def test_every_variant_is_tried_by_some_test():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_sandbox_*.py"))

    assert [each.name for each in fields(Variants) if not re.search(rf'\b{each.name}=|"{each.name}"', tests)] == []


def test_the_contra_amount_may_be_told_otherwise(client):
    truth = {trade_id: trade["fields"] for trade_id, trade in client.trades().items()}

    for message in played(client, contra="base_term"):
        trade = truth[message["tradeId"]]
        amounts = {trade["dealtAmount"], trade["settledAmount"]}
        assert {message["baseAmount"], message["termAmount"]} == amounts
        assert (
            message["dealtAmount"]
            == message["baseAmount" if message["currency"] == message["symbol"].split("/")[0] else "termAmount"]
        )
        assert "settledAmount" not in message
        assert "farSettledAmount" not in message
        assert ("farBaseAmount" in message) == (message["tradeType"] in SWAPS)


def test_the_contra_amount_may_be_told_twice_or_not_at_all(client):
    client.control.variant(contra="both")
    both = client.read(20)
    client.control.variant(contra="neither")
    neither = client.read(20)

    assert all({"settledAmount", "baseAmount", "termAmount"} <= each.keys() for each in both)
    assert not any({"settledAmount", "baseAmount", "termAmount", "farSettledAmount"} & each.keys() for each in neither)


def test_rates_may_be_absent_or_disagree(client):
    client.control.variant(rates="absent")
    absent = client.read(20)
    client.control.variant(rates="disagreeing")
    disagreeing = client.read(20)

    assert not any({"rate", "spotRate", "forwardPoints", "farRate"} & each.keys() for each in absent)
    trades = client.trades()
    assert all(each["rate"] == trades[each["tradeId"]]["fields"]["rate"] * Decimal("1.01") for each in disagreeing)


@pytest.mark.parametrize(
    ("style", "words"), [("title", {"Buy", "Sell"}), ("upper", {"BUY", "SELL"}), ("lower", {"buy", "sell"})]
)
def test_the_side_has_any_case(client, style, words):
    assert {each["side"] for each in played(client, side_case=style)} == words


def test_we_may_be_anybody(client):
    client.drain()
    client.control.variant(we_are="mixed")
    client.control.execute(60, org=client.user.org)

    parties = {
        (each["customerOrg"] == client.user.org, each["counterparty"] == client.user.org) for each in client.drain()
    }
    assert parties == {(True, False), (False, True), (True, True)}


def test_far_legs_may_be_absent(client):
    messages = played(client, far_leg="absent")

    assert any(each["tradeType"] in SWAPS for each in messages)
    assert not any(name.startswith("far") for each in messages for name in each)


def test_far_legs_may_be_messages_of_their_own(client):
    trades = client.trades()
    messages = played(client, far_leg="second_message")

    swaps = [each for each in messages if each["tradeType"] in SWAPS]
    assert len(messages) == len(trades) + len(swaps) // 2
    for near, far in zip(swaps[::2], swaps[1::2], strict=True):
        truth = trades[near["tradeId"]]["fields"]
        assert near["tradeId"] == far["tradeId"]
        assert (near["side"], far["side"]) in (("Buy", "Sell"), ("Sell", "Buy"))
        assert (near["valueDate"], far["valueDate"]) == (truth["valueDate"], truth["farValueDate"])
        assert (far["dealtAmount"], far["settledAmount"]) == (truth["farDealtAmount"], truth["farSettledAmount"])


def test_fixings_may_be_absent(client):
    messages = played(client, fixing="absent")

    assert any(each["tradeType"] == "NDF" for each in messages)
    assert not any("ixing" in name for each in messages for name in each)


def test_energy_may_be_traded(client):
    assert not any(each["symbol"] == "WTI/USD" for each in client.drain())
    client.control.variant(energy=True)
    client.control.execute(150, org=client.user.org)

    assert {each["tradeType"] for each in client.drain() if each["symbol"] == "WTI/USD"} <= {"NDF", "NDFSwap"} != set()


def test_fields_nobody_knows_may_come(client):
    client.control.variant(extra_fields=True)
    answer = client.messages(5)

    assert answer.text.count('"midRate":1.0842500000000000000000000000000001') == 5
    assert all({"clearingHouse", "tags"} <= each.keys() for each in answer.json())


def test_the_link_to_the_original_may_be_absent(client):
    old, other = client.read(2)
    (new,) = client.control.amend(old["tradeId"])
    linked = {each["tradeId"]: each for each in client.drain()}[new]
    client.control.variant(original_link="absent")
    client.control.amend(other["tradeId"])

    assert linked["originalTradeId"] == old["tradeId"]
    assert "originalTradeId" not in client.read(1)[0]


def test_any_field_may_be_left_out(client):
    messages = played(client, omit="event,tradeId")

    assert len(messages) == 40
    assert not any({"event", "tradeId"} & each.keys() for each in messages)


@pytest.mark.parametrize("style", ["plain", "exponent", "trailing_zeros"])
def test_numbers_may_be_written_in_other_ways_of_the_same_value(client, style):
    client.control.variant(numbers=style)
    text = client.messages(40).text
    sent = {each["tradeId"]: each for each in value_of(text)}

    pattern = {"plain": r"\d+(\.\d*[1-9])?", "exponent": r"\d(\.\d+)?E[+-]\d+", "trailing_zeros": r"\d+\.\d*000"}[style]
    written = re.findall(r'"(?:dealt|settled)Amount":([^,}]+)', text)
    assert len(written) == 80
    assert all(re.fullmatch(pattern, each) for each in written)
    for trade_id, trade in client.trades().items():
        assert sent[trade_id]["dealtAmount"] == trade["fields"]["dealtAmount"]
        assert sent[trade_id]["settledAmount"] == trade["fields"]["settledAmount"]


def test_numbers_may_be_text(client):
    trades = client.trades()
    for message in played(client, numbers="string"):
        assert message["dealtAmount"] == format(Decimal(trades[message["tradeId"]]["fields"]["dealtAmount"]), "f")


@pytest.mark.parametrize(
    ("value", "status", "body", "length"),
    [
        ("array", 200, b"[]", "2"),
        ("204", 204, b"", None),
        ("no_body", 200, b"", "0"),
        ("chunked", 200, b"", None),
        ("object", 200, b"{}", "2"),
        ("null", 200, b"null", "4"),
        ("wrapped", 200, b'{"trades": []}', "14"),
    ],
)
def test_empty_has_many_forms(client, value, status, body, length):
    client.drain()
    client.control.variant(empty=value)
    answer = client.messages()

    assert (answer.status_code, answer.content, answer.headers.get("Content-Length")) == (status, body, length)
    assert (answer.headers.get("Transfer-Encoding") == "chunked") == (value == "chunked")
    assert client.messages().status_code == status


def test_messages_may_be_in_any_order(client):
    ids = list(client.trades())
    backwards = [each["tradeId"] for each in played(client, order="reversed")]
    client.resend()
    shuffled = [each["tradeId"] for each in played(client, order="random")]

    assert backwards == ids[::-1]
    assert shuffled != ids
    assert sorted(shuffled) == ids


def test_a_page_may_always_be_larger_or_smaller_than_asked(client):
    client.control.variant(oversize=3)
    larger = client.read(10)
    client.control.variant(oversize=0, max_count_limit=4)
    smaller = client.read(10)

    assert (len(larger), len(smaller)) == (13, 4)


class TestResend:
    def test_it_may_compare_the_instant_of_execution(self, client):
        client.control.variant(resend_compare="executed_at")
        late = [each for each in client.drain() if each["executionTime"][:10] != each["tradeDate"]]
        assert late
        client.resend(late[0]["tradeDate"], late[0]["tradeDate"])

        again = client.drain()
        assert again
        assert late[0]["tradeId"] not in [each["tradeId"] for each in again]

    @pytest.mark.parametrize(
        ("value", "found", "empty"), [("never", 200, 200), ("when_empty", 200, 404), ("always", 404, 404)]
    )
    def test_it_may_be_404(self, client, value, found, empty):
        client.drain()
        client.control.variant(resend_404=value)

        assert client.resend("2010-01-01", "2010-01-02").status_code == empty
        assert client.resend().status_code == found
        assert len(client.drain()) == (40 if found == 200 else 0)

    def test_it_may_always_be_short(self, client):
        client.drain()
        client.control.variant(resend_drop=3)
        client.resend()

        assert len(client.drain()) == 37

    def test_the_range_may_be_limited(self, client):
        client.drain()
        client.control.variant(resend_max_days=7)

        assert client.resend("2024-03-01", "2024-03-20").status_code == 400
        assert client.read() == []
        assert client.resend("2024-03-10", "2024-03-15").status_code == 200

    def test_the_frequency_may_be_limited(self, client):
        client.control.variant(resend_min_interval_s=30)
        first, second = client.resend(), client.resend()

        assert (first.status_code, second.status_code) == (200, 429)
        assert int(second.headers["Retry-After"]) in (29, 30)

    def test_old_trades_may_be_gone(self, client):
        messages = client.drain()
        client.control.variant(resend_retention_days=1)
        client.resend()

        again = client.drain()
        assert {each["tradeDate"] for each in again} == {"2024-03-12", "2024-03-13"}
        assert len(again) < len(messages)


@pytest.mark.parametrize(("value", "trade_date"), [("calendar", "2024-03-16"), ("monday", "2024-03-18")])
def test_crypto_of_the_weekend_has_one_trade_date_or_the_other(client, value, trade_date):
    client.drain()
    client.control.variant(crypto_weekend=value)
    client.control.today(now="2024-03-16T12:00:00+00:00")
    client.control.execute(5, org=client.user.org)

    messages = client.drain()
    assert {each["symbol"] for each in messages} <= {"BTC/USD", "ETH/USD", "USDT/USD"}
    assert {each["tradeDate"] for each in messages} == {trade_date}


@pytest.mark.parametrize("values", [{"no_such": 1}, {"contra": "no such"}, {"oversize": "many"}, {"energy": "perhaps"}])
def test_a_senseless_variant_is_refused_and_changes_nothing(client, values):
    before = client.control.state()["variants"]
    with pytest.raises(HTTPError, match="400"):
        client.control.variant(**values)

    assert client.control.state()["variants"] == before
