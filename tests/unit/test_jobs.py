"""A job's run is one line, and what is known of it tells a slow run from one that hangs."""

import pytest
import structlog
from structlog.testing import capture_logs

from etl import metrics
from etl.errors import OperatorError, VendorAwayError
from etl.jobs import Beats, Job, JobState, execute
from tests.clocks import FakeClock


@pytest.fixture
def beats(clock: FakeClock) -> Beats:
    return Beats(clock)


def state_of(beats: Beats) -> JobState:
    (state,) = beats.jobs()
    return state


def run_once(job: Job, clock: FakeClock, beats: Beats) -> None:
    beats.know(job)
    execute(job, clock, beats)


def failures(name: str) -> float:
    return metrics.JOB_FAILURES.labels(name)._value.get()


def test_a_run_that_did_something_is_one_line_with_its_counts_its_feed_and_its_number(clock, beats):
    seen = []
    job = Job("poll-main", 5, lambda: seen.append(structlog.contextvars.get_contextvars()) or {"pages": 2}, feed="main")

    with capture_logs() as lines:
        run_once(job, clock, beats)

    assert lines == [{"event": "job.finished", "log_level": "info", "duration_s": 0.0, "pages": 2}]
    assert structlog.contextvars.get_contextvars() == {}
    assert seen[0].keys() == {"job", "run_id", "feed"}
    assert seen[0]["feed"] == "main"
    assert state_of(beats).outcome == "finished"
    assert state_of(beats).ended_at == clock.now()


def test_a_run_that_did_nothing_says_nothing(clock, beats):
    with capture_logs() as lines:
        run_once(Job("book-main", 1, lambda: {"new": 0}), clock, beats)

    assert lines == []


@pytest.mark.parametrize(
    ("error", "event", "level", "outcome"),
    [
        (VendorAwayError("the vendor is away"), "job.deferred", "warning", "deferred"),
        (OperatorError("a person has to act"), "job.refused", "error", "refused"),
        (ZeroDivisionError("oops"), "job.failed", "error", "failed"),
    ],
)
def test_a_run_that_does_not_finish_is_counted_said_at_its_level_and_remembered(
    clock, beats, error, event, level, outcome
):
    def fail():
        raise error

    before = failures("fails")
    with capture_logs() as lines:
        run_once(Job("fails", 1, fail), clock, beats)

    assert [(line["event"], line["log_level"]) for line in lines] == [(event, level)]
    assert failures("fails") == before + 1
    assert state_of(beats).outcome == outcome
    assert state_of(beats).said != ""


def test_the_same_trouble_is_said_once_until_the_job_has_recovered(clock, beats):
    ends = [
        VendorAwayError("away"),
        None,
        VendorAwayError("away"),
        OperatorError("no"),
        {"pages": 0},
        OperatorError("no"),
    ]

    def run():
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    with capture_logs() as lines:
        while ends:
            run_once(Job("poll-main", 5, run), clock, beats)

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("job.deferred", "warning"),
        ("job.deferred", "debug"),
        ("job.refused", "error"),
        ("job.recovered", "info"),
        ("job.refused", "error"),
    ]
    assert lines[3]["after"] == "refused"


def test_a_run_that_only_waits_leaves_the_job_as_the_run_before_left_it(clock, beats):
    ends = [OperatorError("no"), None]

    def run():
        end = ends.pop(0)
        if end is not None:
            raise end

    run_once(Job("poll-main", 5, run), clock, beats)
    run_once(Job("poll-main", 5, run), clock, beats)

    assert (state_of(beats).outcome, state_of(beats).said, state_of(beats).running_s) == ("refused", "no", None)


def test_a_run_without_progress_for_longer_than_its_deadline_hangs(clock, beats):
    job = Job("poll-main", 5, dict, deadline_s=60)
    beats.know(job)
    beats.began(job)

    clock.advance(60)
    assert not state_of(beats).hangs
    clock.advance(1)
    assert state_of(beats).hangs
    assert state_of(beats).running_s == 61
    beats.ended(job)
    assert not state_of(beats).hangs


def test_a_long_run_that_gets_on_does_not_hang(clock, beats):
    pages = [0]
    beats.know(job := Job("poll-main", 5, dict, deadline_s=60, progress=lambda: pages[0]))
    beats.began(job)

    for _ in range(10):
        clock.advance(50)
        pages[0] += 1
        assert not state_of(beats).hangs
    clock.advance(61)

    assert state_of(beats).hangs
    assert state_of(beats).running_s == 561


def test_a_job_that_is_not_begun_for_an_interval_and_a_deadline_is_overdue(clock, beats):
    beats.know(Job("poll-main", 5, dict, deadline_s=60))

    clock.advance(65)
    assert not state_of(beats).overdue
    clock.advance(1)
    assert state_of(beats).overdue
    beats.know(job := Job("poll-main", 5, dict, deadline_s=60))
    beats.began(job)
    assert not state_of(beats).overdue


def test_the_age_of_the_main_loops_beat_grows_until_the_next_one(clock, beats):
    clock.advance(7)
    assert beats.beat_age_s == 7

    beats.beat()

    assert beats.beat_age_s == 0


def test_a_daemon_says_what_it_waits_for_until_it_is_ready(beats):
    assert (beats.phase, beats.waiting_for) == ("starting", "the start")

    beats.enter("ready")

    assert (beats.phase, beats.waiting_for) == ("ready", "")
