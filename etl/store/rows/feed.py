"""Feeds, who leads them, and how far their booking is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Row


class FeedRow(Row):
    """One download user at one base URL; that identity never changes silently (design.md §5)."""

    __tablename__ = "feed"
    __table_args__ = (UniqueConstraint("base_url", "organisation", "user_name"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    base_url: Mapped[str]
    organisation: Mapped[str]
    user_name: Mapped[str]
    lock_key: Mapped[int] = mapped_column(BigInteger, comment="Key of the advisory lock, made of the identity")
    first_seen_at: Mapped[datetime]
    system_identifier: Mapped[str | None] = mapped_column(comment="Of the database that this feed was last pulled into")
    timeline: Mapped[int | None] = mapped_column(comment="Of that database; a new one means a failover")
    other_database: Mapped[str | None] = mapped_column(
        comment="System identifier that was met and that nobody has adopted: no polling"
    )
    unconfirmed_assumptions: Mapped[list[str]] = mapped_column(
        comment="A1 to A24 that nobody has settled with the vendor"
    )
    second_consumer_since: Mapped[datetime | None] = mapped_column(
        comment="Since when sweeps find losses that no poll in doubt explains"
    )
    paused_at: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    paused_by: Mapped[str | None]
    paused_reason: Mapped[str | None]


class LeaseRow(Row):
    """Who leads a feed. Every fenced transaction holds this row FOR SHARE with the epoch that it expects."""

    __tablename__ = "lease"

    feed_id: Mapped[int] = mapped_column(ForeignKey("stp.feed.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, comment="Raised by every takeover")
    holder: Mapped[str | None] = mapped_column(comment="Host and process of the leader")
    taken_at: Mapped[datetime | None]
    timeline: Mapped[int | None] = mapped_column(comment="Of the database when it was taken: a fence too")
    session_pid: Mapped[int | None] = mapped_column(
        Integer, comment="Process of the database server that holds the lock of the leader of session_epoch"
    )
    session_epoch: Mapped[int | None] = mapped_column(
        BigInteger, comment="Epoch whose leader said its session; an older release does not"
    )
    refused: Mapped[str | None] = mapped_column(comment="Why the leader cannot poll until a person acts")
    refused_at: Mapped[datetime | None] = mapped_column(comment="Since when that is so")


class BookerRow(Row):
    """How booking of a feed stands; its row lock makes one booker a feed, and landing never takes it."""

    __tablename__ = "booker"

    feed_id: Mapped[int] = mapped_column(ForeignKey("stp.feed.id"), primary_key=True)
    drain_id: Mapped[int | None] = mapped_column(BigInteger, comment="The drain booked last")
    conflicts: Mapped[int] = mapped_column(comment="Conflicts in that drain")
    enriched: Mapped[int] = mapped_column(comment="Enrichments in that drain")
    released_drain_id: Mapped[int | None] = mapped_column(BigInteger, comment="A person let this drain pass")
    held_at: Mapped[datetime | None] = mapped_column(comment="Since when booking waits for a person")
    held_reason: Mapped[str | None]


class KnownFieldRow(Row):
    """A field name that this feed's messages carry and we have no column for: vendor drift, alerted once."""

    __tablename__ = "known_field"

    feed_id: Mapped[int] = mapped_column(ForeignKey("stp.feed.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[datetime]
    message_id: Mapped[int] = mapped_column(BigInteger, comment="The first message that carried it")
