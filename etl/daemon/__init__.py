"""The daemon: scheduler, signals, orderly stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import FrameType

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor as PoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from etl.app import App, FeedRuntime
from etl.daemon.pages import pages
from etl.errors import BookingHeldError, DatabaseAwayError
from etl.jobs import Job, execute
from etl.schedule import jobs_of

HEARTBEAT_S = 1.0
LONGEST_START_PAUSE_S = 30.0

log = structlog.get_logger()


def run(app: App) -> None:
    """Poll and book every feed until a SIGTERM or SIGINT; then land and book what is in hand, and return.

    Waits for a database that is not there yet. Raises OperatorError, ConfigError where a person has to act,
    OSError where the pages cannot be served.
    """
    _stop_on_signals(app)
    with pages(app, HEARTBEAT_S):
        _run(app)


def _run(app: App) -> None:
    if app.settings.database.url is None:
        log.warning("database.embedded", hint="for trying out; set database.url for real trades")
    jobs = _when_the_database_is_there(app)
    if jobs is None:
        return
    poking = Lock()
    scheduler = _scheduler(app, jobs, poking)
    scheduler.start()
    app.beats.enter("ready")
    log.info("daemon.started", feeds=[feed.name for feed in app.feeds()])
    while not app.stop.wait(HEARTBEAT_S):
        app.beats.beat()
    app.beats.enter("stopping", "the answers in hand to be landed and booked")
    log.info("daemon.stopping")
    with poking:
        pass  # from here on no job asks the scheduler anything: its shutdown waits for jobs with its locks held
    scheduler.shutdown(wait=True)  # running jobs end by themselves: no new request is sent
    _book_what_landed(app)
    log.info("daemon.stopped")


def _stop_on_signals(app: App) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        app.stop.set()  # again while stopping: changes nothing, the answer in hand is landed first

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _when_the_database_is_there(app: App) -> list[Job] | None:
    """Return the jobs as soon as the database answers, or None when told to stop before that."""
    pause = 1.0
    while True:
        try:
            app.check_database()
            return jobs_of(app)
        except DatabaseAwayError as error:
            app.beats.enter("starting", str(error))
            log.warning("database.away", error=str(error), next_try_s=pause)
        if app.clock.wait(app.stop, pause):
            return None
        pause = min(pause * 2, LONGEST_START_PAUSE_S)


def _scheduler(app: App, jobs: list[Job], poking: Lock) -> BackgroundScheduler:
    """Return the scheduler with every job, due at once.

    Set on purpose: a run that is late is made up once however many were missed (the default drops it silently after
    1 s), and a job never runs beside itself.
    """
    scheduler = BackgroundScheduler(
        executors={"default": PoolExecutor(max_workers=len(jobs))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone="UTC",
    )
    for job in jobs:
        app.beats.know(job)
        scheduler.add_job(
            execute,
            "interval",
            (job, app.clock, app.beats),
            seconds=job.every_s,
            id=job.name,
            next_run_time=app.clock.now(),
        )
    for feed in app.feeds():
        feed.on_landed = _book_at_once(app, scheduler, feed, poking)
    return scheduler


def _book_at_once(app: App, scheduler: BackgroundScheduler, feed: FeedRuntime, poking: Lock) -> Callable[[], None]:
    def poke() -> None:
        with poking:
            if not app.stop.is_set():
                scheduler.modify_job(f"book-{feed.name}", next_run_time=app.clock.now())

    return poke


def _book_what_landed(app: App) -> None:
    """Book the answers of the last seconds; what fails stays landed, and the next start books it."""

    def book(feed: FeedRuntime) -> None:
        try:
            feed.booker.book()
        except (DatabaseAwayError, BookingHeldError) as error:
            log.warning("book.left_for_the_next_start", feed=feed.name, error=str(error))

    with ThreadPoolExecutor() as threads:
        list(threads.map(book, app.feeds()))
