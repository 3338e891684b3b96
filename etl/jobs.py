"""A job, one run of it (timed, counted, logged in one line), and how all jobs and the main loop stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Literal, NamedTuple

import structlog
from structlog.contextvars import bind_contextvars

from etl import metrics
from etl.chance import new_id
from etl.clock import Clock
from etl.errors import OperatorError, TransientError

DEADLINE_S = 300.0

Outcome = Literal["finished", "deferred", "refused", "failed"]
Phase = Literal["starting", "ready", "stopping"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """Something done again and again. `run` returns what it counted; nothing counted is not worth a line.

    None: nothing was tried, because a pause after trouble lasts; the run before still says how the job stands.

    A run that shows no progress for `deadline_s` hangs; `progress` returns a value that changes while a long run gets
    on, such as the pages so far. While a vital job hangs, the service manager's watchdog is not fed.
    """

    name: str
    every_s: float
    run: Callable[[], Mapping[str, int] | None]
    feed: str | None = None
    deadline_s: float = DEADLINE_S
    progress: Callable[[], object] = lambda: None
    vital: bool = False


class Trouble(NamedTuple):
    """How a run ended, and the sentence where it did not finish."""

    outcome: Outcome = "finished"
    said: str = ""


NO_TROUBLE = Trouble()


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands. Seconds are those of `Clock.monotonic`, so that a changed wall clock does not matter."""

    job: Job
    runs: int = 0
    running_s: float | None = None
    """For how long the present run goes on; None between runs."""
    stuck_s: float = 0.0
    """For how long the present run has shown no progress."""
    idle_s: float = 0.0
    """Since the last run ended, or since the daemon knows the job; 0 in a run."""
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    """How the last run ended that tried something; None before it."""
    said: str = ""
    """The sentence of that run where it did not finish."""

    @property
    def hangs(self) -> bool:
        """Whether the present run has shown no progress for longer than the job may take."""
        return self.running_s is not None and self.stuck_s > self.job.deadline_s

    @property
    def overdue(self) -> bool:
        """Whether no run began for an interval and a deadline: the scheduler itself is stuck, or has no thread left."""
        return self.idle_s > self.job.every_s + self.job.deadline_s


@dataclass(slots=True)
class _Record:
    job: Job
    known_at: float
    runs: int = 0
    began: float | None = None
    moved: float = 0.0
    progress: object = None
    ended: float | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    trouble: Trouble = NO_TROUBLE


