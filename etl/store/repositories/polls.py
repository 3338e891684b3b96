"""Polls: the intent before a request, the landing of its answer, its outcome."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

import msgspec
from sqlalchemy import Connection, select, text

from etl.domain.text import storable
from etl.errors import DatabaseRefusedError
from etl.store.repositories.fence import HOLD
from etl.store.rows.poll import CurrentPollRow

FENCE = f"fence AS ({HOLD})"

LEDGER = (
    "INSERT INTO stp.poll (id, feed_id, request_id, epoch, drain_id, opened_at, closed_at, doubt_from, max_count,"
    " outcome, cause, detail, status, vendor_date, messages)"
)

OPEN = text(f"""
WITH {FENCE}, number AS (SELECT nextval('stp.poll_id') AS id)
INSERT INTO stp.current_poll AS c
    (feed_id, poll_id, request_id, epoch, drain_id, opened_at, doubt_from, max_count)
SELECT :feed_id, number.id, :request_id, :epoch, number.id, :at, :first_doubt, :max_count FROM number, fence
ON CONFLICT (feed_id) DO UPDATE SET
    poll_id = excluded.poll_id, request_id = excluded.request_id, epoch = excluded.epoch,
    drain_id = coalesce(:drain_id, excluded.poll_id), opened_at = excluded.opened_at,
    doubt_from = coalesce(stp.trade_day(c.last_empty_at), excluded.doubt_from), max_count = excluded.max_count,
    outcome = NULL, cause = NULL, closed_at = NULL
WHERE c.outcome IS NOT NULL AND c.poll_id >= :known
RETURNING poll_id, drain_id, doubt_from
""")

MAY_LAND = text("""
SELECT string_agg(name, ', ') FROM unnest(ARRAY['stp.answer', 'stp.unbooked', 'stp.poll']) AS name
WHERE NOT has_table_privilege(name, 'INSERT')
""")

LANDED = """
landed AS (
    INSERT INTO stp.answer (feed_id, poll_id, opened_at, request_id, landed_at, status, content_type,
        content_encoding, complete, request_id_echo, vendor_date, body, sha256)
    VALUES (:feed_id, :poll_id, :opened_at, :request_id, :at, :status, :content_type, :content_encoding, :complete,
        :request_id_echo, :vendor_date, :body, :sha256)
    ON CONFLICT DO NOTHING RETURNING poll_id
), queued AS (
    INSERT INTO stp.unbooked (feed_id, poll_id, opened_at, drain_id, length)
    SELECT :feed_id, poll_id, :opened_at, :drain_id, :length FROM landed WHERE :bookable
)"""

LAND = text(f"WITH {LANDED} SELECT count(*) FROM landed")

LAND_AND_OPEN_NEXT = text(f"""
WITH {LANDED}, {FENCE}, closed AS (
    {LEDGER}
    SELECT c.poll_id, c.feed_id, c.request_id, c.epoch, c.drain_id, c.opened_at, :at, c.doubt_from, c.max_count,
        'page', 'page', NULL, :status, :vendor_date, :messages
    FROM stp.current_poll c, fence
    WHERE c.feed_id = :feed_id AND c.poll_id = :poll_id AND c.outcome IS NULL
    RETURNING id
), opened AS (
    UPDATE stp.current_poll c SET poll_id = nextval('stp.poll_id'), request_id = :next_request_id, opened_at = :at,
        last_page_at = :at
    FROM closed WHERE c.feed_id = :feed_id AND c.poll_id = closed.id
    RETURNING c.poll_id
)
SELECT poll_id FROM opened
""")

CLOSED = f"""
closed AS (
    UPDATE stp.current_poll c SET outcome = :outcome, cause = :cause, closed_at = :at,
        last_empty_at = CASE WHEN :outcome = 'empty' THEN :at ELSE c.last_empty_at END,
        last_page_at = CASE WHEN :outcome = 'page' THEN :at ELSE c.last_page_at END
    FROM fence WHERE c.feed_id = :feed_id AND c.outcome IS NULL AND {{which}}
    RETURNING c.*
), kept AS (
    {LEDGER}
    SELECT poll_id, feed_id, request_id, epoch, drain_id, opened_at, closed_at, doubt_from, max_count, outcome, cause,
        :detail, :status, :vendor_date, :messages
    FROM closed WHERE outcome <> 'empty' OR drain_id <> poll_id OR :proof
)
SELECT poll_id FROM closed
"""
CLOSE = text(f"WITH {FENCE}, {CLOSED.format(which='c.poll_id = :poll_id')}")
CLOSE_STALE = text(f"WITH {FENCE}, {CLOSED.format(which='c.epoch < :epoch')}")
PROVEN_EMPTY = text("""
SELECT c.poll_id, c.opened_at FROM stp.current_poll c
WHERE c.feed_id = :feed_id AND c.outcome = 'empty' AND c.opened_at >= :since
  AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = :feed_id AND u.poll_id <= c.poll_id)
