"""Balances with real processes: deposits, trades and withdrawals agree; one wrong figure is one break."""

import json
import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from etl.domain.ageing import is_near_cut
from etl.domain.calendar import NEW_YORK, TURNS_AT
from tests.acceptance.program import until
from tests.databases import rows

QUICK = {"ghost_s": 0.2, "eligible_after_s": 0.1, "poll_interval_s": 0.2, "balance_assets": ["BTC", "USD"]}
RULES = '[reconciliation]\nsweep = "off"\nconfirm_after_s = 0.2\ncall_spacing_s = 0\ndaily = "off"\n{}\n'
CUT = time(TURNS_AT.seconds // 3600)

pytestmark = pytest.mark.skipif(
    is_near_cut(datetime.now(UTC), CUT, NEW_YORK, within=timedelta(minutes=15)),
    reason="the trade day turns about now: a run tells the timing only",
)


@pytest.fixture
def world(play, program_for):
    """A drained book whose balances are opened."""
    sandbox = play(trades=30, eligible_after_s=0)
    program = program_for(sandbox, **QUICK)
    with_rules(program)
    assert program.call("poll").returncode == 0
    assert reconcile(program, "balances", "--open", "--reason", "go-live") == (0, ["opened"])
    return sandbox, program


def with_rules(program, more=""):
    program.file.write_text(re.sub(r"\[reconciliation\]\n[^[]*", RULES.format(more), program.file.read_text()))


def reconcile(program, *words):
    """Return the exit code and the results."""
    done = program.call("reconcile", *words, "--format", "json")
    assert done.stdout, done.stderr
    return done.returncode, [each["result"] for each in json.loads(done.stdout)]


def breaks(database, columns="kind, key, difference, currency, state"):
    return rows(database, f"SELECT {columns} FROM reporting.break ORDER BY break_id")


def test_deposit_trade_and_withdrawal_agree_and_a_wrong_figure_is_one_break_until_it_is_right(world, database):
    sandbox, program = world
    sandbox.control.deposit("BTC", Decimal("2.00000001"))
    sandbox.control.withdrawal("USD", Decimal("1000.10"), fee=Decimal("25.05"))
    sandbox.control.deposit("USD", Decimal(7), status="PENDING")
    sandbox.control.execute_trades([{"symbol": "BTC/USD", "tradeType": "Spot"}])
    assert reconcile(program, "balances") == (0, ["agreed"])
    moved = rows(database, "SELECT asset, legs <> 0, deposits, withdrawals, fees FROM reporting.balance ORDER BY asset")
    assert moved == [("BTC", True, Decimal("2.00000001"), 0, 0), ("USD", True, 0, Decimal("1000.10"), Decimal("25.05"))]
    assert breaks(database) == []

    with_rules(program, "balances_every_s = 1\n")
    wrong = ("balance", "ACCOUNT pfOrg BTC", Decimal("-0.00000001"), "BTC")
    with program.daemon() as daemon:
        daemon.started()
        sandbox.control.balance_error("BTC", amount="-0.00000001")
        until(lambda: breaks(database), what="the break", within_s=60)
        assert breaks(database) == [(*wrong, "open")]
        assert reconcile(program, "balances") == (3, ["breaks"])
        sandbox.control.balance_error("BTC", clear=True)
        until(lambda: breaks(database, "state") == [("cleared",)], what="the proof", within_s=60)
        assert daemon.stop() == 0, daemon.said

    assert breaks(database) == [(*wrong, "cleared")]
