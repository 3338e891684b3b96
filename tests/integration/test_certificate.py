"""`stp-etl certify` and `stp-etl day`: what can be proven about a trade day, from the book alone."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tests.builders import a_raw_message
from tests.databases import change, rows, value

ONLY_THE_QUEUE = "\n[reconciliation]\npositions_every_s = 0\nfills_every_s = 0\n"
DAY = "2024-03-13"
IN_THE_DAY = datetime(2024, 3, 13, 15, tzinfo=UTC)
SWEPT = """
WITH gap AS (
    INSERT INTO stp.gap (feed_id, cause, from_date, to_date, opened_at, doubted_at, not_before, state, evidence,
        recovered, already_known)
    SELECT id, 'sweep', '2024-03-13', '2024-03-13', now(), now(), now(), 'healed', '[]', 0, 2 FROM stp.feed
    RETURNING id
)
SELECT count(*) FROM gap
"""


@pytest.fixture
def book(desk, stp_etl):
    """Two trades of the day and one of the next, booked on the day; the queue proven empty long after its close."""
    stp_etl.configure(ONLY_THE_QUEUE)
    desk.land(
        a_raw_message(tradeDate=DAY), a_raw_message(tradeId="FXI2", tradeDate=DAY),
        a_raw_message(tradeId="FXI3", tradeDate="2024-03-14"), at=IN_THE_DAY,
    )  # fmt: skip
    change(desk.database, "UPDATE stp.current_poll SET outcome = 'empty', last_empty_at = '2024-03-14T12:00:00Z'")
    return desk


def certified(stp_etl, code, *words):
    done = stp_etl("certify", "--trade-date", DAY, "--format", "json", *words)
    assert done.code == code, done.out + done.err
    return done.json


def test_a_swept_day_whose_queue_was_drained_is_complete(book, stp_etl):
    change(book.database, SWEPT)

    found = certified(stp_etl, 0)

    assert (found["state"], found["reasons"], found["number"]) == ("COMPLETE", [], 1)
    assert (found["counts"]["trades"], found["counts"]["live"]) == (2, 2)
    assert found["basis"]["sweep"]["state"] == "equal"
    assert found["basis"]["not_wanted"] == ["positions", "fills"]
    view = "SELECT feed, trade_date::text, number, state FROM reporting.certificate"
    assert rows(book.database, view) == [("main", DAY, 1, "COMPLETE")]


def test_the_sums_are_those_of_the_legs_to_the_last_digit(book, stp_etl):
    found = certified(stp_etl, 3)

    told = {each["currency"]: Decimal(each["receive"]) + Decimal(each["pay"]) for each in found["sums"]}
    held = dict(rows(book.database, (
        "SELECT c, sum(a) FROM reporting.trade_leg l JOIN reporting.trade t USING (feed, trade_id) CROSS JOIN LATERAL "
        "(VALUES (l.dealt_currency, l.dealt_amount), (l.settled_currency, l.settled_amount)) AS x (c, a) "
        f"WHERE t.trade_date = '{DAY}' GROUP BY 1"
    )))  # fmt: skip
    assert told == held
    assert told


def test_a_day_that_was_not_swept_is_incomplete_and_says_what_to_do(book, stp_etl):
    (reason,) = certified(stp_etl, 3)["reasons"]

    assert reason["reason"] == "sweep"
    assert reason["command"] == f"stp-etl resend --from {DAY} --to {DAY} --reason TEXT"


def test_a_day_whose_queue_was_not_drained_after_the_close_is_preliminary(book, stp_etl):
    change(book.database, SWEPT)
    close = "2024-03-13T21:00:00Z"
    change(book.database, f"UPDATE stp.current_poll SET last_empty_at = TIMESTAMPTZ '{close}' + interval '34 s'")
    assert certified(stp_etl, 3)["state"] == "PRELIMINARY"

    change(book.database, f"UPDATE stp.current_poll SET last_empty_at = TIMESTAMPTZ '{close}' + interval '35 s'")
    assert certified(stp_etl, 0)["state"] == "COMPLETE"


def test_an_exception_item_of_the_day_or_of_no_readable_day_stands_in_the_way(book, stp_etl):
    change(book.database, SWEPT)
    (of_day,) = book.land(a_raw_message(tradeId="FXI4", tradeDate=DAY, dealtAmount="x"), at=IN_THE_DAY)
    (unreadable,) = book.land(a_raw_message(tradeId="FXI5", tradeDate="soon"), at=IN_THE_DAY)
    book.land(a_raw_message(tradeId="FXI6", tradeDate="2024-03-14", dealtAmount="x"), at=IN_THE_DAY)

    reasons = certified(stp_etl, 3)["reasons"]

    assert [each["command"] for each in reasons] == [
        f"stp-etl exceptions show {of_day}", f"stp-etl exceptions show {unreadable}",
    ]  # fmt: skip


def test_a_conflict_about_a_trade_of_the_day_stands_in_the_way(book, stp_etl):
    change(book.database, SWEPT)
    book.land(a_raw_message(tradeDate=DAY, counterparty="Another"), at=IN_THE_DAY)

    (reason,) = certified(stp_etl, 3)["reasons"]

    assert reason["reason"] == "break"
    assert "conflict" in reason["detail"]


def test_a_poll_whose_outcome_nobody_knows_stands_in_the_way(book, stp_etl):
    change(book.database, SWEPT)
    change(book.database, "UPDATE stp.current_poll SET outcome = NULL")

    (reason,) = certified(stp_etl, 3)["reasons"]
    assert reason["reason"] == "poll_unknown"

    with book.database.connect() as leader:  # while somebody leads, the poll under way is that leader's
        leader.exec_driver_sql("SELECT pg_advisory_lock((SELECT lock_key FROM stp.feed))")
        leader.exec_driver_sql("UPDATE stp.lease SET session_pid = pg_backend_pid()")
        leader.commit()
        assert certified(stp_etl, 0)["reasons"] == []


def test_balances_count_where_the_settings_name_assets(book, stp_etl):
    def compared(result, breaks, at):
        with book.open_work() as work:
            run = work.reconciling.begin(
                book.feed.feed_id, "balances", at=at, cause="daily", by="stp-etl", reason=None, trade_day=at.date(),
                rules={},
            )  # fmt: skip
            work.reconciling.end(run, state="done", result=result, as_of=at, breaks=breaks)
            work.commit()

    stp_etl.configure('balance_assets = ["USD"]\n' + ONLY_THE_QUEUE)
    change(book.database, SWEPT)
    (reason,) = certified(stp_etl, 3)["reasons"]
    assert (reason["reason"], reason["command"]) == ("balances", "stp-etl reconcile balances")

    compared("agreed", 0, datetime(2024, 3, 13, 20, 59, tzinfo=UTC))  # before the close
    compared("no_opening", 0, datetime(2024, 3, 13, 21, 15, tzinfo=UTC))
    (reason,) = certified(stp_etl, 3)["reasons"]
    assert "ended as no_opening" in reason["detail"]
    assert reason["command"] == "stp-etl reconcile balances --open --reason TEXT"

    compared("agreed", 0, datetime(2024, 3, 13, 22, 15, tzinfo=UTC))
    found = certified(stp_etl, 0)
    assert (found["state"], found["basis"]["controls"]["balances"]["result"]) == ("COMPLETE", "agreed")


def test_a_later_certificate_supersedes_the_one_before_and_tells_the_difference(book, stp_etl):
    first = certified(stp_etl, 3)
    change(book.database, SWEPT)
    book.land(a_raw_message(tradeId="FXI7", tradeDate=DAY), at=IN_THE_DAY)

    second = certified(stp_etl, 0)

    assert second["number"] == 2
    assert second["difference"]["state"] == {"before": "INCOMPLETE", "now": "COMPLETE"}
    assert second["difference"]["counts"]["now"]["trades"] == 3
    assert second["difference"]["reasons_gone"] == [first["reasons"][0]["detail"]]
    assert second["trades_sha256"] != first["trades_sha256"]


def test_the_same_book_gives_the_same_hash(book, stp_etl):
    assert certified(stp_etl, 3)["trades_sha256"] == certified(stp_etl, 3)["trades_sha256"]


def test_a_person_signs_what_was_issued_last(book, stp_etl):
    refused = stp_etl("certify", "--trade-date", DAY, "--sign-off", "--as", "Olga Petrova")
    assert refused.code == 1
    assert "has no certificate yet; issue one: stp-etl certify" in refused.err
    change(book.database, SWEPT)
    issued = certified(stp_etl, 0)

    signed = certified(stp_etl, 0, "--sign-off", "--as", "Olga Petrova", "--comment", "read")

    assert signed["certificate_id"] == issued["certificate_id"]
    signatures = rows(book.database, "SELECT signed_as, operator, comment FROM stp.certificate_sign_off")
    assert signatures == [("Olga Petrova", "olga", "read")]
    assert value(book.database, "SELECT count(*) FROM reporting.audit WHERE deed LIKE 'certify%'") == 2


def test_who_signs_what_is_incomplete_is_told_so_and_the_audit_keeps_it(book, stp_etl):
    issued = stp_etl("certify", "--trade-date", DAY)
    again = stp_etl("certify", "--trade-date", DAY, "--sign-off", "--as", "Olga Petrova")

    assert (issued.code, again.code) == (3, 3)
    (signed,) = set(again.out.splitlines()) - set(issued.out.splitlines())
    assert signed.split()[:3] == ["signed", "Olga", "Petrova,"]
    assert again.out.replace(f"{signed}\n", "") == issued.out, "the same certificate in the same order"
    said = (
        "is signed as Olga Petrova: it is INCOMPLETE for 1 reason, which the name accepts; they stand under `Why not`"
    )
    assert again.err.endswith(f"{said}\n")
    kept = rows(book.database, "SELECT details FROM reporting.audit WHERE deed = 'certify --sign-off'")
    assert kept == [({"as": "Olga Petrova", "state": "INCOMPLETE", "reasons": 1},)]


def test_who_signed_is_shown_and_the_same_name_signs_once(book, stp_etl):
    sign = ("certify", "--trade-date", DAY, "--sign-off", "--as")
    stp_etl("certify", "--trade-date", DAY)
    stp_etl(*sign, "Olga Petrova", "--comment", "read")
    stp_etl(*sign, "O P")

    again = stp_etl(*sign, " O  P ", "--comment", "twice")
    signed = certified(stp_etl, 3, "--sign-off", "--as", "O P")["signatures"]

    assert "is signed as O P already, since 20" in again.err
    assert again.err.endswith("; nothing was changed\n")
    assert [(each["signed_as"], each["comment"]) for each in signed] == [("Olga Petrova", "read"), ("O P", None)]
    (line,) = [line for line in again.out.splitlines() if line.startswith("signed ")]
    assert ["Olga Petrova, 20" in line, ": read; O P, 20" in line] == [True, True]
    assert value(book.database, "SELECT count(*) FROM stp.certificate_sign_off") == 2
    assert value(book.database, "SELECT count(*) FROM reporting.audit WHERE deed = 'certify --sign-off'") == 2


def test_a_day_that_has_not_begun_is_refused_and_nothing_is_stored(book, stp_etl):
    stp_etl.configure('\n[reconciliation]\nbusiness_day_ends = "16:00"\nsweep_at = "16:30"\ntimezone = "Europe/Zurich"')

    done = stp_etl("certify", "--trade-date", "2999-03-02")

    assert done.code == 2
    assert "2999-03-02 has not begun: it begins at 2999-03-01T15:00:00Z" in done.err
    assert stp_etl("certify", "--trade-date", "0001-01-01").code == 2
    assert value(book.database, "SELECT count(*) FROM stp.certificate") == 0
    assert value(book.database, "SELECT count(*) FROM reporting.audit") == 0


def test_a_name_without_signing_is_a_wrong_usage(book, stp_etl):
    assert stp_etl("certify", "--trade-date", DAY, "--as", "Olga").code == 2
    assert stp_etl("certify", "--trade-date", DAY, "--sign-off").code == 2


def test_people_read_the_state_first_and_the_reasons_with_their_commands(book, stp_etl):
    shown = stp_etl("certify", "--trade-date", DAY)

    assert "state            INCOMPLETE" in shown.out
    assert "stp-etl resend --from" in shown.out


def test_the_sheet_of_the_day_counts_what_the_views_hold(book, stp_etl):
    sheet = stp_etl("day", "--trade-date", DAY, "--format", "json").json

    assert sum(row["trades"] for row in sheet["trades"]) == 2
    assert {row["currency"] for row in sheet["sums"]} == {"EUR", "USD"}
    assert sheet["gaps"] == sheet["exceptions"] == sheet["breaks"] == []
    settles = value(book.database, "SELECT min(value_date)::text FROM reporting.cash_ladder")
    assert stp_etl("day", "--trade-date", settles, "--format", "json").json["value_today"]


def test_without_a_date_the_sheet_is_of_the_last_day_that_certify_takes(book, stp_etl):
    stp_etl.configure(
        '\n[reconciliation]\nbusiness_day_ends = "00:00"\nsweep_at = "00:30"\ntimezone = "Pacific/Kiritimati"\n'
    )

    day = date.fromisoformat(stp_etl("day", "--format", "json").json["trade_date"])

    assert stp_etl("certify", "--trade-date", str(day)).code == 3
    refused = stp_etl("certify", "--trade-date", str(day + timedelta(days=1)))
    assert (refused.code, "has not begun" in refused.err) == (2, True)


@pytest.mark.parametrize("fmt", ["table", "csv"])
def test_the_sheet_names_every_section_even_when_it_is_empty(book, stp_etl, fmt):
    shown = stp_etl("day", "--trade-date", "2030-01-01", "--format", fmt)

    assert shown.code == 0
    assert "2030-01-01 has not begun: it begins at 2029-12-31T22:00:00Z; " in shown.err
    assert shown.out.count("# " if fmt == "csv" else ": none") == 9
