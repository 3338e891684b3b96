"""What is old goes as the settings say: detached before it is dropped, and never while something open needs it."""

from datetime import UTC, date, datetime

import pytest

from etl.controls.retention import cut
from tests.builders import a_raw_message
from tests.databases import change, rows, value

OLD = datetime(2020, 1, 15, tzinfo=UTC)
KEPT = "\n[retention]\nanswers_months = 12\n"
WRONG = b'{"tradeId": "FXI1"}'


@pytest.fixture
def months(database):
    """Partitions of the months in which the tests land."""
    change(database, "SELECT stp.make_partitions(date '2020-01-01', 1)")


def retained(stp_etl, *words):
    """Return what `db retain` did, by piece: the action, the rows that went, why."""
    done = stp_etl("db", "retain", "--format", "json", *words)
    assert done.code == 0, done.err
    return {row["what"]: (row["action"], row["gone"], row["why"]) for row in done.json}


def tables(database):
    return {name for (name,) in rows(database, "SELECT relname FROM pg_class WHERE relname ~ '_p2020'")}


def attached(database):
    query = "SELECT c.relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relname ~ '_p2020'"
    return {name for (name,) in rows(database, query)}


def test_nothing_is_old_by_default(desk, months, stp_etl):
    desk.land(a_raw_message(), at=OLD)

    assert retained(stp_etl) == {}


def test_an_old_month_is_detached_first_and_dropped_later(desk, months, stp_etl):
    stp_etl.configure(KEPT)
    (number,) = desk.land(a_raw_message(), at=OLD)

    first = retained(stp_etl)
    assert {what: each[0] for what, each in first.items()} == dict.fromkeys(
        ("answer_p202001", "message_p202001", "answer_p202002", "message_p202002"), "detach"
    )
    assert attached(desk.database) == set()
    assert "answer_p202001" in tables(desk.database)
    assert value(desk.database, "SELECT count(*) FROM stp.answer_p202001") == 1

    assert {each[0] for each in retained(stp_etl).values()} == {"wait"}
    stp_etl.configure(KEPT + "detached_days = 0\n")
    assert {each[0] for each in retained(stp_etl).values()} == {"drop"}
    assert tables(desk.database) == set()
    assert value(desk.database, "SELECT count(*) FROM reporting.trade") == 1
    assert "was retired" in stp_etl("messages", "show", str(number)).err


def test_a_reader_that_has_fallen_behind_retention_misses_no_change(desk, months, stp_etl):
    stp_etl.configure(KEPT + "detached_days = 0\n")
    desk.land(a_raw_message(), a_raw_message(tradeId="FXI2"), at=OLD)
    desk.land(a_raw_message(tradeId="FXI2", note="changed"), at=OLD)
    behind = "SELECT change_seq, to_jsonb(v)::text FROM reporting.trade_version v WHERE change_seq > 1 ORDER BY 1"
    before = rows(desk.database, behind)

    for _ in range(2):
        retained(stp_etl)

    assert tables(desk.database) == set()
    assert [change for change, _ in before] == [2, 3]
    assert rows(desk.database, behind) == before


def test_what_went_is_in_the_audit(desk, months, stp_etl):
    stp_etl.configure(KEPT)

    retained(stp_etl, "--reason", "yearly")

    deeds = rows(desk.database, "SELECT operator, deed, reason, subject FROM reporting.audit ORDER BY subject LIMIT 1")
    assert deeds == [("olga", "db retain", "yearly", "answer_p202001")]


