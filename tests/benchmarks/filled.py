"""A book filled by SQL: as many trades as a benchmark wants, and the polls that brought them, without a vendor."""

from __future__ import annotations

from etl.store.database import Database
from etl.store.unit_of_work import work_on
from tests.databases import change
from tests.feeds import Feed, a_feed

FILL = (
    """
INSERT INTO stp.trade_version (feed_id, trade_id, version, change_seq, message_id, source, content_hash, landed_at,
    booked_at, changed_fields, trade_type, status, live, our_side, internal, side, maker, symbol, base_currency,
    term_currency, dealt_currency, trade_date, executed_at, order_id, organisation, legal_entity, trader, counterparty,
    counterparty_entity, channel, attributes, attributes_omitted, flags)
SELECT :feed_id, 'FXI' || (9000000000 + n), 1, n,
    (2 * ((n - 1) / nullif(:page, 0)) + 1) * 100000000 + (n - 1) % nullif(:page, 0), 'queue', sha256(n::text::bytea),
    d.landed_at, d.landed_at, '{}', 'Spot',
    'Verified', true, 'customer', false, CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END, false, 'EUR/USD', 'EUR', 'USD',
    'EUR', d.landed_at::date, d.landed_at,
    (4820276016 + n / 2)::text, 'CustomerOrg', 'CustomerOrgle' || n % 7, 'user@CustomerOrg', 'BrokerOrg' || n % 30,
    'BrokerOrgLE' || n % 90, 'API/REST/ESP', jsonb_build_object('coverRate', '1.08' || n % 1000), '{}', '{}'
FROM generate_series(1, CAST(:count AS bigint)) AS n
CROSS JOIN LATERAL (
    SELECT TIMESTAMPTZ '2026-01-01 12:00Z' + ((n - 1) * :days / :count)::integer * interval '1 day'
) AS d (landed_at)
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
# As many drains as pages: each a page and the empty answer that proves its end.
LEDGER = (
    "SELECT stp.make_partitions(DATE '2026-01-01', 9)",
    """
INSERT INTO stp.message (poll_id, place, opened_at, feed_id, start, length, sha256, trade_id, event, state, version)
SELECT 2 * ((change_seq - 1) / :page) + 1, (change_seq - 1) % :page, landed_at, feed_id, 1, 700, content_hash, trade_id,
    'NEW', 'booked', 1
FROM stp.trade_version
""",
    """
INSERT INTO stp.answer (feed_id, poll_id, opened_at, request_id, landed_at, status, complete, body, sha256)
SELECT feed_id, poll_id, opened_at, poll_id::text, opened_at, 200, true, '[]', sha256(poll_id::text::bytea)
FROM stp.message WHERE place = 0
""",
    """
INSERT INTO stp.poll (id, feed_id, request_id, epoch, drain_id, opened_at, closed_at, doubt_from, max_count, outcome,
    cause, status, vendor_date, messages)
SELECT poll_id + e.later, feed_id, (poll_id + e.later)::text, 1, poll_id, opened_at, opened_at, opened_at::date, :page,
    e.outcome, e.outcome, 200, opened_at, e.messages
FROM stp.answer CROSS JOIN (VALUES (0, 'page', :page), (1, 'empty', 0)) AS e (later, outcome, messages)
""",
    "SELECT setval('stp.poll_id', (SELECT max(id) FROM stp.poll))",
)


def fill(database: Database, count: int, *, page: int = 0, days: int = 250, name: str = "main") -> Feed:
    """Put `count` trades of one leg into the empty book, spread over so many trade dates; return their feed.

    With `page` also the polls, answers and messages that brought them, so many trades at a time.
    """
    feed = a_feed(work_on(database), name)
    for statement in (*FILL, *(LEDGER if page else ())):
        names = {"feed_id": feed.feed_id, "count": count, "page": page, "days": days}
        change(database, statement, **{name: each for name, each in names.items() if f":{name}" in statement})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    return feed
