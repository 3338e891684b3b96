"""Tell a leader that is gone from one that leads, and its last poll, left open, as one in doubt."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
works_from = "0003"

FEED_STATUS = """
        SELECT f.name AS feed, {leader} AS leader, l.epoch,
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
                WHEN {leader} IS NULL THEN 'stopped'
                ELSE 'polling'
            END AS state,
            f.unconfirmed_assumptions, d.in_doubt AS in_doubt_polls
        FROM stp.feed f
        JOIN stp.lease l ON l.feed_id = f.id
        JOIN stp.booker k ON k.feed_id = f.id
        LEFT JOIN stp.current_poll c ON c.feed_id = f.id
        {led}CROSS JOIN LATERAL (
            SELECT
                (SELECT count(*) FROM stp.poll p
                  WHERE p.feed_id = f.id AND p.outcome = 'in_doubt' AND p.gap_id IS NULL){left_open} AS in_doubt,
                (SELECT count(*) FROM stp.gap g
                  WHERE g.feed_id = f.id AND (g.state = 'escalated'
                    OR g.state IN ('open', 'waiting', 'resending') AND g.cause NOT IN ('sweep', 'history_sweep'))
                ) AS gaps,
                (SELECT count(*) FROM stp.gap g WHERE g.feed_id = f.id AND g.state = 'escalated') AS escalated
        ) AS d"""
# A leader holds the advisory lock of the feed as long as it lives. Locks of another server are not seen here: on a
# standby, and in a copy by logical replication, what the leader wrote when it took the feed is all that can be told.
LED = """LEFT JOIN (
            SELECT DISTINCT (classid::bigint << 32 | objid::bigint) AS key FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) AS locked ON locked.key = f.lock_key
        CROSS JOIN LATERAL (
            SELECT CASE WHEN locked.key IS NOT NULL OR pg_is_in_recovery()
                OR f.system_identifier IS DISTINCT FROM (SELECT system_identifier::text FROM pg_control_system())
                THEN l.holder END AS leader
        ) AS led
        """
LEFT_OPEN = """
                  + (led.leader IS NULL AND c.poll_id IS NOT NULL AND c.outcome IS NULL)::integer"""
NOW = FEED_STATUS.format(leader="led.leader", led=LED, left_open=LEFT_OPEN)
BEFORE = FEED_STATUS.format(leader="l.holder", led="", left_open="")

LEADER = "Host and process that polls the feed; NULL where none does, also when it is gone without a word"
LEADER_BEFORE = "Host and process that polls the feed; NULL where none does"
IN_DOUBT = "Requests whose answer may be lost and that have no gap yet; also one that a leader left open which is gone"
IN_DOUBT_BEFORE = "Requests whose answer may be lost and that have no gap yet"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    _show(NOW, LEADER, IN_DOUBT)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    _show(BEFORE, LEADER_BEFORE, IN_DOUBT_BEFORE)


def _show(view: str, leader: str, in_doubt: str) -> None:
    op.execute(f"CREATE OR REPLACE VIEW reporting.feed_status AS {view}")
    op.execute(f"COMMENT ON COLUMN reporting.feed_status.leader IS '{leader}'")
    op.execute(f"COMMENT ON COLUMN reporting.feed_status.in_doubt_polls IS '{in_doubt}'")
