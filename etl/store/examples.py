"""The example queries of the reporting contract; tests run each and check what it finds."""

from __future__ import annotations

import msgspec


class Example(msgspec.Struct, frozen=True):
    """A question of the back office, and the query that answers it."""

    title: str
    remark: str
    query: str


EXAMPLES = (
    Example(
        "Blotter of the day",
        "Every trade of a trade date as it stands now. `live` is false for trades that the vendor no longer calls "
        "Verified: they are shown, and count nowhere.",
        """
SELECT feed, trade_id, executed_at, trade_type, side, symbol, dealt_currency, dealt_amount, settled_amount,
    near_rate, near_value_date, far_value_date, counterparty, live, is_late
FROM reporting.blotter
WHERE trade_date = DATE '2026-03-02'
ORDER BY executed_at, feed, trade_id
""",
    ),
    Example(
        "Settlement ladder",
        "What is paid and received on each of the next five days. Where `complete` is false, trades may be missing.",
        """
SELECT value_date, currency, sum(pay) AS pay, sum(receive) AS receive, sum(amount) AS net,
    bool_and(complete) AS complete
FROM reporting.cash_ladder
WHERE value_date BETWEEN DATE '2026-03-02' AND DATE '2026-03-02' + 5
GROUP BY value_date, currency
ORDER BY value_date, currency
""",
    ),
    Example(
        "Net positions",
        "What is open per legal entity, symbol and value date; a position whose amounts are both 0 is flat.",
        """
SELECT legal_entity, symbol, value_date, deliverable, sum(base_amount) AS base_amount,
    sum(term_amount) AS term_amount, sum(trade_count) AS legs
FROM reporting.position
WHERE value_date >= DATE '2026-03-02'
GROUP BY legal_entity, symbol, value_date, deliverable
HAVING sum(base_amount) <> 0 OR sum(term_amount) <> 0
ORDER BY legal_entity, symbol, value_date, deliverable
""",
    ),
    Example(
        "Open breaks by age",
        "Ages are business days since the break was first seen.",
        """
SELECT kind,
    CASE WHEN age_business_days = 0 THEN 'today' WHEN age_business_days = 1 THEN '1 day'
        WHEN age_business_days <= 5 THEN '2 to 5 days' ELSE 'more than 5 days' END AS age,
    count(*) AS breaks, count(*) FILTER (WHERE assigned_to IS NULL) AS unassigned
FROM reporting.break
WHERE state IN ('open', 'investigating')
GROUP BY 1, 2
ORDER BY max(age_business_days) DESC, kind
""",
    ),
    Example(
        "What did we know at an instant",
        "The book as it stood then, with the words of that time: of each trade the version that was the current one.",
        """
SELECT v.feed, v.trade_id, v.version, v.status, v.symbol, l.leg_no, l.value_date, l.base_amount, l.term_amount
FROM reporting.trade_version v
JOIN reporting.trade_leg_version l USING (feed, trade_id, version)
WHERE v.valid_from <= TIMESTAMPTZ '2026-03-02 22:00Z'
    AND coalesce(v.valid_to, 'infinity') > TIMESTAMPTZ '2026-03-02 22:00Z'
ORDER BY v.feed, v.trade_id, l.leg_no
""",
    ),
)
