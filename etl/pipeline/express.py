"""A faster reader for ordinary messages: it gives the very rows that the full reader gives, or nothing at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, countOf
from typing import Annotated, Any

import msgspec

from etl.domain.canonical import spelling
from etl.domain.fields import FIELDS, Field, Reading
from etl.domain.legs import FAR, NEAR, rate_disagrees
from etl.domain.perspective import our_side
from etl.domain.position import Movement
from etl.domain.rules import LONGEST, Broken, Symbol, amount, day, instant, rate, side, symbol, trade_type, yes_or_no
from etl.domain.text import is_storable
from etl.domain.trade import OurSide, Side, TradeType
from etl.store.copying import NOTHING, cell
from etl.store.repositories.book import VERSION_FIELDS, TradeText

_NUMBERS = (amount, rate)
_FOR_THE_FULL_READER = ("base_amount", "term_amount", "far_base_amount", "far_term_amount")
_FIELDS = {each.name: each for each in FIELDS if each.name not in _FOR_THE_FULL_READER}
_VENDOR_NAMES = {each.name: each.vendor_names[0] for each in _FIELDS.values()}
_NO_NUMBER = msgspec.Raw(NOTHING.encode())
_NUMBER = r"\d{1,25}(?:\.\d{1,12})?"
_ORDINARY_NUMBERS = re.compile(rf"(?:(?=[0.]*[1-9]){_NUMBER} ){{2}}(?:(?:-?{_NUMBER}|\\N) ){{3}}", re.ASCII)
"""Two amounts above 0, then three rates of either sign that may be absent; a blank behind each."""
_SPELT_OTHERWISE = re.compile(r"\.\d*0 |-0 ")
"""A number among others that `spelling` writes otherwise."""


def _type_of(field: Field) -> tuple[str, Any, Any]:
    """Return the field of the struct; what COPY writes for an absent one is the default, so null is refused."""
    name = field.vendor_names[0]
    if field.rule in _NUMBERS:
        return name, msgspec.Raw, _NO_NUMBER
    if field.rule is yes_or_no:
        return name, bool | None, None
    longest = LONGEST.get(field.rule)
    return name, str if longest is None else Annotated[str, msgspec.Meta(min_length=1, max_length=longest)], NOTHING


_FIELD_TYPES = sorted(map(_type_of, _FIELDS.values()))
_Message = msgspec.defstruct("_Message", _FIELD_TYPES, forbid_unknown_fields=True, omit_defaults=True, gc=False)
_DEFAULTS = {name: default for name, _, default in _FIELD_TYPES}
_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder().encode  # the fields stand sorted: this is the canonical spelling but for the numbers


def _getter(*names: str) -> Callable[[Any], Any]:
    return attrgetter(*(_VENDOR_NAMES[name] for name in names))


_OF_A_LEG = ("value_date", "fixing_date", "fixing_tenor")
_NUMBERS_OF_A_LEG = ("dealt_amount", "settled_amount", "rate", "spot_rate", "forward_points")
_near, _far = (_getter(*(f"{leg}{name}" for name in _OF_A_LEG)) for leg in (NEAR, FAR))
_near_numbers, _far_numbers = (_getter(*(f"{leg}{name}" for name in _NUMBERS_OF_A_LEG)) for leg in (NEAR, FAR))
_all_of_far = _getter(*(f"far_{name}" for name in (*_OF_A_LEG, *_NUMBERS_OF_A_LEG)))
_kind = _getter("trade_type", "symbol", "side", "dealt_currency", "status", "maker")
_parties = _getter("organisation", "legal_entity", "counterparty", "counterparty_entity", "trader")
_texts = _getter(*VERSION_FIELDS[13:])
_NO_FAR = (*[NOTHING] * len(_OF_A_LEG), *[_NO_NUMBER] * len(_NUMBERS_OF_A_LEG))
_NUMBER_NAMES = tuple(name for name, default in _DEFAULTS.items() if default is _NO_NUMBER)


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What many trades share: the first columns as COPY writes them, and what the legs need; `side` is ours."""

    columns: str
    pair: Symbol
    kind: TradeType
    side: Side
    live: bool
    deliverable: bool
    dealt_is_base: bool


class Party(msgspec.Struct, frozen=True, gc=False):
    """Who trades on our side."""

    organisation: str | None
    legal_entity: str | None
    trader: str | None


