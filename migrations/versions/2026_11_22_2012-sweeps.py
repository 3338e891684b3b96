"""Let sweeps be told from gaps, a second consumer be suspected, and a wider window wait for approval."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# A sweep under way is no sign that something is missing: it counts only where a person has to look.
VIEWS = {
    "cash_ladder": """
        WITH flow AS (
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
            NOT EXISTS (SELECT FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL)
            AND NOT EXISTS (
                SELECT FROM stp.gap g WHERE g.feed_id = f.id
                AND (g.state = 'escalated'
                  OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep'))
            )
            AND NOT EXISTS (SELECT FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open')
            AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = f.id) AS complete
        FROM flow JOIN stp.feed f ON f.id = flow.feed_id
        GROUP BY f.id, f.name, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date""",
    "feed_status": """
        SELECT f.name AS feed, l.holder AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            d.gaps AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                WHEN f.paused_at IS NOT NULL THEN 'paused'
                WHEN k.held_at IS NOT NULL THEN 'booking_held'
                WHEN d.in_doubt > 0 THEN 'in_doubt'
                WHEN d.escalated > 0 THEN 'gap_escalated'
                WHEN f.second_consumer_since IS NOT NULL THEN 'second_consumer_suspected'
                WHEN d.gaps > 0 THEN 'healing'
                WHEN c.opened_at IS NULL THEN 'never_polled'
                WHEN l.holder IS NULL THEN 'stopped'
                ELSE 'polling'
            END AS state,
            f.unconfirmed_assumptions, d.in_doubt AS in_doubt_polls
        FROM stp.feed f
        JOIN stp.lease l ON l.feed_id = f.id
        JOIN stp.booker k ON k.feed_id = f.id
        LEFT JOIN stp.current_poll c ON c.feed_id = f.id
        CROSS JOIN LATERAL (
            SELECT
                (SELECT count(*) FROM stp.poll p
                  WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL) AS in_doubt,
                (SELECT count(*) FROM stp.gap g
                  WHERE g.feed_id = f.id AND (g.state = 'escalated'
                    OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep'))
                ) AS gaps,
                (SELECT count(*) FROM stp.gap g WHERE g.feed_id = f.id AND g.state = 'escalated') AS escalated
        ) AS d""",
}
BEFORE = {
    "cash_ladder": """
        WITH flow AS (
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
            NOT EXISTS (SELECT FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL)
            AND NOT EXISTS (
                SELECT FROM stp.gap g WHERE g.feed_id = f.id
                AND g.state IN ('open', 'waiting', 'resending', 'escalated')
            )
            AND NOT EXISTS (SELECT FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open')
            AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = f.id) AS complete
        FROM flow JOIN stp.feed f ON f.id = flow.feed_id
        GROUP BY f.id, f.name, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date""",
    "feed_status": """
        SELECT f.name AS feed, l.holder AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            d.gaps AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                WHEN f.paused_at IS NOT NULL THEN 'paused'
                WHEN k.held_at IS NOT NULL THEN 'booking_held'
                WHEN d.in_doubt > 0 THEN 'in_doubt'
                WHEN d.escalated > 0 THEN 'gap_escalated'
                WHEN d.gaps > 0 THEN 'healing'
                WHEN c.opened_at IS NULL THEN 'never_polled'
                WHEN l.holder IS NULL THEN 'stopped'
                ELSE 'polling'
            END AS state,
            f.unconfirmed_assumptions, d.in_doubt AS in_doubt_polls
        FROM stp.feed f
        JOIN stp.lease l ON l.feed_id = f.id
        JOIN stp.booker k ON k.feed_id = f.id
        LEFT JOIN stp.current_poll c ON c.feed_id = f.id
        CROSS JOIN LATERAL (
            SELECT
                (SELECT count(*) FROM stp.poll p
                  WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL) AS in_doubt,
                (SELECT count(*) FROM stp.gap g
                  WHERE g.feed_id = f.id AND g.state IN ('open', 'waiting', 'resending', 'escalated')) AS gaps,
                (SELECT count(*) FROM stp.gap g WHERE g.feed_id = f.id AND g.state = 'escalated') AS escalated
        ) AS d""",
}

STATES = (
    "What is to be done, worst first: paused, booking_held, in_doubt, gap_escalated, second_consumer_suspected, "
    "healing, never_polled, stopped, polling"
)
STATES_BEFORE = (
    "What is to be done, worst first: paused, booking_held, in_doubt, gap_escalated, healing, never_polled, stopped, "
    "polling"
)
CAUSES = (
    "What made us doubt: in_doubt (an answer was lost), fills, position, failover, operator; sweep and history_sweep "
    "ask days again without a doubt"
)
CAUSES_BEFORE = "What made us doubt: in_doubt (an answer was lost), sweep, fills, position, failover, operator"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.add_column(
        "gap",
        sa.Column(
            "unexplained",
            sa.Integer(),
            nullable=True,
            comment="Of a sweep: trades that were lost and that no poll in doubt explains",
        ),
        schema="stp",
    )
    op.add_column(
        "gap",
        sa.Column(
            "covers_poll_id",
            sa.BigInteger(),
            nullable=True,
            comment="Of a history sweep: polls in doubt up to this one are covered",
        ),
        schema="stp",
    )
    op.add_column(
        "gap",
        sa.Column("wanted_from", sa.Date(), nullable=True, comment="First day that waits for a person's approval"),
        schema="stp",
    )
    op.add_column(
        "feed",
        sa.Column(
            "second_consumer_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Since when sweeps find losses that no poll in doubt explains",
        ),
        schema="stp",
    )
    op.create_index("ix_resend_feed", "resend", ["feed_id", "requested_at"], unique=False, schema="stp")
    for name, query in VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    _comment(STATES, CAUSES)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for name, query in BEFORE.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    _comment(STATES_BEFORE, CAUSES_BEFORE)
    op.drop_index("ix_resend_feed", table_name="resend", schema="stp")
    op.drop_column("feed", "second_consumer_since", schema="stp")
    for column in ("wanted_from", "covers_poll_id", "unexplained"):
        op.drop_column("gap", column, schema="stp")


def _comment(states: str, causes: str) -> None:
    op.execute(f"COMMENT ON COLUMN reporting.feed_status.state IS '{states}'")
    op.execute(f"COMMENT ON COLUMN reporting.gap.cause IS '{causes}'")
