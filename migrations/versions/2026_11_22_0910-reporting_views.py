"""Create the reporting contract: views only, with new columns always at the end."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What a day is here: the business day turns at 17:00 New York.
TRADE_DAY = """
CREATE FUNCTION stp.trade_day(instant timestamptz) RETURNS date LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (instant AT TIME ZONE 'America/New_York' + interval '7 hours')::date
$$
"""
BUSINESS_DAYS = """
CREATE FUNCTION stp.business_days_between(opened date, today date) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT count(*)::integer FROM generate_series(opened + 1, today, interval '1 day') AS d
    WHERE extract(isodow FROM d) < 6
$$
"""

TRADE_COLUMNS = """
    f.name AS feed, v.trade_id, v.version, v.trade_type, v.status, v.live, v.source, v.our_side, v.internal, v.side,
    v.maker, v.symbol, v.base_currency, v.term_currency, v.dealt_currency, v.trade_date, v.executed_at, v.order_id,
    v.client_order_id, v.organisation, v.legal_entity, v.trader, v.counterparty, v.counterparty_name,
    v.counterparty_entity, v.channel, v.stream, v.rate_id, v.uti, v.usi, v.lei, v.counterparty_lei, v.note,
    v.external_request_id, v.original_trade_id, v.replaced_by, v.attributes, v.attributes_omitted, v.flags,
    t.first_landed_at, v.booked_at, v.change_seq
"""
LEG_COLUMNS = """
    f.name AS feed, l.trade_id, l.version, l.leg_no, l.value_date, l.fixing_date, l.fixing_tenor, l.deliverable,
    l.dealt_currency, l.dealt_amount, l.settled_currency, l.settled_amount, l.base_amount, l.term_amount, l.rate,
    l.spot_rate, l.forward_points
"""
KNOWN = """
    v.booked_at AS valid_from,
    (SELECT n.booked_at FROM stp.trade_version n
      WHERE (n.feed_id, n.trade_id, n.version) = (v.feed_id, v.trade_id, v.version + 1)) AS valid_to,
    v.changed_fields
