"""The laws of comparing: our figures plus the breaks are theirs, whatever the order, whatever the sign."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.domain.money import EXACT
from etl.domain.reconciliation import (
    FLAT,
    BreakKind,
    Key,
    Position,
    Rules,
    difference,
    position_findings,
    term_readings,
)

RULES = Rules()
DAYS = [date(2030, 7, 3) + timedelta(days=number) for number in range(4)]
keys = st.builds(Key, st.sampled_from(["EUR/USD", "USD/JPY", "XAU/USD", "BTC/USD"]), st.sampled_from(DAYS))
amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=4, allow_nan=False, allow_infinity=False)
positions = st.dictionaries(keys, st.builds(Position, amounts, amounts), max_size=12)


def compare(ours, theirs, rules):
    """Compare every key of either side, in order; one that a side does not name is flat there."""
    return [difference(key, ours.get(key, FLAT), theirs.get(key, FLAT), rules) for key in sorted({**ours, **theirs})]


def turned(book):
    return {key: Position(each.base.copy_negate(), each.term.copy_negate()) for key, each in book.items()}


@given(positions, positions)
def test_our_positions_plus_the_differences_are_their_positions(ours, theirs):
    corrected = {key: RULES.rounded(ours.get(key, FLAT).base, key.symbol[:3]) for key in ours.keys() | theirs.keys()}
    for each in compare(ours, theirs, RULES):
        corrected[each.key] = EXACT.add(corrected[each.key], each.base)

    assert corrected == {key: RULES.rounded(theirs.get(key, FLAT).base, key.symbol[:3]) for key in corrected}


@given(positions, positions)
def test_the_breaks_tell_every_difference_and_nothing_else(ours, theirs):
    differing = [each for each in compare(ours, theirs, RULES) if each.is_break]
    told = set()
    for found in position_findings("ORG", "pfOrg", differing):
        days = found.figures.get("value_dates") or [found.value_date.isoformat()]
        told |= {Key(found.symbol, date.fromisoformat(day)) for day in days}

    assert told == {each.key for each in differing}
    assert all(each.base for each in differing)


@given(positions, positions, st.randoms(use_true_random=False))
def test_the_order_of_either_side_does_not_matter(ours, theirs, draw):
    shuffled = [dict(draw.sample(list(book.items()), len(book))) for book in (ours, theirs)]
    found = compare(ours, theirs, RULES)

    assert compare(*shuffled, RULES) == found
    assert position_findings("ORG", "x", reversed(found)) == position_findings("ORG", "x", found)


@given(positions, positions)
def test_turned_signs_turn_the_differences(ours, theirs):
    found = compare(ours, theirs, RULES)
    mirrored = compare(turned(ours), turned(theirs), RULES)

    assert [
        (each.key, EXACT.add(each.base, other.base), each.is_break) for each, other in zip(found, mirrored, strict=True)
    ] == [(each.key, 0, each.is_break) for each in mirrored]


@given(positions)
def test_equal_books_have_no_break_and_a_second_comparison_says_the_same(book):
    assert [each for each in compare(book, book, RULES) if each.is_break] == []
    assert compare(book, {}, RULES) == compare(book, {}, RULES)


def test_a_flat_key_may_be_left_out():
    key = Key("EUR/USD", DAYS[0])

    assert not compare({key: Position(Decimal("0.00"), Decimal(7))}, {}, RULES)[0].is_break


@pytest.mark.parametrize(
    ("rules", "ours", "theirs", "is_break"),
    [
        (Rules(), "1.004", "1.001", False),
        (Rules(), "1.00", "1.01", True),
        (Rules(digits={"EUR": 3}), "1.004", "1.001", True),
        (Rules(vendor_digits={"EUR": 3}), "1.004", "1.001", True),
        (Rules(digits={"EUR": 2}, vendor_digits={"EUR": 3}), "1.004", "1.001", False),
        (Rules(tolerance_units={"EUR": 1}), "1.00", "1.01", False),
        (Rules(tolerance_units={"EUR": 1}), "1.00", "1.02", True),
        (Rules(tolerance_units={"EUR": 9, "EUR/USD": 0}), "1.00", "1.01", True),
        (Rules(tolerance_units={"EUR/USD": 0, "POSITION:EUR/USD": 1}), "1.00", "1.01", False),
        (Rules(tolerance_units={"POSITION": 1}), "1.00", "1.01", False),
        (Rules(tolerance_units={"BALANCE": 1}), "1.00", "1.01", True),
    ],
)
def test_amounts_are_compared_in_minor_units_by_the_most_specific_rule(rules, ours, theirs, is_break):
    key = Key("EUR/USD", DAYS[0])
    (found,) = compare({key: Position(Decimal(ours))}, {key: Position(Decimal(theirs))}, rules)

    assert found.is_break is is_break


def test_a_currency_without_a_minor_unit_is_compared_by_all_its_digits():
    key = Key("BTC/USD", DAYS[0])
    (found,) = compare({key: Position(Decimal("0.123456789"))}, {key: Position(Decimal("0.123456788"))}, RULES)

    assert (found.is_break, found.base) == (True, Decimal("-1E-9"))


def test_equal_and_opposite_on_two_days_is_a_shift_only_where_it_pairs_in_one_way():
    def findings(*bases):
        theirs = {Key("EUR/USD", day): Position(Decimal(base)) for day, base in zip(DAYS, bases, strict=False)}
        return [each.kind for each in position_findings("ORG", "x", compare({}, theirs, RULES))]

    assert findings(5, -5) == [BreakKind.VALUE_DATE_SHIFT]
    assert findings(5, 5) == [BreakKind.POSITION] * 2
    assert findings(5, -5, 5) == [BreakKind.POSITION] * 3
    assert findings(5, -5, 7) == [BreakKind.VALUE_DATE_SHIFT, BreakKind.POSITION]


def test_the_readings_of_the_term_amount_are_counted():
    flows, average, neither = (Key("EUR/USD", day) for day in DAYS[:3])
    ours = {key: Position(Decimal(100), Decimal(-120)) for key in (flows, average, neither)}
    theirs = {
        flows: Position(Decimal(100), Decimal(-120), Decimal("1.1")),
        average: Position(Decimal(100), Decimal(-110), Decimal("1.1")),
        neither: Position(Decimal(100), Decimal(-1), Decimal("1.1")),
    }

    assert term_readings(ours, theirs, RULES) == {"flows": 1, "average": 1, "both": 0, "neither": 1}


@pytest.mark.parametrize(("theirs", "is_break"), [("-0.12", False), ("-0.13", False), ("-0.11", True), ("-0.14", True)])
def test_an_average_halfway_between_two_units_is_either_of_them(theirs, is_break):
    held, said = Position(Decimal("0.10")), Position(Decimal("0.10"), Decimal(theirs), Decimal("1.25"))

    assert difference(Key("EUR/USD", DAYS[0]), held, said, Rules(compare_term="average")).is_break is is_break
