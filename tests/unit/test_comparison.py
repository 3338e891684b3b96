"""When two contents say the same, and what it means when they do not (laws 6 and 7)."""

import random
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.canonical import canonical, spelling
from etl.domain.comparison import Outcome, Verdict, compare, content_hash
from etl.domain.fields import Reading
from etl.domain.payload import Number, decode
from tests.builders import ABSENT, a_message, a_swap_message, a_trade

GOLDEN = "1cb108c97facecff99bd6401707a3af64246e17a76efe81332757317e756d6ce"

PLAIN = Reading()
BROKER = Reading(own_orgs=frozenset({"BrokerOrg1"}))


def same(one, other, reading=PLAIN):
    return content_hash(one, reading) == content_hash(other, reading)


# --- contents ---


@pytest.mark.parametrize(
    "spellings",
    [
        ["1.1", "1.10", "11e-1", "0.11E1", "110e-2", "1.1000000000e+0", "0.00011e4"],
        ["1000000", "1E6", "1000000.00", "10e5", "0.1e7", "1e+0006"],
        ["0", "-0", "0.00", "0e99999999999", "-0.0E-5"],
        ["-5", "-5.0", "-50e-1"],
        ["1e999999999", "10e999999998", "0.1e1000000000"],
        ["1e-999999999", "0.1e-999999998"],
        ["1e4399", "1" + "0" * 4399, "10e4398"],
        ["1e4400", "1" + "0" * 4400, "10e4399"],
        ["-1e4399", "-1" + "0" * 4399],
        ["1e-4397", "0." + "0" * 4396 + "1"],
        ["1e-4400", "0." + "0" * 4399 + "1"],
        ["9" * 5000, "9" * 5000 + ".0"],
        ["NaN"],
        ["Infinity"],
        ["-Infinity"],
        ["1e" + "9" * 5000],
    ],
    ids=lambda spellings: spellings[0][:16],
)
def test_law_7_numbers_are_compared_by_value(spellings):
    found = {spelling(each) for each in spellings}

    assert len(found) == 1
    assert len(found.pop()) < 5010


def test_law_7_different_numbers_are_different():
    numbers = ["1", "-1", "10", "1e-1", "1.01", "0", "1e999999999", "1e-999999999", "-1e999999999", "NaN", "Infinity"]

    assert len({spelling(each) for each in numbers}) == len(numbers)


decimals = st.decimals(allow_nan=False, allow_infinity=False)


@given(decimals, decimals)
def test_law_7_two_numbers_have_one_spelling_when_they_are_equal(one, other):
    assert (spelling(str(one)) == spelling(str(other))) == (one == other)
    assert spelling(f"{one:E}") == spelling(str(one))
    assert Decimal(spelling(str(one))) == one


@given(st.integers())
def test_law_7_a_whole_number_is_the_same_from_both_readers(number):
    assert canonical({"x": number}) == canonical({"x": Number(number)}) == canonical({"x": Number(f"{number}.0")})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 5}, {"x": "5"}),
        ({"x": Number("1.5")}, {"x": "1.5"}),
        ({"x": Number("NaN")}, {"x": "NaN"}),
        ({"x": None}, {}),
        ({"x": ""}, {}),
        ({"x": True}, {"x": 1}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": {}}, {"x": []}),
        ({"x": "\ud800"}, {"x": "\ud801"}),
        ({"x": "\ud800"}, {"x": "\xed\xa0\x80"}),
        ({"x": "\ud800"}, {"x": "\\ud800"}),
        ({"x": "\0"}, {"x": "\\u0000"}),
        ({"\ud800": 1}, {"\ud801": 1}),
        ({"x": ["\ud800", 1]}, {"x": ["\ud800", "1"]}),
    ],
)
def test_law_7_contents_that_differ_are_never_the_same(one, other):
    assert not same(one, other)


