"""What reconciliation reads and keeps: runs, the vendor's answers, our positions, openings, orders that were asked."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.dialects import postgresql

from etl.domain.calendar import DATED_AHEAD
from etl.domain.calendar import trade_day as day_of_trading
from etl.domain.reconciliation import Key, Position
from etl.store.repositories.book import PARTY
from etl.store.rows.reconciliation import (
    OpeningPositionRow,
    OpeningRow,
    ReconciliationRunRow,
    VendorBodyRow,
    VendorReplyRow,
)
from etl.store.rows.trade import LATE

LEVELS = {"ORG": "organisation", "LE": "legal_entity", "USER": "trader"}
POSITIONS = """
SELECT symbol, value_date, sum(base_amount), sum(term_amount), sum(trade_count)::bigint, bool_or(NOT deliverable)
FROM stp.position
WHERE feed_id = :feed_id AND {column} = :value AND value_date > :trade_day
GROUP BY symbol, value_date HAVING sum(trade_count) > 0
"""
VALUES = """
SELECT DISTINCT {column} FROM stp.position
WHERE feed_id = :feed_id AND value_date > :trade_day AND trade_count > 0 AND {column} <> ''
  AND (:any_org OR organisation = ANY (:orgs))
ORDER BY 1
"""
# NDF legs of one key whose fixing date has passed: a vendor may have taken them out of its positions (A14).
FIXED = f"""
SELECT coalesce(sum(l.base_amount * party.sign), 0), coalesce(sum(l.term_amount * party.sign), 0), count(*)
FROM stp.trade_leg l
JOIN stp.trade t USING (feed_id, trade_id, version)
JOIN stp.trade_version v USING (feed_id, trade_id, version)
CROSS JOIN {PARTY}
WHERE l.feed_id = :feed_id AND l.value_date = :value_date AND v.symbol = :symbol AND v.live AND NOT l.deliverable
  AND l.fixing_date <= :trade_day AND party.{{column}} = :value
"""
# Whether the vendor's figure had the trade `v` at that instant. What replaces a trade of ours has its time of execution
# (A21), and is told by that trade: it was not there yet.
DONE_BEFORE = """v.executed_at < {at} AND NOT EXISTS (
    SELECT FROM stp.trade o WHERE (o.feed_id, o.trade_id) = (v.feed_id, v.original_trade_id)
)"""
# Trades that were done before an opening and came to us after it, as they came: the vendor's figure had them already.
# Those of earlier trade dates are late ones, which have an index of their own.
COUNTED_BEFORE = f"""
SELECT v.symbol, l.value_date, sum(l.base_amount * party.sign), sum(l.term_amount * party.sign)
FROM (
    SELECT * FROM stp.trade_version WHERE feed_id = :feed_id AND trade_date < :day AND {LATE}
    UNION ALL
    SELECT * FROM stp.trade_version WHERE feed_id = :feed_id AND trade_date BETWEEN :day AND :latest AND version = 1
) AS v
JOIN stp.trade_leg l USING (feed_id, trade_id, version)
CROSS JOIN {PARTY}
WHERE v.landed_at > :landed_by AND {DONE_BEFORE.format(at=":vendor_at")} AND v.live AND l.value_date > :trade_day
  AND party.{{column}} = :value
