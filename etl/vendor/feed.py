"""What we need of a vendor, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from etl.errors import TicketExpiredError


class PollOutcome(StrEnum):
    """How a queue request ended. Whether trades may have been handed out and lost decides the class."""

    PAGE = "page"  # a readable array with at least one element: landed
    EMPTY = "empty"  # proof that nothing was handed out (law 10, A8)
    REFUSED = "refused"  # the vendor answered that it hands nothing out: 400, 401, 404 (A9)
    NOT_SENT = "not_sent"  # no byte of the request left this machine
    IN_DOUBT = "in_doubt"  # all else


class Cause(StrEnum):
    """Why a queue request ended as it did: the closed list of `QueueAnswer.cause`, fit for a metric's label."""

    PAGE = "page"
    EMPTY = "empty"
    # the vendor answered, and hands nothing out (A9)
    HTTP_400 = "http_400"
    HTTP_401 = "http_401"
    HTTP_404 = "http_404"
    # nothing has left this machine
    TICKET_EXPIRED = "ticket_expired"
    TICKET_USED = "ticket_used"
    NO_SESSION = "no_session"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    DNS = "dns"
    TLS = "tls"
    PROXY = "proxy"
    # something may have left, and what came of it is not known
    TIMEOUT = "timeout"
    RESET = "reset"
    CUT = "cut"
    NOT_HTTP = "not_http"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    FOREIGN_REQUEST_ID = "foreign_request_id"
    REDIRECT = "redirect"
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    HTTP_502 = "http_502"
    HTTP_503 = "http_503"
    HTTP_504 = "http_504"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"


class PollTicket(msgspec.Struct, frozen=True):
    """The right to send one queue request. Only opening a poll makes one (law 12).

    `expires_at` is an instant of `Clock.boottime`, 2 s after the intent was committed.
    """

    poll_id: int
    request_id: str
    expires_at: float

    def check(self, boottime: float) -> None:
        """Raise TicketExpiredError when the ticket is too old to be used."""
        if boottime > self.expires_at:
            late = boottime - self.expires_at
            raise TicketExpiredError(f"poll {self.poll_id}: the request was {late:.1f} s too late and was not sent")


class QueueAnswer(msgspec.Struct, frozen=True):
    """What came of one queue request.

    `cause` is one word of `Cause`; `detail` a sentence for the operator, without secrets. `body` holds the bytes
    exactly as they came (still encoded when `content_encoding` says so), also a part of them when the answer was cut
    (`complete` is then False); None when there was no answer. `vendor_date` is the answer's Date header. `exchange`
    is the full request and response with secrets redacted, kept for an incident (500).
    """

    outcome: PollOutcome
    cause: str
    detail: str = ""
    status: int | None = None
    body: bytes | None = None
    complete: bool = False
    content_type: str | None = None
    content_encoding: str | None = None
    request_id_echo: str | None = None
    vendor_date: datetime | None = None
    retry_after_s: float | None = None
    reason_code: str | None = None
    exchange: str | None = None


class VendorReply(msgspec.Struct, frozen=True):
    """The vendor's answer to a question that changes nothing: status 2xx, or 404.

    A 404 alone proves nothing (law 10): the vendor uses it for "no result", "malformed" and "no such endpoint".
    `body` holds the bytes as they came. `headers` are those that describe it, names in lower case.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    request_id: str
    vendor_date: datetime | None


class ResendOutcome(StrEnum):
    """What came of asking for a resend."""

    ACCEPTED = "accepted"  # 2xx, whatever the body (A12)
    NOT_FOUND = "not_found"  # 404: nothing in the range, perhaps (A12)
    REFUSED = "refused"  # any other 4xx but 401, 408 and 429: nothing was made eligible
    NOT_SENT = "not_sent"  # no byte of the request left this machine
    IN_DOUBT = "in_doubt"  # no answer, any other status: trades may come again, or not; asked again


class ResendAnswer(msgspec.Struct, frozen=True):
    """What came of one resend request. `detail` is a sentence; `exchange` as in `QueueAnswer`, after a 500."""

    outcome: ResendOutcome
    request_id: str
    detail: str = ""
    status: int | None = None
    vendor_date: datetime | None = None
    retry_after_s: float | None = None
    reason_code: str | None = None
    exchange: str | None = None


class TradeFeed(Protocol):
    """One download user's queue at the vendor."""

    def ensure_session(self) -> None:
        """Log in, or renew the session, when that is due.

        Raises VendorAwayError, VendorThrottledError or VendorRefusedError.
        """
        ...

    def forget_session(self) -> None:
        """Drop the session so that the next `ensure_session` logs in anew (after a 401)."""
        ...

    def next_page(self, ticket: PollTicket, max_count: int) -> QueueAnswer:
        """Send the one destructive GET and say what came of it.

        Never raises for what the vendor or the network does, and never retries (law 3).
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class VendorQuestions(Protocol):
    """What may be asked of the vendor besides the queue. Nothing here hands out, places or changes a trade.

    Each call raises VendorAwayError (no answer, or 5xx: VendorFailedError), VendorThrottledError (429) or
    VendorRefusedError (any other answer but 2xx and 404).
    """

    def request_resend(self, start_at: datetime, end_at: datetime) -> ResendAnswer:
        """Make the trades of a range of trade dates, both ends included, eligible for download again (A12).

        Raises only what `ensure_session` raises; all else is in the answer.
        """
        ...

    def trade(self, trade_id: str) -> VendorReply:
        """Return what the vendor holds about one trade (A20)."""
        ...

    def fills(self, order_id: str) -> VendorReply:
        """Return the trades of one order (A19)."""
        ...

    def positions(
        self, level: str, value: str, symbol: str | None = None, value_date: date | None = None, page: int | None = None
    ) -> VendorReply:
        """Return the open positions of one organisation, legal entity or user (A14).

        `page` is for a vendor whose answer says that it has several.
        """
        ...

    def balances(self, asset: str | None = None) -> VendorReply:
        """Return the account's balances, of one asset or all (A15)."""
        ...

    def broker_balances(self, asset: str | None = None) -> VendorReply:
        """Return the balances of the broker's accounts (A16)."""
        ...

    def deposits(self, start_at: datetime, end_at: datetime) -> VendorReply:
        """Return the deposits of a period (A17)."""
        ...

    def withdrawals(self, start_at: datetime, end_at: datetime) -> VendorReply:
        """Return the withdrawals of a period (A17)."""
        ...

    def assets(self, asset: str | None = None) -> VendorReply:
        """Return the details of one asset or all (A18)."""
        ...

    def spot_rate(self, symbol: str) -> VendorReply:
        """Return the top of the book of one symbol, such as `EUR/USD`."""
        ...

    def benchmark(self, symbol: str) -> VendorReply:
        """Return the vendor's benchmark rate of one symbol."""
        ...
