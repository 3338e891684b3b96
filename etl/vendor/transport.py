"""One request, sent at most once, and every byte of its answer."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from etl.clock import Clock
from etl.errors import TicketExpiredError
from etl.vendor.connection import Departure, Pool, pool_to
from etl.vendor.endpoint import Endpoint
from etl.vendor.failure import Failure, failure_after_sending, failure_before_sending
from etl.vendor.feed import Cause

CHUNK = 256 * 1024


@dataclass(slots=True)
class Exchange:
    """A request and what came of it; `failure` says why the answer is not whole.

    `framed` tells whether the answer announced where its body ends; without it nothing shows that a body is whole.
    """

    request: requests.PreparedRequest
    bytes_left: bool = False
    failure: Failure | None = None
    status: int | None = None
    reason: str = ""
    headers: HTTPHeaderDict = field(default_factory=HTTPHeaderDict, repr=False)
    body: bytes = field(default=b"", repr=False)
    framed: bool = False

    @property
    def complete(self) -> bool:
        """Whether the answer arrived to its end."""
        return self.status is not None and self.failure is None


class _Adapter(HTTPAdapter):
    """requests' adapter on one pool of ours: no retry, no redirect, no cookies, nothing from the environment."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(max_retries=0, pool_connections=1, pool_maxsize=1)
        self._pool = pool

    def get_connection_with_tls_context(self, *_args: Any, **_options: Any) -> Pool:
        return self._pool

    def cert_verify(self, *_args: Any, **_options: Any) -> None:
        """Leave it to the pool's own context."""

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.raw = resp.status, req, resp
        return response


class Wire:
    """Sends requests to one endpoint, one at a time, and never twice."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        """Raise ConfigError when the files for TLS cannot be used. Nothing is connected yet."""
        self.endpoint, self._clock = endpoint, clock
        self._pool = pool_to(endpoint, clock)
        self._adapter = _Adapter(self._pool)
        self._one_at_a_time = Lock()

    def send(self, request: requests.PreparedRequest, allow: Callable[[], None] = lambda: None) -> Exchange:
        """Send the request once and return what came of it; never raises for the network or the other side.

        `allow` is called when the connection stands, right before the first byte leaves; it may raise
        TicketExpiredError.
        """
        exchange = Exchange(request)
        with self._one_at_a_time:
            timeout = (self.endpoint.connect_timeout_s, self.endpoint.read_timeout_s)
            departure = Departure(self._clock, allow, self.endpoint.read_timeout_s)
            self._pool.departure = departure
            try:
                raw = self._adapter.send(request, stream=True, timeout=timeout).raw
            except TicketExpiredError as error:
                exchange.failure = failure_before_sending(error)
            except (requests.RequestException, HTTPError, OSError, http.client.HTTPException) as error:
                exchange.failure = (failure_after_sending if departure.left else failure_before_sending)(error)
            else:
                exchange.status, exchange.reason, exchange.headers = raw.status, raw.reason or "", raw.headers
                exchange.framed = raw.length_remaining is not None or raw.chunked
                self._read(raw, exchange)
            exchange.bytes_left = departure.left
            self._pool.released_at = self._clock.boottime()
        return exchange

    def _read(self, raw: HTTPResponse, exchange: Exchange) -> None:
        pieces, size, limit = [], 0, self.endpoint.max_answer_bytes
        try:
            while piece := raw.read1(CHUNK, decode_content=False):
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    exchange.failure = Failure(Cause.TOO_LARGE, f"the answer is larger than {limit} bytes")
                    break
        except (HTTPError, OSError, http.client.HTTPException) as error:
            exchange.failure = failure_after_sending(error)
        exchange.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if exchange.failure is not None:
            raw.close()
        raw.release_conn()

    def drop(self) -> None:
        """Close the connection, so that the next request begins on a new one."""
        with self._one_at_a_time:
            self._pool.drop()

    def close(self) -> None:
        """Close for good."""
        self._pool.close()
        self._adapter.close()
