"""Create the tables: feeds, polls, answers and messages, the book, what needs attention."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "answer",
    "audit",
    "change_counter",
    "exception_item",
    "feed",
    "incident",
    "message",
    "poll",
    "position",
    "recon_break",
    "trade",
    "trade_leg",
    "trade_version",
    "unbooked",
    "booker",
    "current_poll",
    "known_field",
    "lease",
)

# A partition is made as a table of its own and attached afterwards: attaching takes a lock that lets reports and
# landing go on, whereas CREATE TABLE … PARTITION OF waits behind every open report and blocks landing meanwhile.
# SECURITY DEFINER: the daemon calls it without owning the tables. A month that began in the default partition stays
# there: its own partition could not be attached, and must not keep the next months from having theirs.
MAKE_PARTITIONS = """
CREATE FUNCTION stp.make_partitions(from_month date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    first_day date;
    name text;
    in_default boolean;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('stp.make_partitions'));
    FOR n IN 0 .. months LOOP
        first_day := (date_trunc('month', from_month::timestamp) + make_interval(months => n))::date;
        FOREACH parent IN ARRAY ARRAY['answer', 'message'] LOOP
            name := parent || '_p' || to_char(first_day, 'YYYYMM');
            CONTINUE WHEN to_regclass('stp.' || name) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM stp.%I WHERE opened_at >= %L AND opened_at < %L)',
                parent || '_default', first_day::timestamp AT TIME ZONE 'UTC',
                (first_day::timestamp + interval '1 month') AT TIME ZONE 'UTC') INTO in_default;
            CONTINUE WHEN in_default;
            EXECUTE format('CREATE TABLE stp.%I (LIKE stp.%I INCLUDING ALL EXCLUDING INDEXES)',
                name, parent);
            EXECUTE format(
                'ALTER TABLE stp.%I ATTACH PARTITION stp.%I FOR VALUES FROM (%L) TO (%L)', parent, name,
                first_day::timestamp AT TIME ZONE 'UTC',
                (first_day::timestamp + interval '1 month') AT TIME ZONE 'UTC'
            );
            IF parent = 'answer' THEN
                PERFORM stp.refuse_truncate(name);
            END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$
"""

# Landing is the hot path: the default compression costs more than the commit, lz4 next to nothing.
CHEAP_COMPRESSION = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        ALTER TABLE stp.answer ALTER COLUMN body SET COMPRESSION lz4;
    ELSE
        ALTER TABLE stp.answer ALTER COLUMN body SET STORAGE EXTERNAL;
    END IF;
END $$
"""

