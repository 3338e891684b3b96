"""`publish` and `verify`: another database that always equals the book up to its position, whatever happens to it."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from etl.controls.publish import Published, Publisher
from etl.controls.verify import Verifier
from etl.errors import CommitUnknownError, DatabaseAwayError, DatabaseRefusedError, OperatorError
from etl.store.database import Database
from tests.acceptance.program import until
from tests.booking import Booking
from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.clocks import FakeClock
from tests.commands import ROOT
from tests.databases import DEBIAN, EMPTY, change, debian, rows, value
from tests.proxies import KEPT, LOST, CuttingProxy

SHARED = {"trade": "1, 2", "trade_leg": "1, 2, 4", "trade_version": "1, 2, 3", "trade_leg_version": "1, 2, 3, 4",
          "blotter": "1, 2"}  # fmt: skip


@pytest.fixture
def target(postgres) -> Iterator[Database]:
    """An empty database that is to be filled."""
    with postgres.database(EMPTY) as url:
        database = Database(url)
        yield database
        database.close()


def publisher(source: Database, target: Database, batch: int = 100) -> Publisher:
    return Publisher(source, target, FakeClock(), schema="reporting", batch=batch)


def published(source: Database, target: Database, batch: int = 100) -> Published:
    """Make the tables and copy all that is new."""
    one = publisher(source, target, batch)
    one.prepare()
    return one.publish()


def seen(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return what a reader finds in the views and tables that both databases have."""
    return {view: rows(database, f"SELECT * FROM reporting.{view} ORDER BY {key}") for view, key in SHARED.items()}


def described(database: Database) -> dict[str, list[tuple[object, ...]]]:
    question = (
        "SELECT column_name, data_type, ordinal_position FROM information_schema.columns"
        " WHERE table_schema = 'reporting' AND table_name = :view ORDER BY 3"
    )
    return {view: rows(database, question, view=view) for view in SHARED}


def versions_of_one_trade(booking: Booking) -> None:
    """Book five versions: odd texts, exact numbers, a swap, two changes of the first trade."""
    odd = {"note": 'tab\tback\\slash "quoted"\nnew line é €', "dealtAmount": 1000000.5, "newField": "0.10"}
    booking.book(a_raw_message(**odd), as_bytes(a_swap_message(tradeId="S1")), a_raw_message(tradeId="T2"))
    booking.clock.advance(60)
    booking.book(a_raw_message(note="later"))
    booking.clock.advance(60)
    booking.book(a_raw_message(dealtAmount=2000000, settledAmount=2168500))


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_the_target_equals_the_book_whatever_the_size_of_a_batch(booking, target, batch):
    versions_of_one_trade(booking)

    done = published(booking.database, target, batch)

    assert done == Published(versions=5, legs=6, change_seq=5)
    assert seen(target) == seen(booking.database)
    assert described(target) == described(booking.database)


def test_a_second_run_copies_only_what_is_new(booking, target):
    booking.book(a_raw_message())
    first = published(booking.database, target)
    nothing = published(booking.database, target)
    booking.book(a_raw_message(note="later"), a_raw_message(tradeId="T2"))

    assert (first.versions, nothing, published(booking.database, target)) == (
        1, Published(change_seq=1), Published(versions=2, legs=2, change_seq=3),
    )  # fmt: skip
    assert seen(target) == seen(booking.database)


def test_after_each_batch_the_target_is_the_book_of_that_moment(booking, target):
    versions_of_one_trade(booking)
    stop = Event()
    one = publisher(booking.database, target, batch=1)
    one.prepare()
    states = []
    while one._copy_batch().versions:
        states.append(rows(target, "SELECT trade_id, version, note IS NOT NULL FROM reporting.trade ORDER BY 1"))
    stop.set()

    assert [[row[:2] for row in state] for state in states] == [
        [("FXI9369258100", 1)],
        [("FXI9369258100", 1), ("S1", 1)],
        [("FXI9369258100", 1), ("S1", 1), ("T2", 1)],
        [("FXI9369258100", 2), ("S1", 1), ("T2", 1)],
        [("FXI9369258100", 3), ("S1", 1), ("T2", 1)],
    ]


def test_numbers_that_jump_are_followed(booking, target):
    booking.book(a_raw_message())
    change(booking.database, "UPDATE stp.change_counter SET change_seq = 5000000000")
    booking.book(a_raw_message(tradeId="T2"))

    assert published(booking.database, target, batch=10) == Published(2, 2, 5_000_000_001)


def published_at_last(source, target, **options):
    """Publish as soon as the server has noticed that the connection cut before is gone, and with it its lock."""

    def tried():
        try:
            return published(source, target, **options)
        except DatabaseAwayError:
            return None

    until(tried, what="the lock of the connection that was cut")


