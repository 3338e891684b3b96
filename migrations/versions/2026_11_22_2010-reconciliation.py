"""Create what reconciliation keeps: runs, the vendor's answers, breaks and their events, openings, certificates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
works_from = "0003"
branch_labels = None
depends_on = None

BREAK = """
        SELECT f.name AS feed, b.id AS break_id, b.kind, b.key, b.trade_id, b.ours, b.theirs, b.difference, b.currency,
            b.ours_term, b.theirs_term, b.difference_term, b.reporting_amount, b.rate_as_of, b.state, b.opened_at,
            b.last_seen_at, b.reopened,
            stp.business_days_between(stp.trade_day(b.opened_at), stp.trade_day(now())) AS age_business_days,
            b.severity, b.assigned_to, b.accepted_until, b.vendor_ticket, b.comment, b.explained_by"""
BREAK_MORE = """, b.level, b.level_value,
            b.symbol, b.value_date, b.order_id, b.seen, b.reopened_at, b.closed_at, b.closed_by, b.reason,
            b.reporting_currency, b.rate_note, b.gap_id, b.investigated_at"""
BREAK_FROM = """
        FROM stp.recon_break b JOIN stp.feed f ON f.id = b.feed_id"""
NEW_VIEWS = {
    "reconciliation_run": """
        SELECT f.name AS feed, r.id AS run_id, r.control, r.cause, r.requested_by, r.reason, r.state, r.result,
            r.started_at, r.as_of, r.ended_at, r.trade_day, r.compared, r.agreed, r.breaks, r.rules, r.basis, r.counts,
            r.cited, r.detail
        FROM stp.reconciliation_run r JOIN stp.feed f ON f.id = r.feed_id""",
    "certificate": """
        SELECT f.name AS feed, c.id AS certificate_id, c.trade_date, c.number, c.state, c.issued_at, c.issued_by,
            nullif(c.number - 1, 0) AS supersedes,
            NOT EXISTS (
                SELECT FROM stp.certificate n
                WHERE (n.feed_id, n.trade_date) = (c.feed_id, c.trade_date) AND n.number > c.number
            ) AS latest,
            c.reasons, c.basis, c.counts, c.sums, c.difference, c.cited,
            encode(c.trades_sha256, 'hex') AS trades_sha256, c.settings_hash, c.software_version,
            encode(c.sha256, 'hex') AS sha256, s.signed_as, s.signed_at
        FROM stp.certificate c
        JOIN stp.feed f ON f.id = c.feed_id
        LEFT JOIN LATERAL (
            SELECT string_agg(o.signed_as, ', ' ORDER BY o.id) AS signed_as, max(o.signed_at) AS signed_at
            FROM stp.certificate_sign_off o WHERE o.certificate_id = c.id
        ) AS s ON true""",
    "break_event": """
        SELECT f.name AS feed, e.break_id, e.id AS event_id, e.at, e.deed, e.by, e.note, e.figures, e.run_id,
            e.reply_id
        FROM stp.break_event e JOIN stp.recon_break b ON b.id = e.break_id JOIN stp.feed f ON f.id = b.feed_id""",
}
INSERT_ONLY = (
    "vendor_body",
    "vendor_reply",
    "break_event",
    "opening",
    "opening_position",
    "opening_balance",
    "balance_adjustment",
    "certificate",
    "certificate_sign_off",
)
COMMENTS = {
    "break": (
        None,
        {
            "level": "Whose position: ORG, LE or USER; NULL where it is no position",
            "level_value": "The organisation, legal entity or user",
            "symbol": "Symbol of a position",
            "value_date": "Value date of a position",
            "order_id": "The order that it is about",
            "seen": "Runs that saw it since it was opened or opened again",
            "reopened_at": "Instant at which it came back last",
            "closed_at": "Instant at which it was cleared or resolved",
            "closed_by": "Who resolved it; stp-etl where a control proved that it is gone",
            "reason": "Why it was accepted, resolved or cleared",
            "reporting_currency": "Currency of reporting_amount",
            "rate_note": "Why there is no reporting_amount, or on how old a rate it stands",
            "gap_id": "The gap that was opened on this evidence",
            "investigated_at": "Instant at which it was last investigated",
        },
    ),
    "break_event": (
        "What happened to a break: one row for each change, comment or step of its investigation",
        {
            "feed": "Name of the feed",
            "break_id": "Our number of the break",
            "event_id": "Our number of the event; rises with time",
            "at": "Instant of the event",
            "deed": "opened, reopened, changed, cleared, accepted, resolved, assigned, commented, step",
            "by": "The operator, or stp-etl",
            "note": "What was found, or what a person wrote",
            "figures": "Amounts as text, ids and counts, as JSON",
            "run_id": "The run of reconciliation that it belongs to",
            "reply_id": "Our number of the vendor's stored answer that says so",
        },
    ),
    "reconciliation_run": (
        "One comparison of our book with the vendor's figures",
        {
            "feed": "Name of the feed",
            "run_id": "Our number of the run",
            "control": "fills, positions or balances",
            "cause": "What made it run: interval, daily, healed, operator",
            "requested_by": "The operator who asked for it; stp-etl where it ran by itself",
            "reason": "Why, in the operator's words",
            "state": "running, done or failed",
            "result": "agreed, breaks, no_opening, timing, query_failed and so on",
            "started_at": "Instant at which it began",
            "as_of": "Instant at which the vendor was asked, and for which the result holds",
            "ended_at": "Instant at which it ended",
            "trade_day": "Business day of the run",
            "compared": "Keys, orders or accounts that were compared",
            "agreed": "Those without a difference above the tolerance",
            "breaks": "Differences that were confirmed in this run",
            "rules": "Settings it ran by, with their hash, as JSON",
            "basis": "What it stands on: proven-empty polls, openings, looks, calls, as JSON",
            "counts": "Counts, among them how many keys each reading of the term amount fits, as JSON",
            "cited": "The vendor's stored answers that it used: number, request id, SHA-256, question",
            "detail": "A sentence about how it ended",
        },
    ),
    "certificate": (
        "What could be proven about a trade day at one instant; never changed, a later one supersedes it",
        {
            "feed": "Name of the feed",
            "certificate_id": "Our number of the certificate",
            "trade_date": "The trade day that it is about",
            "number": "Number among the certificates of this trade day, from 1",
            "state": "COMPLETE, INCOMPLETE (see reasons), or PRELIMINARY while the day is not over",
            "issued_at": "Instant at which it was issued",
            "issued_by": "Who asked for it",
            "supersedes": "Number of the certificate before; NULL for the first",
            "latest": "True for the last one of its trade day",
            "reasons": "Why it is not COMPLETE, each with the command that leads on, as JSON",
            "basis": "What it stands on, and its limits, as JSON",
            "counts": "Counts of trades, legs, messages and so on, as JSON",
            "sums": "Amounts by currency, as JSON text",
            "difference": "What changed against the certificate before, as JSON",
            "cited": "The vendor's stored answers that it uses: number, request id, SHA-256, question",
            "trades_sha256": "SHA-256 in hex over the sorted trades of the day",
            "settings_hash": "SHA-256 of the settings",
            "software_version": "Version of the program that issued it",
            "sha256": "SHA-256 in hex over the certificate",
            "signed_as": "Who signed it, by name",
            "signed_at": "Instant of the last signature",
        },
    ),
}
# A view loses columns only by being dropped, and its comments with it: they are put back.
KEEP_COMMENTS = """
CREATE TEMP TABLE kept ON COMMIT DROP AS
SELECT attname AS name, col_description(attrelid, attnum) AS meaning, obj_description(attrelid, 'pg_class') AS whole
FROM pg_attribute WHERE attrelid = CAST('reporting.break' AS regclass) AND attnum > 0
"""
PUT_BACK_COMMENTS = """
DO $$
DECLARE each record;
BEGIN
    FOR each IN SELECT k.* FROM kept k JOIN information_schema.columns c
        ON (c.table_schema, c.table_name, c.column_name) = ('reporting', 'break', k.name)
    LOOP
        EXECUTE format('COMMENT ON COLUMN reporting.break.%I IS %L', each.name, each.meaning);
        EXECUTE format('COMMENT ON VIEW reporting.break IS %L', each.whole);
    END LOOP;
