"""The daemon killed at random instants while trades flow and faults fire; and an oracle that can fail."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from tests.simulation.crash import KILLS_A_WORLD, QUEUE, RESEND, Trouble, crash, play
from tests.simulation.oracle import Findings, compare
from tests.simulation.worlds import World, asker, world

SOME = "(SELECT trade_id FROM stp.trade ORDER BY trade_id LIMIT 1)"


@pytest.mark.parametrize("seed", [1, 2])
def test_law_1_killed_at_random_while_faults_fire_nothing_is_lost(tmp_path, database_url, seed):
    ended = crash(tmp_path, database_url, seed=seed, kills=6, days_at_once=31)

    assert ended.findings.holds, f"{ended.findings}\nagain: make crash RUNS=6 SEED={seed}"
    assert ended.kills == 6
    assert ended.faults.total() > 0


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 110))
def test_law_1_after_250_kills_nothing_is_lost(postgres, seed):
    ended = play(postgres, seed, KILLS_A_WORLD)

    assert ended.findings.holds


def test_the_same_seed_plans_the_same_faults_and_every_kind_comes(draw_of):
    first, again = ([Trouble(draw_of(7)).next() for _ in range(1)] for _ in range(2))
    trouble = Trouble(draw_of(7))
    played = [fault for _ in range(80) for fault in trouble.next()]

    assert first == again
    assert {each["fault"] for each in played if each["endpoint"] == "messages"} >= set(QUEUE)
    assert {each["fault"] for each in played if each["endpoint"] == "resend"} >= set(RESEND)
