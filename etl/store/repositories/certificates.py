"""The facts that decide about a trade day, and the certificates that were issued."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, text

from etl.domain.certificate import Control, OpenBreak, OpenGap
from etl.store.rows.reconciliation import CertificateRow, CertificateSignOffRow

DOUBTS = text("""
SELECT id FROM stp.poll
WHERE feed_id = :feed_id AND outcome = 'in_doubt' AND gap_id IS NULL AND closed_at >= :begins ORDER BY id
""")
# A leader that was killed leaves its name, and not its lock: its key is in two halves in `pg_locks`. As in
# `reporting.feed_status`, neither the lock nor the epoch of the next one makes its poll one of that one.
UNDER_WAY = text("""
SELECT c.poll_id FROM stp.current_poll c JOIN stp.feed f ON f.id = c.feed_id JOIN stp.lease s ON s.feed_id = c.feed_id
WHERE c.feed_id = :feed_id AND c.outcome IS NULL AND (c.epoch < s.epoch OR NOT EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND ((l.classid::bigint << 32) | l.objid::bigint) = f.lock_key
      AND (s.session_epoch IS DISTINCT FROM s.epoch OR l.pid = s.session_pid)))
""")
# An empty that proves something is in the ledger with its drain; an idle one only leaves its instant, which is late
# enough when the poll must have been opened after the close.
PROVEN = text("""
SELECT min(at) FROM (
    (SELECT p.closed_at AS at FROM stp.poll p JOIN stp.poll first ON first.id = p.drain_id
    WHERE p.feed_id = :feed_id AND p.outcome = 'empty' AND first.opened_at >= :closes AND p.closed_at >= :closes
    ORDER BY p.closed_at LIMIT 1)
    UNION ALL
    SELECT last_empty_at FROM stp.current_poll
    WHERE feed_id = :feed_id AND last_empty_at >= :surely_later
) AS proofs
""")
UNBOOKED = text("SELECT count(*) FROM stp.unbooked WHERE feed_id = :feed_id")
GAPS = text("""
SELECT id AS gap_id, state, why FROM stp.gap
WHERE feed_id = :feed_id AND state NOT IN ('healed', 'closed') AND :day BETWEEN from_date AND to_date ORDER BY id
""")
CLOSED_BY_HAND = text("""
SELECT id AS gap_id, from_date, to_date, closed_by, reason FROM stp.gap
WHERE feed_id = :feed_id AND state = 'closed' AND :day BETWEEN from_date AND to_date ORDER BY id
""")
BREAKS = text("""
SELECT b.id AS break_id, b.kind, b.state, b.trade_id FROM stp.recon_break b
WHERE b.feed_id = :feed_id AND b.state IN ('open', 'investigating', 'accepted') AND b.trade_id IS NOT NULL AND (
    b.kind = 'missing_in_book' OR EXISTS (
        SELECT FROM stp.trade_version v
        WHERE v.feed_id = b.feed_id AND v.trade_id = b.trade_id AND v.trade_date = :day))
ORDER BY b.id
""")
# A date that reads as another day is of another day; everything else may be of this one.
EXCEPTIONS = text(r"""
SELECT message_id FROM stp.exception_item
WHERE feed_id = :feed_id AND state = 'open' AND (
    trade_date = :day_text
    OR (last_seen_at >= :begins AND (trade_date IS NULL OR trade_date !~ '^[0-9]{4}-[01][0-9]-[0-3][0-9]$')))
ORDER BY message_id
""")
RUNS = text("""
SELECT id, coalesce(as_of, ended_at) AS as_of, result, agreed, compared, breaks, cited, rules, basis,
    coalesce(detail, '') AS detail
FROM stp.reconciliation_run
WHERE feed_id = :feed_id AND control = :control AND state IN ('done', 'failed') AND coalesce(as_of, ended_at) >= :closes
ORDER BY id
""")
OPENINGS = text("""
SELECT o.id AS opening, o.control, o.level, o.level_value AS value, o.as_of, o.opened_by AS by, o.reason,
    (SELECT count(*) FROM stp.opening_position p WHERE p.opening_id = o.id)
    + (SELECT count(*) FROM stp.opening_balance b WHERE b.opening_id = o.id) AS keys
