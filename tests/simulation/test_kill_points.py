"""Kill -9 at named points of a page's way, and of a resend's; then restart, heal, and ask the oracle."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from etl.sandbox.faults import KINDS, MEANWHILE
from tests.acceptance.program import booked, until
from tests.simulation.crash import recovered
from tests.simulation.holding import HoldingWire, commits_wait
from tests.simulation.points import HELD, LONG_S, NEW, POINTS, Stage
from tests.simulation.troubles import TROUBLES
from tests.simulation.worlds import World, patiently, world


def rest(here: World) -> None:
    """Wait until the trades of the start are in the book and the queue is proven empty."""
    until(lambda: len(booked(here.database)) == HELD, what="the first trades")
    until(lambda: here.value("SELECT last_empty_at IS NOT NULL FROM stp.current_poll"), what="the empty queue")


@pytest.fixture
def stage(tmp_path, database_url) -> Iterator[Stage]:
    with ExitStack() as used:
        wire = used.enter_context(HoldingWire())
        here = used.enter_context(
            world(
                tmp_path, database_url, url=wire.url, trades=HELD, days_back=1, history_days=1, ghost_s=0.5,
                eligible_after_s=0.2, read_timeout_s=20, resend_days_at_once=31,
            )
        )  # fmt: skip
        wire.behind = here.sandbox.url
        yield Stage(here, wire)


@pytest.mark.parametrize("name", POINTS)
def test_law_1_a_kill_at_this_point_loses_nothing(stage, name):
    walk, lost = POINTS[name]
    with stage.here.daemon() as daemon:
        rest(stage.here)
        with walk(stage):
            daemon.kill()
    stage.wire.release()
    stage.here.sandbox.control.clear_faults()

    _, findings = stage.here.heal_and_judge()

    assert findings.holds, str(findings)
    assert (findings.handed_out, findings.booked) == (HELD + NEW, HELD + NEW)
    assert recovered(stage.here, stage.here.sandbox.control.handed_out()) == lost


def test_law_1_a_second_kill_while_the_doubt_of_the_first_is_covered_loses_nothing(stage):
    with stage.here.daemon() as daemon:
        rest(stage.here)
        stage.here.sandbox.control.plan({"fault": "delay", "delay_s": LONG_S, "non_empty": True})
        stage.done()
        stage.handed_out()
        daemon.kill()
    with commits_wait(stage.here, "INSERT ON stp.gap", kept=False), stage.here.daemon() as again:
        stage.stands_at("COMMIT")
        again.kill()

    _, findings = stage.here.heal_and_judge()

    assert findings.holds, str(findings)
    assert (findings.handed_out, findings.booked) == (HELD + NEW, HELD + NEW)


def pairs() -> Iterator[Any]:
    """Yield every fault with every point; `once` marks one point for each fault."""
    names = list(POINTS)
    for number, fault in enumerate(TROUBLES):
        for name in names:
            once = [pytest.mark.once] if name == names[number % len(names)] else []
            yield pytest.param(name, fault, marks=[pytest.mark.nightly, pytest.mark.matrix, *once])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "fault"), list(pairs()))
def test_law_1_a_kill_at_this_point_after_this_fault_loses_nothing(stage, name, fault):
    walk, _ = POINTS[name]
    with stage.here.daemon() as daemon:
        rest(stage.here)
        gone = TROUBLES[fault](stage)
        stage.begins()
        with walk(stage):
            daemon.kill()
    stage.wire.release()
    patiently(stage.here.sandbox.control.clear_faults)

    _, findings = stage.here.heal_and_judge()

    assert findings.holds, str(findings)
    assert findings.handed_out == len(stage.here.sandbox.control.trades()) - gone


def test_every_fault_of_the_sandbox_is_met_before_a_kill_at_each_point():
    def plain(kind: str) -> str:
        return kind.partition(":")[0].removesuffix("_before").removesuffix("_after")

    met, once = {plain(kind) for kind in TROUBLES}, [each for each in pairs() if pytest.mark.once in each.marks]

    assert {plain(kind) for kind in KINDS - MEANWHILE} - met == set()
    assert len(list(pairs())) == len(TROUBLES) * len(POINTS)
    assert [each.values[1] for each in once] == list(TROUBLES)
    assert {each.values[0] for each in once} == set(POINTS)
