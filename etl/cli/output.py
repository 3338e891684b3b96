"""How commands speak: results on stdout as table, JSON or CSV, remarks on stderr."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDEST = 10_000  # columns of a table that goes to a file or a pipe, where nothing may be folded

Row = Mapping[str, object] | Sequence[object]


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How to write the result; amounts are exact text in all three.")
]


def show(rows: Iterable[Row], columns: Sequence[str], fmt: Format = Format.TABLE, spare: Sequence[str] = ()) -> None:
    """Write the rows to stdout; a row is a mapping that has the columns, or their values in order.

    On a terminal that is too narrow a table goes without columns of `spare`, the first of them first, and says so;
    where that is not enough each row is written as lines of name and value. JSON is one array with an object a row.
    A Decimal is written as text with all its digits, because readers of JSON turn numbers into binary floats; bytes
    are hex; instants are UTC, dates and instants ISO 8601; nothing is null, or empty.
    """
    ordered = ([row[name] for name in columns] if isinstance(row, Mapping) else list(row) for row in rows)
    match fmt:
        case Format.TABLE:
            show_table(list(ordered), columns, spare)
        case Format.JSON:
            show_json(ordered, columns)
        case Format.CSV:
            write_csv([columns])
            for row in ordered:
                write_csv([[csv_cell(value) for value in row]])


def show_card(values: Mapping[str, object], fmt: Format = Format.TABLE) -> None:
    """Write one thing to stdout, a line for each of its values; in JSON one object, in CSV columns key and value."""
    match fmt:
        case Format.TABLE:
            width = max(map(len, values), default=0)
            for key, value in values.items():
                sys.stdout.write(f"{key:{width}}  {terminal_cell(value)}\n")
        case Format.JSON:
            sys.stdout.write(json_text({key: plain(value) for key, value in values.items()}) + "\n")
        case Format.CSV:
            show(list(values.items()), ["key", "value"], fmt)


def remark(text: str) -> None:
    """Write a sentence to stderr, so that stdout holds results only."""
    lines = [showable(line) for line in text.splitlines()]
    sys.stderr.write("\n".join(lines) + "\n")


def show_table(rows: Sequence[Sequence[object]], columns: Sequence[str], spare: Sequence[str] = ()) -> None:
    if not rows:
        remark("nothing to show")
    elif sys.stdout.isatty():
        show_on_terminal(rows, columns, spare)
    else:
        console = Console(file=sys.stdout, width=WIDEST, highlight=False, soft_wrap=False)
        with console.capture() as captured:
            console.print(table_of(rows, columns))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def show_on_terminal(rows: Sequence[Sequence[object]], columns: Sequence[str], spare: Sequence[str]) -> None:
    """Write a table that fits, without as many columns of `spare` as it takes; else a block of lines for each row."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    for left_out in range(len(spare) + 1):
        kept = [number for number, name in enumerate(columns) if name not in spare[:left_out]]
        table = table_of([[row[number] for number in kept] for row in rows], [columns[number] for number in kept])
        if Measurement.get(console, console.options.update(width=WIDEST), table).maximum <= console.width:
            console.print(table)
            if left_out:
                remark(f"no room for {', '.join(spare[:left_out])}: widen the terminal, or use --format json or csv")
            return
    for number, row in enumerate(rows, start=1):
        sys.stdout.write(f"-- {number} of {len(rows)}\n")
        show_card({name: value for name, value in zip(columns, row, strict=True) if value is not None})


def table_of(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> Table:
    """Return the rows as a table of one line a row, amounts to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, name in enumerate(columns):
        amounts = all(isinstance(row[number], int | float | Decimal) for row in rows if row[number] is not None)
        table.add_column(Text(name), justify="right" if amounts else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(terminal_cell(value)) for value in row))
    return table


def show_json(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> None:
    separator = "[\n"
    for row in rows:
        sys.stdout.write(separator + json_text(dict(zip(columns, map(plain, row), strict=True))))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def write_csv(rows: Iterable[Sequence[object]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    sys.stdout.write(buffer.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))


def plain(value: object) -> Any:
    """Return the value as JSON can hold it, without loss: a Decimal as its digits."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return digits(value)
        case bytes() | bytearray() | memoryview():
            return value.hex()
        case datetime():
            return instant(value)
        case time(second=0, microsecond=0):
            return value.isoformat("minutes")
        case date() | time():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return str(value)


def digits(value: Decimal) -> str:
    """Return every digit of the value, without an exponent."""
    return f"{value:f}"


def instant(value: datetime) -> str:
    """Return an aware instant in UTC, such as 2026-03-02T21:59:58.123Z; a naive one as it is."""
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def json_text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if sound(text) else json.dumps(value)


def sound(text: str) -> bool:
    """Return whether the text can be encoded; half a surrogate pair, which JSON may carry, cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def csv_cell(value: object) -> str:
    """Return the value as a CSV cell: nothing is empty, what has parts is JSON."""
    simple = plain(value)
    match simple:
        case None:
            return ""
        case str():
            return simple
        case _:
            return json_text(simple)


def terminal_cell(value: object) -> str:
    """Return the value as it may stand on a terminal: on one line, without control characters."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list) and all(isinstance(item, str | int) for item in value):
        return showable(", ".join(map(str, value)))
    return showable("" if value is None or value == {} else csv_cell(value))


def showable(text: str) -> str:
    """Return the text without what could move the cursor, turn the direction of writing or break the line."""
    return "".join(each if each.isprintable() else " " for each in text if each.isprintable() or each.isspace())
