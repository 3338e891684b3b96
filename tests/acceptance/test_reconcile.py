"""Reconciliation with real processes: the sandbox errs, and the right break or the right healing comes of it."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.program import booked, until
from tests.acceptance.reconciling import QUICK, not_near_cut, reconcile, with_rules
from tests.databases import rows, value

pytestmark = not_near_cut


@pytest.fixture
def world(play, program_for):
    """A sandbox with a backlog of today and tomorrow's value dates, drained, and opened at go-live."""
    sandbox = play(trades=150, eligible_after_s=0)
    program = program_for(sandbox, **QUICK, resend_days_at_once=31)
    with_rules(program)
    assert program.call("poll").returncode == 0
    opened = reconcile(program, "positions", "--open", "--reason", "go-live")
    assert {each["result"] for each in opened[1]} == {"opened"}, opened
    return sandbox, program


def breaks(database, columns="kind, key, state"):
    return rows(database, f"SELECT {columns} FROM reporting.break ORDER BY break_id")


def a_position(database):
    """Return a symbol and value date that the book holds deliverable positions of."""
    return rows(
        database,
        "SELECT symbol, value_date::text FROM reporting.position WHERE deliverable AND symbol = 'EUR/USD'"
        " AND value_date > current_date + 2 ORDER BY 2 LIMIT 1",
    )[0]


def test_before_anything_is_opened_nothing_is_proven_and_it_ends_with_3(play, program_for):
    program = program_for(play(trades=20, eligible_after_s=0), **QUICK)
    with_rules(program)
    assert program.call("poll").returncode == 0

    code, outcomes = reconcile(program, "positions")

    assert (code, {each["result"] for each in outcomes}) == (3, {"no_opening"})


def test_a_command_that_opens_nothing_says_so_and_ends_with_3(world):
    _, program = world
    now = datetime.now(UTC)  # the business day ends about now: noon where the hour is twelve
    turning = f'timezone = "Etc/GMT{now.hour - 12:+d}"\nbusiness_day_ends = "12:{now:%M}"'
    with_rules(program, turning)

    done = program.call("reconcile", "positions", "--open", "--reason", "go-live", "--format", "json")

    assert (done.returncode, {each["result"] for each in json.loads(done.stdout)}) == (3, {"timing"})
    assert "not opened: positions ORG pfOrg" in done.stderr


def test_a_wrong_figure_at_the_vendor_becomes_a_break_with_its_size_and_goes_with_proof(world, database):
    sandbox, program = world
    symbol, day = a_position(database)
    sandbox.control.position_error(symbol, day, base="250000", level="ORG")

    code, _ = reconcile(program, "positions")

    assert code == 3
    found = breaks(database, "kind, key, difference, currency, state, reporting_currency")
    assert found == [("position", f"ORG pfOrg {symbol} {day}", 250000, "EUR", "investigating", "USD")]
    listed = json.loads(program.call("breaks", "list", "--format", "json").stdout)
    assert [(each["severity"], each["age"]) for each in listed] == [("medium", "today")]

    sandbox.control.position_error(symbol, day, base="-250000", level="ORG")
    code, _ = reconcile(program, "positions")

    assert (code, breaks(database, "state, reason")) == (0, [("cleared", "both sides agree")])


