"""Balances against the sandbox's own: what becomes a break and what does not, in every form of A15 to A18."""

from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from functools import partial

import msgspec
import pytest

from etl.controls.balances import BalanceControl
from etl.controls.questions import Order
from etl.reconcile import reconciled
from etl.sandbox.variants import Variants
from etl.store.repositories.balances import Adjustment
from tests.databases import rows, value
from tests.reconciling import World, sandbox_at_noon

ASSETS = 'balance_assets = ["BTC", "USD", "JPY"]\n'
AT_EXECUTION = 'balance_assets = ["USD"]\nsettled_at_execution = ["USD"]\n'


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(90)


@pytest.fixture
def made(make_world):
    """Make the world of a feed with these settings."""
    return lambda feed=ASSETS, rules="": make_world(feed=feed, rules=rules)


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


def test_a_deposit_counts_once_it_is_completed_also_when_it_waited_since_before_the_opening(made):
    world = made()
    deposit = moved(world, "deposit", "BTC", "3", status="PENDING")
    opened(world)
    assert result(world) == "agreed"

    world.control.transfer(deposit, "COMPLETED", org=world.user.org)
    failed = moved(world, "withdrawal", "BTC", "1", fee="0.1", status="PENDING")
    assert result(world) == "agreed"
    world.control.transfer(failed, "FAILED", org=world.user.org)
    assert result(world) == "agreed"
    assert figures(world, "asset, deposits, withdrawals")[0] == ("BTC", 3, 0)


def test_a_trade_done_while_the_opening_is_taken_counts_once(made):
    world = made()
    nothing = lambda: None  # noqa: E731
    world.before_drain[:] = [nothing] * 3 + [lambda: world.execute(symbol="BTC/USD", tradeType="Spot")]
    opened(world)

    assert result(world) == "agreed"
    looks = "SELECT (basis ->> 'looks')::int FROM reporting.reconciliation_run ORDER BY run_id LIMIT 1"
    assert value(world.database, looks) == 4


def test_a_look_at_which_anything_moved_opens_nothing_though_all_stood_still_before(made):
    world = made('balance_assets = ["BTC", "ETH"]\n')
    done = {
        number: partial(world.execute, symbol=symbol, tradeType="Spot")
        for number, symbol in ((3, "BTC/USD"), (7, "ETH/USD"))  # after the questions of the second look and the fourth
    }
    world.before_drain[:] = [done.get(number, lambda: None) for number in range(8)]

    assert result(world, opening=True) == "unconfirmed"
    opened(world)
    assert result(world) == "agreed"


def test_what_was_completed_before_the_opening_is_in_its_figure(made):
    world = made()
    moved(world, "deposit", "USD", "1000.55")
    moved(world, "withdrawal", "USD", "10", fee="1.25")
    opened(world)

    assert result(world) == "agreed"


@pytest.mark.nightly
def test_a_reversed_transfer_no_longer_counts(world):
    deposit = moved(world, "deposit", "USD", "77")
    assert result(world) == "agreed"

    world.control.transfer(deposit, "FAILED", org=world.user.org)

    assert result(world) == "agreed"


def test_legs_count_from_their_value_date_on(database, tmp_path):
    with contextmanager(sandbox_at_noon)(1) as (sandbox, users):
        world = World(sandbox, next(users), database, tmp_path, feed=ASSETS)
        try:
            opened(world)
            world.execute(symbol="USD/JPY", tradeType="Spot")
            assert result(world) == "agreed"
            assert dict(figures(world, "asset, legs"))["JPY"] == 0

            for day in range(1, 7):
                world.clock.ahead += timedelta(days=1)
                sandbox.control.today(advance_s=86400)
                assert result(world) == "agreed", (day, world.breaks("key, ours, theirs"))
            assert dict(figures(world, "asset, legs"))["JPY"] != 0
        finally:
            world.close()


