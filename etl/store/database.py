"""The connection to Postgres, and what its errors mean to us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from etl.errors import (
    CommitUnknownError,
    ContentRefusedError,
    DatabaseAwayError,
    DatabaseRefusedError,
    EtlError,
    OperatorError,
)

OLDEST_POSTGRES = 140_000
USUALLY_NAMED = "database.url"
# Classes and codes of SQLSTATE (Postgres manual, appendix A).
# Connection, resources (disk full), shutdown and time-outs, system, rollback, object not ready, internal.
AWAY_CLASSES = ("08", "53", "57", "58", "40", "55", "XX")
AWAY_CODES = ("25006", "25P03", "25P04")  # read-only, and time-outs of an idle or long transaction
LOCK_TIMEOUT = "55P03"
CONTENT_CLASSES = ("22", "23", "54")  # data, integrity, program limits
REFUSED_WORDS = (
    "password",
    "authentication",
    "does not exist",
    "certificate",
    "pg_hba",
    "not permitted",
    "does not support SSL",
)
POOLERS_WORDS = ("unsupported startup parameter", "statement pooling mode")


def translated(error: BaseException, named: str = USUALLY_NAMED) -> EtlError:
    """Return our error for one of the database's, by what has to happen next; `named` is the setting of its address."""
    original = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "sqlstate", None) or ""
    sentence = str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
    unsendable = not state and isinstance(original, psycopg.DataError | UnicodeEncodeError)  # NUL, lone surrogates
    unsendable = unsendable or "number of parameters" in sentence
    if unsendable or state.startswith(CONTENT_CLASSES):
        return ContentRefusedError(f"the database refuses the content ({state or 'text'}): {sentence}")
    if any(word in sentence for word in POOLERS_WORDS):
        return DatabaseRefusedError(
            f"a pooler stands between us and Postgres ({sentence}); let {named} name Postgres itself, or a pool "
            "with pool_mode = session that passes the connection's options on"
        )
    if state.startswith(AWAY_CLASSES) or state in AWAY_CODES:
        again = "; somebody holds what this needs: try again" if state == LOCK_TIMEOUT else ""
        return DatabaseAwayError(f"the database does not take work now ({state}): {sentence}{again}")
    lost = isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | PoolTimeoutError)
    broken = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost and not state and (broken or not any(word in sentence for word in REFUSED_WORDS)):
        return DatabaseAwayError(f"the database cannot be reached: {sentence}; check {named} and that it runs")
    if state.startswith("28") or "password" in sentence or "authentication" in sentence:
        return DatabaseRefusedError(f"the database refuses the log-in: {sentence}; check {named}")
    lacking = (
        "; a right is missing: have the owner run stp-etl db grants --daemon-role ROLE" if state == "42501" else ""
    )
    return DatabaseRefusedError(f"the database says no ({state or 'connect'}): {sentence}{lacking}")


@contextmanager
def translating(named: str = USUALLY_NAMED) -> Iterator[None]:
    """Raise our errors in place of the database's."""
    try:
        yield
    except (DBAPIError, psycopg.Error, PoolTimeoutError, UnicodeEncodeError) as error:
        raise translated(error, named) from error


def commit(connection: Connection) -> None:
    """Commit; raise CommitUnknownError where the connection was lost before the reply.

    Nobody can know then whether the work was kept; the caller looks before it repeats anything.
    """
    try:
        connection.commit()
    except (DBAPIError, psycopg.Error) as error:
        ours = translated(error)
        state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
        if isinstance(ours, DatabaseAwayError) and (not state or state.startswith(("08", "57"))):
            raise CommitUnknownError(f"the reply to COMMIT was lost: {ours}") from error
        raise ours from error


