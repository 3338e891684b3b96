"""The daemon ends in order whenever it is told to, told twice, and with its database away; by day: `make drill`."""

import pytest

from tests.simulation.drill import drill, own_server


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_daemon_told_to_stop_fifty_times_ends_in_order_each_time(tmp_path):
    with own_server() as server:
        done = drill(tmp_path, server, runs=50, seed=2)

    assert done.holds, "\n".join(done.wrong)
    assert done.in_flight > 0