def test_a_dry_run_changes_nothing(desk, months, stp_etl):
    stp_etl.configure(KEPT + "polls_months = 24\naudit_months = 1\n")
    desk.land(a_raw_message(), at=OLD)
    before = attached(desk.database)

    plan = retained(stp_etl, "--dry-run")

    assert plan["answer_p202001"][:2] == ("detach", 0)
    assert attached(desk.database) == before
    assert value(desk.database, "SELECT count(*) FROM stp.audit") == 0


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("INSERT INTO stp.unbooked (feed_id, poll_id, opened_at, drain_id, length) "
         "SELECT id, 1, '2020-01-15Z', 1, 1 FROM stp.feed", "landed answers of it wait for booking"),
        ("INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state, evidence, "
         "recovered, already_known) SELECT id, 'operator', '2020-01-20', '2020-01-20', now(), now(), now(), "
         "'escalated', '[]', 0, 0 FROM stp.feed", "a gap over its days, or opened in it, is not over"),
    ],
)  # fmt: skip
def test_a_month_stays_while_it_is_needed(desk, months, stp_etl, statement, reason):
    stp_etl.configure(KEPT)
    change(desk.database, statement)

    kept = retained(stp_etl)

    assert kept["answer_p202001"] == ("keep", 0, reason)
    assert {"answer_p202001", "message_p202001"} <= attached(desk.database)


def test_a_month_stays_while_an_exception_item_of_it_is_open(desk, months, stp_etl):
    stp_etl.configure(KEPT)
    (number,) = desk.land(WRONG, at=OLD)

    kept = retained(stp_etl)
    assert kept["answer_p202001"][2] == "an open exception item has its message in it"
    assert kept["answer_p202002"][0] == "detach"

    stp_etl("exceptions", "resolve", str(number), "--reason", "a test of the vendor")
    assert retained(stp_etl)["answer_p202001"][0] == "detach"


def test_a_month_stays_while_a_break_names_a_trade_of_it(desk, months, stp_etl):
    stp_etl.configure(KEPT)
    desk.land(a_raw_message(), at=OLD)
    desk.land(a_raw_message(counterparty="Another"))
    assert value(desk.database, "SELECT count(*) FROM stp.recon_break WHERE trade_id IS NOT NULL") == 1

    kept = retained(stp_etl)

    assert kept["message_p202001"][2] == "a break that is not over names a trade whose message lies in it"


def test_old_polls_go_after_their_answers_and_old_deeds_on_their_own(desk, months, stp_etl):
    stp_etl.configure(KEPT + "polls_months = 12\naudit_months = 12\ndetached_days = 0\n")
    desk.land(a_raw_message(), at=OLD)
    desk.land(a_raw_message(tradeId="FXI2"))
    change(
        desk.database,
        "INSERT INTO stp.audit (at, operator, deed, reason, details) VALUES ('2020-01-01Z', 'x', 'y', 'z', '{}')",
    )
    polls = value(desk.database, "SELECT count(*) FROM stp.poll WHERE closed_at < '2021-01-01Z'")
    assert polls == 1

    assert retained(stp_etl)["poll"][1] == 0  # the answer was still there when the plan was made
    done = retained(stp_etl)

    assert done["poll"][1] == 1
    assert value(desk.database, "SELECT count(*) FROM stp.audit WHERE at < '2021-01-01Z'") == 0
    assert value(desk.database, "SELECT count(*) FROM stp.poll") >= 1
    assert (
        value(
            desk.database,
            "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'stp.audit'::regclass AND tgname = 'insert_only'",
        )
        == "O"
    )


def test_a_report_that_is_being_read_makes_retention_give_up_with_a_sentence(desk, months, stp_etl):
    stp_etl.configure(KEPT)
    with desk.database.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM stp.answer")

        done = stp_etl("db", "retain")

    assert done.code == 1
    assert "lock" in done.err
    assert "answer_p202001" in attached(desk.database)


def test_a_poll_outlives_its_answer(stp_etl):
    stp_etl.configure("\n[retention]\nanswers_months = 12\npolls_months = 6\n")

    refused = stp_etl("config", "check")

    assert refused.code == 2
    assert "retention.polls_months = 6: must be 0, or at least answers_months" in refused.err


def test_months_are_counted_whole():
    assert cut(datetime(2026, 3, 31, tzinfo=UTC), 1) == date(2026, 2, 1)
    assert cut(datetime(2026, 1, 1, tzinfo=UTC), 12) == date(2025, 1, 1)
