"""Liveness and readiness, decided from what is known; a check that hangs is one check."""

from datetime import timedelta
from threading import Event

import pytest

from etl.clock import SystemClock
from etl.domain.trading_hours import TradingHours
from etl.jobs import Beats, Job
from etl.ops.health import Health, Probe
from etl.store.repositories.figures import FeedFigures
from tests.clocks import START, FakeClock


def feed(state="polling", age_s=10.0):
    at = START - timedelta(seconds=age_s)
    return FeedFigures(1, "main", state, "host:1", at, at, 0, 0)


class Daemon:
    """What health knows of a daemon that never was."""

    def __init__(self, *found, checks=None, leads=True):
        self.clock = FakeClock()
        self.beats = Beats(self.clock)
        probe = Probe(checks or {"database": lambda: "answers"}, SystemClock(), within_s=0.2)
        self.health = Health(
            self.beats, self.clock, probe, heartbeat_s=1.0, feeds=lambda: {"main": leads},
            is_stale=lambda last_at, now: TradingHours().is_stale(last_at, now, 60.0),
            figures=lambda: tuple(found),
        )  # fmt: skip


def test_a_main_loop_that_missed_three_beats_is_not_alive():
    daemon = Daemon()
    daemon.beats.enter("ready")
    daemon.clock.advance(3.0)
    assert daemon.health.live() == []

    daemon.clock.advance(0.5)

    assert daemon.health.live() == ["the main loop has missed 3 beats: none for 4 s"]
    daemon.beats.beat()
    assert daemon.health.live() == []


@pytest.mark.parametrize("phase", ["starting", "stopping"])
def test_who_starts_or_stops_has_no_beats_and_is_alive(phase):
    daemon = Daemon()
    daemon.beats.enter(phase, "the database")
    daemon.clock.advance(1000)

    assert daemon.health.live() == []


@pytest.mark.parametrize(("vital", "said"), [(True, ["job poll-main hangs: no progress for 11 s"]), (False, [])])
def test_a_vital_job_that_hangs_is_no_life_and_another_is_no_reason_to_restart(vital, said):
    daemon = Daemon()
    daemon.beats.enter("ready")
    daemon.beats.began(Job("poll-main", 1.0, dict, deadline_s=10.0, vital=vital))
    daemon.clock.advance(11)
    daemon.beats.beat()

    assert daemon.health.live() == said


def test_jobs_that_nobody_begins_any_more_are_a_stuck_scheduler():
    daemon = Daemon()
    daemon.beats.enter("ready")
    daemon.beats.know(Job("gauges", 5.0, dict, deadline_s=10.0))
    daemon.clock.advance(16)
    daemon.beats.beat()

    assert daemon.health.live() == ["job gauges is overdue: not begun for 16 s; the scheduler is stuck"]


@pytest.mark.parametrize(
    ("found", "leads", "ok", "reason"),
    [
        (feed(), True, True, "leads; polling; the vendor's last good answer came 10 s ago"),
        (feed(), False, True, "standby; polling; the vendor's last good answer came 10 s ago"),
        (feed(age_s=61), True, False, "leads; polling; the vendor's last good answer came 61 s ago"),
        (feed("paused", 9999), True, True, "leads; paused; the vendor's last good answer came 9999 s ago"),
        (FeedFigures(1, "main", "never_polled", None, None, None, 0, 0), True, False,
         "leads; never_polled; the vendor never gave a good answer"),
        (None, False, False, "standby; not looked at yet"),
    ],
)  # fmt: skip
def test_a_feed_is_told_by_its_age_and_is_never_needed(found, leads, ok, reason):
    parts = Daemon(*([found] if found else []), leads=leads).health.ready()

    assert (parts["feed main"].ok, parts["feed main"].reason, parts["feed main"].needed) == (ok, reason, False)


def test_a_check_that_fails_says_its_sentence_without_secrets():
    def fails():
        raise ValueError("cannot log in at postgresql://etl:hunter22@host/db\nmore")

    part = Daemon(checks={"database": fails}).health.ready()["database"]

    assert part.reason == "cannot log in at postgresql://etl:********@host/db"
    assert not part.ok


def test_a_check_that_hangs_is_begun_once_however_many_ask():
    begun, go_on = [], Event()

    def hangs():
        begun.append(1)
        go_on.wait(30)
        return "answers"

    health = Daemon(checks={"database": hangs}).health
    assert [health.ready()["database"].reason for _ in range(2)] == ["no answer within 0.2 s"] * 2

    go_on.set()

    assert health.ready()["database"].reason == "answers"
    assert len(begun) == 1


def test_a_check_that_hangs_says_nothing_about_those_that_ask_nobody():
    go_on = Event()
    health = Daemon(checks={"database": lambda: str(go_on.wait(30)), "settings": lambda: "sound"}).health

    parts = health.ready()

    assert (parts["settings"].ok, parts["settings"].reason) == (True, "sound")
    assert (parts["database"].ok, parts["database"].reason) == (False, "no answer within 0.2 s")
    go_on.set()
