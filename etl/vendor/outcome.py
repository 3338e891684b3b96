"""What the end of a request means: which answers hand nothing out, and which leave us in doubt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, assert_never

import msgspec

from etl.domain.answer import Empty, Page, Unreadable, content_of
from etl.vendor.endpoint import MIB
from etl.vendor.failure import Failure
from etl.vendor.feed import Cause, PollOutcome, QueueAnswer, ResendAnswer, ResendOutcome
from etl.vendor.redaction import shown_headers
from etl.vendor.transport import Exchange

SHOWN_WHOLE = MIB
SHOWN_OF_LARGER = 64 * 1024
WORDS_AT_MOST = 500
LONGEST_WAIT_S = 86_400.0
_REFUSALS = {400: Cause.HTTP_400, 401: Cause.HTTP_401, 404: Cause.HTTP_404}
_ASKED_AGAIN = (401, 408, 429)
"""Of the 4xx those that say nothing of the resend itself; 401 after a new login is about who asks. A redirect does not
either: it comes from a proxy."""
_DOUBTFUL = {
    429: Cause.HTTP_429,
    500: Cause.HTTP_500,
    502: Cause.HTTP_502,
    503: Cause.HTTP_503,
    504: Cause.HTTP_504,
}


class Verdict(NamedTuple):
    """The outcome of a queue request, its cause, and a sentence."""

    outcome: PollOutcome
    cause: Cause
    detail: str = ""


def outcome_of(exchange: Exchange, request_id: str, now: datetime, hide: Callable[[str], str]) -> QueueAnswer:
    """Return what a queue request came to; `hide` takes the secrets out of a text, `now` is our own clock.

    Handing out is excluded by proof only: nothing was sent, the queue is empty, or the vendor refused with 400, 401
    or 404. Everything else is in doubt (laws 3 and 10; assumptions A8, A9).
    """
    outcome, cause, detail = verdict_on(exchange, request_id)
    message, reason_code = words_of(exchange) if exchange.status != 200 else ("", None)
    date = vendor_date_of(exchange)
    return QueueAnswer(
        outcome=outcome,
        cause=cause,
        detail=hide(": ".join(filter(None, (detail, message)))),
        status=exchange.status,
        body=None if exchange.status is None else exchange.body,
        complete=exchange.complete,
        content_type=_header(exchange, "Content-Type"),
        content_encoding=_header(exchange, "Content-Encoding"),
        request_id_echo=_header(exchange, "X-Request-ID"),
        vendor_date=date,
        retry_after_s=retry_after_s(exchange, date or now),
        reason_code=hide(reason_code) if reason_code else None,
        exchange=hide(transcript(exchange)) if exchange.status == 500 else None,
    )


def verdict_on(exchange: Exchange, request_id: str) -> Verdict:
    """Return the outcome alone, from the first fact that decides it."""
    failure, status = exchange.failure, exchange.status
    if not exchange.bytes_left:
        cause, detail = failure or Failure(Cause.CONNECT_FAILED, "the request did not leave")
        return Verdict(PollOutcome.NOT_SENT, cause, detail)
    if status is None:
        return Verdict(PollOutcome.IN_DOUBT, *(failure or Failure(Cause.NOT_HTTP, "no answer")))
    if echoes_another(exchange, request_id):
        return Verdict(
            PollOutcome.IN_DOUBT, Cause.FOREIGN_REQUEST_ID, "the answer carries the X-Request-ID of another request"
        )
    if status in _REFUSALS:
        return Verdict(PollOutcome.REFUSED, _REFUSALS[status], f"the vendor refused with {status}")
    if status not in (200, 204):
        return Verdict(PollOutcome.IN_DOUBT, _cause_of(status), f"the vendor answered with {status}")
    if failure is not None:
        return Verdict(PollOutcome.IN_DOUBT, *failure)
    return _verdict_on_content(exchange, status)


def _verdict_on_content(exchange: Exchange, status: int) -> Verdict:
    if status == 200 and not exchange.framed and not exchange.body:
        return Verdict(
            PollOutcome.IN_DOUBT, Cause.CUT, "the connection ended without a body, and none was announced as empty"
        )
    match content_of(status, exchange.body, _header(exchange, "Content-Encoding")):  # what is landed with the bytes
        case Page():
            return Verdict(PollOutcome.PAGE, Cause.PAGE)
        case Empty():
            return Verdict(PollOutcome.EMPTY, Cause.EMPTY)
        case Unreadable(why=why):
            return Verdict(PollOutcome.IN_DOUBT, Cause.UNREADABLE, why)
        case never:
            assert_never(never)


def resend_answer_of(exchange: Exchange, request_id: str, now: datetime, hide: Callable[[str], str]) -> ResendAnswer:
    """Return what a resend request came to; the status alone decides, 2xx with any body is accepted (A12)."""
    message, reason_code = words_of(exchange)
    date = vendor_date_of(exchange)
    outcome, told = _resend_verdict(exchange, request_id)
    return ResendAnswer(
        outcome=outcome,
        request_id=request_id,
        detail=hide(": ".join(filter(None, (told, message)))),
        status=exchange.status,
        vendor_date=date,
        retry_after_s=retry_after_s(exchange, date or now),
        reason_code=hide(reason_code) if reason_code else None,
        exchange=hide(transcript(exchange)) if exchange.status == 500 else None,
    )


def _resend_verdict(exchange: Exchange, request_id: str) -> tuple[ResendOutcome, str]:
    status, why = exchange.status, exchange.failure.detail if exchange.failure else ""
    if not exchange.bytes_left:
        return ResendOutcome.NOT_SENT, why
    if status is None:
        return ResendOutcome.IN_DOUBT, why
    if echoes_another(exchange, request_id):
        return ResendOutcome.IN_DOUBT, "the answer carries the X-Request-ID of another request"
    if 200 <= status < 300:
        return ResendOutcome.ACCEPTED, ""
    told = f"the vendor answered with {status}"
    if status == 404:
        return ResendOutcome.NOT_FOUND, told
    refused = 400 <= status < 500 and status not in _ASKED_AGAIN
    return (ResendOutcome.REFUSED if refused else ResendOutcome.IN_DOUBT), told


def echoes_another(exchange: Exchange, request_id: str) -> bool:
    """Whether the answer names another request than ours; one that names none is no contradiction."""
    return exchange.headers.get("X-Request-ID", request_id) != request_id


def words_of(exchange: Exchange) -> tuple[str, str | None]:
    """Return the vendor's message and reason code, both optional, made fit to be shown (A9)."""
    if len(exchange.body) > SHOWN_OF_LARGER:
        return "", None
    try:
        said = msgspec.json.decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", None
    if not isinstance(said, dict):
        return "", None
    message, code = said.get("message"), said.get("reasonCode")
    return _printable(message) if isinstance(message, str) else "", _printable(code) if isinstance(code, str) else None


