"""Notice another timeline or another database, and let operators' commands ask the leader by a row."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The control file learns of a new timeline at the first checkpoint after a promotion only; where WAL is written tells
# it at once. A standby, where reports may run, writes none.
TIMELINE = """
CREATE FUNCTION stp.timeline() RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN (SELECT timeline_id FROM pg_control_checkpoint());
    END IF;
    RETURN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer;
END $$
"""
INCARNATION = """
CREATE FUNCTION stp.incarnation() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT system_identifier::text || '/' || stp.timeline() FROM pg_control_system()
$$
"""
# SECURITY DEFINER: the daemon may draw numbers from the sequence and not set it.
JUMP_POLL_ID = """
CREATE FUNCTION stp.jump_poll_id() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT setval('stp.poll_id', nextval('stp.poll_id') + 10000000)
$$
"""

FEED_STATUS = """
        SELECT f.name AS feed, l.holder AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            d.gaps AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                {other_database}
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
        ) AS d"""
OTHER_DATABASE = "WHEN f.other_database IS NOT NULL THEN 'other_database'"
STATES = (
    "What is to be done, worst first: other_database, paused, booking_held, in_doubt, gap_escalated, "
    "second_consumer_suspected, healing, never_polled, stopped, polling"
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.create_table(
        "request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="What is wanted, such as poll"),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True, comment="Of the leader that took it"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True, comment="A sentence; why it failed"),
        sa.CheckConstraint(
            "state IN ('requested', 'running', 'done', 'failed', 'withdrawn')", name="ck_request_state_known"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_request"),
        schema="stp",
    )
    op.create_index(
        "ix_request_unfinished",
        "request",
        ["feed_id", "id"],
        unique=False,
        schema="stp",
        postgresql_where=sa.text("state IN ('requested', 'running')"),
    )
    op.add_column(
        "feed",
        sa.Column(
            "other_database",
            sa.Text(),
            nullable=True,
            comment="System identifier that was met and that nobody has adopted: no polling",
        ),
        schema="stp",
    )
    op.add_column(
        "lease",
        sa.Column("timeline", sa.Integer(), nullable=True, comment="Of the database when it was taken: a fence too"),
        schema="stp",
    )
    op.add_column(
        "change_counter",
        sa.Column("incarnation", sa.Text(), nullable=True, comment="System identifier and timeline of the last number"),
        schema="stp",
    )
    for function in (TIMELINE, INCARNATION, JUMP_POLL_ID):
        op.execute(function)
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {FEED_STATUS.format(other_database=OTHER_DATABASE)}")
    op.execute(f"COMMENT ON COLUMN reporting.feed_status.state IS '{STATES}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {FEED_STATUS.format(other_database='')}")
    for function in ("jump_poll_id()", "incarnation()", "timeline()"):
        op.execute(f"DROP FUNCTION stp.{function}")
    op.drop_column("change_counter", "incarnation", schema="stp")
    op.drop_column("lease", "timeline", schema="stp")
    op.drop_column("feed", "other_database", schema="stp")
    op.drop_table("request", schema="stp")
