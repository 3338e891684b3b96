"""Messages to trades, or to every fault in them (A1-A7, laws 6 and 8, content of design.md §3)."""

import json
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.comparison import content_hash
from etl.domain.fields import FIELDS, RULES, Reading
from etl.domain.normalise import event_of, normalise, peek
from etl.domain.payload import Number, decode
from etl.domain.position import movements
from etl.domain.trade import Fault, Rejected, Side, Trade, TradeType
from tests.builders import ABSENT, a_message, a_raw_message, a_swap_message, a_trade, an_ndf_message, faults_of

REQUIRED = ("tradeId", "tradeType", "tradeDate", "valueDate", "side", "symbol", "currency", "dealtAmount")
ESSENTIAL = ("status", "maker", "customerOrg", "customerAccount", "counterparty", "counterpartyAccount") + (
    *("fixingDate", "executionTime", "rate", "spotRate", "forwardPoints", "settledAmount"),
    *("farValueDate", "farDealtAmount", "farSettledAmount", "farRate", "farForwardPoints", "farFixingDate"),
)
DESCRIPTIVE = {
    each.vendor_names[0]: each.name
    for each in FIELDS
    if each.vendor_names[0] not in (*REQUIRED, *ESSENTIAL, "farSpotRate") and "Amount" not in each.vendor_names[0]
}


def test_a_spot_is_read():
    trade = a_trade()

    assert (trade.trade_id, trade.trade_type, trade.trade_date) == ("FXI9369258100", TradeType.SPOT, date(2023, 6, 2))
    assert (trade.symbol, trade.base_currency, trade.term_currency) == ("EUR/USD", "EUR", "USD")
    assert (trade.side, trade.dealt_currency, trade.live, trade.maker) == (Side.BUY, "EUR", True, False)
    assert (trade.order_id, trade.client_order_id) == ("4820276016", "8932452311944")
    assert (trade.trader, trade.channel) == ("userName@CustomerOrg", "API/REST/ESP")
    assert trade.executed_at.isoformat() == "2023-06-02T18:31:01.301000+00:00"
    assert (trade.attributes, trade.attributes_omitted, trade.flags) == ({}, (), ())
    (leg,) = trade.legs
    assert (leg.leg_no, leg.value_date, leg.deliverable) == (1, date(2023, 6, 6), True)
    assert (str(leg.base_amount), str(leg.term_amount), str(leg.rate)) == ("1000000", "-1084250.00", "1.08425")


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize(
    "broken",
    [ABSENT, None, "", 17, True, " ", "2023-02-30", "x" * 300, [], {"a": 1}, Number("NaN"), Number("1e999"), "a\0"],
    ids=lambda broken: "absent" if broken is ABSENT else repr(broken)[:12],
)
def test_a7_a_required_field_that_cannot_be_read_is_a_fault(name, broken):
    if (name, broken) == ("dealtAmount", 17) or (name == "tradeId" and broken == "2023-02-30"):
        return  # those are sound
    found = normalise(a_message(**{name: broken}))

    assert isinstance(found, Rejected)
    fault = found.faults[0]
    assert fault.field == name
    assert (fault.value is None) == (broken is ABSENT)
    assert fault.rule.startswith("is required" if broken in (ABSENT, None, "") else "must ")


@pytest.mark.parametrize("name", ESSENTIAL)
@pytest.mark.parametrize(
    "broken", [[], {"a": 1}, " ", "a\0", "x" * 300, Number("NaN")], ids=lambda each: repr(each)[:9]
)
def test_a_broken_essential_field_is_a_fault_though_it_might_be_absent(name, broken):
    assert name in faults_of(a_message(**{name: broken}))
    if name != "settledAmount":
        assert faults_of(a_message(**{name: ABSENT})) == {}


@pytest.mark.parametrize(("name", "ours"), list(DESCRIPTIVE.items()))
@pytest.mark.parametrize(
    ("broken", "kept"),
    [(17, "17"), (Number("1.10"), "1.10"), (["a", 1], ["a", "1"]), (True, True), ("x" * 5000, "x" * 5000)],
    ids=lambda each: repr(each)[:9],
)
def test_a_broken_descriptive_field_is_kept_as_it_came_and_flagged(name, ours, broken, kept):
    trade = a_trade(**{name: broken})

    assert trade.attributes == {name: kept}
    assert trade.flags == (f"unread_{ours}",)
    assert getattr(trade, ours, None) is None


