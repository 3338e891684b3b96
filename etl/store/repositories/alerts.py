"""The outbox: what people are to be told, in the transaction of the fact; and its way out, one sender at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from etl.alert_kinds import AlertKind
from etl.domain.text import storable
from etl.errors import DatabaseAwayError
from etl.store.database import translated
from etl.store.rows.alert import AlertRow
from etl.store.rows.feed import FeedRow

GATHERED_FOR = timedelta(seconds=10)  # facts of one topic come in bursts: a drain, a run of a control
LONGEST_ERROR = 300  # characters

log = structlog.get_logger()


class Alert(msgspec.Struct, frozen=True):
    """Something that people are to be told. `words` and `fields` are ours: no payload, no secret.

    The same `key` is told once. Facts of the same `topic` that wait at the same time are one alert with their `count`.
    """

    kind: AlertKind
    key: str
    at: datetime
    words: str
    feed_id: int | None = None
    fields: Mapping[str, str | int] = {}
    topic: str | None = None
    count: int = 1


class ClaimedAlert(msgspec.Struct, frozen=True):
    """An alert that is ours to send, until another may take it for lost."""

    id: int
    alert_id: str
    kind: str
    feed: str | None
    at: datetime
    words: str
    fields: Mapping[str, Any]
    count: int
    tries: int


class AlertRepository:
    """Alerts, waiting and sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, alert: Alert) -> None:
        """Keep the alert with the fact: it is sent when this transaction is kept, and only then.

        An outbox that cannot be written (missing rights) is logged and holds up nothing.
        """
        with self._going_on_without(alert):
            if alert.topic is not None and self._gathered(alert):
                return
            values = msgspec.structs.asdict(alert) | {
                "words": storable(alert.words), "fields": dict(alert.fields), "state": "waiting", "tries": 0,
                "not_before": alert.at if alert.topic is None else alert.at + GATHERED_FOR,
            }  # fmt: skip
            self._connection.execute(postgresql.insert(AlertRow).values(values).on_conflict_do_nothing())

    def break_opened(self, feed_id: int, kind: str, break_id: int, at: datetime, *, times: int = 0) -> None:
        """Tell of a break that was opened, or opened again for the `times`-th time; many of one kind are one alert."""
        self.tell(
            Alert(
                AlertKind.BREAK_OPENED, f"break.opened/{break_id}/{times}", at,
                f"a break of kind {kind} was opened; see reporting.break", feed_id,
                {"break kind": kind, "break": break_id}, f"break.opened/{feed_id}/{kind}",
            )
        )  # fmt: skip

    def booking_held(self, feed_id: int, feed: str, drain_id: int | None, at: datetime) -> None:
        """Tell that booking waits for a person (law 7)."""
        words = (
            f"booking waits for a person: many trades of drain {drain_id} came with other economics than those booked; "
            f"see reporting.break, then: stp-etl feeds resume {feed} --reason TEXT"
        )
        self.tell(Alert(AlertKind.BOOKING_HELD, f"booking.held/{feed_id}/{drain_id}", at, words, feed_id))

    def claim(self, kinds: Collection[str], now: datetime, until: datetime) -> ClaimedAlert | None:
        """Return the next alert that is due, ours until then; None where none is. Commit before it is sent."""
        due = (
            select(AlertRow.id)
            .where(AlertRow.state == "waiting", AlertRow.not_before <= now, AlertRow.kind.in_(kinds))
            .where(AlertRow.claimed_until.is_(None) | (AlertRow.claimed_until <= now))
            .order_by(AlertRow.not_before, AlertRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        number = self._connection.execute(due).scalar_one_or_none()
        if number is None:
            return None
        values = {"claimed_until": until, "tries": AlertRow.tries + 1}
        self._connection.execute(update(AlertRow).where(AlertRow.id == number).values(values))
        columns = [getattr(AlertRow, name) for name in ClaimedAlert.__struct_fields__ if name != "feed"]
        statement = select(*columns, FeedRow.name.label("feed")).outerjoin(FeedRow, FeedRow.id == AlertRow.feed_id)
        row = self._connection.execute(statement.where(AlertRow.id == number)).mappings().one()
        return ClaimedAlert(**{**row, "alert_id": str(row["alert_id"])})

    def sent(self, alert: ClaimedAlert, at: datetime) -> None:
        """Note that the receiver has it."""
        self._end(alert.id, state="sent", ended_at=at, last_error=None)

    def not_sent(self, alert: ClaimedAlert, error: str, again_at: datetime) -> None:
        """Note what the receiver, or the way to it, said, and when the alert is tried again."""
        self._end(alert.id, not_before=again_at, last_error=storable(error[:LONGEST_ERROR]))

    def drop(self, kinds: Collection[str], *, older_than: datetime, at: datetime) -> tuple[int, int]:
        """Give up what is of no wanted kind, and what waits since long ago; return how many of each."""
        waiting = update(AlertRow).where(AlertRow.state == "waiting")
        reason = {"state": "dropped", "ended_at": at}
        unwanted = waiting.where(AlertRow.kind.not_in(kinds)).values(**reason, last_error="not wanted")
        old = waiting.where(AlertRow.at < older_than).values(reason)
        return self._connection.execute(unwanted).rowcount, self._connection.execute(old).rowcount

    def forget(self, before: datetime) -> int:
        """Delete what was told of before then, sent or not; return how many."""
        return self._connection.execute(delete(AlertRow).where(AlertRow.at < before)).rowcount

    def waiting(self) -> tuple[int, datetime | None]:
        """Return how many alerts wait, and since when the oldest does."""
        row = self._connection.execute(
            text("SELECT count(*), min(at) FROM stp.alert WHERE state = 'waiting'"),
        ).one()
        return row[0], row[1]

    def listed(self, *, kind: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Return alerts by column, the newest first."""
        statement = select(*LISTED).outerjoin(FeedRow, FeedRow.id == AlertRow.feed_id)
        if kind is not None:
            statement = statement.where(AlertRow.kind == kind)
        if state is not None:
            statement = statement.where(AlertRow.state == state)
        rows = self._connection.execute(statement.order_by(AlertRow.id.desc()).limit(limit)).mappings()
        return [dict(row) for row in rows]

    def _gathered(self, alert: Alert) -> bool:
        """Count the fact into the alert of its topic that waits; return whether there is one."""
        statement = (
            update(AlertRow)
            .where(AlertRow.topic == alert.topic, AlertRow.state == "waiting", AlertRow.claimed_until.is_(None))
            .values(count=AlertRow.count + alert.count)
        )
        return self._connection.execute(statement).rowcount > 0

    def _end(self, number: int, **values: Any) -> None:
        statement = update(AlertRow).where(AlertRow.id == number, AlertRow.state == "waiting")
        self._connection.execute(statement.values(claimed_until=None, **values))

    @contextmanager
    def _going_on_without(self, alert: Alert) -> Iterator[None]:
        """Let the transaction go on where the outbox refuses the alert; a database that is away stops it as usual."""
        try:
            with self._connection.begin_nested():
                yield
        except DBAPIError as error:
            ours = translated(error)
            if isinstance(ours, DatabaseAwayError):
                raise ours from error
            log.error("alert.not_kept", kind=alert.kind, key=alert.key, error=str(ours))


LISTED = (
    AlertRow.id, FeedRow.name.label("feed"), AlertRow.kind, AlertRow.at, AlertRow.words, AlertRow.count,
    AlertRow.state, AlertRow.tries, AlertRow.not_before, AlertRow.ended_at, AlertRow.last_error, AlertRow.alert_id,
)  # fmt: skip
