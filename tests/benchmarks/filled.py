"""A book filled by SQL: as many trades as a benchmark wants, without a vendor."""

from __future__ import annotations

from etl.store.database import Database
from etl.store.unit_of_work import work_on
from tests.databases import change
from tests.feeds import a_feed

FILL = (
    """
INSERT INTO stp.trade_version (feed_id, trade_id, version, change_seq, source, content_hash, landed_at, booked_at,
    changed_fields, trade_type, status, live, our_side, internal, side, maker, symbol, base_currency, term_currency,
    dealt_currency, trade_date, executed_at, order_id, organisation, legal_entity, trader, counterparty,
    counterparty_entity, channel, attributes, attributes_omitted, flags)
SELECT :feed_id, 'FXI' || (9000000000 + n), 1, n, 'queue', sha256(n::text::bytea), now(), now(), '{}', 'Spot',
    'Verified', true, 'customer', false, CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END, false, 'EUR/USD', 'EUR', 'USD',
    'EUR', DATE '2026-01-01' + (n * 250 / :count)::integer, TIMESTAMPTZ '2026-01-01 12:00Z' + n * interval '1 second',
    (4820276016 + n / 2)::text, 'CustomerOrg', 'CustomerOrgle' || n % 7, 'user@CustomerOrg', 'BrokerOrg' || n % 30,
    'BrokerOrgLE' || n % 90, 'API/REST/ESP', jsonb_build_object('coverRate', '1.08' || n % 1000), '{}', '{}'
FROM generate_series(1, CAST(:count AS bigint)) AS n
""",
    """
INSERT INTO stp.trade_leg (feed_id, trade_id, version, leg_no, value_date, deliverable, dealt_currency, dealt_amount,
    settled_currency, settled_amount, base_amount, term_amount, rate)
SELECT v.feed_id, v.trade_id, 1, 1, v.trade_date + 2, true, 'EUR', a.amount, 'USD', -a.amount * 1.08425, a.amount,
    -a.amount * 1.08425, 1.08425
FROM stp.trade_version v
CROSS JOIN LATERAL (
    SELECT (CASE WHEN v.side = 'buy' THEN 1 ELSE -1 END * (v.change_seq % 5000 + 1) * 1000.50)
) AS a (amount)
""",
    """
INSERT INTO stp.trade (feed_id, trade_id, version, first_landed_at)
SELECT feed_id, trade_id, 1, landed_at FROM stp.trade_version
""",
    "UPDATE stp.change_counter SET change_seq = :count",
)


def fill(database: Database, count: int) -> None:
    """Put `count` trades of one leg into the empty book, spread over 250 trade dates."""
    feed = a_feed(work_on(database))
    for statement in FILL:
        names = {"feed_id": feed.feed_id, "count": count}
        change(database, statement, **{name: each for name, each in names.items() if f":{name}" in statement})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
