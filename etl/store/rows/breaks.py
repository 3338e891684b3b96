"""Breaks: differences that a control found; what was observed of each, and what happened to it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Money, Row


class ReconBreakRow(Row):
    """A difference that a control found: one row a feed, kind and key, never a new one a run."""

    __tablename__ = "recon_break"
    __table_args__ = (
        UniqueConstraint("feed_id", "kind", "key"),
        Index(
            "ix_recon_break_unfinished", "feed_id", "kind",
            postgresql_where=text("state IN ('open', 'investigating', 'accepted')"),
        ),
        CheckConstraint("state IN ('open', 'investigating', 'cleared', 'accepted', 'resolved')", name="state_known"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    kind: Mapped[str]
    key: Mapped[str]
    trade_id: Mapped[str | None]
    ours: Mapped[Decimal | None]
    theirs: Mapped[Decimal | None]
    difference: Mapped[Decimal | None]
    currency: Mapped[str | None]
    ours_term: Mapped[Decimal | None]
    theirs_term: Mapped[Decimal | None]
    difference_term: Mapped[Decimal | None]
    reporting_amount: Mapped[Decimal | None]
    rate_as_of: Mapped[datetime | None]
    state: Mapped[str]
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    reopened: Mapped[int]
    severity: Mapped[str | None]
    assigned_to: Mapped[str | None]
    accepted_until: Mapped[datetime | None]
    vendor_ticket: Mapped[str | None]
    comment: Mapped[str | None]
    explained_by: Mapped[str | None]
    evidence: Mapped[list[Any]] = mapped_column(comment="What was seen, when, oldest first")
    level: Mapped[str | None] = mapped_column(comment="ORG, LE or USER: whose position")
    level_value: Mapped[str | None]
    symbol: Mapped[str | None]
    value_date: Mapped[date | None]
    order_id: Mapped[str | None]
    run_id: Mapped[int | None] = mapped_column(BigInteger, comment="The run that saw it last")
    seen: Mapped[int] = mapped_column(server_default="1", comment="Runs that saw it since it was opened or re-opened")
    reopened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None] = mapped_column(comment="Cleared or resolved")
    closed_by: Mapped[str | None] = mapped_column(comment="The operator; stp-etl where a control proved it")
    reason: Mapped[str | None] = mapped_column(comment="Why it was accepted, resolved or cleared")
    reporting_currency: Mapped[str | None]
    rate_note: Mapped[str | None] = mapped_column(comment="Why there is no amount or severity, or a stale one")
    gap_id: Mapped[int | None] = mapped_column(BigInteger, comment="Opened on this evidence")
    investigated_at: Mapped[datetime | None]
    investigation: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), comment="Where the investigation is, and on which facts"
    )


class BreakObservationRow(Row):
    """The figures of a break, as long as they stayed the same."""

    __tablename__ = "break_observation"
    __table_args__ = (Index("ix_break_observation_break", "break_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    break_id: Mapped[int] = mapped_column(ForeignKey("stp.recon_break.id"))
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    seen: Mapped[int]
    first_run_id: Mapped[int | None] = mapped_column(BigInteger)
    last_run_id: Mapped[int | None] = mapped_column(BigInteger)
    ours: Mapped[Money | None]
    theirs: Mapped[Money | None]
    difference: Mapped[Money | None]
    ours_term: Mapped[Money | None]
    theirs_term: Mapped[Money | None]
    difference_term: Mapped[Money | None]


class BreakEventRow(Row):
    """Something that happened to a break: a change of state, a comment, a step of its investigation. Insert only."""

    __tablename__ = "break_event"
    __table_args__ = (Index("ix_break_event_break", "break_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    break_id: Mapped[int] = mapped_column(ForeignKey("stp.recon_break.id"))
    at: Mapped[datetime]
    deed: Mapped[str] = mapped_column(
        comment="opened, reopened, changed, cleared, accepted, resolved, assigned, commented, step, …"
    )
    by: Mapped[str] = mapped_column(comment="The operator, or stp-etl")
    note: Mapped[str | None]
    figures: Mapped[dict[str, Any]] = mapped_column(comment="Amounts as text, ids, counts")
    run_id: Mapped[int | None] = mapped_column(BigInteger)
    reply_id: Mapped[int | None] = mapped_column(BigInteger, comment="The vendor's stored answer that says so")