FROM stp.opening o WHERE o.id = ANY (:ids) ORDER BY o.id
""")
BREAKS_OF = text("""
SELECT id AS break_id, kind, state, trade_id FROM stp.recon_break
WHERE feed_id = :feed_id AND kind = ANY (:kinds) AND state IN ('open', 'investigating', 'accepted') ORDER BY id
""")
# One statement, so that counts, sums and hash are of one instant while booking goes on.
DAY = text("""
WITH day AS MATERIALIZED (
    SELECT v.feed_id, v.trade_id, v.version, v.trade_type, v.live, v.content_hash, t.first_landed_at
    FROM stp.trade_version v JOIN stp.trade t USING (feed_id, trade_id, version)
    WHERE v.feed_id = :feed_id AND v.trade_date = :day
), moved AS (
    SELECT l.currency, coalesce(sum(l.amount) FILTER (WHERE l.amount > 0), 0)::text AS receive,
        coalesce(sum(l.amount) FILTER (WHERE l.amount < 0), 0)::text AS pay
    FROM day JOIN stp.trade_leg g USING (feed_id, trade_id, version)
    CROSS JOIN LATERAL (VALUES (g.dealt_currency, g.dealt_amount), (g.settled_currency, g.settled_amount))
        AS l (currency, amount)
    WHERE day.live GROUP BY 1
)
SELECT count(*) AS trades, count(*) FILTER (WHERE live) AS live, count(*) FILTER (WHERE version > 1) AS amended,
    count(*) FILTER (WHERE first_landed_at >= :closes) AS late,
    sha256(convert_to(coalesce(string_agg(
        trade_id || ' ' || version || ' ' || encode(content_hash, 'hex'), E'\\n' ORDER BY trade_id COLLATE "C"
    ), ''), 'UTF8')) AS trades_sha256,
    (SELECT coalesce(jsonb_object_agg(trade_type, n), '{}')
        FROM (SELECT trade_type, count(*) AS n FROM day GROUP BY 1) AS types) AS types,
    (SELECT coalesce(jsonb_agg(moved ORDER BY currency), '[]') FROM moved) AS sums
