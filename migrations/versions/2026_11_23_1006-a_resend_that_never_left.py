"""Show a resend of which no request has left yet as `requested`, not as one whose answer is unknown."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
works_from = "0003"

RESEND = """
    SELECT f.name AS feed, r.id AS resend_id, r.gap_id, r.from_date, r.to_date, r.requested_by, r.reason,
        r.requested_at, {state} AS state, r.received, r.recovered, r.duplicates, r.absent, r.excused, r.tries, r.detail,
        nullif(r.request_id, '') AS request_id
    FROM stp.resend r JOIN stp.feed f ON f.id = r.feed_id"""
# `tries` counts what was sent: a try that never left is taken back.
STATE = "CASE WHEN r.state = 'ambiguous' AND r.tries = 0 THEN 'requested' ELSE r.state END"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.resend AS {RESEND.format(state=STATE)}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.resend AS {RESEND.format(state='r.state')}")
