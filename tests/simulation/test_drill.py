"""The daemon ends in order whenever it is told to, told twice, and with its database away."""

import pytest

from tests.simulation.drill import drill, own_server


def test_a_daemon_told_to_stop_at_random_instants_ends_in_order_and_leaves_nothing_in_doubt(tmp_path):
    with own_server() as server:
        done = drill(tmp_path, server, runs=4, seed=1)

    assert done.holds, "\n".join(done.wrong)
    assert (done.runs, done.away) == (4, 1)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_daemon_told_to_stop_fifty_times_ends_in_order_each_time(tmp_path):
    with own_server() as server:
        done = drill(tmp_path, server, runs=50, seed=2)

    assert done.holds, "\n".join(done.wrong)
    assert done.in_flight > 0
