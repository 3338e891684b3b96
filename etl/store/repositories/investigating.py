"""What the investigation of breaks reads of the book."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from etl.domain.readings import Alternative
from etl.domain.reconciliation import Key
from etl.store.repositories.book import PARTY
from etl.store.repositories.reconciling import DONE_BEFORE, LEVELS

# Those that a control has seen since the vendor was asked about them last.
STATUSES = text("""
SELECT b.id, b.trade_id, b.investigation FROM stp.recon_break b
JOIN stp.trade t ON (t.feed_id, t.trade_id) = (b.feed_id, b.trade_id)
JOIN stp.trade_version v ON (v.feed_id, v.trade_id, v.version) = (t.feed_id, t.trade_id, t.version)
WHERE b.feed_id = :feed_id AND b.kind = 'status' AND b.state IN ('open', 'investigating', 'accepted') AND v.live
  AND (b.investigated_at IS NULL OR b.last_seen_at > b.investigated_at)
ORDER BY b.id LIMIT :most
""")
TRADES_OF = f"""
SELECT v.trade_id, v.order_id, v.trade_date, v.version, sum(l.base_amount * party.sign)
FROM stp.trade_leg l
JOIN stp.trade t USING (feed_id, trade_id, version)
JOIN stp.trade_version v USING (feed_id, trade_id, version)
CROSS JOIN {PARTY}
WHERE l.feed_id = :feed_id AND l.value_date = :value_date AND v.symbol = :symbol AND v.live
  AND party.{{column}} = :value
GROUP BY 1, 2, 3, 4 ORDER BY max(v.change_seq) DESC
"""
DONE_BEFORE_OPENING = DONE_BEFORE.format(
    at="(SELECT coalesce(vendor_date, as_of) FROM stp.opening WHERE id = :opening_id)"
)
# What the trades since the opening would add under each other reading (design §6); the opening stands as it is.
READ_OTHERWISE = f"""
SELECT v.symbol, l.value_date, sum(-l.base_amount * party.sign),
    sum(CASE WHEN v.dealt_currency = v.base_currency THEN 1 ELSE -1 END * l.base_amount * party.sign),
    sum(CASE WHEN v.maker THEN -1 ELSE 1 END * l.base_amount * party.sign),
    sum(CASE WHEN l.leg_no = 2 THEN -1 ELSE 1 END * l.base_amount * party.sign),
    sum(CASE WHEN l.leg_no = 2 THEN 0 ELSE 1 END * l.base_amount * party.sign)
FROM stp.trade_leg l
JOIN stp.trade t USING (feed_id, trade_id, version)
JOIN stp.trade_version v USING (feed_id, trade_id, version)
CROSS JOIN {PARTY}
WHERE l.feed_id = :feed_id AND l.value_date = ANY (:days) AND v.symbol = ANY (:symbols) AND v.live
  AND party.{{column}} = :value
  AND t.first_landed_at > (SELECT as_of FROM stp.opening WHERE id = :opening_id)
  AND ({DONE_BEFORE_OPENING}) IS NOT TRUE
GROUP BY 1, 2
"""
UNWEIGHED = text("""
SELECT id FROM stp.recon_break
WHERE feed_id = :feed_id AND state IN ('open', 'investigating', 'accepted') AND severity IS NULL ORDER BY id
""")
CONFIRMED = text("""
SELECT id, kind, key, level, level_value, symbol, difference, gap_id, investigation FROM stp.recon_break
WHERE feed_id = :feed_id AND run_id = ANY (:runs) AND kind IN ('position', 'value_date_shift')
  AND state IN ('open', 'investigating') AND symbol IS NOT NULL
ORDER BY abs(reporting_amount) DESC NULLS LAST, id
""")
KEPT = text("""
SELECT DISTINCT ON (r.subject, r.question) r.subject, r.question, r.id, r.status, b.body
FROM stp.vendor_reply r JOIN stp.vendor_body b USING (sha256)
WHERE r.feed_id = :feed_id AND r.subject IN ('trade', 'fills') AND r.id > :after AND r.question = ANY (:questions)
ORDER BY r.subject, r.question, r.id DESC
""")
LAST_AGREED = text("""
SELECT max(trade_day) FROM stp.reconciliation_run
WHERE feed_id = :feed_id AND control = 'positions' AND result IN ('agreed', 'opened')
  AND rules ->> 'level' = :level AND rules ->> 'value' = :value
