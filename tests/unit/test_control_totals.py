"""Control totals add up exactly, in any order."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from etl.domain.control_totals import ControlTotals

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12)
ROWS = st.lists(st.tuples(st.sampled_from(["EUR", "USD", None]), st.none() | AMOUNTS))


def totals_of(rows):
    totals = ControlTotals()
    for row in rows:
        totals.add_row([row])
    return totals


@given(ROWS)
def test_receive_and_pay_make_the_amount_and_the_order_does_not_matter(rows):
    totals = totals_of(rows)

    assert totals.rows == len(rows)
    assert totals.sums == totals_of(sorted(rows, key=str)).sums
    for currency, sums in totals.sums.items():
        kept = [amount for name, amount in rows if name == currency and amount is not None]
        assert Decimal(sums["amount"]) == sum(kept) == Decimal(sums["receive"]) + Decimal(sums["pay"])
        assert Decimal(sums["pay"]) <= 0 <= Decimal(sums["receive"])


def test_every_digit_counts():
    totals = totals_of([("EUR", Decimal("0.0000000000000000000000000000000000000001")), ("EUR", Decimal(10**40))])

    assert totals.sums["EUR"]["amount"] == "1" + "0" * 40 + "." + "0" * 39 + "1"