class Database:
    """One Postgres database: makes connections; knows nothing of what is in it."""

    def __init__(
        self, url: str, *, connect_timeout_s: int = 5, statement_timeout_s: int = 60, pool_size: int = 10,
        url_now: Callable[[], str] | None = None, named: str = USUALLY_NAMED,
    ) -> None:  # fmt: skip
        """Take the address; `url_now` tells it anew for each connection, so that its password may be rotated.

        `named` is the setting that it stands in, for what a person is told to check.
        """
        self.named = named
        self.connect_timeout_s, self.statement_timeout_s = connect_timeout_s, statement_timeout_s
        self.url, self._url_now = _address(url), url_now
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=connect_timeout_s,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # see _undo
            connect_args={
                "connect_timeout": connect_timeout_s,
                "application_name": "stp-etl",
                "client_encoding": "utf8",
                "options": f"-c statement_timeout={statement_timeout_s * 1000} -c timezone=UTC",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )

        event.listen(self.engine, "reset", _undo)
        if url_now is not None:
            event.listen(self.engine, "do_connect", lambda _d, _r, _a, given: self._log_in_as_now(given))

    @property
    def url_now(self) -> str:
        """The address as whoever logs in now needs it: with the password of now, in plain text."""
        given: dict[str, Any] = {}
        self._log_in_as_now(given)
        now = _without_password(self.url).set(**given) if given else self.url
        return now.render_as_string(hide_password=False)

    def _log_in_as_now(self, given: dict[str, Any]) -> None:
        """Log in with the password of now; with the one before where it cannot be read, or the address is another."""
        if self._url_now is None:
            return
        try:
            now = _address(self._url_now())
        except OperatorError:  # half written; the next connection looks again
            return
        password = password_of(now)
        if password is not None and _without_password(now) == _without_password(self.url):
            given["password"] = password

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend a connection; whatever was not committed is undone. Database errors come out as ours."""
        with translating(self.named), self.engine.connect() as connection:
            yield connection

    def check_server(self) -> None:
        """Raise OperatorError when the server is too old, may forget what it committed, or cannot hold every letter.

        That is law 4; and a database of another encoding than UTF8 refuses or twists names that the vendor sends.
        """
        with self.connect() as connection:
            version, fsync, commits, encoding = connection.execute(
                text(
                    "SELECT current_setting('server_version_num')::int, current_setting('fsync'),"
                    " current_setting('synchronous_commit'), current_setting('server_encoding')"
                )
            ).one()
        if encoding != "UTF8":
            raise OperatorError(
                f"the database is encoded in {encoding}, and holds not every letter that the vendor may send; make it "
                "anew: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
            )
        if version < OLDEST_POSTGRES:
            raise OperatorError(f"Postgres {version // 10_000} is too old; 14 or newer is needed, 15 to 18 are tested")
        if fsync == "off" or commits == "off":
            raise OperatorError(
                f"Postgres runs with fsync={fsync}, synchronous_commit={commits}: it may forget trades that the vendor "
                "will not send again; switch both on"
            )

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def password_of(address: URL) -> str | None:
    """Return the password in an address, wherever it stands there."""
    in_query = address.query.get("password")
    return address.password or (in_query if isinstance(in_query, str) else None)


def _undo(connection: Any, record: ConnectionPoolEntry | None, state: PoolResetState) -> None:
    """Undo what a connection has begun that comes back to the pool; a lost one has nothing to undo and is let go.

    The pool's own way logs each lost one as an error with its traceback; whoever used it says that in our words.
    """
    if state.transaction_was_reset:
        return
    try:
        connection.rollback()
    except psycopg.OperationalError as error:
        if not connection.closed:
            raise
        if record is not None:
            record.invalidate(error)


def _without_password(address: URL) -> URL:
    return address.set(password="").difference_update_query(["password"])


def _address(url: str) -> URL:
    """Return the address of a Postgres database in parts; raise OperatorError where it is none."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # its words may hold the password
        raise OperatorError(
            "database.url cannot be read as an address; write it as postgresql://user@host:5432/database"
        ) from None
    if address.get_backend_name() != "postgresql":
        raise OperatorError("database.url must begin with postgresql://")
    return address.set(drivername="postgresql+psycopg")
