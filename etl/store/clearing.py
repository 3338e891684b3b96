"""Clears a database that holds nothing but trials, so that the next one begins from nothing."""

from __future__ import annotations

from sqlalchemy import text

from etl.errors import OperatorError
from etl.store import schema
from etl.store.base import SCHEMA
from etl.store.database import Database
from etl.store.repositories.feeds import FeedRepository


def clear(database: Database, *, trial_feeds: frozenset[str]) -> bool:
    """Drop our schemas and all that is in them; return whether there were any.

    Raises OperatorError, and drops nothing, where a feed other than these was ever pulled into this database: its
    trades cannot be had again.
    """
    with database.connect() as connection:
        if schema.current_revision(connection) is None:
            return False
        others = sorted(set(FeedRepository(connection).names().values()) - trial_feeds)
        if others:
            raise OperatorError(
                f"the database holds the trades of feed {', '.join(others)}, so it is not cleared; "
                "choose another folder: --data-dir"
            )
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        connection.execute(text(f"DROP SCHEMA IF EXISTS reporting, {SCHEMA} CASCADE"))
        connection.commit()
    return True
