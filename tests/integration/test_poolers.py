"""A pooler between us and Postgres: one that lends server connections by transaction is refused in one sentence."""

import pytest

from etl.errors import DatabaseRefusedError, OperatorError
from etl.store.database import Database
from etl.store.sessions import check_sessions
from tests.databases import folder
from tests.poolers import pgbouncer

IGNORED = {"ignore_startup_parameters": "options,extra_float_digits"}
BY_TRANSACTION = "lends its server connections for one transaction at a time"


@pytest.fixture
def through(database_url):
    """Open the database through a pgbouncer with given settings."""
    with folder() as place:
        opened = []

        def connected(**settings):
            pooler = pgbouncer(database_url, place, **settings)
            database = Database(pooler.__enter__())
            opened.append((database, pooler))
            return database

        yield connected
        for database, pooler in opened:
            database.close()
            pooler.__exit__(None, None, None)


@pytest.mark.parametrize("servers", [1, 2, 20])
@pytest.mark.parametrize("in_turn", [0, 1])
def test_a_pooler_by_transaction_is_refused_however_many_servers_it_has(through, servers, in_turn):
    database = through(pool_mode="transaction", default_pool_size=servers, server_round_robin=in_turn, **IGNORED)

    with pytest.raises(OperatorError, match=BY_TRANSACTION):
        check_sessions(database)


def test_a_pooler_that_does_not_know_our_options_is_refused_with_a_sentence(through):
    database = through(pool_mode="transaction")

    with pytest.raises(DatabaseRefusedError, match="a pooler stands between us and Postgres .*startup parameter"):
        check_sessions(database)


def test_a_pooler_by_session_that_drops_our_options_is_refused(through):
    with pytest.raises(OperatorError, match=r"statement_timeout is 0 ms and we asked for 60 s: .*drops"):
        check_sessions(through(pool_mode="session", **IGNORED))


def test_a_pooler_by_statement_is_refused_with_a_sentence(through):
    with pytest.raises(OperatorError, match="pooler"):
        check_sessions(through(pool_mode="statement", **IGNORED))


def test_postgres_itself_is_taken(database):
    check_sessions(database)


def test_the_daemon_and_a_poll_end_with_that_sentence(through, stp_etl, monkeypatch):
    database = through(pool_mode="transaction", **IGNORED)
    monkeypatch.setenv("STP_ETL__DATABASE__URL", database.url.render_as_string(hide_password=False))

    poll, status = stp_etl("poll"), stp_etl("status")

    assert (poll.code, BY_TRANSACTION in poll.err) == (1, True), poll.err
    assert status.code == 3
    assert "Traceback" not in poll.err + status.err
