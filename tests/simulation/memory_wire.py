"""The network between the real client and the sandbox's ASGI application, in memory and on virtual time."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

from etl.sandbox.connection import TRANSPORT, head
from tests.simulation.virtual import VirtualLoop

Message = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]
BODILESS = (204, 304)


class Watcher(Protocol):
    """Who decides what happens on the way, and what happens while somebody waits for an answer."""

    def connecting(self) -> None:
        """A connection is about to be made; raises OSError where it cannot."""
        ...

    def sent(self, deliver: Callable[[], None]) -> None:
        """A request has left its sender; the watcher delivers it."""
        ...

    def waiting(self, seconds: float) -> None:
        """Somebody waits for an answer."""
        ...

    def answered(self) -> None:
        """Bytes of an answer are about to be read."""
        ...


class Network:
    """Makes connections to one application. `closed_until`: nobody listens at the port before that."""

    def __init__(self, application: Application, loop: VirtualLoop, watcher: Watcher) -> None:
        self.application, self.loop, self.watcher = application, loop, watcher
        self.open: list[MemorySocket] = []
        self.served: set[asyncio.Task[None]] = set()  # the loop itself would let them be collected while they wait
        self.closed_until = 0.0
        self._quiet, _peer = socket.socketpair()
        self._ended, gone = socket.socketpair()
        self._keep = _peer
        gone.close()

    def connect(self, *_address: Any, **_options: Any) -> MemorySocket:
        """Take the place of `create_connection`."""
        self.watcher.connecting()
        if self.loop.time() < self.closed_until:
            raise ConnectionRefusedError(111, "Connection refused")
        made = MemorySocket(self)
        self.open.append(made)
        return made

    async def refuse(self, seconds: float) -> None:
        """Close the port and every connection for some seconds."""
        self.closed_until = self.loop.time() + seconds
        for each in list(self.open):
            each.transport.abort()

    def descriptor(self, *, ended: bool) -> int:
        """Return what poll() finds readable or not, as it would find the connection."""
        return (self._ended if ended else self._quiet).fileno()

    def close(self) -> None:
        """Close what stands for sockets."""
        for each in (self._quiet, self._ended, self._keep):
            each.close()


class Transport:
    """The vendor's end of a connection."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.reset = False
        self.gone: asyncio.Event | None = None

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def close(self) -> None:
        self.closed = True
        if self.gone is not None:
            self.gone.set()

    def abort(self) -> None:
        self.reset = True
        self.close()

    def get_extra_info(self, _name: str) -> None:
        return None


class MemorySocket:
    """The client's end of a connection: as much of a socket as http.client and urllib3 use."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._request = bytearray()
        self._patience_s: float | None = None
        self.transport = Transport()
        self.closed = False

    def sendall(self, data: bytes) -> None:
        if self.transport.closed:
            raise BrokenPipeError(32, "Broken pipe")
        self._request += data
        if (whole := _whole_request(self._request)) is not None:
            self._request.clear()
            self._network.watcher.sent(lambda: self._deliver(whole))

    def _deliver(self, whole: tuple[bytes, bytes]) -> None:
        loop = self._network.loop
        task = loop.create_task(_serve(self._network.application, whole, self.transport, client_left=self.closed))
        self._network.served.add(task)
        task.add_done_callback(self._network.served.discard)
        task.add_done_callback(_raise_outside(loop))
        if not loop.is_running():  # a timer of the loop delivers it otherwise
            loop.settle()

    def receive_into(self, buffer: Any) -> int:
        """Read as recv_into does, letting virtual time pass until something comes, or patience is over."""
        loop, watcher, transport = self._network.loop, self._network.watcher, self.transport
        patience = float("inf") if self._patience_s is None else self._patience_s
        until_at = loop.time() + patience
        while not transport.written and not transport.closed:
            if (left := until_at - loop.time()) <= 0:
                raise TimeoutError("timed out")
            due = loop.next_timer()
            watcher.waiting(left if due is None else min(left, max(0.0, due - loop.time())))
            loop.settle()
        watcher.answered()
        if not transport.written:
            if transport.reset:
                raise ConnectionResetError(104, "Connection reset by peer")
            return 0
        count = min(len(buffer), len(transport.written))
        buffer[:count] = transport.written[:count]
        del transport.written[:count]
        return count

    def makefile(self, _mode: str, **_options: Any) -> io.RawIOBase:
        return _Reader(self)

    def settimeout(self, seconds: float | None) -> None:
        self._patience_s = seconds

    def gettimeout(self) -> float | None:
        return self._patience_s

    def setsockopt(self, *_values: Any) -> None:
        """Nothing below is a socket."""

    def shutdown(self, _how: int) -> None:
        self.close()

    def fileno(self) -> int:
        return self._network.descriptor(ended=bool(self.transport.closed or self.transport.written))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._network.open.remove(self)
            self.transport.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: MemorySocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._sock.receive_into(buffer)


def _whole_request(data: bytearray) -> tuple[bytes, bytes] | None:
    start, found, body = bytes(data).partition(b"\r\n\r\n")
    if not found:
        return None
    wanted = next((int(line[15:]) for line in start.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return (start, body) if len(body) >= wanted else None


def _raise_outside(loop: VirtualLoop) -> Callable[[asyncio.Task[None]], None]:
    def look(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.failures.append(error)

    return look


async def _serve(
    application: Application, whole: tuple[bytes, bytes], transport: Transport, *, client_left: bool
) -> None:
    """Answer one request as a server would: by length where one is announced, else in chunks."""
    gone = transport.gone = asyncio.Event()
    if client_left or transport.closed:
        gone.set()
    unread, chunked = [whole[1]], False

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal chunked
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            announced = any(name.lower() == b"content-length" for name, _ in headers)
            chunked = not announced and message["status"] not in BODILESS
            transport.write(head(message["status"], headers + [(b"Transfer-Encoding", b"chunked")] * chunked))
            return
        body = message.get("body", b"")
        if chunked and body:
            transport.write(b"%x\r\n%s\r\n" % (len(body), body))
        elif not chunked:
            transport.write(body)
        if chunked and not message.get("more_body", False):
            transport.write(b"0\r\n\r\n")

    await application(_scope(whole[0], transport), receive, send)


def _scope(start: bytes, transport: Transport) -> Message:
    line, *headers = start.split(b"\r\n")
    method, target, _version = line.decode("latin-1").split(" ")
    path, _, query = target.partition("?")
    pairs = [tuple(part.strip() for part in each.split(b":", 1)) for each in headers]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path), "raw_path": path.encode("latin-1"), "query_string": query.encode("latin-1"),
        "root_path": "", "headers": [(name.lower(), value) for name, value in pairs], "state": {},
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), TRANSPORT: transport,
    }  # fmt: skip
