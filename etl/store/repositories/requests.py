"""What operators' commands ask of the instance that leads a feed: rows, and the notice that wakes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, text, update

from etl.domain.text import storable
from etl.store.repositories.fence import OUR_LEASE, fence_lost
from etl.store.rows.request import RequestRow

CHANNEL = "stp_request"
# Also what a leader before us had begun: whoever asked still waits.
ANY_WANTED = text(f"""
SELECT EXISTS (SELECT FROM stp.request r WHERE r.feed_id = :feed_id AND r.state IN ('requested', 'running')),
    EXISTS (SELECT FROM {OUR_LEASE})
""")
TAKE = text("""
UPDATE stp.request SET state = 'running', epoch = :epoch, started_at = :at
WHERE id = (
    SELECT id FROM stp.request
    WHERE feed_id = :feed_id AND kind = ANY (:kinds) AND (state = 'requested' OR state = 'running' AND epoch < :epoch)
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id
""")
LAST_RUN = text("""
SELECT coalesce(max(id), 0) FROM stp.reconciliation_run WHERE feed_id = :feed_id AND state <> 'running'
""")
RUNS_AFTER = text("""
SELECT id, concat_ws(' ', control, rules ->> 'level', rules ->> 'value'),
    CASE WHEN state <> 'running' THEN coalesce(result, state) END
FROM stp.reconciliation_run WHERE feed_id = :feed_id AND id > :after ORDER BY id
""")


class ToldRun(msgspec.Struct, frozen=True):
    """A run as a person who waits for it is told: what it compares, and how it ended; no result while it goes on."""

    id: int
    subject: str
    result: str | None


class Request(msgspec.Struct, frozen=True):
    """One thing that a command wants done, and what came of it; see RequestRow."""

    id: int
    feed_id: int
    kind: str
    arguments: Mapping[str, Any]
    requested_by: str
    reason: str | None
    requested_at: datetime
    state: str
    result: Mapping[str, Any] | None
    error: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in ("requested", "running")


class RequestRepository:
    """The requests of all feeds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def make(
        self, feed_id: int, kind: str, arguments: Mapping[str, Any], *, by: str, reason: str | None, at: datetime
    ) -> int:  # fmt: skip
        """Write down what is wanted and wake the leader; return its number."""
        values = {
            "feed_id": feed_id, "kind": kind, "arguments": dict(arguments), "requested_by": by, "reason": reason,
            "requested_at": at, "state": "requested",
        }  # fmt: skip
        self.announce(feed_id)
        return int(self._connection.execute(insert(RequestRow).values(values).returning(RequestRow.id)).scalar_one())

    def announce(self, feed_id: int) -> None:
        """Wake the leader when this commits. It takes a lock of the whole cluster: never in a landing commit."""
        self._connection.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": CHANNEL, "id": str(feed_id)})

    def any_wanted(self, feed_id: int, epoch: int) -> bool:
        """Return whether any request is not over; it writes nothing, unlike the fence, so it may be asked often.

        Raises FenceLostError where the fence would: the leader of a feed that rests finds out here.
        """
        wanted, ours = self._connection.execute(ANY_WANTED, {"feed_id": feed_id, "epoch": epoch}).one()
        if not ours:
            raise fence_lost()
        return bool(wanted)

    def take(self, feed_id: int, kinds: list[str], *, epoch: int, at: datetime) -> Request | None:
        """Begin the oldest request of these kinds; None where there is none. The caller holds the fence."""
        values = {"feed_id": feed_id, "kinds": kinds, "epoch": epoch, "at": at}
        number = self._connection.execute(TAKE, values).scalar_one_or_none()
        return None if number is None else self.get(number)

    def end(
        self, request_id: int, *, epoch: int, at: datetime, result: Mapping[str, Any] | None, error: str | None
    ) -> None:  # fmt: skip
        """Write what came of a request, where it is still ours."""
        values = {
            "state": "failed" if result is None else "done", "ended_at": at, "result": result, "error": storable(error),
        }  # fmt: skip
        ours = update(RequestRow).where(RequestRow.id == request_id, RequestRow.epoch == epoch)
        self._connection.execute(ours.where(RequestRow.state == "running").values(values))

    def withdraw(self, request_id: int, at: datetime) -> bool:
        """Take back a request that is not over; return whether that came in time."""
        mine = update(RequestRow).where(RequestRow.id == request_id, RequestRow.state.in_(("requested", "running")))
        return self._connection.execute(mine.values(state="withdrawn", ended_at=at)).rowcount > 0

    def get(self, request_id: int) -> Request:
        """Return a request as it stands."""
        columns = [getattr(RequestRow, name) for name in Request.__struct_fields__]
        return Request(*self._connection.execute(select(*columns).where(RequestRow.id == request_id)).one())

    def last_run(self, feed_id: int) -> int:
        """Return the number of the last run that has ended; 0 where there is none."""
        return int(self._connection.execute(LAST_RUN, {"feed_id": feed_id}).scalar_one())

    def runs_after(self, feed_id: int, after: int) -> list[ToldRun]:
        """Return the runs after that number, in order, those under way without a result."""
        return [ToldRun(*row) for row in self._connection.execute(RUNS_AFTER, {"feed_id": feed_id, "after": after})]