def test_a_cancelled_trade_is_a_break_until_the_vendors_word_about_it_is_adopted(world):
    trade = world.execute(symbol="BTC/USD", tradeType="Spot")
    assert result(world) == "agreed"
    world.control.cancel(trade)

    assert result(world) == "breaks"
    world.fills()

    assert result(world) == "agreed"
    assert {state for (kind, state) in world.breaks("kind, state") if kind == "balance"} == {"cleared"}


def test_an_asset_that_settles_at_execution_moves_before_its_value_date(made):
    world = made(AT_EXECUTION)
    opened(world)
    trade = world.execute(symbol="EUR/USD", tradeType="Spot")
    world.drained()
    amount = value(
        world.database, "SELECT sum(term_amount) FROM reporting.trade_leg WHERE trade_id = :trade", trade=trade
    )

    assert result(world) == "breaks"  # this vendor settles on the value date: the reading is the wrong one, and shows
    assert world.breaks("difference") == [(-amount,)]
    wrong(world, "USD", amount=str(amount))
    assert result(world) == "agreed"


def test_a_change_of_what_settles_at_execution_asks_for_a_new_opening(made):
    world = made('balance_assets = ["USD"]\n')
    opened(world)
    changed = reconciled(world.app.settings, world.feed)
    changed = msgspec.structs.replace(changed, settled_at_execution=("USD",))
    control = BalanceControl(
        changed, world.feed.vendor, world.app.open_work, clock=world.clock, drain=world.drained,
        epoch=lambda: world.feed.lease.epoch, stop=world.app.stop,
    )  # fmt: skip

    outcome = control.run("ACCOUNT", rules=changed.rules, order=Order())

    assert (outcome.result, "USD: say where it starts" in outcome.detail) == ("no_opening", True)


def test_a_trade_that_was_lost_before_the_opening_and_comes_later_counts_once(made):
    world = made()
    before = world.clock.now() - timedelta(seconds=2)  # the vendor's Date, which decides, has no fractions
    stamp = f"{before:%Y-%m-%d %H:%M:%S},000 +0000"
    lost = world.execute(symbol="BTC/USD", tradeType="Spot", executionTime=stamp)
    world.control.hide(lost)
    opened(world)
    assert result(world) == "agreed"

    world.control.hide(lost, hidden=False)
    world.drained()

    assert value(world.database, "SELECT count(*) FROM reporting.trade WHERE trade_id = :lost", lost=lost) == 1
    assert result(world) == "agreed"


def test_an_adjustment_moves_our_figure_from_its_instant_on(world):
    wrong(world, "USD", amount="-12.50")
    assert result(world) == "breaks"

    def adjust(amount, at):
        with world.app.open_work() as work:
            work.balances.adjust(
                world.feed.feed_id, Adjustment("", "USD", Decimal(amount), at, world.clock.now(), "olga", "bank fee")
            )
            work.commit()

    adjust("-12.50", world.clock.now())
    adjust("99", world.clock.now() - timedelta(days=1))  # the opening has it already

    assert result(world) == "agreed"
    assert world.breaks("state") == [("cleared",)]
    assert dict(figures(world, "asset, adjustments"))["USD"] == Decimal("-12.50")


@pytest.mark.nightly
def test_a_tolerance_lets_a_difference_pass(made):
    world = made(rules='[reconciliation.tolerance_units]\n"BALANCE:USD" = 100\n')
    opened(world)
    wrong(world, "USD", amount="1.00")
    inside = result(world)
    wrong(world, "USD", amount="0.01")

    assert (inside, result(world)) == ("agreed", "breaks")


NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize(
    "endpoint", ["balances", *(pytest.param(each, marks=NIGHTLY) for each in ("deposits", "withdrawals"))]
)
def test_law_10_a_question_that_fails_is_never_a_balance(world, endpoint):
    for fault in ("500", "404", "429", "object", "html", "null", "cut_body", "close_before"):
        world.control.plan({"fault": fault, "endpoint": endpoint, "user": world.user.name})

        assert result(world) == "query_failed", fault
        assert world.breaks() == [("query_failed", f"balances ACCOUNT {world.user.org}", "open")]

        assert result(world) == "agreed"
        assert world.breaks("state, reason") == [("cleared", "the same question was answered")]


