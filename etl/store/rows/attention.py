"""What a person must look at: exception items, incidents; and what persons did: the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Digest, Id, Row


class ExceptionItemRow(Row):
    """A message that became no trade, with every fault; the same bytes again raise `seen`, not a second item."""

    __tablename__ = "exception_item"
    __table_args__ = (
        Index("uq_exception_item_open", "feed_id", "sha256", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_exception_item_trade", "feed_id", "trade_id"),
        CheckConstraint("state IN ('open', 'booked', 'resolved')", name="state_known"),
    )

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    feed_id: Mapped[int]
    sha256: Mapped[Digest] = mapped_column(comment="Of the message's bytes")
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    seen: Mapped[int]
    state: Mapped[str] = mapped_column(comment="open; booked: a later reading made it a trade; resolved: by a person")
    faults: Mapped[list[Any]] = mapped_column(comment="[{field, value, rule}]")
    trade_id: Mapped[str | None]
    symbol: Mapped[str | None]
    side: Mapped[str | None]
    dealt_amount: Mapped[str | None]
    trade_date: Mapped[str | None]
    value_date: Mapped[str | None]
    legal_entity: Mapped[str | None]
    counterparty: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    reason: Mapped[str | None]


class IncidentRow(Row):
    """An answer 500 of the vendor: what its support asks for, secrets redacted (integral-rest-reference.txt)."""

    __tablename__ = "incident"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    poll_id: Mapped[int | None] = mapped_column(BigInteger)
    request_id: Mapped[str]
    occurred_at: Mapped[datetime]
    status: Mapped[int]
    reason_code: Mapped[str | None]
    exchange: Mapped[str] = mapped_column(comment="The full request and response as text")


class AuditRow(Row):
    """One deed of an operator: who, when, what, why (law 13). Insert only."""

    __tablename__ = "audit"

    id: Mapped[Id] = mapped_column(Identity())
    at: Mapped[datetime]
    operator: Mapped[str]
    deed: Mapped[str] = mapped_column(comment="The command, such as exceptions resolve")
    feed: Mapped[str | None]
    subject: Mapped[str | None] = mapped_column(comment="What it was done to")
    reason: Mapped[str]
    details: Mapped[dict[str, Any]]
