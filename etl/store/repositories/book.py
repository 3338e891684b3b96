"""The book: trades, versions, legs, positions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, select, text, tuple_

from etl.domain.money import Amount
from etl.domain.position import Movement, movements, net
from etl.domain.trade import Leg, OurSide, Side, Trade, TradeType
from etl.store.copying import NOTHING, cell, copy_lines, digest, instant, line
from etl.store.rows.trade import TradeLegRow, TradeRow, TradeVersionRow

VERSION_FIELDS = (
    "trade_type", "status", "live", "our_side", "internal", "side", "maker", "symbol", "base_currency",
    "term_currency", "dealt_currency", "trade_date", "executed_at", "order_id", "client_order_id", "organisation",
    "legal_entity", "trader", "counterparty", "counterparty_name", "counterparty_entity", "channel", "stream",
    "rate_id", "uti", "usi", "lei", "counterparty_lei", "note", "external_request_id", "original_trade_id",
    "replaced_by",
)  # fmt: skip
VERSION_COLUMNS = (
    "feed_id", "trade_id", "version", "change_seq", "message_id", "source", "content_hash", "landed_at", "booked_at",
    "changed_fields", *VERSION_FIELDS, "attributes", "attributes_omitted", "flags",
)  # fmt: skip
LEG_FIELDS = (
    "leg_no", "value_date", "fixing_date", "fixing_tenor", "deliverable", "dealt.currency", "dealt.value",
    "settled.currency", "settled.value", "base_amount", "term_amount", "rate", "spot_rate", "forward_points",
)  # fmt: skip
LEG_COLUMNS = (
    "feed_id", "trade_id", "version", "leg_no", "value_date", "fixing_date", "fixing_tenor", "deliverable",
    "dealt_currency", "dealt_amount", "settled_currency", "settled_amount", "base_amount", "term_amount", "rate",
    "spot_rate", "forward_points",
)  # fmt: skip
_version_values = attrgetter(*VERSION_FIELDS, "attributes", "attributes_omitted", "flags")
_leg_values = attrgetter(*LEG_FIELDS)

# After a failover, or in a restored copy, some of the numbers issued before may have been lost with their commits:
# then the counter jumps above any of them, so that a reader who has seen those misses nothing (design.md §5).
NUMBER_CHANGES = text("""
UPDATE stp.change_counter SET
    change_seq = change_seq + :count + CASE WHEN incarnation <> here THEN 1000000000 ELSE 0 END, incarnation = here
FROM stp.incarnation() AS here
RETURNING change_seq
""")
# In the transaction that holds the counter's lock: NOTIFY takes a lock of the whole cluster at commit, and whoever else
# would wait for that one waits for the counter already. Landing never notifies, so it never waits.
SAY_SO = text("SELECT pg_notify('stp_trade_change', CAST(:last AS text))")
MAKE_CURRENT = text("""
UPDATE stp.trade t SET version = v.version
FROM (
    SELECT feed_id, trade_id, max(version) AS version FROM stp.trade_version
    WHERE change_seq BETWEEN :first AND :last AND version > 1 GROUP BY feed_id, trade_id
) AS v
WHERE (t.feed_id, t.trade_id) = (v.feed_id, v.trade_id)
""")
# Whose position a version `v` moves, and with what sign: an internal trade counts for both parties (design.md §6). The
# vendor names its customer's user only, so who trades for a counterparty is not said (`movements` in the domain).
PARTY = """LATERAL (
    SELECT v.organisation, v.legal_entity, CASE WHEN v.our_side <> 'counterparty' THEN v.trader END AS trader, 1 AS sign
    UNION ALL SELECT v.counterparty, v.counterparty_entity, NULL, -1 WHERE v.internal
) AS party"""
# What the legs of versions that supersede others add, and those of the versions before take away. Only live ones count.
SUPERSEDED = f"""
SELECT coalesce(party.organisation, ''), coalesce(party.legal_entity, ''), coalesce(party.trader, ''), v.symbol,
    l.value_date, l.deliverable, sum(l.base_amount * party.sign * changed.sign),
    sum(l.term_amount * party.sign * changed.sign), sum(changed.sign)