FROM day
""")
KINDS = {"positions": ["position", "value_date_shift"], "fills": ["missing_at_vendor"], "balances": ["balance"]}
TOGETHER = timedelta(minutes=30)
"""Runs of one look at several levels end within this time."""


class DaysTrades(msgspec.Struct, frozen=True):
    """The trades of a day: counts; `sums` of the live ones by currency, exact, + is received, - is paid; their hash.

    The hash is over a line for each trade, sorted by id: id, version, and its content hash.
    """

    counts: dict[str, Any]
    sums: list[dict[str, str]]
    sha256: bytes


class CertificateRepository:
    """What decides about a trade day, and what was said about it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def doubts(self, feed_id: int, begins: datetime) -> tuple[int, ...]:
        """Return the polls since then that are in doubt and that no gap covers."""
        return tuple(self._connection.execute(DOUBTS, {"feed_id": feed_id, "begins": begins}).scalars())

    def under_way(self, feed_id: int) -> int | None:
        """Return the poll whose outcome nobody knows, because nobody leads the feed; None where there is none."""
        return self._connection.execute(UNDER_WAY, {"feed_id": feed_id}).scalar()

    def proven_at(self, feed_id: int, closes: datetime, surely_later: datetime) -> datetime | None:
        """Return when the queue was proven empty by a drain that began after the close; None where it was not.

        `surely_later`: an instant after which no poll of before the close can be answered any more.
        """
        values = {"feed_id": feed_id, "closes": closes, "surely_later": surely_later}
        found: datetime | None = self._connection.execute(PROVEN, values).scalar()
        return found

    def unbooked(self, feed_id: int) -> int:
        """Return how many landed answers wait for booking."""
        return int(self._connection.execute(UNBOOKED, {"feed_id": feed_id}).scalar_one())

    def gaps(self, feed_id: int, day: date) -> tuple[OpenGap, ...]:
        """Return the gaps over the day that are not over."""
        rows = self._connection.execute(GAPS, {"feed_id": feed_id, "day": day}).mappings()
        return tuple(OpenGap(**row) for row in rows)

    def closed_by_hand(self, feed_id: int, day: date) -> list[dict[str, Any]]:
        """Return the gaps over the day that a person closed: limits of what is certified."""
        rows = self._connection.execute(CLOSED_BY_HAND, {"feed_id": feed_id, "day": day}).mappings()
        return [{**row, "from_date": str(row["from_date"]), "to_date": str(row["to_date"])} for row in rows]

    def breaks(self, feed_id: int, day: date) -> tuple[OpenBreak, ...]:
        """Return the breaks that are not over and name a trade of the day, or one that the book lacks."""
        rows = self._connection.execute(BREAKS, {"feed_id": feed_id, "day": day}).mappings()
        return tuple(OpenBreak(**row) for row in rows)

    def exceptions(self, feed_id: int, day: date, begins: datetime) -> tuple[int, ...]:
        """Return the open exception items of the day, and those without a readable day that came since it began."""
        values = {"feed_id": feed_id, "day_text": day.isoformat(), "begins": begins}
        return tuple(self._connection.execute(EXCEPTIONS, values).scalars())

    def control(
        self, feed_id: int, name: str, day: date, closes: datetime, *, wanted: bool, level: str | None = None
    ) -> tuple[Control, list[dict[str, Any]]]:  # fmt: skip
        """Return how a comparison stands since the close; and the runs that it rests on, none where there is none.

        It agreed where all that was compared last, each organisation or account, agreed once since the close, and no
        run about that time found breaks that had not been compared again by then. With a `level`, runs of other levels
        can only contradict.
        """
        values = {"feed_id": feed_id, "control": name, "closes": closes}
        every = [dict(row) for row in self._connection.execute(RUNS, values).mappings()]
        covering = [run for run in every if run["basis"].get("since", "") <= day.isoformat()]
        runs = [run for run in covering if level is None or run["rules"].get("level") == level]
        if not runs:
            return Control(name, wanted, why=_too_short(every, covering)), []
        proofs, last = dict[Any, dict[str, Any]](), dict[Any, dict[str, Any]]()
        for run in runs:
            last[_subject(run)] = run
            if run["result"] == "agreed" and _contradiction(run, covering) is None:
                proofs.setdefault(_subject(run), run)
        newest = max(run["as_of"] for run in runs)
        wanting = [
            run for subject, run in last.items() if subject not in proofs and newest - run["as_of"] <= TOGETHER
        ]  # fmt: skip
        chosen = wanting[-1:] or list(proofs.values())
        rows = self._connection.execute(BREAKS_OF, {"feed_id": feed_id, "kinds": KINDS[name]}).mappings()
        found = tuple(OpenBreak(**row) for row in rows)
        first = chosen[0]
        against = _contradiction(first, covering) if wanting and first["result"] == "agreed" else None
        why = first["detail"] if against is None else _contradicted_words(against)
        control = Control(name, wanted, first["id"], first["as_of"], first["result"], not wanting, found, why)
        return control, chosen

    def openings(self, numbers: Collection[int]) -> list[dict[str, Any]]:
        """Return where comparisons start from: who said so, when and why, and of how many keys."""
        rows = self._connection.execute(OPENINGS, {"ids": list(numbers)}).mappings()
        return [{**row, "as_of": row["as_of"].isoformat()} for row in rows]

    def trades(self, feed_id: int, day: date, closes: datetime) -> DaysTrades:
        """Return what the day's trades are, as they stand now."""
        values = {"feed_id": feed_id, "day": day, "closes": closes}
        row = dict(self._connection.execute(DAY, values).mappings().one())
        return DaysTrades(sha256=bytes(row.pop("trades_sha256")), sums=row.pop("sums"), counts=row)

    def last(self, feed_id: int, day: date) -> dict[str, Any] | None:
        """Return the certificate of the day that was issued last."""
        statement = select(CertificateRow.__table__).where(
            CertificateRow.feed_id == feed_id, CertificateRow.trade_date == day
        )
        row = self._connection.execute(statement.order_by(CertificateRow.number.desc()).limit(1)).mappings().first()
        return None if row is None else dict(row)

    def issue(self, values: Mapping[str, Any]) -> int:
        """Keep a certificate; return its own number over all days and feeds."""
        statement = insert(CertificateRow).values(dict(values)).returning(CertificateRow.id)
        return int(self._connection.execute(statement).scalar_one())

    def sign(self, certificate_id: int, *, signed_as: str, at: datetime, operator: str, comment: str | None) -> None:
        """Put a person's name to a certificate."""
        values = {
            "certificate_id": certificate_id, "signed_as": signed_as, "signed_at": at, "operator": operator,
            "comment": comment,
        }  # fmt: skip
        self._connection.execute(insert(CertificateSignOffRow).values(values))

    def signatures(self, certificate_id: int) -> list[dict[str, Any]]:
        """Return who signed a certificate, the first one first."""
        columns = (CertificateSignOffRow.signed_as, CertificateSignOffRow.signed_at, CertificateSignOffRow.comment)
        statement = select(*columns).where(CertificateSignOffRow.certificate_id == certificate_id)
        return [dict(row) for row in self._connection.execute(statement.order_by(CertificateSignOffRow.id)).mappings()]


def _subject(run: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return whose figures a run compared."""
    return run["rules"].get("level"), run["rules"].get("value")


def _contradiction(run: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the last run about that time which found breaks, unless its subject agreed since then and until `run`."""
    agreed = {
        _subject(each): each["id"] for each in others if each["result"] == "agreed" and each["id"] <= run["id"]
    }  # fmt: skip
    found = (
        each for each in reversed(others)
        if each["breaks"] and abs(each["as_of"] - run["as_of"]) <= TOGETHER
        and not each["id"] < agreed.get(_subject(each), 0)
    )  # fmt: skip
    return next(found, None)


def _contradicted_words(against: Mapping[str, Any]) -> str:
    whose = " ".join(each for each in _subject(against) if each)
    until = f"{against['as_of'] + TOGETHER:%Y-%m-%d %H:%M}Z"
    return f"but run {against['id']} found breaks{f' of {whose}' if whose else ''} near it; one after {until} counts"


def _too_short(every: Sequence[Mapping[str, Any]], covering: Sequence[Mapping[str, Any]]) -> str:
    """Return why runs since the close say nothing of the day, where there are some."""
    if covering or not every:
        return ""
    since = min(run["basis"]["since"] for run in every)
    return f"runs since then look back to {since} only; raise reconciliation.fills_history_days to reach the day"