@pytest.mark.nightly
def test_law_10_a_question_without_an_answer_in_time_is_no_answer(made):
    world = made(ASSETS + "read_timeout_s = 0.3\n")
    opened(world)
    world.control.plan({"fault": "headers_then_silence", "endpoint": "balances", "user": world.user.name})

    assert result(world) == "query_failed"


def test_each_form_of_the_vendors_balances_is_read_alike(made):
    world = made('balance_assets = ["BTC", "USD", "JPY", "WTI"]\n')  # of WTI the vendor's accounts hold nothing
    opened(world)
    for variant in (
        {"balances_numbers": "string"}, {"balances_shape": "object"}, {"balances_name": "balance"},
        {"balances_zero": "left_out"}, {"assets_precision": "absent"},
    ):  # fmt: skip
        world.control.variant(**asdict(Variants()) | variant)
        moved(world, "deposit", "BTC", "0.12345678")
        moved(world, "withdrawal", "USD", "0.01", fee="0.02")

        assert result(world) == "agreed", (variant, world.breaks("key, ours, theirs"))


@pytest.mark.nightly
def test_an_asset_without_a_minor_unit_is_compared_by_every_digit(made):
    world = made('balance_assets = ["BTC"]\n')
    opened(world)
    world.control.variant(assets_precision="absent")
    wrong(world, amount="0.0000000000001")

    # the vendor's asset details are kept for a day: until then the digits that it told before count
    assert result(world) == "agreed"
    world.clock.ahead += timedelta(hours=25)
    assert result(world) == "breaks"
    assert world.breaks("difference") == [(Decimal("0.0000000000001"),)]


def test_a_row_that_cannot_be_relied_on_leaves_its_asset_open_and_the_others_compared(world):
    for error, words in (
        ({"text": "NaN"}, "NaN"), ({"text": '"NaN"'}, "NaN"), ({"text": "null"}, "None"), ({"text": "1e999"}, "1e999"),
        ({"omit": "total"}, "total is absent"), ({"twice": True}, "stands 2 times"),
    ):  # fmt: skip
        wrong(world, "BTC", **error)
        wrong(world, "USD", amount="5")

        assert result(world) == "breaks", error
        kinds = dict(world.breaks("kind, comment"))
        assert kinds.keys() == {"balance", "query_failed"}
        assert words in kinds["query_failed"]
        assert figures(world, "asset, result") == [("BTC", "unconfirmed"), ("JPY", "agreed"), ("USD", "break")]

        wrong(world, clear=True)
        assert result(world) == "agreed"
        assert {each for (each,) in world.breaks("state")} == {"cleared"}


def test_a_row_without_its_asset_may_be_of_any_asset_that_is_not_named(world):
    wrong(world, "BTC", omit="asset")

    assert result(world) == "unconfirmed"
    assert figures(world, "asset, result") == [("BTC", "unconfirmed"), ("JPY", "agreed"), ("USD", "agreed")]


def test_a_faulty_row_leaves_its_asset_without_an_opening_and_the_others_are_opened(made):
    world = made()
    wrong(world, "BTC", text="NaN")

    (opening,) = world.balances(opening=True)

    said = "BTC: the vendor's words about it cannot be relied on; ask the vendor, then open again"
    assert (opening.result, opening.detail) == ("unconfirmed", f"opened: JPY, USD; not opened: {said}")
    assert result(world) == "no_opening"
    assert figures(world, "asset, result") == [("BTC", "no_opening"), ("JPY", "agreed"), ("USD", "agreed")]