@pytest.mark.parametrize("name", [each for each in RULES if each not in (*REQUIRED, "settledAmount")])
@pytest.mark.parametrize("nothing", [ABSENT, None, ""])
def test_a_field_that_may_be_absent_is_absent_where_it_is_null_or_empty(name, nothing):
    trade = a_trade(**{name: nothing})

    assert trade == msgspec.structs.replace(a_trade(**{name: ABSENT}), flags=trade.flags)
    assert trade.flags == ()


def test_all_faults_are_told_at_once_in_one_order():
    found = normalise({"rate": "x", "maker": 1, "side": "Long", "tradeId": None, "dealtAmount": -1, "symbol": "EUR"})

    assert [fault.field for fault in found.faults] == [
        *(
            "tradeId",
            "tradeType",
            "tradeDate",
            "valueDate",
            "side",
            "symbol",
            "currency",
            "dealtAmount",
            "rate",
            "maker",
        )
    ]
    assert found.faults[4] == Fault("side", "Long", "must be Buy or Sell, in any letter case")


def test_the_value_of_a_fault_is_shown_short_and_storable():
    (fault,) = normalise(a_message(tradeId="a\0\ud800" + "x" * 5_000_000)).faults

    assert fault.value == r"a\u0000\ud800" + "x" * 187


# --- the other amount (A1) ---


@pytest.mark.parametrize(
    ("side_currency", "amounts", "settled"),
    [
        ("EUR", {"settledAmount": Number("1084250.00")}, "1084250.00"),
        ("EUR", {"baseAmount": 1000000, "termAmount": Number("1084250.00")}, "1084250.00"),
        ("EUR", {"baseAmount": Number("1E6"), "termAmount": Number("1084250.00")}, "1084250.00"),
        ("USD", {"baseAmount": Number("922296.52"), "termAmount": 1000000}, "922296.52"),
    ],
)
def test_a1_the_other_amount_is_the_settled_one_or_that_of_base_and_term_which_was_not_dealt(
    side_currency, amounts, settled
):
    trade = a_trade(currency=side_currency, rate=ABSENT, **({"settledAmount": ABSENT} | amounts))

    assert str(trade.legs[0].settled.value) == f"-{settled}"
    assert trade.attributes == {}


def test_law_8_an_amount_that_is_not_there_is_not_computed():
    assert faults_of(a_message(settledAmount=ABSENT)) == {
        "settledAmount": "is required, or the base and the term amount together"
    }
    assert list(faults_of(a_message(settledAmount=ABSENT, baseAmount=1000000))) == ["settledAmount"]
    assert list(faults_of(a_message(settledAmount=ABSENT, baseAmount=1000000, termAmount="1"))) == [
        *("settledAmount", "termAmount"),
    ]
    assert list(faults_of(a_message(settledAmount="1084250"))) == ["settledAmount"]


@pytest.mark.parametrize("amounts", [(5, 6), (1084250, 1000000), (Number("1000000.01"), 1000000)])
def test_a1_base_and_term_amounts_that_do_not_fit_the_dealt_amount_are_a_fault(amounts):
    base, term = amounts

    assert faults_of(a_message(settledAmount=ABSENT, baseAmount=base, termAmount=term)) == {
        "dealtAmount": "must equal the base or the term amount, whichever is in EUR"
    }


def test_amounts_that_are_said_twice_are_kept():
    trade = a_trade(baseAmount=Number("1000000.0"), termAmount="n/a")

    assert trade.attributes == {"baseAmount": "1000000.0", "termAmount": "n/a"}
    assert trade.flags == ("unread_term_amount",)


def test_the_dealt_currency_is_one_of_the_symbols():
    assert faults_of(a_message(currency="GBP")) == {"currency": "must be one of the two currencies of EUR/USD"}


# --- rates (A2) ---


@pytest.mark.parametrize(
    ("rate", "settled", "symbol", "flags"),
    [
        ("1.08425", "1084250.00", "EUR/USD", ()),
        ("1.08425", "1084250.01", "EUR/USD", ()),
        ("1.08425", "1084358.42", "EUR/USD", ()),  # 1 in 10,000 of the term amount
        ("1.08425", "1084358.54", "EUR/USD", ("rate_disagrees",)),
        ("1.08425", "1100000", "EUR/USD", ("rate_disagrees",)),
        ("0", "1084250.00", "EUR/USD", ("rate_disagrees",)),
        ("-1.08425", "1084250.00", "EUR/USD", ("rate_disagrees",)),
        ("139.5", "139500000", "EUR/JPY", ()),
        ("0.0000014", "1", "EUR/JPY", ()),  # less than one yen
        ("0.0000014", "1", "EUR/USD", ("rate_disagrees",)),
    ],
)
def test_a2_a_rate_that_does_not_fit_the_amounts_is_flagged(rate, settled, symbol, flags):
    trade = a_trade(rate=Number(rate), settledAmount=Number(settled), symbol=symbol)

    assert trade.flags == flags
    assert trade.legs[0].rate == Decimal(rate)


