"""Questions that change nothing: how they are written, and which answers are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import requests

from etl.errors import (
    VendorAwayError,
    VendorFailedError,
    VendorRefusedError,
    VendorThrottledError,
    VendorUnreachableError,
)
from etl.vendor.endpoint import Endpoint
from etl.vendor.feed import VendorReply
from etl.vendor.outcome import echoes_another, retry_after_s, transcript, vendor_date_of, words_of
from etl.vendor.transport import Exchange

THROTTLED_S = 30.0
"""How long we wait after a 429 that does not say it."""
DESCRIBING_HEADERS = ("Content-Type", "Content-Encoding", "Date", "X-Request-ID")


def request_to(
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int] | None = None,
    body: bytes | None = None,
) -> requests.PreparedRequest:
    """Return a request of the vendor's `path`, with all headers but those that authenticate and identify it."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": endpoint.user_agent}
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = requests.PreparedRequest()
    url = endpoint.base_url.rstrip("/") + path
    request.prepare(method=method, url=url, headers=headers, params=dict(query or {}), data=body)
    return request


def raise_unless_answered(exchange: Exchange, request_id: str, *, now: datetime, hide: Callable[[str], str]) -> None:
    """Return for an answer with status 2xx or 404, whole and ours; raise for all else (law 10).

    Raises VendorUnreachableError (no status), VendorAwayError, VendorFailedError (500), VendorThrottledError or
    VendorRefusedError. `hide` takes the secrets out of a text; `now` is our own clock.
    """
    what = f"{exchange.request.method} {exchange.request.path_url}"
    status = exchange.status
    if status is None:
        raise VendorUnreachableError(hide(f"{what}: {exchange.failure.detail if exchange.failure else 'no answer'}"))
    if echoes_another(exchange, request_id):
        raise VendorAwayError(hide(f"{what}: the answer carries the X-Request-ID of another request"))
    if status == 429:
        wait = retry_after_s(exchange, vendor_date_of(exchange) or now)
        raise VendorThrottledError(timedelta(seconds=THROTTLED_S if wait is None else wait))
    sentence = hide(": ".join([f"{what}: the vendor answered with {status}", *filter(None, words_of(exchange))]))
    if status == 500:
        raise VendorFailedError(f"{sentence}; give the incident to the vendor's support", hide(transcript(exchange)))
    if status >= 500:
        raise VendorAwayError(sentence)
    if not 200 <= status < 300 and status != 404:
        raise VendorRefusedError(f"{sentence}; check base_url, the user and its rights")
    if exchange.failure is not None:
        raise VendorAwayError(hide(f"{what}: {exchange.failure.detail}"))
    if exchange.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise VendorAwayError(hide(f"{what}: the answer came compressed, though we asked for it plain"))


def reply_of(exchange: Exchange, request_id: str) -> VendorReply:
    """Return an answer that `raise_unless_answered` let pass."""
    headers = {name.lower(): exchange.headers[name] for name in DESCRIBING_HEADERS if name in exchange.headers}
    return VendorReply(exchange.status or 0, exchange.body, headers, request_id, vendor_date_of(exchange))
