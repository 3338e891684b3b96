"""The daemon, from the command line."""

from __future__ import annotations

import sys
from dataclasses import replace

import typer

from etl import daemon, log
from etl.app import App
from etl.cli.context import Invocation, invocation
from etl.config import Settings

cli = typer.Typer(add_completion=False)


@cli.command("run", epilog="Example: stp-etl --config /etc/stp-etl/stp-etl.toml run")
def run(context: typer.Context) -> None:
    """Poll, land and book every feed until SIGTERM; what is in hand then is landed and booked first.

    SIGHUP reads the settings again; what needs a restart is named in the log. Logs to stdout: JSON lines, or readable
    ones on a terminal. Runs in the foreground; systemd or Kubernetes keep it.
    """
    given = invocation(context)
    settings = as_called(given, given.settings)
    settings.required_feeds()
    log.configure(settings.ops.log_level, settings.ops.log_format, sys.stdout)
    with App(settings) as app:
        daemon.run(app, lambda: as_called(given, given.read_settings()))


def as_called(given: Invocation, settings: Settings) -> Settings:
    """Return the settings with what the command line sets over them."""
    if not given.debug:
        return settings
    return replace(settings, ops=settings.ops.model_copy(update={"log_level": "debug"}))
