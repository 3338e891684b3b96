"""The book: trades, their versions and legs, positions, and the counter of changes."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Digest, Money, Row

LATE = "version = 1 AND (landed_at AT TIME ZONE 'America/New_York' + interval '7 hours')::date > trade_date"
"""Landed on a later day than the trade date; as `stp.trade_day` has it."""


class TradeRow(Row):
    """Which version of a trade is the current one. Identity is the vendor's id within the feed (law 6)."""

    __tablename__ = "trade"

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trade_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(comment="The current one; the first is 1")
    first_landed_at: Mapped[datetime]


class TradeVersionRow(Row):
    """What one message says of a trade. Insert only; a newer word makes a newer version."""

    __tablename__ = "trade_version"
    __table_args__ = (
        Index("ix_trade_version_change_seq", "change_seq"),
        Index("ix_trade_version_trade_date", "trade_date"),
        Index("ix_trade_version_late", "feed_id", "trade_date", postgresql_where=text(LATE)),
        CheckConstraint("source IN ('queue', 'query')", name="source_known"),
    )

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trade_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    change_seq: Mapped[int] = mapped_column(BigInteger, comment="Rises with every change of the book, over all feeds")
    message_id: Mapped[int | None] = mapped_column(BigInteger, comment="The message that says so")
    source: Mapped[str] = mapped_column(comment="queue, or query: the vendor's answer about this one trade")
    content_hash: Mapped[Digest] = mapped_column(comment="Of the canonical content (law 7)")
    landed_at: Mapped[datetime]
    booked_at: Mapped[datetime] = mapped_column(comment="Since when we knew it")
    changed_fields: Mapped[list[str]] = mapped_column(comment="Against the version before")
    trade_type: Mapped[str]
    status: Mapped[str | None]
    live: Mapped[bool] = mapped_column(comment="Verified, or without a status: it counts")
    our_side: Mapped[str] = mapped_column(comment="customer, counterparty or both")
    internal: Mapped[bool]
    side: Mapped[str] = mapped_column(comment="Ours, of the dealt currency: buy or sell")
    maker: Mapped[bool | None] = mapped_column(comment="The vendor's word about its customer")
    symbol: Mapped[str]
    base_currency: Mapped[str]
    term_currency: Mapped[str]
    dealt_currency: Mapped[str]
    trade_date: Mapped[date]
    executed_at: Mapped[datetime | None]
    order_id: Mapped[str | None]
    client_order_id: Mapped[str | None]
    organisation: Mapped[str | None] = mapped_column(comment="Ours")
    legal_entity: Mapped[str | None] = mapped_column(comment="Ours")
    trader: Mapped[str | None]
    counterparty: Mapped[str | None]
    counterparty_name: Mapped[str | None]
    counterparty_entity: Mapped[str | None]
    channel: Mapped[str | None]
    stream: Mapped[str | None]
    rate_id: Mapped[str | None]
    uti: Mapped[str | None]
    usi: Mapped[str | None]
    lei: Mapped[str | None]
    counterparty_lei: Mapped[str | None]
    note: Mapped[str | None]
    external_request_id: Mapped[str | None]
    original_trade_id: Mapped[str | None]
    replaced_by: Mapped[str | None]
    attributes: Mapped[dict[str, Any]] = mapped_column(comment="Every other field; numbers as their text")
    attributes_omitted: Mapped[list[str]] = mapped_column(comment="Fields that the database cannot hold")
    flags: Mapped[list[str]]


class TradeLegRow(Row):
    """One exchange of two currencies; a spot has one leg, a swap has near (1) and far (2). Insert only."""

    __tablename__ = "trade_leg"
    __table_args__ = (
        Index("ix_trade_leg_value_date", "value_date"),
        Index("ix_trade_leg_fixing_date", "fixing_date", postgresql_where=text("fixing_date IS NOT NULL")),
        CheckConstraint("sign(dealt_amount) * sign(settled_amount) < 0", name="one_paid_one_received"),
    )

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trade_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    leg_no: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    value_date: Mapped[date]
    fixing_date: Mapped[date | None]
    fixing_tenor: Mapped[str | None]
    deliverable: Mapped[bool] = mapped_column(comment="False: only a difference is paid, never these amounts")
    dealt_currency: Mapped[str]
    dealt_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid by our side")
    settled_currency: Mapped[str]
    settled_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid by our side")
    base_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid by our side")
    term_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid by our side")
    rate: Mapped[Money | None] = mapped_column(comment="Term per one base, all-in")
    spot_rate: Mapped[Money | None] = mapped_column(comment="Term per one base")
    forward_points: Mapped[Money | None] = mapped_column(comment="In rate units")


class PositionRow(Row):
    """The sum of all legs of live trades a key, kept in the booking transaction; text keys hold '' for none."""

    __tablename__ = "position"
    __table_args__ = (Index("ix_position_value_date", "value_date"),)

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    organisation: Mapped[str] = mapped_column(primary_key=True)
    legal_entity: Mapped[str] = mapped_column(primary_key=True)
    trader: Mapped[str] = mapped_column(primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    value_date: Mapped[date] = mapped_column(primary_key=True)
    deliverable: Mapped[bool] = mapped_column(primary_key=True)
    base_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid")
    term_amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid")
    trade_count: Mapped[int] = mapped_column(BigInteger, comment="Legs that make it up")


class ChangeCounterRow(Row):
    """The last `change_seq` issued; its lock is held from numbering to commit, so readers miss nothing."""

    __tablename__ = "change_counter"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), {"postgresql_with": {"fillfactor": "10"}})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    change_seq: Mapped[int] = mapped_column(BigInteger)
    incarnation: Mapped[str | None] = mapped_column(comment="System identifier and timeline of the last number")
