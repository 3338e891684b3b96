"""`stp-etl export`: files of a trade date with control totals beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from etl.cli.context import noun
from etl.cli.export_file import CsvWriter, JsonLinesWriter, RowWriter, check_place, control_of, write_whole
from etl.cli.options import FeedOption, check_begun, day, known_feed, ready_app
from etl.cli.output import remark
from etl.domain.control_totals import ControlTotals
from etl.errors import EtlError
from etl.store.repositories.exports import Column, ExportRepository

cli = noun("Write files of a trade date, with control totals.")

Amounts = Callable[[Mapping[str, Any]], Iterator[tuple[str | None, Decimal | None]]]
TradeDate = Annotated[
    date, typer.Option("--trade-date", parser=day, metavar="DAY", help="Trade date, such as 2026-03-02.")
]


def file_named(text: str) -> Path:
    """Return the path of a file; one that ends as a folder does is a wrong usage, not a file of nearly that name."""
    if text.endswith(("/", "/.")):
        raise typer.BadParameter(f"{text} is a folder; name a file in it")
    return Path(text)


To = Annotated[
    Path, typer.Option("--to", parser=file_named, metavar="FILE", help="The file; its ending says the format.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Take the place of a file that exists.")]


class FileFormat(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


FormatOption = Annotated[FileFormat | None, typer.Option("--format", help="Where the ending of the file says nothing.")]


def of_trade(row: Mapping[str, Any]) -> Iterator[tuple[str | None, Decimal | None]]:
    """Yield what the legs of a trade exchange."""
    for end in ("near", "far"):
        yield row["base_currency"], row[f"{end}_base_amount"]
        yield row["term_currency"], row[f"{end}_term_amount"]


def of_leg(row: Mapping[str, Any]) -> Iterator[tuple[str | None, Decimal | None]]:
    """Yield what the leg exchanges."""
    yield row["dealt_currency"], row["dealt_amount"]
    yield row["settled_currency"], row["settled_amount"]


def of_position(row: Mapping[str, Any]) -> Iterator[tuple[str | None, Decimal | None]]:
    """Yield the net amounts of the position."""
    yield row["base_currency"], row["base_amount"]
    yield row["term_currency"], row["term_amount"]


def of_break(row: Mapping[str, Any]) -> Iterator[tuple[str | None, Decimal | None]]:
    """Yield the difference."""
    yield row["currency"], row["difference"]


@cli.command("trades", epilog="Example: stp-etl export trades --trade-date 2026-03-02 --to trades.csv")
def export_trades(
    context: typer.Context, trade_date: TradeDate, to: To, feed: FeedOption = None, fmt: FormatOption = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write the trades of a trade date as they stand now, both legs in one row: the columns of reporting.blotter."""
    export(context, "trades", of_trade, trade_date, to, feed=feed, fmt=fmt, overwrite=overwrite)


@cli.command("legs", epilog="Example: stp-etl export legs --trade-date 2026-03-02 --to legs.parquet")
def export_legs(
    context: typer.Context, trade_date: TradeDate, to: To, feed: FeedOption = None, fmt: FormatOption = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write the legs of the trades of a trade date, a row each."""
    export(context, "legs", of_leg, trade_date, to, feed=feed, fmt=fmt, overwrite=overwrite)


@cli.command("positions", epilog="Example: stp-etl export positions --trade-date 2026-03-02 --to positions.csv")
def export_positions(
    context: typer.Context, trade_date: TradeDate, to: To, feed: FeedOption = None, fmt: FormatOption = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write what was open at the end of a trade date: live trades up to it, value dates after it."""
    export(context, "positions", of_position, trade_date, to, feed=feed, fmt=fmt, overwrite=overwrite)


@cli.command("breaks", epilog="Example: stp-etl export breaks --trade-date 2026-03-02 --to breaks.jsonl")
def export_breaks(
    context: typer.Context, trade_date: TradeDate, to: To, feed: FeedOption = None, fmt: FormatOption = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write the breaks that were open at the end of a trade date, with their age on that day."""
    export(context, "breaks", of_break, trade_date, to, feed=feed, fmt=fmt, overwrite=overwrite)


def export(
    context: typer.Context, kind: str, amounts: Amounts, trade_date: date, to: Path, *, feed: str | None,
    fmt: FileFormat | None, overwrite: bool,
) -> None:  # fmt: skip
    """Write one file and its control totals, and say what they are."""
    chosen = fmt or format_of(to)
    parquet = parquet_module() if chosen is FileFormat.PARQUET else None
    check_place(to, overwrite=overwrite)
    with ready_app(context) as app, app.open_work() as work:
        check_begun(app, trade_date)
        work.exports.look_once()
        known_feed(work, feed)

        def write(file: IO[bytes]) -> dict[str, Any]:
            columns = work.exports.columns(kind)
            writer = writer_of(chosen, columns)
            if parquet is not None:
                writer = parquet.ParquetWriter(columns, work.exports.digits(kind, trade_date, feed))
            return content(work.exports, kind, amounts, trade_date, feed, writer=writer, columns=columns, file=file)

        totals = write_whole(to, lambda file: {"format": chosen.value, **write(file)}, overwrite=overwrite)
    remark(f"{to}: {totals['rows']:,} {kind} of {trade_date}; control totals in {control_of(to).name}")


def content(
    exports: ExportRepository, kind: str, amounts: Amounts, trade_date: date, feed: str | None, *, writer: RowWriter,
    columns: Sequence[Column], file: IO[bytes],
) -> dict[str, Any]:  # fmt: skip
    """Write the rows; return what the side file says about them."""
    totals, names = ControlTotals(), [each.name for each in columns]
    last_change = 0

    def counted() -> Iterator[Sequence[Any]]:
        nonlocal last_change
        for row in exports.rows(kind, trade_date, feed):
            named = dict(zip(names, row, strict=True))
            totals.add_row(amounts(named))
            last_change = max(last_change, named.get("change_seq") or 0)
            yield row

    writer.write(counted(), file)
    return {
        "kind": kind, "trade_date": trade_date.isoformat(), "feed": feed or "all", "columns": names,
        "rows": totals.rows, "sums": totals.sums, "last_change_seq": last_change,
        "certificates": exports.certificates(trade_date, feed) or "none",
    }  # fmt: skip


def writer_of(fmt: FileFormat, columns: Sequence[Column]) -> RowWriter:
    """Return what writes the rows as text."""
    names = [each.name for each in columns]
    return CsvWriter(names) if fmt is FileFormat.CSV else JsonLinesWriter(names)


def format_of(path: Path) -> FileFormat:
    """Return the format that the ending of the file says; raise BadParameter where it says none."""
    try:
        return FileFormat(path.suffix.removeprefix(".").lower())
    except ValueError as error:
        raise typer.BadParameter(
            f"{path.name} ends in none of .csv, .jsonl, .parquet; say --format", param_hint="--to"
        ) from error


def parquet_module() -> Any:
    """Return the module that writes Parquet; raise EtlError where its library is not installed."""
    try:
        return import_module("etl.cli.export_parquet")
    except ModuleNotFoundError as error:
        raise EtlError(
            "parquet files need pyarrow; install it with: pip install 'stp-etl[parquet]'; csv and jsonl need nothing"
        ) from error
