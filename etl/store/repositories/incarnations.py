"""Which database this is, and whether it is the one that a feed was last pulled into (design.md §5)."""

from __future__ import annotations

from datetime import date, datetime

import msgspec
from sqlalchemy import Connection, select, text, update

from etl.alert_kinds import AlertKind
from etl.store.repositories.alerts import Alert, AlertRepository
from etl.store.rows.feed import FeedRow
from etl.store.rows.trade import ChangeCounterRow

HERE = text("SELECT system_identifier::text, stp.timeline() FROM pg_control_system()")
# What the surviving commits say of the trades that lost ones may have carried.
SURVIVED = text("""
SELECT stp.trade_day(c.last_empty_at) AS doubt_from, last.id AS last_page,
    (
        SELECT min(v.trade_date) FROM stp.message m
        JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (m.feed_id, m.trade_id, m.version)
        WHERE m.feed_id = :feed_id AND m.poll_id BETWEEN last.drain_id AND last.id AND m.opened_at >= last.since
    ) AS oldest_landed
FROM (SELECT CAST(:feed_id AS integer) AS feed_id) AS f
LEFT JOIN stp.current_poll c ON c.feed_id = f.feed_id
LEFT JOIN LATERAL (
    SELECT p.id, p.drain_id, p.opened_at - interval '1 day' AS since FROM stp.poll p
    WHERE p.feed_id = f.feed_id AND p.outcome = 'page' AND p.closed_at > coalesce(c.last_empty_at, '-infinity')
    ORDER BY p.id DESC LIMIT 1
) AS last ON true
""")
# The poll under way, or a later one; and where the ledger has its number, it is under its request id.
HAS_POLL = text("""
SELECT EXISTS (
    SELECT FROM stp.current_poll WHERE feed_id = :feed_id AND (poll_id, request_id) = (:poll_id, :request_id)
    UNION ALL
    SELECT FROM stp.current_poll WHERE feed_id = :feed_id AND poll_id > :poll_id
) AND NOT EXISTS (SELECT FROM stp.poll WHERE id = :poll_id AND request_id <> :request_id)
""")

SAID = (
    "nothing is pulled: this is another database than the one it was pulled into; a person must say what it is, "
    "see: stp-etl status"
)


class Incarnation(msgspec.Struct, frozen=True):
    """A database server's data: the identifier that initdb gave it, and the timeline that a failover changes."""

    system_identifier: str
    timeline: int

    def __str__(self) -> str:
        return f"system {self.system_identifier}, timeline {self.timeline}"


class Survived(msgspec.Struct, frozen=True):
    """What the surviving commits say about the pulling before a failover.

    `doubt_from`: the trade day on which the queue was last proven empty; `last_page`: the last page landed since
    then; `oldest_landed`: the oldest trade date booked of its drain.
    """

    doubt_from: date | None
    last_page: int | None
    oldest_landed: date | None


class IncarnationRepository:
    """What each feed remembers of the database that it was last pulled into."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def here(self) -> Incarnation:
        """Return what this database is now."""
        return Incarnation(*self._connection.execute(HERE).one())

    def known(self, feed_id: int) -> Incarnation | None:
        """Return the database that the feed was last pulled into; None before the first time."""
        columns = (FeedRow.system_identifier, FeedRow.timeline)
        row = self._connection.execute(select(*columns).where(FeedRow.id == feed_id)).one()
        if row.system_identifier is None:
            return None
        return Incarnation(row.system_identifier, row.timeline or 0)

    def adopt(self, feed_id: int, here: Incarnation) -> None:
        """Let the feed be pulled into this database."""
        values = {
            "system_identifier": here.system_identifier, "timeline": here.timeline, "other_database": None,
        }  # fmt: skip
        self._connection.execute(update(FeedRow).where(FeedRow.id == feed_id).values(values))

    def note_other(self, feed_id: int, here: Incarnation, known: Incarnation, at: datetime) -> None:
        """Keep that this is not the feed's database, for `status`; tell of it where that is news."""
        statement = update(FeedRow).where(
            FeedRow.id == feed_id, FeedRow.other_database.is_distinct_from(here.system_identifier)
        )
        if self._connection.execute(statement.values(other_database=here.system_identifier)).rowcount:
            key = f"database.other/{feed_id}/{here.system_identifier}/{at.isoformat()}"
            fields = {"this database": str(here), "pulled into": str(known)}
            alert = Alert(AlertKind.OTHER_DATABASE, key, at, SAID, feed_id, fields)
            AlertRepository(self._connection).tell(alert)

    def survived(self, feed_id: int) -> Survived:
        """Return what the surviving commits say about the pulling before a failover."""
        row = self._connection.execute(SURVIVED, {"feed_id": feed_id}).one()
        return Survived(row.doubt_from, row.last_page, row.oldest_landed)

    def has_poll(self, feed_id: int, poll_id: int, request_id: str) -> bool:
        """Return whether a poll whose opening was committed is still known; False: committed work was lost.

        An idle poll leaves no trace once a later one is open; then there is nothing that could be missed.
        """
        values = {"feed_id": feed_id, "poll_id": poll_id, "request_id": request_id}
        return bool(self._connection.execute(HAS_POLL, values).scalar_one())

    def jump_numbers(self) -> None:
        """Let polls and changes be numbered above any number ever issued, those of lost commits included."""
        self._connection.execute(text("SELECT stp.jump_poll_id()"))
        lost = update(ChangeCounterRow).where(ChangeCounterRow.incarnation == text("stp.incarnation()"))
        self._connection.execute(lost.values(incarnation="lost commits"))  # the next number makes the jump
