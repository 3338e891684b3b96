"""Let the cash ladder be incomplete while a poll that a leader left open, which is gone, may have carried trades."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
works_from = "0003"

CASH_LADDER = """
        WITH {doubtful}flow AS (
            SELECT l.feed_id, l.trade_id, l.value_date, party.organisation, party.legal_entity, party.counterparty,
                party.counterparty_entity, cash.currency, cash.amount
            FROM stp.trade t
            JOIN stp.trade_version v USING (feed_id, trade_id, version)
            JOIN stp.trade_leg l USING (feed_id, trade_id, version)
            CROSS JOIN LATERAL (
                SELECT v.organisation, v.legal_entity, v.counterparty, v.counterparty_entity, 1 AS sign
                UNION ALL
                SELECT v.counterparty, v.counterparty_entity, v.organisation, v.legal_entity, -1 WHERE v.internal
            ) AS party
            CROSS JOIN LATERAL (
                VALUES (v.base_currency, l.base_amount * party.sign), (v.term_currency, l.term_amount * party.sign)
            ) AS cash (currency, amount)
            WHERE v.live AND l.deliverable
        )
        SELECT f.name AS feed, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date,
            coalesce(sum(flow.amount) FILTER (WHERE flow.amount > 0), 0) AS receive,
            coalesce(sum(flow.amount) FILTER (WHERE flow.amount < 0), 0) AS pay,
            sum(flow.amount) AS amount, count(DISTINCT flow.trade_id) AS trade_count,
            {doubtless}
            AND NOT EXISTS (
                SELECT FROM stp.gap g WHERE g.feed_id = f.id
                AND (g.state = 'escalated'
                  OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep'))
            )
            AND NOT EXISTS (SELECT FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open')
            AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = f.id) AS complete
        FROM flow JOIN stp.feed f ON f.id = flow.feed_id
        GROUP BY f.id, f.name, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date"""
# `feed_status` knows which polls are in doubt; it looks at all locks of the server, so it is asked once a query.
DOUBTFUL = """doubtful AS MATERIALIZED (
            SELECT s.feed FROM reporting.feed_status s WHERE s.in_doubt_polls > 0
        ), """
NOW = CASH_LADDER.format(doubtful=DOUBTFUL, doubtless="NOT EXISTS (SELECT FROM doubtful d WHERE d.feed = f.name)")
BEFORE = CASH_LADDER.format(
    doubtful="",
    doubtless="NOT EXISTS "
    "(SELECT FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL)",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.cash_ladder AS {NOW}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.cash_ladder AS {BEFORE}")
