"""What the database's errors mean to us, and which servers are refused."""

from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import OperationalError

from etl.errors import ContentRefusedError, DatabaseAwayError, DatabaseRefusedError, OperatorError
from etl.store.database import Database, translated
from tests.databases import SETTINGS, change, embedded

ADD_TRADE = "INSERT INTO stp.trade (feed_id, trade_id, version, first_landed_at) VALUES (1, 'T1', 1, now())"


def failure_of(url: str | URL) -> Exception:
    database = Database(url if isinstance(url, str) else url.render_as_string(hide_password=False))
    with pytest.raises(Exception, match=r".") as found, database.connect():
        pass
    database.close()
    return found.value


@pytest.fixture(scope="module")
def guarded():
    """A server that asks for alice's password."""
    with embedded() as server:
        rules = Path(server.data_dir) / "pg_hba.conf"
        rules.write_text("local all alice scram-sha-256\nlocal all mallory reject\nlocal all all trust\n")
        database = Database(server.url)
        change(database, "CREATE ROLE alice LOGIN PASSWORD 'right'")
        change(database, "CREATE ROLE nologin NOLOGIN")
        change(database, "SELECT pg_reload_conf()")
        database.close()
        yield make_url(server.url)


def test_a_wrong_password_is_a_refusal_that_names_the_setting_and_not_the_password(guarded):
    error = failure_of(guarded.set(username="alice", password="wrong-one"))

    assert type(error) is DatabaseRefusedError
    assert "refuses the log-in" in str(error)
    assert "check database.url" in str(error)
    assert "wrong-one" not in str(error)


def test_the_right_password_is_let_in(guarded):
    database = Database(guarded.set(username="alice", password="right").render_as_string(hide_password=False))
    with database.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == "alice"
    database.close()


@pytest.mark.parametrize("half_written", ["", "postgresql", "postgresql://alice@elsewhere/other"])
def test_each_connection_is_made_with_the_password_of_now_and_a_half_written_address_is_left_aside(
    guarded, half_written
):
    told = [address(guarded, "right"), half_written, address(guarded, "wrong-one"), address(guarded, "right")]

    def url_now():
        if not told[0]:
            raise OperatorError("secret file url: is empty")
        return told[0]

    database = Database(address(guarded, "right"), url_now=url_now)
    for taken in (True, True, False, True):
        database.engine.dispose()
        if taken:
            with database.connect() as connection:
                assert connection.execute(text("SELECT current_user")).scalar_one() == "alice"
        else:
            with pytest.raises(DatabaseRefusedError, match="refuses the log-in"), database.connect():
                pass
        told.pop(0)
    database.close()


def test_the_address_of_now_lets_another_process_in(guarded):
    rotated = Database(address(guarded, "of yesterday"), url_now=lambda: address(guarded, "right"))
    in_the_query = guarded.set(username="alice").update_query_dict({"password": "of yesterday"})
    queried = Database(
        in_the_query.render_as_string(hide_password=False),
        url_now=lambda: in_the_query.update_query_dict({"password": "right"}).render_as_string(hide_password=False),
    )
    for database in (rotated, queried, Database(address(guarded, "right"))):
        other = Database(database.url_now)
        with other.connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar_one() == "alice"
        other.close()


def address(guarded, password):
    return guarded.set(username="alice", password=password).render_as_string(hide_password=False)


@pytest.mark.parametrize("role", ["nobody_we_know", "nologin", "mallory"])
def test_a_role_that_may_not_log_in_is_a_refusal(guarded, role):
    error = failure_of(guarded.set(username=role))

    assert type(error) is DatabaseRefusedError
    assert role in str(error)


def test_an_unknown_database_is_a_refusal(postgres):
    error = failure_of(postgres.url_of("no_such_database"))

    assert type(error) is DatabaseRefusedError
    assert 'database "no_such_database" does not exist' in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@127.0.0.1:1/postgres",
        "postgresql://postgres@/postgres?host=/tmp/there-is-no-such-folder",
        "postgresql://postgres@no-such-host.invalid/postgres",
    ],
)
def test_no_server_means_away(url):
    error = failure_of(url)

    assert type(error) is DatabaseAwayError
    assert "cannot be reached" in str(error)
    assert "check database.url" in str(error)


