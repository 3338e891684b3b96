"""Show what a killed leader left open as in doubt until its gap is open, also while the next one takes over."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
works_from = "0003"

FEED_STATUS = """
        SELECT f.name AS feed, led.leader AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            d.gaps AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                WHEN f.other_database IS NOT NULL THEN 'other_database'
                WHEN f.paused_at IS NOT NULL THEN 'paused'
                WHEN k.held_at IS NOT NULL THEN 'booking_held'
                WHEN d.in_doubt > 0 THEN 'in_doubt'
                WHEN d.escalated > 0 THEN 'gap_escalated'
                WHEN f.second_consumer_since IS NOT NULL THEN 'second_consumer_suspected'
                WHEN d.gaps > 0 THEN 'healing'
                WHEN c.opened_at IS NULL THEN 'never_polled'
                WHEN led.leader IS NULL THEN 'stopped'
                ELSE 'polling'
            END AS state,
            f.unconfirmed_assumptions, d.in_doubt AS in_doubt_polls
        FROM stp.feed f
        JOIN stp.lease l ON l.feed_id = f.id
        JOIN stp.booker k ON k.feed_id = f.id
        LEFT JOIN stp.current_poll c ON c.feed_id = f.id
        LEFT JOIN (
            SELECT DISTINCT (classid::bigint << 32 | objid::bigint) AS key{pid} FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) AS locked ON locked.key = f.lock_key{whose}
        CROSS JOIN LATERAL (
            SELECT CASE WHEN locked.key IS NOT NULL OR pg_is_in_recovery()
                OR f.system_identifier IS DISTINCT FROM (SELECT system_identifier::text FROM pg_control_system())
                THEN l.holder END AS leader
        ) AS led
        CROSS JOIN LATERAL (
            SELECT
                (SELECT count(*) FROM stp.poll p
                  WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL)
                  + ({left_open} AND c.poll_id IS NOT NULL AND c.outcome IS NULL)::integer AS in_doubt,
                (SELECT count(*) FROM stp.gap g
                  WHERE g.feed_id = f.id AND (g.state = 'escalated'
                    OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep'))
                ) AS gaps,
                (SELECT count(*) FROM stp.gap g WHERE g.feed_id = f.id AND g.state = 'escalated') AS escalated
        ) AS d"""
# Between the lock and the first commit of a new leader the row still names the old one: the lock is not that one's.
# A release that does not say its session yet leads by the lock alone, as before.
WHOSE = " AND (l.session_epoch IS DISTINCT FROM l.epoch OR locked.pid = l.session_pid)"
# After that commit, until the gap is open, the epoch tells a poll of an earlier leader from one of this one.
NOW = FEED_STATUS.format(pid=", pid", whose=WHOSE, left_open="(led.leader IS NULL OR c.epoch < l.epoch)")
BEFORE = FEED_STATUS.format(pid="", whose="", left_open="led.leader IS NULL")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    pid = "Process of the database server that holds the lock of the leader of session_epoch"
    op.add_column("lease", sa.Column("session_pid", sa.Integer(), nullable=True, comment=pid), schema="stp")
    epoch = "Epoch whose leader said its session; an older release does not"
    op.add_column("lease", sa.Column("session_epoch", sa.BigInteger(), nullable=True, comment=epoch), schema="stp")
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {NOW}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {BEFORE}")
    for column in ("session_epoch", "session_pid"):
        op.drop_column("lease", column, schema="stp")