"""

VIEWS = {
    "trade": f"""
        SELECT {TRADE_COLUMNS}
        FROM stp.trade t
        JOIN stp.trade_version v USING (feed_id, trade_id, version)
        JOIN stp.feed f ON f.id = t.feed_id""",
    "trade_version": f"""
        SELECT {TRADE_COLUMNS}, {KNOWN}
        FROM stp.trade_version v
        JOIN stp.trade t USING (feed_id, trade_id)
        JOIN stp.feed f ON f.id = v.feed_id""",
    "trade_leg": f"""
        SELECT {LEG_COLUMNS}
        FROM stp.trade t
        JOIN stp.trade_leg l USING (feed_id, trade_id, version)
        JOIN stp.feed f ON f.id = t.feed_id""",
    "trade_leg_version": f"""
        SELECT {LEG_COLUMNS}, {KNOWN}
        FROM stp.trade_version v
        JOIN stp.trade_leg l USING (feed_id, trade_id, version)
        JOIN stp.feed f ON f.id = v.feed_id""",
    "blotter": f"""
        SELECT {TRADE_COLUMNS},
            near.value_date AS near_value_date, near.fixing_date AS near_fixing_date,
            near.base_amount AS near_base_amount, near.term_amount AS near_term_amount, near.rate AS near_rate,
            near.forward_points AS near_forward_points,
            far.value_date AS far_value_date, far.fixing_date AS far_fixing_date,
            far.base_amount AS far_base_amount, far.term_amount AS far_term_amount, far.rate AS far_rate,
            far.forward_points AS far_forward_points,
            near.dealt_amount, near.settled_amount, near.deliverable,
            stp.trade_day(t.first_landed_at) > v.trade_date AS is_late
        FROM stp.trade t
        JOIN stp.trade_version v USING (feed_id, trade_id, version)
        JOIN stp.feed f ON f.id = t.feed_id
        JOIN stp.trade_leg near USING (feed_id, trade_id, version)
        LEFT JOIN stp.trade_leg far
            ON (far.feed_id, far.trade_id, far.version, far.leg_no) = (t.feed_id, t.trade_id, t.version, 2)
        WHERE near.leg_no = 1""",
    "position": """
        SELECT f.name AS feed, nullif(p.organisation, '') AS organisation,
            nullif(p.legal_entity, '') AS legal_entity, p.symbol, p.value_date, p.deliverable,
            sum(p.base_amount) AS base_amount, sum(p.term_amount) AS term_amount,
            sum(p.trade_count)::bigint AS trade_count
        FROM stp.position p JOIN stp.feed f ON f.id = p.feed_id
        GROUP BY f.name, p.organisation, p.legal_entity, p.symbol, p.value_date, p.deliverable
        HAVING sum(p.trade_count) > 0""",
    "cash_ladder": """
        WITH flow AS (
            SELECT l.feed_id, l.trade_id, l.value_date, party.organisation, party.legal_entity, party.counterparty,
                party.counterparty_entity, cash.currency, cash.amount
            FROM stp.trade t
            JOIN stp.trade_version v USING (feed_id, trade_id, version)
            JOIN stp.trade_leg l USING (feed_id, trade_id, version)
            CROSS JOIN LATERAL (
                SELECT v.organisation, v.legal_entity, v.counterparty, v.counterparty_entity, 1 AS sign
                UNION ALL
                SELECT v.counterparty, v.counterparty_entity, v.organisation, v.legal_entity, -1 WHERE v.internal
            ) AS party
            CROSS JOIN LATERAL (
                VALUES (v.base_currency, l.base_amount * party.sign), (v.term_currency, l.term_amount * party.sign)
            ) AS cash (currency, amount)
            WHERE v.live AND l.deliverable
        )
        SELECT f.name AS feed, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date,
            coalesce(sum(flow.amount) FILTER (WHERE flow.amount > 0), 0) AS receive,
            coalesce(sum(flow.amount) FILTER (WHERE flow.amount < 0), 0) AS pay,
            sum(flow.amount) AS amount, count(DISTINCT flow.trade_id) AS trade_count,
            NOT EXISTS (SELECT FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt')
            AND NOT EXISTS (SELECT FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open')
            AND NOT EXISTS (SELECT FROM stp.unbooked u WHERE u.feed_id = f.id) AS complete
        FROM flow JOIN stp.feed f ON f.id = flow.feed_id
        GROUP BY f.id, f.name, flow.organisation, flow.legal_entity, flow.counterparty, flow.counterparty_entity,
            flow.currency, flow.value_date""",
    "fixing": """
        SELECT f.name AS feed, l.trade_id, l.leg_no, l.fixing_date, l.value_date, v.legal_entity, v.counterparty,
            v.symbol, l.base_amount, l.term_amount, l.rate,
            CASE WHEN l.fixing_date < stp.trade_day(now()) THEN 'past_fixing' ELSE 'unfixed' END AS state
        FROM stp.trade t
        JOIN stp.trade_version v USING (feed_id, trade_id, version)
        JOIN stp.trade_leg l USING (feed_id, trade_id, version)
        JOIN stp.feed f ON f.id = t.feed_id
        WHERE v.live AND v.trade_type IN ('NDF', 'NDFSwap')""",
    "message": """
        SELECT f.name AS feed, m.poll_id * 100000000 + m.place AS message_id, m.poll_id, m.trade_id, m.event,
            a.landed_at, m.state, m.sha256
        FROM stp.message m
        JOIN stp.feed f ON f.id = m.feed_id
        JOIN stp.answer a ON (a.feed_id, a.poll_id, a.opened_at) = (m.feed_id, m.poll_id, m.opened_at)""",
    "exception_item": """
        SELECT f.name AS feed, e.message_id, e.trade_id, e.opened_at, e.state, e.faults, e.symbol, e.side,
            e.dealt_amount, e.trade_date, e.value_date, e.legal_entity, e.counterparty
        FROM stp.exception_item e JOIN stp.feed f ON f.id = e.feed_id""",
    "break": """
        SELECT f.name AS feed, b.id AS break_id, b.kind, b.key, b.trade_id, b.ours, b.theirs, b.difference, b.currency,
            b.ours_term, b.theirs_term, b.difference_term, b.reporting_amount, b.rate_as_of, b.state, b.opened_at,
            b.last_seen_at, b.reopened,
            stp.business_days_between(stp.trade_day(b.opened_at), stp.trade_day(now())) AS age_business_days,
            b.severity, b.assigned_to, b.accepted_until, b.vendor_ticket, b.comment, b.explained_by
        FROM stp.recon_break b JOIN stp.feed f ON f.id = b.feed_id""",
    "audit": """
        SELECT a.id AS audit_id, a.at, a.operator, a.deed, a.feed, a.subject, a.reason, a.details FROM stp.audit a""",
    "feed_status": """
        SELECT f.name AS feed, l.holder AS leader, l.epoch,
            c.opened_at AS last_poll_at, c.last_empty_at, c.last_page_at AS last_trade_at,
            (SELECT count(*) FROM stp.unbooked u WHERE u.feed_id = f.id) AS landed_unbooked,
            0::bigint AS open_gaps,
            (SELECT count(*) FROM stp.exception_item e WHERE e.feed_id = f.id AND e.state = 'open') AS open_exceptions,
            (SELECT count(*) FROM stp.recon_break b
              WHERE b.feed_id = f.id AND b.state IN ('open', 'investigating')) AS open_breaks,
            CASE
                WHEN f.paused_at IS NOT NULL THEN 'paused'
                WHEN k.held_at IS NOT NULL THEN 'booking_held'
                WHEN d.in_doubt > 0 THEN 'in_doubt'
                WHEN c.opened_at IS NULL THEN 'never_polled'
                WHEN l.holder IS NULL THEN 'stopped'
                ELSE 'polling'
            END AS state,
            f.unconfirmed_assumptions, d.in_doubt AS in_doubt_polls
        FROM stp.feed f
        JOIN stp.lease l ON l.feed_id = f.id
        JOIN stp.booker k ON k.feed_id = f.id
        LEFT JOIN stp.current_poll c ON c.feed_id = f.id
        CROSS JOIN LATERAL (
            SELECT (SELECT count(*) FROM stp.poll p WHERE p.feed_id = f.id AND p.outcome = 'in_doubt') AS in_doubt
        ) AS d""",
}

# The role belongs to the cluster, not to the database: it is made where that right exists, and kept on the way down.
REPORTING_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stp_reporting') THEN
        CREATE ROLE stp_reporting NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
END $$
"""
GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'stp_reporting') THEN
        GRANT USAGE ON SCHEMA reporting TO stp_reporting;
        GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO stp_reporting;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("CREATE SCHEMA IF NOT EXISTS reporting")
    op.execute(TRADE_DAY)
    op.execute(BUSINESS_DAYS)
    for name, query in VIEWS.items():
        op.execute(f'CREATE OR REPLACE VIEW reporting."{name}" AS {query}')
    op.execute(REPORTING_ROLE)
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for name in reversed(VIEWS):
        op.execute(f'DROP VIEW reporting."{name}"')
    op.execute("DROP SCHEMA reporting")
    op.execute("DROP FUNCTION stp.business_days_between(date, date)")
    op.execute("DROP FUNCTION stp.trade_day(timestamptz)")
