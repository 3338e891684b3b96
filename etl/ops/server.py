"""The pages /livez, /readyz, /metrics and /version, served by a thread of the daemon."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from threading import Thread

import msgspec
import structlog
import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from etl import metrics
from etl.ops.health import Health

STOP_WITHIN_S = 2.0
NOT_KEPT = {"Cache-Control": "no-store"}

log = structlog.get_logger()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address; raises OSError with a sentence where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OSError(f"ops.listen = {host}:{port} cannot be used: {error.strerror or error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(64)  # else a second program could bind it too, and only then be refused
    except OSError as error:
        bound.close()
        reason = f"ops.listen = {host}:{port} cannot be used: {(error.strerror or str(error)).lower()}"
        raise OSError(f"{reason}; stop what listens there, or set another address (port 0 takes a free one)") from error
    return bound


class Unhurried(uvicorn.Server):
    """Looks twice a second whether it is to end; ten times were a sixth of what an idle daemon takes of a core."""

    async def main_loop(self) -> None:
        """Tick as its base does, less often; each tick also renews the header with the date."""
        while not await self.on_tick(0):
            await asyncio.sleep(0.5)


class Pages:
    """The pages, while the block lasts. They need nothing of the daemon's threads to answer."""

    def __init__(self, bound: socket.socket, health: Health, version: Mapping[str, str]) -> None:
        self._bound, self._health, self._version = bound, health, version
        metrics.BUILD_INFO.labels(version["version"]).set(1)
        app = Starlette(
            routes=[
                Route("/livez", self._live),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                Route("/version", self._say_version),
            ]
        )
        config = uvicorn.Config(
            app, http="httptools", ws="none", loop="asyncio", lifespan="off", log_level=logging.ERROR,
            log_config=None, access_log=False, server_header=False, timeout_keep_alive=5, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = Unhurried(config)
        self._thread = Thread(target=self._server.run, args=([bound],), name="pages", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._bound.getsockname()[1])

    def __enter__(self) -> Pages:
        self._thread.start()
        host = self._bound.getsockname()[0]
        log.info("ops.listening", url=f"http://{f'[{host}]' if ':' in host else host}:{self.port}")
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN_S)
        self._bound.close()

    async def _live(self, _request: Request) -> Response:
        stuck = self._health.live()
        return JSONResponse(
            {"status": "stuck" if stuck else "alive", "reasons": stuck}, 503 if stuck else 200, NOT_KEPT
        )

    def _ready(self, _request: Request) -> Response:
        """Not a coroutine: it may wait for the database, in a thread of its own, while the other pages answer."""
        parts = self._health.ready()
        ready = all(part.ok for part in parts.values() if part.needed)
        content = {"status": "ready" if ready else "not ready", "components": msgspec.to_builtins(parts)}
        return JSONResponse(content, 200 if ready else 503, NOT_KEPT)

    async def _metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.REGISTRY), media_type=None, headers={"Content-Type": content_type, **NOT_KEPT})

    async def _say_version(self, _request: Request) -> Response:
        return JSONResponse(dict(self._version), headers=NOT_KEPT)
