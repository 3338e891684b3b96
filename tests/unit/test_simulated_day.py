"""Simulated days: nothing is lost or made in them, and more cores or fewer trades never make anyone wait longer."""

from array import array

import pytest

from tests.benchmarks import asked
from tests.benchmarks.report import between
from tests.benchmarks.simulated_day import (
    MARK,
    Costs,
    arrivals,
    cores_needed,
    lines,
    measured_costs,
    simulated,
    weights,
)

COSTS = Costs(trade_s=0.01, idle_share=0.1, poll_s=60.0, page=50, page_wait_s=0.5)


def test_every_trade_of_a_day_is_handed_out_and_booked_once():
    day = simulated(arrivals(5, 3_000, 60.0, seed=3), 1, COSTS)

    assert (day.handed_out, day.booked) == (15_000, 15_000)


def test_the_parts_of_a_day_are_a_whole_one_at_any_interval():
    assert [sum(weights(interval)) for interval in (1.0, 5.0, 60.0)] == pytest.approx([1.0, 1.0, 1.0])


def test_the_same_seed_is_the_same_day_and_another_one_another():
    one, same, other = (arrivals(2, 500, 60.0, seed=seed) for seed in (1, 1, 2))

    assert one == same != other


def test_one_trade_waits_for_its_poll_and_its_page():
    day = simulated([array("L", [0, 1, 0])], 1, COSTS)

    assert (day.backlog, day.longest_s) == (1, 60.0 + 0.02)  # 0.5 s a page of 50, and 0.01 s of a core


def test_what_the_cores_cannot_take_waits_for_the_next_poll():
    """A core has 54 s between two polls, 6 of 60 being the idle feed's, and a trade takes 0.01."""
    day = simulated([array("L", [6_000])], 1, COSTS._replace(page_wait_s=0.0))

    assert (day.backlog, day.longest_s) == (6_000, 60.0 + 60.0 + 600 * 0.01)
    assert simulated([array("L", [5_400])], 1, COSTS._replace(page_wait_s=0.0)).longest_s == 60.0 + 54.0


def test_two_feeds_share_the_cores():
    alone, shared = (simulated([array("L", [2_000])] * feeds, 1, COSTS) for feeds in (1, 2))

    assert (alone.longest_s, shared.longest_s) == (100.0, 120.0)  # 40 s each, 20 of core before the second one


@pytest.mark.parametrize("feeds", [1, 4])
def test_more_cores_never_wait_longer_and_fewer_trades_neither(feeds):
    came, fewer = (arrivals(feeds, trades, 60.0, seed=1) for trades in (60_000, 30_000))
    days = [simulated(came, cores, COSTS) for cores in (1, 2, 4, 8)]

    assert [day.p99_s for day in days] == sorted((day.p99_s for day in days), reverse=True)
    assert simulated(fewer, 1, COSTS).p99_s < days[0].p99_s
    assert simulated(fewer, 1, COSTS).backlog < days[0].backlog


def test_cores_are_needed_until_the_aim_is_met_and_never_where_the_vendor_is_the_limit():
    came = arrivals(4, 1_000, 60.0, seed=1)
    quick, slow = COSTS._replace(page_wait_s=0.0, trade_s=0.0005), COSTS._replace(page_wait_s=50.0)

    needed = cores_needed(came, quick)

    assert needed is not None
    assert simulated(came, needed, quick).p99_s <= 61.0
    assert cores_needed(came, slow) is None


def test_more_idle_feeds_than_the_cores_carry_are_refused():
    with pytest.raises(ValueError, match="10 idle feeds take all of 1 cores"):
        simulated([array("L", [1])] * 10, 1, COSTS)


def test_the_page_says_simulated_and_shows_the_table_of_the_measured_costs():
    shown = between(asked.SCALING.read_text(), MARK)
    costs = measured_costs(asked.RESULTS)

    assert lines(costs, [(10, 2_000, 2)])[0] == shown[0]
    assert shown[0].startswith("**Simulated**")
    assert len(shown) == len(lines(costs, [])) + 7
