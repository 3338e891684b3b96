"""The search for the one or two trades that explain a difference: only what is the only one, and quick."""

import random
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.explanation import MOST_CANDIDATES, Candidate, Suggestion, moved, suggested

AMOUNTS = st.integers(-9, 9).map(lambda units: Decimal(units) / 4)


def candidates(*amounts):
    return [Candidate(f"T{number}", Decimal(amount)) for number, amount in enumerate(amounts)]


@pytest.mark.parametrize(
    ("difference", "amounts", "expected"),
    [
        ("-10", ("10", "7", "3.01"), Suggestion(removed=("T0",))),
        ("7", ("10", "7", "3.01"), Suggestion(doubled=("T1",))),
        ("-13.01", ("10", "7", "3.01"), Suggestion(removed=("T0", "T2"))),
        ("17", ("10", "7", "3.01"), Suggestion(doubled=("T0", "T1"))),
        ("-6.99", ("10", "70", "3.01"), Suggestion(removed=("T0",), doubled=("T2",))),
        ("-10", ("10", "10"), None),  # either of them
        ("-10", ("10", "-10"), None),  # the one removed, or the other doubled
        ("-5", ("2", "3", "1", "4"), None),  # two pairs
        ("-10.01", ("10", "7", "3"), None),  # nothing, to the last digit
        ("0", ("0", "1"), None),
        ("-10", (), None),
    ],
)
def test_only_what_is_the_only_explanation_is_suggested(difference, amounts, expected):
    assert suggested(Decimal(difference), candidates(*amounts)) == expected


def test_one_trade_is_tried_before_two():
    assert suggested(Decimal(-10), candidates("10", "4", "6")) == Suggestion(removed=("T0",))


def by_trying_all(difference, given):
    """Return every explanation of the smallest size, found by trying all of them."""
    signs = [(each.trade_id, each.amount, removed) for each in given if each.amount for removed in (True, False)]
    change = [(name, removed, -amount if removed else amount) for name, amount, removed in signs]
    singles = [{(name, removed)} for name, removed, amount in change if amount == difference]
    if singles:
        return singles
    pairs = [
        {(one, first), (other, second)}
        for number, (one, first, amount) in enumerate(change)
        for other, second, more in change[number + 1 :]
        if one != other and amount + more == difference
    ]
    return [each for number, each in enumerate(pairs) if each not in pairs[:number]]


@given(AMOUNTS, st.lists(AMOUNTS, max_size=7))
def test_it_finds_what_trying_everything_finds(difference, amounts):
    given_trades = candidates(*amounts)

    found = suggested(difference, given_trades)

    expected = by_trying_all(difference, given_trades) if difference else []
    if found is None:
        assert len(expected) != 1
    else:
        assert expected == [{*((each, True) for each in found.removed), *((each, False) for each in found.doubled)}]


@given(AMOUNTS, st.lists(AMOUNTS, max_size=7))
def test_it_does_not_depend_on_the_order_nor_on_the_sign(difference, amounts):
    given_trades = candidates(*amounts)
    turned = [Candidate(each.trade_id, -each.amount) for each in given_trades]

    found = suggested(difference, given_trades)

    assert suggested(difference, reversed(given_trades)) == found
    assert suggested(-difference, turned) == found


def test_two_thousand_candidates_take_no_second():
    draw = random.Random(4)
    amounts = [Decimal(draw.randrange(-(10**9), 10**9)) / 100 for _ in range(2_000)]
    difference = -(amounts[17] + amounts[1_500])
    started = time.process_time()

    found = suggested(difference, candidates(*amounts))

    assert found == Suggestion(removed=("T1500", "T17"))
    assert time.process_time() - started < 1


def test_more_candidates_than_can_be_told_apart_are_not_searched():
    assert suggested(Decimal(-1), candidates(*["1"], *["2"] * MOST_CANDIDATES)) is None


def test_a_trade_on_another_value_date_explains_two_opposite_differences():
    assert moved(Decimal(-5), candidates("5", "1"), []) == "T0"
    assert moved(Decimal(-5), [], candidates("1", "-5")) == "T1"
    assert moved(Decimal(-5), candidates("5"), candidates("-5")) is None
