"""The process that books a backlog, as the daemon sees it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import structlog

from etl.errors import EtlError
from etl.pipeline.batch import Booked, BookedFeed
from etl.store.database import Database

ENDING_S = 5.0  # for the batch in hand, when the process is to end
LONGEST_S = 300.0  # for a batch, waits for locks among it; then the process is taken for hung

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

log = structlog.get_logger()


class Begin(NamedTuple):
    """What the process must know before its first batch. The url holds the password: it goes over the socket only."""

    url: str
    connect_timeout_s: int
    statement_timeout_s: int


class Answer(NamedTuple):
    """What became of a batch, and the log lines on the way: level, event, values."""

    result: Booked | EtlError | None
    said: tuple[tuple[str, str, Mapping[str, Any]], ...]


class BookingProcess:
    """The process as the daemon sees it; started when it is asked for, again where it ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: Connection | None = None
        self._ready = False

    def is_ready(self) -> bool:
        """Return whether it can book now; start it where it does not run."""
        if self._socket is None:
            self._start()
        if not self._ready and self._socket is not None and self._socket.poll():
            try:
                self._ready = self._socket.recv()
            except (EOFError, OSError):
                self.close()
        return self._ready

    def book(self, feed: BookedFeed) -> Booked | None:
        """Book a batch; raise what `BatchBooker.book` raises, and EOFError or OSError where the process ended."""
        assert self._socket is not None, "it is ready"
        self._socket.send(feed)
        if not self._socket.poll(LONGEST_S):
            raise TimeoutError("the booking process does not answer")
        answer: Answer = self._socket.recv()
        for level, event, values in answer.said:
            log.log(_LEVELS[level], event, **values)
        if isinstance(answer.result, EtlError):
            raise answer.result
        return answer.result

    def close(self) -> None:
        """Let it end after the batch in hand; kill it where that takes too long."""
        connection, child = self._socket, self._child
        self._socket, self._child, self._ready = None, None, False
        if connection is not None:
            connection.close()
        if child is not None:
            try:
                child.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "etl.booking"]
            self._child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._socket = Connection(ours.detach())
        database = self._database
        self._socket.send(Begin(database.url_now, database.connect_timeout_s, database.statement_timeout_s))
