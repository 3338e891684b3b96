"""Kill -9 at named points of a page's way, and of a resend's; then restart, heal, and ask the oracle.

The daemon is held still from outside, with nothing in the product for it: a request is swallowed on the wire or its
answer delayed by the vendor, a table is locked, or a trigger of the test lets the COMMIT itself wait.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.acceptance.program import booked, count_handed_out, until
from tests.databases import rows
from tests.simulation.crash import OTHER_BODIES, QUEUE, recovered
from tests.simulation.holding import GET_PAGE, POST_RESEND, HoldingWire, commits_wait, locked, waits_at
from tests.simulation.worlds import World, patiently, world

HELD, NEW = 20, 5
LONG_S = 25
BRIEFLY_S = 0.4
FAULTS = (*QUEUE, *OTHER_BODIES)
BY_DAY = ("ghost", "cut_body")
"""Faults met by day, each before a kill at one point; all before a kill at each point: `make matrix`.

The scenarios meet each kind by day, without a kill."""


@dataclass(frozen=True)
class Stage:
    """A world whose daemon runs, and the wire between it and the vendor."""

    here: World
    wire: HoldingWire
    before: list[int] = field(default_factory=lambda: [HELD])
    """How many trades were handed out before the walk to the point began."""

    def done(self) -> None:
        """Let new trades be done at the vendor."""
        self.here.sandbox.control.execute(NEW)

    def lose(self) -> None:
        """Let new trades be done, and their answer get lost: a gap opens."""
        self.here.sandbox.control.plan({"fault": "close_after", "non_empty": True})
        self.done()

    def handed_out(self) -> None:
        wanted = self.before[-1] + NEW
        until(lambda: patiently(lambda: count_handed_out(self.here.sandbox)) >= wanted, what="the hand-out")

    def meet(self, fault: str) -> None:
        """Let new trades be done, and the request that takes them meet a fault."""
        self.here.sandbox.control.plan({"fault": fault, "non_empty": True, "delay_s": BRIEFLY_S})
        self.done()
        self.asked("messages")
        self.before.append(patiently(lambda: count_handed_out(self.here.sandbox)))

    def asked(self, endpoint: str) -> None:
        def met() -> bool:
            requests = patiently(self.here.sandbox.control.requests)
            return any(each["endpoint"] == endpoint and each["fault"] for each in requests)

        until(met, what="the request")

    def stands_at(self, statement: str) -> None:
        until(lambda: waits_at(self.here, statement), what=f"the daemon to wait at {statement}")

    def held(self) -> None:
        until(self.wire.held.is_set, what="the request")


Point = Callable[[Stage], AbstractContextManager[None]]
POINTS: dict[str, tuple[Point, int]] = {}


def point(*, lost: int) -> Callable[[Callable[[Stage], Iterator[None]]], None]:
    """Name a point. The function yields where the daemon stands there, and goes on after the kill.

    `lost`: how many trades that kill, or the fault before it, takes out of the first answer that carried them.
    """

    def named(walk: Callable[[Stage], Iterator[None]]) -> None:
        POINTS[walk.__name__] = contextmanager(walk), lost

    return named


@point(lost=0)
def after_the_intent_before_the_vendor_hears_of_it(stage):
    stage.wire.holds = GET_PAGE
    stage.done()
    stage.held()
    yield


@point(lost=NEW)
def request_sent_and_answer_not_yet_there(stage):
    stage.here.sandbox.control.plan({"fault": "delay", "delay_s": LONG_S, "non_empty": True})
    stage.done()
    stage.handed_out()
    yield


@point(lost=NEW)
def headers_there_and_body_not(stage):
    stage.here.sandbox.control.plan({"fault": "headers_then_silence", "delay_s": LONG_S, "non_empty": True})
    stage.done()
    stage.handed_out()
    yield


@point(lost=NEW)
def bytes_there_before_the_land_commit(stage):
    with locked(stage.here, "stp.answer"):
        stage.done()
        stage.stands_at("%INSERT INTO stp.answer%")
        yield


@point(lost=0)
def inside_the_land_commit_which_is_kept(stage):
    with commits_wait(stage.here, "INSERT ON stp.poll", kept=True):
        stage.done()
        stage.stands_at("COMMIT")
        yield


@point(lost=NEW)
def inside_the_land_commit_which_is_lost(stage):
    with commits_wait(stage.here, "INSERT ON stp.poll", kept=False):
        stage.done()
        stage.stands_at("COMMIT")
        yield


@point(lost=0)
def after_the_land_commit_with_the_next_request_out_and_nothing_booked(stage):
    stage.wire.holds_after_a_page = True
    with locked(stage.here, "stp.trade_version"):
        stage.done()
        stage.held()
        yield


@point(lost=0)
def before_the_book_commit(stage):
    with locked(stage.here, "stp.trade_version"):
        stage.done()
        stage.stands_at("%stp.trade_version%")
        yield


@point(lost=0)
def inside_the_book_commit_which_is_kept(stage):
    with commits_wait(stage.here, "INSERT ON stp.trade", kept=True):
        stage.done()
        stage.stands_at("COMMIT")
        yield


@point(lost=0)
def inside_the_book_commit_which_is_lost(stage):
    with commits_wait(stage.here, "INSERT ON stp.trade", kept=False):
        stage.done()
        stage.stands_at("COMMIT")
        yield


@point(lost=NEW)
def doubt_known_and_inside_the_commit_that_opens_its_gap(stage):
    with commits_wait(stage.here, "INSERT ON stp.gap", kept=False):
        stage.lose()
        stage.stands_at("COMMIT")
        yield


@point(lost=NEW)
def resend_written_and_the_vendor_has_not_heard_of_it(stage):
    stage.wire.holds = POST_RESEND
    stage.lose()
    stage.held()
    yield


@point(lost=NEW)
def resend_done_by_the_vendor_and_its_answer_not_there(stage):
    stage.here.sandbox.control.plan({"fault": "delay", "delay_s": LONG_S, "endpoint": "resend"})
    stage.lose()
    stage.asked("resend")
    yield


@point(lost=NEW)
def inside_the_commit_of_the_acceptance_which_is_kept(stage):
    with commits_wait(stage.here, "UPDATE ON stp.resend", kept=True):
        stage.lose()
        stage.stands_at("COMMIT")
        yield


@point(lost=NEW)
def inside_the_commit_of_the_acceptance_which_is_lost(stage):
    with commits_wait(stage.here, "UPDATE ON stp.resend", kept=False):
        stage.lose()
        stage.stands_at("COMMIT")
        yield


@point(lost=NEW)
def acceptance_stored(stage):
    stage.lose()
    until(lambda: rows(stage.here.database, "SELECT FROM stp.resend WHERE state = 'accepted'"), what="acceptance")
    yield


@point(lost=NEW)
def the_page_that_came_again_is_out(stage):
    stage.here.sandbox.control.plan(
        {"fault": "close_after", "non_empty": True},
        {"fault": "delay", "delay_s": LONG_S, "non_empty": True, "nth": 2},
    )
    stage.done()
    wanted = stage.before[-1] + NEW
    until(lambda: count_handed_out(stage.here.sandbox) > wanted, what="the second hand-out")
    yield


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

    _, findings = stage.here.heal_and_judge(within_s=40)

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

    _, findings = stage.here.heal_and_judge(within_s=40)

    assert findings.holds, str(findings)
    assert (findings.handed_out, findings.booked) == (HELD + NEW, HELD + NEW)


def pairs() -> Iterator[Any]:
    """Yield every point with every fault."""
    names = list(POINTS)
    for number, fault in enumerate(FAULTS):
        by_day = names[number % len(names)] if fault in BY_DAY else None
        for name in names:
            yield pytest.param(name, fault, marks=[] if name == by_day else [pytest.mark.nightly, pytest.mark.matrix])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "fault"), list(pairs()))
def test_law_1_a_kill_at_this_point_after_this_fault_loses_nothing(stage, name, fault):
    walk, _ = POINTS[name]
    with stage.here.daemon() as daemon:
        rest(stage.here)
        stage.meet(fault)
        with walk(stage):
            daemon.kill()
    stage.wire.release()
    patiently(stage.here.sandbox.control.clear_faults)

    _, findings = stage.here.heal_and_judge(within_s=90)

    assert findings.holds, str(findings)
    assert findings.handed_out == HELD + 2 * NEW
