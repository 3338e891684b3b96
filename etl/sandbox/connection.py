"""The connection under a request, for the faults that HTTP itself does not know."""

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing is a reset."""
TRANSPORT = "etl.sandbox.transport"


class OpenProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which shows each request the transport that it came by."""

    def on_message_begin(self) -> None:
        """Put the transport into the scope of the request that begins."""
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]


class Connection:
    """The client's connection; after closing it, the request is over."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._transport: asyncio.Transport = scope[TRANSPORT]
        self._receive = receive

    def write(self, data: bytes) -> None:
        """Send bytes past the server's own idea of an answer."""
        self._transport.write(data)

    async def close(self) -> None:
        """Send what is written, close, and wait until the server has noticed."""
        self._transport.close()
        await self._until_gone()

    async def reset(self) -> None:
        """Close with RST."""
        if (raw := self._transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._transport.abort()
        await self._until_gone()

    async def silence(self, seconds: float) -> None:
        """Say nothing until the client leaves, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._until_gone()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return status line and headers as they go over the wire."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b": ".join(pair) for pair in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"
