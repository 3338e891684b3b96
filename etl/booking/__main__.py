"""`python -m etl.booking`: books batches for the daemon, and ends with it; no command for people.

Standard input is a socket to the daemon: it names a feed, we book one batch of it and answer what that did. Nothing is
held here that is not in the database, so it may be killed at any time.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping, MutableMapping
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import structlog

from etl.booking.process import Answer, Begin
from etl.clock import SystemClock, take_short_turns
from etl.errors import EtlError
from etl.pipeline.batch import BatchBooker, Booked, BookedFeed
from etl.store.database import Database
from etl.store.unit_of_work import work_on


def main() -> None:
    """Book what the daemon asks for, until it closes the socket, or asks for nothing for too long."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the daemon, which then closes the socket
    take_short_turns()
    said: list[tuple[str, str, Mapping[str, Any]]] = []

    def keep(_logger: object, level: str, values: MutableMapping[str, Any]) -> NoReturn:
        said.append((level, values.pop("event"), dict(values)))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(0) as daemon:
        begin = Begin(*daemon.recv())
        database = Database(
            begin.url, connect_timeout_s=begin.connect_timeout_s, statement_timeout_s=begin.statement_timeout_s,
            pool_size=2,
        )  # fmt: skip
        open_work = work_on(database)
        bookers: dict[int, BatchBooker] = {}
        daemon.send(True)
        while daemon.poll(begin.idle_s):
            feed: BookedFeed = daemon.recv()
            if (booker := bookers.get(feed.feed_id)) is None:
                booker = bookers[feed.feed_id] = BatchBooker(feed, open_work, SystemClock())
            booker.take(feed)
            said.clear()
            daemon.send(Answer(_booked(booker), tuple(said)))


def _booked(booker: BatchBooker) -> Booked | EtlError | None:
    try:
        booked = booker.book()
    except EtlError as error:
        booker.forget()
        return error
    if booked is None:
        booker.forget()
    return booked


if __name__ == "__main__":
    main()