REFUSE_CHANGE = """
CREATE FUNCTION stp.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% refused: these rows are only ever inserted', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$
"""
# Attaching a partition gives it the row triggers of its parent, and not those against TRUNCATE.
REFUSE_TRUNCATE = """
CREATE FUNCTION stp.refuse_truncate(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER insert_only_all BEFORE TRUNCATE ON stp.%I FOR EACH STATEMENT '
        'EXECUTE FUNCTION stp.refuse_change()', name);
END $$
"""
INSERT_ONLY = ("answer", "trade_version", "trade_leg", "audit")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(sa.schema.CreateSequence(sa.Sequence("poll_id", schema="stp")))
    op.create_table(
        "answer",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("poll_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False, comment="Of the poll; the partition"),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("landed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("content_encoding", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False, comment="False: the connection broke before the end"),
        sa.Column("request_id_echo", sa.Text(), nullable=True),
        sa.Column("vendor_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "poll_id", "opened_at", name="pk_answer"),
        schema="stp",
        postgresql_partition_by="RANGE (opened_at)",
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("deed", sa.Text(), nullable=False, comment="The command, such as exceptions resolve"),
        sa.Column("feed", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True, comment="What it was done to"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        schema="stp",
    )
    op.create_table(
        "change_counter",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change_seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_change_counter_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_change_counter"),
        schema="stp",
        postgresql_with={"fillfactor": "10"},
    )
    op.create_table(
        "exception_item",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="Of the message's bytes"),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="open; booked: a later reading made it a trade; resolved: by a person",
        ),
        sa.Column("faults", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="[{field, value, rule}]"),
        sa.Column("trade_id", sa.Text(), nullable=True),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("dealt_amount", sa.Text(), nullable=True),
        sa.Column("trade_date", sa.Text(), nullable=True),
        sa.Column("value_date", sa.Text(), nullable=True),
        sa.Column("legal_entity", sa.Text(), nullable=True),
        sa.Column("counterparty", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'booked', 'resolved')", name="ck_exception_item_state_known"),
        sa.PrimaryKeyConstraint("message_id", name="pk_exception_item"),
        schema="stp",
    )
    op.create_index("ix_exception_item_trade", "exception_item", ["feed_id", "trade_id"], unique=False, schema="stp")
    op.create_index(
        "uq_exception_item_open",
        "exception_item",
        ["feed_id", "sha256"],
        unique=True,
        schema="stp",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "feed",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column(
            "lock_key", sa.BigInteger(), nullable=False, comment="Key of the advisory lock, made of the identity"
        ),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "system_identifier", sa.Text(), nullable=True, comment="Of the database that this feed was last pulled into"
        ),
        sa.Column("timeline", sa.Integer(), nullable=True, comment="Of that database; a new one means a failover"),
        sa.Column(
            "unconfirmed_assumptions",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="A1 to A24 that nobody has settled with the vendor",
        ),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_feed"),
        sa.UniqueConstraint("base_url", "organisation", "user_name", name="uq_feed_base_url_organisation_user_name"),
        sa.UniqueConstraint("name", name="uq_feed_name"),
        schema="stp",
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("poll_id", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("exchange", sa.Text(), nullable=False, comment="The full request and response as text"),
        sa.PrimaryKeyConstraint("id", name="pk_incident"),
        schema="stp",
    )
    op.create_table(
        "message",
        sa.Column("poll_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False, comment="In the answer, from 0"),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False, comment="Of the poll; the partition"),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False, comment="First byte in the decoded answer, from 0"),
        sa.Column("length", sa.Integer(), nullable=False, comment="Bytes"),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=True),
        sa.Column("event", sa.Text(), nullable=True, comment="The vendor's word; NULL where it is absent or no text"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True, comment="The version of the trade that it made or repeats"),
        sa.CheckConstraint(
            "state IN ('booked', 'enriched', 'duplicate', 'conflict', 'excepted')", name="ck_message_state_known"
        ),
        sa.PrimaryKeyConstraint("poll_id", "place", "opened_at", name="pk_message"),
        schema="stp",
        postgresql_partition_by="RANGE (opened_at)",
    )
    op.create_table(
        "poll",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("drain_id", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("doubt_from", sa.Date(), nullable=False),
        sa.Column("max_count", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status"),
        sa.Column("vendor_date", sa.DateTime(timezone=True), nullable=True, comment="Date header of the answer"),
        sa.Column("messages", sa.Integer(), nullable=False, comment="Elements of the answer; 0 where there is none"),
        sa.CheckConstraint(
            "outcome IN ('page', 'empty', 'refused', 'not_sent', 'in_doubt')", name="ck_poll_outcome_known"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_poll"),
        schema="stp",
    )
    op.create_index(
        "ix_poll_in_doubt",
        "poll",
        ["feed_id", "id"],
        unique=False,
        schema="stp",
        postgresql_where=sa.text("outcome = 'in_doubt'"),
    )
    op.create_table(
        "position",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("legal_entity", sa.Text(), nullable=False),
        sa.Column("trader", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("value_date", sa.Date(), nullable=False),
        sa.Column("deliverable", sa.Boolean(), nullable=False),
        sa.Column("base_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid"),
        sa.Column("term_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid"),
        sa.Column("trade_count", sa.BigInteger(), nullable=False, comment="Legs that make it up"),
        sa.PrimaryKeyConstraint(
            "feed_id",
            "organisation",
            "legal_entity",
            "trader",
            "symbol",
            "value_date",
            "deliverable",
            name="pk_position",
        ),
        schema="stp",
    )
    op.create_table(
        "recon_break",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=True),
        sa.Column("ours", sa.Numeric(), nullable=True),
        sa.Column("theirs", sa.Numeric(), nullable=True),
        sa.Column("difference", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("ours_term", sa.Numeric(), nullable=True),
        sa.Column("theirs_term", sa.Numeric(), nullable=True),
        sa.Column("difference_term", sa.Numeric(), nullable=True),
        sa.Column("reporting_amount", sa.Numeric(), nullable=True),
        sa.Column("rate_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reopened", sa.Integer(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.Column("accepted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vendor_ticket", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("explained_by", sa.Text(), nullable=True),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What was seen, when, oldest first",
        ),
        sa.CheckConstraint(
            "state IN ('open', 'investigating', 'cleared', 'accepted', 'resolved')", name="ck_recon_break_state_known"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_recon_break"),
        sa.UniqueConstraint("feed_id", "kind", "key", name="uq_recon_break_feed_id_kind_key"),
        schema="stp",
    )
    op.create_table(
        "trade",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="The current one; the first is 1"),
        sa.Column("first_landed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "trade_id", name="pk_trade"),
        schema="stp",
    )
    op.create_table(
        "trade_leg",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leg_no", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("value_date", sa.Date(), nullable=False),
        sa.Column("fixing_date", sa.Date(), nullable=True),
        sa.Column("fixing_tenor", sa.Text(), nullable=True),
        sa.Column(
            "deliverable", sa.Boolean(), nullable=False, comment="False: only a difference is paid, never these amounts"
        ),
        sa.Column("dealt_currency", sa.Text(), nullable=False),
        sa.Column("dealt_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid by our side"),
        sa.Column("settled_currency", sa.Text(), nullable=False),
        sa.Column(
            "settled_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid by our side"
        ),
        sa.Column("base_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid by our side"),
        sa.Column("term_amount", sa.Numeric(), nullable=False, comment="Major units, + received, - paid by our side"),
        sa.Column("rate", sa.Numeric(), nullable=True, comment="Term per one base, all-in"),
        sa.Column("spot_rate", sa.Numeric(), nullable=True, comment="Term per one base"),
        sa.Column("forward_points", sa.Numeric(), nullable=True, comment="In rate units"),
        sa.CheckConstraint("sign(dealt_amount) * sign(settled_amount) < 0", name="ck_trade_leg_one_paid_one_received"),
        sa.PrimaryKeyConstraint("feed_id", "trade_id", "version", "leg_no", name="pk_trade_leg"),
        schema="stp",
    )
    op.create_index("ix_trade_leg_value_date", "trade_leg", ["value_date"], unique=False, schema="stp")
    op.create_table(
        "trade_version",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "change_seq", sa.BigInteger(), nullable=False, comment="Rises with every change of the book, over all feeds"
        ),
        sa.Column("message_id", sa.BigInteger(), nullable=True, comment="The message that says so"),
        sa.Column(
            "source", sa.Text(), nullable=False, comment="queue, or query: the vendor's answer about this one trade"
        ),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False, comment="Of the canonical content (law 7)"),
        sa.Column("landed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False, comment="Since when we knew it"),
        sa.Column("changed_fields", postgresql.ARRAY(sa.Text()), nullable=False, comment="Against the version before"),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("live", sa.Boolean(), nullable=False, comment="Verified, or without a status: it counts"),
        sa.Column("our_side", sa.Text(), nullable=False, comment="customer, counterparty or both"),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False, comment="Ours, of the dealt currency: buy or sell"),
        sa.Column("maker", sa.Boolean(), nullable=True, comment="The vendor's word about its customer"),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=False),
        sa.Column("term_currency", sa.Text(), nullable=False),
        sa.Column("dealt_currency", sa.Text(), nullable=False),
        sa.Column("trade_date", sa.Date(), nullable=False),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("client_order_id", sa.Text(), nullable=True),
        sa.Column("organisation", sa.Text(), nullable=True, comment="Ours"),
        sa.Column("legal_entity", sa.Text(), nullable=True, comment="Ours"),
        sa.Column("trader", sa.Text(), nullable=True),
        sa.Column("counterparty", sa.Text(), nullable=True),
        sa.Column("counterparty_name", sa.Text(), nullable=True),
        sa.Column("counterparty_entity", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("stream", sa.Text(), nullable=True),
        sa.Column("rate_id", sa.Text(), nullable=True),
        sa.Column("uti", sa.Text(), nullable=True),
        sa.Column("usi", sa.Text(), nullable=True),
        sa.Column("lei", sa.Text(), nullable=True),
        sa.Column("counterparty_lei", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("external_request_id", sa.Text(), nullable=True),
        sa.Column("original_trade_id", sa.Text(), nullable=True),
        sa.Column("replaced_by", sa.Text(), nullable=True),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Every other field; numbers as their text",
        ),
        sa.Column(
            "attributes_omitted",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="Fields that the database cannot hold",
        ),
        sa.Column("flags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("source IN ('queue', 'query')", name="ck_trade_version_source_known"),
        sa.PrimaryKeyConstraint("feed_id", "trade_id", "version", name="pk_trade_version"),
        schema="stp",
    )
    op.create_index("ix_trade_version_change_seq", "trade_version", ["change_seq"], unique=False, schema="stp")
    op.create_index("ix_trade_version_trade_date", "trade_version", ["trade_date"], unique=False, schema="stp")
    op.create_table(
        "unbooked",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("poll_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("drain_id", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False, comment="Bytes of the answer"),
        sa.PrimaryKeyConstraint("feed_id", "poll_id", name="pk_unbooked"),
        schema="stp",
    )
    op.create_table(
        "booker",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("drain_id", sa.BigInteger(), nullable=True, comment="The drain booked last"),
        sa.Column("conflicts", sa.Integer(), nullable=False, comment="Conflicts in that drain"),
        sa.Column("enriched", sa.Integer(), nullable=False, comment="Enrichments in that drain"),
        sa.Column("released_drain_id", sa.BigInteger(), nullable=True, comment="A person let this drain pass"),
        sa.Column(
            "held_at", sa.DateTime(timezone=True), nullable=True, comment="Since when booking waits for a person"
        ),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["feed_id"], ["stp.feed.id"], name="fk_booker_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_booker"),
        schema="stp",
    )
    op.create_table(
        "current_poll",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("poll_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "request_id", sa.Text(), nullable=False, comment="Sent as X-Request-ID; leads to the vendor's own log"
        ),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column(
            "drain_id", sa.BigInteger(), nullable=False, comment="The first poll of the drain that this one belongs to"
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "doubt_from", sa.Date(), nullable=False, comment="Oldest trade date that is lost when this answer is"
        ),
        sa.Column("max_count", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True, comment="NULL while the outcome is not known"),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "last_empty_at", sa.DateTime(timezone=True), nullable=True, comment="When the queue was last proven empty"
        ),
        sa.Column("last_page_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feed_id"], ["stp.feed.id"], name="fk_current_poll_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_current_poll"),
        schema="stp",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "known_field",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False, comment="The first message that carried it"),
        sa.ForeignKeyConstraint(["feed_id"], ["stp.feed.id"], name="fk_known_field_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", "name", name="pk_known_field"),
        schema="stp",
    )
    op.create_table(
        "lease",
        sa.Column("feed_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="Raised by every takeover"),
        sa.Column("holder", sa.Text(), nullable=True, comment="Host and process of the leader"),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feed_id"], ["stp.feed.id"], name="fk_lease_feed_id"),
        sa.PrimaryKeyConstraint("feed_id", name="pk_lease"),
        schema="stp",
    )
    op.execute("INSERT INTO stp.change_counter (id, change_seq) VALUES (1, 0)")
    op.execute(REFUSE_CHANGE)
    op.execute(REFUSE_TRUNCATE)
    for table in INSERT_ONLY:
        op.execute(
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON stp.{table} "
            "FOR EACH ROW EXECUTE FUNCTION stp.refuse_change()"
        )
        op.execute(f"SELECT stp.refuse_truncate('{table}')")
    op.execute(CHEAP_COMPRESSION)
    op.execute("CREATE TABLE stp.answer_default PARTITION OF stp.answer DEFAULT")
    op.execute("SELECT stp.refuse_truncate('answer_default')")
    op.execute("CREATE TABLE stp.message_default PARTITION OF stp.message DEFAULT")
    op.execute(MAKE_PARTITIONS)
    op.execute("SELECT stp.make_partitions((now() AT TIME ZONE 'UTC')::date, 3)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for table in reversed(TABLES):
        op.drop_table(table, schema="stp")
    op.execute("DROP FUNCTION stp.make_partitions(date, integer)")
    op.execute("DROP FUNCTION stp.refuse_truncate(text)")
    op.execute("DROP FUNCTION stp.refuse_change()")
    op.execute("DROP SEQUENCE stp.poll_id")
