"""The daemon, from the command line."""

from __future__ import annotations

import sys

import typer

from etl import daemon, log
from etl.app import App
from etl.cli.context import invocation

cli = typer.Typer(add_completion=False)


@cli.command("run", epilog="Example: stp-etl --config /etc/stp-etl/stp-etl.toml run")
def run(context: typer.Context) -> None:
    """Poll, land and book every feed until SIGTERM; what is in hand then is landed and booked first.

    Logs to stdout: JSON lines, or readable ones on a terminal. Runs in the foreground; systemd or Kubernetes keep it.
    """
    given = invocation(context)
    settings = given.settings
    settings.required_feeds()
    log.configure("debug" if given.debug else settings.ops.log_level, settings.ops.log_format, sys.stdout)
    with App(settings) as app:
        daemon.run(app)
