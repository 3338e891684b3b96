"""The book: trades, versions, legs, positions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, text, tuple_, update

from etl.domain.money import Amount
from etl.domain.position import PositionKey, Totals
from etl.domain.trade import Leg, OurSide, Side, Trade, TradeType
from etl.store.copying import copy_rows
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
_version_values = attrgetter(*VERSION_FIELDS)
_leg_values = attrgetter(*LEG_FIELDS)

NUMBER_CHANGES = text("UPDATE stp.change_counter SET change_seq = change_seq + :count RETURNING change_seq")
MOVE_POSITIONS = text("""
INSERT INTO stp.position AS p (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable,
    base_amount, term_amount, trade_count)
SELECT :feed_id, m.* FROM unnest(
    CAST(:organisation AS text[]), CAST(:legal_entity AS text[]), CAST(:trader AS text[]), CAST(:symbol AS text[]),
    CAST(:value_date AS date[]), CAST(:deliverable AS boolean[]), CAST(:base_amount AS numeric[]),
    CAST(:term_amount AS numeric[]), CAST(:count AS bigint[])
) AS m
ON CONFLICT (feed_id, organisation, legal_entity, trader, symbol, value_date, deliverable) DO UPDATE SET
    base_amount = p.base_amount + excluded.base_amount, term_amount = p.term_amount + excluded.term_amount,
    trade_count = p.trade_count + excluded.trade_count
""")


class Known(msgspec.Struct, frozen=True):
    """A trade that is in the book: its current version, and the content of every version by its hash."""

    version: int
    hashes: dict[bytes, int]


class BookedVersion(msgspec.Struct, frozen=True, gc=False):
    """A version to be written. `landed_at` is when its words arrived, `booked_at` when we understood them."""

    trade: Trade
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
            TradeVersionRow.feed_id == feed_id, TradeVersionRow.trade_id == text("ANY (:ids)")
        )
        found: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        for trade_id, version, content_hash in self._connection.execute(statement, {"ids": list(trade_ids)}):
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

    def current(self, feed_id: int, trade_id: str) -> Trade | None:
        """Return the current version of one trade, or None where the book does not know it."""
        known = self.known(feed_id, [trade_id]).get(trade_id)
        return None if known is None else self.versions(feed_id, [(trade_id, known.version)])[trade_id, known.version]

    def messages_behind(self, feed_id: int, trade_id: str) -> dict[int, int]:
        """Return the message that each version of the trade was made of, by version; none for answers to queries."""
        statement = select(TradeVersionRow.version, TradeVersionRow.message_id).where(
            TradeVersionRow.feed_id == feed_id, TradeVersionRow.trade_id == trade_id
        )
        return {
            row.version: row.message_id for row in self._connection.execute(statement) if row.message_id is not None
        }

    def add(self, feed_id: int, versions: Sequence[BookedVersion]) -> None:
        """Write these versions with their legs, and make each the current one of its trade.

        Takes the lock of the change counter and keeps it until the transaction ends, so that nobody ever sees a
        change before one with a lower number.
        """
        if not versions:
            return
        last = self._connection.execute(NUMBER_CHANGES, {"count": len(versions)}).scalar_one()
        numbered = list(enumerate(versions, last - len(versions) + 1))
        copy_rows(self._connection, TradeVersionRow, VERSION_COLUMNS, _version_rows(feed_id, numbered))
        copy_rows(self._connection, TradeLegRow, LEG_COLUMNS, _leg_rows(feed_id, versions))
        first = [(feed_id, v.trade.trade_id, 1, v.landed_at) for v in versions if v.version == 1]
        copy_rows(self._connection, TradeRow, ("feed_id", "trade_id", "version", "first_landed_at"), first)
        later = [{"t": v.trade.trade_id, "v": v.version} for v in versions if v.version > 1]
        if later:
            where = (TradeRow.feed_id == feed_id, TradeRow.trade_id == bindparam("t"))
            self._connection.execute(update(TradeRow).where(*where).values(version=bindparam("v")), later)

    def move_positions(self, feed_id: int, sums: Mapping[PositionKey, Totals]) -> None:
        """Add these amounts to the positions; the database adds exactly. A key's None is kept as ''."""
        if not sums:
            return
        values: dict[str, Any] = {"feed_id": feed_id}
        for name in PositionKey.__struct_fields__:
            values[name] = ["" if (value := getattr(key, name)) is None else value for key in sums]
        for name in Totals.__struct_fields__:
            values[name] = [getattr(totals, name) for totals in sums.values()]
        self._connection.execute(MOVE_POSITIONS, values)


def _version_rows(feed_id: int, numbered: Iterable[tuple[int, BookedVersion]]) -> Iterator[tuple[Any, ...]]:
    for change_seq, v in numbered:
        trade = v.trade
        yield (
            feed_id, trade.trade_id, v.version, change_seq, v.message_id, v.source, v.content_hash, v.landed_at,
            v.booked_at, _array(v.changed_fields), *_version_values(trade),
            _object(trade.attributes), _array(trade.attributes_omitted), _array(trade.flags),
        )  # fmt: skip


def _array(texts: tuple[str, ...]) -> list[str] | str:
    return list(texts) if texts else "{}"  # mostly empty, and a literal costs nothing


def _object(attributes: Mapping[str, Any]) -> str:
    return json.dumps(attributes, separators=(",", ":")) if attributes else "{}"


def _leg_rows(feed_id: int, versions: Iterable[BookedVersion]) -> Iterator[tuple[Any, ...]]:
    for v in versions:
        for leg in v.trade.legs:
            yield (feed_id, v.trade.trade_id, v.version, *_leg_values(leg))


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
