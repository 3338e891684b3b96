"""The copy in another database compared with the book: by day, and row by row where a day differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import msgspec

from etl.controls.publish import same_book
from etl.errors import OperatorError
from etl.store.book_feed import BookFeed, book_feed
from etl.store.database import Database
from etl.store.day_sums import Looked, RowKey
from etl.store.target import Target, target_of
from etl.store.target_tables import TABLES


class DifferingDay(msgspec.Struct, frozen=True):
    """A day of one table on which the two sides are not equal; rows of each side."""

    table: str
    feed: str
    day: date
    in_book: int
    in_target: int


class DifferingRow(msgspec.Struct, frozen=True):
    """A row that is not the same on both sides: `missing` in the target, `extra` there, or `other` values."""

    table: str
    day: date
    feed: str
    trade_id: str
    version: int
    leg_no: int | None
    difference: str


class Verified(msgspec.Struct):
    """What was compared, up to which change, how many changes the target is behind, and what is not equal."""

    up_to: int
    behind: int
    rows: dict[str, int] = {}
    days: list[DifferingDay] = []
    differing: list[DifferingRow] = []


class Verifier:
    """Compares what the target holds with the book as it was at the target's position."""

    def __init__(self, source: Database, target: Database, *, schema: str) -> None:
        self._source, self._target, self._schema = source, target, schema

    def verify(self, first: date = date.min, last: date = date.max, *, columns: bool = False) -> Verified:
        """Return what differs between these days, trade dates of versions and value dates of legs.

        Compared are the number of rows, the hash of each version that was stored when it was booked, and the amounts of
        each leg; with `columns` every value of every row but `valid_to`, which follows from the next version. Raises
        OperatorError where nothing was published, or the book is not the one that was.
        """
        with target_of(self._target, self._schema) as target, book_feed(self._source) as feed:
            if not target.check():
                raise OperatorError("the target holds nothing yet; run: stp-etl publish --once")
            here = target.position()
            same_book(feed, here)
            contract = feed.columns()
            found = Verified(here.change_seq, max(0, feed.last() - here.change_seq))
            for table in TABLES:
                names = tuple(each.column for each in contract[table]) if columns else ()
                compare(feed, target, Looked(table, here.change_seq, first, last, names), found)
        return found


def compare(book: BookFeed, target: Target, looked: Looked, found: Verified) -> None:
    """Note in `found` what differs in one table."""
    ours, theirs = both(lambda: book.day_sums(looked), lambda: target.day_sums(looked))
    found.rows[looked.table] = sum(count for count, _ in ours.values())
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) == theirs.get(key):
            continue
        feed, day = key
        found.days.append(DifferingDay(looked.table, feed, day, *(side.get(key, (0, 0))[0] for side in (ours, theirs))))
        of_day = msgspec.structs.replace(looked, first=day, last=day)
        found.differing += differences(looked.table, day, book.rows_of(of_day, feed), target.rows_of(of_day, feed))


def both(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[Any, Any]:
    """Ask both databases at the same time."""
    with ThreadPoolExecutor(1) as threads:
        later = threads.submit(other)
        return one(), later.result()


def differences(
    table: str, day: date, ours: Mapping[RowKey, Any], theirs: Mapping[RowKey, Any]
) -> Iterator[DifferingRow]:
    """Yield the rows that are not the same on both sides."""
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) == theirs.get(key):
            continue
        difference = "missing" if key not in theirs else "extra" if key not in ours else "other"
        feed, trade_id, version, leg_no = key
        yield DifferingRow(table, day, feed, trade_id, version, leg_no or None, difference)
