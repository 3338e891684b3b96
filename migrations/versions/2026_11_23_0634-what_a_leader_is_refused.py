"""Keep why a leader is refused, such as its log-in at the vendor, so that `status` can say it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
works_from = "0003"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    why = "Why the leader cannot poll until a person acts"
    op.add_column("lease", sa.Column("refused", sa.Text(), nullable=True, comment=why), schema="stp")
    since = sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True, comment="Since when that is so")
    op.add_column("lease", since, schema="stp")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for column in ("refused_at", "refused"):
        op.drop_column("lease", column, schema="stp")
