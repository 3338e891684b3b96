"""What reconciliation does by itself: levels, the daily run, after a healed gap, and what the calendar says."""

from datetime import timedelta

import pytest

from etl.cli.reconciling import RunsTold
from etl.controls.questions import Order
from etl.domain.gaps import GapCause
from etl.domain.window import Window
from etl.reconcile import ReconcileJob, Wanted, done
from tests.databases import rows, value
from tests.reconciling import sandbox_at_noon

CAUSES = "SELECT DISTINCT control, cause FROM reporting.reconciliation_run WHERE run_id > :after ORDER BY 1, 2"


@pytest.fixture(scope="module")
def pool():
    yield from sandbox_at_noon(30)


@pytest.fixture
def make(make_world):
    """Return a function that makes a drained feed."""
    return lambda rules="": make_world(rules=rules)


@pytest.fixture
def job(make):
    """The job of a daemon that has had its first, daily run."""
    world = make("balances_every_s = 0")
    world.open()
    job = ReconcileJob(world.app, world.feed)
    job.controls = world.controls  # which drain here, where no daemon polls
    return world, job


def causes_of(world, job):
    """Let the job look once more; return the controls that it ran, and why."""
    after = value(world.database, "SELECT coalesce(max(run_id), 0) FROM reporting.reconciliation_run")
    job()
    return rows(world.database, CAUSES, after=after)


def test_positions_of_users_are_compared_where_the_settings_say_so(make):
    world = make('level = "USER"')
    world.open()
    trader = value(world.database, "SELECT min(trader) FROM reporting.trade WHERE trader <> ''")
    key = {"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": "2030-07-22", "user": trader}
    world.execute(**key)
    agreed = world.results()

    world.control.position_error("EUR/USD", "2030-07-22", base="5", level="USER", value=trader)

    assert (agreed, world.results()) == ({"agreed"}, {"agreed", "breaks"})
    assert world.breaks() == [("position", f"USER {trader} EUR/USD 2030-07-22", "open")]


def test_a_fixing_that_is_overdue_is_a_break_until_its_value_date(make):
    world = make()
    ndf = {"tradeType": "NDF", "symbol": "USD/BRL", "fixingDate": "2030-07-01", "valueDate": "2030-07-03"}
    world.execute(**ndf)
    world.drained()

    world.controls.overdue()
    ours = [each for each in world.breaks("kind, key, state") if each[1] == "USD/BRL 2030-07-01"]
    world.clock.ahead += timedelta(days=3)
    world.drained()
    world.controls.overdue()

    assert ours == [("fixing_overdue", "USD/BRL 2030-07-01", "open")]
    assert ("fixing_overdue", "USD/BRL 2030-07-01", "cleared") in world.breaks("kind, key, state")


def test_a_break_that_booking_opened_is_weighed_too(make):
    world = make()
    trade_id = world.execute(symbol="EUR/USD", tradeType="Outright", currency="EUR", dealtAmount=2_000_000)
    world.drained()
    world.control.mutate(trade_id, dealtAmount=3_000_000, again=True)
    world.drained()
    unweighed = world.breaks("kind, severity")

    world.controls.overdue()

    assert unweighed == [("conflict", None)]
    assert world.breaks("severity, reporting_amount > 0") == [("high", True)]


def test_a_silent_feed_is_a_break_until_the_queue_is_proven_empty_again(make):
    world = make()
    world.clock.ahead += timedelta(minutes=10)

    world.controls.overdue()
    silent = world.breaks("kind, key, state")
    world.drained()
    world.controls.overdue()

    stale = ("stale_feed", "main")
    assert (*stale, "open") in silent
    assert (*stale, "cleared") in world.breaks("kind, key, state")


def test_a_pause_clears_nothing_about_a_silent_feed(make):
    world = make()
    world.clock.ahead += timedelta(minutes=10)
    world.controls.overdue()
    with world.app.open_work() as work:
        work.feeds.pause(world.feed.feed_id, at=world.clock.now(), by="olga", reason="maintenance")
        work.commit()

    world.controls.overdue()

    assert ("stale_feed", "main", "open") in world.breaks("kind, key, state")


def test_the_daily_run_compares_all_of_it_once_a_day(job):
    world, run = job

    assert causes_of(world, run) == [("fills", "daily"), ("positions", "daily")]
    assert value(world.database, "SELECT count(*) > 1 FROM reporting.reconciliation_run WHERE cause = 'daily'")
    assert causes_of(world, run) == []

    world.clock.ahead += timedelta(hours=9, minutes=15)  # 17:15 in New York

    assert causes_of(world, run) == [("fills", "daily"), ("positions", "daily")]


def test_everything_is_compared_after_a_gap_has_healed(job):
    world, run = job
    causes_of(world, run)
    at = world.clock.now()
    with world.app.open_work() as work:
        day = Window.of(at.date(), at.date())
        work.gaps.open(world.feed.feed_id, GapCause.OPERATOR, day, at=at, not_before=at, evidence={})
        work.commit()
    waiting = causes_of(world, run)

    world.heal()

    assert (waiting, causes_of(world, run)) == ([], [("fills", "healed"), ("positions", "healed")])
    assert causes_of(world, run) == []


def test_the_break_of_a_legal_entity_goes_with_the_run_after_the_healed_gap(job):
    world, run = job
    causes_of(world, run)
    key = {"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": "2030-07-22"}
    lost = world.execute(**key, customerAccount=f"{world.user.org}LE1")
    world.control.hide(lost)
    outcomes = world.positions(entities=True)
    world.controls.investigate(outcomes)
    assert {(key.split()[0], state) for _, key, state in world.breaks()} >= {
        ("ORG", "investigating"), ("LE", "investigating"),
    }  # fmt: skip

    world.control.hide(lost, hidden=False)
    world.heal()

    assert ("positions", "healed") in causes_of(world, run)
    assert {state for kind, _, state in world.breaks() if kind == "position"} == {"cleared"}


def test_who_waits_is_told_each_run_as_it_ends_and_what_is_under_way(job, monkeypatch, capsys):
    world, _ = job
    told = RunsTold(world.app, world.feed)
    (outcome,) = world.positions()

    told()
    told()
    ended = [line for line in capsys.readouterr().err.splitlines() if line.startswith("feed main")]
    monkeypatch.setattr("etl.cli.reconciling.SAY_EVERY_S", 0)
    world.before_drain[:] = [told]
    world.positions()
    meanwhile = capsys.readouterr().err

    assert ended == [f"feed main: positions ORG {world.user.org}: agreed (run {outcome.run_id})"]
    assert f"s: under way: positions ORG {world.user.org} (run {outcome.run_id + 1})" in meanwhile


def test_a_subject_that_was_compared_again_is_told_once_as_it_was_last(make):
    world = make()
    trade = world.execute(symbol="EUR/USD", tradeType="Outright", valueDate="2030-07-22")
    world.drained()
    world.open()
    world.control.cancel(trade)

    outcomes = done(world.controls, Wanted("positions"), Order("operator", "olga", "a test"))

    of_org = [each.result for each in outcomes if each.subject == f"positions ORG {world.user.org}"]
    assert of_org == ["agreed"]


def test_positions_are_compared_again_when_their_time_has_come(job):
    world, run = job
    causes_of(world, run)
    world.clock.ahead += timedelta(minutes=16)

    assert causes_of(world, run) == [("fills", "interval"), ("positions", "interval")]