def test_a2_the_rounding_of_the_other_amount_is_no_disagreement():
    ounces = a_message(symbol="XAU/USD", currency="USD", dealtAmount=100, settledAmount=Number("0.05"))

    assert a_trade(ounces | {"rate": Number("1950.1")}).flags == ()
    assert a_trade(ounces | {"rate": Number("2950.1")}).flags == ("rate_disagrees",)


# --- two legs (A4) ---


def test_a4_a_swap_has_a_far_leg_that_goes_the_other_way():
    near, far = a_trade(a_swap_message(farFixingTenor="1M")).legs

    assert (near.leg_no, near.value_date, str(near.dealt.value)) == (1, date(2023, 6, 6), "1000000")
    assert (far.leg_no, far.value_date, str(far.dealt.value)) == (2, date(2023, 7, 6), "-1000000")
    assert (str(far.settled.value), str(far.rate), str(far.forward_points)) == ("1085900.50", "1.0859005", "0.0016505")
    assert (near.fixing_tenor, far.fixing_tenor) == (None, "1M")


@pytest.mark.parametrize("trade_type", ["Swap", "FwdFwd", "NDFSwap"])
@pytest.mark.parametrize("name", ["farValueDate", "farDealtAmount", "farSettledAmount"])
def test_a4_a_far_leg_that_is_not_whole_is_a_fault(trade_type, name):
    assert list(faults_of(a_swap_message(tradeType=trade_type, **{name: ABSENT}))) == [name]
    assert list(faults_of(a_swap_message(tradeType=trade_type, **{name: "x"}))) == [name]


@pytest.mark.parametrize("far", ["2023-06-06", "2023-06-05"])
def test_a4_a_far_leg_not_after_the_near_one_is_a_fault(far):
    assert faults_of(a_swap_message(farValueDate=far)) == {"farValueDate": "must be after 2023-06-06"}


def test_a4_a_far_leg_may_come_as_base_and_term_amounts():
    far = {"farSettledAmount": ABSENT, "farBaseAmount": 1000000, "farTermAmount": Number("1085900.50")}

    assert str(a_trade(a_swap_message(**far)).legs[1].term_amount) == "1085900.50"


def test_a4_a_trade_of_one_leg_with_far_amounts_is_a_fault():
    assert faults_of(a_message(farValueDate="2023-07-06", farDealtAmount=5)) == {
        "farValueDate": "must be absent: a trade of type Spot has one leg",
        "farDealtAmount": "must be absent: a trade of type Spot has one leg",
    }
    assert a_trade(farRate=Number("1.10"), farFixingTenor="1M").attributes == {
        "farRate": "1.10",
        "farFixingTenor": "1M",
    }


def test_the_flags_of_the_far_leg_say_so():
    swap = a_swap_message(tradeType="NDFSwap", fixingDate="2023-06-02", farRate=Number("1.2"), rate=Number("1.3"))

    assert a_trade(swap).flags == ("far_fixing_date_missing", "far_rate_disagrees", "rate_disagrees")


# --- what is never exchanged (A5) ---


def test_a5_an_ndf_has_both_amounts_and_delivers_neither():
    (leg,) = a_trade(an_ndf_message(fixingTenor="1W")).legs

    assert (str(leg.base_amount), str(leg.term_amount), leg.deliverable) == ("1000000", "-1302500000", False)
    assert (leg.fixing_date, leg.fixing_tenor) == (date(2023, 6, 2), "1W")


def test_a5_an_ndf_without_fixing_date_is_booked_and_flagged():
    assert a_trade(an_ndf_message(fixingDate=ABSENT)).flags == ("fixing_date_missing",)
    assert a_trade(a_swap_message(tradeType="NDFSwap")).flags == ("far_fixing_date_missing", "fixing_date_missing")
    assert a_trade(a_swap_message(tradeType="NDFSwap", farFixingDate="2023-07-04", fixingDate="2023-06-02")).flags == ()


