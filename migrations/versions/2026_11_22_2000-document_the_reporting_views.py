"""Document the reporting contract in the database itself, and say which contract this is.

`trade_leg` and `trade_leg_version` get `change_seq` at their end, so that legs can be read by the number of the change
too; `trade_version` gets `content_hash`. `reporting.contract` is new.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
works_from = "0003"
branch_labels = None
depends_on = None

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
OF_TRADE = """
    FROM stp.trade t
    JOIN stp.trade_leg l USING (feed_id, trade_id, version)
    JOIN stp.feed f ON f.id = t.feed_id"""
NUMBERED_OF_TRADE = """
    FROM stp.trade t
    JOIN stp.trade_version v USING (feed_id, trade_id, version)
    JOIN stp.trade_leg l USING (feed_id, trade_id, version)
    JOIN stp.feed f ON f.id = t.feed_id"""
OF_VERSION = """
    FROM stp.trade_version v
    JOIN stp.trade_leg l USING (feed_id, trade_id, version)
    JOIN stp.feed f ON f.id = v.feed_id"""
TRADE_OF_VERSION = """
    FROM stp.trade_version v
    JOIN stp.trade t USING (feed_id, trade_id)
    JOIN stp.feed f ON f.id = v.feed_id"""
LONGER = {
    "trade_version": f"SELECT {TRADE_COLUMNS}, {KNOWN}, v.content_hash {TRADE_OF_VERSION}",
    "trade_leg": f"SELECT {LEG_COLUMNS}, v.change_seq {NUMBERED_OF_TRADE}",
    "trade_leg_version": f"SELECT {LEG_COLUMNS}, {KNOWN}, v.change_seq {OF_VERSION}",
}
BEFORE = {
    "trade_version": f"SELECT {TRADE_COLUMNS}, {KNOWN} {TRADE_OF_VERSION}",
    "trade_leg": f"SELECT {LEG_COLUMNS} {OF_TRADE}",
    "trade_leg_version": f"SELECT {LEG_COLUMNS}, {KNOWN} {OF_VERSION}",
}
# Nobody keeps the number: columns are only ever added, so their count rises with every change of the contract.
CONTRACT = """
CREATE VIEW reporting.contract AS
SELECT '1.' || count(*) AS version, count(DISTINCT c.oid) AS views, count(*) AS columns,
    md5(string_agg(c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod), E'\\n'
        ORDER BY c.relname COLLATE "C", a.attnum)) AS fingerprint,
    (SELECT r.version_num::text FROM stp.alembic_version r) AS schema_revision
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = 'reporting' AND c.relkind = 'v' AND a.attnum > 0 AND NOT a.attisdropped
"""

FEED = "Name of the feed: one download user at the vendor; part of the key everywhere, ids are unique within it only"
TRADE_ID = "The vendor's id of the trade, unique within the feed"
VERSION = "Version of the trade: 1 is the first that we knew, each change of the vendor's words makes the next"
SIGNED = "major units; positive is received by our side, negative is paid"
SYMBOL = "Currency pair as base/term, such as EUR/USD"
ORGANISATION = "Our organisation; NULL where the vendor names none"
LEGAL_ENTITY = "Our legal entity; NULL where the vendor names none"
COUNTERPARTY = "The other party's organisation"
COUNTERPARTY_ENTITY = "The other party's legal entity"
CHANGE_SEQ = "Number of the change that booked this version; rises over all feeds, has no duplicates, never goes back"
VALUE_DATE = "Day on which the amounts are exchanged"
DELIVERABLE = "True: both amounts are exchanged; false: only a difference is paid in cash (NDF, non-deliverable assets)"

TRADE = {
    "feed": FEED,
    "trade_id": TRADE_ID,
    "version": VERSION,
    "trade_type": "Spot, Outright, NDF, Swap, FwdFwd or NDFSwap",
    "status": "The vendor's status, such as Verified; NULL where it sends none",
    "live": "Whether the trade counts: it is Verified, or has no status",
    "source": "Where the words came from: queue, or query (the vendor's answer about this one trade)",
    "our_side": "Which party of the vendor's message is ours: customer, counterparty or both",
    "internal": "Whether both parties are ours; it counts for both, and its amounts and side are the customer's",
    "side": "What our side did with the dealt currency on the near leg: buy or sell",
    "maker": "The vendor's word on whether its customer made the price; NULL where it says nothing",
    "symbol": SYMBOL,
    "base_currency": "First part of the symbol",
    "term_currency": "Second part of the symbol",
    "dealt_currency": "The currency whose amount was fixed in dealing",
    "trade_date": "Day of the trade as the vendor states it, never computed from an instant",
    "executed_at": "Instant of execution; NULL where the vendor sends none",
    "order_id": "The vendor's id of the order that the trade filled",
    "client_order_id": "The id that the customer gave the order",
    "organisation": ORGANISATION,
    "legal_entity": LEGAL_ENTITY,
    "trader": "The user who traded for the vendor's customer",
    "counterparty": COUNTERPARTY,
    "counterparty_name": "Its long name, where the vendor sends one",
    "counterparty_entity": COUNTERPARTY_ENTITY,
    "channel": "Way on which the trade was done, such as API/REST/ESP",
    "stream": "The price stream that was traded on",
    "rate_id": "The vendor's id of the quote",
    "uti": "Unique trade identifier of the regulators",
    "usi": "Unique swap identifier of the regulators",
    "lei": "Legal entity identifier of the vendor's customer",
    "counterparty_lei": "Legal entity identifier of the vendor's counterparty",
    "note": "Free text of the trade",
    "external_request_id": "Id that another system gave the request",
    "original_trade_id": "The trade that this one amends, rolls or allocates",
    "replaced_by": "The trade that took the place of this one, where the vendor names it",
    "attributes": "Every field of the message without a column, by the vendor's name; numbers as text, all digits",
    "attributes_omitted": "Names of fields that the database cannot hold (NUL characters, half characters)",
    "flags": "Remarkable: rate_disagrees, fixing_date_missing (far_… of the far leg), unread_FIELD (see attributes)",
    "first_landed_at": "Instant at which the trade first reached us",
    "booked_at": "Instant at which this version was booked",
    "change_seq": CHANGE_SEQ,
}
KNOWN_COLUMNS = {
    "valid_from": "Instant since when we knew this version",
    "valid_to": "Instant at which the next version took its place; NULL for the current one",
    "changed_fields": "Names of the fields that differ from the version before; empty for version 1",
}
LEG = {
    "feed": FEED,
    "trade_id": TRADE_ID,
    "version": VERSION,
    "leg_no": "1 is the only leg, or the near leg of a swap; 2 is its far leg",
    "value_date": VALUE_DATE,
    "fixing_date": "Day on which the rate of an NDF is fixed; NULL for all others, or where the vendor sends none",
    "fixing_tenor": "The fixing as the vendor names it, such as 2D",
    "deliverable": DELIVERABLE,
    "dealt_currency": "The currency whose amount was fixed in dealing",
    "dealt_amount": f"Amount of dealt_currency, {SIGNED}",
    "settled_currency": "The other currency",
    "settled_amount": f"Amount of settled_currency, {SIGNED}",
    "base_amount": f"Amount of the base currency, {SIGNED}",
    "term_amount": f"Amount of the term currency, {SIGNED}",
    "rate": "Units of the term currency per one of the base currency, all-in",
    "spot_rate": "Units of the term currency per one of the base currency, without the forward points",
    "forward_points": "In units of the rate, not in pips",
}
ENDS = {
    "value_date": "day on which the amounts are exchanged",
    "fixing_date": "day on which the rate of an NDF is fixed",
    "base_amount": f"amount of the base currency, {SIGNED}",
    "term_amount": f"amount of the term currency, {SIGNED}",
    "rate": "units of the term currency per one of the base currency, all-in",
    "forward_points": "forward points in units of the rate",
}
FROM_DATE = "First trade date, included"
TO_DATE = "Last trade date, included"

COMMENTS = {
    "trade": ("A trade as it stands now: its current version", TRADE),
    "trade_version": (
        "Every version of every trade; rows are only ever added, only valid_to is filled in later",
        TRADE
        | KNOWN_COLUMNS
        | {"content_hash": "SHA-256 of what the vendor said, in canonical form, computed when it was booked"},
    ),
    "trade_leg": ("The legs of the current version of each trade", LEG | {"change_seq": CHANGE_SEQ}),
    "trade_leg_version": (
        "The legs of every version of every trade",
        LEG | KNOWN_COLUMNS | {"change_seq": CHANGE_SEQ},
    ),
    "blotter": (
        "A trade as it stands now, one row with both legs side by side",
        TRADE
        | {f"near_{name}": f"Near or only leg: {text}" for name, text in ENDS.items()}
        | {f"far_{name}": f"Far leg of a swap, else NULL: {text}" for name, text in ENDS.items()}
        | {
            "dealt_amount": f"Near or only leg: amount of dealt_currency, {SIGNED}",
            "settled_amount": f"Near or only leg: amount of the other currency, {SIGNED}",
            "deliverable": f"Near or only leg. {DELIVERABLE}",
            "is_late": "Whether the trade first reached us after its trade date had ended (17:00 New York)",
        },
    ),
    "position": (
        "Net amounts of all live trades by symbol and value date, past value dates too",
        {
            "feed": FEED,
            "organisation": ORGANISATION,
            "legal_entity": LEGAL_ENTITY,
            "symbol": SYMBOL,
            "value_date": VALUE_DATE,
            "deliverable": DELIVERABLE,
            "base_amount": f"Sum of the base currency, {SIGNED}",
            "term_amount": f"Sum of the term currency, {SIGNED}",
            "trade_count": "Legs that make it up",
        },
    ),
    "cash_ladder": (
        "What is paid and received by currency and value date; deliverable legs of live trades only, so never an NDF",
        {
            "feed": FEED,
            "organisation": ORGANISATION,
            "legal_entity": LEGAL_ENTITY,
            "counterparty": COUNTERPARTY,
            "counterparty_entity": COUNTERPARTY_ENTITY,
            "currency": "Currency that is paid or received",
            "value_date": VALUE_DATE,
            "receive": "Sum of what is received, major units, not negative",
            "pay": "Sum of what is paid, major units, not positive",
            "amount": f"receive plus pay: the net amount, {SIGNED}",
            "trade_count": "Trades that make it up",
            "complete": "False while the feed may lack trades: poll in doubt, gap, exception item, unbooked answer",
        },
    ),
    "fixing": (
        "A leg of a live NDF, whose rate is or was to be fixed",
        {
            "feed": FEED,
            "trade_id": TRADE_ID,
            "leg_no": LEG["leg_no"],
            "fixing_date": "Day on which the rate is fixed; NULL where the vendor sends none",
            "value_date": "Day on which the difference is paid",
            "legal_entity": LEGAL_ENTITY,
            "counterparty": COUNTERPARTY,
            "symbol": SYMBOL,
            "base_amount": f"Notional amount of the base currency, {SIGNED}",
            "term_amount": f"Notional amount of the term currency, {SIGNED}",
            "rate": "The rate that was dealt: units of the term currency per one of the base currency",
            "state": "unfixed; past_fixing: the fixing date is over",
        },
    ),
    "message": (
        "One message of the vendor's queue, and what became of it",
        {
            "feed": FEED,
            "message_id": "Our number of the message",
            "poll_id": "Our number of the request that brought it",
            "trade_id": "The trade that it speaks of; NULL where that cannot be read",
            "event": "The vendor's label, NEW or RESEND; it decides nothing",
            "landed_at": "Instant at which its bytes were stored",
            "state": "booked: a new trade; enriched, conflict: a new version of a known one; duplicate: nothing new; "
            "excepted: see exception_item",
            "sha256": "SHA-256 of the message's bytes",
        },
    ),
    "exception_item": (
        "A message that became no trade, because that would have needed guessing; a person has to look",
        {
            "feed": FEED,
            "message_id": "Our number of the message",
            "trade_id": "The trade that it speaks of, as text; NULL where that cannot be read",
            "opened_at": "Instant at which the item was opened",
            "state": "open; booked: a later reading made it a trade; resolved: closed by a person",
            "faults": "Every reason, as a list of objects with field, value and rule",
            "symbol": "The vendor's text, unchecked",
            "side": "The vendor's text, unchecked",
            "dealt_amount": "The vendor's text, unchecked; not a number to reckon with",
            "trade_date": "The vendor's text, unchecked",
            "value_date": "The vendor's text, unchecked",
            "legal_entity": "The vendor's text, unchecked",
            "counterparty": "The vendor's text, unchecked",
        },
    ),
    "gap": (
        "Trade dates in which trades may be missing, until they have been handed out again",
        {
            "feed": FEED,
            "gap_id": "Our number of the gap",
            "cause": "What made us doubt: in_doubt (an answer was lost), sweep, fills, position, failover, operator",
            "from_date": FROM_DATE,
            "to_date": TO_DATE,
            "opened_at": "Instant at which the gap was opened",
            "state": "open, waiting, resending; healed: all its days came again; escalated: a person has to look; "
            "closed: by a person",
            "recovered": "Trades that had been lost and came again",
            "already_known": "Trades that came again and were in the book already",
            "closed_at": "Instant at which it was healed or closed",
            "closed_by": "Who closed it",
            "reason": "Why it was opened or closed by hand",
            "why": "Why it is in this state",
            "not_before": "No resend is asked for before this instant",
            "healed_before": "Trade dates before this one have come again in full; NULL where none has",
        },
    ),
    "resend": (
        "A request to the vendor to hand out the trades of some trade dates again, and what came of it",
        {
            "feed": FEED,
            "resend_id": "Our number of the resend",
            "gap_id": "The gap that it belongs to",
            "from_date": FROM_DATE,
            "to_date": TO_DATE,
            "requested_by": "Who asked for it: an operator, or the daemon",
            "reason": "Why",
            "requested_at": "Instant of the request",
            "state": "requested, sending, accepted, ambiguous, refused, draining; complete: all came; short: not all",
            "received": "Messages that came",
            "recovered": "Trades that had been lost and came again",
            "duplicates": "Trades that came again and were in the book already",
            "absent": "Live trades of the book that did not come again",
            "excused": "Of those absent, the ones that the vendor no longer calls Verified",
            "tries": "Requests sent",
            "detail": "What the vendor said, or what is wrong",
        },
    ),
    "break": (
        "A difference between our book and the vendor's words that a person must look at; one row for each key",
        {
            "feed": FEED,
            "break_id": "Our number of the break",
            "kind": "conflict, missing_in_book, missing_at_vendor, status, position, balance and so on",
            "key": "What differs: a trade id, or symbol and value date and so on",
            "trade_id": "The trade that it is about; NULL for sums",
            "ours": "Our figure: the base amount of a position, the balance of an account",
            "theirs": "The vendor's figure",
            "difference": "theirs minus ours",
            "currency": "Currency of ours, theirs and difference",
            "ours_term": "Our figure in the term currency",
            "theirs_term": "The vendor's figure in the term currency",
            "difference_term": "theirs_term minus ours_term",
            "reporting_amount": "Size of the difference in the reporting currency of the settings",
            "rate_as_of": "Instant of the rate by which reporting_amount was worked out",
            "state": "open, investigating; cleared: with proof; accepted: until accepted_until; resolved: by a person",
            "opened_at": "Instant at which it was first seen",
            "last_seen_at": "Instant at which it was last seen",
            "reopened": "How often it came back",
            "age_business_days": "Business days since it was first seen",
            "severity": "How much it matters",
            "assigned_to": "Who looks after it",
            "accepted_until": "Instant at which an accepted break opens again",
            "vendor_ticket": "Number of the ticket at the vendor",
            "comment": "What people wrote about it",
            "explained_by": "What explains it",
        },
    ),
    "feed_status": (
        "How each feed stands at this moment",
        {
            "feed": FEED,
            "leader": "Host and process that polls the feed; NULL where none does",
            "epoch": "Rises with each change of the leader",
            "last_poll_at": "Instant of the last request to the vendor",
            "last_empty_at": "Instant at which the vendor's queue was last proven empty",
            "last_trade_at": "Instant at which the last page with trades came",
            "landed_unbooked": "Answers that are stored and not booked yet",
            "open_gaps": "Gaps that are not over",
            "open_exceptions": "Open exception items",
            "open_breaks": "Open breaks",
            "state": "What is to be done, worst first: paused, booking_held, in_doubt, gap_escalated, healing, "
            "never_polled, stopped, polling",
            "unconfirmed_assumptions": "Questions A1 to A24 that nobody has settled with the vendor",
            "in_doubt_polls": "Requests whose answer may be lost and that have no gap yet",
        },
    ),
    "audit": (
        "What operators did",
        {
            "audit_id": "Our number of the deed",
            "at": "Instant of the deed",
            "operator": "Who did it",
            "deed": "The command, such as exceptions resolve",
            "feed": "The feed that it was done to; NULL where it is about none",
            "subject": "What it was done to",
            "reason": "Why, in the operator's words",
            "details": "Counts and numbers, as JSON",
        },
    ),
    "contract": (
        "Which contract this database keeps: one row",
        {
            "version": "1.N: N columns in all views; they are only ever added, so the same number is the same contract",
            "views": "Number of views",
            "columns": "Number of columns in all views",
            "fingerprint": "MD5 over the names, order and types of all columns; changes with any of them",
            "schema_revision": "Revision of the database schema behind the views",
        },
    ),
}  # fmt: skip
GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'stp_reporting') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO stp_reporting;
    END IF;
END $$
"""


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    for name, query in LONGER.items():
        op.execute(f"CREATE OR REPLACE VIEW reporting.{name} AS {query}")
    op.execute(CONTRACT)
    for view, (meaning, columns) in COMMENTS.items():
        op.execute(f'COMMENT ON VIEW reporting."{view}" IS {quoted(meaning)}')
        for column, text in columns.items():
            op.execute(f'COMMENT ON COLUMN reporting."{view}"."{column}" IS {quoted(text)}')
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("DROP VIEW reporting.contract")
    for name, query in BEFORE.items():
        op.execute(f"DROP VIEW reporting.{name}")
        op.execute(f"CREATE VIEW reporting.{name} AS {query}")
    for view, (_, columns) in COMMENTS.items():
        if view in BEFORE or view == "contract":
            continue
        op.execute(f'COMMENT ON VIEW reporting."{view}" IS NULL')
        for column in columns:
            op.execute(f'COMMENT ON COLUMN reporting."{view}"."{column}" IS NULL')
    op.execute(GRANTS)
