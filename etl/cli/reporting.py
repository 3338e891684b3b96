"""`stp-etl reporting`: what the reporting views mean, told by the database itself."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from etl.cli.context import noun
from etl.cli.options import ready_app
from etl.cli.output import Format, show
from etl.cli.reporting_page import page
from etl.errors import EtlError

cli = noun("Explain the reporting views.")

DESCRIBED = ("view", "position", "column", "type", "meaning")


class DescribeFormat(StrEnum):
    """How the contract is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@cli.command(epilog="Example: stp-etl reporting describe cash_ladder")
def describe(
    context: typer.Context,
    view: Annotated[str | None, typer.Argument(help="Only this view, such as cash_ladder.", metavar="VIEW")] = None,
    fmt: Annotated[
        DescribeFormat, typer.Option("--format", help="How to write it; markdown is a page with example queries.")
    ] = DescribeFormat.TABLE,
) -> None:
    """Explain every view and column of the reports: type, unit, sign, meaning; in markdown with example queries."""
    with ready_app(context) as app, app.open_work() as work:
        views, columns, version = work.contract.views(), work.contract.columns(), work.contract.version()
    if view is not None:
        name = view.removeprefix("reporting.")
        if name not in views:
            raise EtlError(f"there is no reporting view {name}; there are: {', '.join(views)}")
        views = {name: views[name]}
        columns = [each for each in columns if each.view == name]
    if fmt is DescribeFormat.MARKDOWN:
        sys.stdout.write(page(version, views, columns))
        return
    rows = [[each.view, each.position, each.column, each.type, each.meaning] for each in columns]
    show(rows, DESCRIBED, Format(fmt))
