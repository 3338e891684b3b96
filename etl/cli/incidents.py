"""`stp-etl incidents`: the vendor's own failures, with what its support asks for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from etl.cli.context import noun
from etl.cli.options import FeedOption, LimitOption, first_of, known_feed, ready_app
from etl.cli.originals import visible
from etl.cli.output import Format, FormatOption, show, show_card
from etl.errors import EtlError

cli = noun("Look at failures of the vendor.")
LISTED = ("incident_id", "feed", "occurred_at", "status", "reason_code", "request_id", "poll_id")


@cli.command("list", epilog="Example: stp-etl incidents list --feed main")
def list_incidents(
    context: typer.Context, feed: FeedOption = None, limit: LimitOption = 50, fmt: FormatOption = Format.TABLE
) -> None:
    """List the answers 500 of the vendor, the newest first."""
    with ready_app(context) as app, app.open_work() as work:
        known_feed(work, feed)
        rows = work.lists.incidents(feed, limit + 1)
    show(first_of(rows, limit), LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl incidents show 4 > for-the-vendor.txt")
def show_incident(
    context: typer.Context,
    incident_id: Annotated[int, typer.Argument(help="Number of the incident.", metavar="ID")],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show the full request and answer for the vendor's support; secrets were taken out before it was stored."""
    with ready_app(context) as app, app.open_work() as work:
        incident = work.lists.incident(incident_id)
    if incident is None:
        raise EtlError(f"incident {incident_id} is not known; see: stp-etl incidents list")
    if fmt is not Format.TABLE:
        show_card(incident, fmt)
        return
    show_card({name: incident[name] for name in LISTED}, fmt)
    sys.stdout.write(f"\n{visible(incident['exchange'].replace(chr(13), '').encode('utf-8', 'backslashreplace'))}\n")
