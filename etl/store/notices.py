"""Notices from commands to the daemon: a thread that listens on a connection of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from select import select
from threading import Event, Thread

import psycopg
from sqlalchemy.exc import DBAPIError

from etl.clock import Clock
from etl.store.copying import driver_of
from etl.store.database import Database
from etl.store.repositories.requests import CHANNEL

LOOK_UP_EVERY_S = 30.0  # whether the connection still stands, as far as the system knows
AGAIN_AFTER_S = 2.0


class Listener:
    """Calls `on_request` with the number of a feed that somebody wants something of.

    Only to be quicker: whoever misses a notice, because the connection was lost, looks every second anyway.
    """

    def __init__(self, database: Database, clock: Clock, on_request: Callable[[int], None]) -> None:
        self._database, self._clock, self._on_request = database, clock, on_request
        self._ended = Event()
        self._thread = Thread(target=self._run, name="listener", daemon=True)
        self._waking, self._wake = os.pipe()

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ended.set()
        os.write(self._wake, b"x")
        self._thread.join()
        os.close(self._wake)
        os.close(self._waking)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (DBAPIError, psycopg.Error):
                self._clock.wait(self._ended, AGAIN_AFTER_S)

    def _listen(self) -> None:
        with self._database.engine.connect() as connection:
            driver = driver_of(connection)
            connection.detach()  # closed at the end, so that nobody gets a connection that listens
            driver.autocommit = True
            driver.execute(f"LISTEN {CHANNEL}")
            while not self._ended.is_set():
                select([driver.fileno(), self._waking], [], [], LOOK_UP_EVERY_S)
                for notice in driver.notifies(timeout=0):
                    if notice.payload.isdigit():
                        self._on_request(int(notice.payload))
