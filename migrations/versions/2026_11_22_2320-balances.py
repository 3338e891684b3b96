"""Keep what balances are made of: flows at the opening, transfers, the last comparison; show it to readers."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
works_from = "0003"
branch_labels = None
depends_on = None

FLOWS = {
    "legs": "Settled by then, + received, - paid",
    "deposits": "Completed by then, as far as we knew",
    "withdrawals": "As deposits",
    "fees": "Of these withdrawals",
}
VIEWS = {
    "balance": """
        SELECT f.name AS feed, b.level, b.account, b.asset, b.opening, b.opened_at, b.legs, b.deposits, b.withdrawals,
            b.fees, b.adjustments, b.ours, b.theirs, b.theirs - b.ours AS difference, b.result, b.as_of, b.run_id
        FROM stp.account_balance b JOIN stp.feed f ON f.id = b.feed_id""",
    "balance_adjustment": """
        SELECT f.name AS feed, a.id AS adjustment_id, a.account, a.asset, a.amount, a.effective_at, a.recorded_at,
            a.recorded_by, a.reason
        FROM stp.balance_adjustment a JOIN stp.feed f ON f.id = a.feed_id""",
    "custody_transfer": """
        SELECT f.name AS feed, c.direction, c.transfer_id, c.account, c.asset, c.amount, c.fee, c.status, c.at,
            c.first_seen_at, c.changed_at, c.reply_id
        FROM stp.custody_transfer c JOIN stp.feed f ON f.id = c.feed_id""",
}
COMMENTS = {
    "balance": (
        "The last comparison of the balance of an account and asset with the vendor's figure",
        {
            "feed": "Name of the feed",
            "level": "ACCOUNT: the account of the login; BROKER: one of the broker's accounts",
            "account": "Organisation/account of a broker's account; empty for the account of the login",
            "asset": "Currency or asset",
            "opening": "What the vendor said it held at the opening; NULL before go-live",
            "opened_at": "Instant of the opening",
            "legs": "Deliverable legs settled since the opening; positive is received by us, negative is paid",
            "deposits": "Deposits completed since then, unsigned",
            "withdrawals": "Withdrawals completed since then, unsigned",
            "fees": "Fees of these withdrawals, unsigned",
            "adjustments": "What operators recorded since then; positive is received by us, negative is paid",
            "ours": "opening + legs + deposits - withdrawals - fees + adjustments, rounded to the minor unit",
            "theirs": "What the vendor says it holds, rounded alike",
            "difference": "theirs less ours",
            "result": "agreed, break, no_opening, or unconfirmed: it could not be told",
            "as_of": "Instant at which the vendor was asked",
            "run_id": "The run of reconciliation",
        },
    ),
    "balance_adjustment": (
        "An amount that a person says moved a balance; never changed",
        {
            "feed": "Name of the feed",
            "adjustment_id": "Our number of the adjustment",
            "account": "Organisation/account of a broker's account; empty for the account of the login",
            "asset": "Currency or asset",
            "amount": "Major units; positive is received by us, negative is paid",
            "effective_at": "Instant at which it moved the balance; counts where it is after the opening",
            "recorded_at": "Instant at which it was recorded",
            "recorded_by": "Who recorded it",
            "reason": "Why",
        },
    ),
    "custody_transfer": (
        "A deposit or withdrawal as the vendor told it last; only completed ones move a balance",
        {
            "feed": "Name of the feed",
            "direction": "deposit or withdrawal",
            "transfer_id": "The vendor's id of it",
            "account": "The account, where the vendor names one",
            "asset": "Currency or asset",
            "amount": "Major units, unsigned, without the fee",
            "fee": "Major units, unsigned; 0 for deposits",
            "status": "The vendor's word: COMPLETED, PENDING, FAILED, or one that we do not know",
            "at": "The vendor's time of it",
            "first_seen_at": "Instant at which we first saw it",
            "changed_at": "Instant at which the vendor last told it differently",
            "reply_id": "Our number of the vendor's stored answer that says so",
        },
    ),
}
LEVEL = "Whose position: ORG, LE or USER; NULL where it is no position"
NEW_LEVEL = "Whose position: ORG, LE or USER; whose balance: ACCOUNT or BROKER; else NULL"
GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'stp_reporting') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO stp_reporting;
    END IF;
END $$
"""


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} reporting.{name} IS '{quoted}'")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    money, instant = sa.Numeric(), sa.DateTime(timezone=True)
    op.add_column(
        "opening", sa.Column("vendor_date", instant, comment="The vendor's own clock as it answered"), schema="stp"
    )
    for name, meaning in FLOWS.items():
        column = sa.Column(name, money, server_default="0", nullable=False, comment=meaning)
        op.add_column("opening_balance", column, schema="stp")
    said = "Its legs counted from execution on"
    column = sa.Column("at_execution", sa.Boolean(), server_default="false", nullable=False, comment=said)
    op.add_column("opening_balance", column, schema="stp")
    op.create_table(
        "account_balance",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Text(), nullable=False, comment="ACCOUNT or BROKER"),
        sa.Column("account", sa.Text(), nullable=False, comment="'' for the account of the login"),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("opening", money, nullable=True, comment="Major units; none before go-live"),
        sa.Column("opened_at", instant, nullable=True),
        sa.Column("legs", money, nullable=False, comment="Settled since the opening, + received, - paid"),
        sa.Column("deposits", money, nullable=False),
        sa.Column("withdrawals", money, nullable=False),
        sa.Column("fees", money, nullable=False),
        sa.Column("adjustments", money, nullable=False, comment="+ received, - paid"),
        sa.Column("ours", money, nullable=True, comment="The sum of the above, rounded to the minor unit"),
        sa.Column("theirs", money, nullable=True),
        sa.Column("result", sa.Text(), nullable=False, comment="agreed, break, no_opening or unconfirmed"),
        sa.Column("as_of", instant, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "level", "account", "asset", name="pk_account_balance"),
        schema="stp",
    )
    op.create_table(
        "custody_transfer",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", money, nullable=False, comment="Major units, unsigned"),
        sa.Column("fee", money, nullable=False, comment="Major units, unsigned; of withdrawals"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False, comment="The vendor's time of it"),
        sa.Column("first_seen_at", instant, nullable=False),
        sa.Column("changed_at", instant, nullable=False, comment="When the vendor last told it differently"),
        sa.Column("reply_id", sa.BigInteger(), nullable=False, comment="The vendor's stored answer that says so"),
        sa.CheckConstraint("direction IN ('deposit', 'withdrawal')", name="ck_custody_transfer_direction_known"),
        sa.PrimaryKeyConstraint("feed_id", "direction", "transfer_id", name="pk_custody_transfer"),
        schema="stp",
    )
    for name, query in VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    for view, (meaning, columns) in COMMENTS.items():
        comment("VIEW", view, meaning)
        for column_name, text in columns.items():
            comment("COLUMN", f"{view}.{column_name}", text)
    comment("COLUMN", "break.level", NEW_LEVEL)
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    comment("COLUMN", "break.level", LEVEL)
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW reporting.{name}")
    op.drop_table("custody_transfer", schema="stp")
    op.drop_table("account_balance", schema="stp")
    for name in ("at_execution", *reversed(FLOWS)):
        op.drop_column("opening_balance", name, schema="stp")
    op.drop_column("opening", "vendor_date", schema="stp")
