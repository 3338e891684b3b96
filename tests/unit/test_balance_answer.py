"""Answers about balances and transfers in every form of A15 to A17, and bad input: read exactly, or said to be bad."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.balance import BalanceKey
from etl.domain.balance_answer import BalanceAnswer, Transfer, TransferAnswer, balances_in, transfers_in
from etl.domain.position_answer import Unreadable

BTC = BalanceKey("", "BTC")
ROW = {"asset": "BTC", "total": 5, "available": 4, "locked": 1}
BROKER_ROW = ROW | {"organisation": "pfOrg", "account": "pfOrgLE1"}
WITHDRAWAL = {"id": "W1", "asset": "BTC", "amount": 0.5, "fee": 0.1, "status": "COMPLETED", "time": 1893456000123}


def changed(row, changes):
    return {name: value for name, value in (row | changes).items() if value is not ...}


def read(document, orgs=None):
    return balances_in(document if isinstance(document, bytes) else json.dumps(document).encode(), orgs=orgs)


def transfers(document, *, has_fee=True):
    return transfers_in(document if isinstance(document, bytes) else json.dumps(document).encode(), has_fee=has_fee)


@pytest.mark.parametrize(
    "document",
    [
        [ROW], {"balances": [ROW], "status": "OK"}, [changed(ROW, {"total": "5.00"})],
        [changed(ROW, {"total": ..., "balance": 5})], [changed(ROW, {"balance": 5})],
        [changed(ROW, {"available": ..., "locked": ..., "note": "x"})],
    ],
    ids=str,
)  # fmt: skip
def test_each_form_says_the_same(document):
    assert read(document).rows == {BTC: Decimal(5)}
    assert read(document).faults == ()


def test_every_digit_is_read_as_it_stands():
    body = b'[{"asset": "BTC", "total": 123456789012345678901234567890.00000000000000000001}]'

    assert str(read(body).rows[BTC]) == "123456789012345678901234567890.00000000000000000001"


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[1", b"<html></html>", b'{"a": [], "b": []}', b'"x"', b"\xff", b"[" * 5000,
     b'{"balances": [], "page": 1, "totalPages": 2}'],
    ids=lambda each: repr(each[:20]),
)  # fmt: skip
def test_law_10_what_is_no_list_of_rows_says_nothing(document):
    assert isinstance(read(document), Unreadable)
    assert isinstance(transfers(document), Unreadable)


def test_an_empty_list_is_an_answer_that_names_nothing():
    assert (read([]).rows, read([]).is_empty) == ({}, True)
    assert transfers([]) == TransferAnswer(())


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"total": ...}, BTC, "absent"), ({"total": "NaN"}, BTC, "NaN"), ({"total": "Infinity"}, BTC, "Infinity"),
        ({"total": "1e999"}, BTC, "1e999"), ({"total": None}, BTC, "None"), ({"total": True}, BTC, "True"),
        ({"total": "5,00"}, BTC, "5,00"), ({"total": ""}, BTC, "total is"), ({"total": [5]}, BTC, "5"),
        ({"balance": 6}, BTC, "balance 6"), ({"asset": ...}, None, "asset is absent"), ({"asset": ""}, None, "asset"),
        ({"asset": {}}, None, "asset"), ({"asset": "B\x00TC"}, None, "asset"), ({"asset": "B" * 101}, None, "asset"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_relied_on_is_a_fault_and_never_a_figure(changes, key, words):
    answer = read([changed(ROW, changes), {"asset": "USD", "total": 1}])

    assert answer.rows == {BalanceKey("", "USD"): 1}
    ((found_key, why),) = [(each.key, each.why) for each in answer.faults]
    assert found_key == key
    assert words in why


def test_nan_as_a_bare_word_is_a_fault():
    assert [each.key for each in read(b'[{"asset": "BTC", "total": NaN}]').faults] == [BTC]


def test_a_name_twice_and_an_asset_twice_and_a_row_that_is_none_are_faults():
    twice = b'[{"asset": "BTC", "total": 1, "total": 2}]'

    assert [each.key for each in read(twice).faults] == [BTC]
    assert (read([ROW, ROW]).rows, [each.why for each in read([ROW, ROW]).faults]) == (
        {}, ["stands 2 times in one answer"],
    )  # fmt: skip
    assert [each.key for each in read([5]).faults] == [None]


def test_brokers_rows_need_organisation_and_account_and_those_of_others_are_counted_only():
    rows = [
        BROKER_ROW, changed(BROKER_ROW, {"account": "pfOrgLE2", "total": 7}),
        changed(BROKER_ROW, {"organisation": "other"}), changed(BROKER_ROW, {"account": ...}),
    ]  # fmt: skip
    answer = read(rows, ("pfOrg",))

    assert answer.rows == {BalanceKey("pfOrg/pfOrgLE1", "BTC"): 5, BalanceKey("pfOrg/pfOrgLE2", "BTC"): 7}
    assert (answer.others, [each.key for each in answer.faults]) == (1, [None])


def test_a_withdrawal_is_read_with_its_fee_and_its_instant():
    at = datetime(2030, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)

    assert transfers([WITHDRAWAL]).transfers == (
        Transfer("W1", "BTC", Decimal("0.5"), Decimal("0.1"), "COMPLETED", at),
    )
    text = changed(WITHDRAWAL, {"amount": "0.5", "fee": "0.10", "time": "1893456000123", "status": "completed"})
    assert transfers([text]) == transfers([WITHDRAWAL])


def test_a_deposit_needs_no_fee():
    (found,) = transfers([changed(WITHDRAWAL, {"fee": ...})], has_fee=False).transfers

    assert found.fee == 0


def test_a_status_that_nobody_knows_is_read_as_it_stands():
    (found,) = transfers([changed(WITHDRAWAL, {"status": "Held"})]).transfers

    assert found.status == "HELD"


@pytest.mark.parametrize(
    ("changes", "has_fee", "words"),
    [
        ({"fee": ...}, True, "fee absent"), ({"fee": "NaN"}, True, "fee NaN"), ({"fee": -1}, True, "fee -1"),
        ({"fee": 1}, False, "fee 1"), ({"amount": -1}, True, "amount -1"), ({"amount": ...}, True, "amount absent"),
        ({"id": ...}, True, "id absent"), ({"status": ...}, True, "status absent"),
        ({"time": ...}, True, "time absent"),
        ({"time": "2030-01-01"}, True, "time"), ({"time": 10**20}, True, "time"), ({"time": 1.5}, True, "time"),
    ],
)  # fmt: skip
def test_a_transfer_that_cannot_be_relied_on_is_a_fault_of_its_asset(changes, has_fee, words):
    answer = transfers([changed(WITHDRAWAL, changes)], has_fee=has_fee)

    assert answer.transfers == ()
    assert [each.key for each in answer.faults] == [BTC]
    assert words in answer.faults[0].why


def test_the_same_transfer_twice_is_one_and_with_other_content_a_fault():
    other = changed(WITHDRAWAL, {"amount": 9})

    assert len(transfers([WITHDRAWAL, WITHDRAWAL]).transfers) == 1
    assert transfers([WITHDRAWAL, other]).transfers == ()
    assert [each.key for each in transfers([WITHDRAWAL, other]).faults] == [BTC]


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["asset", "total", "id"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*BROKER_ROW, *WITHDRAWAL]), inner),
    max_leaves=20,
).map(lambda each: json.dumps(each).encode()))  # fmt: skip
def test_no_answer_whatsoever_raises(body):
    assert isinstance(balances_in(body, orgs=None), BalanceAnswer | Unreadable)
    assert isinstance(balances_in(body, orgs=("pfOrg",)), BalanceAnswer | Unreadable)
    assert isinstance(transfers_in(body, has_fee=True), TransferAnswer | Unreadable)