@pytest.mark.parametrize("cut", [KEPT, LOST])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_commit_whose_reply_is_lost_loses_and_doubles_nothing(booking, target, cut, number):
    versions_of_one_trade(booking)
    with CuttingProxy(target.url.set(drivername="postgresql").render_as_string(hide_password=False)) as proxy:
        proxy.cuts = {number: cut}
        through = Database(proxy.url)
        with pytest.raises(CommitUnknownError, match="the target: the reply to COMMIT was lost"):
            published(booking.database, through, batch=2)
        published_at_last(booking.database, through, batch=2)
        through.close()

    assert seen(target) == seen(booking.database)


def test_a_target_that_goes_away_within_a_batch_keeps_nothing_of_it(booking, target):
    for page in range(20):
        booking.book(*(a_raw_message(tradeId=f"T{page}-{number}") for number in range(50)))
    publisher(booking.database, target).prepare()
    with CuttingProxy(target.url.set(drivername="postgresql").render_as_string(hide_password=False)) as proxy:
        proxy.hang_up_after = 200_000
        through = Database(proxy.url)
        with pytest.raises(DatabaseAwayError, match="^the target: .*check publish.url"):
            publisher(booking.database, through, batch=10_000).publish()
        assert rows(target, "SELECT count(*), (SELECT change_seq FROM reporting.published) FROM reporting.trade") == [
            (0, 0)
        ]
        proxy.hang_up_after = None
        published_at_last(booking.database, through)
        through.close()

    assert seen(target) == seen(booking.database)


def test_a_target_that_is_too_old_is_refused(booking, target):
    with CuttingProxy(target.url.set(drivername="postgresql").render_as_string(hide_password=False)) as proxy:
        proxy.version = b"13"
        old = Database(proxy.url)
        with pytest.raises(OperatorError, match="the target is Postgres 13; 14 or newer is needed"):
            published(booking.database, old)
        old.close()

    assert value(target, "SELECT to_regnamespace('reporting')") is None


def test_a_table_of_somebody_else_is_never_touched(booking, target):
    change(target, "CREATE SCHEMA reporting")
    change(target, "CREATE TABLE reporting.trade (mine integer)")
    change(target, "INSERT INTO reporting.trade VALUES (1)")
    versions_of_one_trade(booking)

    with pytest.raises(OperatorError, match=r"the target has reporting.trade that publish did not make; nothing was"):
        published(booking.database, target)

    assert rows(target, "SELECT * FROM reporting.trade") == [(1,)]
    assert value(target, "SELECT to_regclass('reporting.published')") is None


def test_the_book_itself_is_no_target(booking):
    with pytest.raises(OperatorError, match=r"the target has reporting.blotter, .* that publish did not make"):
        published(booking.database, booking.database)


def test_a_row_that_somebody_wrote_into_the_target_stops_publishing_with_a_sentence(booking, target):
    booking.book(a_raw_message())
    published(booking.database, target)
    change(target, "INSERT INTO reporting.trade_leg_version (feed, trade_id, version, leg_no) VALUES (:f, 'T2', 1, 1)",
           f=booking.feed.name)  # fmt: skip
    booking.book(a_raw_message(tradeId="T2"))

    with pytest.raises(Exception, match="the target: the database refuses the content .* duplicate key"):
        published(booking.database, target)

    assert value(target, "SELECT change_seq FROM reporting.published") == 1


def test_a_book_restored_from_a_backup_is_refused(postgres, booking, target):
    versions_of_one_trade(booking)
    published(booking.database, target)
    before = seen(target)
    with postgres.database() as url:
        restored = Database(url)
        other = Booking(restored)
        other.book(a_raw_message())
        with pytest.raises(OperatorError, match="has changes up to 5, and the book ends at 1: the book was restored"):
            published(restored, target)
        versions_of_one_trade(other)  # as many changes again, and others
        with pytest.raises(OperatorError, match="the book was restored from a backup, or is another one"):
            published(restored, target)
        with pytest.raises(OperatorError, match="the book was restored from a backup"):
            Verifier(restored, target, schema="reporting").verify()
        restored.close()

    assert seen(target) == before


def test_a_rebuild_fills_the_target_anew_and_goes_into_the_audit(stp_etl, booking, target):
    versions_of_one_trade(booking)
    published(booking.database, target)
    change(target, "DELETE FROM reporting.trade_version WHERE trade_id = 'S1'")
    stp_etl.environ["STP_ETL__PUBLISH__URL"] = address(target)

    unasked = stp_etl.process("publish", "--once", "--rebuild")
    done = stp_etl.process("publish", "--once", "--rebuild", "--reason", "somebody deleted", "--format", "json")

    assert (unasked.code, done.code, done.json) == (2, 0, {"versions": 5, "legs": 6, "change_seq": 5})
    assert seen(target) == seen(booking.database)
    assert rows(booking.database, "SELECT operator, deed, reason FROM reporting.audit") == [
        ("olga", "publish --rebuild", "somebody deleted")
    ]