GROUP BY 1, 2
"""
# What lands after the poll that proved the queue empty is not in our figures of an opening.
OPENED_AT = text("""
SELECT coalesce(CAST(r.basis #>> '{drained,1,opened_at}' AS timestamptz), o.as_of), coalesce(o.vendor_date, o.as_of)
FROM stp.opening o LEFT JOIN stp.reconciliation_run r ON r.id = o.run_id WHERE o.id = :opening_id
""")
PAST_FIXING = text("""
SELECT v.symbol, l.fixing_date, count(*), sum(l.base_amount), min(l.trade_id)
FROM stp.trade_leg l
JOIN stp.trade t USING (feed_id, trade_id, version)
JOIN stp.trade_version v USING (feed_id, trade_id, version)
WHERE l.feed_id = :feed_id AND l.value_date >= :trade_day AND l.fixing_date < :trade_day AND v.live
  AND v.trade_type IN ('NDF', 'NDFSwap')
GROUP BY 1, 2 ORDER BY 2, 1
""")


class HeldPosition(msgspec.Struct, frozen=True):
    """What the book holds of one key. `has_ndf`: a part of it is never delivered."""

    position: Position
    trades: int
    has_ndf: bool


class OpenedAt(msgspec.Struct, frozen=True):
    """When an opening was taken: what had landed by then is in our figures, what was done by the vendor's in theirs."""

    landed_by: datetime
    vendor_at: datetime


class Citation(msgspec.Struct, frozen=True):
    """A stored answer of the vendor, as a run or a certificate names it."""

    reply_id: int
    request_id: str
    sha256: str
    question: str


class Reply(msgspec.Struct, frozen=True):
    """The vendor's answer to a question, to be kept."""

    subject: str
    question: str
    asked_at: datetime
    answered_at: datetime
    request_id: str
    status: int
    body: bytes
    headers: Mapping[str, str]
    vendor_date: datetime | None


class ReconciliationRepository:
    """Runs of reconciliation and what they stand on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(
        self, feed_id: int, control: str, *, at: datetime, cause: str, by: str, reason: str | None, trade_day: date,
        rules: Mapping[str, Any],
    ) -> int:  # fmt: skip
        """Write down that a run began; return its number."""
        values = {
            "feed_id": feed_id, "control": control, "cause": cause, "requested_by": by, "reason": reason,
            "state": "running", "started_at": at, "trade_day": trade_day, "compared": 0, "agreed": 0, "breaks": 0,
            "rules": dict(rules), "basis": {}, "counts": {}, "cited": [],
        }  # fmt: skip
        statement = insert(ReconciliationRunRow).values(values).returning(ReconciliationRunRow.id)
        return int(self._connection.execute(statement).scalar_one())

    def end(self, run_id: int, **values: Any) -> None:
        """Write how a run ended."""
        statement = update(ReconciliationRunRow).where(ReconciliationRunRow.id == run_id)
        self._connection.execute(statement.values(**values))

    def end_broken_off(self, feed_id: int, at: datetime) -> int:
        """Close the runs that a process left behind as it ended; return how many there were."""
        statement = update(ReconciliationRunRow).where(
            ReconciliationRunRow.feed_id == feed_id, ReconciliationRunRow.state == "running"
        )
        detail = "broken off: the process that ran it ended"
        ended = self._connection.execute(
            statement.values(state="failed", result="broken_off", ended_at=at, detail=detail)
        )
        return int(ended.rowcount)

    def last_begin(self, feed_id: int, control: str, cause: str | None = None) -> datetime | None:
        """Return when the last run of this control began that was not broken off."""
        row = ReconciliationRunRow
        statement = select(row.started_at).where(row.feed_id == feed_id, row.control == control, row.state != "failed")
        if cause is not None:
            statement = statement.where(row.cause == cause)
        found: datetime | None = self._connection.execute(statement.order_by(row.id.desc()).limit(1)).scalar()
        return found

    def healed_gaps(self, feed_id: int) -> int:
        """Return how many gaps of the feed have healed so far."""
        statement = text("SELECT count(*) FROM stp.gap WHERE feed_id = :feed_id AND state = 'healed'")
        return int(self._connection.execute(statement, {"feed_id": feed_id}).scalar_one())

    def keep(self, feed_id: int, run_id: int | None, reply: Reply) -> Citation:
        """Store an answer as it came, its bytes once however often they come; return how to cite it."""
        digest = hashlib.sha256(reply.body).digest()
        body = postgresql.insert(VendorBodyRow).values(sha256=digest, body=reply.body).on_conflict_do_nothing()
        self._connection.execute(body)
        values = {
            "feed_id": feed_id, "run_id": run_id, "subject": reply.subject, "question": reply.question,
            "asked_at": reply.asked_at, "answered_at": reply.answered_at, "request_id": reply.request_id,
            "status": reply.status, "content_type": reply.headers.get("content-type"),
            "content_encoding": reply.headers.get("content-encoding"), "vendor_date": reply.vendor_date,
            "sha256": digest,
        }  # fmt: skip
        number = self._connection.execute(
            insert(VendorReplyRow).values(values).returning(VendorReplyRow.id)
        ).scalar_one()
        return Citation(int(number), reply.request_id, digest.hex(), f"{reply.subject} {reply.question}")

    def last_body(self, feed_id: int, subject: str, since: datetime) -> bytes | None:
        """Return the bytes of the last good answer about a subject, where it is no older than that."""
        statement = (
            select(VendorBodyRow.body)
            .join(VendorReplyRow, VendorReplyRow.sha256 == VendorBodyRow.sha256)
            .where(VendorReplyRow.feed_id == feed_id, VendorReplyRow.subject == subject)
            .where(VendorReplyRow.status == 200, VendorReplyRow.answered_at >= since)
        )
        found = self._connection.execute(statement.order_by(VendorReplyRow.id.desc()).limit(1)).scalar()
        return None if found is None else bytes(found)

    def positions(self, feed_id: int, level: str, value: str, trade_day: date) -> dict[Key, HeldPosition]:
        """Return what the book holds of a level, by key, of value dates after the trade day."""
        statement = text(POSITIONS.format(column=LEVELS[level]))
        asked = {"feed_id": feed_id, "value": value, "trade_day": trade_day}
        return {
            Key(symbol, day): HeldPosition(Position(base, term), trades, has_ndf)
            for symbol, day, base, term, trades, has_ndf in self._connection.execute(statement, asked)
        }

    def opened_at(self, opening_id: int) -> OpenedAt:
        """Return when an opening was taken."""
        return OpenedAt(*self._connection.execute(OPENED_AT, {"opening_id": opening_id}).one())

    def counted_before(
        self, feed_id: int, level: str, value: str, trade_day: date, opened: OpenedAt
    ) -> dict[Key, Position]:  # fmt: skip
        """Return what trades add to positions of a level that landed after an opening and were done before it."""
        statement = text(COUNTED_BEFORE.format(column=LEVELS[level]))
        day = day_of_trading(opened.landed_by)
        asked = {
            "feed_id": feed_id, "value": value, "trade_day": trade_day, "day": day, "latest": day + DATED_AHEAD,
            **msgspec.structs.asdict(opened),
        }  # fmt: skip
        rows = self._connection.execute(statement, asked)
        return {Key(symbol, value_date): Position(base, term) for symbol, value_date, base, term in rows}

    def fixed(self, feed_id: int, level: str, value: str, key: Key, trade_day: date) -> tuple[Position, int]:
        """Return the part of a position that is past its fixing, and how many legs make it up."""
        statement = text(FIXED.format(column=LEVELS[level]))
        asked = {"feed_id": feed_id, "value": value, "trade_day": trade_day, **key._asdict()}
        base, term, legs = self._connection.execute(statement, asked).one()
        return Position(base, term), int(legs)

    def past_fixing(self, feed_id: int, trade_day: date) -> list[tuple[str, date, int, Decimal, str]]:
        """Return symbol, fixing date, legs, net base and one trade of NDF legs past fixing and not yet settled."""
        rows = self._connection.execute(PAST_FIXING, {"feed_id": feed_id, "trade_day": trade_day})
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    def level_values(self, feed_id: int, level: str, trade_day: date, orgs: Collection[str]) -> list[str]:
        """Return whose positions the book holds at a level; of these organisations only, where some are given."""
        asked = {"feed_id": feed_id, "trade_day": trade_day, "orgs": list(orgs), "any_org": not orgs}
        return list(self._connection.execute(text(VALUES.format(column=LEVELS[level])), asked).scalars())

    def open_positions(
        self, feed_id: int, run_id: int, *, level: str, value: str, at: datetime, vendor_date: datetime | None,
        by: str, reason: str, figures: Mapping[Key, tuple[Position, Position]],
    ) -> int:  # fmt: skip
        """Keep the vendor's figures and ours at go-live; return the number of the opening."""
        values = {
            "feed_id": feed_id, "control": "positions", "level": level, "level_value": value, "as_of": at,
            "opened_by": by, "reason": reason, "run_id": run_id, "vendor_date": vendor_date,
        }  # fmt: skip
        number = int(self._connection.execute(insert(OpeningRow).values(values).returning(OpeningRow.id)).scalar_one())
        rows = [
            {
                "opening_id": number, "symbol": key.symbol, "value_date": key.value_date, "theirs_base": theirs.base,
                "theirs_term": theirs.term, "ours_base": ours.base, "ours_term": ours.term,
            }
            for key, (ours, theirs) in figures.items()
        ]  # fmt: skip
        if rows:
            self._connection.execute(insert(OpeningPositionRow), rows)
        return number

    def opening(self, feed_id: int, control: str, level: str, value: str) -> int | None:
        """Return the number of the opening that counts, or None before go-live."""
        row = OpeningRow
        statement = select(row.id).where(
            row.feed_id == feed_id, row.control == control, row.level == level, row.level_value == value
        )
        found = self._connection.execute(statement.order_by(row.id.desc()).limit(1)).scalar()
        return None if found is None else int(found)

    def opened_positions(self, opening_id: int, trade_day: date) -> dict[Key, tuple[Position, Position]]:
        """Return ours and theirs at an opening by key; those whose value date has passed are dropped."""
        row = OpeningPositionRow
        statement = select(
            row.symbol, row.value_date, row.ours_base, row.ours_term, row.theirs_base, row.theirs_term
        ).where(row.opening_id == opening_id, row.value_date > trade_day)
        return {
            Key(symbol, day): (Position(our_base, our_term), Position(their_base, their_term))
            for symbol, day, our_base, our_term, their_base, their_term in self._connection.execute(statement)
        }

    def cited(self, citations: Sequence[Citation]) -> list[dict[str, Any]]:
        """Return citations as a run keeps them."""
        return [msgspec.structs.asdict(each) for each in citations]
