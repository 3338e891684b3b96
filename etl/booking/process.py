"""The process that books a backlog, as the daemon sees it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, NamedTuple

import structlog

from etl.clock import Clock
from etl.errors import DatabaseRefusedError, EtlError, NotBookedError
from etl.pipeline.batch import Booked, BookedFeed
from etl.store.database import Database

ENDING_S = 5.0  # for the batch in hand, when the process is to end
LONGEST_S = 300.0  # for a batch, waits for locks among it; then the process is taken for hung
IDLE_S = 60.0  # after so long without work the process ends
TURN_S = 1.0  # a feed waits so long for the batch of another one, then it books in its own thread
START_AGAIN_S = 60.0  # after a start that failed

log = structlog.get_logger()


class Begin(NamedTuple):
    """What the process must know before its first batch. The url holds the password: it goes over the socket only."""

    url: str
    connect_timeout_s: int
    statement_timeout_s: int
    idle_s: float


class Answer(NamedTuple):
    """What became of a batch, and the log lines on the way: level, event, values."""

    result: Booked | EtlError | None
    said: tuple[tuple[str, str, Mapping[str, Any]], ...]


class BookingProcess:
    """The process as the daemon sees it: one for all feeds, in turn; started when asked for, also where it ended."""

    def __init__(self, database: Database, clock: Clock, idle_s: float = IDLE_S) -> None:
        self._database, self._clock, self._idle_s = database, clock, idle_s
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: Connection | None = None
        self._ready = False
        self._start_from = 0.0
        self._turn = Lock()

    def book(self, feed: BookedFeed) -> Booked | None:
        """Book a batch; raise what `BatchBooker.book` raises, and NotBookedError where it is to be booked here."""
        if not self._turn.acquire(timeout=TURN_S):
            raise NotBookedError("the booking process has another feed's batch in hand")
        try:
            return self._book(feed)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let it end after the batch in hand; kill it where that takes too long: whoever waits for it books here."""
        if self._turn.acquire(timeout=ENDING_S):
            try:
                self._end()
            finally:
                self._turn.release()
        elif (child := self._child) is not None:
            child.kill()

    def _book(self, feed: BookedFeed) -> Booked | None:
        if not self.is_ready():
            raise NotBookedError("the booking process is not ready")
        try:
            answer = self._asked(feed)
        except (EOFError, OSError) as error:  # whether the batch is booked, the database knows
            self._ended()
            raise NotBookedError("the booking process ended") from error
        for level, event, values in answer.said:
            getattr(log, level)(event, **values)
        if isinstance(answer.result, DatabaseRefusedError):  # it logs in with the password of its start
            self._end()
            raise NotBookedError(str(answer.result))
        if isinstance(answer.result, EtlError):
            raise answer.result
        return answer.result

    def is_ready(self) -> bool:
        """Return whether it can book now; start it where it does not run."""
        if self._ready and self._socket is not None and self._socket.poll():  # it never speaks unasked: it has ended
            self._ended()
        try:
            if self._socket is None and self._clock.monotonic() >= self._start_from:
                self._start()
            if not self._ready and self._socket is not None and self._socket.poll():
                self._ready = self._socket.recv()
        except (EOFError, OSError) as error:
            code = self._end()
            self._start_from = self._clock.monotonic() + START_AGAIN_S
            log.warning("book.process_not_started", error=repr(error), code=code, again_s=START_AGAIN_S)
        return self._ready

    def _end(self) -> int | None:
        """End it; return its code, if it ran."""
        connection, child = self._socket, self._child
        self._socket, self._child, self._ready = None, None, False
        if connection is not None:
            connection.close()
        if child is None:
            return None
        try:
            return child.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _asked(self, feed: BookedFeed) -> Answer:
        assert self._socket is not None, "it is ready"
        self._socket.send(feed)
        if not self._socket.poll(LONGEST_S):
            raise TimeoutError("the booking process does not answer")
        answer: Answer = self._socket.recv()
        return answer

    def _ended(self) -> None:
        """Note that it is gone, or hangs; say so where it did not end by itself, for want of work."""
        if code := self._end():
            log.warning("book.process_ended", code=code)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-m", "etl.booking"]
            self._child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
            self._socket = Connection(ours.detach())
        database = self._database
        timeouts = database.connect_timeout_s, database.statement_timeout_s
        self._socket.send(Begin(database.url_now, *timeouts, self._idle_s))
