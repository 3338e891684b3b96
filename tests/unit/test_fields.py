"""The rule of each field: what the vendor may send, and what is a fault (A1-A7, integral-api.md §3.1)."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain import rules
from etl.domain.fields import CANONICAL_NAMES, FIELDS, RULES, Reading, Weight
from etl.domain.payload import Number
from etl.domain.rules import Broken, Symbol
from etl.domain.trade import Leg, Side, Trade, TradeType

PARTS = {"dealt_amount", "settled_amount", "event"}
"""Our names that are neither a column of the trade nor of its leg as they stand."""


def test_our_names_are_those_of_trade_and_leg():
    known = {*Trade.__struct_fields__, *Leg.__struct_fields__, *PARTS}

    assert [name for name in CANONICAL_NAMES if name.removeprefix("far_") not in known] == []
    assert len(set(CANONICAL_NAMES)) == len(CANONICAL_NAMES)


def test_no_vendor_name_serves_two_fields():
    assert len(RULES) == sum(len(each.vendor_names) for each in FIELDS)


def test_the_fields_without_which_nothing_is_booked_are_those_of_a7():
    required = [each.vendor_names[0] for each in FIELDS if each.weight is Weight.REQUIRED]

    assert required == [
        *("tradeId", "tradeType", "tradeDate", "valueDate", "side", "symbol", "currency", "dealtAmount"),
    ]


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("value", [None, "", [], {}, ["2023-06-02"], {"a": 1}, 1.5], ids=repr)
def test_no_rule_takes_nothing_or_a_structure_or_a_binary_fraction(name, value):
    assert type(RULES[name](value)) is Broken


@given(
    st.sampled_from(list(RULES.values())), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.none())
)
def test_no_value_makes_a_rule_raise(rule, value):
    rule(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1000000, "1000000"),
        (Number("1084250.00"), "1084250.00"),
        (Number("1E6"), "1E+6"),
        (Number("0.1"), "0.1"),
        (Number("1e-38"), "1E-38"),
        (Number("1e37"), "1E+37"),
        (10**38 - 1, "9" * 38),
        (Number("9" * 38), "9" * 38),
        (Number("0." + "9" * 38), "0." + "9" * 38),
    ],
)
def test_law_8_an_amount_is_read_digit_for_digit(value, expected):
    assert str(rules.amount(value)) == expected


TOO_LONG = "must have at most 38 significant digits, and at most 38 on either side of the point"
UNSIGNED = "must be above 0; amounts are unsigned, the side says who pays"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (0, UNSIGNED),
        (-5, UNSIGNED),
        (Number("0.00"), UNSIGNED),
        (Number("-0"), UNSIGNED),
        (Number("-1.5"), UNSIGNED),
        (10**38, TOO_LONG),
        (-(10**38), TOO_LONG),
        (Number("9" * 39), TOO_LONG),
        (Number("9" * 400), TOO_LONG),
        (Number("1." + "0" * 38), TOO_LONG),
        (Number("1e38"), TOO_LONG),
        (Number("1e-39"), TOO_LONG),
        (Number("1e999"), TOO_LONG),
        (Number("1e99999999999999999999"), TOO_LONG),
        (Number("NaN"), "must be a finite number"),
        (Number("-Infinity"), "must be a finite number"),
        ("1000000", "must be a JSON number"),
        (True, "must be a JSON number"),
        (1.5, "must be a JSON number"),
        (Decimal(1), "must be a JSON number"),
    ],
)
def test_law_8_an_amount_that_is_not_plain_is_a_fault(value, rule):
    assert rules.amount(value) == Broken(rule)


def test_a_rate_may_have_either_sign():
    assert rules.rate(Number("-0.00125")) == Decimal("-0.00125")
    assert rules.rate(0) == 0


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-38, 0))
def test_law_8_numbers_of_up_to_38_digits_come_through(digits, exponent):
    token = f"{digits}e{exponent}"

    assert rules.rate(Number(token)) == Decimal(token)


@pytest.mark.parametrize(
    "value",
    ["2023-02-30", "2023-13-01", "2023-00-10", "20230602", "2023-W22-5", "02/06/2023", "2023-6-2", "2023-06-02 "]
    + ["2023-06-02T00:00", "1969-12-31", "2200-01-01", "0000-00-00", "٢٠٢٣-٠٦-٠٢", "today", 20230602, True],
)
def test_a_day_that_does_not_exist_is_a_fault(value):
    assert type(rules.day(value)) is Broken


def test_a_day_is_read():
    assert rules.day("2024-02-29") == date(2024, 2, 29)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-06-02 18:31:01,301 +0000", datetime(2023, 6, 2, 18, 31, 1, 301000, UTC)),
        ("2023-06-02 18:31:01,301 -0400", datetime(2023, 6, 2, 22, 31, 1, 301000, UTC)),
        ("2023-06-02 00:15:00,000 +0530", datetime(2023, 6, 1, 18, 45, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_to_the_millisecond_in_utc(value, expected):
    assert rules.instant(value) == expected
    assert rules.instant(value).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    ["2023-06-02 18:31:01,301", "2023-06-02 18:31:01.301 +0000", "2023-06-02T18:31:01,301 +0000", 1665490480729]
    + ["2023-02-30 18:31:01,301 +0000", "2023-06-02 25:31:01,301 +0000", "2023-06-02 18:31:60,301 +0000"]
    + ["2023-06-02 18:31:01,301 +9900", "2023-06-02 18:31:01,301 +12,5", "2023-06-02 18:31:01,301  0000"]
    + ["0001-01-01 00:00:00,000 +0100", "9999-12-31 23:59:59,999 -0100", "2023-06-02 18:31:01,301 +000٠", "now"],
)
def test_an_instant_in_another_form_is_a_fault(value):
    assert type(rules.instant(value)) is Broken


@pytest.mark.parametrize(
    ("text", "base", "term"),
    [
        ("EUR/USD", "EUR", "USD"),
        ("XAU/USD", "XAU", "USD"),
        ("DOGE/USDT", "DOGE", "USDT"),
        ("WTI.Z3-MINI/USD", "WTI.Z3-MINI", "USD"),
        ("1INCH/eur", "1INCH", "eur"),
        (f"{'A' * 17}/{'B' * 17}", "A" * 17, "B" * 17),
    ],
)
def test_a_symbol_has_two_parts_of_any_spelling(text, base, term):
    assert rules.symbol(text) == Symbol(text, base, term)


@pytest.mark.parametrize(
    "value",
    ["EURUSD", "EUR/", "/USD", "/", "EUR/USD/JPY", "EUR/EUR", "EUR /USD", "EUR/US D", "EUR/\tUSD", "EUR/US\u00a0D"]
    + ["EUR/\0SD", "EUR/\ud800", f"{'A' * 18}/USD", f"{'A' * 5_000_000}/USD", 1, True],
    ids=lambda value: repr(value)[:20],
)
def test_a_symbol_that_is_no_pair_is_a_fault(value):
    assert type(rules.symbol(value)) is Broken


@pytest.mark.parametrize("value", ["Buy", "BUY", "buy", "bUY"])
def test_the_side_is_read_in_any_letter_case(value):
    assert rules.side(value) is Side.BUY


def test_a_value_that_is_none_of_those_allowed_is_told_which_are():
    assert rules.side("Long") == Broken("must be Buy or Sell, in any letter case")
    assert rules.trade_type("SPOT") == Broken("must be one of Spot, Outright, NDF, Swap, FwdFwd, NDFSwap")
    assert rules.trade_type("NDFSwap") is TradeType.NDF_SWAP
    assert rules.yes_or_no("true") == Broken("must be true or false")
    assert rules.yes_or_no(0) == Broken("must be true or false")


@pytest.mark.parametrize("value", [" ", "\u00a0", "a\0", "a\n", "\ud800", "a\x7f", 5, Number("5"), True, "x" * 256])
def test_a_name_must_be_readable(value):
    assert type(rules.name(255)(value)) is Broken


@pytest.mark.parametrize("value", ["FXI1", "Zürich", "東京 支店", "a\u00a0b", " ", "x" * 255])
def test_a_remark_may_be_any_text_and_a_name_any_readable_one(value):
    assert rules.remark(255)(value) == value
    if value.strip():
        assert rules.name(255)(value) == value


@pytest.mark.parametrize(
    ("vendor_name", "longest"),
    [("orderId", 60), ("tradeId", 255), ("coId", 255), ("event", 50), ("fixingTenor", 20), ("status", 20)]
    + [("currency", 10), ("rateId", 255), ("customerAccount", 30), ("customerOrg", 30)],
)
def test_texts_are_as_long_as_documented(vendor_name, longest):
    assert RULES[vendor_name]("x" * longest) == "x" * longest
    assert type(RULES[vendor_name]("x" * (longest + 1))) is Broken


def test_a_reading_knows_every_name_of_a_field():
    reading = Reading(aliases={"settled_amount": ("settledAmt", "contraAmount")})

    assert reading.names["settled_amount"] == ("settledAmount", "settledAmt", "contraAmount")
    assert reading.name_in({"contraAmount": 1, "settledAmt": None}, "settled_amount") == "contraAmount"
    assert reading.name_in({"settledAmount": ""}, "settled_amount") is None


def test_a_reading_ignores_fields_by_the_vendors_name_and_by_ours():
    reading = Reading(
        aliases={"event": ("messageEvent",), "note": ("memo",)}, ignored_in_comparison=frozenset({"note", "sentAt"})
    )

    assert reading.uncompared == {"event", "messageEvent", "note", "memo", "sentAt"}
