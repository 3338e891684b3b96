"""The main loop: start, beat once a second, reload, and stop in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog

from etl.app import App
from etl.config import Settings
from etl.daemon.ending import Ending
from etl.daemon.reload import reload
from etl.daemon.signals import RELOAD, STOP, Signals
from etl.daemon.systemd import ServiceManager
from etl.daemon.timetable import Timetable
from etl.daemon.watch import Watch, say_missed
from etl.errors import TransientError
from etl.jobs import Job, JobState
from etl.pipeline.backoff import Pauses
from etl.schedule import jobs_of
from etl.store.notices import Listener

HEARTBEAT_S = 1.0
LONGEST_START_PAUSE_S = 30.0
SAID_AT_ONCE = 3  # troubles in the status line

log = structlog.get_logger()


class Daemon:
    """One life of the daemon; everything here happens in the main thread."""

    def __init__(
        self, app: App, signals: Signals, manager: ServiceManager, read_settings: Callable[[], Settings]
    ) -> None:
        self._app, self._signals, self._manager, self._read_settings = app, signals, manager, read_settings
        self._heartbeat_s = min(HEARTBEAT_S, (manager.watchdog_s or HEARTBEAT_S * 3) / 3)

    def live(self) -> None:
        """Start, work until told to stop, and stop. Raises OperatorError where the start needs a person."""
        app = self._app
        if app.settings.database.url is None:
            log.warning("database.embedded", hint="for trying out; set database.url for real trades")
        jobs = self._jobs_when_the_database_is_there()
        if jobs is None:
            self._manager.stopping()
            return
        timetable = Timetable(jobs, app.clock, app.beats)
        watch = Watch(app.clock, app.beats, on_jump=timetable.begin_anew)
        with self._woken(timetable):
            timetable.start()
            log.info("daemon.started", feeds=[feed.name for feed in app.feeds()])
            self._work(timetable, watch)
            self._stop(timetable)

    def _jobs_when_the_database_is_there(self) -> list[Job] | None:
        """Return the jobs as soon as the database answers, or None when told to stop before that."""
        app = self._app
        pauses = Pauses(app.clock, 1.0, LONGEST_START_PAUSE_S)
        while True:
            try:
                app.check_database()
                say_missed(app)
                return jobs_of(app)
            except TransientError as error:  # away, or lost in the middle of a commit
                pauses.longer()
                app.beats.enter("starting", str(error))
                log.warning("database.away", error=str(error), next_try_s=round(pauses.left_s, 1))
                self._manager.status(f"waits for the database: {error}")
            while pauses.left_s > 0:
                self._manager.more_time(LONGEST_START_PAUSE_S)
                app.beats.beat()
                self._manager.feed_watchdog()
                came = self._signals.wait(min(self._heartbeat_s, pauses.left_s))
                if came & STOP:
                    app.stop.set()
                    return None
                if RELOAD in came:
                    reload(app, self._read_settings)  # the jobs are made of them once the database is there

    def _work(self, timetable: Timetable, watch: Watch) -> None:
        """Go round until told to stop."""
        app, beats = self._app, self._app.beats
        while not app.stop.is_set():
            beats.beat()
            sound = watch.look()
            if beats.phase == "starting" and len(beats.stands) == len(app.feeds()):
                beats.enter("ready")
                self._manager.ready()
            if sound:
                self._manager.feed_watchdog()
            self._manager.status(self._status())
            came = self._signals.wait(self._heartbeat_s)
            if came & STOP:
                app.stop.set()
            elif RELOAD in came:
                self._reload(timetable)

    def _reload(self, timetable: Timetable) -> None:
        self._manager.reloading(self._app.clock.monotonic())
        if reload(self._app, self._read_settings):
            timetable.take(jobs_of(self._app))
        self._manager.ready()

    def _stop(self, timetable: Timetable) -> None:
        """End what runs, keep the manager informed meanwhile, and give up what takes longer than the grace period."""
        app = self._app
        app.beats.enter("stopping", "the answers in hand are landed and booked")
        self._manager.stopping()
        log.info("daemon.stopping", running=[state.job.name for state in _running(app)])
        ending = Ending(app, timetable)
        while not ending.over(self._heartbeat_s):
            app.beats.beat()
            self._manager.feed_watchdog()
            self._manager.more_time(LONGEST_START_PAUSE_S)
            running = ", ".join(state.job.name for state in _running(app))
            self._manager.status(f"stops; still at work: {running or 'booking'}")
            if self._signals.wait(0) & STOP:
                log.info("daemon.still_stopping", left_s=round(ending.left_s, 1), running=running)
        log.info("daemon.stopped")

    def _status(self) -> str:
        beats = self._app.beats
        stands = [f"{feed} {stand}" for feed, stand in sorted(beats.stands.items())]
        troubled = [state for state in beats.jobs() if state.hangs or state.overdue or state.said]
        troubles = [f"{state.job.name}: {_trouble(state)}" for state in troubled]
        return "; ".join([*stands, *troubles[:SAID_AT_ONCE]]) or "looks for its feeds"

    @contextmanager
    def _woken(self, timetable: Timetable) -> Iterator[None]:
        """Let what landed be booked, and what a command asks for be done, without waiting for the interval."""
        feeds = {feed.feed_id: feed for feed in self._app.feeds()}
        for feed in feeds.values():
            feed.wake = partial(_run_soon, timetable, feed.name)

        def on_request(feed_id: int) -> None:
            if (feed := feeds.get(feed_id)) is not None and feed.leads:
                for job in ("serve", "heal", "reconcile"):
                    feed.wake(job)

        listener = Listener(self._app.database, self._app.clock, on_request)
        listener.start()
        yield
        listener.stop()
        for feed in feeds.values():
            feed.wake = lambda _job: None


def _run_soon(timetable: Timetable, feed: str, job: str) -> None:
    timetable.run_soon(f"{job}-{feed}")


def _running(app: App) -> list[JobState]:
    return [state for state in app.beats.jobs() if state.running_s is not None]


def _trouble(state: JobState) -> str:
    if state.hangs:
        return f"no progress for {state.stuck_s:.0f} s"
    return f"not begun for {state.idle_s:.0f} s" if state.overdue else state.said
