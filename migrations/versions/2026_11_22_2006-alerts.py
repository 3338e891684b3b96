"""Create the outbox of alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
works_from = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "alert_id",
            sa.UUID(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="By which a receiver knows that it has it already",
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="Of the fact"),
        sa.Column(
            "topic", sa.Text(), nullable=True, comment="Facts of one topic that wait are one alert, with a count"
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("words", sa.Text(), nullable=False, comment="A sentence of ours: no payload, no secret"),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="dropped: not wanted, or given up"),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False, comment="When it is sent, or tried again"),
        sa.Column(
            "claimed_until", sa.DateTime(timezone=True), nullable=True, comment="Whoever sends it now has until then"
        ),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'dropped')", name="ck_alert_state_known"),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
        sa.UniqueConstraint("key", name="uq_alert_key"),
        schema="stp",
    )
    op.create_index(
        "ix_alert_waiting",
        "alert",
        ["not_before", "id"],
        unique=False,
        schema="stp",
        postgresql_where=sa.text("state = 'waiting'"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.drop_table("alert", schema="stp")
