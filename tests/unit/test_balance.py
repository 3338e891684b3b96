"""The laws of balances: ours plus the breaks is theirs, symmetric in sign, exact, and in any order."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.balance import (
    BalanceKey,
    Expectation,
    Flows,
    balance_difference,
    balance_findings,
)
from etl.domain.calendar import weekday_from
from etl.domain.money import EXACT
from etl.domain.reconciliation import BreakKind, Rules

DIGITS = {"BTC": 8}
RULES = Rules(vendor_digits=DIGITS)
assets = st.sampled_from(["BTC", "USD", "JPY", "KWD", "NEW"])
keys = st.builds(BalanceKey, st.sampled_from(["", "pfOrg/pfOrgLE1", "pfOrg/LE 2"]), assets)
amounts = st.decimals(min_value=-(10**15), max_value=10**15, places=10, allow_nan=False, allow_infinity=False)
unsigned = amounts.map(abs)
flows = st.builds(Flows, amounts, unsigned, unsigned, unsigned)
expectations = st.builds(Expectation, amounts, flows, amounts)
books = st.dictionaries(keys, st.tuples(expectations, amounts), max_size=12)


def findings(book):
    differences = [balance_difference(key, ours.amount, theirs, RULES) for key, (ours, theirs) in book.items()]
    return balance_findings("BROKER", "pfOrg", [each for each in differences if each.is_break])


@given(books)
def test_ours_plus_the_breaks_is_theirs_to_the_last_minor_unit(book):
    told = {each.key.removeprefix("BROKER pfOrg ").strip(): each.difference for each in findings(book)}

    for key, (ours, theirs) in book.items():
        name = " ".join(filter(None, key))
        corrected = EXACT.add(RULES.rounded(ours.amount, key.asset), told.get(name, Decimal(0)))
        assert corrected == RULES.rounded(theirs, key.asset)


@given(books)
def test_turned_signs_turn_the_breaks_and_nothing_else(book):
    turned = {
        key: (Expectation(ours.amount.copy_negate()), theirs.copy_negate()) for key, (ours, theirs) in book.items()
    }

    assert [(each.key, each.difference) for each in findings(book)] == [
        (each.key, each.difference.copy_negate()) for each in findings(turned)
    ]


@given(books)
def test_an_order_of_accounts_does_not_matter(book):
    assert findings(book) == findings(dict(reversed(book.items())))


@given(amounts, flows, flows)
def test_what_moved_before_the_opening_is_in_its_figure_and_counts_once(opening, before, after):
    total = Flows(*(EXACT.add(getattr(before, name), getattr(after, name)) for name in Flows.__struct_fields__))

    assert total.since(before) == after
    assert Expectation(opening, total.since(before)).amount == EXACT.add(opening, after.net)


def test_the_sum_is_opening_legs_deposits_less_withdrawals_and_fees_and_adjustments():
    moved = Flows(Decimal("-10.05"), Decimal("100.00000001"), Decimal("7"), Decimal("0.5"))

    assert Expectation(Decimal("1000"), moved, Decimal("-12.50")).amount == Decimal("1069.95000001")


@pytest.mark.parametrize(
    ("rules", "asset", "ours", "theirs", "difference"),
    [
        (Rules(), "USD", "1.004", "1.001", None),
        (Rules(), "USD", "1.00", "0.99", "-0.01"),
        (Rules(vendor_digits={"BTC": 8}), "BTC", "0.000000001", "0", None),
        (Rules(vendor_digits={"BTC": 8}), "BTC", "0.00000001", "0", "-0.00000001"),
        (Rules(), "BTC", "0.000000001", "0", "-0.000000001"),  # no minor unit is known: every digit counts
        (Rules(digits={"BTC": 2}, vendor_digits={"BTC": 8}), "BTC", "0.001", "0", None),
        (Rules(tolerance_units={"BALANCE:USD": 2}), "USD", "1.00", "1.02", None),
        (Rules(tolerance_units={"BALANCE:USD": 2}), "USD", "1.00", "1.03", "0.03"),
        (Rules(tolerance_units={"POSITION:USD": 2}), "USD", "1.00", "1.02", "0.02"),
    ],
)
def test_amounts_are_compared_in_minor_units_by_the_most_specific_rule(rules, asset, ours, theirs, difference):
    found = balance_difference(BalanceKey("", asset), Decimal(ours), Decimal(theirs), rules)

    assert (found.amount if found.is_break else None) == (None if difference is None else Decimal(difference))


def test_a_finding_names_the_account_its_asset_and_theirs_minus_ours():
    key = BalanceKey("pfOrg/pfOrgLE1", "BTC")
    (found,) = balance_findings("BROKER", "pfOrg", [balance_difference(key, Decimal(3), Decimal(1), RULES)])

    assert (found.kind, found.key) == (BreakKind.BALANCE, "BROKER pfOrg pfOrg/pfOrgLE1 BTC")
    assert (found.ours, found.theirs, found.difference, found.currency) == (3, 1, -2, "BTC")


@pytest.mark.parametrize(
    ("business_day", "last_value_date"),
    [("2026-03-06", "2026-03-06"), ("2026-03-07", "2026-03-09"), ("2026-03-08", "2026-03-09"),
     ("2026-03-09", "2026-03-09")],
)  # fmt: skip
def test_on_a_weekend_mondays_value_date_has_come(business_day, last_value_date):
    assert weekday_from(date.fromisoformat(business_day)) == date.fromisoformat(last_value_date)
