"""The reporting contract: every column is explained, and none is ever dropped, renamed, retyped or moved."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Connection, text

from etl.store.examples import EXAMPLES
from etl.store.repositories.contract import ContractRepository
from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.databases import change, rows, value
from tests.reporting_page import PAGE, broken, kept, page_of, promised

SILENT = """
SELECT c.relname || '.' || a.attname FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = 'reporting' AND coalesce(btrim(col_description(c.oid, a.attnum)), '') = ''
UNION ALL
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'reporting' AND coalesce(btrim(obj_description(c.oid, 'pg_class')), '') = ''
ORDER BY 1
"""


def silent(connection: Connection) -> list[str]:
    return list(connection.execute(text(SILENT)).scalars())


def test_every_view_and_every_column_is_explained_in_the_database(connection):
    assert silent(connection) == [], "whoever adds a column writes COMMENT ON COLUMN reporting.… IS '…' beside it"


def test_a_view_or_a_column_without_a_comment_would_be_noticed(connection):
    connection.execute(text("CREATE VIEW reporting.unheard_of AS SELECT 1 AS one, 2 AS two"))
    connection.execute(text("COMMENT ON COLUMN reporting.unheard_of.two IS 'Two'"))
    connection.execute(text("COMMENT ON COLUMN reporting.trade.side IS ' '"))

    assert silent(connection) == ["trade.side", "unheard_of", "unheard_of.one"]


def test_the_version_of_the_contract_is_the_number_of_its_columns(database):
    columns = value(
        database,
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'reporting'",
    )

    ((version, counted, fingerprint),) = rows(database, "SELECT version, columns, fingerprint FROM reporting.contract")
    assert (version, counted, len(fingerprint)) == (f"1.{columns}", columns, 32)


@pytest.mark.parametrize(
    "deed",
    [
        "ALTER VIEW reporting.audit RENAME COLUMN deed TO act",
        "CREATE VIEW reporting.unheard_of AS SELECT 1 AS one",
        "DROP VIEW reporting.fixing",
    ],
)
def test_the_fingerprint_of_the_contract_changes_with_any_of_it(connection, deed):
    question = text("SELECT fingerprint FROM reporting.contract")
    before = connection.execute(question).scalar_one()
    connection.execute(text(deed))

    assert connection.execute(question).scalar_one() != before


def test_no_column_was_dropped_renamed_retyped_or_moved_and_new_ones_are_written_down(connection):
    now = kept(ContractRepository(connection).columns())

    assert broken(promised(), now) == []
    assert now == promised(), "columns were added; run: make contract"


@pytest.mark.parametrize(
    ("deeds", "fault"),
    [
        ("DROP VIEW reporting.fixing", "reporting.fixing, column 1: feed text was promised, nothing is there"),
        ("ALTER VIEW reporting.audit RENAME COLUMN deed TO act", "deed text was promised, act text is there"),
        (
            "DROP VIEW reporting.audit; CREATE VIEW reporting.audit AS SELECT 1 AS audit_id",
            "reporting.audit, column 1: audit_id bigint was promised, audit_id integer is there",
        ),
    ],
)
def test_a_broken_contract_would_be_noticed(connection, deeds, fault):
    for statement in deeds.split("; "):
        connection.execute(text(statement))

    faults = broken(promised(), kept(ContractRepository(connection).columns()))

    assert fault in " | ".join(faults)


def test_the_page_is_what_the_database_says(connection):
    assert PAGE.read_text() == page_of(connection), "run: make contract"


def test_describe_tells_each_column_of_a_view_with_type_and_meaning(stp_etl):
    shown = stp_etl("reporting", "describe", "reporting.cash_ladder", "--format", "json")

    assert shown.code == 0
    assert [each["column"] for each in shown.json][-1] == "complete"
    assert shown.json[8] == {
        "view": "cash_ladder", "position": 9, "column": "pay", "type": "numeric",
        "meaning": "Sum of what is paid, major units, not positive",
    }  # fmt: skip


def test_describe_tells_all_views_as_a_table_and_the_page_in_markdown(stp_etl):
    table, markdown = stp_etl("reporting", "describe"), stp_etl("reporting", "describe", "--format", "markdown")

    assert (table.code, markdown.code) == (0, 0)
    assert len(table.out.splitlines()) == 2 + sum(map(len, promised().values()))
    assert markdown.out == PAGE.read_text()


def test_describe_names_the_views_that_there_are(stp_etl):
    shown = stp_etl("reporting", "describe", "ladder")

    assert (shown.code, shown.out) == (1, "")
    assert (
        "there is no reporting view ladder; there are: audit, balance, balance_adjustment, blotter, break" in shown.err
    )


def answers(connection: Connection, title: str) -> list[tuple[object, ...]]:
    example = next(each for each in EXAMPLES if each.title == title)
    return [tuple(row) for row in connection.execute(text(example.query))]


@pytest.fixture
def day(booking):
    """Two trades of 2 March 2026 and a swap; the first was changed at 23:00, after the instant that is asked for."""
    of_day = {"tradeDate": "2026-03-02", "valueDate": "2026-03-04"}
    at_noon = "2026-03-02 12:00:00,000 +0000"
    booking.clock.advance((datetime(2026, 3, 2, 12, tzinfo=UTC) - booking.clock.now()).total_seconds())
    booking.book(
        a_raw_message(tradeId="T1", executionTime=at_noon, **of_day),
        a_raw_message(tradeId="T2", executionTime="2026-03-02 13:00:00,000 +0000", side="Sell", **of_day),
        as_bytes(a_swap_message(tradeId="T3", executionTime="2026-03-02 14:00:00,000 +0000", farValueDate="2026-04-06",
                                **of_day)),
    )  # fmt: skip
    booking.clock.advance(11 * 3600)
    booking.book(
        a_raw_message(tradeId="T1", executionTime=at_noon, dealtAmount=3000000, settledAmount=3252750, **of_day)
    )
    return booking


def test_the_blotter_of_the_day_shows_each_trade_as_it_stands_now(day, connection):
    found = answers(connection, "Blotter of the day")

    assert [(row[1], row[4], row[7], row[8], str(row[11])) for row in found] == [
        ("T1", "buy", Decimal(3000000), Decimal(-3252750), "None"),
        ("T2", "sell", Decimal(-1000000), Decimal("1084250.00"), "None"),
        ("T3", "buy", Decimal(1000000), Decimal("-1084250.00"), "2026-04-06"),
    ]


def test_the_settlement_ladder_sums_what_is_paid_and_received(day, connection):
    found = answers(connection, "Settlement ladder")

    assert [(str(row[0]), *row[1:]) for row in found] == [
        ("2026-03-04", "EUR", -1000000, 4000000, 3000000, True),
        ("2026-03-04", "USD", Decimal("-4337000.00"), Decimal("1084250.00"), Decimal("-3252750.00"), True),
    ]


def test_the_net_positions_are_those_that_are_not_flat(day, connection):
    day.book(a_raw_message(tradeId="T4", tradeDate="2026-03-02", valueDate="2026-03-09"))
    day.book(a_raw_message(tradeId="T5", tradeDate="2026-03-02", valueDate="2026-03-09", side="Sell"))

    found = answers(connection, "Net positions")

    assert [(row[0], row[1], str(row[2]), *row[3:]) for row in found] == [
        ("CustomerOrgle1", "EUR/USD", "2026-03-04", True, 3000000, Decimal("-3252750.00"), 3),
        ("CustomerOrgle1", "EUR/USD", "2026-04-06", True, -1000000, Decimal("1085900.50"), 1),
    ]


def test_open_breaks_are_counted_by_age(day, connection):
    feed_id = day.feed.feed_id
    made = (
        "INSERT INTO stp.recon_break (feed_id, kind, key, state, opened_at, last_seen_at, reopened, evidence,"
        " assigned_to) VALUES (:feed_id, :kind, :key, :state, now() - CAST(:ago AS interval), now(), 0, '[]', :who)"
    )
    for key, kind, ago, state, who in (
        ("A", "position", "40 days", "open", None),
        ("B", "position", "41 days", "investigating", "ann"),
        ("C", "position", "50 days", "resolved", None),
    ):
        values = {"feed_id": feed_id, "kind": kind, "key": key, "state": state, "ago": ago, "who": who}
        change(day.database, made, **values)
    change(day.database, "UPDATE stp.recon_break SET opened_at = now() WHERE kind = 'conflict'")

    assert answers(connection, "Open breaks by age") == [
        ("position", "more than 5 days", 2, 1),
        ("conflict", "today", 1, 1),
    ]


def test_what_did_we_know_shows_the_words_of_that_time(day, connection):
    found = answers(connection, "What did we know at an instant")

    assert [(row[1], row[2], row[5], row[7]) for row in found] == [
        ("T1", 1, 1, 1000000),
        ("T2", 1, 1, -1000000),
        ("T3", 1, 1, 1000000),
        ("T3", 1, 2, -1000000),
    ]
