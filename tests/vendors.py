"""A vendor that answers the queue by script."""

from collections.abc import Callable
from dataclasses import dataclass, field

from etl.clock import Clock
from etl.domain.answer import Page, content_of
from etl.errors import TicketExpiredError
from etl.vendor.feed import Cause, PollOutcome, PollTicket, QueueAnswer
from tests.builders import a_page

Script = QueueAnswer | Callable[[PollTicket, int], QueueAnswer]


def page_of(*messages: bytes) -> QueueAnswer:
    """Return the answer that hands these messages out."""
    return a_body(a_page(*messages))


def a_body(body: bytes) -> QueueAnswer:
    """Return the answer 200 with this body as the client would judge it; no page at all counts as unreadable."""
    paged = isinstance(content_of(200, body), Page)
    return QueueAnswer(
        PollOutcome.PAGE if paged else PollOutcome.IN_DOUBT, Cause.PAGE if paged else Cause.UNREADABLE,
        status=200, body=body, complete=True, content_type="application/json",
    )  # fmt: skip


def empty() -> QueueAnswer:
    """Return the proof that the queue is empty."""
    return QueueAnswer(PollOutcome.EMPTY, Cause.EMPTY, status=204, body=b"", complete=True)


def in_doubt(cause: Cause = Cause.TIMEOUT, **values: object) -> QueueAnswer:
    """Return what is left of a request whose outcome nobody knows."""
    return QueueAnswer(PollOutcome.IN_DOUBT, cause, "no answer", **values)  # type: ignore[arg-type]


def refused(cause: Cause = Cause.HTTP_401) -> QueueAnswer:
    """Return the answer of a vendor that hands nothing out."""
    return QueueAnswer(PollOutcome.REFUSED, cause, "no", status=int(cause[-3:]), body=b"", complete=True)


def not_sent(cause: Cause = Cause.CONNECT_REFUSED) -> QueueAnswer:
    """Return what is said of a request that never left."""
    return QueueAnswer(PollOutcome.NOT_SENT, cause, "nothing left")


@dataclass
class FakeVendor:
    """Plays the TradeFeed: gives its answers in order, and then the queue is empty.

    With a clock it refuses expired tickets as the real client does. `asked` holds the tickets of requests that left.
    """

    answers: list[Script] = field(default_factory=list)
    clock: Clock | None = None
    asked: list[PollTicket] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    logins: int = 0
    no_session: Exception | None = None
    _session: bool = False

    def ensure_session(self) -> None:
        if self.no_session is not None:
            raise self.no_session
        self.logins += not self._session
        self._session = True

    def forget_session(self) -> None:
        self._session = False

    def next_page(self, ticket: PollTicket, max_count: int) -> QueueAnswer:
        try:
            ticket.check(self.clock.boottime() if self.clock else 0.0)
        except TicketExpiredError as error:
            return QueueAnswer(PollOutcome.NOT_SENT, Cause.TICKET_EXPIRED, str(error))
        self.asked.append(ticket)
        self.counts.append(max_count)
        if not self.answers:
            return empty()
        answer = self.answers.pop(0)
        return answer if isinstance(answer, QueueAnswer) else answer(ticket, max_count)

    def close(self) -> None:
        self._session = False
