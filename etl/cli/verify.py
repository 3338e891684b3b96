"""`stp-etl verify`: the copy in another Postgres compared with the book."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec
import typer

from etl.app import App
from etl.cli.context import invocation
from etl.cli.options import FOUND_SOMETHING, FromOption, LimitOption, ToOption, first_of, in_order
from etl.cli.output import Format, FormatOption, remark, show
from etl.cli.publish import target_database
from etl.controls.verify import DifferingRow, Verified, Verifier
from etl.domain.words import counted

cli = typer.Typer(add_completion=False)


@cli.command("verify", epilog="Example: stp-etl verify --target --from 2026-03-01 --to 2026-03-31")
def verify(
    context: typer.Context,
    _target: Annotated[bool, typer.Option("--target", help="Compare the book with the target of publish.")] = True,
    first: FromOption = None,
    last: ToOption = None,
    columns: Annotated[
        bool,
        typer.Option("--columns", help="Compare every value of every row; slower, and finds what was altered there."),
    ] = False,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Prove that the target of `publish` equals the book up to its position; exit 3 with the rows that differ.

    Compared per day: the number of versions and the sum of the hashes stored when they were booked (trade dates), the
    number and amounts of legs (value dates). The book may be ahead; how far is said. Days of which neither side has a
    row are told as nothing to compare.
    """
    in_order(first, last)
    settings = invocation(context).database_settings
    with App(settings) as app:
        app.check_database()
        target = target_database(settings)
        try:
            verifier = Verifier(app.database, target, schema=settings.publish.schema_name)
            found = verifier.verify(first or date.min, last or date.max, columns=columns)
        finally:
            target.close()
    for day in found.days:
        in_book = counted(day.in_book, "row")
        remark(f"{day.table}, feed {day.feed}, {day.day}: {in_book} in the book, {day.in_target:,} there")
    remark(summary(found, first, last))
    if found.days:
        rows = [msgspec.structs.asdict(each) for each in found.differing]
        show(first_of(rows, limit), DifferingRow.__struct_fields__, fmt)
        raise typer.Exit(FOUND_SOMETHING)


def summary(found: Verified, first: date | None, last: date | None) -> str:
    """Return in one sentence what was compared and how it ended."""
    if not found.days and not any(found.rows.values()):
        days = f"{f' from {first}' if first else ''}{f' to {last}' if last else ''}"
        return f"nothing to compare: neither the book nor the target has a row{days}, up to change {found.up_to:,}"
    rows = ", ".join(f"{count:,} of {table}" for table, count in found.rows.items())
    verdict = "equal"
    if found.days:
        differing = counted(len(found.differing), "row differs", "rows differ")
        verdict = f"{differing} on {counted(len(found.days), 'day')}"
    behind = f"; the book has {found.behind:,} newer changes" if found.behind else ""
    return f"{verdict}: {rows}, up to change {found.up_to:,}{behind}"
