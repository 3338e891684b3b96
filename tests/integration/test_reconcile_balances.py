"""Balances against the sandbox's own: what becomes a break and what does not, in every form of A15 to A18."""

from dataclasses import asdict
from decimal import Decimal

import pytest

from etl.sandbox.variants import Variants
from tests.databases import rows
from tests.reconciling import World, sandbox_at_noon

ASSETS = 'balance_assets = ["BTC", "USD", "JPY"]\n'
NOW = "settled_at_execution = []\n"


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(60)


@pytest.fixture
def made(pool, database, tmp_path):
    """Make the world of a feed with these settings."""
    sandbox, users = pool
    worlds = []

    def make(feed=ASSETS, rules=""):
        worlds.append(World(sandbox, next(users), database, tmp_path, feed=feed, rules=rules))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
        world.control.post("balance-error", {"clear": True, "org": world.user.org})
    sandbox.control.clear_faults()
    sandbox.control.variant(**asdict(Variants()))


@pytest.fixture
def world(made):
    """A feed after go-live."""
    found = made()
    opened(found)
    return found


def opened(world):
    assert {each.result for each in world.balances(opening=True)} == {"opened"}


def result(world, **more):
    (outcome,) = world.balances(**more)
    return outcome.result


def wrong(world, asset="BTC", **more):
    world.control.balance_error(asset, org=world.user.org, **more)


def moved(world, kind, asset, amount, **more):
    return getattr(world.control, kind)(asset, Decimal(amount), org=world.user.org, **more)


def figures(world, columns="asset, result, theirs - ours"):
    return rows(world.database, f"SELECT {columns} FROM reporting.balance ORDER BY level, account, asset")


def test_before_go_live_nothing_is_a_break(made):
    world = made()
    wrong(world, amount="5")

    assert result(world) == "no_opening"
    assert world.breaks() == []
    assert {each[1] for each in figures(world)} == {"no_opening"}


def test_after_go_live_deposit_trade_and_withdrawal_with_fee_are_no_break(world):
    moved(world, "deposit", "BTC", "1.00000001")
    moved(world, "withdrawal", "BTC", "0.5", fee="0.0001")
    world.execute(symbol="BTC/USD", tradeType="Spot")

    assert result(world) == "agreed"
    ((deposits, withdrawals, fees, legs),) = figures(world, "deposits, withdrawals, fees, legs")[:1]
    assert (deposits, withdrawals, fees) == (Decimal("1.00000001"), Decimal("0.5"), Decimal("0.0001"))
    assert legs != 0
    run = rows(
        world.database, "SELECT compared, agreed, breaks, jsonb_array_length(cited), basis ? 'drained'"
        " FROM reporting.reconciliation_run ORDER BY run_id DESC LIMIT 1",
    )  # fmt: skip
    assert run == [(3, 3, 0, 3, True)]


def test_a_wrong_figure_is_one_break_with_the_exact_difference_until_it_is_right_again(world):
    wrong(world, amount="-0.00000003")

    assert result(world) == "breaks"
    assert world.breaks("kind, key, difference, currency, state, level") == [
        ("balance", f"ACCOUNT {world.user.org} BTC", Decimal("-0.00000003"), "BTC", "open", "ACCOUNT")
    ]

    wrong(world, amount="0.00000003")
    assert result(world) == "agreed"
    assert world.breaks("state, closed_by, reason") == [("cleared", "stp-etl", "both sides agree")]
