"""Balances with real processes: deposits, trades and withdrawals agree; one wrong figure is one break."""

from decimal import Decimal

import pytest

from tests.acceptance.program import until
from tests.acceptance.reconciling import QUICK, not_near_cut, reconcile, with_rules
from tests.databases import rows

pytestmark = not_near_cut


@pytest.fixture
def world(play, program_for):
    """A drained book whose balances are opened."""
    sandbox = play(trades=30, eligible_after_s=0)
    program = program_for(sandbox, **QUICK, balance_assets=["BTC", "USD"])
    with_rules(program)
    assert program.call("poll").returncode == 0
    assert results(program, "balances", "--open", "--reason", "go-live") == (0, ["opened"])
    return sandbox, program


def results(program, *words):
    code, outcomes = reconcile(program, *words)
    return code, [each["result"] for each in outcomes]


def breaks(database, columns="kind, key, difference, currency, state"):
    return rows(database, f"SELECT {columns} FROM reporting.break ORDER BY break_id")


def test_deposit_trade_and_withdrawal_agree_and_a_wrong_figure_is_one_break_until_it_is_right(world, database):
    sandbox, program = world
    sandbox.control.deposit("BTC", Decimal("2.00000001"))
    sandbox.control.withdrawal("USD", Decimal("1000.10"), fee=Decimal("25.05"))
    sandbox.control.deposit("USD", Decimal(7), status="PENDING")
    sandbox.control.execute_trades([{"symbol": "BTC/USD", "tradeType": "Spot"}])
    assert results(program, "balances") == (0, ["agreed"])
    moved = rows(database, "SELECT asset, legs <> 0, deposits, withdrawals, fees FROM reporting.balance ORDER BY asset")
    assert moved == [("BTC", True, Decimal("2.00000001"), 0, 0), ("USD", True, 0, Decimal("1000.10"), Decimal("25.05"))]
    assert breaks(database) == []

    with_rules(program, "balances_every_s = 1\n")
    wrong = ("balance", "ACCOUNT pfOrg BTC", Decimal("-0.00000001"), "BTC")
    with program.daemon() as daemon:
        daemon.started()
        sandbox.control.balance_error("BTC", amount="-0.00000001")
        until(lambda: breaks(database), what="the break")
        assert breaks(database) == [(*wrong, "open")]
        assert results(program, "balances") == (3, ["breaks"])
        sandbox.control.balance_error("BTC", clear=True)
        until(lambda: breaks(database, "state") == [("cleared",)], what="the proof")
        assert daemon.stop() == 0, daemon.said

    assert breaks(database) == [(*wrong, "cleared")]
