"""`stp-etl publish`: the book taken over by another Postgres."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import structlog
import typer

from etl import log as logging
from etl.app import App
from etl.cli.context import Invocation, invocation
from etl.cli.options import reason_given
from etl.cli.output import Format, FormatOption, show_card
from etl.config import Settings
from etl.controls.publish import Publisher
from etl.errors import ConfigError, TransientError
from etl.store.database import Database
from etl.store.repositories.attention import Deed

cli = typer.Typer(add_completion=False)

log = structlog.get_logger()


@cli.command("publish", epilog="Example: stp-etl publish --once")
def publish(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Copy all that is new, and end.")] = False,
    interval: Annotated[
        float | None, typer.Option("--interval", min=0.1, help="Seconds between looks; else publish.interval_s.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Empty the target first and fill it anew.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why it is rebuilt; kept in the audit log.")] = "",
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Keep the tables of the reports in another Postgres (publish.url) up to date: every version of every trade.

    Copies in batches, each with its position in one transaction of the target, so it may be killed at any time and goes
    on where it was. Runs until SIGTERM unless told --once.
    """
    if rebuild:
        reason = reason_given(reason)
    given = invocation(context)
    settings = given.database_settings
    with App(settings) as app:
        app.check_database()
        target = target_database(settings)
        try:
            publisher = publisher_of(app, target)
            if rebuild:
                publisher.rebuild()
                record_rebuild(app, given, reason)
            if once:
                publisher.prepare()
                done = publisher.publish()
                show_card({"versions": done.versions, "legs": done.legs, "change_seq": done.change_seq}, fmt)
            else:
                logging.configure(
                    "debug" if given.debug else settings.ops.log_level, settings.ops.log_format, sys.stdout
                )
                publish_until_stopped(app, publisher, interval or settings.publish.interval_s)
        finally:
            target.close()


def target_database(settings: Settings) -> Database:
    """Return the database that is to be filled; raise ConfigError where none is set."""
    url = settings.publish.url
    if url is None:
        raise ConfigError(["publish.url: is missing; name the database that is to be filled, see config/stp-etl.toml"])
    timeout_s = int(settings.database.connect_timeout_s)
    return Database(url.reveal(), connect_timeout_s=timeout_s, pool_size=2, url_now=url.reveal)


def publisher_of(app: App, target: Database) -> Publisher:
    """Return what copies the book to the target."""
    given = app.settings.publish
    return Publisher(app.database, target, app.clock, schema=given.schema_name, batch=given.batch_versions)


def record_rebuild(app: App, given: Invocation, reason: str) -> None:
    """Keep in the audit log that the target was emptied."""
    subject = app.settings.publish.schema_name
    with app.open_work() as work:
        work.attention.record(Deed(app.clock.now(), given.operator, "publish --rebuild", reason, subject=subject))
        work.commit()


def publish_until_stopped(app: App, publisher: Publisher, interval_s: float) -> None:
    """Copy what is new again and again; a database that is away is waited for."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        app.stop.set()  # the batch in hand is finished

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    prepared = False
    while True:
        try:
            if not prepared:
                publisher.prepare()
                prepared = True
            publisher.publish(app.stop)
        except TransientError as error:
            log.warning("publish.waits", error=str(error), next_try_s=interval_s)
        if app.clock.wait(app.stop, interval_s):
            return