def test_a_brokers_asset_is_opened_whole_or_not_at_all(made):
    world = made(ASSETS + "broker_balances = true\n")
    wrong(world, "BTC", text="NaN", account=f"{world.user.org}LE1")

    account, broker = world.balances(opening=True)

    assert (account.result, broker.result) == ("opened", "unconfirmed")
    assert broker.detail.startswith(f"opened: JPY, USD; not opened: {world.user.org}/{world.user.org}LE1 BTC: ")
    opened_of = "SELECT DISTINCT asset FROM stp.opening_balance JOIN stp.opening o ON o.id = opening_id"
    assert rows(world.database, f"{opened_of} WHERE o.level = 'BROKER' ORDER BY 1") == [("JPY",), ("USD",)]


def test_a_brokers_account_without_a_name_opens_nothing(made):
    world = made(ASSETS + "broker_balances = true\n")
    wrong(world, "BTC", omit="account", account=f"{world.user.org}LE1")

    assert [each.result for each in world.balances(opening=True)] == ["opened", "unconfirmed"]


@pytest.mark.nightly
def test_a_transfer_that_lacks_a_field_leaves_its_asset_open(world):
    moved(world, "withdrawal", "BTC", "1", fee="0.1")
    for field in ("id", "amount", "fee", "status", "time"):
        world.control.variant(transfers_omit=field)

        assert result(world) == "unconfirmed", field
        assert figures(world, "asset, result") == [("BTC", "unconfirmed"), ("JPY", "agreed"), ("USD", "agreed")]

        world.control.variant(transfers_omit="")
        assert result(world) == "agreed"

    ((kind, state, reopened),) = world.breaks("kind, state, reopened")
    assert (kind, state, reopened) == ("query_failed", "cleared", 4)


def test_a_status_that_nobody_knows_moves_nothing_and_is_told(world):
    held = moved(world, "deposit", "BTC", "1", status="HELD")

    assert result(world) == "agreed"
    assert world.breaks("kind, state") == [("query_failed", "open")]
    assert f"deposit {held} of BTC has status HELD: ignored" in world.breaks("comment")[0][0]

    world.control.transfer(held, "COMPLETED", org=world.user.org)
    assert result(world) == "agreed"
    assert world.breaks("kind, state") == [("query_failed", "cleared")]


def test_an_answer_that_names_nothing_is_asked_twice_and_told_as_such(world):
    world.control.variant(balances_shape="empty_array")

    assert result(world) == "breaks"
    assert {kind for (kind,) in world.breaks("kind")} == {"balance"}
    words = {each for (each,) in world.breaks("comment")}
    assert all("named none of the assets, 2 times, while 3 are expected" in each for each in words)


def test_an_object_without_rows_is_no_answer(world):
    world.control.variant(balances_shape="empty_object")

    assert result(world) == "query_failed"


def test_an_asset_that_nobody_knows_is_never_said_to_agree(made):
    world = made('balance_assets = ["BTC", "BTCX"]\n')

    assert result(world, opening=True) == "unconfirmed"
    assert "nobody knows BTCX" in world.breaks("comment")[0][0]


def test_an_asset_that_nobody_knows_keeps_no_other_from_being_opened_and_compared(made):
    world = made('balance_assets = ["USD", "BTC", "BTCX"]\n')

    (opening,) = world.balances(opening=True)
    (after,) = world.balances()

    why = "BTCX: neither the vendor nor the book knows it; take it out of balance_assets"
    assert (opening.result, opening.detail) == ("unconfirmed", f"opened: BTC, USD; not opened: {why}")
    assert (after.result, after.detail) == ("unconfirmed", f"could not be told: {why}")
    assert figures(world, "asset, result") == [("BTC", "agreed"), ("BTCX", "unconfirmed"), ("USD", "agreed")]


def test_a_trade_done_between_drain_and_question_is_no_break(world):
    world.control.plan({"fault": "execute", "endpoint": "balances", "user": world.user.name, "times": 3, "count": 20})

    assert result(world) == "agreed"
    assert world.breaks() == []
    assert [each[1:] for each in figures(world)] == [("agreed", 0)] * 3


