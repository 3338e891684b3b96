"""`stp-etl audit`: what operators did, when and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from etl.cli.context import noun
from etl.cli.options import FeedOption, LimitOption, first_of, instant, known_feed, ready_app
from etl.cli.output import Format, FormatOption, show

cli = noun("Look at what operators did.")
LISTED = ("audit_id", "at", "operator", "deed", "feed", "subject", "reason", "details")


@cli.command("list", epilog="Example: stp-etl audit list --since 2026-03-01T00:00Z --format csv")
def list_deeds(
    context: typer.Context,
    feed: FeedOption = None,
    operator: Annotated[str | None, typer.Option("--operator", help="Only of this person.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", parser=instant, metavar="INSTANT", help="Only from then on; UTC without an offset."),
    ] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List who did what, when and why, the newest first."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.lists.audit(known_feed(work, feed), operator, since, limit + 1)
    show(first_of(rows, limit), LISTED, fmt)