class Legs(msgspec.Struct, gc=False):
    """The legs of a trade as COPY writes them, what they add to positions, what is remarkable, all their numbers."""

    lines: list[str]
    moves: list[Movement]
    flags: list[str]
    numbers: str


class Express(msgspec.Struct, frozen=True, gc=False):
    """What an ordinary message says: the rows of its trade, the vendor's word for the delivery, its content."""

    text: TradeText
    event: str | None
    content_hash: bytes
    executed_at: datetime | None


def read_ordinary(raw: bytes, reading: Reading) -> Express | None:
    """Return what the full reader would say of an ordinary message; None where that is for the full reader to say.

    Ordinary: printable text; every field one that we know, under its first name, once, and sound; whole legs with
    settled amounts in plain numbers; the customer ours. Anything else, faults above all, is left to `decode` and
    `normalise`. A property test holds the two readers together.
    """
    if reading.aliases or not _is_printable(raw):
        return None
    try:
        message: Any = _decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return None
    if len(_encode(message)) != len(raw) and not _has_each_once(message, raw):
        return None
    note = message.note
    if b"\\" in raw and not _escape(message):
        return None
    rows = _rows(message, reading)
    if rows is None:
        return None
    text, numbers, executed_at = rows
    event, message.note = message.event, note
    return Express(text, None if event == NOTHING else event, _hash(message, numbers, reading), executed_at)


def _is_printable(raw: bytes) -> bool:
    """Return whether every character, but for those written as escapes and blanks outside of texts, can be seen."""
    if raw.isascii():
        return b"\x7f" not in raw  # the other control characters are no JSON inside texts
    try:
        return raw.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _has_each_once(message: Any, raw: bytes) -> bool:
    """Return whether no key stands twice or with null, for a message that is not spelt as short as can be.

    One that is as long as its shortest spelling has nothing to spare for either.
    """
    if not raw.decode().isprintable() or b" :" in raw:
        return False
    values = msgspec.structs.astuple(message)
    absent = countOf(values, NOTHING) + countOf(values, _NO_NUMBER) + (message.maker is None)
    return len(values) - absent == raw.count(b'":')


def _escape(message: Any) -> bool:
    """Write the note as COPY needs it; return whether the other texts may stay as they are, although JSON escapes some.

    Call it only for a message with backslashes.
    """
    note, values = message.note, msgspec.structs.astuple(message)
    texts = "".join([value for value in values if type(value) is str and value is not NOTHING and value is not note])
    if "\\" in texts or not texts.isprintable():
        return False
    if note is not NOTHING:
        if not is_storable(note):
            return False
        message.note = cell(note)
    return True


def _hash(message: Any, numbers: str, reading: Reading) -> bytes:
    """Return the hash of the content as `content_hash` does; the message is used up. `numbers`: all that are in it."""
    for name in reading.uncompared:
        if name in _DEFAULTS:
            setattr(message, name, _DEFAULTS[name])
    if "0 " in numbers and _SPELT_OTHERWISE.search(numbers):
        for name in _NUMBER_NAMES:
            if (token := getattr(message, name)) is not _NO_NUMBER:
                setattr(message, name, msgspec.Raw(spelling(str(token, "ascii")).encode()))
    return hashlib.sha256(_encode(message)).digest()


def _rows(message: Any, reading: Reading) -> tuple[TradeText, str, datetime | None] | None:
    """Return the rows, the numbers and the instant, unless something is missing, broken, contradictory or not ours."""
    terms = _terms(_kind(message), reading.non_deliverable_assets)
    party = _party(_parties(message), reading.own_orgs)
    trade_id: str = message.tradeId
    if terms is None or party is None or trade_id == NOTHING or trade_id.isspace():
        return None
    executed_at: datetime | None = None
    executed = NOTHING
    if message.executionTime != NOTHING:
        read = instant(message.executionTime)
        if isinstance(read, Broken):
            return None
        executed_at, executed = read, read.isoformat()
    legs = _legs(message, terms, party)
    if legs is None or type(day(message.tradeDate)) is Broken:
        return None
    texts = "\t".join(_texts(message))
    flags = cell(tuple(sorted(legs.flags))) if legs.flags else "{}"
    columns = f"{terms.columns}\t{message.tradeDate}\t{executed}\t{texts}\t{{}}\t{{}}\t{flags}"
    text = TradeText(trade_id, columns, tuple(legs.lines), tuple(legs.moves) if terms.live else ())
    return text, legs.numbers, executed_at


