"""The orderly stop: what is in hand is landed, what landed is booked, the leases are left; within the grace period."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import structlog

from etl.app import App
from etl.daemon.timetable import Timetable
from etl.errors import BookingHeldError, EtlError
from etl.runtime import FeedRuntime

MARGIN_S = 4.0
"""Beyond the grace period, in which landing is tried: for the last try to end. With 25 s of grace a manager that kills
after 30 s does not get to it."""
GAVE_UP = 1

log = structlog.get_logger()


class Ending:
    """Winds the daemon up in a thread of its own, so that the main loop goes on beating."""

    def __init__(self, app: App, timetable: Timetable) -> None:
        self._app, self._timetable = app, timetable
        self._grace_s = app.settings.ops.shutdown_grace_s
        self._began = app.clock.monotonic()
        self._enough = Event()  # of booking
        self._done = Event()
        self._error: BaseException | None = None
        Thread(target=self._wind_up, name="ending", daemon=True).start()

    @property
    def left_s(self) -> float:
        """Return the seconds that are left of the grace period."""
        return self._began + self._grace_s - self._app.clock.monotonic()

    def over(self, wait_s: float) -> bool:
        """Wait a little; return whether all is done. Ends the process when the grace period and its margin are over."""
        if self._app.clock.wait(self._done, wait_s):
            if self._error is not None:
                raise self._error
            return True
        if self.left_s <= 0:
            self._enough.set()
        if self.left_s <= -MARGIN_S:
            self._give_up()
        return False

    def _wind_up(self) -> None:
        try:
            self._timetable.close()  # running jobs end by themselves: no new request is sent
            feeds = self._app.feeds()
            with ThreadPoolExecutor() as threads:
                list(threads.map(self._book_what_landed, feeds))
            for feed in feeds:
                feed.close()
            self._app.end_booking_process()
        except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
            self._error = error
        self._done.set()

    def _book_what_landed(self, feed: FeedRuntime) -> None:
        """Book the answers of the last seconds; what fails stays landed, and the next start books it."""
        try:
            feed.booker.book(self._enough)
        except BookingHeldError:
            return  # said when it began
        except EtlError as error:
            log.warning("book.left_for_the_next_start", feed=feed.name, error=str(error))

    def _give_up(self) -> None:
        """End the process where it stands. A poll that is still open then is in doubt; the next start opens its gap."""
        running = [state.job for state in self._app.beats.jobs() if state.running_s is not None]
        polling = [job.feed for job in running if job.name == f"poll-{job.feed}"]
        said = {"running": [job.name for job in running], "grace_s": self._grace_s}
        if polling:
            log.error("daemon.gave_up", **said, in_doubt=polling)
        else:
            log.warning("daemon.cut_short", **said)
        sys.stdout.flush()
        os._exit(GAVE_UP if polling else 0)  # a thread that hangs would keep sys.exit waiting
