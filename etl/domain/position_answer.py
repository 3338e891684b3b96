"""What the vendor's answer about positions says: every form that A14 leaves open, or why it cannot be read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from etl.domain.payload import Number
from etl.domain.reconciliation import Key, Position
from etl.domain.text import shown

SYMBOL = re.compile(r"[A-Z0-9]{2,12}/[A-Z0-9]{2,12}")
LONGEST_NUMBER = 100  # characters
LATEST_MS = 4_102_444_800_000  # the year 2100
RECEIVED, PAID = frozenset({"buy", "long"}), frozenset({"sell", "short"})


class Doubtful(dict[str, Any]):
    """An object in which a name stands twice."""


class RowFault(msgspec.Struct, frozen=True):
    """A row that cannot be relied on; `key` where it says of which position it is."""

    key: Key | None
    why: str


class PositionAnswer(msgspec.Struct, frozen=True):
    """Net positions by key, signed from our side. `left_out` counts value dates up to the trade day."""

    rows: Mapping[Key, Position]
    faults: tuple[RowFault, ...]
    shape: str
    sign: str
    left_out: int = 0
    page: int = 1
    pages: int = 1

    @property
    def is_empty(self) -> bool:
        """Return whether the vendor named no position at all."""
        return not self.rows and not self.faults and not self.left_out


class Unreadable(msgspec.Struct, frozen=True):
    """An answer that says nothing, and why (law 10)."""

    why: str


def decoded(body: bytes) -> Any | Unreadable:
    """Return the JSON of an answer, numbers as their text (`Number`), or why it is none."""
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_unique, parse_float=Number, parse_int=Number, parse_constant=Number
        )
    except (ValueError, RecursionError) as error:
        return Unreadable(f"it is no JSON: {error}" if body.strip() else "it has no body")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Doubtful(found)


def positions_in(body: bytes, *, level: str, value: str, trade_day: date) -> PositionAnswer | Unreadable:
    """Return the positions of the asked level after the trade day, or why the answer cannot be read."""
    document = decoded(body)
    if isinstance(document, Unreadable):
        return document
    cut = _rows_of(document)
    if isinstance(cut, Unreadable):
        return cut
    rows, shape, page, pages = cut
    sign = _sign_of(rows)
    if isinstance(sign, Unreadable):
        return sign
    read = [_row(row, sign, level, value) for row in rows]
    good = [each for each in read if not isinstance(each, RowFault)]
    faults = [each for each in read if isinstance(each, RowFault)]
    times = Counter(key for key, _ in good)
    faults += [RowFault(key, f"stands {count} times in one answer") for key, count in times.items() if count > 1]
    later = {key: found for key, found in good if key.value_date > trade_day and times[key] == 1}
    left_out = sum(key.value_date <= trade_day for key, _ in good)
    return PositionAnswer(later, tuple(faults), shape, sign, left_out, page, pages)


def joined(answers: Sequence[PositionAnswer]) -> PositionAnswer | Unreadable:
    """Return the pages of one answer as one."""
    rows: dict[Key, Position] = {}
    faults = [fault for each in answers for fault in each.faults]
    for each in answers:
        faults += [RowFault(key, "stands on two pages") for key in rows.keys() & each.rows.keys()]
        rows |= each.rows
    signs = {each.sign for each in answers if each.sign != "unknown"}
    if len(signs) > 1:
        return Unreadable("its pages are signed in different ways")
    for fault in faults:
        if fault.key is not None:
            rows.pop(fault.key, None)
    sign = signs.pop() if signs else "unknown"
    left_out = sum(each.left_out for each in answers)
    return PositionAnswer(rows, tuple(faults), answers[0].shape, sign, left_out)


def with_term(answer: PositionAnswer, compare_term: str) -> PositionAnswer:
    """Return the answer with a fault for each open position whose term amount is to be compared and cannot be.

    What is wanted and not said is no agreement (law 10). A flat position may lack both: it has no side to sign by.
    """
    if compare_term == "off":
        return answer
    faults, needs_rate = list[RowFault](), compare_term == "average"
    for key, found in answer.rows.items():
        wanting = "netOpenterm" if found.term is None else "rate" if needs_rate and found.rate is None else None
        if found.base and wanting is not None:
            faults.append(RowFault(key, f"{wanting} is no number, and compare_term = {compare_term} needs it"))
    left = {fault.key for fault in faults}
    rows = {key: found for key, found in answer.rows.items() if key not in left}
    return msgspec.structs.replace(answer, rows=rows, faults=(*answer.faults, *faults))


def _rows_of(document: Any) -> tuple[list[Any], str, int, int] | Unreadable:
    if isinstance(document, list):
        return document, "array", 1, 1
    if not isinstance(document, dict):
        return Unreadable("it is neither an array nor an object")
    arrays = [item for item in document.values() if isinstance(item, list)]
    if len(arrays) != 1:
        return Unreadable(f"it is an object with {len(arrays)} arrays inside; exactly one is expected")
    page, pages = (_count(document.get(name)) for name in ("page", "totalPages"))
    return arrays[0], "object" if pages is None else "paged", page or 1, pages or 1


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, Number) and value.isdigit() and len(value) < 9 else None


def _sign_of(rows: Sequence[Any]) -> str | Unreadable:
    """Return whether amounts have a sign of their own, or take it from `side`; both at once is a contradiction."""
    negative = sold = False
    for row in rows:
        if isinstance(row, dict):
            minus = str(row.get("netOpenBase", "")).startswith("-")
            negative = negative or minus or str(_term_of(row)).startswith("-")
            sold = sold or (not minus and _side(row) == "paid" and bool(amount(row.get("netOpenBase"))))
    if negative and sold:
        return Unreadable("some amounts are negative, others positive with side Sell: the sign has two readings")
    return "side" if sold else "signed" if negative else "unknown"


def _term_of(row: Mapping[str, Any]) -> Any:
    """Return the net term amount; the vendor writes its name with a small t (integral-api.md §5.1)."""
    return row.get("netOpenterm", row.get("netOpenTerm"))


def _side(row: Mapping[str, Any]) -> str | None:
    word = str(row.get("side", "")).lower()
    return "received" if word in RECEIVED else "paid" if word in PAID else None


def _row(row: Any, sign: str, level: str, value: str) -> tuple[Key, Position] | RowFault:
    """Return one row, or what is wrong with it; never a guess."""
    if not isinstance(row, dict):
        return RowFault(None, f"{shown(str(row)[:80])} is no object")
    key = _key(row)
    if isinstance(key, str):
        return RowFault(None, key)
    if isinstance(row, Doubtful):
        return RowFault(key, "has a name twice")
    asked = {"level": level, "levelValue": value}
    other = [f"{name} {shown(str(row[name]))}" for name, want in asked.items() if row.get(name, want) != want]
    if other:
        return RowFault(key, f"is about {', '.join(other)}; asked was {level} {value}")
    base, rate = amount(row.get("netOpenBase")), amount(row.get("rate"))
    if base is None:
        return RowFault(key, f"netOpenBase is {shown(str(row.get('netOpenBase')))}, which is no number")
    term = amount(_term_of(row))
    if sign == "signed":
        return key, Position(base, term, rate)
    side = _side(row)
    if side is None and base:
        return RowFault(key, f"side is {shown(str(row.get('side')))}, and the amounts have no sign")
    if side == "paid":
        return key, Position(base.copy_negate(), term, rate)
    return key, Position(base, None if term is None or not base else term.copy_negate(), rate)


def _key(row: Mapping[str, Any]) -> Key | str:
    symbol, day = row.get("symbol"), row.get("valueDate")
    if not isinstance(symbol, str) or not SYMBOL.fullmatch(symbol):
        return f"symbol is {shown(str(symbol)[:80])}, which is no BASE/TERM"
    try:
        if not isinstance(day, str) or not re.fullmatch(r"\d{4}-?\d\d-?\d\d", day):
            raise ValueError
        return Key(symbol, date.fromisoformat(day))
    except ValueError:
        return f"valueDate of {symbol} is {shown(str(day)[:80])}, which is no day"


def epoch_ms(value: Any) -> datetime | None:
    """Return the instant that is so many milliseconds after the start of 1970; None for all else."""
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > len(str(LATEST_MS)) or int(text) > LATEST_MS:
        return None
    seconds, ms = divmod(int(text), 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000)


def amount(value: Any) -> Decimal | None:
    """Return a number of an answer, also one in a string; None for all else, NaN and infinity among it."""
    if not isinstance(value, str) or len(value) > LONGEST_NUMBER:
        return None
    try:
        found = Decimal(value.strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < LONGEST_NUMBER else None
