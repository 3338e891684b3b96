"""What `stp-etl doctor` looks at in the database: server, schema, rights, who leads, and which database it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from etl.app import App
from etl.cli.checks import Check, fail, ok, room, warn
from etl.cli.output import instant
from etl.errors import DatabaseRefusedError, EtlError, OperatorError
from etl.store import schema
from etl.store.repositories.feeds import Identity
from etl.store.sessions import check_sessions
from etl.store.unit_of_work import UnitOfWork

CLOCKS_AGREE_S = 5.0
GRANT = "as the owner of the schema: stp-etl db grants --daemon-role ROLE"
LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


def of_database(app: App) -> Iterator[Check]:
    """Yield how the database is; the rest is left out where it cannot be reached or has another schema."""
    try:
        app.database.check_server()
    except EtlError as error:
        yield fail("database", str(error), "nothing is asked of the vendor before that is right")
        return
    yield from _tried("pooler", _sessions, app)
    with app.open_work() as work:
        yield from _tried("database", _server, app, work)
        if (fault := _schema_fault(app)) is not None:
            yield fault
            return
        yield ok("schema", f"revision {schema.expected_revision()}")
        yield from _tried("rights", _rights, app, work)
        yield from _tried("disk", _disk, app, work)
        for name in app.settings.feeds:
            yield from _feed(app, work, name)


def _tried(check: str, look: Callable[..., Iterable[Check]], *given: object) -> Iterator[Check]:
    try:
        yield from look(*given)
    except EtlError as error:
        yield fail(check, str(error), "see the sentence")


def _sessions(app: App) -> Iterator[Check]:
    try:
        check_sessions(app.database)
    except OperatorError as error:
        yield fail("pooler", str(error), "connect to Postgres itself")
    else:
        yield ok("pooler", "each connection is a session of its own")


def _server(app: App, work: UnitOfWork) -> Iterator[Check]:
    facts = work.checkup.server()
    seen = f"Postgres {facts.version}, fsync and synchronous_commit on"
    if facts.standby or facts.read_only:
        yield fail("database", f"{seen}; it takes no writes", "let database.url name the primary")
    elif facts.full_page_writes != "on":
        yield warn("database", f"{seen}; full_page_writes off", "switch it on unless the file system makes it needless")
    else:
        yield ok("database", seen)
    apart_s = abs((facts.now - app.clock.now()).total_seconds())
    if apart_s > CLOCKS_AGREE_S:
        yield warn("clock", f"the database's clock and ours are {apart_s:.0f} s apart", "synchronise both (NTP)")


def _schema_fault(app: App) -> Check | None:
    try:
        with app.database.connect() as connection:
            schema.check(connection)
    except DatabaseRefusedError as error:
        return fail("rights", str(error), GRANT)
    except EtlError as error:
        return fail("schema", str(error), "stp-etl db upgrade")
    return None


def _rights(_app: App, work: UnitOfWork) -> Iterator[Check]:
    if missing := work.checkup.missing_rights():
        yield fail("rights", f"not granted: {', '.join(missing)}", GRANT)
    elif work.checkup.may_change_landed():
        do = "let the daemon use a role of its own: stp-etl db grants --daemon-role ROLE"
        yield warn("rights", "all that is needed, and also to change what was landed (only a trigger refuses it)", do)
    else:
        yield ok("rights", "all that is needed, and none to change what was landed")
    months = work.checkup.months_of_partitions()
    if months < 2:
        yield warn(
            "partitions", f"for {months} months, this one included", "the daemon makes them; see its log for why"
        )
    else:
        yield ok("partitions", f"for {months} months, this one included")


def _disk(app: App, work: UnitOfWork) -> Iterator[Check]:
    url = app.database.url
    host = url.query.get("host", url.host or "")
    here = isinstance(host, str) and (host in LOOPBACK or host.startswith("/"))
    place = work.checkup.data_directory() if here else None
    if app.embedded is not None:
        yield room(app.embedded.data_dir, "data_dir")
    elif place is not None and Path(place).parent.is_dir():
        yield room(Path(place), "the server's data in")
    else:
        yield ok("disk", "the server's disk cannot be seen from here; watch it there")


def _feed(app: App, work: UnitOfWork, name: str) -> Iterator[Check]:
    number = next((number for number, known in work.feeds.names().items() if known == name), None)
    if number is None:
        yield ok("lease", "never polled", name)
        return
    wanted, known = Identity(*app.settings.feeds[name].identity), work.feeds.identity(number)
    if wanted != known:
        seen = f"the database knows user {known.user_name} of {known.organisation} at {known.base_url}"
        yield fail("identity", seen, f"another feed: another name; the same that moved: feeds rebind {name}", name)
    yield _leadership(work, number, name)
    yield _incarnation(work, number, name)
    org, strange = (
        app.settings.feeds[name].org,
        work.checkup.strange_organisations(number, app.settings.feeds[name].org),
    )
    if strange and not app.settings.feeds[name].own_orgs:
        seen = f"trades are booked for {', '.join(strange)}, and we log in to {org}: whose side is told is assumed"
        yield warn("own_orgs", seen, f"set feeds.{name}.own_orgs to the organisations that are ours, then rebook", name)


def _leadership(work: UnitOfWork, number: int, name: str) -> Check:
    found = work.checkup.leadership(number)
    paused = f"; paused: {found.paused_reason}" if found.paused_reason else ""
    if found.holder is None:
        return ok("lease", f"nobody leads{paused}", name)
    since = instant(found.taken_at) if found.taken_at else "?"
    if not found.locked:
        seen = f"{found.holder} led since {since} and is gone without a word"
        return warn("lease", seen, "start the daemon: stp-etl run", name)
    return ok("lease", f"{found.holder} leads since {since}, epoch {found.epoch}{paused}", name)


def _incarnation(work: UnitOfWork, number: int, name: str) -> Check:
    here, known = work.incarnations.here(), work.incarnations.known(number)
    if known is None or known == here:
        return ok("system identifier", str(here), name)
    if known.system_identifier == here.system_identifier:
        return warn(
            "system identifier", f"{here}; before {known}: a failover", "nothing, the next start opens a gap", name
        )
    do = f"restored: gaps open --feed {name} --restored-from INSTANT; nothing missing: feeds adopt-database {name}"
    return fail("system identifier", f"{here}; the feed was pulled into {known}", do, name)
