"""A faster reader for ordinary messages: it gives the very rows that the full reader gives, or nothing at all."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from etl.domain.canonical import spelling
from etl.domain.comparison import content_hash
from etl.domain.fields import FIELDS, Field, Reading
from etl.domain.legs import FAR, NEAR, rate_disagrees
from etl.domain.perspective import our_side
from etl.domain.rules import LONGEST, Broken, Symbol, amount, day, instant, rate, side, symbol, trade_type, yes_or_no
from etl.domain.trade import OurSide, Side, TradeType
from etl.store.copying import NOTHING, cell
from etl.store.repositories.book import VERSION_FIELDS, TradeText

_NUMBERS = (amount, rate)
_FOR_THE_FULL_READER = ("base_amount", "term_amount", "far_base_amount", "far_term_amount")
_FIELDS = {each.name: each for each in FIELDS if each.name not in _FOR_THE_FULL_READER}
_VENDOR_NAMES = tuple(each.vendor_names[0] for each in _FIELDS.values())
_NUMBER_NAMES = tuple((each.vendor_names[0], each.rule is amount) for each in _FIELDS.values() if each.rule in _NUMBERS)
_ORDINARY_NUMBER = re.compile(rb"-?\d{1,25}(?:\.\d{1,12})?", re.ASCII)
_PLAIN_TEXTS = tuple(_FIELDS[name].vendor_names[0] for name in VERSION_FIELDS[13:])


def _type_of(field: Field) -> Any:
    if field.rule in _NUMBERS:
        return msgspec.Raw
    if field.rule is yes_or_no:
        return bool | None
    longest = LONGEST.get(field.rule)
    return (str if longest is None else Annotated[str, msgspec.Meta(min_length=1, max_length=longest)]) | None


_MESSAGE = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Message",
        [(each.vendor_names[0], _type_of(each), None) for each in _FIELDS.values()],
        forbid_unknown_fields=True,
        gc=False,
    )
)


_OF_A_LEG = (
    "value_date", "fixing_date", "fixing_tenor", "dealt_amount", "settled_amount", "rate", "spot_rate",
    "forward_points",
)  # fmt: skip
_LEGS = {prefix: tuple(_FIELDS[f"{prefix}{name}"].vendor_names[0] for name in _OF_A_LEG) for prefix in (NEAR, FAR)}


_names = attrgetter("tradeId", "status", "customerOrg", "customerAccount", "counterparty", "counterpartyAccount")


class LegTerms(msgspec.Struct, frozen=True, gc=False):
    """What both legs of a trade share; `side` is ours, of the near leg's dealt currency."""

    pair: Symbol
    kind: TradeType
    dealt_currency: str
    side: Side
    deliverable: str


class Legs(msgspec.Struct, frozen=True, gc=False):
    """The legs of a trade as COPY writes them, and what is remarkable about them."""

    lines: tuple[str, ...]
    flags: tuple[str, ...]


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
    try:
        text = raw.decode()
        message = _MESSAGE.decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return None
    if reading.aliases or " :" in text or not text.isprintable():
        return None
    values = zip(_VENDOR_NAMES, msgspec.structs.astuple(message), strict=True)
    payload = {name: value for name, value in values if value is not None}
    if len(payload) != text.count('":'):  # a key stands twice, or with null
        return None
    if "\\" in text and not _are_plain(payload):
        return None
    content = payload.copy()
    return _express(message, payload, content, reading) if _take_numbers(payload, content) else None


def _are_plain(payload: dict[str, Any]) -> bool:
    """Return whether the texts are ones that COPY need not escape, although the message escapes some."""
    texts = "".join([value for value in payload.values() if type(value) is str])
    return "\\" not in texts and texts.isprintable()


def _take_numbers(payload: dict[str, Any], content: dict[str, Any]) -> bool:
    """Put each number into the payload as it is written, and into the content as all of its value are.

    Return whether all are plain, and every amount above 0.
    """
    for name, is_amount in _NUMBER_NAMES:
        if (value := payload.get(name)) is None:
            continue
        token = bytes(value)
        if _ORDINARY_NUMBER.fullmatch(token) is None:
            return False
        if is_amount and (token.startswith(b"-") or not token.strip(b"0.")):
            return False
        number = payload[name] = str(token, "ascii")
        content[name] = msgspec.Raw(spelling(number).encode())
    return True


