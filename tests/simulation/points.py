"""Named points of a page's way, and of a resend's, and how the daemon is made to stand still at each.

It is held from outside, with nothing in the product for it: a request is swallowed on the wire or its answer delayed by
the vendor, a table is locked, or a trigger of the test lets the COMMIT itself wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tests.acceptance.program import count_handed_out, until
from tests.databases import rows
from tests.simulation.holding import GET_PAGE, POST_RESEND, HoldingWire, commits_wait, locked, waits_at
from tests.simulation.worlds import World, patiently

HELD, NEW = 20, 5
"""Trades in the book before anything happens, and trades that are done whenever some are needed."""
LONG_S = 25


@dataclass
class Stage:
    """A world whose daemon runs, and the wire between it and the vendor."""

    here: World
    wire: HoldingWire
    already: int = HELD
    """How many trades were handed out before the walk to the point began."""
    met: Counter[str] = field(default_factory=Counter)
    """How many requests of each endpoint had met a fault by then."""

    def begins(self) -> None:
        """Take note of what has happened before the walk to the point."""
        self.already = patiently(lambda: count_handed_out(self.here.sandbox))
        self.met = self.faulty()

    def done(self) -> None:
        """Let new trades be done at the vendor."""
        patiently(lambda: self.here.sandbox.control.execute(NEW))

    def lose(self) -> None:
        """Let new trades be done, and their answer get lost: a gap opens."""
        self.here.sandbox.control.plan({"fault": "close_after", "non_empty": True})
        self.done()

    def handed_out(self, count: int = NEW) -> None:
        """Wait until so many more trades were handed out."""
        wanted = self.already + count
        until(lambda: patiently(lambda: count_handed_out(self.here.sandbox)) >= wanted, what="the hand-out")

    def asked(self, endpoint: str) -> None:
        """Wait until another request of this endpoint has met a fault."""
        until(lambda: self.faulty()[endpoint] > self.met[endpoint], what="the request")

    def faulty(self) -> Counter[str]:
        """Return how many requests of each endpoint have met a fault."""
        requests = patiently(self.here.sandbox.control.requests)
        return Counter(each["endpoint"] for each in requests if each["fault"])

    def last_met_a_fault(self, endpoint: str) -> bool:
        """Whether the last request of this endpoint has met a fault: the next one shows that we know how it ended."""
        requests = patiently(self.here.sandbox.control.requests)
        return bool([each["fault"] for each in requests if each["endpoint"] == endpoint][-1])

    def stands_at(self, statement: str) -> None:
        """Wait until the daemon waits for a lock in such a statement."""
        until(lambda: waits_at(self.here, statement), what=f"the daemon to wait at {statement}")

    def held(self) -> None:
        """Wait until the wire has swallowed a request."""
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


def inside_commit(stage: Stage, change: str, *, kept: bool, after: Callable[[], None]) -> Iterator[None]:
    """Let the commit of such a change, which comes after that, stand still; it is kept or lost after the kill."""
    with commits_wait(stage.here, change, kept=kept):
        after()
        stage.stands_at("COMMIT")
        yield


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
    yield from inside_commit(stage, "INSERT ON stp.poll", kept=True, after=stage.done)


@point(lost=NEW)
def inside_the_land_commit_which_is_lost(stage):
    yield from inside_commit(stage, "INSERT ON stp.poll", kept=False, after=stage.done)


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
    yield from inside_commit(stage, "INSERT ON stp.trade", kept=True, after=stage.done)


@point(lost=0)
def inside_the_book_commit_which_is_lost(stage):
    yield from inside_commit(stage, "INSERT ON stp.trade", kept=False, after=stage.done)


@point(lost=NEW)
def doubt_known_and_inside_the_commit_that_opens_its_gap(stage):
    yield from inside_commit(stage, "INSERT ON stp.gap", kept=False, after=stage.lose)


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
    yield from inside_commit(stage, "UPDATE ON stp.resend", kept=True, after=stage.lose)


@point(lost=NEW)
def inside_the_commit_of_the_acceptance_which_is_lost(stage):
    yield from inside_commit(stage, "UPDATE ON stp.resend", kept=False, after=stage.lose)


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
    stage.handed_out(NEW + 1)
    yield
