"""What a person must look at, and what persons did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased

from etl.alert_kinds import AlertKind
from etl.domain.text import storable
from etl.domain.trade import Fault
from etl.store.repositories.alerts import Alert, AlertRepository
from etl.store.repositories.breaks import UNSAID
from etl.store.rows.attention import AuditRow, ExceptionItemRow, IncidentRow
from etl.store.rows.breaks import BreakEventRow, ReconBreakRow
from etl.store.rows.poll import MESSAGES_A_POLL

AT_ONCE = 500
OPEN_BREAK = ("open", "investigating")


class ExceptionItem(msgspec.Struct, frozen=True):
    """A message that became no trade. `glance` is raw text of the message for a list (symbol, side, …)."""

    message_id: int
    sha256: bytes
    faults: tuple[Fault, ...]
    glance: Mapping[str, str | None]


class Deed(msgspec.Struct, frozen=True):
    """What an operator did, for the audit log (law 13)."""

    at: datetime
    operator: str
    deed: str
    reason: str
    feed: str | None = None
    subject: str | None = None
    details: Mapping[str, Any] = {}


class AttentionRepository:
    """Exception items, breaks, incidents, the audit log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open_exceptions(self, feed_id: int, items: Sequence[ExceptionItem], at: datetime) -> None:
        """Open an item a message; the same bytes again only raise the count of the open one."""
        rows: dict[bytes, dict[str, Any]] = {}
        for item in items:
            if (known := rows.get(item.sha256)) is not None:
                known["seen"] += 1
                continue
            rows[item.sha256] = {
                "message_id": item.message_id, "feed_id": feed_id, "sha256": item.sha256, "opened_at": at,
                "last_seen_at": at, "seen": 1, "state": "open", "faults": msgspec.to_builtins(item.faults),
                **item.glance,
            }  # fmt: skip
        statement = postgresql.insert(ExceptionItemRow)
        # The predicate is written out: as a parameter it would match no index once the statement is prepared.
        again = {"seen": ExceptionItemRow.seen + statement.excluded.seen, "last_seen_at": at}
        statement = statement.on_conflict_do_update(
            index_elements=["feed_id", "sha256"], index_where=text("state = 'open'"), set_=again
        )
        several = list(rows.values())
        for start in range(0, len(several), AT_ONCE):
            self._connection.execute(statement.values(several[start : start + AT_ONCE]))

    def tell_of_exceptions(self, feed_id: int, drain_id: int | None, poll_ids: Sequence[int], at: datetime) -> None:
        """Tell of the items that the messages of these answers opened; the same bytes again open none."""
        first, beyond = min(poll_ids) * MESSAGES_A_POLL, (max(poll_ids) + 1) * MESSAGES_A_POLL
        number = ExceptionItemRow.message_id
        statement = select(func.count(), func.min(number)).where(
            ExceptionItemRow.feed_id == feed_id, number >= first, number < beyond
        )
        count, message_id = self._connection.execute(statement).one()
        if count:
            words, key = "messages became no trade; see: stp-etl exceptions list", f"exceptions.opened/{message_id}"
            fields = {"drain": drain_id or 0, "first message": message_id}
            topic = f"exceptions.opened/{feed_id}/{drain_id}"
            alert = Alert(AlertKind.EXCEPTIONS_OPENED, key, at, words, feed_id, fields, topic, count)
            AlertRepository(self._connection).tell(alert)

    def open_items(self, feed_id: int | None, message_ids: Sequence[int] = ()) -> dict[int, int]:
        """Return the feed of each open item by message number: all of them, or of these messages."""
        statement = select(ExceptionItemRow.message_id, ExceptionItemRow.feed_id).where(
            ExceptionItemRow.state == "open"
        )
        if feed_id is not None:
            statement = statement.where(ExceptionItemRow.feed_id == feed_id)
        if message_ids:
            statement = statement.where(ExceptionItemRow.message_id.in_(message_ids))
        return {row.message_id: row.feed_id for row in self._connection.execute(statement)}

    def close_exceptions(
        self, message_ids: Sequence[int], state: str, *, at: datetime, by: str | None, reason: str
    ) -> int:
        """Close the open items among these as `booked` or `resolved`; return how many that were."""
        statement = (
            update(ExceptionItemRow)
            .where(ExceptionItemRow.message_id.in_(message_ids), ExceptionItemRow.state == "open")
            .values(state=state, closed_at=at, closed_by=by, reason=reason)
        )
        return self._connection.execute(statement).rowcount

    def change_faults(self, message_id: int, faults: Sequence[Fault]) -> None:
        """Keep what is wrong with the message under today's rules."""
        statement = update(ExceptionItemRow).where(ExceptionItemRow.message_id == message_id)
        self._connection.execute(statement.values(faults=msgspec.to_builtins(tuple(faults))))

    def found_conflict(self, feed_id: int, trade_id: str, evidence: Mapping[str, Any], at: datetime) -> None:
        """Open the `conflict` break of a trade, or add this observation to it and open it again."""
        comment = f"economics changed: {', '.join(evidence['changed_fields'])}"
        self.found(feed_id, "conflict", trade_id, comment=comment, evidence=evidence, at=at)

    def found(
        self, feed_id: int, kind: str, trade_id: str, *, comment: str, evidence: Mapping[str, Any], at: datetime
    ) -> None:
        """Open the break of this kind about a trade, or add this observation to it and open it again."""
        statement = postgresql.insert(ReconBreakRow).values(
            feed_id=feed_id, kind=kind, key=trade_id, trade_id=trade_id, state="open", opened_at=at,
            last_seen_at=at, reopened=0, comment=comment, evidence=[dict(evidence)], seen=1,
        )  # fmt: skip
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["feed_id", "kind", "key"],
            set_={
                "state": "open",
                "last_seen_at": at,
                "comment": comment,
                "reopened": ReconBreakRow.reopened + 1,
                "reopened_at": at,
                "evidence": ReconBreakRow.evidence.op("||")(new.evidence),
                **UNSAID,
            },
        )
        known = aliased(ReconBreakRow)  # as the statement found it, before its own change
        same = (known.feed_id == feed_id, known.kind == kind, known.key == trade_id)
        was = select(known.state).where(*same).scalar_subquery()
        number, times, before = self._connection.execute(
            statement.returning(ReconBreakRow.id, ReconBreakRow.reopened, was)
        ).one()
        event = {"break_id": number, "at": at, "deed": "reopened" if times else "opened", "by": "stp-etl"}
        self._connection.execute(insert(BreakEventRow).values(**event, note=comment, figures=dict(evidence)))
        if before not in OPEN_BREAK:
            AlertRepository(self._connection).break_opened(feed_id, kind, number, at, times=times)

    def add_incident(self, feed_id: int, values: Mapping[str, Any]) -> int:
        """Keep the full exchange of an answer 500 for the vendor's support, once a request; return its number."""
        same = (IncidentRow.feed_id == feed_id, IncidentRow.request_id == values["request_id"])
        known = self._connection.execute(select(IncidentRow.id).where(*same)).scalar()
        if known is not None:  # the reply to the commit that kept it was lost
            return int(known)
        texts = {name: storable(text) if isinstance(text, str) else text for name, text in values.items()}
        statement = insert(IncidentRow).values(feed_id=feed_id, **texts).returning(IncidentRow.id)
        number = int(self._connection.execute(statement).scalar_one())
        words = "the vendor answered with a server error; for its support: stp-etl incidents show"
        key, topic, at = f"incident.kept/{number}", f"incident.kept/{feed_id}", values["occurred_at"]
        fields = {"incident": number, "status": values["status"], "request id": values["request_id"]}
        alert = Alert(AlertKind.INCIDENT, key, at, f"{words} {number}", feed_id, fields, topic)
        AlertRepository(self._connection).tell(alert)
        return number

    def record(self, deed: Deed) -> None:
        """Keep what an operator did, and why."""
        self._connection.execute(insert(AuditRow).values(**msgspec.structs.asdict(deed)))
