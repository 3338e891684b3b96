"""`stp-etl day`: the operator's sheet for the start and the end of a trade day."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

import typer

from etl.cli.options import FeedOption, day, known_feed, not_begun, ready_app
from etl.cli.output import Format, FormatOption, json_text, plain, remark, show
from etl.domain.ageing import business_day

cli = typer.Typer(add_completion=False)
TITLES = {
    "trades": "Trades of the day",
    "sums": "What live trades of the day move, + received, - paid",
    "late": "Late: landed after their day had closed",
    "gaps": "Gaps that are not over",
    "exceptions": "Exception items that wait for a person",
    "breaks": "Breaks that are not over, the oldest first",
    "fixings": "Fixings due",
    "value_today": "Value today: what settles on this day",
    "certificates": "Certificates of the last days",
}


@cli.command("day", epilog="Example: stp-etl day --trade-date 2026-03-02")
def sheet(
    context: typer.Context,
    trade_date: Annotated[
        date | None, typer.Option("--trade-date", parser=day, metavar="DAY", help="Else the day that trades now.")
    ] = None,
    feed: FeedOption = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show counts and sums of a trade day, late trades, gaps, exceptions, breaks, fixings due and value today.

    It asks the database only. In JSON it is one object with a list a section; in CSV each section has a heading line.
    """
    with ready_app(context) as app, app.open_work() as work:
        times = app.settings.reconciliation
        asked = trade_date or business_day(app.clock.now(), times.business_day_ends, times.zone)
        known_feed(work, feed)
        sections, why = work.day.sheet(asked, feed), not_begun(app, asked)
    if why is not None:
        remark(f"{why}; fixings and values are what is known of it by now")
    show_sheet(asked, sections, fmt)


def show_sheet(asked: date, sections: Mapping[str, Sequence[Mapping[str, Any]]], fmt: Format) -> None:
    """Write the sheet of a trade day."""
    if fmt is Format.JSON:
        sys.stdout.write(json_text(plain({"trade_date": asked, **sections})) + "\n")
        return
    if fmt is Format.TABLE:
        sys.stdout.write(f"Trade day {asked}\n")
    for name, rows in sections.items():
        if fmt is Format.CSV:
            sys.stdout.write(f"# {name}\n")
            show(rows, list(rows[0]) if rows else [], fmt)
        elif rows:
            sys.stdout.write(f"\n{TITLES[name]}\n")
            show(rows, list(rows[0]))
        else:
            sys.stdout.write(f"\n{TITLES[name]}: none\n")
