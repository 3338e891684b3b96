"""Hours at ten times the usual volume leave memory, descriptors, connections and tables as they were."""

import pytest

from tests.simulation.soak import LIMITS, Soaked, run


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_hundred_minutes_at_ten_times_the_usual_volume_leave_everything_flat():
    done = run(2)

    assert done.wrong == []
    assert done.trades > 5_000
    assert done.polls > 500


def made_up(**growing):
    done = Soaked()
    for number in range(90):
        done.add({name: 100_000 + number * growing.get(name.split(",")[0].replace(" ", "_"), 0) for name in LIMITS})
    return done


def test_what_is_flat_is_not_said_to_grow():
    assert made_up().growing() == []
    assert made_up(memory=-10).growing() == []


@pytest.mark.parametrize(
    ("name", "a_look"), [("memory", 200), ("descriptors", 0.2), ("connections", 0.2), ("dead_rows", 20_000)]
)
def test_what_grows_a_little_with_each_look_is_found(name, a_look):
    (said,) = made_up(**{name: a_look}).growing()

    assert said.startswith(name.replace("_", " "))
