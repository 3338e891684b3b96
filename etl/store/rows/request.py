"""What operators' commands ask of the instance that leads a feed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Row


class RequestRow(Row):
    """One thing that a command wants done by whoever leads the feed, and what came of it (design.md §5)."""

    __tablename__ = "request"
    __table_args__ = (
        Index(
            "ix_request_unfinished", "feed_id", "id", postgresql_where=text("state IN ('requested', 'running')")
        ),
        CheckConstraint("state IN ('requested', 'running', 'done', 'failed', 'withdrawn')", name="state_known"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    kind: Mapped[str] = mapped_column(comment="What is wanted, such as poll")
    arguments: Mapped[dict[str, Any]]
    requested_by: Mapped[str]
    reason: Mapped[str | None]
    requested_at: Mapped[datetime]
    state: Mapped[str]
    epoch: Mapped[int | None] = mapped_column(BigInteger, comment="Of the leader that took it")
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None] = mapped_column(comment="A sentence; why it failed")
