"""The daemon killed at random instants while trades flow and faults fire; and an oracle that can fail."""

from collections.abc import Iterator
from random import Random

import pytest
from sqlalchemy import text

from tests.simulation.crash import FEW_KILLS, KILLS_A_WORLD, QUEUE, RESEND, Trouble, crash, play
from tests.simulation.oracle import Findings, compare
from tests.simulation.worlds import World, asker, world

ONE = "trade_id = (SELECT min(trade_id) FROM stp.trade)"
AS_SUPERUSER = "SET LOCAL session_replication_role = replica"  # no trigger, no foreign key


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_law_1_killed_at_random_while_faults_fire_nothing_is_lost(tmp_path, database_url, seed):
    ended = crash(tmp_path, database_url, seed=seed, kills=FEW_KILLS)

    assert ended.findings.holds, f"{ended.findings}\nagain: make crash RUNS={FEW_KILLS} SEED={seed}"
    assert ended.kills == FEW_KILLS
    assert ended.faults.total() > 0
    assert ended.doubts != []


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 140))
def test_law_1_after_1000_kills_nothing_is_lost(postgres, seed):
    assert play(postgres, seed, KILLS_A_WORLD).findings.holds


def test_a_seed_plans_the_same_faults_again_and_every_kind_comes():
    played, again = ([each for _ in range(90) for each in trouble.next()] for trouble in (trouble_of(7), trouble_of(7)))

    assert played == again
    assert played != [each for _ in range(90) for each in trouble_of(8).next()]
    assert {each["fault"] for each in played if each["endpoint"] == "messages"} >= set(QUEUE)
    assert {each["fault"] for each in played if each["endpoint"] == "resend"} >= set(RESEND)


def test_a_body_that_nobody_can_read_comes_once_in_a_world():
    trouble = trouble_of(3)
    faults = [each for _ in range(200) for each in trouble.next() if each["endpoint"] == "messages"]
    played = [each["fault"].removesuffix("_before") for each in faults]

    assert [played.count(body) for body in ("html", "object", "null", "wrapped")] == [1, 1, 1, 1]


def trouble_of(seed: int) -> Trouble:
    return Trouble(Random(seed))


@pytest.fixture(scope="module")
def healed(postgres, tmp_path_factory) -> Iterator[World]:
    """A small world, all of it booked."""
    with (
        postgres.database() as url,
        world(tmp_path_factory.mktemp("healed"), url, trades=60) as here,
    ):
        _, findings = here.heal_and_judge()
        assert findings.holds, str(findings)
        yield here


def found_after(here: World, *deeds: str) -> Findings:
    """Judge the book after some harm is done to it, which is undone afterwards."""
    control = here.sandbox.control
    with here.database.connect() as connection:
        for deed in (AS_SUPERUSER, *deeds):
            connection.execute(text(deed))
        found = compare(control.handed_out(), control.trades(), asker(connection))
        connection.rollback()
    return found


def test_the_oracle_names_a_trade_that_is_not_in_the_book(healed):
    trade_id = healed.value("SELECT min(trade_id) FROM stp.trade")

    found = found_after(healed, f"DELETE FROM stp.trade WHERE {ONE}")

    assert found.lost == [trade_id]
    assert not found.holds
    assert f"lost: 1 trades: {trade_id}" in str(found)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (f"UPDATE stp.trade_leg SET dealt_amount = dealt_amount + 0.01 WHERE {ONE}", "and the vendor said"),
        (
            f"UPDATE stp.trade_leg SET dealt_amount = -dealt_amount, settled_amount = -settled_amount WHERE {ONE}",
            "and the vendor said",
        ),
        (f"UPDATE stp.trade_leg SET settled_amount = settled_amount * 1.0 WHERE {ONE}", "and the vendor said"),
        (f"UPDATE stp.trade_leg SET base_amount = base_amount + 1 WHERE {ONE}", "its legs add up to"),
        ("UPDATE stp.position SET term_amount = term_amount + 1", "its legs add up to"),
        (f"UPDATE stp.trade SET trade_id = 'FXI0' WHERE {ONE}", "lost: 1 trades"),
        ("UPDATE stp.current_poll SET outcome = NULL", "was left open"),
        (
            "INSERT INTO stp.unbooked (feed_id, poll_id, opened_at, drain_id, length)"
            " SELECT feed_id, poll_id, opened_at, drain_id, 1 FROM stp.current_poll",
            "is landed and not booked",
        ),
        ("UPDATE stp.poll SET outcome = 'in_doubt'", "opened no gap"),
        (
            "INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state,"
            " evidence, recovered, already_known) SELECT id, 'in_doubt', '2026-03-02', '2026-03-02', now(), now(),"
            " now(), 'escalated', '[]', 0, 0 FROM stp.feed",
            "is escalated",
        ),
    ],
)
def test_the_oracle_sees_harm_of_every_kind(healed, deed, said):
    found = found_after(healed, deed)

    assert not found.holds
    assert said in str(found)


def test_the_oracle_does_not_hold_where_nothing_was_handed_out():
    assert not compare([], [], lambda _question: []).holds
