"""What we need of a vendor, in our words."""

from __future__ import annotations

from datetime import datetime
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

    `cause` is a short word for logs and tables, such as `page`, `timeout`, `reset`, `cut`, `unreadable`,
    `http_500`, `foreign_request_id`. `body` holds the bytes exactly as they came (still encoded when
    `content_encoding` says so), also a part of them when the answer was cut (`complete` is then False);
    None when there was no answer. `vendor_date` is the answer's Date header. `exchange` is the full
    request and response with secrets redacted, kept for an incident (500).
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


class TradeFeed(Protocol):
    """One download user's queue at the vendor."""

    def ensure_session(self) -> None:
        """Log in, or renew the session, when that is due; raise VendorAwayError or VendorRefusedError."""
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