@pytest.mark.parametrize(
    ("assets", "deliverable"), [({"EUR"}, False), ({"USD"}, False), ({"WTI"}, True), (set(), True)]
)
def test_a5_assets_that_are_never_delivered_are_named_in_the_settings(assets, deliverable):
    trade = a_trade(a_swap_message(), reading=Reading(non_deliverable_assets=frozenset(assets)))

    assert [leg.deliverable for leg in trade.legs] == [deliverable, deliverable]


# --- everything else ---


@pytest.mark.parametrize(
    ("status", "live"), [("Verified", True), ("VERIFIED", True), (ABSENT, True), ("Cancelled", False)]
)
def test_a_trade_counts_while_it_is_verified_or_has_no_status(status, live):
    assert a_trade(status=status).live is live


@pytest.mark.parametrize("event", ["NEW", "RESEND", "AMEND", ABSENT, None, 5])
def test_law_6_the_label_of_a_delivery_decides_nothing(event):
    trade = a_trade(event=event)

    assert msgspec.structs.replace(trade, attributes={}, flags=()) == a_trade()
    assert event_of(a_message(event=event)) == (event if type(event) is str else None)
    assert content_hash(a_message(event=event), Reading()) == content_hash(a_message(), Reading())


def test_fields_that_nobody_knows_are_kept_with_their_digits():
    raw = a_raw_message(x=Number("1.10"), y={"b": [Number("1E6"), None, True, -3]}, z=None, n=Number("9" * 400))

    assert a_trade(decode(raw)).attributes == {
        "x": "1.10",
        "y": {"b": ["1E6", None, True, "-3"]},
        "z": None,
        "n": "9" * 400,
    }


@pytest.mark.parametrize("token", ["NaN", "-Infinity", "1e999", "-0", "9" * 400, "9" * 5000])
def test_a_strange_number_in_a_field_that_nobody_knows_is_kept_as_its_text(token):
    raw = a_raw_message()[:-1] + f',"x":{token}}}'.encode()

    trade = a_trade(decode(raw))

    assert trade.attributes == {"x": token}
    assert json.dumps(trade.attributes)


@pytest.mark.parametrize("note", [rb"\ud800", rb"a\u0000b", b"\xff", b"a\0b"])
def test_law_1_text_that_the_database_cannot_hold_does_not_keep_a_trade_out(note):
    raw = a_raw_message()[:-1] + b',"note":"%s","x":["%s"],"%s":1,"y":"ok"}' % (note, note, note)

    trade = a_trade(decode(raw))

    assert trade.note is None
    assert trade.attributes == {"y": "ok"}
    assert len(trade.attributes_omitted) == 3
    assert {"note", "x"} < set(trade.attributes_omitted)
    "".join(trade.attributes_omitted).encode()
    assert trade.flags == ()


@pytest.mark.parametrize("name", ["tradeId", "symbol", "currency", "counterparty", "customerAccount", "status"])
@pytest.mark.parametrize("text", [rb"\ud800", rb"a\u0000b", b"\xff"])
def test_text_that_the_database_cannot_hold_is_a_fault_in_a_field_that_counts(name, text):
    payload = decode(a_raw_message(**{name: "HERE"}).replace(b"HERE", text))

    faults = normalise(payload).faults

    assert name in [fault.field for fault in faults]
    for fault in faults:
        fault.value.encode()
        assert "\0" not in fault.value


# --- aliases ---

ALIASES = Reading(aliases={"settled_amount": ("settledAmt", "contra"), "event": ("kind",), "note": ("memo",)})


def test_an_alias_is_tried_where_the_known_name_is_absent():
    trade = a_trade(a_message(settledAmount=None, settledAmt="", contra=Number("7.50"), memo="m"), reading=ALIASES)

    assert str(trade.legs[0].settled.value) == "-7.50"
    assert trade.note == "m"
    assert trade.attributes == {"settledAmt": ""}


def test_the_known_name_comes_before_its_alias():
    trade = a_trade(a_message(settledAmt=5), reading=ALIASES)

    assert str(trade.legs[0].settled.value) == "-1084250.00"
    assert trade.attributes == {"settledAmt": "5"}


def test_a_fault_names_the_field_that_was_read():
    assert list(faults_of(a_message(settledAmount=ABSENT, contra="5"), ALIASES)) == ["contra"]
    assert list(faults_of(a_message(settledAmount="5", contra=5), ALIASES)) == ["settledAmount"]
    assert list(faults_of(a_message(settledAmount=ABSENT), ALIASES)) == ["settledAmount"]


