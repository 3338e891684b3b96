"""A run of the fills control agreed only where it proved that: what it could not ask or read, it says (law 10)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

import pytest

from etl.controls.fills import FillsControl
from etl.controls.questions import Order, Outcome, Proof, ReconciledFeed
from etl.errors import VendorAwayError
from etl.vendor.feed import VendorReply
from tests.builders import a_raw_message, as_bytes
from tests.clocks import FakeClock
from tests.databases import rows, value

DAY = "2024-03-13"  # of the tests' clock
GARBAGE = b"<html>moved</html>"
ASKED = "SELECT subject || ' ' || question FROM stp.vendor_reply WHERE run_id = {} ORDER BY id"


@dataclass
class Vendor:
    """Knows these orders, each with its trades, and the trades; an answer of `instead` stands before all else."""

    clock: FakeClock
    orders: dict[str, list[str]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    instead: dict[str, bytes | None] = field(default_factory=dict)
    """By order or trade id: other bytes, or None for no answer at all."""

    def fills(self, order_id: str) -> VendorReply:
        trades = [each for each in self.orders.get(order_id, []) if each not in self.unlisted | self.gone]
        return self._reply(order_id, [_told(each) for each in trades] or None)

    def trade(self, trade_id: str) -> VendorReply:
        known = trade_id not in self.gone and any(trade_id in each for each in self.orders.values())
        return self._reply(trade_id, _told(trade_id) if known else None)

    def _reply(self, about: str, document: object) -> VendorReply:
        body = self.instead.get(about, b"{}" if document is None else as_bytes(document))
        if body is None:
            raise VendorAwayError("no answer")
        status = 404 if document is None and about not in self.instead else 200
        return VendorReply(status, body, {"content-type": "application/json"}, "q1", self.clock.now())


def _told(trade_id: str) -> dict[str, str]:
    return {"tradeId": trade_id, "status": "Verified", "tradeDate": DAY}


@pytest.fixture
def vendor(clock):
    return Vendor(clock)


@pytest.fixture
def book(desk, vendor):
    """Book trades, each given as order and trade; the vendor lists them."""

    def booked(*trades):
        desk.land(*(a_raw_message(orderId=order, tradeId=trade, tradeDate=DAY) for order, trade in trades))
        for order, trade in trades:
            vendor.orders.setdefault(order, []).append(trade)

    return booked


@pytest.fixture
def run(desk, vendor, clock) -> Callable[..., Outcome]:
    """Run the fills control."""

    def ran(*, drained=True, stop=None, **more):
        feed = ReconciledFeed(desk.feed.feed_id, desk.feed.name, ("pfOrg",), **more)
        proof = Proof(1, clock.now().isoformat()) if drained else None
        control = FillsControl(
            feed, vendor, desk.open_work, clock=clock, drain=lambda: proof, epoch=lambda: desk.feed.epoch,
            stop=stop or Event(),
        )  # fmt: skip
        return control.run(Order())

    return ran


@pytest.fixture
def asked(desk):
    """Return what a run asked and was answered, in order."""
    return lambda outcome: [each for (each,) in rows(desk.database, ASKED.format(outcome.run_id))]


def test_lists_that_agree_are_a_proof(run, book):
    book(("1", "A"), ("1", "B"), ("2", "C"))

    outcome = run()

    assert (outcome.result, outcome.compared, outcome.agreed, outcome.detail) == ("agreed", 2, 2, "")


def test_a_feed_without_orders_has_nothing_to_prove(run):
    assert run().result == "agreed"


def test_a_404_for_every_order_and_trade_is_no_agreement(run, book, vendor):
    book(("1", "A"), ("2", "B"))
    vendor.orders.clear()

    outcome = run()

    assert (outcome.result, outcome.compared, outcome.agreed) == ("unconfirmed", 0, 0)
    assert "no list of 2 orders could be read" in outcome.detail
    assert "404 for A, B, and for a known trade no answer either" in outcome.detail


def test_a_404_for_every_order_proves_no_list_though_each_trade_is_known(run, book, vendor):
    book(("1", "A"), ("2", "B"))
    vendor.unlisted = {"A", "B"}

    outcome = run()

    assert (outcome.result, outcome.compared) == ("unconfirmed", 2)
    assert "ask the vendor whether GET /v2/trades?orderId= is open" in outcome.detail


def test_one_order_that_the_vendor_leaves_out_is_proven_by_its_trades(run, book, vendor):
    book(("1", "A"), ("2", "B"))
    vendor.unlisted = {"A"}

    outcome = run()

    assert (outcome.result, outcome.compared, outcome.agreed, outcome.breaks) == ("agreed", 2, 1, 0)


def test_trades_that_the_budget_left_no_question_for_are_named(run, book, vendor):
    book(("1", "A"), ("1", "B"), ("1", "C"), ("1", "D"))
    vendor.unlisted = {"B", "C", "D"}

    outcome = run(calls=3)

    assert (outcome.result, outcome.compared) == ("unconfirmed", 0)
    assert outcome.detail == "lists lack D, and calls_per_run left no question about it; raise it"


def test_orders_leave_calls_to_what_their_lists_lack(run, book, vendor, asked):
    book(*((str(number), f"T{number}") for number in range(6)))
    vendor.unlisted = {"T5"}  # of the newest order, so of the first that is asked

    first, second = run(calls=5), run(calls=5)

    assert asked(first) == ["fills 5", "fills 4", "fills 3", "trade T5"]
    assert (first.result, first.detail) == ("agreed", "asked 3 of 6 orders; the next run goes on")
    assert asked(second) == ["fills 2", "fills 1", "fills 0", "fills 5", "trade T5"]


@pytest.mark.parametrize("body", [GARBAGE, as_bytes([_told("A"), {"tradeId": 7}])])
def test_a_list_that_cannot_be_read_whole_is_no_agreement_and_a_break_says_so(run, book, vendor, desk, body):
    book(("1", "A"), ("2", "B"))
    vendor.instead["1"] = body

    first = run()
    vendor.instead.clear()
    second = run()

    assert (first.result, first.compared) == ("unconfirmed", 1)
    assert "the answer cannot be read to order 1; the vendor finds it by the request_id" in first.detail
    assert second.result == "agreed"
    assert rows(desk.database, "SELECT kind, key, state FROM stp.recon_break") == [("query_failed", "fills", "cleared")]


def test_a_trade_whose_answer_cannot_be_read_is_no_agreement(run, book, vendor):
    book(("1", "A"), ("2", "B"))
    vendor.unlisted, vendor.instead["A"] = {"A"}, GARBAGE

    outcome = run()

    assert (outcome.result, outcome.breaks) == ("unconfirmed", 0)
    assert "cannot be read to trade A" in outcome.detail


@pytest.mark.parametrize(("body", "result"), [(None, "query_failed"), (GARBAGE, "unconfirmed")])
def test_a_404_is_no_break_where_the_control_question_got_no_answer(run, book, vendor, desk, body, result):
    book(("1", "A"), ("2", "B"))
    vendor.gone, vendor.instead["B"] = {"A"}, body

    assert run().result == result
    assert value(desk.database, "SELECT count(*) FROM stp.recon_break WHERE kind = 'missing_at_vendor'") == 0


def test_a_404_is_no_break_where_a_later_question_failed_before_the_control_question(run, book, vendor, desk):
    book(("1", "A"), ("1", "B"), ("1", "C"))
    vendor.gone, vendor.unlisted, vendor.instead["B"] = {"A"}, {"B"}, None

    assert run().result == "query_failed"
    assert value(desk.database, "SELECT count(*) FROM stp.recon_break WHERE kind = 'missing_at_vendor'") == 0


def test_a_404_is_a_break_once_a_known_trade_was_answered(run, book, vendor, desk):
    book(("1", "A"), ("2", "B"))
    vendor.gone = {"A"}

    assert (run().result, run().result) == ("breaks", "breaks")
    assert rows(desk.database, "SELECT kind, key, state FROM stp.recon_break") == [("missing_at_vendor", "A", "open")]


def test_a_run_that_was_stopped_proves_nothing(run, book):
    book(("1", "A"))
    stop = Event()
    stop.set()

    outcome = run(stop=stop)

    assert (outcome.result, outcome.compared) == ("unconfirmed", 0)
    assert outcome.detail.startswith("the run was stopped; the next one goes on")


def test_a_missing_trade_opens_no_gap_before_the_queue_is_empty_and_its_order_is_asked_again(
    run, book, vendor, desk, asked
):  # fmt: skip
    book(("1", "A"), ("2", "B"), ("3", "C"))
    vendor.orders["1"].append("LOST")

    first = run(drained=False)
    gaps = value(desk.database, "SELECT count(*) FROM stp.gap")
    second = run(calls=1)

    assert (first.result, gaps) == ("not_drained", 0)
    assert "1 missing trade opened no gap yet; their orders are asked again" in first.detail
    assert value(desk.database, "SELECT state FROM stp.reconciliation_run ORDER BY id LIMIT 1") == "failed"
    assert (second.result, asked(second)) == ("gap", ["fills 1"])
    assert value(desk.database, "SELECT count(*) FROM stp.gap WHERE cause = 'fills'") == 1


def test_the_run_keeps_how_many_orders_it_asked_and_how_many_there_are(run, book, desk):
    book(*((str(number), f"T{number}") for number in range(5)))

    outcome = run(calls=2)

    assert outcome.detail == "asked 2 of 5 orders; the next run goes on"
    basis = value(desk.database, "SELECT basis FROM reporting.reconciliation_run")
    assert (basis["orders_asked"], basis["orders"], basis["calls"]) == (2, 5, 2)


def test_between_two_questions_the_spacing_is_kept(run, book, vendor, clock, asked):
    book(("1", "A"), ("2", "B"), ("3", "C"))
    vendor.unlisted, vendor.gone = {"A"}, {"B"}
    clock.waited.clear()

    outcome = run(spacing_s=0.25)

    assert asked(outcome) == ["fills 3", "fills 2", "fills 1", "trade B", "trade A", "trade A"]
    assert clock.waited == [0, 0.25, 0.25, 0.25, 0.25, 0.25]


def test_a_budget_that_is_used_up_costs_no_more_waiting(run, book, clock):
    book(*((str(number), f"T{number}") for number in range(5)))
    clock.waited.clear()

    run(spacing_s=0.25, calls=3)

    assert clock.waited == [0, 0.25, 0.25]