@lru_cache(maxsize=4096)
def _terms(values: tuple[str, str, str, str, str, bool | None], assets: frozenset[str]) -> Terms | None:
    """Return what follows from the kind of trade, the pair, the side and the status; None where one is not sound."""
    kind, pair, ours = trade_type(values[0]), symbol(values[1]), side(values[2])
    currency, status, maker = values[3:]
    if isinstance(kind, Broken) or isinstance(pair, Broken) or isinstance(ours, Broken):
        return None
    if currency not in (pair.base, pair.term) or status.isspace():
        return None
    live = status == NOTHING or status.lower() == "verified"
    maker_cell = NOTHING if maker is None else cell(maker)
    columns = (
        f"{kind.value}\t{status}\t{cell(live)}\tcustomer\tf\t{ours.value}\t{maker_cell}\t{pair.text}\t{pair.base}\t"
        f"{pair.term}\t{currency}"
    )
    deliverable = not (kind.is_non_deliverable or pair.base in assets or pair.term in assets)
    return Terms(columns, pair, kind, ours, live, deliverable, currency == pair.base)


@lru_cache(maxsize=4096)
def _party(values: tuple[str, str, str, str, str], own_orgs: frozenset[str]) -> Party | None:
    """Return who trades; None where the customer is not ours, or a name is not sound."""
    if any(map(str.isspace, values[:4])):
        return None
    organisation, legal_entity, counterparty, _, trader = (None if each == NOTHING else each for each in values)
    if our_side(organisation, counterparty, own_orgs) is not OurSide.CUSTOMER:
        return None
    return Party(organisation, legal_entity, trader)


def _legs(message: Any, terms: Terms, party: Party) -> Legs | None:
    """Return the legs; None where one is not whole, or there is one too many."""
    legs = Legs([], [], [], "")
    near = _near(message)
    if not _add_leg(legs, near, _near_numbers(message), terms=terms, party=party):
        return None
    if not terms.kind.has_far_leg:
        return legs if _all_of_far(message) == _NO_FAR else None
    far = _far(message)
    if not far[0] > near[0] or not _add_leg(legs, far, _far_numbers(message), terms=terms, party=party):
        return None
    return legs


def _add_leg(legs: Legs, fields: tuple[str, str, str], tokens: tuple[Any, ...], *, terms: Terms, party: Party) -> bool:
    """Add a leg with amounts as the vendor wrote them, and the sign that our side gives them (A3, A4).

    Return whether it is whole and ordinary.
    """
    value_date, fixing_date, tenor = fields
    numbers = b" ".join((*tokens, b"")).decode()
    day_ = day(value_date)
    if isinstance(day_, Broken) or _ORDINARY_NUMBERS.fullmatch(numbers) is None:
        return False
    dealt, settled, rate_, spot, points, _ = numbers.split(" ")
    prefix, pair = FAR if legs.lines else NEAR, terms.pair
    if (terms.side is Side.BUY) == (prefix is NEAR):
        settled = f"-{settled}"
    else:
        dealt = f"-{dealt}"
    if terms.dealt_is_base:
        base_text, term_text, settled_currency, dealt_currency = dealt, settled, pair.term, pair.base
    else:
        base_text, term_text, settled_currency, dealt_currency = settled, dealt, pair.base, pair.term
    base, term = Decimal(base_text), Decimal(term_text)
    if fixing_date == NOTHING:
        if terms.kind.is_non_deliverable:
            legs.flags.append(f"{prefix}fixing_date_missing")
    elif isinstance(day(fixing_date), Broken):
        return False
    if rate_ != NOTHING and rate_disagrees(base, term, Decimal(rate_), pair):
        legs.flags.append(f"{prefix}rate_disagrees")
    legs.numbers += numbers
    legs.moves.append(
        Movement(party.organisation, party.legal_entity, party.trader, pair.text, day_, terms.deliverable, base, term)
    )
    legs.lines.append(
        f"{2 if prefix else 1}\t{value_date}\t{fixing_date}\t{tenor}\t{'t' if terms.deliverable else 'f'}\t"
        f"{dealt_currency}\t{dealt}\t{settled_currency}\t{settled}\t{base_text}\t{term_text}\t{rate_}\t{spot}\t{points}"
    )
    return True
