"""A way to a Postgres server that can lose the reply to a COMMIT, or the COMMIT itself."""

import re
import socket
from contextlib import suppress
from threading import Thread
from types import TracebackType

from sqlalchemy import make_url

COMMIT = b"COMMIT\0"
KEPT, LOST = "kept", "lost"


class CuttingProxy:
    """Listens on loopback and passes everything on, until the COMMIT whose number `cuts` names; the first is 1.

    KEPT: the server gets that COMMIT, and its reply is thrown away. LOST: the server never gets it. Both ways the
    client only sees that its connection is gone. `hang_up_after`: bytes from the client after which both ends are
    closed. `version`: two digits that the server's version is told to begin with.
    """

    def __init__(self, url: str) -> None:
        behind = make_url(url)
        self._folder = behind.query.get("host")
        self._address = (behind.host or "127.0.0.1", behind.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = behind.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        self.cuts: dict[int, str] = {}
        self.commits = 0
        self.hang_up_after: int | None = None
        self.version: bytes | None = None
        self._open: list[socket.socket] = []

    def __enter__(self) -> "CuttingProxy":
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()
        _close(*self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            self._open += (client, server)
            Thread(target=self._forward, args=(client, server), daemon=True).start()
            Thread(target=self._back, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._folder is None:
            return socket.create_connection(self._address)
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._folder}/.s.PGSQL.5432")
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if COMMIT in data:
                    self.commits += 1
                    if cut := self.cuts.get(self.commits):
                        self._cut(client, server, data if cut == KEPT else b"")
                        return
                if self.hang_up_after is not None:
                    self.hang_up_after -= len(data)
                    if self.hang_up_after < 0:
                        break
                server.sendall(data)
        _close(client, server)

    def _cut(self, client: socket.socket, server: socket.socket, last_words: bytes) -> None:
        client.shutdown(socket.SHUT_WR)  # from here on no reply passes
        if last_words:
            server.sendall(last_words)
            server.sendall(b"X\0\0\0\4")  # Terminate: the server hangs up after the COMMIT is done
            with suppress(OSError):
                while server.recv(1 << 16):
                    pass
        _close(client, server)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if self.version is not None:
                    data = re.sub(rb"(server_version\0)\d\d", rb"\g<1>" + self.version, data)
                client.sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


class SwitchingProxy(CuttingProxy):
    """The one address of a database that may move to another server, as behind a virtual IP."""

    def lead_to(self, url: str) -> None:
        """Lead to another server from now on; every connection to the one before is cut."""
        behind = make_url(url)
        self._folder = behind.query.get("host")
        self._address = (behind.host or "127.0.0.1", behind.port or 5432)
        _close(*self._open)
