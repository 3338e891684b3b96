"""Create gaps and resends, and let the reporting views say which trade dates may lack trades."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NEW_VIEWS = {
    "gap": """
        SELECT f.name AS feed, g.id AS gap_id, g.cause, g.from_date, g.to_date, g.opened_at, g.state, g.recovered,
            g.already_known, g.closed_at, g.closed_by, g.reason, g.why, g.not_before, g.healed_before
        FROM stp.gap g JOIN stp.feed f ON f.id = g.feed_id""",
    "resend": """
        SELECT f.name AS feed, r.id AS resend_id, r.gap_id, r.from_date, r.to_date, r.requested_by, r.reason,
            r.requested_at, r.state, r.received, r.recovered, r.duplicates, r.absent, r.excused, r.tries, r.detail
        FROM stp.resend r JOIN stp.feed f ON f.id = r.feed_id""",
}
CASH_LADDER = """
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
            flow.currency, flow.value_date"""
FEED_STATUS = """
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
        ) AS d"""
CASH_LADDER_BEFORE = """
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
            NOT EXISTS (SELECT FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt')
            AND NOT EXISTS (SELECT FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open')
            AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = f.id) AS complete
        FROM flow JOIN stp.feed f ON f.id = flow.feed_id
        GROUP BY f.id, f.name, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date"""
FEED_STATUS_BEFORE = """
        SELECT f.name AS feed, l.holder AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            0::bigint AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                WHEN f.paused_at IS NOT NULL THEN 'paused'
                WHEN k.held_at IS NOT NULL THEN 'booking_held'
                WHEN d.in_doubt > 0 THEN 'in_doubt'
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
            SELECT (SELECT count(*) FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt') AS in_doubt
        ) AS d"""

GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'stp_reporting') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO stp_reporting;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.create_table(
        "gap",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("from_date", sa.Date(), nullable=False),
        sa.Column("to_date", sa.Date(), nullable=False, comment="Included"),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("doubted_at", sa.DateTime(timezone=True), nullable=False, comment="Of the latest evidence"),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="No resend is asked earlier: the ghost (A22)",
        ),
        sa.Column("healed_before", sa.Date(), nullable=True, comment="Days before this one have come again in full"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True, comment="Why it is in this state"),
        sa.Column("request_key", sa.Text(), nullable=True, comment="Of an operator's request: the same, once"),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What made us doubt, oldest first",
        ),
        sa.Column("recovered", sa.Integer(), nullable=False, comment="Trades that were lost and came again"),
        sa.Column(
            "already_known", sa.Integer(), nullable=False, comment="Trades that came again and were booked before"
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'waiting', 'resending', 'healed', 'escalated', 'closed')", name="ck_gap_state_known"
        ),
        sa.CheckConstraint("from_date <= to_date", name="ck_gap_not_empty"),
        sa.PrimaryKeyConstraint("id", name="pk_gap"),
        sa.UniqueConstraint("request_key", name="uq_gap_request_key"),
        schema="stp",
    )
    op.create_index(
        "ix_gap_unfinished",
        "gap",
        ["feed_id", "id"],
        unique=False,
        schema="stp",
        postgresql_where=sa.text("state IN ('open', 'waiting', 'resending', 'escalated')"),
    )
    op.create_table(
        "resend",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("gap_id", sa.BigInteger(), nullable=False),
        sa.Column("from_date", sa.Date(), nullable=False),
        sa.Column("to_date", sa.Date(), nullable=False, comment="Included"),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, comment="Requests sent"),
        sa.Column("request_id", sa.Text(), nullable=True, comment="X-Request-ID of the last one"),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_seq", sa.BigInteger(), nullable=True, comment="change_seq at acceptance: what we held then"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("proof_poll_id", sa.BigInteger(), nullable=True, comment="The proven-empty answer that ended it"),
        sa.Column("received", sa.Integer(), nullable=False),
        sa.Column("recovered", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("absent", sa.Integer(), nullable=False),
        sa.Column("excused", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('requested', 'sending', 'accepted', 'ambiguous', 'refused', 'draining', 'complete', 'short')",
            name="ck_resend_state_known",
        ),
        sa.ForeignKeyConstraint(["gap_id"], ["stp.gap.id"], name="fk_resend_gap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_resend"),
        schema="stp",
    )
    op.create_index("ix_resend_gap", "resend", ["gap_id", "id"], unique=False, schema="stp")
    op.add_column(
        "poll",
        sa.Column("gap_id", sa.BigInteger(), nullable=True, comment="The gap that its doubt opened"),
        schema="stp",
    )
    for name, query in NEW_VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    op.execute(f"CREATE OR REPLACE VIEW reporting.cash_ladder AS {CASH_LADDER}")
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {FEED_STATUS}")
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.cash_ladder AS {CASH_LADDER_BEFORE}")
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {FEED_STATUS_BEFORE}")
    for name in NEW_VIEWS:
        op.execute(f"DROP VIEW reporting.{name}")
    op.drop_column("poll", "gap_id", schema="stp")
    op.drop_table("resend", schema="stp")
    op.drop_table("gap", schema="stp")