FROM (
    SELECT feed_id, trade_id, version, 1 AS sign FROM stp.trade_version
    WHERE change_seq BETWEEN :first AND :last AND version > 1
    UNION ALL
    SELECT feed_id, trade_id, version - 1, -1 FROM stp.trade_version
    WHERE change_seq BETWEEN :first AND :last AND version > 1
) AS changed
JOIN stp.trade_version v USING (feed_id, trade_id, version)
JOIN stp.trade_leg l USING (feed_id, trade_id, version)
CROSS JOIN {PARTY}
WHERE v.live
GROUP BY 1, 2, 3, 4, 5, 6
"""
ADDED = """
SELECT organisation, legal_entity, trader, symbol, value_date, deliverable, base_amount, term_amount, trade_count
FROM json_to_recordset(:added) AS added (organisation text, legal_entity text, trader text, symbol text,
    value_date date, deliverable boolean, base_amount numeric, term_amount numeric, trade_count bigint)
"""
_MOVE_POSITIONS = """
INSERT INTO stp.position AS p (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable,
    base_amount, term_amount, trade_count)
SELECT :feed_id, moved.* FROM ({moves}) AS moved
ON CONFLICT (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable) DO UPDATE SET
    base_amount = p.base_amount + excluded.base_amount, term_amount = p.term_amount + excluded.term_amount,
    trade_count = p.trade_count + excluded.trade_count
