"""Which numbers of the vendor a program still has: amounts and rates, against the sandbox's log of its own messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial

import psycopg

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from tests.benchmarks.peer_queue import pages
from tests.benchmarks.programs import DLT_BULK, DLT_PAGE, FLOOR, IN_A_BODY, ORM, OURS, SINGER

NEAR, FAR = ("dealtAmount", "settledAmount", "rate"), ("farDealtAmount", "farSettledAmount", "farRate")
OF_A_LEG = "SELECT trade_id, leg_no, abs(dealt_amount)::text, abs(settled_amount)::text, rate::text FROM "
LEGS = {OURS: f"{OF_A_LEG} reporting.trade_leg", ORM: f"{OF_A_LEG} orm_leg"}
ROWS = dict.fromkeys((DLT_BULK, DLT_PAGE, SINGER), "SELECT to_jsonb(t)::text FROM peer.trade t")
BODIES = {FLOOR: "SELECT convert_from(body, 'UTF8') FROM raw_page"}
AMOUNT = re.compile(r'("(?:farD|farS|d|s)e(?:alt|ttled)Amount":)(\d+)(\.\d+)?')
MORE_DIGITS = "123456789012"
decoded = partial(json.loads, parse_float=str, parse_int=str)
"""JSON with its numbers as text."""
Numbers = Mapping[tuple[str, str], str]
"""Trade and vendor's name of the field: the number as text."""


def long_messages(count: int) -> list[str]:
    """Return messages of trades that no sandbox makes, with amounts of twelve decimals and up to 24 digits."""
    with SandboxProcess(Options(trades=count, seed=3)) as sandbox:
        for _ in pages(sandbox.url, 50):
            pass
        bodies = [str(line["body"]) for line in sandbox.control.handed_out()]
    return [IN_A_BODY.sub(r'"tradeId":"LONG-\1"', AMOUNT.sub(_lengthened, body)) for body in bodies]


def _lengthened(found: re.Match[str]) -> str:
    decimals = (found[3] or ".")[1:]
    return f"{found[1]}{found[2]}.{(decimals + MORE_DIGITS)[: len(MORE_DIGITS)]}"


def numbers_in(messages: Iterable[Mapping[str, str]]) -> Numbers:
    """Return the amounts and rates of decoded messages, as they are written there."""
    return {
        (fields["tradeId"], name): fields[name] for fields in messages for name in NEAR + FAR if name in fields
    }  # fmt: skip


def numbers_of(way: str, database: str) -> Numbers:
    """Return the amounts and rates that a program holds, as Postgres writes them."""
    with psycopg.connect(database) as connection:
        if way in LEGS:
            return {
                (trade, name): value
                for trade, leg, *values in connection.execute(LEGS[way])
                for name, value in zip(NEAR if leg == 1 else FAR, values, strict=True)
            }
        texts = [text for (text,) in connection.execute((ROWS | BODIES)[way])]
    if way in BODIES:
        return numbers_in(fields for text in texts for fields in decoded(text))
    return {
        (row["tradeid"], name): row[name.lower()]
        for row in map(_row, texts) for name in NEAR + FAR if name.lower() in row
    }  # fmt: skip


def _row(text: str) -> dict[str, str]:
    """Return a row by the bare names of its columns: dlt puts what does not fit a column's type into a second one."""
    return {
        name.partition("__v_")[0].replace("_", "").lower(): value
        for name, value in decoded(text).items() if value is not None
    }  # fmt: skip


def compared(theirs: Numbers, ours: Numbers) -> dict[str, int]:
    """Count the vendor's numbers, those that have another value or are missing, and those written with other digits."""
    other = [key for key, text in theirs.items() if key not in ours or Decimal(ours[key]) != Decimal(text)]
    digits = [key for key, text in theirs.items() if key in ours and ours[key] != text]
    return {"numbers": len(theirs), "other": len(other), "digits": len(set(other) | set(digits))}
