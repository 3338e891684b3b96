"""What can be learnt of the server and of our rights in it without changing anything: for `stp-etl doctor`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

FACTS = text("""
SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only,
    current_setting('full_page_writes') AS full_page_writes, clock_timestamp() AS now
""")
NEEDED = (
    "answer INSERT", "poll INSERT", "poll UPDATE", "unbooked INSERT", "unbooked DELETE", "message INSERT",
    "current_poll INSERT", "current_poll UPDATE", "lease UPDATE", "feed INSERT", "feed UPDATE", "booker UPDATE",
    "trade INSERT", "trade_version INSERT", "trade_leg INSERT", "position INSERT", "position UPDATE",
    "change_counter UPDATE", "gap INSERT", "gap UPDATE", "resend INSERT", "request INSERT", "request UPDATE",
    "audit INSERT", "exception_item INSERT", "recon_break INSERT",
)  # fmt: skip
MISSING = text("""
SELECT split_part(need, ' ', 2) || ' on stp.' || split_part(need, ' ', 1) FROM unnest(CAST(:needed AS text[])) AS need
WHERE NOT has_table_privilege('stp.' || split_part(need, ' ', 1), split_part(need, ' ', 2))
UNION ALL
SELECT 'USAGE on stp.poll_id' WHERE NOT has_sequence_privilege('stp.poll_id', 'USAGE')
""")
MONTHS_AHEAD = text("""
SELECT count(*) FROM generate_series(0, 12) AS n
WHERE to_regclass('stp.answer_p' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => n::integer), 'YYYYMM'))
    IS NOT NULL
""")
LEADER = text("""
SELECT l.holder, l.taken_at, l.epoch, f.paused_reason, s.leader IS NOT NULL AS locked
FROM stp.feed f JOIN stp.lease l ON l.feed_id = f.id JOIN reporting.feed_status s ON s.feed = f.name
WHERE f.id = :feed_id
""")
STRANGE_ORGS = text("""
SELECT DISTINCT organisation FROM stp.trade_version
WHERE change_seq > (SELECT max(change_seq) - 10000 FROM stp.trade_version)
  AND feed_id = :feed_id AND our_side <> 'counterparty' AND organisation <> :org ORDER BY organisation LIMIT 5
""")


class ServerFacts(msgspec.Struct, frozen=True):
    """What the server says of itself; `standby`: it replays another one and takes no writes."""

    version: str
    standby: bool
    read_only: bool
    full_page_writes: str
    now: datetime


class Leadership(msgspec.Struct, frozen=True):
    """Who leads a feed by the table, and whether the lock is really held."""

    holder: str | None
    taken_at: datetime | None
    epoch: int
    paused_reason: str | None
    locked: bool


class CheckupRepository:
    """Questions that any role may ask."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def server(self) -> ServerFacts:
        """Return what the server says of itself."""
        return ServerFacts(*self._connection.execute(FACTS).one())

    def data_directory(self) -> str | None:
        """Return where the server keeps its data; None where our role may not know."""
        try:
            return str(self._connection.execute(text("SELECT current_setting('data_directory')")).scalar_one())
        except DBAPIError:
            self._connection.rollback()
            return None

    def missing_rights(self) -> list[str]:
        """Return the rights that polling and booking need and our role has not."""
        return list(self._connection.execute(MISSING, {"needed": list(NEEDED)}).scalars())

    def may_change_landed(self) -> bool:
        """Return whether our role has the right to change landed bytes, so that only a trigger keeps it from it."""
        return bool(self._connection.execute(text("SELECT has_table_privilege('stp.answer', 'UPDATE')")).scalar_one())

    def months_of_partitions(self) -> int:
        """Return for how many months, this one included, answers have a partition of their own."""
        return int(self._connection.execute(MONTHS_AHEAD).scalar_one())

    def leadership(self, feed_id: int) -> Leadership:
        """Return who leads the feed."""
        return Leadership(*self._connection.execute(LEADER, {"feed_id": feed_id}).one())

    def strange_organisations(self, feed_id: int, org: str) -> list[str]:
        """Return organisations other than ours that the latest trades name as theirs whose side is told."""
        return list(self._connection.execute(STRANGE_ORGS, {"feed_id": feed_id, "org": org}).scalars())
