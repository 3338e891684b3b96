"""Ways to make the daemon stand still at one point, from outside: on the wire, at a table, inside a commit."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text

from tests.acceptance.program import until
from tests.databases import change, rows
from tests.simulation.worlds import World

GET_PAGE = b"GET /v2/trades/stp/messages"
POST_RESEND = b"POST /v2/trades/stp/resend"
AT_COMMIT = 4711
"""Number of the advisory lock on which a commit waits."""


class HoldingWire:
    """The wire between daemon and vendor: passes everything on, but never the requests that begin with `holds`.

    What it holds it swallows: the daemon waits for an answer, and the vendor never hears of it.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._ended = Event()
        self.url = f"http://127.0.0.1:{self._address[1]}"
        self.behind = ""
        self.holds = b""
        self.holds_after_a_page = False
        self.held = Event()
        self._open: list[socket.socket] = []

    def __enter__(self) -> HoldingWire:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        _close(self._listener, *self._open)

    def release(self) -> None:
        """Pass everything on from now."""
        self.holds, self.holds_after_a_page = b"", False
        self.held.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    vendor = self._to_the_vendor()
                except ConnectionRefusedError:
                    _close(client)
                    self._refuse_like_the_vendor()
                    continue
                self._open += (client, vendor)
                Thread(target=self._forward, args=(client, vendor), daemon=True).start()
                Thread(target=self._back, args=(client, vendor), daemon=True).start()

    def _to_the_vendor(self) -> socket.socket:
        behind = urlsplit(self.behind)
        return socket.create_connection((behind.hostname or "", behind.port or 80))

    def _refuse_like_the_vendor(self) -> None:
        """Let nobody in until the vendor does."""
        _close(self._listener)
        while not self._ended.wait(0.02):
            with suppress(ConnectionRefusedError):
                _close(self._to_the_vendor())
                self._listener = socket.create_server(self._address)
                return

    def _forward(self, client: socket.socket, vendor: socket.socket) -> None:
        swallows = False
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if swallows or (self.holds and data.startswith(self.holds)):
                    swallows = True
                    self.held.set()
                else:
                    vendor.sendall(data)
        _close(client, vendor)

    def _back(self, client: socket.socket, vendor: socket.socket) -> None:
        with suppress(OSError):
            while data := vendor.recv(1 << 16):
                if self.holds_after_a_page and b'"tradeId"' in data:
                    self.holds = GET_PAGE
                client.sendall(data)
        _close(client, vendor)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def locked(here: World, table: str) -> Iterator[None]:
    """Keep everybody else from a table."""
    with here.database.connect() as connection:
        connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield
        connection.rollback()


def waits_at(here: World, statement: str) -> list[tuple[Any, ...]]:
    """Return the server processes that wait for a lock in a statement like this one."""
    return rows(
        here.database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND query LIKE :wanted",
        wanted=statement,
    )


@contextmanager
def commits_wait(here: World, when: str, *, kept: bool) -> Iterator[None]:
    """Let each commit with such a change stand still inside; afterwards let it be kept, or end its server process.

    `when`: such as `INSERT ON stp.poll`.
    """
    change(
        here.database,
        f"CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({AT_COMMIT}); RETURN NULL; END $$",
    )
    change(
        here.database,
        f"CREATE CONSTRAINT TRIGGER wait AFTER {when} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " EXECUTE FUNCTION public.wait()",
    )
    with here.database.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({AT_COMMIT})"))
        yield
        waiting = [pid for (pid,) in waits_at(here, "COMMIT")]
        assert waiting, "nobody is inside a commit"
        if not kept:
            for pid in waiting:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            until(lambda: not waits_at(here, "COMMIT"), what="the commit to be lost")
        connection.execute(text(f"SELECT pg_advisory_unlock({AT_COMMIT})"))
        connection.rollback()
    until(lambda: not waits_at(here, "COMMIT"), what="the commit to end")
    change(here.database, "DROP FUNCTION public.wait() CASCADE")
