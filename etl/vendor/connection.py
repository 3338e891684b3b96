"""Connections to the vendor: when the first byte leaves, until when we wait, when one is not used again."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ClosedPoolError
from urllib3.util import make_headers, parse_url

from etl.clock import Clock
from etl.vendor.endpoint import Endpoint, tls_context

IDLE_S = 1.0
"""A connection that was idle for longer is not used again (law 3)."""
HANG_UP = struct.pack("ii", 1, 0)  # close at once with a reset: what the kernel still holds is not sent any more


def hang_up(sock: socket.socket) -> None:
    """Let the coming close reset the connection: a request that the kernel sent again later would be a ghost (A22)."""
    with contextlib.suppress(OSError):  # the socket is dead already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HANG_UP)


@dataclass(slots=True)
class Departure:
    """The moment in which the first byte leaves, and the deadline that it sets."""

    clock: Clock
    allow: Callable[[], None]
    patience_s: float
    left: bool = False
    deadline: float = 0.0

    def leave(self) -> None:
        """Ask for the last time whether to send; from here on the request counts as sent."""
        self.allow()
        self.left = True
        self.deadline = self.clock.monotonic() + self.patience_s

    def remaining_s(self) -> float:
        """Return the seconds left for the answer; raise TimeoutError when there are none."""
        if (left := self.deadline - self.clock.monotonic()) <= 0:
            raise TimeoutError("the time for the whole answer is over")
        return left


class _PatientSocket(io.RawIOBase):
    """Reads from a socket until a deadline for all bytes together; requests' own time-out is for each alone."""

    def __init__(self, sock: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._sock = sock
        self._bytes = sock.makefile("rb", buffering=0)
        self._remaining_s = remaining_s

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what http.client reads an answer from."""
        return io.BufferedReader(self, 65536)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            self._sock.settimeout(self._remaining_s())
            return self._bytes.readinto(buffer)
        except OSError:
            hang_up(self._sock)
            raise

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, remaining_s: Callable[[], float], **options: Any) -> None:
        super().__init__(cast("socket.socket", _PatientSocket(sock, remaining_s)), *args, **options)

    def begin(self) -> None:
        super().begin()
        # urllib3 would log header lines that it cannot read, and one of them may hold a token
        self.msg.defects.clear()
        self.msg.set_payload("")


class Watched(HTTPConnection):
    """Connects first, asks whether to send, and only then sends."""

    auto_open = 0  # http.client would else connect again by itself in the middle of a request
    departure: Departure

    def connect(self) -> None:
        self.response_class = http.client.HTTPResponse  # a proxy's answer has no deadline of ours
        super().connect()

    def request(  # type: ignore[override]  # as in urllib3 itself
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: bool,
    ) -> None:
        if self.is_closed:
            self.connect()
        self.departure.leave()
        self.response_class = partial(_Answer, remaining_s=self.departure.remaining_s)  # type: ignore[assignment]
        try:
            super().request(method, url, body, headers, **options)
        except OSError:
            if self.sock is not None:
                hang_up(self.sock)
            raise


class WatchedTls(Watched, HTTPSConnection):
    pass


class Pool(HTTPConnectionPool):
    """One connection, closed when it was idle for too long."""

    ConnectionCls = Watched
    clock: Clock
    departure: Departure
    released_at = float("-inf")

    def _get_conn(self, timeout: float | None = None) -> Watched:
        connection = super()._get_conn(timeout)
        assert isinstance(connection, Watched)
        connection.departure = self.departure
        if self.clock.boottime() - self.released_at > IDLE_S:
            connection.close()
        return connection

    def drop(self) -> None:
        """Close the connection that waits for the next request."""
        with contextlib.suppress(ClosedPoolError):  # closed for good meanwhile: nothing is left to drop
            connection = super()._get_conn()
            connection.close()
            self._put_conn(connection)


class TlsPool(Pool, HTTPSConnectionPool):
    ConnectionCls = WatchedTls


def pool_to(endpoint: Endpoint, clock: Clock) -> Pool:
    """Return a pool for one endpoint; raise ConfigError when the files for TLS cannot be used."""
    parts = endpoint.address
    options: dict[str, Any] = {"maxsize": 1, "block": False, "retries": False}
    options["socket_options"] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(endpoint.read_timeout_s * 1000)),
    ]
    if parts.scheme == "http":
        pool = Pool(cast("str", parts.hostname), parts.port, **options)
        pool.clock = clock
        return pool
    if endpoint.proxy:
        proxy = parse_url(endpoint.proxy)
        options["_proxy"] = proxy._replace(auth=None)
        options["_proxy_headers"] = make_headers(proxy_basic_auth=unquote(proxy.auth)) if proxy.auth else {}
    tls_pool = TlsPool(cast("str", parts.hostname), parts.port, ssl_context=tls_context(endpoint), **options)
    tls_pool.clock = clock
    return tls_pool