@pytest.mark.nightly
def test_an_accepted_break_is_quiet_until_its_figures_change(world, database):
    sandbox, program = world
    symbol, day = a_position(database)
    sandbox.control.position_error(symbol, day, base="5")
    reconcile(program, "positions")
    number = str(value(database, "SELECT max(break_id) FROM reporting.break"))
    until_then = (datetime.now(UTC) + timedelta(days=2)).isoformat()

    done = program.call("breaks", "accept", number, "--until", until_then, "--ticket", "V-7", "--reason", "their bug")
    quiet, _ = reconcile(program, "positions")
    sandbox.control.position_error(symbol, day, base="1")
    loud, _ = reconcile(program, "positions")

    assert (done.returncode, quiet, loud) == (0, 0, 3), done.stderr
    assert breaks(database, "state, reopened, difference, vendor_ticket") == [("investigating", 1, 6, "V-7")]
    steps = rows(database, "SELECT deed, note FROM reporting.break_event ORDER BY event_id")
    assert any(note.startswith("to do: nothing yet: the trade dates") for deed, note in steps if deed == "step")
    deeds = [deed for deed, _ in steps if deed != "step"]
    assert deeds == ["opened", "accepted", "reopened"]
    assert value(database, "SELECT count(*) FROM reporting.audit WHERE deed = 'breaks accepted'") == 1


def test_a_trade_never_handed_out_is_found_by_its_order_and_healed_without_a_hand(world, database):
    sandbox, program = world
    order = value(database, "SELECT order_id FROM reporting.trade ORDER BY trade_date DESC, trade_id DESC LIMIT 1")
    (lost,) = sandbox.control.execute_trades([{"orderId": order}])
    sandbox.control.hide(lost)

    with program.daemon() as daemon:
        daemon.started()
        until(lambda: rows(database, "SELECT FROM reporting.gap WHERE cause = 'fills'"), what="the gap")
        sandbox.control.hide(lost, hidden=False)
        until(lambda: lost in booked(database), what="the lost trade to be booked")
        assert daemon.stop() == 0, daemon.said


def test_a_cancelled_trade_is_named_and_stops_counting_without_a_hand(world, database):
    sandbox, program = world
    symbol, day = a_position(database)
    with_rules(program, "positions_every_s = 1\nfills_every_s = 0\n")
    counts = "SELECT live FROM reporting.trade WHERE trade_id = :id"

    with program.daemon() as daemon:
        daemon.started()
        (trade,) = sandbox.control.execute_trades([{"symbol": symbol, "valueDate": day, "tradeType": "Outright"}])
        until(lambda: rows(database, counts, id=trade), what="the trade")
        sandbox.control.cancel(trade)
        until(lambda: rows(database, counts, id=trade) == [(False,)], what="its cancellation")
        cleared = "SELECT FROM reporting.break WHERE kind = 'position' AND state = 'cleared'"
        until(lambda: rows(database, cleared), what="the position to agree")
        assert daemon.stop() == 0, daemon.said

    number = value(database, "SELECT break_id FROM reporting.break WHERE kind = 'status'")
    shown = json.loads(program.call("breaks", "show", str(number), "--format", "json").stdout)
    assert (shown["trade_id"], shown["state"]) == (trade, "open")
    assert f"stp-etl breaks resolve {number}" in shown["to_do"]
    assert program.call("breaks", "resolve", str(number), "--reason", "the desk knows").returncode == 0
    assert {state for (state,) in breaks(database, "state")} == {"cleared", "resolved"}


def test_the_daemon_reconciles_by_itself_and_when_a_command_asks(world, database):
    sandbox, program = world
    symbol, day = a_position(database)
    with_rules(program, "positions_every_s = 1\n")
    sandbox.control.position_error(symbol, day, base="1")

    with program.daemon() as daemon:
        daemon.started()
        until(lambda: breaks(database), what="the break")
        sandbox.control.position_error(symbol, day, base="-1")
        done = program.call("reconcile", "positions", "--feed", "main", "--format", "json")
        code, outcomes = done.returncode, json.loads(done.stdout)
        assert daemon.stop() == 0, daemon.said

    assert (code, {each["result"] for each in outcomes}) == (0, {"agreed"})
    assert {each["subject"].split()[1] for each in outcomes} == {"ORG", "LE"}
    assert re.search(r"feed main: positions LE pfOrgLE1: agreed \(run \d+\)", done.stderr), done.stderr
    assert breaks(database) == [("position", f"ORG pfOrg {symbol} {day}", "cleared")]