def test_law_7_the_order_of_keys_is_nothing_at_any_depth():
    assert same(decode(b'{"a":1,"b":{"c":[1],"d":2}}'), decode(b'{"b" : {"d":2.0,"c":[1e0]}, "a":1.00}'))
    assert same({"a": "\ud800", "b": Number("1.0")}, {"b": 1, "a": "\ud800"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | decimals.map(Number) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
contents = st.dictionaries(st.text(max_size=4), json_values, max_size=6)


def shuffled(value, order):
    if isinstance(value, dict):
        names = list(value)
        order.shuffle(names)
        return {name: shuffled(value[name], order) for name in names}
    if isinstance(value, list):
        return [shuffled(each, order) for each in value]
    if isinstance(value, Number):
        return Number(f"{Decimal(value):E}")
    return value


@given(contents, st.integers())
def test_law_7_neither_the_order_of_keys_nor_the_style_of_numbers_counts(content, seed):
    assert same(content, shuffled(content, random.Random(seed)))


@given(contents, contents)
def test_law_7_contents_are_the_same_only_when_they_are_equal(one, other):
    def by_value(value):
        if isinstance(value, dict):
            return {name: by_value(child) for name, child in value.items() if name != "event"}
        if isinstance(value, list):
            return [by_value(each) for each in value]
        return ("number", Decimal(value)) if type(value) in (int, Number) else (type(value).__name__, value)

    assert same(one, other) == (by_value(one) == by_value(other))


def test_law_6_the_event_is_no_content():
    aliased = Reading(aliases={"event": ("kind",)})

    assert same(a_message(event="NEW"), a_message(event="RESEND"))
    assert same(a_message(), a_message(event=ABSENT))
    assert not same(a_message(kind="NEW"), a_message(kind="RESEND"))
    assert same(a_message(kind="NEW"), a_message(kind="RESEND"), aliased)
    assert not same({"x": {"event": 1}}, {"x": {"event": 2}})


def test_fields_that_a_feed_ignores_are_no_content():
    ignoring = Reading(ignored_in_comparison=frozenset({"sentAt", "order_id"}))

    assert same(a_message(sentAt=1), a_message(sentAt=2), ignoring)
    assert same(a_message(orderId="a"), a_message(orderId="b"), ignoring)
    assert not same(a_message(sentAt=1), a_message(sentAt=2))


def test_the_content_of_a_message_keeps_its_hash_from_release_to_release():
    assert content_hash(a_message(), PLAIN).hex() == GOLDEN


# --- versions ---


def verdict(one=None, other=None, build=a_message, **kwargs):
    return compare(a_trade(build(**(one or {})), **kwargs), a_trade(build(**(other or {})), **kwargs))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"event": "RESEND"},
        {"dealtAmount": Number("1.00E6")},
        {"settledAmount": Number("1084250")},
        {"rate": Number("1.0842500")},
        {"note": ""},
        {"side": "BUY"},
    ],
)
def test_law_7_the_same_again_changes_nothing(other):
    assert verdict(other=other) == Verdict(Outcome.SAME)


@pytest.mark.parametrize(
    ("other", "economics"),
    [
        ({"tradeType": "Outright"}, ["trade_type"]),
        ({"tradeDate": "2023-06-01"}, ["trade_date"]),
        ({"valueDate": "2023-06-07"}, ["leg1.value_date"]),
        ({"fixingDate": "2023-06-01"}, ["leg1.fixing_date"]),
        ({"side": "Sell"}, ["side", "leg1.dealt_amount", "leg1.settled_amount"]),
        ({"dealtAmount": Number("1000000.01")}, ["leg1.dealt_amount"]),
        ({"settledAmount": Number("1084250.01")}, ["leg1.settled_amount"]),
        ({"rate": Number("1.08426")}, ["leg1.rate"]),
        ({"rate": ABSENT}, ["leg1.rate"]),
        ({"spotRate": Number("1.08")}, ["leg1.spot_rate"]),
        ({"forwardPoints": 0}, ["leg1.forward_points"]),
        ({"customerAccount": "Other"}, ["legal_entity"]),
        ({"counterparty": "Other"}, ["counterparty"]),
        ({"counterpartyAccount": ABSENT}, ["counterparty_entity"]),
        ({"status": "Cancelled"}, ["status"]),
        ({"currency": "USD"}, ["dealt_currency", "leg1.dealt_currency", "leg1.settled_currency"]),
    ],
)
def test_law_7_other_economics_are_a_conflict(other, economics):
    assert verdict(other=other) == Verdict(Outcome.CONFLICT, tuple(economics), tuple(economics))


@pytest.mark.parametrize(
    ("other", "changed"),
    [
        ({"note": "hedge"}, ["note"]),
        ({"orderId": ABSENT}, ["order_id"]),
        ({"executionTime": "2023-06-02 18:31:01,302 +0000"}, ["executed_at"]),
        ({"counterpartyLongName": "Broker"}, ["counterparty_name"]),
        ({"fixingTenor": "1W"}, ["leg1.fixing_tenor"]),
        ({"x": 1, "y": None}, ["attributes.x", "attributes.y"]),
        ({"note": "\0"}, ["attributes_omitted"]),
        ({"user": 5}, ["trader", "attributes.user"]),
    ],
)
def test_law_7_other_descriptions_are_an_enrichment(other, changed):
    assert verdict(other=other) == Verdict(Outcome.ENRICHED, tuple(changed))