def test_an_accepted_break_stays_quiet_while_the_balance_moves_and_the_difference_does_not(world):
    wrong(world, amount="5")
    result(world)
    until = world.clock.now() + timedelta(days=1)
    with world.app.open_work() as work:
        work.breaks.change(1, state="accepted", accepted_until=until)
        work.commit()
    moved(world, "deposit", "BTC", "3")

    assert result(world) == "breaks"
    assert world.breaks("state, difference, reopened") == [("accepted", 5, 0)]
    wrong(world, amount="1")
    assert result(world) == "breaks"
    assert world.breaks("state, difference, reopened") == [("open", 6, 1)]


def test_a_figure_that_agreed_is_shown_as_it_agreed_though_it_moves_on(world):
    wrong(world, "JPY", amount="1")
    # at the second look trades are done before the question and after it
    busy = {"fault": "execute", "endpoint": "balances", "user": world.user.name, "nth": 2, "count": 60}
    world.control.plan(busy)
    world.before_drain[:] = [lambda: None] * 3 + [lambda: world.execute(symbol="BTC/USD", tradeType="Spot")]

    assert result(world) == "breaks"
    shown = {asset: told for asset, *told in figures(world)}
    assert (shown["BTC"], shown["USD"], shown["JPY"]) == (["agreed", 0], ["agreed", 0], ["break", 1])


def test_a_deposit_completed_between_the_two_questions_is_no_break(world):
    world.before_drain[:] = [lambda: None, lambda: moved(world, "deposit", "BTC", "1")]
    wrong(world, amount="5")

    assert result(world) == "breaks"
    assert world.breaks("difference") == [(5,)]


def test_near_the_end_of_the_business_day_only_the_timing_is_told(world):
    wrong(world, amount="5")
    world.clock.ahead += timedelta(hours=8, minutes=55)  # 16:55 in New York

    assert result(world) == "timing"
    assert result(world, opening=True) == "timing"
    assert world.breaks() == []


def test_a_known_break_needs_no_second_look_and_the_same_facts_change_nothing(world):
    wrong(world, amount="5")
    result(world)
    result(world)

    assert world.breaks("state, seen") == [("open", 2)]
    looks = rows(
        world.database, "SELECT (basis ->> 'looks')::int FROM reporting.reconciliation_run ORDER BY run_id DESC LIMIT 2"
    )
    assert looks == [(1,), (2,)]
    assert value(world.database, "SELECT count(*) FROM reporting.break_event") == 1


def test_a_brokers_accounts_are_compared_one_by_one(made):
    world = made(ASSETS + "broker_balances = true\n")
    opened(world)
    org = world.user.org
    moved(world, "deposit", "BTC", "2", account=f"{org}LE2")
    world.execute(symbol="BTC/USD", tradeType="Spot")
    assert {each.result for each in world.balances()} == {"agreed"}, world.breaks("key, ours, theirs")

    wrong(world, amount="-1", account=f"{org}LE1")

    assert [each.result for each in world.balances()] == ["agreed", "breaks"]
    assert world.breaks("key, difference") == [(f"BROKER {org} {org}/{org}LE1 BTC", -1)]
    wrong(world, clear=True)
    assert {each.result for each in world.balances()} == {"agreed"}


@pytest.mark.nightly
def test_a_transfer_without_its_account_leaves_the_brokers_accounts_open(made):
    world = made(ASSETS + "broker_balances = true\n")
    opened(world)
    world.control.variant(transfers_omit="account")
    moved(world, "deposit", "BTC", "2")

    assert [each.result for each in world.balances()] == ["agreed", "unconfirmed"]
    assert "does not name the account" in world.breaks("comment")[0][0]


def test_without_balance_assets_nothing_is_asked(made):
    world = made("")
    before = len(world.control.requests())

    assert world.balances() == []
    assert len(world.control.requests()) == before
