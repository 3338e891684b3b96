"""Writes deploy/REPORTING.md and the list of reporting columns from a new database; refuses to lose a column."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from etl.cli.reporting_page import page
from etl.store.database import Database
from etl.store.repositories.contract import ContractColumn, ContractRepository
from tests.databases import embedded, migrated

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "deploy" / "REPORTING.md"
PROMISED = ROOT / "tests" / "integration" / "reporting_columns.txt"


def page_of(connection: Connection) -> str:
    """Return the page as this database has it."""
    contract = ContractRepository(connection)
    return page(contract.version(), contract.views(), contract.columns())


def promised() -> dict[str, list[str]]:
    """Return what was promised: the columns of each view with their types, in order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in PROMISED.read_text().splitlines():
        view, _, column = line.partition(" ")
        found[view].append(column)
    return dict(found)


def kept(columns: Iterable[ContractColumn]) -> dict[str, list[str]]:
    """Return the same of a database."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for each in columns:
        found[each.view].append(f"{each.column} {each.type}")
    return dict(found)


def broken(promise: dict[str, list[str]], now: dict[str, list[str]]) -> list[str]:
    """Return a sentence for each column of the promise that is no longer where it was, as it was."""
    faults = []
    for view, columns in promise.items():
        for place, column in enumerate(columns):
            here: Sequence[str] = now.get(view, [])
            if place >= len(here) or here[place] != column:
                found = here[place] if place < len(here) else "nothing"
                faults.append(f"reporting.{view}, column {place + 1}: {column} was promised, {found} is there")
    return faults


def main() -> int:
    """Write both files; return 1 where the contract would be broken."""
    with embedded() as server, migrated(server.url) as own, own.database() as url:
        database = Database(url)
        with database.connect() as connection:
            text, columns = page_of(connection), ContractRepository(connection).columns()
        database.close()
    now = kept(columns)
    faults = broken(promised(), now) if PROMISED.exists() else []
    if faults:
        sys.stderr.write("\n".join(["the contract would be broken; nothing was written", *faults]) + "\n")
        return 1
    PAGE.write_text(text)
    PROMISED.write_text("".join(f"{view} {column}\n" for view, found in now.items() for column in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
