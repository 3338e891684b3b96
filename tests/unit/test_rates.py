"""Rates and minor units as the vendor tells them, and what no rate and no unit can be made of."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from etl.domain.position_answer import Unreadable
from etl.domain.rates import Rate, digits_in, rate_in

SPOT = {"symbol": "EUR/USD", "bid": 1.1, "offer": "1.2", "time": 1_709_294_400_123}


def test_a_spot_rate_is_the_middle_of_bid_and_offer_at_its_instant():
    at = datetime(2024, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)

    assert rate_in(json.dumps(SPOT).encode(), "EUR/USD") == Rate("EUR", "USD", Decimal("1.15"), at)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "²"}, {"time": "9" * 5000}, {"time": None}, {"time": -1}, {"time": "4102444800001"},
        {"bid": "1e150", "offer": "1e-150"}, {"bid": 0, "offer": 0},
        {"bid": None}, {"symbol": "EUR/JPY"},
    ],
    ids=lambda wrong: str(wrong)[:30],
)  # fmt: skip
def test_what_is_no_rate_is_unreadable(wrong):
    assert isinstance(rate_in(json.dumps(SPOT | wrong).encode(), "EUR/USD"), Unreadable)


@pytest.mark.parametrize(
    "precision", ["²", "9" * 5000, "19", "-1", "", None, "2.0", [2]], ids=lambda each: str(each)[:9]
)
def test_a_precision_that_is_no_number_of_digits_leaves_its_asset_out(precision):
    answer = [{"asset": "BTC", "precision": precision}, {"asset": "USD", "precision": 2}]

    assert digits_in(json.dumps(answer).encode()) == {"USD": 2}
