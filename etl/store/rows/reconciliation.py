"""Runs of reconciliation, the vendor's answers that they used, openings, adjustments, certificates."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from etl.store.base import Digest, Money, Row


class ReconciliationRunRow(Row):
    """One comparison of our book with the vendor's figures: by which rules, on which basis, with what result."""

    __tablename__ = "reconciliation_run"
    __table_args__ = (
        Index("ix_reconciliation_run_feed", "feed_id", "control", "id"),
        CheckConstraint("state IN ('running', 'done', 'failed')", name="state_known"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    control: Mapped[str] = mapped_column(comment="fills, positions or balances")
    cause: Mapped[str] = mapped_column(comment="interval, daily, healed, operator")
    requested_by: Mapped[str] = mapped_column(comment="The operator, or stp-etl")
    reason: Mapped[str | None]
    state: Mapped[str]
    result: Mapped[str | None] = mapped_column(comment="agreed, breaks, no_opening, timing, query_failed, …")
    started_at: Mapped[datetime]
    as_of: Mapped[datetime | None] = mapped_column(comment="When the vendor was asked: the instant of the comparison")
    ended_at: Mapped[datetime | None]
    trade_day: Mapped[date] = mapped_column(comment="The business day of the run")
    compared: Mapped[int] = mapped_column(comment="Keys, orders or accounts")
    agreed: Mapped[int]
    breaks: Mapped[int] = mapped_column(comment="Seen and confirmed in this run")
    rules: Mapped[dict[str, Any]] = mapped_column(comment="Settings used, with their hash: tolerances, digits, level")
    basis: Mapped[dict[str, Any]] = mapped_column(comment="Polls, change_seq, openings, looks, calls")
    counts: Mapped[dict[str, Any]]
    cited: Mapped[list[Any]] = mapped_column(comment="[{reply_id, request_id, sha256, question}]")
    detail: Mapped[str | None]


class VendorBodyRow(Row):
    """The bytes of an answer to a question, kept once however often they came. Insert only."""

    __tablename__ = "vendor_body"

    sha256: Mapped[Digest] = mapped_column(primary_key=True)
    body: Mapped[bytes]


class VendorReplyRow(Row):
    """The vendor's answer to a question that takes nothing, as it came; the bytes are in `vendor_body`. Insert only."""

    __tablename__ = "vendor_reply"
    __table_args__ = (Index("ix_vendor_reply_feed", "feed_id", "subject", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    run_id: Mapped[int | None] = mapped_column(BigInteger)
    subject: Mapped[str] = mapped_column(comment="positions, fills, trade, control, balances, assets, rate, …")
    question: Mapped[str] = mapped_column(comment="What was asked for: a trade id, an order id, level and value")
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime]
    request_id: Mapped[str] = mapped_column(comment="Sent as X-Request-ID; leads to the vendor's own log")
    status: Mapped[int]
    content_type: Mapped[str | None]
    content_encoding: Mapped[str | None]
    vendor_date: Mapped[datetime | None]
    sha256: Mapped[Digest]


class AskedOrderRow(Row):
    """When the fills of an order were asked last, and what came of it; so that a run goes on where one stopped."""

    __tablename__ = "asked_order"

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    order_id: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]
    change_seq: Mapped[int] = mapped_column(BigInteger, comment="The last change of its trades that we knew then")
    outcome: Mapped[str] = mapped_column(comment="agreed, missing_in_book, missing_at_vendor, unknown, failed")
    run_id: Mapped[int] = mapped_column(BigInteger)


class OpeningRow(Row):
    """The vendor's figures at go-live, taken by a person with a reason; the last one of a level counts. Insert only."""

    __tablename__ = "opening"
    __table_args__ = (
        Index("ix_opening_feed", "feed_id", "control", "level", "level_value", "id"),
        CheckConstraint("control IN ('positions', 'balances')", name="control_known"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    control: Mapped[str]
    level: Mapped[str] = mapped_column(comment="ORG, LE or USER; of balances: ACCOUNT or BROKER")
    level_value: Mapped[str]
    as_of: Mapped[datetime]
    opened_by: Mapped[str]
    reason: Mapped[str]
    run_id: Mapped[int] = mapped_column(BigInteger)
    vendor_date: Mapped[datetime | None] = mapped_column(comment="The vendor's own clock as it answered")


class OpeningPositionRow(Row):
    """What the vendor and we held of one key at an opening; their difference is carried on. Insert only."""

    __tablename__ = "opening_position"

    opening_id: Mapped[int] = mapped_column(ForeignKey("stp.opening.id"), primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    value_date: Mapped[date] = mapped_column(primary_key=True)
    theirs_base: Mapped[Money] = mapped_column(comment="Major units, + received, - paid")
    theirs_term: Mapped[Money | None]
    ours_base: Mapped[Money]
    ours_term: Mapped[Money | None]


class OpeningBalanceRow(Row):
    """What the vendor said an account held at an opening, and what we knew to have moved it until then. Insert only."""

    __tablename__ = "opening_balance"

    opening_id: Mapped[int] = mapped_column(ForeignKey("stp.opening.id"), primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True, comment="'' for the account of the login")
    asset: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[Money] = mapped_column(comment="Major units")
    legs: Mapped[Money] = mapped_column(server_default="0", comment="Settled by then, + received, - paid")
    deposits: Mapped[Money] = mapped_column(server_default="0", comment="Completed by then, as far as we knew")
    withdrawals: Mapped[Money] = mapped_column(server_default="0", comment="As deposits")
    fees: Mapped[Money] = mapped_column(server_default="0", comment="Of these withdrawals")
    at_execution: Mapped[bool] = mapped_column(server_default="false", comment="Its legs counted from execution on")


class AccountBalanceRow(Row):
    """The last comparison of one account and asset: what makes up our figure since the opening, and theirs."""

    __tablename__ = "account_balance"

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    level: Mapped[str] = mapped_column(primary_key=True, comment="ACCOUNT or BROKER")
    account: Mapped[str] = mapped_column(primary_key=True, comment="'' for the account of the login")
    asset: Mapped[str] = mapped_column(primary_key=True)
    opening: Mapped[Decimal | None] = mapped_column(comment="Major units; none before go-live")
    opened_at: Mapped[datetime | None]
    legs: Mapped[Money] = mapped_column(comment="Settled since the opening, + received, - paid")
    deposits: Mapped[Money]
    withdrawals: Mapped[Money]
    fees: Mapped[Money]
    adjustments: Mapped[Money] = mapped_column(comment="+ received, - paid")
    ours: Mapped[Decimal | None] = mapped_column(comment="The sum of the above, rounded to the minor unit")
    theirs: Mapped[Decimal | None]
    result: Mapped[str] = mapped_column(comment="agreed, break, no_opening or unconfirmed")
    as_of: Mapped[datetime]
    run_id: Mapped[int] = mapped_column(BigInteger)


class CustodyTransferRow(Row):
    """A deposit or withdrawal as the vendor's history told it last; only completed ones move a balance (A17)."""

    __tablename__ = "custody_transfer"
    __table_args__ = (CheckConstraint("direction IN ('deposit', 'withdrawal')", name="direction_known"),)

    feed_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    direction: Mapped[str] = mapped_column(primary_key=True)
    transfer_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str | None]
    asset: Mapped[str]
    amount: Mapped[Money] = mapped_column(comment="Major units, unsigned")
    fee: Mapped[Money] = mapped_column(comment="Major units, unsigned; of withdrawals")
    status: Mapped[str]
    at: Mapped[datetime] = mapped_column(comment="The vendor's time of it")
    first_seen_at: Mapped[datetime]
    changed_at: Mapped[datetime] = mapped_column(comment="When the vendor last told it differently")
    reply_id: Mapped[int] = mapped_column(BigInteger, comment="The vendor's stored answer that says so")


class BalanceAdjustmentRow(Row):
    """An amount that a person says moved a balance, such as a fee that no history shows. Insert only."""

    __tablename__ = "balance_adjustment"
    __table_args__ = (Index("ix_balance_adjustment_asset", "feed_id", "asset", "effective_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    account: Mapped[str] = mapped_column(comment="'' for the account of the login")
    asset: Mapped[str]
    amount: Mapped[Money] = mapped_column(comment="Major units, + received, - paid")
    effective_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    reason: Mapped[str]


class CertificateRow(Row):
    """What could be proven about one trade day at one instant; a later one supersedes it. Insert only."""

    __tablename__ = "certificate"
    __table_args__ = (
        UniqueConstraint("feed_id", "trade_date", "number"),
        CheckConstraint("state IN ('COMPLETE', 'INCOMPLETE', 'PRELIMINARY')", name="state_known"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    feed_id: Mapped[int]
    trade_date: Mapped[date]
    number: Mapped[int] = mapped_column(comment="Of this feed and trade date, from 1; supersedes the one before")
    state: Mapped[str]
    issued_at: Mapped[datetime]
    issued_by: Mapped[str]
    reasons: Mapped[list[Any]] = mapped_column(comment="[{reason, detail, command}]; none where it is COMPLETE")
    basis: Mapped[dict[str, Any]] = mapped_column(comment="Polls, sweep, orders, keys, readings, openings, closures")
    counts: Mapped[dict[str, Any]]
    sums: Mapped[list[Any]] = mapped_column(comment="[{currency, receive, pay}], amounts as text")
    difference: Mapped[dict[str, Any]] = mapped_column(comment="To the certificate before")
    cited: Mapped[list[Any]] = mapped_column(comment="[{reply_id, request_id, sha256, question}]")
    trades_sha256: Mapped[Digest] = mapped_column(comment="Over the sorted trades of the day")
    settings_hash: Mapped[str]
    software_version: Mapped[str]
    sha256: Mapped[Digest] = mapped_column(comment="Over all of the above")


class CertificateSignOffRow(Row):
    """A person put a name to a certificate. Insert only."""

    __tablename__ = "certificate_sign_off"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    certificate_id: Mapped[int] = mapped_column(ForeignKey("stp.certificate.id"), index=True)
    signed_as: Mapped[str]
    signed_at: Mapped[datetime]
    operator: Mapped[str] = mapped_column(comment="Who was at the keyboard")
    comment: Mapped[str | None]
