"""Show readers the X-Request-ID of a resend, by which the vendor's support finds the request."""

from alembic import op

revision = "0012"
down_revision = "0011"
works_from = "0003"
branch_labels = None
depends_on = None

RESEND = """
    SELECT f.name AS feed, r.id AS resend_id, r.gap_id, r.from_date, r.to_date, r.requested_by, r.reason,
        r.requested_at, r.state, r.received, r.recovered, r.duplicates, r.absent, r.excused, r.tries, r.detail{}
    FROM stp.resend r JOIN stp.feed f ON f.id = r.feed_id"""
REQUEST_ID = ", nullif(r.request_id, '') AS request_id"
MEANING = "X-Request-ID of the last request sent: the vendor''s log has it; NULL where none was"
KEEP_COMMENTS = """
CREATE TEMP TABLE kept_of_resend ON COMMIT DROP AS
SELECT attname AS name, col_description(attrelid, attnum) AS meaning, obj_description(attrelid, 'pg_class') AS whole
FROM pg_attribute WHERE attrelid = CAST('reporting.resend' AS regclass) AND attnum > 0 AND attname <> 'request_id'
"""
PUT_BACK_COMMENTS = """
DO $$
DECLARE each record;
BEGIN
    FOR each IN SELECT * FROM kept_of_resend LOOP
        EXECUTE format('COMMENT ON COLUMN reporting.resend.%I IS %L', each.name, each.meaning);
        EXECUTE format('COMMENT ON VIEW reporting.resend IS %L', each.whole);
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


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(f"CREATE OR REPLACE VIEW reporting.resend AS {RESEND.format(REQUEST_ID)}")
    op.execute(f"COMMENT ON COLUMN reporting.resend.request_id IS '{MEANING}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute(KEEP_COMMENTS)
    op.execute("DROP VIEW reporting.resend")  # a view cannot lose columns otherwise
    op.execute(f"CREATE OR REPLACE VIEW reporting.resend AS {RESEND.format('')}")
    op.execute(PUT_BACK_COMMENTS)
    op.execute(GRANTS)
