"""What a drain is made of: its feed, its intents, what an answer leaves to be landed, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from etl.domain.answer import Page, content_of, may_hold_messages
from etl.store.repositories.polls import Landing, OpenPoll
from etl.vendor.feed import Cause, PollOutcome, PollTicket, QueueAnswer


class Leadership(Protocol):
    """What the poller must know of the lease: whether it may open polls, and under which epoch."""

    epoch: int

    @property
    def held(self) -> bool:
        """Whether this instance leads the feed right now."""
        ...


class PolledFeed(msgspec.Struct, frozen=True):
    """What the poller must know of a feed. Times in seconds."""

    feed_id: int
    name: str
    page_size: int = 50
    history_days: int = 31
    pause_min_s: float = 1.0
    pause_max_s: float = 300.0
    grace_s: float = 25.0
    ghost_s: float = 120.0
    """For how long the vendor may still execute a request that we gave up on (A22)."""


class Intent(msgspec.Struct, frozen=True):
    """A poll that is open, with the ticket for its one request, stamped before the commit that opened it."""

    poll: OpenPoll
    ticket: PollTicket


@dataclass(slots=True)
class Drained:
    """What one drain came to. `outcome` is that of its last poll; `empty` means that the queue is proven empty."""

    outcome: PollOutcome | None = None
    cause: str = "none"
    detail: str = ""
    pages: int = 0
    messages: int = 0
    polls: int = 0
    tries: int = 0
    """Of landing what came; grows while the database is away, and shows that the drain is alive."""
    retry_after_s: float = 0.0
    last: OpenPoll | None = None
    """The last poll seen committed, perhaps of an earlier drain; one that is missing later was lost."""

    @property
    def proven_empty(self) -> bool:
        """Whether the drain ended with the proof that nothing is left."""
        return self.outcome is PollOutcome.EMPTY


def has_bytes_to_keep(answer: QueueAnswer) -> bool:
    """Return whether the answer brought bytes that may be trades: of a page, or of anything in doubt."""
    return answer.status is not None and answer.outcome in (PollOutcome.PAGE, PollOutcome.IN_DOUBT)


def poison_in(answer: QueueAnswer) -> bytes | None:
    """Return the bytes that nobody could read where messages should be; the page of an error is none of them."""
    if answer.cause != Cause.UNREADABLE or answer.body is None:
        return None
    return answer.body if may_hold_messages(answer.body, answer.content_encoding) else None


def read_again(answer: QueueAnswer) -> tuple[QueueAnswer, Landing]:
    """Return the answer, in doubt where it is called a page but does not land as one, and what is landed of it."""
    landing = landing_of(answer)
    if answer.outcome is not PollOutcome.PAGE or landing.bookable:
        return answer, landing
    detail = "called a page, but the bytes that are landed do not read as one"
    doubtful = msgspec.structs.replace(answer, outcome=PollOutcome.IN_DOUBT, cause=Cause.UNREADABLE, detail=detail)
    return doubtful, landing


def landing_of(answer: QueueAnswer) -> Landing:
    """Return the bytes as they came; bookable where they are a whole page, be it one for another request of ours."""
    body = answer.body or b""
    pieces = 0
    if answer.complete and answer.status == 200 and answer.cause in (Cause.PAGE, Cause.FOREIGN_REQUEST_ID):
        content = content_of(200, body, answer.content_encoding)
        pieces = len(content.pieces) if isinstance(content, Page) else 0
    return Landing(
        status=answer.status or 0, body=body, complete=answer.complete, bookable=pieces > 0,
        content_type=answer.content_type, content_encoding=answer.content_encoding,
        request_id_echo=answer.request_id_echo, vendor_date=answer.vendor_date, messages=pieces,
    )  # fmt: skip


def refusal(feed: str, answer: QueueAnswer) -> str:
    """Return the sentence for an operator whose feed is refused, with what to look at."""
    hint = {
        Cause.HTTP_400: "check page_size with the vendor",
        Cause.HTTP_401: "check user, password and that the user may download STP trades",
        Cause.HTTP_404: "check base_url, and that the user is set up for STP download",
    }.get(Cause(answer.cause), "ask the vendor")
    return f"feed {feed}: the vendor refuses the queue ({answer.status}) and hands nothing out: {answer.detail}; {hint}"


def given_up(feed: PolledFeed, poll: OpenPoll) -> str:
    """Return the sentence for an answer that the database did not take within the grace period of a stop."""
    return (
        f"feed {feed.name}: the answer of poll {poll.poll_id} (request id {poll.request_id}) could not be stored "
        f"within {feed.grace_s:.0f} s of the stop; it counts as in doubt"
    )
