"""The scheduler, with its defaults set on purpose, and a line for each run that it skips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Lock

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor as PoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from etl import metrics
from etl.clock import Clock
from etl.jobs import Beats, Job, execute

# Each differs from what APScheduler 3 does by itself, or is said here so that a new version of it changes nothing.
JOB_DEFAULTS: Mapping[str, object] = {
    # By itself 1 s: a run that begins later, because the machine slept or was busy, would be dropped without a word.
    # None: it is made up, however late. Every job asks the database what is to do, so late is never wrong.
    "misfire_grace_time": None,
    # By itself False: after an hour's sleep 720 polls would follow each other. One makes up for all of them.
    "coalesce": True,
    # As by itself: a job never runs beside itself. The run that is skipped for it is counted and said, see `_skipped`.
    "max_instances": 1,
}
SPARE_THREADS = 2  # for jobs that a reload adds

log = structlog.get_logger()


class Timetable:
    """Runs each job at its interval, in a thread of its own, until it is closed.

    Next runs are kept in memory: what was missed before a start is read from the database, not from a job store.
    """

    def __init__(self, jobs: Iterable[Job], clock: Clock, beats: Beats) -> None:
        self._clock, self._beats = clock, beats
        self._jobs = {job.name: job for job in jobs}
        self._asking = Lock()
        self._closed = False
        self._overran: dict[str, int] = {}
        self._scheduler = BackgroundScheduler(
            # By itself 10: a job must never wait for a thread while others are in long drains.
            executors={"default": PoolExecutor(max_workers=len(self._jobs) + SPARE_THREADS)},
            job_defaults=JOB_DEFAULTS,
            timezone="UTC",  # by itself the machine's zone, whose clock changes twice a year
        )
        self._scheduler.add_listener(self._skipped, EVENT_JOB_MAX_INSTANCES)
        for job in self._jobs.values():
            self._add(job)

    def start(self) -> None:
        """Run every job now, and then at its interval."""
        self._scheduler.start()

    def run_soon(self, name: str) -> None:
        """Let the job run as soon as it can; nothing happens once the timetable is closed."""
        with self._asking:
            if not self._closed:
                self._scheduler.modify_job(name, next_run_time=self._clock.now())

    def begin_anew(self) -> None:
        """Count all intervals from now; after a jump of the wall clock, by which the scheduler goes."""
        for name in self._jobs:
            self.run_soon(name)

    def take(self, jobs: Iterable[Job]) -> None:
        """Go on with these jobs: new ones are added, those that are gone end, known ones take interval and deadline.

        A known job keeps its `run`, and with it what it remembers.
        """
        wanted = {job.name: job for job in jobs}
        with self._asking:
            if self._closed:
                return
            for name in self._jobs.keys() - wanted.keys():
                self._scheduler.remove_job(self._jobs.pop(name).name)
                self._beats.forget(name)
            for name, job in wanted.items():
                before = self._jobs.get(name)
                now = job if before is None else replace(before, every_s=job.every_s, deadline_s=job.deadline_s)
                if now != before:
                    self._jobs[name] = now
                    self._add(now)

    def close(self) -> None:
        """Begin no run any more, and wait for those that are under way; they end by themselves."""
        with (
            self._asking
        ):  # from here on no job asks the scheduler anything: shutdown waits for jobs with its locks held
            self._closed = True
        self._scheduler.shutdown(wait=True)

    def _add(self, job: Job) -> None:
        self._beats.know(job)
        self._scheduler.add_job(
            execute, "interval", (job, self._clock, self._beats), seconds=job.every_s, id=job.name,
            next_run_time=self._clock.now(), replace_existing=True,
        )  # fmt: skip

    def _skipped(self, event: JobSubmissionEvent) -> None:
        """Count the run that was due while the one before still went on; say it once for as long as runs overrun."""
        job = self._jobs[event.job_id]
        metrics.JOB_IRREGULAR.labels(job.name, "overrun").inc()
        run = self._beats.runs_of(job.name)
        if run - self._overran.get(job.name, -1) > 1:
            log.info("job.overrun", job=job.name, feed=job.feed, every_s=job.every_s)
        self._overran[job.name] = run
