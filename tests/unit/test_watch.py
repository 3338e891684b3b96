"""What the scheduler does with runs that are late, skipped or stuck, and with a clock that jumps."""

import threading
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from etl import metrics
from etl.clock import SystemClock
from etl.daemon.timetable import Timetable
from etl.daemon.watch import Watch
from etl.jobs import Beats, Job
from tests.clocks import FakeClock

PATIENCE_S = 30


def irregular(job: str, kind: str) -> float:
    return metrics.JOB_IRREGULAR.labels(job, kind)._value.get()


class JumpingClock(FakeClock):
    """Its wall clock can be set."""

    off_s = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.off_s)


@pytest.fixture
def jumps() -> list[int]:
    return []


def watch_on(clock: FakeClock, beats: Beats, jumps: list[int] | None = None) -> Watch:
    seen = [] if jumps is None else jumps
    return Watch(clock, beats, on_jump=lambda: seen.append(1))


@pytest.mark.parametrize("off_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_is_said_counted_and_begins_the_intervals_anew_once(off_s, jumps):
    clock = JumpingClock()
    watch = watch_on(clock, Beats(clock), jumps)
    before = metrics.CLOCK_JUMPS._value.get()

    with capture_logs() as lines:
        clock.advance(1)
        watch.look()
        clock.off_s = off_s
        clock.advance(1)
        watch.look()
        clock.advance(1)
        watch.look()

    assert [(line["event"], line["by_s"], line["asleep_s"]) for line in lines] == [("clock.jumped", off_s, 0.0)]
    assert metrics.CLOCK_JUMPS._value.get() == before + 1
    assert jumps == [1]


def test_small_steps_and_a_late_look_are_no_jump(jumps):
    clock = JumpingClock()
    watch = watch_on(clock, Beats(clock), jumps)

    with capture_logs() as lines:
        for step, off_s in ((1, 0.5), (600, 0.5), (1, -0.9)):
            clock.off_s = off_s
            clock.advance(step)
            watch.look()

    assert lines == []
    assert jumps == []


def test_a_job_that_hangs_is_named_once_counted_and_starves_the_watchdog_if_it_is_vital(clock):
    beats = Beats(clock)
    job = Job("poll-a", 5, dict, feed="a", deadline_s=60, vital=True)
    beats.know(job)
    beats.began(job)
    watch = watch_on(clock, beats)
    hung, failed = irregular("poll-a", "hung"), metrics.JOB_FAILURES.labels("poll-a")._value.get()

    with capture_logs() as lines:
        clock.advance(60)
        sound_before = watch.look()
        clock.advance(1)
        sound_then = watch.look(), watch.look()
        beats.ended(job)
        sound_after = watch.look()

    assert (sound_before, sound_then, sound_after) == (True, (False, False), True)
    assert [(line["event"], line["log_level"], line["job"], line["feed"]) for line in lines] == [
        ("job.hangs", "error", "poll-a", "a"),
        ("job.goes_on", "info", "poll-a", "a"),
    ]
    assert irregular("poll-a", "hung") == hung + 1
    assert metrics.JOB_FAILURES.labels("poll-a")._value.get() == failed + 1


def test_a_job_that_is_not_vital_is_named_and_leaves_the_watchdog_alone(clock):
    beats = Beats(clock)
    beats.know(job := Job("partitions-x", 5, dict, deadline_s=60))
    beats.began(job)
    watch = watch_on(clock, beats)

    with capture_logs() as lines:
        clock.advance(61)
        sound = watch.look()

    assert sound
    assert [line["event"] for line in lines] == ["job.hangs"]


def test_a_job_that_nobody_begins_any_more_is_said_and_starves_the_watchdog(clock):
    beats = Beats(clock)
    beats.know(Job("poll-b", 5, dict, feed="b", deadline_s=60, vital=True))
    watch = watch_on(clock, beats)

    with capture_logs() as lines:
        clock.advance(66)
        sound = watch.look()

    assert not sound
    assert [line["event"] for line in lines] == ["job.overdue"]
    assert irregular("poll-b", "overdue") == 1


@pytest.fixture
def timetable_of():
    """Make timetables on the machine's clock; they are closed with the test."""
    made = []

    def make(*jobs: Job) -> Timetable:
        clock = SystemClock()
        made.append(Timetable(jobs, clock, Beats(clock)))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_run_that_is_due_while_the_one_before_goes_on_is_skipped_counted_and_said_once(timetable_of):
    runs, go_on = threading.Semaphore(0), threading.Event()

    def run():
        runs.release()
        assert go_on.wait(PATIENCE_S)
        return {}

    with capture_logs() as lines:
        timetable_of(Job("slow", 0.05, run, feed="a"))
        assert runs.acquire(timeout=PATIENCE_S)
        wait_for(lambda: irregular("slow", "overrun") >= 3)
        go_on.set()

    assert [(line["event"], line["job"], line["feed"]) for line in lines] == [("job.overrun", "slow", "a")]


def test_a_late_run_is_made_up_once_however_many_were_missed():
    """APScheduler by itself drops a run that is more than 1 s late, or makes up for each."""
    clock, runs = SystemClock(), []
    timetable = Timetable([Job("late", 0.5, lambda: runs.append(1) or {})], clock, Beats(clock))
    timetable._scheduler.modify_job("late", next_run_time=clock.now() - timedelta(hours=1))
    timetable.start()
    wait_for(lambda: runs)
    timetable.close()

    assert len(runs) < 5


def test_after_a_jump_back_of_the_clock_no_job_waits_for_the_lost_hour(timetable_of):
    runs = threading.Semaphore(0)
    timetable = timetable_of(Job("poll", 3600, lambda: runs.release() or {}))
    assert runs.acquire(timeout=PATIENCE_S)

    timetable.begin_anew()

    assert runs.acquire(timeout=PATIENCE_S)


def test_jobs_can_change_their_interval_come_and_go_while_the_daemon_runs(timetable_of):
    kept, new = threading.Semaphore(0), threading.Semaphore(0)
    timetable = timetable_of(Job("kept", 3600, lambda: kept.release() or {}), Job("gone", 3600, dict))
    assert kept.acquire(timeout=PATIENCE_S)

    timetable.take([Job("kept", 0.05, dict), Job("new", 0.05, lambda: new.release() or {})])

    for runs in (kept, kept, kept, new, new):  # the job that was known keeps what it does
        assert runs.acquire(timeout=PATIENCE_S)
    assert [state.job.name for state in timetable._beats.jobs()] == ["kept", "new"]


def test_a_closed_timetable_takes_no_more_wishes():
    clock = SystemClock()
    timetable = Timetable([Job("x", 3600, dict)], clock, Beats(clock))
    timetable.start()
    timetable.close()

    timetable.run_soon("x")
    timetable.take([])


def wait_for(holds) -> None:
    over = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if holds():
            return
        over.wait(0.01)
    raise AssertionError("waited in vain")
