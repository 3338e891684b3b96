"""The pages of the daemon, joined with what they tell about."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from etl.app import App
from etl.config import Secret
from etl.config.settings import keys_of
from etl.errors import OperatorError
from etl.ops.build import installed_version
from etl.ops.health import Health, Probe
from etl.ops.server import Pages, listening
from etl.store import grants, schema
from etl.store.repositories.figures import FeedFigures


@contextmanager
def pages(app: App, heartbeat_s: float) -> Iterator[Pages]:
    """Serve the pages while the block lasts. Raises OSError with a sentence where ops.listen cannot be used.

    They are there before the database is, and as long as the daemon stops.
    """
    bound = listening(app.settings.ops.listen_host, app.settings.ops.listen_port)
    app.database.url  # noqa: B018  made here, by the main thread: the pages must not start an embedded server
    checks = {"database": lambda: _database(app), "schema": lambda: _schema(app), "settings": lambda: _settings(app)}
    health = Health(
        app.beats, app.clock, Probe(checks, app.clock), heartbeat_s=heartbeat_s,
        is_stale=partial(_is_stale, app), feeds=app.leads, figures=lambda: _figures(app),
    )  # fmt: skip
    version = {
        "version": installed_version(),
        "python": platform.python_version(),
        "schema": schema.expected_revision(),
        "settings": app.settings.settings_hash(),
        "started_at": app.clock.now().isoformat(),
    }
    with Pages(bound, health, version) as served:
        yield served


def _figures(app: App) -> tuple[FeedFigures, ...]:
    return app.gauges.latest.feeds if app.gauges.latest is not None else ()


def _is_stale(app: App, last_good_at: datetime, now: datetime) -> bool:
    """Return whether a feed whose last good poll was then is stale, by the hours of the market."""
    return app.trading_hours.is_stale(last_good_at, now, app.settings.ops.stale_after_s)


def _database(app: App) -> str:
    app.database.check_server()
    with app.database.connect() as connection:
        if grants.server_settings(connection)["transaction_read_only"] == "on":
            raise OperatorError(
                "the database takes no writes, so nothing is pulled; let database.url name the primary, and look for "
                "default_transaction_read_only"
            )
    return "answers, and forgets nothing"


def _schema(app: App) -> str:
    with app.database.connect() as connection:
        schema.check(connection)
        return f"at {schema.current_revision(connection)}"


def _settings(app: App) -> str:
    """Raise OperatorError where a secret cannot be read any more, such as one that is half written."""
    for _, value in keys_of(app.settings):
        if isinstance(value, Secret):
            value.reveal()
    return "every secret can be read"
