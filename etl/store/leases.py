"""One active instance a feed: a session advisory lock, and an epoch that fences off whoever had it before."""

from __future__ import annotations

import os
import socket
from threading import Event, Lock, Thread

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from etl.clock import Clock
from etl.store.database import Database, translating
from etl.store.repositories.feeds import FeedRepository

PING_EVERY_S = 1.0
TRUSTED_FOR_S = 3.0  # without a ping for longer, no poll is opened
SERVER_ENDS_IT_AFTER = "4s"  # a hung leader loses the lock by itself

HELD = text("""
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32 | objid::bigint) = :key
)
""")


class Lease:
    """The leadership of one feed, held by a connection of its own that a thread pings every second."""

    def __init__(self, database: Database, clock: Clock, feed_id: int, lock_key: int) -> None:
        self._database = database
        self._clock = clock
        self._feed_id = feed_id
        self._lock_key = lock_key
        self._connection: Connection | None = None
        self._using = Lock()
        self._last_ping = 0.0
        self._ended = Event()
        self.epoch = 0

    @property
    def held(self) -> bool:
        """Whether we may open polls: the lock was ours at the last ping, and that was not long ago."""
        return self._connection is not None and self._clock.boottime() - self._last_ping <= TRUSTED_FOR_S

    def take(self) -> bool:
        """Try to become the leader; return whether we are. Raises the epoch when we are new at it."""
        if self.held:
            return True
        self.leave()
        if self._held_by_another():
            return False
        with translating(self._database.named):
            connection = self._database.engine.connect()
            connection.detach()  # closed when we leave, never handed to anybody else
            try:
                if not self._lock(connection):
                    connection.close()
                    return False
                self.epoch = FeedRepository(connection).take_over(self._feed_id, holder(), self._clock.now())
                connection.commit()
            except DBAPIError:
                connection.invalidate()
                raise
        self._connection, self._last_ping, self._ended = connection, self._clock.boottime(), Event()
        Thread(target=self._keep, args=(connection, self._ended), name=f"lease-{self._feed_id}", daemon=True).start()
        return True

    def leave(self) -> None:
        """Give the leadership up, if we have it; the lock goes with the connection."""
        self._ended.set()
        with self._using:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                FeedRepository(connection).leave(self._feed_id, self.epoch)
                connection.commit()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._lock_key})
                connection.commit()
            except DBAPIError:
                connection.invalidate()
            connection.close()

    def _held_by_another(self) -> bool:
        """Look without a connection of our own: a standby asks several times a second."""
        with self._database.connect() as connection:
            return bool(connection.execute(HELD, {"key": self._lock_key}).scalar_one())

    def _lock(self, connection: Connection) -> bool:
        connection.execute(text(f"SET idle_session_timeout = '{SERVER_ENDS_IT_AFTER}'"))
        got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._lock_key}).scalar_one()
        connection.commit()
        return bool(got)

    def _keep(self, connection: Connection, ended: Event) -> None:
        while not self._clock.wait(ended, PING_EVERY_S):
            with self._using:
                if self._connection is not connection:
                    return
                try:
                    connection.execute(text("SELECT 1"))
                    connection.commit()
                except DBAPIError:
                    connection.invalidate()
                    self._connection = None
                    return
                self._last_ping = self._clock.boottime()


def holder() -> str:
    """Return how this process is named as a leader: host and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"
