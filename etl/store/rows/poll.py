"""Polls, the answers they brought, byte for byte, and the messages in those answers."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Sequence, text
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import SCHEMA, Digest, Row

POLL_ID = Sequence("poll_id", schema=SCHEMA, metadata=Row.metadata)
MESSAGES_A_POLL = 100_000_000
"""`message_id` = `poll_id` x this + the message's place in its answer, counted from 0."""


class CurrentPollRow(Row):
    """The poll under way, one row a feed, updated in place; it moves to `poll` unless it is an idle empty.

    No index but its key, so that an idle feed rewrites one row and nothing grows.
    """

    __tablename__ = "current_poll"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    feed_id: Mapped[int] = mapped_column(ForeignKey("stp.feed.id"), primary_key=True)
    poll_id: Mapped[int] = mapped_column(BigInteger)
    request_id: Mapped[str] = mapped_column(comment="Sent as X-Request-ID; leads to the vendor's own log")
    epoch: Mapped[int] = mapped_column(BigInteger)
    drain_id: Mapped[int] = mapped_column(BigInteger, comment="The first poll of the drain that this one belongs to")
    opened_at: Mapped[datetime]
    doubt_from: Mapped[date] = mapped_column(comment="Oldest trade date that is lost when this answer is")
    max_count: Mapped[int]
    outcome: Mapped[str | None] = mapped_column(comment="NULL while the outcome is not known")
    cause: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    last_empty_at: Mapped[datetime | None] = mapped_column(comment="When the queue was last proven empty")
    last_page_at: Mapped[datetime | None]


class PollRow(Row):
    """The ledger of polls that ended as anything but an idle empty."""

    __tablename__ = "poll"
    __table_args__ = (
        Index("ix_poll_in_doubt", "feed_id", "id", postgresql_where=text("outcome = 'in_doubt'")),
        Index("ix_poll_gap", "gap_id", postgresql_where=text("gap_id IS NOT NULL")),
        Index("ix_poll_closed", "feed_id", "closed_at"),
        CheckConstraint("outcome IN ('page', 'empty', 'refused', 'not_sent', 'in_doubt')", name="outcome_known"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    feed_id: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str]
    epoch: Mapped[int] = mapped_column(BigInteger)
    drain_id: Mapped[int] = mapped_column(BigInteger)
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime]
    doubt_from: Mapped[date]
    max_count: Mapped[int]
    outcome: Mapped[str]
    cause: Mapped[str]
    detail: Mapped[str | None]
    status: Mapped[int | None] = mapped_column(comment="HTTP status")
    vendor_date: Mapped[datetime | None] = mapped_column(comment="Date header of the answer")
    messages: Mapped[int] = mapped_column(comment="Elements of the answer; 0 where there is none")
    gap_id: Mapped[int | None] = mapped_column(BigInteger, comment="The gap that its doubt opened")


class AnswerRow(Row):
    """The vendor's answer, byte for byte. Insert only: a trigger refuses everything else (law 5)."""

    __tablename__ = "answer"
    __table_args__ = ({"postgresql_partition_by": "RANGE (opened_at)"},)

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    poll_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    opened_at: Mapped[datetime] = mapped_column(primary_key=True, comment="Of the poll; the partition")
    request_id: Mapped[str]
    landed_at: Mapped[datetime]
    status: Mapped[int]
    content_type: Mapped[str | None]
    content_encoding: Mapped[str | None]
    complete: Mapped[bool] = mapped_column(comment="False: the connection broke before the end")
    request_id_echo: Mapped[str | None]
    vendor_date: Mapped[datetime | None]
    body: Mapped[bytes]
    sha256: Mapped[Digest]


class UnbookedRow(Row):
    """A landed answer that waits for booking; the row goes with the commit that books it.

    A queue and no high-water mark, because an instance that lost its leadership may land an older
    poll after a newer one was booked (law 11).
    """

    __tablename__ = "unbooked"

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    poll_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    opened_at: Mapped[datetime]
    drain_id: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(comment="Bytes of the answer")


class MessageRow(Row):
    """One element of a landed answer: where its bytes are, and what became of it."""

    __tablename__ = "message"
    __table_args__ = (
        CheckConstraint("state IN ('booked', 'enriched', 'duplicate', 'conflict', 'excepted')", name="state_known"),
        {"postgresql_partition_by": "RANGE (opened_at)"},
    )

    poll_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="In the answer, from 0")
    opened_at: Mapped[datetime] = mapped_column(primary_key=True, comment="Of the poll; the partition")
    feed_id: Mapped[int]
    start: Mapped[int] = mapped_column(comment="First byte in the decoded answer, from 0")
    length: Mapped[int] = mapped_column(comment="Bytes")
    sha256: Mapped[Digest]
    trade_id: Mapped[str | None]
    event: Mapped[str | None] = mapped_column(comment="The vendor's word; NULL where it is absent or no text")
    state: Mapped[str]
    version: Mapped[int | None] = mapped_column(comment="The version of the trade that it made or repeats")
