"""Amounts keep their digits, and the smallest units are those of ISO 4217 (law 8)."""

from decimal import Decimal, Inexact

import pytest

from etl.domain.money import EXACT, Amount, minor_unit


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("EUR", 2), ("USD", 2), ("CNH", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("KWD", 3), ("CLF", 4)]
    + [("XAU", None), ("BTC", None), ("WTI", None), ("eur", None), ("", None)],
)
def test_the_smallest_unit_of_a_currency(currency, digits):
    assert minor_unit(currency) == digits


def test_law_8_an_amount_is_turned_digit_for_digit():
    amount = Amount(Decimal("12345678901234567890123456789012345.670"), "EUR")

    assert str(amount.reversed().value) == "-12345678901234567890123456789012345.670"
    assert amount.reversed().reversed() == amount


def test_law_8_arithmetic_raises_rather_than_rounds():
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))
    with pytest.raises(Inexact):
        EXACT.add(Decimal("1e200"), Decimal("0.1"))