"""
ADD_TO_POSITIONS = text(_MOVE_POSITIONS.format(moves=ADDED))
CORRECT_POSITIONS = text(_MOVE_POSITIONS.format(moves=SUPERSEDED))


_ANY_OF = text("ANY (string_to_array(:ids, chr(10)))")  # an array costs the driver far more; no id holds a line's end


class Known(msgspec.Struct, frozen=True):
    """A trade that is in the book: its current version, and the content of every version by its hash."""

    version: int
    hashes: dict[bytes, int]


class TradeText(msgspec.Struct, frozen=True, gc=False):
    """A trade as COPY writes it: what the rows of its version and of its legs hold, whichever version it becomes.

    `trade_id` and the columns of VERSION_COLUMNS behind the first ten; the columns of LEG_COLUMNS behind the first
    three, for each leg. `moves` is what it adds to positions.
    """

    trade_id: str
    columns: str
    legs: tuple[str, ...]
    moves: tuple[Movement, ...]


def text_of(trade: Trade) -> TradeText:
    """Return the trade as COPY writes it."""
    return TradeText(
        cell(trade.trade_id),
        line(_version_values(trade)),
        tuple(line(_leg_values(leg)) for leg in trade.legs),
        movements(trade),
    )


class BookedVersion(msgspec.Struct, frozen=True, gc=False):
    """A version to be written. `landed_at` is when its words arrived, `booked_at` when we understood them."""

    text: TradeText
    version: int
    message_id: int | None
    content_hash: bytes
    landed_at: datetime
    booked_at: datetime
    changed_fields: tuple[str, ...] = ()
    source: str = "queue"


class BookRepository:
    """Trades as the book keeps them. Versions and legs are only ever inserted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, feed_id: int, trade_ids: Iterable[str]) -> dict[str, Known]:
        """Return what the book holds of these trades; nothing for those that it does not know."""
        statement = select(TradeVersionRow.trade_id, TradeVersionRow.version, TradeVersionRow.content_hash).where(
            TradeVersionRow.feed_id == feed_id, TradeVersionRow.trade_id == _ANY_OF
        )
        statement = statement.order_by(TradeVersionRow.version)  # of two versions with one content the later counts
        found: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        for trade_id, version, content_hash in self._connection.execute(statement, {"ids": "\n".join(trade_ids)}):
            found[trade_id][content_hash] = version
        return {trade_id: Known(max(hashes.values()), hashes) for trade_id, hashes in found.items()}

    def versions(self, feed_id: int, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Trade]:
        """Return these versions, each a (trade_id, version), as the book holds them."""
        wanted = list(keys)
        if not wanted:
            return {}
        legs: defaultdict[tuple[str, int], list[Leg]] = defaultdict(list)
        columns = [getattr(TradeLegRow, name) for name in LEG_COLUMNS[1:]]
        same = tuple_(TradeLegRow.trade_id, TradeLegRow.version).in_(wanted)
        statement = select(*columns).where(TradeLegRow.feed_id == feed_id, same).order_by(TradeLegRow.leg_no)
        for row in self._connection.execute(statement):
            legs[row.trade_id, row.version].append(_leg(row))
        same = tuple_(TradeVersionRow.trade_id, TradeVersionRow.version).in_(wanted)
        columns = [getattr(TradeVersionRow, name) for name in VERSION_COLUMNS]
        rows = self._connection.execute(select(*columns).where(TradeVersionRow.feed_id == feed_id, same))
        return {(row.trade_id, row.version): _trade(row, tuple(legs[row.trade_id, row.version])) for row in rows}

    def messages_behind(self, feed_id: int, trade_ids: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return the message that each version of these trades was made of, by trade and version.

        Nothing for versions that an answer to a query made.
        """
        columns = (TradeVersionRow.trade_id, TradeVersionRow.version, TradeVersionRow.message_id)
        statement = select(*columns).where(
            TradeVersionRow.feed_id == feed_id,
            TradeVersionRow.trade_id == _ANY_OF,
            TradeVersionRow.message_id.is_not(None),
        )
        found: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for trade_id, version, message_id in self._connection.execute(statement, {"ids": "\n".join(trade_ids)}):
            if message_id is not None:
                found[trade_id][version] = message_id
        return dict(found)

    def add(self, feed_id: int, versions: Sequence[BookedVersion]) -> None:
        """Write these versions with their legs, and make each the current one of its trade.

        Takes the lock of the change counter and keeps it until the transaction ends, so that nobody ever sees a
        change before one with a lower number; tells listeners of `stp_trade_change` the last number at the commit.
        """
        if not versions:
            return
        last = self._connection.execute(NUMBER_CHANGES, {"count": len(versions)}).scalar_one()
        first = last - len(versions) + 1
        lines = [_version_line(feed_id, number, each) for number, each in enumerate(versions, first)]
        copy_lines(self._connection, TradeVersionRow, VERSION_COLUMNS, lines)
        lines = [f"{feed_id}\t{v.text.trade_id}\t{v.version}\t{leg}" for v in versions for leg in v.text.legs]
        copy_lines(self._connection, TradeLegRow, LEG_COLUMNS, lines)
        lines = [f"{feed_id}\t{v.text.trade_id}\t1\t{instant(v.landed_at)}" for v in versions if v.version == 1]
        copy_lines(self._connection, TradeRow, ("feed_id", "trade_id", "version", "first_landed_at"), lines)
        if len(lines) < len(versions):
            numbers = {"first": first, "last": last}
            self._connection.execute(MAKE_CURRENT, numbers)
            self._connection.execute(CORRECT_POSITIONS, {"feed_id": feed_id} | numbers)
        self._add_to_positions(feed_id, [move for v in versions if v.version == 1 for move in v.text.moves])
        self._connection.execute(SAY_SO, {"last": last})

    def _add_to_positions(self, feed_id: int, moves: Sequence[Movement]) -> None:
        """Add what first versions move. It is summed here: reading the legs back would cost as much as writing them."""
        added = [
            {
                "organisation": key.organisation or "", "legal_entity": key.legal_entity or "",
                "trader": key.trader or "", "symbol": key.symbol, "value_date": key.value_date,
                "deliverable": key.deliverable, "base_amount": totals.base_amount, "term_amount": totals.term_amount,
                "trade_count": totals.count,
            }
            for key, totals in net(moves).items()
        ]  # fmt: skip
        if added:
            self._connection.execute(
                ADD_TO_POSITIONS, {"feed_id": feed_id, "added": msgspec.json.encode(added).decode()}
            )


def _version_line(feed_id: int, change_seq: int, v: BookedVersion) -> str:
    message_id = NOTHING if v.message_id is None else v.message_id
    return (
        f"{feed_id}\t{v.text.trade_id}\t{v.version}\t{change_seq}\t{message_id}\t{v.source}\t"
        f"{digest(v.content_hash)}\t{instant(v.landed_at)}\t{instant(v.booked_at)}\t"
        f"{cell(v.changed_fields) if v.changed_fields else '{}'}\t{v.text.columns}"
    )


def _leg(row: Any) -> Leg:
    return Leg(
        dealt=Amount(row.dealt_amount, row.dealt_currency),
        settled=Amount(row.settled_amount, row.settled_currency),
        **{name: getattr(row, name) for name in Leg.__struct_fields__ if name not in ("dealt", "settled")},
    )


def _trade(row: Any, legs: tuple[Leg, ...]) -> Trade:
    values = {name: getattr(row, name) for name in VERSION_FIELDS if name != "internal"}
    values |= {"trade_type": TradeType(row.trade_type), "our_side": OurSide(row.our_side), "side": Side(row.side)}
    return Trade(
        trade_id=row.trade_id,
        legs=legs,
        attributes=row.attributes,
        attributes_omitted=tuple(row.attributes_omitted),
        flags=tuple(row.flags),
        **values,
    )
