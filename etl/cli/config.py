"""`stp-etl config`: what the settings are, where they come from, and what is wrong with them."""

from __future__ import annotations

import typer

from etl.cli.context import invocation, noun
from etl.cli.output import Format, FormatOption, remark, show
from etl.domain.words import counted

cli = noun("Look at the settings and check them.")


@cli.command("show", epilog="Example: stp-etl config show --format json")
def show_settings(context: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """List every key with its value and where that comes from; secrets are masked."""
    settings = invocation(context).settings
    rows = [(key, each.value, each.origin) for key, each in settings.shown().items()]
    show(rows, ["key", "value", "origin"], fmt)


@cli.command(epilog="Example: stp-etl --config /etc/stp-etl/stp-etl.toml config check")
def check(context: typer.Context) -> None:
    """Report every fault and every warning in the settings at once; exit 2 when there are faults."""
    settings = invocation(context).settings
    file = settings.source.file
    variables = len(settings.source.variables)
    remark(f"settings from {file or 'no file'} and {counted(variables, 'environment variable')} are sound")
    if not settings.feeds:
        remark("warning: feeds: none is configured, so there is nothing to download")
    remark(f"settings hash {settings.settings_hash()}")