def test_a_read_only_database_is_away_and_may_come_back(database):
    with pytest.raises(DatabaseAwayError, match=r"does not take work now \(25006\)"):
        change(database, f"SET TRANSACTION READ ONLY; {ADD_TRADE}")


def test_the_same_key_twice_is_content_that_is_refused(database):
    change(database, ADD_TRADE)

    with pytest.raises(ContentRefusedError, match="refuses the content .23505."):
        change(database, ADD_TRADE)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("SELECT CAST(:given AS text)", {"given": "\0"}),
        ("SELECT CAST(:given AS text)", {"given": "\ud800"}),
        ("SELECT CAST(:given AS numeric)", {"given": "none"}),
        ("INSERT INTO stp.known_field (feed_id, name, first_seen_at, message_id) VALUES (7, 'x', now(), 1)", {}),
        ("INSERT INTO stp.change_counter (id, change_seq) VALUES (2, 1)", {}),
    ],
)
def test_bad_values_are_content_that_is_refused(database, statement, values):
    with pytest.raises(ContentRefusedError):
        change(database, statement, **values)


def test_a_missing_table_is_a_refusal(database):
    with pytest.raises(DatabaseRefusedError, match=r"says no \(42P01\).*no_such_table"):
        change(database, "SELECT * FROM stp.no_such_table")


def test_a_connection_ended_by_the_server_means_away(database):
    with pytest.raises(DatabaseAwayError):
        change(database, "SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_statement_that_takes_too_long_means_away(database_url):
    impatient = Database(database_url, statement_timeout_s=1)

    with pytest.raises(DatabaseAwayError, match="57014"):
        change(impatient, "SELECT pg_sleep(5)")

    impatient.close()


def test_a_lock_that_is_not_given_means_away(database, connection):
    connection.execute(text("LOCK TABLE stp.trade"))

    with pytest.raises(DatabaseAwayError, match="55P03.*lock timeout; somebody holds what this needs: try again"):
        change(database, f"SET LOCAL lock_timeout = '50ms'; {ADD_TRADE}")


def test_the_error_of_the_driver_stays_as_the_cause(database):
    change(database, ADD_TRADE)

    with pytest.raises(ContentRefusedError) as found:
        change(database, ADD_TRADE)

    assert "duplicate key" in str(found.value.__cause__)


def test_an_error_without_words_is_still_named():
    assert "Exception" in str(translated(OperationalError("SELECT", {}, Exception())))


def test_work_that_was_not_committed_is_undone(database):
    with database.connect() as connection:
        connection.execute(text(ADD_TRADE))

    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM stp.trade")).scalar_one() == 0


def test_a_database_shows_its_address_without_the_password():
    shown = repr(Database("postgresql://alice:hunter2@db.test/stp"))

    assert "db.test" in shown
    assert "hunter2" not in shown


def test_another_kind_of_database_is_refused():
    with pytest.raises(OperatorError, match="must begin with postgresql://"):
        Database("sqlite:///trades.db")


def test_law_4_a_durable_server_is_accepted(database):
    database.check_server()


def test_law_4_a_server_that_may_forget_on_a_crash_is_refused():
    with embedded(settings=f"{SETTINGS} -c fsync=off") as forgetful:
        database = Database(forgetful.url)

        with pytest.raises(OperatorError, match=r"fsync=off.*it may forget trades.*switch both on"):
            database.check_server()

        database.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_letter_is_refused(database, database_url, encoding):
    name = f"{make_url(database_url).database}_{encoding.lower()}"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    narrow = Database(make_url(database_url).set(database=name).render_as_string(hide_password=False))

    with pytest.raises(OperatorError, match=f"encoded in {encoding}.*CREATE DATABASE name ENCODING 'UTF8'"):
        narrow.check_server()

    narrow.close()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


def test_law_4_commits_that_do_not_wait_for_the_disk_are_refused(database, database_url):
    name = make_url(database_url).database
    change(database, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    hasty = Database(database_url)

    with pytest.raises(OperatorError, match="synchronous_commit=off"):
        hasty.check_server()

    hasty.close()