class Beats:
    """What is known of the daemon's life: the main loop's last beat, each job's last run, and whether it is ready.

    Written by the main loop and by the jobs' threads, read by anybody; asks neither database nor vendor.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._records: dict[str, _Record] = {}
        self._forgotten: set[str] = set()
        self._beat = clock.monotonic()
        self.phase: Phase = "starting"
        """`ready` from the moment at which database, schema and settings were found sound and the jobs run."""
        self.waiting_for = "the start"
        """Why the daemon is not ready, in a sentence; empty when it is."""
        self.stands: dict[str, str] = {}
        """How this instance stands to each feed, once it knows: `leads`, `standby`, or why polling rests."""

    def beat(self) -> None:
        """Say that the main loop goes round."""
        self._beat = self._clock.monotonic()

    @property
    def beat_age_s(self) -> float:
        """Return for how long the main loop has not gone round."""
        return self._clock.monotonic() - self._beat

    def enter(self, phase: Phase, waiting_for: str = "") -> None:
        """Say where in its life the daemon is, and what it waits for."""
        self.phase, self.waiting_for = phase, waiting_for

    def know(self, job: Job) -> None:
        """Keep book of the job from now on; of one that is known under this name, with its new settings."""
        with self._lock:
            self._forgotten.discard(job.name)
            record = self._records.get(job.name)
            if record is None:
                self._records[job.name] = _Record(job, self._clock.monotonic())
            else:
                record.job = job

    def forget(self, name: str) -> None:
        """Keep no book of the job of this name any more."""
        with self._lock:
            self._forgotten.add(name)
            self._records.pop(name, None)

    def runs_of(self, name: str) -> int:
        """Return how many runs of the job have begun."""
        with self._lock:
            return self._records[name].runs if name in self._records else 0

    def began(self, job: Job) -> None:
        """Note that a run of the job has begun; one that was forgotten meanwhile stays so."""
        if job.name not in self._forgotten:
            self.know(job)
        now, progress = self._clock.monotonic(), job.progress()
        with self._lock:
            if (record := self._records.get(job.name)) is None:
                return
            record.began, record.moved, record.progress = now, now, progress
            record.runs += 1

    def ended(self, job: Job, trouble: Trouble = NO_TROUBLE) -> None:
        """Note how a run of the job ended."""
        with self._lock:
            if (record := self._records.get(job.name)) is None:
                return
            record.began, record.ended, record.ended_at = None, self._clock.monotonic(), self._clock.now()
            record.outcome, record.trouble = trouble.outcome, trouble

    def rested(self, job: Job) -> None:
        """Note that a run of the job tried nothing."""
        with self._lock:
            if (record := self._records.get(job.name)) is None:
                return
            record.began, record.ended = None, self._clock.monotonic()

    def trouble_of(self, name: str) -> Trouble:
        """Return how the last run of the job ended that tried something."""
        with self._lock:
            return self._records[name].trouble if name in self._records else NO_TROUBLE

    def jobs(self) -> list[JobState]:
        """Return how every job stands at this moment."""
        with self._lock:
            return [self._state_of(record) for record in self._records.values()]

    def _state_of(self, record: _Record) -> JobState:
        now = self._clock.monotonic()
        state = JobState(
            record.job, record.runs, ended_at=record.ended_at, outcome=record.outcome, said=record.trouble.said
        )
        if record.began is None:
            return replace(state, idle_s=now - (record.known_at if record.ended is None else record.ended))
        if (progress := record.job.progress()) != record.progress:
            record.progress, record.moved = progress, now
        return replace(state, running_s=now - record.began, stuck_s=now - record.moved)


def execute(job: Job, clock: Clock, beats: Beats) -> None:
    """Run the job once, and say in one line how it went; never raises, so that the scheduler goes on.

    What a run binds to its log lines, such as a request id, ends with it. The same trouble again is said at debug only.
    """
    copy_context().run(_execute, job, clock, beats)


def _execute(job: Job, clock: Clock, beats: Beats) -> None:
    bind_contextvars(job=job.name, run_id=new_id())
    if job.feed is not None:
        bind_contextvars(feed=job.feed)
    before, started = beats.trouble_of(job.name), clock.monotonic()
    beats.began(job)
    trouble = NO_TROUBLE
    try:
        counts = job.run()
    except TransientError as error:
        trouble = Trouble("deferred", str(error))
        _say_once(log.warning, "job.deferred", trouble, before)
    except OperatorError as error:
        trouble = Trouble("refused", str(error))
        _say_once(log.error, "job.refused", trouble, before)  # a sentence for a person, no traceback
    except Exception as error:  # the one broad except: nothing may stop the scheduler
        trouble = Trouble("failed", f"{type(error).__name__}; the log has the traceback")
        log.exception("job.failed")
    else:
        if counts is None:
            return beats.rested(job)
        _say_finished(job, counts, clock.monotonic() - started, before)
    if trouble is not NO_TROUBLE:
        metrics.JOB_FAILURES.labels(job.name).inc()
    return beats.ended(job, trouble)


def _say_once(say: Callable[..., object], event: str, trouble: Trouble, before: Trouble) -> None:
    (log.debug if trouble == before else say)(event, error=trouble.said)


def _say_finished(job: Job, counts: Mapping[str, int], took_s: float, before: Trouble) -> None:
    metrics.JOB_SECONDS.labels(job.name).observe(took_s)
    if before != NO_TROUBLE:
        log.info("job.recovered", after=before.outcome, error=before.said)
    if any(counts.values()):
        log.info("job.finished", duration_s=round(took_s, 3), **counts)
