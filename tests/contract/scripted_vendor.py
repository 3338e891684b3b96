"""A vendor of raw sockets that answers as a test tells it, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

from etl.clock import SystemClock
from etl.vendor.client import Endpoint, VendorClient
from etl.vendor.feed import PollTicket

QUEUE = "/v2/trades/stp/messages"
PAGE = b'[{"tradeId":"FXI1","dealtAmount":1000000.10},{"tradeId":"FXI2"}]'
PASSWORD = 'pass-word "7" / ü'
TOKEN = "first-token_0123456789"


@dataclass(frozen=True)
class Asked:
    """One request as it came, and the number of the connection it came on."""

    connection: int
    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1].partition("?")[0]

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


Answer = Callable[[socket.socket, Asked], None]


def answer(
    status: int = 200, body: bytes = PAGE, *headers: str, length: int | None = None, echo: str | None = "same"
) -> Answer:
    """Answer in order; `echo` is the X-Request-ID: the same, another, or none; `length` a Content-Length that lies."""

    def send(to: socket.socket, asked: Asked) -> None:
        lines = [f"HTTP/1.1 {status} Told", *headers]
        if echo is not None:
            lines.append(f"X-Request-ID: {asked.request_id if echo == 'same' else echo}")
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        to.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    return send


def raw(*pieces: bytes, pause_s: float = 0.0, then: str = "close") -> Answer:
    """Send bytes as they are, with pauses, then `close`, `reset`, `hold` the connection or `go_on`."""

    def send(to: socket.socket, asked: Asked) -> None:
        for piece in pieces:
            to.sendall(piece.replace(b"{id}", asked.request_id.encode()))
            time.sleep(pause_s)
        if then == "reset":
            to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if then == "hold":
            to.settimeout(5)
            to.recv(1)
        if then != "go_on":
            to.close()

    return send


def logged_in(token: str | None = TOKEN, *headers: str, life_s: float = 60.0, **said: Any) -> Answer:
    """Answer a login or a renewal; the vendor's clock is told as in the sample."""
    start = 1665490420730
    body = {"status": "OK", "errorCode": None, "expiryTime": start + int(life_s * 1000), "serverUTCTime": start} | said
    told = {name: value for name, value in body.items() if value is not ...}
    return answer(200, json.dumps(told).encode(), *([f"SSO_TOKEN: {token}"] if token else []), *headers)


@dataclass
class ScriptedVendor:
    """`script` holds the answers by path; where none is left, the queue is empty and a login succeeds."""

    tls: ssl.SSLContext | None = None
    before_handshake_s: float = 0.0
    script: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stop = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> ScriptedVendor:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(6)
        for each in self._open:
            each.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def will(self, *answers: Answer, path: str = QUEUE) -> None:
        """Give these answers next, in this order."""
        self.script.setdefault(path, []).extend(answers)

    def asked_for(self, path: str = QUEUE) -> list[Asked]:
        """Return the requests of one path."""
        return [each for each in self.asked if each.path == path]

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(accepted)
            self._threads.append(Thread(target=self._serve, args=(accepted, number), daemon=True))
            self._threads[-1].start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            time.sleep(self.before_handshake_s)
            if self.tls:
                accepted = self.tls.wrap_socket(accepted, server_side=True)
                self._open.append(accepted)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for asked in _requests(accepted, number):
                self.asked.append(asked)
                waiting = self.script.get(asked.path)
                (waiting.pop(0) if waiting else self._default(asked))(accepted, asked)
                if accepted.fileno() < 0:
                    return

    def _default(self, asked: Asked) -> Answer:
        if asked.path.startswith("/v2/sso"):
            return logged_in()
        return answer(200, b"[]")


def _requests(accepted: socket.socket, number: int) -> Iterator[Asked]:
    waiting = b""
    while True:
        while b"\r\n\r\n" not in waiting:
            if not (came := accepted.recv(65536)):
                return
            waiting += came
        head, _, waiting = waiting.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        length = int(headers.get("content-length", 0))
        while len(waiting) < length:
            waiting += accepted.recv(65536)
        body, waiting = waiting[:length], waiting[length:]
        yield Asked(number, line, headers, body)


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.start = datetime(2026, 3, 3, 7, 5, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds

    def boottime(self) -> float:
        return self.seconds + 50_000

    def wait(self, event: Event, seconds: float) -> bool:
        self.seconds += seconds
        return event.is_set()


_numbers = itertools.count(1)


def a_ticket(clock: Any = None, *, life_s: float = 2.0) -> PollTicket:
    """Return a ticket that nobody has used yet."""
    number = next(_numbers)
    return PollTicket(number, f"poll-{number}", (clock or SystemClock()).boottime() + life_s)


@contextlib.contextmanager
def a_client(vendor: ScriptedVendor | str, clock: Any = None, **settings: Any) -> Iterator[VendorClient]:
    """Yield a client of the vendor, with short time-outs; the caller logs in."""
    url = vendor if isinstance(vendor, str) else vendor.url
    usual: dict[str, Any] = {"org": "pfOrg", "user": "apiUser", "password": lambda: PASSWORD}
    endpoint = Endpoint(base_url=url, **{**usual, "connect_timeout_s": 1.0, "read_timeout_s": 1.0, **settings})
    ids = itertools.count(1)
    client = VendorClient(endpoint, clock or SystemClock(), lambda: f"request-{next(ids)}")
    try:
        yield client
    finally:
        client.close()
