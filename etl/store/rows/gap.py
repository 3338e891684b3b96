"""Gaps: trade dates that may lack trades; and the resends that are to fill them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Row


class GapRow(Row):
    """A range of trade dates in which trades may be missing, until they have come again or a person closes it."""

    __tablename__ = "gap"
    __table_args__ = (
        Index(
            "ix_gap_unfinished", "feed_id", "id",
            postgresql_where=text("state IN ('open', 'waiting', 'resending', 'escalated')"),
        ),
        CheckConstraint(
            "state IN ('open', 'waiting', 'resending', 'healed', 'escalated', 'closed')", name="state_known"
        ),
        CheckConstraint("from_date <= to_date", name="not_empty"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    cause: Mapped[str]
    from_date: Mapped[date]
    to_date: Mapped[date] = mapped_column(comment="Included")
    opened_at: Mapped[datetime]
    doubted_at: Mapped[datetime] = mapped_column(comment="Of the latest evidence")
    not_before: Mapped[datetime] = mapped_column(comment="No resend is asked earlier: the ghost (A22)")
    healed_before: Mapped[date | None] = mapped_column(comment="Days before this one have come again in full")
    state: Mapped[str]
    why: Mapped[str | None] = mapped_column(comment="Why it is in this state")
    request_key: Mapped[str | None] = mapped_column(unique=True, comment="Of an operator's request: the same, once")
    evidence: Mapped[list[Any]] = mapped_column(comment="What made us doubt, oldest first")
    recovered: Mapped[int] = mapped_column(comment="Trades that were lost and came again")
    already_known: Mapped[int] = mapped_column(comment="Trades that came again and were booked before")
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    reason: Mapped[str | None]
    unexplained: Mapped[int | None] = mapped_column(
        comment="Of a sweep: trades that were lost and that no poll in doubt explains"
    )
    covers_poll_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="Of a history sweep: polls in doubt up to this one are covered"
    )
    wanted_from: Mapped[date | None] = mapped_column(comment="First day that waits for a person's approval")


class ResendRow(Row):
    """One request to hand out the trades of some trade dates again, and what came of it."""

    __tablename__ = "resend"
    __table_args__ = (
        Index("ix_resend_gap", "gap_id", "id"),
        Index("ix_resend_feed", "feed_id", "requested_at"),
        CheckConstraint(
            "state IN ('requested', 'sending', 'accepted', 'ambiguous', 'refused', 'draining', 'complete', 'short')",
            name="state_known",
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    gap_id: Mapped[int] = mapped_column(ForeignKey("stp.gap.id"))
    from_date: Mapped[date]
    to_date: Mapped[date] = mapped_column(comment="Included")
    requested_by: Mapped[str]
    reason: Mapped[str]
    requested_at: Mapped[datetime]
    state: Mapped[str]
    tries: Mapped[int] = mapped_column(comment="Requests sent")
    request_id: Mapped[str | None] = mapped_column(comment="X-Request-ID of the last one")
    accepted_at: Mapped[datetime | None]
    held_seq: Mapped[int | None] = mapped_column(BigInteger, comment="change_seq at acceptance: what we held then")
    ended_at: Mapped[datetime | None]
    proof_poll_id: Mapped[int | None] = mapped_column(BigInteger, comment="The proven-empty answer that ended it")
    received: Mapped[int]
    recovered: Mapped[int]
    duplicates: Mapped[int]
    absent: Mapped[int]
    excused: Mapped[int]
    detail: Mapped[str | None]
