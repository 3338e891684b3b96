"""Notices from commands to the daemon: a thread that listens on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import psycopg
from sqlalchemy.exc import DBAPIError

from etl.clock import Clock
from etl.store.database import Database
from etl.store.repositories.requests import CHANNEL

LOOK_UP_EVERY_S = 0.25  # whether to stop
AGAIN_AFTER_S = 2.0


class Listener:
    """Calls `on_request` with the number of a feed that somebody wants something of.

    Only to be quicker: whoever misses a notice, because the connection was lost, looks every second anyway.
    """

    def __init__(self, database: Database, clock: Clock, on_request: Callable[[int], None]) -> None:
        self._database, self._clock, self._on_request = database, clock, on_request
        self._ended = Event()
        self._thread = Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (DBAPIError, psycopg.Error):
                self._clock.wait(self._ended, AGAIN_AFTER_S)

    def _listen(self) -> None:
        with self._database.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection), "the driver is psycopg 3"
            connection.detach()  # closed at the end, so that nobody gets a connection that listens
            driver.autocommit = True
            driver.execute(f"LISTEN {CHANNEL}")
            while not self._ended.is_set():
                for notice in driver.notifies(timeout=LOOK_UP_EVERY_S, stop_after=1):
                    if notice.payload.isdigit():
                        self._on_request(int(notice.payload))
