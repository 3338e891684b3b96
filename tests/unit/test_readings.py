"""Another reading of the vendor's fields is named only where it clears most of what differs."""

from datetime import date, timedelta
from decimal import Decimal

from etl.domain.readings import Alternative, clearing
from etl.domain.reconciliation import Key, Rules

KEYS = [Key("EUR/USD", date(2030, 7, 1) + timedelta(days=number)) for number in range(30)]
FIGURES = {key: Decimal(number + 1) for number, key in enumerate(KEYS)}
TURNED = {key: -figure for key, figure in FIGURES.items()}


def test_a_reading_that_clears_all_is_named():
    found = clearing(TURNED, {Alternative.TURNED: TURNED, Alternative.NEAR_ONLY: FIGURES}, KEYS, Rules())

    assert found is not None
    assert (found.reading, found.keys) == (Alternative.TURNED, frozenset(KEYS))


def test_a_reading_that_clears_some_only_is_none():
    theirs = {key: figure if number < 20 else Decimal(7) for number, (key, figure) in enumerate(TURNED.items())}

    assert clearing(theirs, {Alternative.TURNED: TURNED}, KEYS, Rules()) is None


def test_a_reading_that_breaks_what_agrees_is_none():
    theirs = {**FIGURES, **{key: TURNED[key] for key in KEYS[:10]}}

    assert clearing(theirs, {Alternative.TURNED: TURNED}, KEYS[:10], Rules()) is None


def test_figures_are_compared_in_minor_units():
    theirs = {key: figure + Decimal("0.001") for key, figure in TURNED.items()}

    assert clearing(theirs, {Alternative.TURNED: TURNED}, KEYS, Rules()) is not None