def test_a_target_made_for_fewer_columns_is_refused_until_it_is_rebuilt(booking, target):
    versions_of_one_trade(booking)
    published(booking.database, target)
    change(target, "ALTER TABLE reporting.trade_version DROP COLUMN content_hash")

    with pytest.raises(OperatorError, match="trade_version lacks content_hash bytea: made by another version"):
        published(booking.database, target)

    publisher(booking.database, target).rebuild()
    published(booking.database, target)
    assert seen(target) == seen(booking.database)


def test_two_publishers_at_once_do_not_mix(booking, target):
    versions_of_one_trade(booking)
    publisher(booking.database, target).prepare()
    with target.connect() as connection:
        connection.exec_driver_sql("SELECT FROM reporting.published FOR UPDATE")
        with pytest.raises(DatabaseAwayError, match="the target: the database does not take work now .*lock"):
            published(booking.database, target)

    published(booking.database, target)
    assert seen(target) == seen(booking.database)


def test_without_a_target_in_the_settings_it_is_said_where_to_name_one(stp_etl):
    shown = stp_etl.process("publish", "--once")

    assert (shown.code, shown.out) == (2, "")
    assert "publish.url: is missing; name the database that is to be filled" in shown.err


def test_a_right_that_is_missing_is_said_of_the_target(postgres, booking, target):
    change(
        booking.database, "DO $$ BEGIN CREATE ROLE stp_poor LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    poor = Database(target.url.set(username="stp_poor", drivername="postgresql").render_as_string(hide_password=False))

    with pytest.raises(DatabaseRefusedError, match="^the target: the database says no .*permission denied"):
        published(booking.database, poor)

    poor.close()


def address(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


def position(target: Database) -> int:
    """Return up to which change the target has the book."""
    return int(value(target, "SELECT max(change_seq) FROM reporting.published"))


def publish_and_be_killed(stp_etl, target: Database, kills: int) -> None:
    """Run `stp-etl publish` again and again, and kill each at a random moment once it has copied something."""
    given = {**os.environ, **stp_etl.environ, "PYTHONPATH": str(ROOT), "STP_ETL__PUBLISH__BATCH_VERSIONS": "3"}
    for number in range(kills):
        before = position(target)
        command = [sys.executable, "-m", "etl.cli.main", "publish", "--interval", "0.1"]
        process = subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while position(target) == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.Random(number).uniform(0.0, 0.3))
        process.kill()
        process.wait()


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.nightly)])
def test_killed_again_and_again_while_trades_are_booked_it_copies_each_change_once(
    stp_etl, booking, target, kills, monkeypatch
):
    monkeypatch.setenv("STP_ETL__PUBLISH__URL", address(target))
    over = Event()

    def book_on() -> None:
        number = 0
        while not over.wait(0.02):
            number += 1
            booking.book(a_raw_message(tradeId=f"T{number % 100}", note=str(number)))

    booking.book(a_raw_message(tradeId="T0"))
    published(booking.database, target)
    desk = Thread(target=book_on)
    desk.start()
    try:
        publish_and_be_killed(stp_etl, target, kills)
    finally:
        over.set()
        desk.join()
    killed_at = position(target)
    as_left = stp_etl("verify", "--target", "--columns")
    done = published(booking.database, target)

    assert 1 < killed_at <= done.change_seq
    assert as_left.code == 0, as_left.err
    assert f"up to change {killed_at:,}" in as_left.err
    assert Verifier(booking.database, target, schema="reporting").verify(columns=True).days == []
    assert seen(target) == seen(booking.database)


def test_it_publishes_until_it_is_told_to_stop(stp_etl, booking, target):
    given = {**os.environ, **stp_etl.environ, "PYTHONPATH": str(ROOT), "STP_ETL__PUBLISH__URL": address(target)}
    command = [sys.executable, "-m", "etl.cli.main", "publish", "--interval", "0.1"]
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE) as process:
        try:
            booking.book(a_raw_message())
            for _ in range(600):
                if value(target, "SELECT to_regclass('reporting.published')") and rows(
                    target, "SELECT FROM reporting.trade"
                ):
                    break
                time.sleep(0.05)
            process.terminate()
            assert process.wait(120) == 0
            assert process.stdout is not None
            assert b"publish.published" in process.stdout.read()
        finally:
            process.kill()
    assert seen(target) == seen(booking.database)


