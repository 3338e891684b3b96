"""Fills against the book: what opens a gap, what a break, and when a 404 proves nothing."""

from dataclasses import asdict
from datetime import timedelta

import pytest

from etl.cli.certify import certified
from etl.controls.certificate import Certifier
from etl.sandbox.variants import Variants
from tests.databases import change, rows, value
from tests.reconciling import NOON, World, sandbox_at_noon

NEWEST = "SELECT trade_id, order_id FROM reporting.trade WHERE order_id IS NOT NULL ORDER BY change_seq DESC LIMIT 1"


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(40)


@pytest.fixture
def world(make_world):
    """A drained feed."""
    return make_world()


@pytest.fixture
def newest(world):
    """Id and order of a trade of today."""
    world.execute()
    world.drained()
    return rows(world.database, NEWEST)[0]


def lost(world, order_id):
    """Let a trade of an order be done that is never handed out."""
    trade_id = world.execute(orderId=order_id)
    world.control.hide(trade_id)
    return trade_id


def test_orders_that_agree_are_asked_once_each_and_leave_no_break(world):
    outcome = world.fills()

    assert (outcome.result, outcome.agreed) == ("agreed", outcome.compared)
    assert outcome.compared > 0
    assert world.breaks() == []


def test_a_fill_that_we_lack_opens_a_gap_with_the_order_as_evidence(world, newest):
    trade_id = lost(world, newest[1])

    assert world.fills().result == "gap"

    ((cause, evidence),) = rows(world.database, "SELECT cause, evidence FROM stp.gap")
    assert (cause, evidence[0]["order_id"], evidence[0]["trade_ids"]) == ("fills", newest[1], [trade_id])
    assert world.breaks() == []


def test_the_same_missing_fill_opens_no_second_gap(world, newest):
    lost(world, newest[1])
    world.fills()
    change(world.database, "DELETE FROM stp.asked_order")
    world.fills()

    assert value(world.database, "SELECT count(*) FROM stp.gap") == 1


@pytest.mark.parametrize("state", ["healed", "escalated", "closed"])
def test_a_fill_that_a_gap_did_not_bring_is_a_break_until_it_is_booked(world, newest, state):
    trade_id = lost(world, newest[1])
    world.fills()
    change(world.database, "UPDATE stp.gap SET state = :state", state=state)
    change(world.database, "DELETE FROM stp.asked_order")

    world.fills()
    assert world.breaks() == [("missing_in_book", trade_id, "open")]

    world.control.hide(trade_id, hidden=False)
    world.drained()
    world.fills()
    assert world.breaks("kind, state, reason") == [("missing_in_book", "cleared", "it is booked")]


def test_a_trade_still_in_the_queue_is_not_missing(world, newest):
    world.execute(orderId=newest[1])

    assert world.fills().result == "agreed"
    assert value(world.database, "SELECT count(*) FROM stp.gap") == 0


@pytest.mark.parametrize("fills", ["all", "verified"])
def test_a_trade_that_is_verified_no_more_is_a_status_break(world, newest, fills):
    world.control.variant(fills=fills)
    world.control.cancel(newest[0])

    assert world.fills().result == "breaks"
    assert world.breaks("kind, trade_id, comment") == [("status", newest[0], "the vendor says Cancelled")]


def test_a_404_for_everything_proves_nothing(world):
    world.control.variant(fills="404", trade_query="404")

    outcome = world.fills()

    assert (outcome.result, outcome.compared, outcome.agreed) == ("unconfirmed", 0, 0)
    assert world.breaks() == []
    assert value(world.database, "SELECT counts ? 'nothing_proven' FROM reporting.reconciliation_run")


def test_a_day_is_not_complete_by_a_run_of_fills_that_proved_nothing(world):
    """Law 10: every order and trade is answered with 404, so nothing is known about them."""
    certifier = Certifier(certified(world.app, None), world.app.open_work, world.clock)

    def reasons():
        issued = certifier.issue(NOON.date() - timedelta(days=1), "olga").reasons
        return [(each.detail, each.command) for each in issued if each.reason == "fills"]

    world.control.variant(fills="404", trade_query="404")
    outcome = world.fills()
    without = reasons()
    world.control.variant(**asdict(Variants()))
    world.fills()

    said = f"run {outcome.run_id} of fills ended as unconfirmed: {outcome.detail}"
    assert without == [(said, "stp-etl reconcile fills")]
    assert reasons() == []


def test_fills_that_are_left_out_are_no_break_where_the_trade_is_known_by_its_id(world):
    world.control.plan({"fault": "404", "endpoint": "fills", "user": world.user.name, "nth": 2})

    outcome = world.fills()

    assert (outcome.result, outcome.agreed) == ("agreed", outcome.compared - 1)
    assert world.breaks() == []


def test_where_no_list_is_answered_at_all_the_known_trades_are_no_break_and_no_agreement(world):
    world.control.variant(fills="404")

    assert world.fills().result == "unconfirmed"
    assert world.breaks() == []


def test_a_trade_that_the_vendor_does_not_know_is_a_break_once_a_known_one_was_answered(world, newest):
    invented = "UPDATE stp.{} SET trade_id = 'FXI-OURS' WHERE trade_id = :id"
    for table in ("trade", "trade_version", "trade_leg"):
        change(world.database, f"ALTER TABLE stp.{table} DISABLE TRIGGER USER")
        change(world.database, invented.format(table), id=newest[0])

    outcome = world.fills()

    assert outcome.breaks == 1
    assert world.breaks() == [("missing_at_vendor", "FXI-OURS", "open")]


@pytest.mark.parametrize("fault", ["500", "close_before", "429"])
def test_law_10_a_failed_question_is_a_break_of_its_own_and_the_next_run_goes_on(world, fault):
    world.control.plan({"fault": fault, "endpoint": "fills", "user": world.user.name, "nth": 2})

    first = world.fills()
    second = world.fills()

    assert (first.result, second.result) == ("query_failed", "agreed")
    assert world.breaks("kind, key, state") == [("query_failed", "fills", "cleared")]


def test_a_run_keeps_its_budget_and_the_next_one_goes_on(pool, database, tmp_path):
    sandbox, users = pool
    world = World(sandbox, next(users), database, tmp_path, rules="calls_per_run = 3")
    try:
        runs = [world.fills() for _ in range(2)]

        assert [each.compared for each in runs] == [3, 3]
        assert value(database, "SELECT count(*) FROM stp.asked_order") == 6
        assert value(database, "SELECT max((basis ->> 'calls')::int) FROM reporting.reconciliation_run") == 3
    finally:
        world.close()


def test_the_newest_orders_are_asked_first(world, newest):
    world.fills()

    first = "SELECT question FROM stp.vendor_reply WHERE subject = 'fills' ORDER BY id LIMIT 1"
    assert value(world.database, first) == newest[1]


def test_after_friday_has_ended_its_orders_are_still_asked(world):
    world.execute(orderId="ORD-FRIDAY", tradeDate="2030-07-05")
    world.drained()
    world.clock.ahead += timedelta(days=3, hours=10)  # Friday, 18:00 in New York

    world.fills()

    assert rows(world.database, "SELECT question FROM stp.vendor_reply WHERE subject = 'fills'") == [("ORD-FRIDAY",)]
