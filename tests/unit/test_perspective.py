"""Whose side is ours, and what that makes of every sign (A3, A4, design.md §6). EUR/USD at 1.08425 throughout."""

from decimal import Decimal

import pytest

from etl.domain.fields import Reading
from etl.domain.normalise import normalise
from etl.domain.payload import Number
from etl.domain.perspective import our_side
from etl.domain.trade import OurSide, Rejected
from tests.builders import ABSENT, a_message, a_swap_message, a_trade

OURS = {
    "customer": Reading(own_orgs=frozenset({"CustomerOrg"})),
    "counterparty": Reading(own_orgs=frozenset({"BrokerOrg1"})),
    "both": Reading(own_orgs=frozenset({"CustomerOrg", "BrokerOrg1"})),
    "nobody named": Reading(),
}
EUR, USD, FAR_USD = "1000000", "1084250.00", "1085900.50"
"""Base, term and far term amount of the messages below, before anybody's sign."""


def a_deal(side, dealt, legs):
    amounts = {"side": side, "currency": dealt}
    if dealt == "USD":
        amounts |= {"dealtAmount": Number(USD), "settledAmount": int(EUR)}
    if legs == 1:
        return a_message(**amounts)
    if dealt == "USD":
        amounts |= {"farDealtAmount": Number(FAR_USD), "farSettledAmount": int(EUR)}
    return a_swap_message(**amounts)


# Customer buys EUR: receives base, pays term. The counterparty sees the opposite. In a swap the far leg turns back.
@pytest.mark.parametrize(
    ("ours", "side", "dealt", "our_word", "near", "far"),
    [
        # we are        side    dealt   our side  near base, term    far base, term
        ("customer", "Buy", "EUR", "buy", ("+", "-"), ("-", "+")),
        ("customer", "Sell", "EUR", "sell", ("-", "+"), ("+", "-")),
        ("customer", "Buy", "USD", "buy", ("-", "+"), ("+", "-")),
        ("customer", "Sell", "USD", "sell", ("+", "-"), ("-", "+")),
        ("counterparty", "Buy", "EUR", "sell", ("-", "+"), ("+", "-")),
        ("counterparty", "Sell", "EUR", "buy", ("+", "-"), ("-", "+")),
        ("counterparty", "Buy", "USD", "sell", ("+", "-"), ("-", "+")),
        ("counterparty", "Sell", "USD", "buy", ("-", "+"), ("+", "-")),
        ("both", "Buy", "EUR", "buy", ("+", "-"), ("-", "+")),
        ("both", "Sell", "EUR", "sell", ("-", "+"), ("+", "-")),
        ("both", "Buy", "USD", "buy", ("-", "+"), ("+", "-")),
        ("both", "Sell", "USD", "sell", ("+", "-"), ("-", "+")),
        ("nobody named", "Buy", "EUR", "buy", ("+", "-"), ("-", "+")),
        ("nobody named", "Sell", "EUR", "sell", ("-", "+"), ("+", "-")),
        ("nobody named", "Buy", "USD", "buy", ("-", "+"), ("+", "-")),
        ("nobody named", "Sell", "USD", "sell", ("+", "-"), ("-", "+")),
    ],
)
@pytest.mark.parametrize("legs", [1, 2])
def test_positive_is_received_by_our_side(ours, side, dealt, our_word, near, far, legs):
    trade = a_trade(a_deal(side, dealt, legs), reading=OURS[ours])

    expected = [(near[0] + EUR, near[1] + USD), (far[0] + EUR, far[1] + FAR_USD)][:legs]
    assert [(leg.base_amount, leg.term_amount) for leg in trade.legs] == [
        (Decimal(base), Decimal(term)) for base, term in expected
    ]
    assert trade.side == our_word
    assert trade.dealt_currency == dealt
    for leg in trade.legs:
        amounts = {leg.dealt.currency: leg.dealt.value, leg.settled.currency: leg.settled.value}
        assert amounts == {"EUR": leg.base_amount, "USD": leg.term_amount}
        assert leg.dealt.currency == dealt
    assert trade.legs[0].dealt.value.is_signed() == (our_word == "sell")


def test_law_8_turning_a_side_keeps_every_digit():
    trade = a_trade(dealtAmount=Number("12345678901234567890123456789012.345600"), reading=OURS["counterparty"])

    assert str(trade.legs[0].dealt.value) == "-12345678901234567890123456789012.345600"


@pytest.mark.parametrize(
    ("customer", "counterparty", "own", "expected"),
    [
        ("A", "B", set(), OurSide.CUSTOMER),
        (None, None, set(), OurSide.CUSTOMER),
        ("A", "B", {"A"}, OurSide.CUSTOMER),
        ("A", None, {"A"}, OurSide.CUSTOMER),
        ("A", "B", {"B"}, OurSide.COUNTERPARTY),
        (None, "B", {"B"}, OurSide.COUNTERPARTY),
        ("A", "B", {"A", "B"}, OurSide.BOTH),
        ("A", "A", {"A"}, OurSide.BOTH),
        ("A", "B", {"C"}, None),
        ("a", "B", {"A"}, None),
        (None, None, {"A"}, None),
    ],
)
def test_whose_side_is_ours(customer, counterparty, own, expected):
    assert our_side(customer, counterparty, own) is expected


def test_parties_change_places_where_the_counterparty_is_us():
    message = a_message(lei="LEI-C", counterpartyLei="LEI-B")
    customer, counterparty = (a_trade(message, reading=OURS[each]) for each in ("customer", "counterparty"))

    assert customer.our_side is OurSide.CUSTOMER
    assert (customer.organisation, customer.legal_entity, customer.lei) == ("CustomerOrg", "CustomerOrgle1", "LEI-C")
    assert (customer.counterparty, customer.counterparty_entity) == ("BrokerOrg1", "BrokerOrg1LE5")
    assert (customer.counterparty_lei, customer.counterparty_name) == ("LEI-B", "The Broker Org")
    assert customer.attributes == {}

    assert counterparty.our_side is OurSide.COUNTERPARTY
    assert (counterparty.organisation, counterparty.legal_entity, counterparty.lei) == (
        *("BrokerOrg1", "BrokerOrg1LE5", "LEI-B"),
    )
    assert (counterparty.counterparty, counterparty.counterparty_entity) == ("CustomerOrg", "CustomerOrgle1")
    assert (counterparty.counterparty_lei, counterparty.counterparty_name) == ("LEI-C", None)
    assert counterparty.attributes == {"counterpartyLongName": "The Broker Org"}


def test_a_party_that_is_absent_changes_places_too():
    trade = a_trade(customerOrg=ABSENT, customerAccount=ABSENT, reading=OURS["counterparty"])

    assert (trade.organisation, trade.counterparty, trade.counterparty_entity) == ("BrokerOrg1", None, None)


def test_an_internal_trade_is_seen_from_the_customer():
    trade = a_trade(reading=OURS["both"])

    assert trade.internal
    assert (trade.organisation, trade.counterparty) == ("CustomerOrg", "BrokerOrg1")


@pytest.mark.parametrize("customer", ["CustomerOrg", ABSENT])
def test_a_trade_of_others_is_an_exception_item(customer):
    found = normalise(a_message(customerOrg=customer), Reading(own_orgs=frozenset({"Elsewhere"})))

    assert isinstance(found, Rejected)
    assert [(fault.field, fault.value) for fault in found.faults] == [
        ("customerOrg", None if customer is ABSENT else "CustomerOrg")
    ]
    assert found.faults[0].rule.startswith("not_our_trade: ")
