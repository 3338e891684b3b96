"""Every form of the vendor's positions that A14 leaves open, and bad input: read exactly, or said to be unreadable."""

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.position_answer import PositionAnswer, Unreadable, joined, positions_in, with_term
from etl.domain.reconciliation import Key, Position

TODAY = date(2030, 7, 2)
KEY = Key("EUR/USD", date(2030, 7, 4))
ROW = {
    "side": "Sell", "symbol": "EUR/USD", "valueDate": "2030-07-04", "level": "ORG", "levelValue": "pfOrg",
    "netOpenBase": -100, "netOpenterm": 120, "rate": 1.2,
}  # fmt: skip


def read(document, **asked):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return positions_in(body, **{"level": "ORG", "value": "pfOrg", "trade_day": TODAY} | asked)


def row(**changes):
    return {name: value for name, value in (ROW | changes).items() if value is not ...}


def only(document):
    answer = read(document)
    assert isinstance(answer, PositionAnswer), answer
    assert answer.faults == ()
    ((key, found),) = answer.rows.items()
    return key, found


@pytest.mark.parametrize(
    "document",
    [
        [row()], {"positions": [row()], "status": "OK"}, [row(children=[row(level="LE")])],
        [row(valueDate="20300704")], [row(valueDate=20300704)], [row(netOpenBase="-100", netOpenterm="120.00")],
        [row(netOpenterm=..., netOpenTerm=120)], [row(level=..., levelValue=...)],
        [row(netOpenBase=100, side="Sell")], [row(netOpenBase=100, side="Short")],
    ],
    ids=str,
)  # fmt: skip
def test_each_form_says_the_same(document):
    assert only(document) == (KEY, Position(Decimal(-100), Decimal(120), Decimal("1.2")))


def test_an_answer_that_is_bought_only_reads_alike_with_and_without_signs():
    signed = only([row(side="Buy", netOpenBase=100, netOpenterm=-120)])

    assert only([row(side="Buy", netOpenBase=100, netOpenterm=120)]) == signed


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[1", b"<html></html>", b'{"a": [], "b": []}', b'"x"', b"\xff", b"[" * 5000],
    ids=lambda each: repr(each[:20]),
)  # fmt: skip
def test_what_is_no_list_of_positions_says_nothing(document):
    assert isinstance(read(document), Unreadable)


def test_negative_amounts_beside_unsigned_ones_are_a_contradiction():
    assert isinstance(read([row(), row(netOpenBase=5, valueDate="2030-07-05")]), Unreadable)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"netOpenBase": ...}, KEY, "netOpenBase"),
        ({"netOpenBase": "NaN"}, KEY, "NaN"),
        ({"netOpenBase": "Infinity"}, KEY, "Infinity"),
        ({"netOpenBase": "1e999"}, KEY, "netOpenBase"),
        ({"netOpenBase": None}, KEY, "netOpenBase"),
        ({"netOpenBase": True}, KEY, "netOpenBase"),
        ({"symbol": "EURUSD"}, None, "symbol"),
        ({"symbol": ...}, None, "symbol"),
        ({"valueDate": "2030-02-30"}, None, "valueDate"),
        ({"valueDate": 1909353600000}, None, "valueDate"),
        ({"levelValue": "otherOrg"}, KEY, "otherOrg"),
        ({"level": "USER"}, KEY, "USER"),
    ],
)
def test_a_row_that_cannot_be_relied_on_is_named_and_the_others_are_read(changes, key, words):
    answer = read([row(**changes), row(valueDate="2030-07-09")])

    assert isinstance(answer, PositionAnswer)
    assert [each.key for each in answer.faults] == [key]
    assert words in answer.faults[0].why
    assert Key("EUR/USD", date(2030, 7, 9)) in answer.rows
    assert key not in answer.rows


def test_a_plain_nan_in_the_json_is_a_fault_of_its_row():
    answer = read(json.dumps([row()]).replace("-100", "NaN").encode())

    assert isinstance(answer, PositionAnswer)
    assert [each.key for each in answer.faults] == [KEY]


@pytest.mark.parametrize(
    ("changes", "at_fault"),
    [
        ({"netOpenterm": ...}, {"flows": "netOpenterm", "average": "netOpenterm"}),
        ({"netOpenterm": "NaN"}, {"flows": "netOpenterm", "average": "netOpenterm"}),
        ({"rate": None}, {"average": "rate"}),
        ({"netOpenBase": 0, "netOpenterm": ..., "rate": ...}, {}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("reading", ["off", "flows", "average"])
def test_a_term_amount_that_is_to_be_compared_and_is_no_number_is_a_fault(changes, at_fault, reading):
    answer = with_term(read([row(**changes), row(valueDate="2030-07-09")]), reading)

    assert [(each.key, each.why.split()[0]) for each in answer.faults] == (
        [(KEY, at_fault[reading])] if reading in at_fault else []
    )
    assert (KEY in answer.rows) is (reading not in at_fault)
    assert Key("EUR/USD", date(2030, 7, 9)) in answer.rows


def test_two_rows_for_one_key_are_a_fault_and_neither_is_taken():
    answer = read([row(), row(netOpenBase=-5)])

    assert isinstance(answer, PositionAnswer)
    assert answer.rows == {}
    assert "2 times" in answer.faults[0].why


def test_a_name_twice_in_a_row_is_a_fault():
    answer = read(b'[{"symbol":"EUR/USD","valueDate":"2030-07-04","netOpenBase":1,"netOpenBase":2,"side":"Buy"}]')

    assert isinstance(answer, PositionAnswer)
    assert answer.rows == {}
    assert answer.faults[0].key == KEY


@pytest.mark.parametrize("day", ["2030-07-02", "2020-01-01"])
def test_value_dates_up_to_the_trade_day_are_left_out_and_counted(day):
    answer = read([row(valueDate=day), row()])

    assert isinstance(answer, PositionAnswer)
    assert (set(answer.rows), answer.left_out) == ({KEY}, 1)


def test_an_unknown_symbol_is_a_position_like_any_other():
    assert only([row(symbol="XYZ/QQQ")])[0].symbol == "XYZ/QQQ"


def test_pages_are_joined_and_a_key_on_two_of_them_is_a_fault():
    first = read({"positions": [row()], "page": 1, "totalPages": 2})
    second = read({"positions": [row(), row(valueDate="2030-07-09")], "page": 2, "totalPages": 2})
    assert isinstance(first, PositionAnswer)
    assert isinstance(second, PositionAnswer)

    whole = joined([first, second])

    assert isinstance(whole, PositionAnswer)
    assert (first.pages, set(whole.rows)) == (2, {Key("EUR/USD", date(2030, 7, 9))})
    assert [each.key for each in whole.faults] == [KEY]


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ROW, "x"]), inner, max_size=8),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_answer_makes_it_fail(body):
    assert isinstance(read(body), PositionAnswer | Unreadable)
