"""The table beside dlt, Singer and an ORM loop is that of the kept figures, and numbers compare as it says."""

import json

import pytest

from tests.benchmarks import peers_page
from tests.benchmarks.digits import AMOUNT, _lengthened, _row, compared, decoded, numbers_in
from tests.benchmarks.peers import trades_for
from tests.benchmarks.programs import DLT_PAGE, OURS, PROGRAMS

KEPT = json.loads(peers_page.KEPT.read_text())


def test_the_table_is_that_of_the_kept_figures():
    assert peers_page.shown() == peers_page.lines(KEPT)
    assert list(KEPT["runs"]) == list(PROGRAMS)
    assert peers_page.PICTURE.read_bytes().startswith(b"\x89PNG")


def test_ours_keeps_every_number_and_every_trade():
    assert KEPT["kills"][OURS]["lost"] == 0
    assert [(each["other"], each["digits"]) for each in KEPT["numbers"][OURS].values()] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("held", "other", "digits"),
    [({"a": "1.10"}, 0, 0), ({"a": "1.1"}, 0, 1), ({"a": "1.11"}, 1, 1), ({}, 1, 1), ({"a": "1.10", "b": "2"}, 0, 0)],
)
def test_a_number_is_the_same_spelled_otherwise_changed_or_missing(held, other, digits):
    ours = {("T1", name): text for name, text in held.items()}

    assert compared({("T1", "a"): "1.10"}, ours) == {"numbers": 1, "other": other, "digits": digits}


def test_numbers_are_read_digit_for_digit():
    body = '{"tradeId":"T1","dealtAmount":1.10,"rate":1E2,"farRate":7,"spotRate":3}'

    assert numbers_in([decoded(body)]) == {("T1", "dealtAmount"): "1.10", ("T1", "rate"): "1E2", ("T1", "farRate"): "7"}


def test_a_number_that_dlt_put_into_a_second_column_is_found():
    row = (
        '{"trade_id": "T1", "far_rate": null, "dealt_amount": null, "dealt_amount__v_double": 1.5, "fardealtamount": 2}'
    )

    assert _row(row) == {"tradeid": "T1", "dealtamount": "1.5", "fardealtamount": "2"}


def test_a_long_amount_begins_with_the_usual_one():
    assert AMOUNT.sub(_lengthened, '{"dealtAmount":12.5,"farSettledAmount":7}') == (
        '{"dealtAmount":12.512345678901,"farSettledAmount":7.123456789012}'
    )


def test_a_slow_program_is_given_fewer_trades():
    assert trades_for(OURS, 50, 50_000) == 50_000
    assert trades_for(DLT_PAGE, 50, 50_000) == 1_500
    assert trades_for(DLT_PAGE, 1_000, 50_000) == 20_000
    assert {trades_for(way, 1_000, 500) for way in PROGRAMS} == {500}