@pytest.mark.skipif(not (DEBIAN / "initdb").exists(), reason=f"{DEBIAN} is not installed")
def test_a_target_of_another_version_of_postgres_gets_the_same(booking):
    versions_of_one_trade(booking)
    with debian() as server:
        older = Database(server.url)
        published(booking.database, older)

        assert value(older, "SELECT current_setting('server_version_num')::int / 10000") == 15
        assert seen(older) == seen(booking.database)
        found = Verifier(booking.database, older, schema="reporting").verify(columns=True)
        assert found.days == []
        older.close()


ALTERED = {
    "a version is missing": ("DELETE FROM reporting.trade_version WHERE trade_id = 'S1'", False,
                             [("trade_version", "S1", 1, None, "missing")]),
    "a leg is missing": ("DELETE FROM reporting.trade_leg_version WHERE trade_id = 'S1' AND leg_no = 2", False,
                         [("trade_leg_version", "S1", 1, 2, "missing")]),
    "a leg is extra": ("INSERT INTO reporting.trade_leg_version (feed, trade_id, version, leg_no, value_date,"
                       " change_seq, base_amount, term_amount) SELECT feed, 'S1', 1, 3, value_date, change_seq, 1, 1"
                       " FROM reporting.trade_leg_version WHERE trade_id = 'S1' AND leg_no = 1", False,
                       [("trade_leg_version", "S1", 1, 3, "extra")]),
    "an amount is altered": ("UPDATE reporting.trade_leg_version SET base_amount = base_amount + 0.01"
                             " WHERE trade_id = 'T2'", False, [("trade_leg_version", "T2", 1, 1, "other")]),
    "a hash is altered": ("UPDATE reporting.trade_version SET content_hash = '\\x00' || substr(content_hash, 2)"
                          " WHERE trade_id = 'T2'", False, [("trade_version", "T2", 1, None, "other")]),
    "another column is altered": ("UPDATE reporting.trade_version SET counterparty = 'X' WHERE trade_id = 'T2'", True,
                                  [("trade_version", "T2", 1, None, "other")]),
    "a day is altered": ("UPDATE reporting.trade_version SET trade_date = trade_date + 1 WHERE trade_id = 'T2'", False,
                         [("trade_version", "T2", 1, None, "missing"), ("trade_version", "T2", 1, None, "extra")]),
}  # fmt: skip


@pytest.mark.parametrize("fault", ALTERED)
def test_verify_names_each_row_that_differs(booking, target, fault):
    deed, columns, differing = ALTERED[fault]
    versions_of_one_trade(booking)
    published(booking.database, target)
    change(target, deed.replace("%", "%%"))

    found = Verifier(booking.database, target, schema="reporting").verify(columns=columns)

    assert [(each.table, each.trade_id, each.version, each.leg_no, each.difference) for each in found.differing] == (
        differing
    )


@pytest.mark.parametrize("columns", [False, True])
def test_verify_compares_up_to_the_position_of_the_target(booking, target, columns):
    versions_of_one_trade(booking)
    published(booking.database, target)
    booking.book(a_raw_message(tradeId="T3"))

    found = Verifier(booking.database, target, schema="reporting").verify(columns=columns)

    assert (found.days, found.up_to, found.behind) == ([], 5, 1)
    assert found.rows == {"trade_version": 5, "trade_leg_version": 6}


def test_verify_says_what_differs_and_ends_with_3(stp_etl, booking, target):
    versions_of_one_trade(booking)
    stp_etl.environ["STP_ETL__PUBLISH__URL"] = address(target)
    early = stp_etl.process("verify", "--target")
    published(booking.database, target)
    equal = stp_etl.process("verify", "--target")
    change(target, "DELETE FROM reporting.trade_version WHERE trade_id = 'S1'")
    other = stp_etl.process("verify", "--target", "--format", "json")
    elsewhere = stp_etl.process("verify", "--target", "--from", "2026-01-01")

    assert (early.code, early.err) == (1, "stp-etl: the target holds nothing yet; run: stp-etl publish --once\n")
    assert (equal.code, equal.out) == (0, "")
    assert equal.err == "equal: 5 of trade_version, 6 of trade_leg_version, up to change 5\n"
    assert (other.code, [(row["trade_id"], row["difference"]) for row in other.json]) == (3, [("S1", "missing")])
    assert "trade_version, feed " in other.err
    assert ", 2023-06-02: 5 rows in the book, 4 there\n1 row differs on 1 day: " in other.err
    assert elsewhere.code == 0
    nothing = "nothing to compare: neither the book nor the target has a row from 2026-01-01, up to change 5\n"
    assert elsewhere.err == nothing


def test_a_database_of_the_book_that_is_away_is_not_called_the_target(booking, target):
    gone = Database("postgresql://postgres@127.0.0.1:1/postgres")

    with pytest.raises(DatabaseAwayError, match="^the database cannot be reached: .*check database.url"):
        published(gone, target)

    gone.close()