END $$
"""
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
    op.create_table(
        "asked_order",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "change_seq", sa.BigInteger(), nullable=False, comment="The last change of its trades that we knew then"
        ),
        sa.Column(
            "outcome", sa.Text(), nullable=False, comment="agreed, missing_in_book, missing_at_vendor, unknown, failed"
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "order_id", name="pk_asked_order"),
        schema="stp",
    )
    op.create_table(
        "balance_adjustment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, comment="'' for the account of the login"),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid"),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_balance_adjustment"),
        schema="stp",
    )
    op.create_index(
        "ix_balance_adjustment_asset",
        "balance_adjustment",
        ["feed_id", "asset", "effective_at"],
        unique=False,
        schema="stp",
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("trade_date", sa.Date(), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="Of this feed and trade date, from 1; supersedes the one before",
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column(
            "reasons",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{reason, detail, command}]; none where it is COMPLETE",
        ),
        sa.Column(
            "basis",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Polls, sweep, orders, keys, readings, openings, closures",
        ),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "sums",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{currency, receive, pay}], amounts as text",
        ),
        sa.Column(
            "difference", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="To the certificate before"
        ),
        sa.Column(
            "cited",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{reply_id, request_id, sha256, question}]",
        ),
        sa.Column("trades_sha256", sa.LargeBinary(), nullable=False, comment="Over the sorted trades of the day"),
        sa.Column("settings_hash", sa.Text(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="Over all of the above"),
        sa.CheckConstraint("state IN ('COMPLETE', 'INCOMPLETE', 'PRELIMINARY')", name="ck_certificate_state_known"),
        sa.PrimaryKeyConstraint("id", name="pk_certificate"),
        sa.UniqueConstraint("feed_id", "trade_date", "number", name="uq_certificate_feed_id_trade_date_number"),
        schema="stp",
    )
    op.create_table(
        "opening",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("control", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False, comment="ORG, LE or USER; of balances: ACCOUNT or BROKER"),
        sa.Column("level_value", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("control IN ('positions', 'balances')", name="ck_opening_control_known"),
        sa.PrimaryKeyConstraint("id", name="pk_opening"),
        schema="stp",
    )
    op.create_index(
        "ix_opening_feed", "opening", ["feed_id", "control", "level", "level_value", "id"], unique=False, schema="stp"
    )
    op.create_table(
        "reconciliation_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("control", sa.Text(), nullable=False, comment="fills, positions or balances"),
        sa.Column("cause", sa.Text(), nullable=False, comment="interval, daily, healed, operator"),
        sa.Column("requested_by", sa.Text(), nullable=False, comment="The operator, or stp-etl"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True, comment="agreed, breaks, no_opening, timing, query_failed, …"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "as_of",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the vendor was asked: the instant of the comparison",
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trade_day", sa.Date(), nullable=False, comment="The business day of the run"),
        sa.Column("compared", sa.Integer(), nullable=False, comment="Keys, orders or accounts"),
        sa.Column("agreed", sa.Integer(), nullable=False),
        sa.Column("breaks", sa.Integer(), nullable=False, comment="Seen and confirmed in this run"),
        sa.Column(
            "rules",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Settings used, with their hash: tolerances, digits, level",
        ),
        sa.Column(
            "basis",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Polls, change_seq, openings, looks, calls",
        ),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "cited",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{reply_id, request_id, sha256, question}]",
        ),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name="ck_reconciliation_run_state_known"),
        sa.PrimaryKeyConstraint("id", name="pk_reconciliation_run"),
        schema="stp",
    )
    op.create_index(
        "ix_reconciliation_run_feed", "reconciliation_run", ["feed_id", "control", "id"], unique=False, schema="stp"
    )
    op.create_table(
        "vendor_body",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_vendor_body"),
        schema="stp",
    )
    op.create_table(
        "vendor_reply",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="positions, fills, trade, control, balances, assets, rate, …"
        ),
        sa.Column(
            "question",
            sa.Text(),
            nullable=False,
            comment="What was asked for: a trade id, an order id, level and value",
        ),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "request_id", sa.Text(), nullable=False, comment="Sent as X-Request-ID; leads to the vendor's own log"
        ),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("content_encoding", sa.Text(), nullable=True),
        sa.Column("vendor_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vendor_reply"),
        schema="stp",
    )
    op.create_index("ix_vendor_reply_feed", "vendor_reply", ["feed_id", "subject", "id"], unique=False, schema="stp")
    op.create_table(
        "break_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("break_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "deed",
            sa.Text(),
            nullable=False,
            comment="opened, reopened, changed, cleared, accepted, resolved, assigned, commented, step, …",
        ),
        sa.Column("by", sa.Text(), nullable=False, comment="The operator, or stp-etl"),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="Amounts as text, ids, counts"
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("reply_id", sa.BigInteger(), nullable=True, comment="The vendor's stored answer that says so"),
        sa.ForeignKeyConstraint(["break_id"], ["stp.recon_break.id"], name="fk_break_event_break_id"),
        sa.PrimaryKeyConstraint("id", name="pk_break_event"),
        schema="stp",
    )
    op.create_index("ix_break_event_break", "break_event", ["break_id", "id"], unique=False, schema="stp")
    op.create_table(
        "break_observation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("break_id", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("first_run_id", sa.BigInteger(), nullable=True),
        sa.Column("last_run_id", sa.BigInteger(), nullable=True),
        sa.Column("ours", sa.Numeric(), nullable=True),
        sa.Column("theirs", sa.Numeric(), nullable=True),
        sa.Column("difference", sa.Numeric(), nullable=True),
        sa.Column("ours_term", sa.Numeric(), nullable=True),
        sa.Column("theirs_term", sa.Numeric(), nullable=True),
        sa.Column("difference_term", sa.Numeric(), nullable=True),
        sa.ForeignKeyConstraint(["break_id"], ["stp.recon_break.id"], name="fk_break_observation_break_id"),
        sa.PrimaryKeyConstraint("id", name="pk_break_observation"),
        schema="stp",
    )
    op.create_index("ix_break_observation_break", "break_observation", ["break_id", "id"], unique=False, schema="stp")
    op.create_table(
        "certificate_sign_off",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=False),
        sa.Column("signed_as", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False, comment="Who was at the keyboard"),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["stp.certificate.id"], name="fk_certificate_sign_off_certificate_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_certificate_sign_off"),
        schema="stp",
    )
    op.create_index(
        "ix_certificate_sign_off_certificate_id", "certificate_sign_off", ["certificate_id"], unique=False, schema="stp"
    )
    op.create_table(
        "opening_balance",
        sa.Column("opening_id", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, comment="'' for the account of the login"),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False, comment="Major units"),
        sa.ForeignKeyConstraint(["opening_id"], ["stp.opening.id"], name="fk_opening_balance_opening_id"),
        sa.PrimaryKeyConstraint("opening_id", "account", "asset", name="pk_opening_balance"),
        schema="stp",
    )
    op.create_table(
        "opening_position",
        sa.Column("opening_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("value_date", sa.Date(), nullable=False),
        sa.Column("theirs_base", sa.Numeric(), nullable=False, comment="Major units, + received, - paid"),
        sa.Column("theirs_term", sa.Numeric(), nullable=True),
        sa.Column("ours_base", sa.Numeric(), nullable=False),
        sa.Column("ours_term", sa.Numeric(), nullable=True),
        sa.ForeignKeyConstraint(["opening_id"], ["stp.opening.id"], name="fk_opening_position_opening_id"),
        sa.PrimaryKeyConstraint("opening_id", "symbol", "value_date", name="pk_opening_position"),
        schema="stp",
    )
    op.add_column(
        "recon_break",
        sa.Column("level", sa.Text(), nullable=True, comment="ORG, LE or USER: whose position"),
        schema="stp",
    )
    op.add_column("recon_break", sa.Column("level_value", sa.Text(), nullable=True), schema="stp")
    op.add_column("recon_break", sa.Column("symbol", sa.Text(), nullable=True), schema="stp")
    op.add_column("recon_break", sa.Column("value_date", sa.Date(), nullable=True), schema="stp")
    op.add_column("recon_break", sa.Column("order_id", sa.Text(), nullable=True), schema="stp")
    op.add_column(
        "recon_break",
        sa.Column("run_id", sa.BigInteger(), nullable=True, comment="The run that saw it last"),
        schema="stp",
    )
    op.add_column(
        "recon_break",
        sa.Column(
            "seen",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="Runs that saw it since it was opened or re-opened",
        ),
        schema="stp",
    )
    op.add_column("recon_break", sa.Column("reopened_at", sa.DateTime(timezone=True), nullable=True), schema="stp")
    op.add_column(
        "recon_break",
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True, comment="Cleared or resolved"),
        schema="stp",
    )
    op.add_column(
        "recon_break",
        sa.Column("closed_by", sa.Text(), nullable=True, comment="The operator; stp-etl where a control proved it"),
        schema="stp",
    )
    op.add_column(
        "recon_break",
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it was accepted, resolved or cleared"),
        schema="stp",
    )
    op.add_column("recon_break", sa.Column("reporting_currency", sa.Text(), nullable=True), schema="stp")
    op.add_column(
        "recon_break",
        sa.Column("rate_note", sa.Text(), nullable=True, comment="Why there is no amount or severity, or a stale one"),
        schema="stp",
    )
    op.add_column(
        "recon_break",
        sa.Column("gap_id", sa.BigInteger(), nullable=True, comment="Opened on this evidence"),
        schema="stp",
    )
    op.add_column("recon_break", sa.Column("investigated_at", sa.DateTime(timezone=True), nullable=True), schema="stp")
    op.add_column(
        "recon_break",
        sa.Column(
            "investigation",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
            comment="Where the investigation is, and on which facts",
        ),
        schema="stp",
    )
    op.create_index(
        "ix_recon_break_unfinished",
        "recon_break",
        ["feed_id", "kind"],
        unique=False,
        schema="stp",
        postgresql_where=sa.text("state IN ('open', 'investigating', 'accepted')"),
    )
    for table in INSERT_ONLY:
        op.execute(
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON stp.{table} "
            "FOR EACH ROW EXECUTE FUNCTION stp.refuse_change()"
        )
        op.execute(f"SELECT stp.refuse_truncate('{table}')")
    op.execute(f"CREATE OR REPLACE VIEW reporting.break AS {BREAK}{BREAK_MORE}{BREAK_FROM}")
    for name, query in NEW_VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    for view, (meaning, columns) in COMMENTS.items():
        if meaning is not None:
            comment("VIEW", view, meaning)
        for column, text in columns.items():
            comment("COLUMN", f"{view}.{column}", text)
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for name in reversed(NEW_VIEWS):
        op.execute(f"DROP VIEW reporting.{name}")
    op.execute(KEEP_COMMENTS)
    op.execute("DROP VIEW reporting.break")  # a view cannot lose columns otherwise

    op.drop_index(
        "ix_recon_break_unfinished",
        table_name="recon_break",
        schema="stp",
        postgresql_where=sa.text("state IN ('open', 'investigating', 'accepted')"),
    )
    op.drop_column("recon_break", "investigation", schema="stp")
    op.drop_column("recon_break", "investigated_at", schema="stp")
    op.drop_column("recon_break", "gap_id", schema="stp")
    op.drop_column("recon_break", "rate_note", schema="stp")
    op.drop_column("recon_break", "reporting_currency", schema="stp")
    op.drop_column("recon_break", "reason", schema="stp")
    op.drop_column("recon_break", "closed_by", schema="stp")
    op.drop_column("recon_break", "closed_at", schema="stp")
    op.drop_column("recon_break", "reopened_at", schema="stp")
    op.drop_column("recon_break", "seen", schema="stp")
    op.drop_column("recon_break", "run_id", schema="stp")
    op.drop_column("recon_break", "order_id", schema="stp")
    op.drop_column("recon_break", "value_date", schema="stp")
    op.drop_column("recon_break", "symbol", schema="stp")
    op.drop_column("recon_break", "level_value", schema="stp")
    op.drop_column("recon_break", "level", schema="stp")
    op.drop_table("opening_position", schema="stp")
    op.drop_table("opening_balance", schema="stp")
    op.drop_table("certificate_sign_off", schema="stp")
    op.drop_table("break_observation", schema="stp")
    op.drop_table("break_event", schema="stp")
    op.drop_table("vendor_reply", schema="stp")
    op.drop_table("vendor_body", schema="stp")
    op.drop_table("reconciliation_run", schema="stp")
    op.drop_table("opening", schema="stp")
    op.drop_table("certificate", schema="stp")
    op.drop_table("balance_adjustment", schema="stp")
    op.drop_table("asked_order", schema="stp")
    op.execute(f"CREATE OR REPLACE VIEW reporting.break AS {BREAK}{BREAK_FROM}")
    op.execute(PUT_BACK_COMMENTS)
    op.execute(GRANTS)
