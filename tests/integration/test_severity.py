"""What a break weighs: by the vendor's spot rate, else its benchmark, either way round; never by a rate of long ago."""

from datetime import timedelta
from decimal import Decimal

import pytest

from etl.controls.questions import ReconciledFeed
from etl.controls.severity import Weigher, Worth
from etl.domain.reconciliation import BreakKind, Finding, currencies
from etl.errors import VendorAwayError
from etl.vendor.feed import VendorReply
from tests.builders import a_raw_message, as_bytes
from tests.databases import rows

WEIGHED = "SELECT reporting_amount, reporting_currency, severity, rate_note FROM reporting.break ORDER BY break_id"
FRESH, OLD, OLDER = timedelta(minutes=59), timedelta(minutes=61), timedelta(days=3)


class Rates:
    """A vendor that knows these rates, each by endpoint and symbol, with its age; 404 for every other one."""

    def __init__(self, clock) -> None:
        self.clock, self.known, self.asked = clock, {}, []

    def spot_rate(self, symbol):
        return self._answer("spot", symbol)

    def benchmark(self, symbol):
        return self._answer("benchmark", symbol)

    def _answer(self, endpoint, symbol):
        self.asked.append(f"{endpoint} {symbol}")
        status, body = 404, b"{}"
        if (found := self.known.get((endpoint, symbol))) is not None:
            rate, age = found
            if rate is None:
                raise VendorAwayError("no answer")
            at = int((self.clock.now() - age).timestamp() * 1000)
            words = {"bid": rate, "offer": rate, "time": at} if endpoint == "spot" else {"rate": rate, "timestamp": at}
            status, body = 200, as_bytes({"symbol": symbol, **words})
        return VendorReply(status, body, {"content-type": "application/json"}, "q1", self.clock.now())


@pytest.fixture
def vendor(clock):
    return Rates(clock)


@pytest.fixture
def weigh(desk, vendor, clock):
    """Find a position break and weigh it; return its amount in dollars, severity and note."""

    def weighed(difference="-200000", symbol="EUR/USD", term=None, **more):
        amount = Decimal(difference)
        finding = Finding(
            BreakKind.POSITION, f"ORG pfOrg {symbol} 2024-03-20", "it differs", ours=Decimal(0), theirs=amount,
            difference=amount, currency=currencies(symbol)[0], symbol=symbol,
            difference_term=None if term is None else Decimal(term),
        )  # fmt: skip
        return weighed_of(desk, vendor, clock, finding, **more)

    return weighed


def weighed_of(desk, vendor, clock, finding, **more):
    with desk.open_work() as work:
        number = work.breaks.found(desk.feed.feed_id, finding, at=clock.now(), run_id=None).id
        work.commit()
    feed = ReconciledFeed(desk.feed.feed_id, desk.feed.name, ("pfOrg",))
    Weigher(feed, vendor, desk.open_work, clock, Worth(**more)).weigh([number], run_id=None)
    (found,) = rows(desk.database, WEIGHED)
    return found


def test_a_difference_in_the_term_amount_alone_is_weighed_in_the_term_currency(weigh, vendor):
    vendor.known["spot", "USD/JPY"] = ("150", FRESH)

    assert weigh("0", symbol="EUR/JPY", term="-300000000") == (Decimal(2_000_000), "USD", "high", None)


def test_the_spot_rate_weighs_a_break_and_nothing_else_is_asked(weigh, vendor):
    vendor.known["spot", "EUR/USD"] = ("1.25", FRESH)

    assert weigh() == (Decimal(250_000), "USD", "medium", None)
    assert vendor.asked == ["spot EUR/USD"]


def test_the_inverse_pair_weighs_where_the_vendor_quotes_it_so(weigh, vendor):
    vendor.known["spot", "USD/JPY"] = ("160", FRESH)

    assert weigh("1600000", "JPY/CHF") == (Decimal(10_000), "USD", "medium", None)


def test_the_benchmark_weighs_where_there_is_no_spot_rate(weigh, vendor):
    vendor.known["benchmark", "EUR/USD"] = ("1.5", FRESH)

    assert weigh() == (Decimal(300_000), "USD", "medium", None)
    assert vendor.asked == ["spot EUR/USD", "spot USD/EUR", "benchmark EUR/USD"]


def test_the_benchmark_of_the_inverse_pair_is_the_last_resort(weigh, vendor):
    vendor.known["benchmark", "USD/JPY"] = ("160", FRESH)

    assert weigh("1600000", "JPY/CHF")[:2] == (Decimal(10_000), "USD")


def test_a_spot_rate_of_long_ago_hides_no_fresh_benchmark(weigh, vendor):
    vendor.known |= {("spot", "EUR/USD"): ("1.25", OLD), ("benchmark", "EUR/USD"): ("1.5", FRESH)}

    assert weigh() == (Decimal(300_000), "USD", "medium", None)


def test_a_question_about_the_spot_rate_that_fails_hides_no_benchmark(weigh, vendor):
    vendor.known |= {("spot", "EUR/USD"): (None, FRESH), ("benchmark", "EUR/USD"): ("1.5", FRESH)}

    assert weigh()[:2] == (Decimal(300_000), "USD")


def test_where_all_rates_are_too_old_the_newest_is_named_and_nothing_is_guessed(weigh, vendor):
    vendor.known |= {("spot", "EUR/USD"): ("1.25", OLDER), ("benchmark", "USD/EUR"): ("0.8", OLD)}

    assert weigh() == (None, None, "unknown", "the vendor's rate of USD/EUR is of 2024-03-13 13:59Z: too old")


def test_without_any_rate_the_weight_is_unknown_and_the_break_says_why(weigh):
    assert weigh() == (None, None, "unknown", "the vendor gives no rate of EUR against USD")


def test_an_amount_in_the_reporting_currency_needs_no_rate(weigh, vendor):
    assert weigh("-0.01", "USD/JPY") == (Decimal("0.01"), "USD", "low", None)
    assert vendor.asked == []


def test_a_break_about_a_trade_weighs_what_the_trade_does(desk, vendor, clock):
    desk.land(a_raw_message(tradeId="FXI1", side="Sell"))
    vendor.known["spot", "EUR/USD"] = ("1.25", FRESH)
    finding = Finding(BreakKind.STATUS, "FXI1", "the vendor says Cancelled", trade_id="FXI1")

    assert weighed_of(desk, vendor, clock, finding)[:3] == (Decimal(1_250_000), "USD", "high")