def _express(message: Any, payload: dict[str, Any], content: dict[str, Any], reading: Reading) -> Express | None:
    """Return the rows, unless something is missing, broken, contradictory, or not the customer's side."""
    kind, pair, our = trade_type(message.tradeType), symbol(message.symbol), side(message.side)
    executed_at = None if message.executionTime is None else instant(message.executionTime)
    if (
        isinstance(kind, Broken)
        or isinstance(pair, Broken)
        or isinstance(our, Broken)
        or isinstance(executed_at, Broken)
    ):
        return None
    if message.tradeId is None or type(day(message.tradeDate)) is Broken:
        return None
    if any(map(str.isspace, filter(None, _names(message)))):
        return None
    if message.currency not in (pair.base, pair.term):
        return None
    if our_side(message.customerOrg, message.counterparty, reading.own_orgs) is not OurSide.CUSTOMER:
        return None
    assets = reading.non_deliverable_assets
    deliverable = not (kind.is_non_deliverable or pair.base in assets or pair.term in assets)
    legs = _legs(payload, LegTerms(pair, kind, message.currency, our, _yes_or_no(deliverable)))
    if legs is None:
        return None
    status = message.status
    live = status is None or status.lower() == "verified"
    texts = "\t".join([payload.get(name, NOTHING) for name in _PLAIN_TEXTS])
    columns = (
        f"{kind.value}\t{status or NOTHING}\t{_yes_or_no(live)}\tcustomer\tf\t{our.value}\t"
        f"{_yes_or_no(message.maker)}\t{pair.text}\t{pair.base}\t{pair.term}\t{message.currency}\t{message.tradeDate}\t"
        f"{executed_at.isoformat() if executed_at else NOTHING}\t{texts}\t{{}}\t{{}}\t"
        f"{cell(legs.flags) if legs.flags else '{}'}"
    )
    text = TradeText(message.tradeId, columns, legs.lines)
    return Express(text, message.event, content_hash(content, reading), executed_at)


def _yes_or_no(value: bool | None) -> str:
    return NOTHING if value is None else "t" if value else "f"


def _legs(payload: dict[str, Any], terms: LegTerms) -> Legs | None:
    """Return the lines of the legs, and the flags; None where a leg is not whole, or there is one too many."""
    flags: list[str] = []
    near = _leg(payload, terms, NEAR, flags)
    if near is None:
        return None
    if not terms.kind.has_far_leg:
        return Legs((near,), tuple(sorted(flags))) if payload.keys().isdisjoint(_LEGS[FAR]) else None
    far = _leg(payload, msgspec.structs.replace(terms, side=terms.side.turned()), FAR, flags)
    if far is None or not payload["farValueDate"] > payload["valueDate"]:
        return None
    return Legs((near, far), tuple(sorted(flags)))


def _leg(payload: dict[str, Any], terms: LegTerms, prefix: str, flags: list[str]) -> str | None:
    """Return the line of a leg: amounts as the vendor wrote them, with the sign that our side gives them (A3, A4)."""
    value_date, fixing_date, tenor, dealt, settled, rate_, spot, points = [payload.get(n) for n in _LEGS[prefix]]
    if dealt is None or settled is None or type(day(value_date)) is Broken:
        return None
    pair, kind = terms.pair, terms.kind
    if kind.is_non_deliverable and fixing_date is None:
        flags.append(f"{prefix}fixing_date_missing")
    elif fixing_date is not None and type(day(fixing_date)) is Broken:
        return None
    dealt_is_base = terms.dealt_currency == pair.base
    if rate_ is not None:
        base, term = (dealt, settled) if dealt_is_base else (settled, dealt)
        if rate_disagrees(Decimal(base), Decimal(term), Decimal(rate_), pair):
            flags.append(f"{prefix}rate_disagrees")
    if terms.side is Side.BUY:
        settled = f"-{settled}"
    else:
        dealt = f"-{dealt}"
    currencies, amounts = (
        ((pair.base, pair.term), (dealt, settled)) if dealt_is_base else ((pair.term, pair.base), (settled, dealt))
    )
    return (
        f"{2 if prefix else 1}\t{value_date}\t{fixing_date or NOTHING}\t{tenor or NOTHING}\t{terms.deliverable}\t"
        f"{currencies[0]}\t{dealt}\t{currencies[1]}\t{settled}\t{amounts[0]}\t{amounts[1]}\t"
        f"{rate_ or NOTHING}\t{spot or NOTHING}\t{points or NOTHING}"
    )
