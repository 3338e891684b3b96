"""Rows as a Parquet file: numbers as decimals that hold every digit, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.cli.output import plain
from etl.errors import EtlError
from etl.store.repositories.exports import NUMERIC, Column, Digits

LEAST_SCALE = 10
"""Digits behind the point that every number column has, so that the files of most days have one schema."""
NARROW, WIDE = 38, 76  # digits of decimal128 and decimal256
ROWS_A_GROUP = 50_000
TYPES = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 1082: pa.date32(),
    1184: pa.timestamp("us", tz="UTC"), 1009: pa.list_(pa.string()), 17: pa.binary(),
}  # fmt: skip
JSONB = 3802


class ParquetWriter:
    """One column a column; texts, lists of texts, days, instants in UTC; objects are JSON texts."""

    def __init__(self, columns: Sequence[Column], digits: Mapping[str, Digits]) -> None:
        """Raise EtlError where a number has more digits than Parquet can hold exactly."""
        fields = [pa.field(each.name, type_of(each, digits.get(each.name))) for each in columns]
        self._columns, self._schema = columns, pa.schema(fields)

    def write(self, rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
        """Write the rows in groups."""
        with pq.ParquetWriter(file, self._schema, compression="zstd") as writer:
            group: list[Sequence[Any]] = []
            for row in rows:
                group.append(row)
                if len(group) == ROWS_A_GROUP:
                    writer.write_table(self._table(group))
                    group = []
            if group:
                writer.write_table(self._table(group))

    def _table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        arrays = []
        for place, column in enumerate(self._columns):
            values = [row[place] for row in rows]
            if column.type_oid == JSONB:
                values = [None if each is None else json.dumps(plain(each), ensure_ascii=False) for each in values]
            arrays.append(pa.array(values, type=self._schema.field(place).type))
        return pa.Table.from_arrays(arrays, schema=self._schema)


def type_of(column: Column, digits: Digits | None) -> pa.DataType:
    """Return the type that holds the column without loss."""
    if column.type_oid != NUMERIC or digits is None:
        return TYPES.get(column.type_oid, pa.string())
    scale = max(digits.behind, LEAST_SCALE)
    size = digits.before + scale
    if size > WIDE:
        raise EtlError(
            f"column {column.name} has a number of {size} digits, and Parquet holds {WIDE} exactly; use csv or jsonl"
        )
    return pa.decimal128(NARROW, scale) if size <= NARROW else pa.decimal256(WIDE, scale)