""")


class KeyTrade(msgspec.Struct, frozen=True):
    """A live trade that a position is made of. `amount` is what it adds: base, major units, + received, - paid."""

    trade_id: str
    order_id: str | None
    trade_date: date
    version: int
    amount: Decimal


class ConfirmedBreak(msgspec.Struct, frozen=True):
    """A difference of positions that a run has confirmed; see ReconBreakRow. `difference` is theirs minus ours."""

    id: int
    kind: str
    key: str
    level: str
    level_value: str
    symbol: str
    difference: Decimal
    gap_id: int | None
    investigation: dict[str, Any] | None

    @property
    def keys(self) -> list[Key]:
        """Return the position that differs, or the two of a shift, the first one first."""
        days = self.key.removeprefix(f"{self.level} {self.level_value} {self.symbol} ").split()
        return [Key(self.symbol, date.fromisoformat(day)) for day in days]


class Kept(msgspec.Struct, frozen=True):
    """A stored answer of the vendor."""

    reply_id: int
    status: int
    body: bytes


class SaidOtherwise(msgspec.Struct, frozen=True):
    """A trade that counts in the book, and a `status` break says that it stands no more at the vendor."""

    break_id: int
    trade_id: str
    investigation: dict[str, Any] | None


class InvestigationRepository:
    """Reads only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def statuses(self, feed_id: int, most: int) -> list[SaidOtherwise]:
        """Return the trades about which the vendor is to be asked, so that its word may be adopted."""
        rows = self._connection.execute(STATUSES, {"feed_id": feed_id, "most": most})
        return [SaidOtherwise(*row) for row in rows]

    def unweighed(self, feed_id: int) -> list[int]:
        """Return the breaks that nobody has weighed yet: those that booking or a resend opened."""
        return list(self._connection.execute(UNWEIGHED, {"feed_id": feed_id}).scalars())

    def confirmed(self, feed_id: int, runs: Collection[int]) -> list[ConfirmedBreak]:
        """Return the breaks about positions that these runs saw and nobody has accepted, what weighs most first."""
        rows = self._connection.execute(CONFIRMED, {"feed_id": feed_id, "runs": list(runs)})
        return [ConfirmedBreak(*row) for row in rows]

    def trades_of(self, feed_id: int, level: str, value: str, key: Key) -> list[KeyTrade]:
        """Return the live trades that a position is made of, the last changed first."""
        statement = text(TRADES_OF.format(column=LEVELS[level]))
        rows = self._connection.execute(statement, {"feed_id": feed_id, "value": value, **key._asdict()})
        return [KeyTrade(*row) for row in rows]

    def last_reply(self) -> int:
        """Return the number of the last stored answer of the vendor; 0 where there is none."""
        statement = text("SELECT coalesce(max(id), 0) FROM stp.vendor_reply")
        return int(self._connection.execute(statement).scalar_one())

    def kept(self, feed_id: int, after: int, questions: Collection[str]) -> dict[tuple[str, str], Kept]:
        """Return the latest answers about these trades and orders that were stored after that one."""
        rows = self._connection.execute(KEPT, {"feed_id": feed_id, "after": after, "questions": list(questions)})
        return {(row[0], row[1]): Kept(row[2], row[3], bytes(row[4])) for row in rows}

    def read_otherwise(
        self, feed_id: int, level: str, value: str, keys: Collection[Key], opening_id: int
    ) -> dict[Alternative, dict[Key, Decimal]]:
        """Return what the trades since an opening add to positions under each other reading, base, + received."""
        asked = {
            "feed_id": feed_id, "value": value, "days": sorted({key.value_date for key in keys}),
            "symbols": sorted({key.symbol for key in keys}), "opening_id": opening_id,
        }  # fmt: skip
        found: dict[Alternative, dict[Key, Decimal]] = {each: {} for each in Alternative}
        for symbol, day, *sums in self._connection.execute(text(READ_OTHERWISE.format(column=LEVELS[level])), asked):
            for reading, added in zip(Alternative, sums, strict=True):
                found[reading][Key(symbol, day)] = added
        return found

    def last_agreed(self, feed_id: int, level: str, value: str) -> date | None:
        """Return the business day on which all positions of a level agreed last; None where they never did."""
        values = {"feed_id": feed_id, "level": level, "value": value}
        found: date | None = self._connection.execute(LAST_AGREED, values).scalar()
        return found
