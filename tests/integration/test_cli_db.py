"""`stp-etl db`: the schema, the rights, and a shell that keeps the password to itself."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.errors import DatabaseRefusedError
from etl.store import schema
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from tests.builders import a_raw_message
from tests.commands import ROOT, CommandLine
from tests.databases import EMPTY, change, embedded, folder, value
from tests.desk import Desk


@pytest.fixture
def on_nothing(postgres, tmp_path, monkeypatch, capfd):
    """The command line on a database without a schema."""
    with postgres.database(EMPTY) as url:
        yield CommandLine(url, tmp_path, monkeypatch, capfd)


def test_an_upgrade_says_from_where_to_where_and_is_done_once(on_nothing):
    before = on_nothing("db", "check")
    first = on_nothing.process("db", "upgrade")
    second = on_nothing("db", "upgrade")

    head = schema.expected_revision()
    assert (before.code, first.code, second.code) == (3, 0, 0)
    assert "the database has no schema yet; run: stp-etl db upgrade" in before.err
    assert first.err == f"the schema was at nothing and is at {head}\n"
    assert second.err == f"already at {head}\n"
    assert on_nothing("db", "check").code == 0


def test_commands_on_a_database_without_schema_say_what_to_run(on_nothing):
    shown = on_nothing("trades", "list")

    assert (shown.code, shown.err) == (1, "stp-etl: the database has no schema yet; run: stp-etl db upgrade\n")


def test_a_check_shows_what_trades_are_trusted_to(stp_etl):
    shown = stp_etl.process("db", "check", "--format", "json")

    assert shown.code == 0
    assert (shown.json["sound"], shown.json["server"]["fsync"]) == (True, "on")


def test_a_server_that_forgets_commits_is_not_sound(stp_etl, postgres, database_url):
    postgres.run(f'ALTER DATABASE "{make_url(database_url).database}" SET synchronous_commit = off')

    shown = stp_etl.process("db", "check", "--format", "json")

    assert (shown.code, shown.json["sound"]) == (3, False)
    assert "it may forget trades that the vendor will not send again" in shown.err


def test_a_database_that_is_away_is_a_sentence(stp_etl):
    shown = stp_etl.process("db", "check", STP_ETL__DATABASE__URL="postgresql://postgres@127.0.0.1:1/postgres")

    assert shown.code == 1
    assert "the database cannot be reached" in shown.err


def test_grants_can_be_read_before_they_are_run(stp_etl, postgres):
    printed = stp_etl.process("db", "grants", "--print", "--daemon-role", 'odd"role')
    done = stp_etl("db", "grants")

    assert (printed.code, done.code) == (0, 0)
    assert 'GRANT USAGE ON SCHEMA reporting TO "stp_reporting";' in printed.out
    (insert_only,) = re.findall(r'(?m)^GRANT INSERT ON (.*) TO "odd""role";$', printed.out)
    assert {"stp.answer", "stp.audit", "stp.trade_leg", "stp.trade_version"} <= set(insert_only.split(", "))
    assert "nothing was run" in printed.err
    assert stp_etl("db", "grants", "--daemon-role", "nobody_there").code == 1


BEYOND_ITS_RIGHTS = (
    "CREATE TABLE stp.more ()",
    "CREATE TABLE public.more ()",
    "DROP TABLE stp.answer",
    "DROP VIEW reporting.trade",
    "DROP SCHEMA stp CASCADE",
    "UPDATE stp.answer SET body = ''",
    "UPDATE stp.trade_version SET live = false",
    "UPDATE stp.trade_leg SET base_amount = 0",
    "UPDATE stp.audit SET operator = 'somebody'",
    "ALTER TABLE stp.answer DISABLE TRIGGER ALL",
    "ALTER TABLE stp.answer OWNER TO CURRENT_USER",
    "CREATE OR REPLACE FUNCTION stp.timeline() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "SET session_replication_role = 'replica'",  # under which no trigger fires
    "UPDATE stp.alembic_version SET version_num = '0001'",
    "COPY stp.answer TO PROGRAM 'cat'",
    "CREATE ROLE another SUPERUSER",
)


def test_the_role_of_the_daemon_can_poll_and_book_and_not_rewrite(stp_etl, desk, database_url, role):
    assert stp_etl("db", "grants", "--daemon-role", role).code == 0
    daemon = Database(make_url(database_url).set(username=role).render_as_string(hide_password=False))

    Desk(daemon, work_on(daemon), desk.clock).land(a_raw_message())
    change(daemon, "SELECT stp.make_partitions(current_date, 1)")

    for table in ("answer", "trade", "trade_version", "trade_leg", "audit", "recon_break", "exception_item"):
        for statement in (f"DELETE FROM stp.{table}", f"TRUNCATE stp.{table}"):
            with pytest.raises(DatabaseRefusedError):
                change(daemon, statement)
    for statement in BEYOND_ITS_RIGHTS:
        with pytest.raises(DatabaseRefusedError, match="42501"):  # not a mistake in the statement: the right is missing
            change(daemon, statement)
    daemon.close()


def test_an_upgrade_can_give_the_daemon_its_rights(stp_etl, desk, database_url, role):
    unknown = stp_etl("db", "upgrade", "--daemon-role", "nobody_there")
    done = stp_etl.process("db", "upgrade", "--daemon-role", role)

    assert (unknown.code, done.code) == (1, 0)
    assert "there is no role nobody_there; make it first" in unknown.err
    assert f"the role {role} may poll and book" in done.err
    daemon = Database(make_url(database_url).set(username=role).render_as_string(hide_password=False))
    Desk(daemon, work_on(daemon), desk.clock).land(a_raw_message())
    daemon.close()


@pytest.mark.parametrize("words", [("upgrade",), ("grants",), ("retain",)])
def test_what_only_the_owner_may_do_names_the_owner(stp_etl, database, database_url, role, words):
    assert stp_etl("db", "grants", "--daemon-role", role).code == 0
    address = make_url(database_url).set(username=role).render_as_string(hide_password=False)

    done = stp_etl.process("db", *words, STP_ETL__DATABASE__URL=address)

    owner = value(database, "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'stp'")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"stp-etl: this is for the owner of the schema: {role} is not {owner}; set database.url, or database.url_file, "
        f"to an address with {owner} for this command\n"
    )


def test_a_right_to_delete_from_an_earlier_version_is_taken_back(stp_etl, database, database_url, role):
    change(database, f"GRANT ALL ON ALL TABLES IN SCHEMA stp TO {role}")

    assert stp_etl("db", "grants", "--daemon-role", role).code == 0

    daemon = Database(make_url(database_url).set(username=role).render_as_string(hide_password=False))
    with pytest.raises(DatabaseRefusedError, match="permission denied for table trade"):
        change(daemon, "DELETE FROM stp.trade")
    daemon.close()


def test_the_shell_is_psql_with_its_arguments(stp_etl, desk):
    desk.land(a_raw_message())

    shown = stp_etl.process("db", "shell", "-At", "-c", "SELECT trade_id FROM reporting.trade")
    typed = stp_etl.process("db", "shell", "--", "-At", stdin="SELECT 40 + 2;\n")

    assert (shown.code, shown.out) == (0, "FXI9369258100\n")
    assert typed.out == "42\n"
    assert stp_etl.process("db", "shell", "-c", "SELECT broken").code == 1


@pytest.mark.parametrize("place", ["user", "query"])
def test_the_shell_shows_no_password_in_the_process_list(stp_etl, database_url, place):
    url = make_url(database_url)
    secret = (
        url.set(password="correct-horse") if place == "user" else url.update_query_dict({"password": "correct-horse"})
    )
    address = secret.render_as_string(hide_password=False)
    shell = subprocess.Popen(
        [sys.executable, "-m", "etl.cli.main", "db", "shell", "-c", "SELECT pg_sleep(30), 'look here'"],
        env={**os.environ, **stp_etl.environ, "PYTHONPATH": str(ROOT), "STP_ETL__DATABASE__URL": address},
        stdout=subprocess.DEVNULL,
    )
    try:
        words = psql_under(shell.pid)
    finally:
        for child in children(shell.pid):
            os.kill(child, 15)
        shell.wait(timeout=120)

    assert "correct-horse" not in words
    assert "look here" in words


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def psql_under(pid: int) -> str:
    """Return the command line of the psql that the process started."""
    for _ in range(200):
        for child in children(pid):
            words = Path(f"/proc/{child}/cmdline").read_text()
            if "psql" in words:
                return words
        time.sleep(0.05)
    raise AssertionError("psql was not started")


def test_the_embedded_server_is_started_for_the_shell_and_stopped_after_it(stp_etl):
    with folder() as place:
        given = {"STP_ETL__DATABASE__URL": "", "STP_ETL__DATABASE__DATA_DIR": str(place / "pg")}

        upgraded = stp_etl.process("db", "upgrade", **given)
        shown = stp_etl.process("db", "shell", "-Atc", "SELECT count(*) FROM reporting.trade", **given)

        assert (upgraded.code, shown.code, shown.out) == (0, 0, "0\n")
        assert not (place / "pg" / "postmaster.pid").exists()


LED_AWAY = {
    "PGPORT": "55432", "PGHOST": "elsewhere", "PGHOSTADDR": "127.0.0.1", "PGUSER": "nobody", "PGDATABASE": "other",
    "PGOPTIONS": "-c default_transaction_read_only=on", "PGSERVICE": "elsewhere", "PGTARGETSESSIONATTRS": "standby",
}  # fmt: skip


def test_the_environment_of_libpq_does_not_lead_away_from_the_embedded_server(stp_etl):
    with embedded() as server:
        given = {"STP_ETL__DATABASE__URL": "", "STP_ETL__DATABASE__DATA_DIR": str(server.data_dir)}

        upgraded = stp_etl.process("db", "upgrade", **given, **LED_AWAY)
        shown = stp_etl.process("db", "shell", "-Atc", "SHOW transaction_read_only", **given, **LED_AWAY)

        assert (upgraded.code, upgraded.err.count("failed")) == (0, 0), upgraded.err
        assert (shown.code, shown.out) == (0, "off\n"), shown.err


def test_a_server_that_is_started_under_another_pgport_is_found_without_it(stp_etl):
    with folder() as place:
        given = {"STP_ETL__DATABASE__URL": "", "STP_ETL__DATABASE__DATA_DIR": str(place / "pg")}
        sockets = "SELECT string_agg(f, ' ') FROM pg_ls_dir('.') AS f WHERE f ~ '^.s.PGSQL.[0-9]+$'"

        shown = stp_etl.process("db", "shell", "-Atc", sockets, **given, PGPORT="55432")

        assert (shown.code, shown.out) == (0, ".s.PGSQL.5432\n"), shown.err