def test_law_7_a_conflict_lists_everything_that_changed():
    found = verdict(other={"note": "hedge", "status": "Cancelled", "x": 1})

    assert found == Verdict(Outcome.CONFLICT, ("status", "note", "attributes.x"), ("status",))


@pytest.mark.parametrize("reading", [PLAIN, BROKER])
@pytest.mark.parametrize("other", [{"maker": True}, {"customerOrg": "Other"}, {"symbol": "EUR/GBP"}])
def test_law_7_another_maker_flag_customer_or_symbol_is_another_trade(other, reading):
    assert verdict(other=other, reading=reading).outcome is Outcome.OTHER_TRADE


@pytest.mark.parametrize(("name", "ours"), [("maker", "maker"), ("customerOrg", "organisation")])
def test_a_maker_flag_or_customer_that_only_one_has_is_a_change(name, ours):
    assert verdict(other={name: ABSENT}) == Verdict(Outcome.CONFLICT, (ours,), (ours,))


def test_the_far_leg_is_compared_too():
    assert verdict(other={"farRate": ABSENT}, build=a_swap_message).economics == ("leg2.rate",)
    assert compare(a_trade(a_swap_message()), a_trade()).economics == ("trade_type", "leg2")
    assert compare(a_trade(), a_trade(a_swap_message())).economics == ("trade_type", "leg2")


def test_a_change_of_our_own_settings_is_told():
    other = a_trade(reading=Reading(non_deliverable_assets=frozenset({"EUR"})))

    assert compare(a_trade(), other) == Verdict(Outcome.ENRICHED, ("leg1.deliverable",))


overrides = st.fixed_dictionaries(
    {},
    optional={
        "note": st.sampled_from(["a", "b", ABSENT]),
        "maker": st.sampled_from([True, False, ABSENT]),
        "side": st.sampled_from(["Buy", "Sell"]),
        "dealtAmount": st.sampled_from([1, Number("1.0"), 2]),
        "x": st.sampled_from([1, "1", [1], ABSENT]),
    },
)
readings = st.sampled_from([PLAIN, BROKER])


@given(overrides, overrides, readings)
def test_law_7_comparing_is_reflexive_and_symmetric(one, other, reading):
    first, second = a_trade(reading=reading, **one), a_trade(reading=reading, **other)

    assert compare(first, first) == Verdict(Outcome.SAME)
    assert compare(first, second) == compare(second, first)


@given(overrides, overrides, readings)
def test_law_7_equal_contents_are_never_a_change(one, other, reading):
    if same(a_message(**one), a_message(**other), reading):
        verdict_of_them = compare(a_trade(reading=reading, **one), a_trade(reading=reading, **other))

        assert verdict_of_them.outcome is Outcome.SAME


def test_every_column_of_a_trade_is_compared_or_follows_from_others():
    other = msgspec.structs.replace(
        a_trade(), **{name: "changed" for name in a_trade().__struct_fields__ if name not in NOT_COMPARED}
    )

    assert set(compare(a_trade(), other).changed) == set(a_trade().__struct_fields__) - NOT_COMPARED


NOT_COMPARED = {"trade_id", "live", "base_currency", "term_currency", "legs", "attributes", "flags"}


def test_every_field_of_a_leg_is_compared_or_follows_from_others():
    trade = a_trade()
    later = date(2030, 1, 1)
    leg = msgspec.structs.replace(
        trade.legs[0],
        value_date=later,
        dealt=trade.legs[0].settled,
        settled=trade.legs[0].dealt,
        deliverable=False,
        fixing_date=later,
        fixing_tenor="1W",
        rate=Decimal(1),
        spot_rate=Decimal(1),
        forward_points=Decimal(1),
    )

    found = compare(trade, msgspec.structs.replace(trade, legs=(leg,)))

    assert {each.removeprefix("leg1.") for each in found.changed} == (
        {"dealt_amount", "dealt_currency", "settled_amount", "settled_currency"}
        | (set(leg.__struct_fields__) - {"leg_no", "dealt", "settled", "base_amount", "term_amount"})
    )
