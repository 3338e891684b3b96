"""What trades add to positions, and that taking them out again leaves nothing (law 8, design.md §6)."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.fields import Reading
from etl.domain.payload import Number
from etl.domain.position import Movement, PositionKey, Totals, movements, net
from tests.builders import a_message, a_swap_message, a_trade, an_ndf_message

BOTH = Reading(own_orgs=frozenset({"CustomerOrg", "BrokerOrg1"}))
BROKER = Reading(own_orgs=frozenset({"BrokerOrg1"}))
USER = "userName@CustomerOrg"


def in_short(moves):
    return [
        (each.organisation, each.trader, str(each.value_date), each.base_amount, each.term_amount) for each in moves
    ]


def test_a_spot_moves_one_position():
    assert movements(a_trade()) == (
        Movement(
            organisation="CustomerOrg",
            legal_entity="CustomerOrgle1",
            trader=USER,
            symbol="EUR/USD",
            value_date=date(2023, 6, 6),
            deliverable=True,
            base_amount=Decimal(1000000),
            term_amount=Decimal("-1084250.00"),
            count=1,
        ),
    )


def test_a_swap_moves_one_position_for_each_leg():
    assert in_short(movements(a_trade(a_swap_message()))) == [
        ("CustomerOrg", USER, "2023-06-06", 1000000, Decimal("-1084250")),
        ("CustomerOrg", USER, "2023-07-06", -1000000, Decimal("1085900.5")),
    ]


def test_an_internal_trade_moves_both_sides():
    assert in_short(movements(a_trade(reading=BOTH))) == [
        ("CustomerOrg", USER, "2023-06-06", 1000000, Decimal("-1084250")),
        ("BrokerOrg1", None, "2023-06-06", -1000000, Decimal("1084250")),
    ]


def test_the_vendors_user_is_not_ours_where_the_counterparty_is_us():
    assert in_short(movements(a_trade(reading=BROKER))) == [
        ("BrokerOrg1", None, "2023-06-06", -1000000, Decimal("1084250")),
    ]


def test_what_is_never_delivered_has_positions_of_its_own():
    assert [each.deliverable for each in movements(a_trade(an_ndf_message()))] == [False]


@pytest.mark.parametrize("reading", [BOTH, BROKER])
def test_a_trade_that_is_not_live_moves_nothing(reading):
    assert movements(a_trade(status="Cancelled", reading=reading)) == ()


def test_positions_are_summed_by_key():
    sell = a_trade(side="Sell", dealtAmount=Number("0.01"), settledAmount=Number("0.011"))

    assert net([*movements(a_trade()), *movements(sell)]) == {
        PositionKey("CustomerOrg", "CustomerOrgle1", USER, "EUR/USD", date(2023, 6, 6), True): Totals(
            Decimal("999999.99"), Decimal("-1084249.989"), 2
        )
    }
    assert net([]) == {}


amounts = st.builds(
    lambda digits, exponent: Decimal((0, tuple(map(int, str(digits))), exponent)),
    st.integers(1, 10**38 - 1),
    st.integers(-38, 0),
)
trades = st.builds(
    lambda build, side, dealt, settled, reading: a_trade(
        build(side=side, dealtAmount=Number(dealt), settledAmount=Number(settled)), reading=reading
    ),
    st.sampled_from([a_message, a_swap_message, an_ndf_message]),
    st.sampled_from(["Buy", "Sell"]),
    amounts,
    amounts,
    st.sampled_from([Reading(), BOTH, BROKER]),
)


def taken_back(move):
    base, term = move.base_amount.copy_negate(), move.term_amount.copy_negate()
    return msgspec.structs.replace(move, base_amount=base, term_amount=term, count=-1)


@given(st.lists(trades, max_size=8), st.randoms())
def test_law_8_what_is_added_and_taken_back_in_any_order_leaves_nothing(many, order):
    moves = [move for trade in many for move in movements(trade)]
    moves += [taken_back(move) for move in moves]
    order.shuffle(moves)

    assert set(net(moves).values()) <= {Totals()}


@given(amounts, st.sampled_from(["Buy", "Sell"]))
def test_an_internal_trade_comes_to_nothing_over_both_sides(amount, side):
    customer, counterparty = movements(a_trade(dealtAmount=Number(amount), side=side, reading=BOTH))

    assert customer.base_amount == counterparty.base_amount.copy_negate()
    assert customer.term_amount == counterparty.term_amount.copy_negate()
