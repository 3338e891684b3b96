"""The reporting contract (design.md §7): names and order of columns; new ones only at the end."""

import pytest

from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.databases import change, rows, value

TRADE = """feed trade_id version trade_type status live source our_side internal side maker symbol
        base_currency term_currency dealt_currency trade_date executed_at order_id client_order_id
        organisation legal_entity trader counterparty counterparty_name counterparty_entity channel stream
        rate_id uti usi lei counterparty_lei note external_request_id original_trade_id replaced_by
        attributes attributes_omitted flags first_landed_at booked_at change_seq"""
LEG = """feed trade_id version leg_no value_date fixing_date fixing_tenor deliverable dealt_currency
        dealt_amount settled_currency settled_amount base_amount term_amount rate spot_rate forward_points"""
KNOWN = "valid_from valid_to changed_fields"
ENDS = "{0}_value_date {0}_fixing_date {0}_base_amount {0}_term_amount {0}_rate {0}_forward_points"

CONTRACT = {
    "trade": TRADE,
    "trade_leg": LEG,
    "trade_version": f"{TRADE} {KNOWN}",
    "trade_leg_version": f"{LEG} {KNOWN}",
    "blotter": f"{TRADE} {ENDS.format('near')} {ENDS.format('far')} dealt_amount settled_amount deliverable is_late",
    "position": "feed organisation legal_entity symbol value_date deliverable base_amount term_amount trade_count",
    "cash_ladder": """feed organisation legal_entity counterparty counterparty_entity currency value_date receive pay
        amount trade_count complete""",
    "fixing": """feed trade_id leg_no fixing_date value_date legal_entity counterparty symbol base_amount term_amount
        rate state""",
    "message": "feed message_id poll_id trade_id event landed_at state sha256",
    "exception_item": """feed message_id trade_id opened_at state faults symbol side dealt_amount trade_date value_date
        legal_entity counterparty""",
    "gap": "feed gap_id cause from_date to_date opened_at state recovered already_known closed_at closed_by reason",
    "resend": """feed resend_id gap_id from_date to_date requested_by reason requested_at state received recovered
        duplicates absent excused""",
    "break": """feed break_id kind key trade_id ours theirs difference currency ours_term theirs_term
        difference_term reporting_amount rate_as_of state opened_at last_seen_at reopened age_business_days
        severity assigned_to accepted_until vendor_ticket comment explained_by""",
    "break_event": "feed break_id event_id at deed by note figures run_id reply_id",
    "reconciliation_run": """feed run_id control cause requested_by reason state result started_at as_of ended_at
        trade_day compared agreed breaks rules basis counts cited detail""",
    "balance": """feed level account asset opening opened_at legs deposits withdrawals fees adjustments ours theirs
        difference result as_of run_id""",
    "balance_adjustment": """feed adjustment_id account asset amount effective_at recorded_at recorded_by reason""",
    "custody_transfer": """feed direction transfer_id account asset amount fee status at first_seen_at changed_at
        reply_id""",
    "certificate": """feed certificate_id trade_date number state issued_at issued_by supersedes latest reasons basis
        counts sums difference cited trades_sha256 settings_hash software_version sha256 signed_as signed_at""",
    "feed_status": """feed leader epoch last_poll_at last_empty_at last_trade_at landed_unbooked open_gaps
        open_exceptions
        open_breaks state unconfirmed_assumptions""",
    "audit": "audit_id at operator deed feed subject reason details",
    "contract": "version views columns fingerprint schema_revision",
}
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'reporting' AND table_name = :view ORDER BY ordinal_position
"""


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_answers_with_the_columns_of_the_contract_in_their_order(database, view):
    found = [name for (name,) in rows(database, COLUMNS, view=view)]

    promised = CONTRACT[view].split()
    assert found[: len(promised)] == promised


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_answers(database, view):
    assert len(rows(database, f'SELECT * FROM reporting."{view}"')) == (1 if view == "contract" else 0)


def test_there_is_no_view_outside_of_the_contract(database):
    later = {"reconciliation_run", "certificate"}  # without a promise about columns
    views = {name for (name,) in rows(database, "SELECT viewname FROM pg_views WHERE schemaname = 'reporting'")}

    assert views - later <= set(CONTRACT)
    assert views >= set(CONTRACT)


def test_the_reporting_role_reads_the_views_and_nothing_of_ours(database):
    granted = "SELECT has_table_privilege('stp_reporting', :name, 'SELECT')"

    assert all(value(database, granted, name=f'reporting."{view}"') for view in set(CONTRACT))
    assert not value(database, granted, name="stp.trade")
    assert not value(database, "SELECT has_schema_privilege('stp_reporting', 'stp', 'USAGE')")


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2024-03-13 20:59:59+00", "2024-03-13"),  # 16:59:59 in New York, summer time
        ("2024-03-13 21:00:00+00", "2024-03-14"),
        ("2024-01-10 21:59:59+00", "2024-01-10"),  # winter time
        ("2024-01-10 22:00:00+00", "2024-01-11"),
    ],
)
def test_the_trade_day_turns_at_17_in_new_york(database, instant, day):
    assert str(value(database, "SELECT stp.trade_day(CAST(:at AS timestamptz))", at=instant)) == day


@pytest.mark.parametrize(
    ("opened", "today", "days"),
    [("2024-03-13", "2024-03-13", 0), ("2024-03-15", "2024-03-18", 1), ("2024-03-13", "2024-03-20", 5)],
)
def test_ages_count_business_days(database, opened, today, days):
    statement = "SELECT stp.business_days_between(CAST(:opened AS date), CAST(:today AS date))"

    assert value(database, statement, opened=opened, today=today) == days


def test_an_age_is_the_number_of_mondays_to_fridays_since_and_never_shrinks(database):
    wrong = """
    SELECT opened, days FROM generate_series(DATE '2024-02-25', DATE '2024-03-10', '1 day') AS opened,
        generate_series(-9, 60) AS days
    WHERE stp.business_days_between(opened::date, opened::date + days) <> (
        SELECT count(*) FROM generate_series(1, days) AS step WHERE extract(isodow FROM opened::date + step) < 6
    )
    """

    assert rows(database, wrong) == []


def test_the_ladder_says_when_it_cannot_be_complete(booking):
    def complete():
        return {row[0] for row in booking.rows("complete", "cash_ladder")}

    booking.book(a_raw_message())
    whole = complete()
    booking.land(a_raw_message(tradeId="T2"))
    waiting = complete()
    booking.book(a_raw_message(side="?"))
    excepted = complete()
    change(booking.database, "UPDATE stp.exception_item SET state = 'resolved'")

    assert (whole, waiting, excepted, complete()) == ({True}, {False}, {False}, {True})


def test_a_version_is_valid_until_the_next_one_was_booked(booking):
    booking.book(a_raw_message())
    first = booking.clock.now()
    booking.clock.advance(60)
    booking.book(a_raw_message(note="later"))

    assert booking.rows("version, valid_from, valid_to", "trade_version", "ORDER BY 1") == [
        (1, first, booking.clock.now()),
        (2, booking.clock.now(), None),
    ]


def test_the_blotter_has_one_row_a_trade_with_both_legs(booking):
    booking.book(a_raw_message(), as_bytes(a_swap_message(tradeId="S1")))

    columns = "trade_id, near_value_date::text, far_value_date::text, near_base_amount, far_base_amount, is_late"
    assert booking.rows(columns, "blotter", "ORDER BY 1") == [
        ("FXI9369258100", "2023-06-06", None, 1000000, None, True),
        ("S1", "2023-06-06", "2023-07-06", 1000000, -1000000, True),
    ]