def vendor_date_of(exchange: Exchange) -> datetime | None:
    """Return the instant of the answer's Date header."""
    return _http_date(exchange.headers.get("Date", ""))


def retry_after_s(exchange: Exchange, now: datetime) -> float | None:
    """Return the seconds that Retry-After asks for, given as a number or as a date after `now`.

    A day at most; None when it asks for nothing that can be read.
    """
    text = exchange.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_S)
    until = _http_date(text)
    return min(max(0.0, (until - now).total_seconds()), LONGEST_WAIT_S) if until else None


def transcript(exchange: Exchange) -> str:
    """Return the full request and answer as text, for the vendor's support; headers that authenticate are hidden."""
    request, body = exchange.request, exchange.body
    shown = body if len(body) <= SHOWN_WHOLE else body[:SHOWN_OF_LARGER]
    rest = [f"... and {len(body) - len(shown)} more bytes"] if len(shown) < len(body) else []
    sent = request.body if isinstance(request.body, bytes) else b""
    text = "\n".join(
        [
            f"{request.method} {request.url} HTTP/1.1",
            *shown_headers(request.headers.items()),
            "",
            *([sent.decode("utf-8", "backslashreplace"), ""] if sent else []),
            f"HTTP/1.1 {exchange.status} {exchange.reason}",
            *shown_headers(exchange.headers.items()),
            "",
            shown.decode("utf-8", "backslashreplace"),
            *rest,
        ]
    )
    return text.replace("\0", "\\x00")  # no text column can hold it


def _header(exchange: Exchange, name: str) -> str | None:
    value = exchange.headers.get(name)
    return None if value is None else _printable(" ".join(value.split()))


def _printable(text: str) -> str:
    """Return foreign words fit for a log and a text column: no control characters, and not too long."""
    if len(text) <= WORDS_AT_MOST and text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text[:WORDS_AT_MOST])


def _cause_of(status: int) -> Cause:
    if 300 <= status < 400:
        return Cause.REDIRECT
    return _DOUBTFUL.get(status) or (Cause.HTTP_5XX if 500 <= status < 600 else Cause.HTTP_OTHER)


@lru_cache(maxsize=8)  # a drain sees many answers of one second
def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
