"""The book taken over by another database: batch by batch, each with its position in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from threading import Event

import msgspec
import structlog

from etl.clock import Clock
from etl.errors import OperatorError
from etl.store.book_feed import BookFeed, Change, book_feed
from etl.store.database import Database
from etl.store.day_sums import LATER, LEGS, VERSIONS
from etl.store.target import Target, target_of

START = "stp-etl publish --once --rebuild --reason TEXT"

log = structlog.get_logger()


class Published(msgspec.Struct):
    """What was copied: versions of trades, legs of theirs, and the number of the last change that the target has."""

    versions: int = 0
    legs: int = 0
    change_seq: int = 0


class Publisher:
    """Keeps the tables of the target up to date; everything that it must remember stands in the target."""

    def __init__(self, source: Database, target: Database, clock: Clock, *, schema: str, batch: int) -> None:
        self._source, self._target, self._clock = source, target, clock
        self._schema, self._batch = schema, batch

    def prepare(self) -> None:
        """Make the tables where there are none, and see that they fit; raise OperatorError where they do not."""
        with book_feed(self._source) as feed, target_of(self._target, self._schema) as target:
            contract = feed.columns()
            if target.check():
                others = target.other_columns(contract)
                if others:
                    raise OperatorError(
                        f"{'; '.join(others)}: made by another version of stp-etl; fill it anew: {START}"
                    )
            else:
                target.make(contract)
                target.commit()

    def rebuild(self) -> None:
        """Add what the contract has got since, and empty the tables, so that they are filled from the start."""
        with book_feed(self._source) as feed, target_of(self._target, self._schema) as target:
            target.check()
            target.make(feed.columns())
            target.lock()
            target.empty()
            target.commit()

    def publish(self, stop: Event | None = None) -> Published:
        """Copy until nothing is newer, or until told to stop after the present batch; return what was copied.

        Raises OperatorError where the source is not the one that was copied before, DatabaseAwayError,
        CommitUnknownError. What was committed stays, and the next run goes on behind it.
        """
        done = Published()
        while not (stop and stop.is_set()):
            batch = self._copy_batch()
            done = Published(done.versions + batch.versions, done.legs + batch.legs, batch.change_seq)
            if batch.versions == 0:
                break
        return done

    def _copy_batch(self) -> Published:
        with target_of(self._target, self._schema) as target:
            here = target.lock()
            with book_feed(self._source) as feed:
                same_book(feed, here)
                to = feed.end_of_batch(here.change_seq, self._batch)
                if to is None:
                    return Published(change_seq=here.change_seq)
                versions, legs = (_copy(feed, target, table, here, to) for table in (VERSIONS, LEGS))
            target.end_earlier(here.change_seq, to.change_seq)
            target.advance(to, self._clock.now())
            target.commit()
        log.info("publish.published", versions=versions, legs=legs, change_seq=to.change_seq)
        return Published(versions, legs, to.change_seq)


def same_book(feed: BookFeed, here: Change) -> None:
    """Raise OperatorError where the book does not hold the change that was copied last: it is another book."""
    if here.change_seq == 0:
        return
    found = feed.at(here.change_seq)
    if found == here:
        return
    if found is None:
        what = f"has changes up to {here.change_seq}, and the book ends at {feed.last()}"
    else:
        what = f"has trade {here.trade_id} as change {here.change_seq}, and the book has trade {found.trade_id} there"
    raise OperatorError(
        f"the target {what}: the book was restored from a backup, or is another one. Nothing was written. "
        f"If the book is the right one, fill the target anew: {START}"
    )


def _copy(feed: BookFeed, target: Target, table: str, after: Change, to: Change) -> int:
    columns: Sequence[str] = [each.column for each in feed.columns()[table] if each.column != LATER]
    with closing(feed.rows(table, columns, after.change_seq, to.change_seq)) as rows:  # also when the target fails
        return target.add(table, columns, rows)