def test_the_event_may_have_an_alias_too():
    assert event_of(a_message(event=ABSENT, kind="RESEND"), ALIASES) == "RESEND"
    assert a_trade(a_message(event=ABSENT, kind="RESEND"), reading=ALIASES).attributes == {}


# --- what an exception item shows ---


def test_an_exception_item_shows_what_can_be_seen():
    found = peek(a_message(symbol="EUR\0", side=5, dealtAmount=Number("1E6"), tradeDate=["x", None], valueDate=ABSENT))

    assert found == {
        "trade_id": "FXI9369258100",
        "symbol": r"EUR\u0000",
        "side": "5",
        "dealt_amount": "1E6",
        "trade_date": '["x", null]',
        "value_date": None,
        "legal_entity": "CustomerOrgle1",
        "counterparty": "BrokerOrg1",
    }
    assert set(peek({}).values()) == {None}
    assert peek({"dealAmt": 5}, Reading(aliases={"dealt_amount": ("dealAmt",)}))["dealt_amount"] == "5"


# --- laws ---

texts = st.text(max_size=8) | st.text("\0\ud800ab\n", max_size=3)
tokens = st.from_regex(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?|NaN|-?Infinity", fullmatch=True)
leaves = st.none() | st.booleans() | st.integers() | tokens.map(Number) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
payloads = st.dictionaries(st.sampled_from(list(RULES)) | texts, values, max_size=12)
readings = st.builds(
    Reading,
    own_orgs=st.sampled_from([frozenset(), frozenset({"CustomerOrg"}), frozenset({"BrokerOrg1"}), frozenset({"x"})]),
    aliases=st.dictionaries(
        st.sampled_from([each.name for each in FIELDS]), st.tuples(st.sampled_from([*RULES, "extra"])), max_size=2
    ),
    non_deliverable_assets=st.sampled_from([frozenset(), frozenset({"EUR"})]),
)


def check(payload, reading):
    found = normalise(payload, reading)
    for text in (event_of(payload, reading), *peek(payload, reading).values()):
        assert text is None or ("\0" not in text and text.encode("utf-8") is not None)
    assert len(content_hash(payload, reading)) == 32
    if isinstance(found, Rejected):
        assert found.faults
        assert "\0" not in msgspec.json.encode(found.faults).decode()
        return
    assert isinstance(found, Trade)
    assert len(found.legs) == (2 if found.trade_type.has_far_leg else 1)
    movements(found)
    stored = msgspec.json.encode(found).decode()
    assert "\\u0000" not in stored.replace("\\\\u0000", "")
    assert json.loads(json.dumps(found.attributes)) == found.attributes


@given(payloads, readings)
def test_law_1_any_payload_is_a_trade_or_rejected(payload, reading):
    check(payload, reading)


@given(
    st.sampled_from([a_message, a_swap_message, an_ndf_message]),
    payloads,
    st.sets(st.sampled_from(list(RULES))),
    readings,
)
def test_law_1_any_spoilt_message_is_a_trade_or_rejected(build, spoilt, without, reading):
    check(build(**(spoilt | dict.fromkeys(list(without)[:3], ABSENT))), reading)


@given(st.binary(max_size=4), st.integers(0, 700), st.integers(0, 4))
def test_law_1_any_bytes_of_a_message_may_be_spoilt(noise, place, length):
    raw = a_raw_message(note="a \\ b", x={"y": [1]})
    payload = decode(raw[:place] + noise + raw[place + length :])

    if not isinstance(payload, Rejected):
        check(payload, Reading())


@given(st.integers(1, 10**38 - 1), st.integers(-38, 10), st.sampled_from(["plain", "exponent", "zeros"]))
def test_law_8_every_amount_comes_through_exactly(digits, exponent, style):
    value = Decimal(f"{digits}e{exponent}")
    token = {
        "plain": f"{value:f}",
        "exponent": f"{value:E}",
        "zeros": f"{value:f}{'' if '.' in f'{value:f}' else '.'}00",
    }[style]
    written = token.replace(".", "").lstrip("0")
    if len(written.partition("E")[0]) > 38 or value.adjusted() >= 38 or Decimal(token).as_tuple().exponent < -38:
        return

    payload = decode(a_raw_message(dealtAmount=Number(token), x=Number(token), rate=ABSENT))

    trade = a_trade(payload)
    assert trade.legs[0].dealt.value == value
    assert trade.legs[0].dealt.value.as_tuple() == Decimal(token).as_tuple()
    assert trade.attributes == {"x": token}