""")


class OpenPoll(msgspec.Struct, frozen=True):
    """A poll whose intent is committed: what is about to be sent, and what its loss would put in doubt."""

    feed_id: int
    poll_id: int
    request_id: str
    epoch: int
    drain_id: int
    opened_at: datetime
    doubt_from: date
    max_count: int


class Ending(msgspec.Struct, frozen=True):
    """How a poll ended, for the ledger. `proof` keeps an idle empty that somebody will cite."""

    outcome: str
    cause: str
    detail: str | None = None
    status: int | None = None
    vendor_date: datetime | None = None
    messages: int = 0
    proof: bool = False


class Landing(msgspec.Struct, frozen=True):
    """The bytes of one answer, and what came with them. `bookable`: a readable page."""

    status: int
    body: bytes
    complete: bool
    bookable: bool
    content_type: str | None = None
    content_encoding: str | None = None
    request_id_echo: str | None = None
    vendor_date: datetime | None = None
    messages: int = 0


class PollRepository:
    """The ledger of polls."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_landing(self) -> None:
        """Raise DatabaseRefusedError unless an answer could be landed now: law 4, the tables and rights of the intent
        are not those of the landing.
        """
        missing = self._connection.execute(MAY_LAND).scalar_one()
        if missing:
            raise DatabaseRefusedError(
                f"the database would not take an answer: no right to insert into {missing}; nothing is asked of the "
                "vendor until it is granted: stp-etl db grants --daemon-role ROLE"
            )

    def open(self, poll: OpenPoll) -> OpenPoll | None:
        """Write the intent; return the poll with its number, or None where the fence did not hold.

        `poll.poll_id` is the last one that we saw committed: where the database knows only older ones, it lost commits,
        and nothing is opened. `poll.drain_id` 0 begins a drain; `poll.doubt_from` counts only until the queue was
        proven empty once.
        """
        found = self._connection.execute(
            OPEN,
            {
                "feed_id": poll.feed_id, "epoch": poll.epoch, "request_id": poll.request_id, "at": poll.opened_at,
                "first_doubt": poll.doubt_from, "max_count": poll.max_count, "drain_id": poll.drain_id or None,
                "known": poll.poll_id,
            },
        ).one_or_none()  # fmt: skip
        if found is None:
            return None
        return msgspec.structs.replace(poll, poll_id=found[0], drain_id=found[1], doubt_from=found[2])

    def land(self, poll: OpenPoll, landing: Landing, at: datetime) -> None:
        """Store the bytes once, whoever leads (law 11); say nothing about the poll."""
        self._connection.execute(LAND, _landed(poll, landing, at))

    def land_and_open_next(
        self, poll: OpenPoll, landing: Landing, *, at: datetime, next_request_id: str
    ) -> OpenPoll | None:
        """Store the bytes, close the poll as a page, open the next one: one statement.

        Returns the next poll, or None where the fence did not hold or the poll was closed before: then the
        bytes are stored all the same.
        """
        values = _landed(poll, landing, at) | {
            "epoch": poll.epoch, "messages": landing.messages, "next_request_id": next_request_id,
        }  # fmt: skip
        number = self._connection.execute(LAND_AND_OPEN_NEXT, values).scalar_one_or_none()
        if number is None:
            return None
        return msgspec.structs.replace(poll, poll_id=number, request_id=next_request_id, opened_at=at)

    def close(self, poll: OpenPoll, ending: Ending, at: datetime) -> bool:
        """Write the outcome where none is known yet; return whether this call did."""
        values = _ended(ending, poll.feed_id, poll.epoch, at)
        return self._connection.execute(CLOSE, values | {"poll_id": poll.poll_id}).one_or_none() is not None

    def last_empty_at(self, feed_id: int) -> datetime | None:
        """Return when the queue was last proven empty; None when it never was."""
        statement = select(CurrentPollRow.last_empty_at).where(CurrentPollRow.feed_id == feed_id)
        found: datetime | None = self._connection.execute(statement).scalar_one_or_none()
        return found

    def proven_empty_since(self, feed_id: int, since: datetime) -> tuple[int, datetime] | None:
        """Return the last poll where it left after that instant, was proven empty, and all before it is booked."""
        row = self._connection.execute(PROVEN_EMPTY, {"feed_id": feed_id, "since": since}).one_or_none()
        return None if row is None else (row[0], row[1])

    def find_ours(self, poll: OpenPoll) -> OpenPoll | None:
        """Return the poll of the same feed and epoch that stands open, or None."""
        columns = (CurrentPollRow.poll_id, CurrentPollRow.request_id, CurrentPollRow.opened_at)
        statement = select(*columns).where(
            CurrentPollRow.feed_id == poll.feed_id,
            CurrentPollRow.epoch == poll.epoch,
            CurrentPollRow.outcome.is_(None),
        )
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            return None
        return msgspec.structs.replace(poll, poll_id=row[0], request_id=row[1], opened_at=row[2])

    def find_open(self, poll: OpenPoll, request_id: str) -> OpenPoll | None:
        """Return the poll that stands open under this request id, such as one whose opening commit lost its reply."""
        statement = select(CurrentPollRow.poll_id, CurrentPollRow.opened_at).where(
            CurrentPollRow.feed_id == poll.feed_id,
            CurrentPollRow.request_id == request_id,
            CurrentPollRow.outcome.is_(None),
        )
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            return None
        return msgspec.structs.replace(poll, poll_id=row[0], opened_at=row[1], request_id=request_id)

    def close_stale(self, feed_id: int, epoch: int, at: datetime) -> int | None:
        """Mark the poll that an earlier epoch left open as in doubt; return its number, or None."""
        ending = Ending("in_doubt", "killed", "its sender ended before the outcome was known")
        values = _ended(ending, feed_id, epoch, at)
        number: int | None = self._connection.execute(CLOSE_STALE, values).scalar_one_or_none()
        return number


def _ended(ending: Ending, feed_id: int, epoch: int, at: datetime) -> dict[str, object]:
    values = msgspec.structs.asdict(ending) | {"detail": storable(ending.detail)}
    return values | {"feed_id": feed_id, "epoch": epoch, "at": at}


def _landed(poll: OpenPoll, landing: Landing, at: datetime) -> dict[str, object]:
    values = msgspec.structs.asdict(landing)
    del values["messages"]
    for name in ("content_type", "content_encoding", "request_id_echo"):
        values[name] = storable(values[name])
    return values | {
        "feed_id": poll.feed_id, "poll_id": poll.poll_id, "opened_at": poll.opened_at, "drain_id": poll.drain_id,
        "request_id": poll.request_id, "at": at, "length": len(landing.body),
        "sha256": hashlib.sha256(landing.body).digest(),
    }  # fmt: skip
