"""The sandbox as a server: binds loopback, says when it is ready, stops within a second."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from etl.sandbox.connection import OpenProtocol
from etl.sandbox.control import Control
from etl.sandbox.express import Express
from etl.sandbox.guide import PATH, Guide
from etl.sandbox.options import Options, User
from etl.sandbox.vendor import Vendor
from etl.sandbox.world import World

__all__ = ["Options", "User", "serve"]

LOOPBACK = "127.0.0.1"
EXECUTION_STEP_S = 0.05


class SandboxServer(uvicorn.Server):
    """Uvicorn with a port that can be closed for a while, and without its own ideas about signals."""

    def __init__(self, options: Options) -> None:
        self.world = World(options)
        vendor = Vendor(self.world, self.refuse)
        control = Control(self.world, self.refuse)
        app = Starlette(routes=[*vendor.routes(), *control.routes(), *Guide(self.world).routes()])
        express = Express(self.world, vendor.sessions, app)
        super().__init__(
            uvicorn.Config(
                express,
                http=OpenProtocol,
                ws="none",
                lifespan="off",
                log_level=logging.CRITICAL,
                access_log=False,
                date_header=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=0,
            )
        )
        self._options = options
        self._socket = bound_socket(options.port)
        self.port: int = self._socket.getsockname()[1]

    async def run_until_stopped(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._options.stop_on_eof:
            loop.add_reader(sys.stdin.fileno(), self._read_input)
        executing = asyncio.create_task(self._execute_by_rate())
        await self.serve(sockets=[self._socket])
        executing.cancel()

    def _read_input(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._stop()

    def _stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run_until_stopped`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so in one line on stdout."""
        await super().startup(sockets)
        first = self._options.users[0]
        url = f"http://{LOOPBACK}:{self.port}"
        ready = {"event": "sandbox.ready", "url": url, "user": first.name, "org": first.org, "orders": url + PATH}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once: nobody's silence is waited for."""
        self.abort_connections()
        await super().shutdown(sockets)

    def abort_connections(self) -> None:
        """End every connection without a word."""
        for connection in list(self.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()

    async def refuse(self, seconds: float) -> None:
        """Close the port and every connection; listen on the same port again after some seconds.

        First nobody is let in any more: asyncio would forget, open, a connection that it accepted right before the end.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)  # who was let in gets its protocol
        for server in self.servers:
            server.close()
        kept = bound_socket(self.port)  # nobody else gets the port meanwhile
        loop.call_later(0.01, self.abort_connections)
        loop.call_later(seconds, self._listen_again, kept)

    def _listen_again(self, kept: socket.socket) -> None:
        self._reopening = asyncio.create_task(self._reopen(kept))

    async def _reopen(self, kept: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._protocol, sock=kept)]

    def _protocol(self) -> OpenProtocol:
        return OpenProtocol(self.config, self.server_state, self.lifespan.state)

    async def _execute_by_rate(self) -> None:
        """Let trades be done at the wanted rate, in every organisation."""
        loop, rate = asyncio.get_running_loop(), self._options.rate
        began, done = loop.time(), 0
        while rate > 0:
            await asyncio.sleep(EXECUTION_STEP_S)
            due = int((loop.time() - began) * rate) - done
            if due > 0:
                for org in self.world.generators:
                    self.world.execute(org, due)
                done += due


def bound_socket(port: int) -> socket.socket:
    """Return a socket bound to loopback, and to nothing else."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio leaves Nagle on
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound


def serve(options: Options) -> None:
    """Play the vendor until SIGTERM or SIGINT."""
    logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())
    gc.disable()  # a large world is built at once, and none of it ever becomes garbage
    server = SandboxServer(options)
    gc.freeze()
    gc.enable()
    asyncio.run(server.run_until_stopped())
