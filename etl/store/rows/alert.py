"""Alerts on their way out: written with the fact that they tell, sent by the daemon, kept for a while."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Row


class AlertRow(Row):
    """One thing that people are to be told; the same `key` is never told twice."""

    __tablename__ = "alert"
    __table_args__ = (
        Index("ix_alert_waiting", "not_before", "id", postgresql_where=text("state = 'waiting'")),
        CheckConstraint("state IN ('waiting', 'sent', 'dropped')", name="state_known"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    alert_id: Mapped[UUID] = mapped_column(
        postgresql.UUID(as_uuid=True),
        server_default=text("gen_random_uuid()"),
        comment="By which a receiver knows that it has it already",
    )
    key: Mapped[str] = mapped_column(unique=True, comment="Of the fact")
    topic: Mapped[str | None] = mapped_column(comment="Facts of one topic that wait are one alert, with a count")
    kind: Mapped[str]
    feed_id: Mapped[int | None]
    at: Mapped[datetime]
    words: Mapped[str] = mapped_column(comment="A sentence of ours: no payload, no secret")
    fields: Mapped[dict[str, Any]]
    count: Mapped[int]
    state: Mapped[str] = mapped_column(comment="dropped: not wanted, or given up")
    not_before: Mapped[datetime] = mapped_column(comment="When it is sent, or tried again")
    claimed_until: Mapped[datetime | None] = mapped_column(comment="Whoever sends it now has until then")
    tries: Mapped[int]
    ended_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
