"""What a file of a trade date holds: trades, legs, positions, breaks, in an order that is always the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, text

LEG_OF_TRADE = """
SELECT l.feed, l.trade_id, l.version, l.leg_no, v.trade_date, v.trade_type, v.status, v.live, v.legal_entity,
    v.counterparty, v.symbol, l.value_date, l.fixing_date, l.fixing_tenor, l.deliverable, l.dealt_currency,
    l.dealt_amount, l.settled_currency, l.settled_amount, l.base_amount, l.term_amount, l.rate, l.spot_rate,
    l.forward_points, v.change_seq
FROM reporting.trade v JOIN reporting.trade_leg l USING (feed, trade_id, version)
WHERE v.trade_date = :day AND (CAST(:feed AS text) IS NULL OR v.feed = :feed)
ORDER BY v.feed, v.trade_id, l.leg_no
"""
# As the book is known now: what was done up to the trade date and is exchanged after it. Internal trades count for both
# parties, as in reporting.position.
OPEN_POSITION = """
SELECT v.feed, party.organisation, party.legal_entity, v.symbol, l.value_date, l.deliverable, v.base_currency,
    sum(l.base_amount * party.sign) AS base_amount, v.term_currency, sum(l.term_amount * party.sign) AS term_amount,
    count(*) AS trade_count, max(v.change_seq) AS change_seq
FROM reporting.trade v
JOIN reporting.trade_leg l USING (feed, trade_id, version)
CROSS JOIN LATERAL (
    SELECT v.organisation, v.legal_entity, 1 AS sign
    UNION ALL SELECT v.counterparty, v.counterparty_entity, -1 WHERE v.internal
) AS party
WHERE v.live AND v.trade_date <= :day AND l.value_date > :day AND (CAST(:feed AS text) IS NULL OR v.feed = :feed)
GROUP BY v.feed, party.organisation, party.legal_entity, v.symbol, v.base_currency, v.term_currency, l.value_date,
    l.deliverable
ORDER BY v.feed, party.organisation, party.legal_entity, v.symbol, l.value_date, l.deliverable
"""
# Open when the trade date ended, with the age of that day.
OPEN_BREAK = """
SELECT b.feed, b.break_id, b.kind, b.key, b.trade_id, b.symbol, b.value_date, b.currency, b.ours, b.theirs,
    b.difference, b.ours_term, b.theirs_term, b.difference_term, b.reporting_currency, b.reporting_amount, b.state,
    b.opened_at, b.closed_at, stp.business_days_between(stp.trade_day(b.opened_at), :day) AS age_business_days,
    b.severity, b.assigned_to, b.vendor_ticket, b.comment, b.explained_by
FROM reporting.break b
WHERE stp.trade_day(b.opened_at) <= :day AND (b.closed_at IS NULL OR stp.trade_day(b.closed_at) > :day)
    AND (CAST(:feed AS text) IS NULL OR b.feed = :feed)
ORDER BY b.feed, b.break_id
"""
TRADE = """
SELECT * FROM reporting.blotter WHERE trade_date = :day AND (CAST(:feed AS text) IS NULL OR feed = :feed)
ORDER BY feed, trade_id
"""
QUESTIONS = MappingProxyType({"trades": TRADE, "legs": LEG_OF_TRADE, "positions": OPEN_POSITION, "breaks": OPEN_BREAK})
CERTIFICATES = text("""
SELECT feed, number, state, sha256 FROM reporting.certificate
WHERE trade_date = :day AND latest AND (CAST(:feed AS text) IS NULL OR feed = :feed) ORDER BY feed
""")
ROWS_AT_ONCE = 5_000
NUMERIC = 1700


class Column(msgspec.Struct, frozen=True):
    """A column of a file, with Postgres' number of its type."""

    name: str
    type_oid: int


class Digits(msgspec.Struct, frozen=True):
    """How many digits the longest number of a column has before and behind the point."""

    before: int
    behind: int


class ExportRepository:
    """Reads only; all of one file in one transaction that sees no later changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look_once(self) -> None:
        """See no later changes from here on; the first thing that the transaction does."""
        self._connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connection.exec_driver_sql("SET LOCAL statement_timeout = '1h'")

    def columns(self, kind: str) -> list[Column]:
        """Return the columns of this kind of file."""
        found = self._connection.execute(text(f"SELECT * FROM ({QUESTIONS[kind]}) AS q LIMIT 0"), _of(date.min, None))
        return [Column(str(each[0]), int(str(each[1]))) for each in found.cursor.description or ()]

    def rows(self, kind: str, day: date, feed: str | None) -> Iterator[Sequence[Any]]:
        """Yield the rows of the file, some thousands held at a time."""
        ask = self._connection.execution_options(yield_per=ROWS_AT_ONCE)
        yield from ask.execute(text(QUESTIONS[kind]), _of(day, feed))

    def digits(self, kind: str, day: date, feed: str | None) -> dict[str, Digits]:
        """Return for each number column of the file how long its numbers are."""
        names = [each.name for each in self.columns(kind) if each.type_oid == NUMERIC]
        sizes = ", ".join(
            f'coalesce(max(length(trunc(abs("{name}"))::text)), 0), coalesce(max(scale("{name}")), 0)' for name in names
        )
        row = self._connection.execute(text(f"SELECT {sizes} FROM ({QUESTIONS[kind]}) AS q"), _of(day, feed)).one()
        return {name: Digits(row[2 * n], row[2 * n + 1]) for n, name in enumerate(names)}

    def certificates(self, day: date, feed: str | None) -> list[dict[str, Any]]:
        """Return the latest certificate of the day, of each feed that has one."""
        found = self._connection.execute(CERTIFICATES, {"day": day, "feed": feed}).mappings()
        return [dict(row) for row in found]


def _of(day: date, feed: str | None) -> dict[str, Any]:
    return {"day": day, "feed": feed}
