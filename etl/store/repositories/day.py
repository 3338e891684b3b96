"""The operator's sheet of one trade day, from the reporting views."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Connection, text

SECTIONS = {
    "trades": text("""
SELECT feed, trade_type, count(*) AS trades, count(*) FILTER (WHERE live) AS live,
    count(*) FILTER (WHERE is_late) AS late, count(*) FILTER (WHERE version > 1) AS amended
FROM reporting.blotter WHERE trade_date = :day AND (CAST(:feed AS text) IS NULL OR feed = :feed)
GROUP BY 1, 2 ORDER BY 1, 2
"""),
    "sums": text("""
SELECT x.feed, x.currency, sum(x.amount) FILTER (WHERE x.amount > 0) AS receive,
    sum(x.amount) FILTER (WHERE x.amount < 0) AS pay, sum(x.amount) AS net
FROM (
    SELECT l.feed, c.currency, c.amount FROM reporting.trade_leg l
    JOIN reporting.trade t USING (feed, trade_id)
    CROSS JOIN LATERAL (VALUES (l.dealt_currency, l.dealt_amount), (l.settled_currency, l.settled_amount))
        AS c (currency, amount)
    WHERE t.trade_date = :day AND t.live AND (CAST(:feed AS text) IS NULL OR t.feed = :feed)
) AS x GROUP BY 1, 2 ORDER BY 1, 2
"""),
    "late": text("""
SELECT feed, trade_id, symbol, trade_date, executed_at, first_landed_at FROM reporting.blotter
WHERE trade_date = :day AND is_late AND (CAST(:feed AS text) IS NULL OR feed = :feed)
ORDER BY first_landed_at DESC LIMIT 100
"""),
    "gaps": text("""
SELECT feed, gap_id, cause, from_date, to_date, state, recovered FROM reporting.gap
WHERE state NOT IN ('healed', 'closed') AND (CAST(:feed AS text) IS NULL OR feed = :feed) ORDER BY gap_id
"""),
    "exceptions": text("""
SELECT feed, message_id, trade_id, opened_at, symbol, trade_date FROM reporting.exception_item
WHERE state = 'open' AND (CAST(:feed AS text) IS NULL OR feed = :feed) ORDER BY opened_at LIMIT 100
"""),
    "breaks": text("""
SELECT feed, kind, state, count(*) AS breaks, min(opened_at) AS oldest FROM reporting.break
WHERE state IN ('open', 'investigating', 'accepted') AND (CAST(:feed AS text) IS NULL OR feed = :feed)
GROUP BY 1, 2, 3 ORDER BY 1, 5
"""),
    "fixings": text("""
SELECT feed, trade_id, leg_no, fixing_date, value_date, symbol, base_amount, state FROM reporting.fixing
WHERE fixing_date = :day AND (CAST(:feed AS text) IS NULL OR feed = :feed) ORDER BY fixing_date, trade_id LIMIT 100
"""),
    "value_today": text("""
SELECT feed, legal_entity, currency, sum(receive) AS receive, sum(pay) AS pay, sum(amount) AS amount,
    bool_and(complete) AS complete
FROM reporting.cash_ladder WHERE value_date = :day AND (CAST(:feed AS text) IS NULL OR feed = :feed)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""),
    "certificates": text("""
SELECT DISTINCT ON (f.name, c.trade_date) f.name AS feed, c.trade_date, c.number, c.state, c.issued_at,
    (SELECT string_agg(s.signed_as, ', ' ORDER BY s.id) FROM stp.certificate_sign_off s
     WHERE s.certificate_id = c.id) AS signed_as
FROM stp.certificate c JOIN stp.feed f ON f.id = c.feed_id
WHERE c.trade_date BETWEEN CAST(:day AS date) - 4 AND :day AND (CAST(:feed AS text) IS NULL OR f.name = :feed)
ORDER BY f.name, c.trade_date DESC, c.number DESC
"""),
}


class DayRepository:
    """What a person looks at when a day begins and when it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sheet(self, day: date, feed: str | None) -> dict[str, list[dict[str, Any]]]:
        """Return the sections of the sheet by name; a section without rows is empty."""
        values = {"day": day, "feed": feed}
        return {
            name: [dict(row) for row in self._connection.execute(query, values).mappings()]
            for name, query in SECTIONS.items()
        }
