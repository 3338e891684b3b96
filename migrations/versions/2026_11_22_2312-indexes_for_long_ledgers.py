"""Find recent polls, polls of a gap, late trades, open positions and fixings by an index, however old the book is."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
works_from = "0008"

# As stp.trade_day has it, which is inlined into queries and may not stand in an index, being declared STABLE.
LATE = "version = 1 AND (landed_at AT TIME ZONE 'America/New_York' + interval '7 hours')::date > trade_date"
# The index on polls comes last: while it is built no answer can land, and the locks are held to the end.
INDEXES = (
    ("ix_trade_version_late", "trade_version", ["feed_id", "trade_date"], LATE),
    ("ix_trade_leg_fixing_date", "trade_leg", ["fixing_date"], "fixing_date IS NOT NULL"),
    ("ix_position_value_date", "position", ["value_date"], None),
    ("ix_poll_gap", "poll", ["gap_id"], "gap_id IS NOT NULL"),
    ("ix_poll_closed", "poll", ["feed_id", "closed_at"], None),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = '1h'")
    for name, table, columns, where in INDEXES:
        op.create_index(
            name, table, columns, unique=False, schema="stp", postgresql_where=None if where is None else sa.text(where)
        )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(name, table, schema="stp")
